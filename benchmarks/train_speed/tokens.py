"""The token file: one JSON line that says what it is, then a line a document. Everyone reads the same bytes.

{"name": "gsm8k", "task": "generation", "classes": 0, "pad": 2}
{"ids": [504, ...], "labels": [-100, ..., 2], "target": -1}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

IGNORED = -100


@dataclass(frozen=True)
class Document:
    """One row.

    Attributes:
        ids: Token ids, at least one, without padding.
        labels: As many: `ids` where trained, else -100; not shifted. All -100 for classification.
        target: Index of the class; -1 for generation.
    """

    ids: list[int]
    labels: list[int]
    target: int = -1

    @property
    def label_tokens(self) -> int:
        """Tokens that are predicted and counted: nothing stands before the first one."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True)
class TokenFile:
    """A set of documents.

    Attributes:
        name: Of the set.
        task: "generation" or "classification".
        classes: Number of classes; 0 for generation.
        pad: The token that short rows are filled with.
        documents: In the order that everyone takes them.
    """

    name: str
    task: str
    classes: int
    pad: int
    documents: Sequence[Document]

    def weight(self, numbers: Sequence[int]) -> int:
        """What the summed loss of these documents is divided by: their label tokens, or their number."""
        if self.task == "classification":
            return len(numbers)
        return sum(self.documents[number].label_tokens for number in numbers)

    def real_tokens(self, numbers: Sequence[int]) -> int:
        """Tokens of these documents."""
        return sum(len(self.documents[number].ids) for number in numbers)


def write_tokens(path: Path, tokens: TokenFile) -> str:
    """Write the file and give its sha256."""
    head = {"name": tokens.name, "task": tokens.task, "classes": tokens.classes, "pad": tokens.pad}
    lines = [json.dumps(head), *(json.dumps(asdict(document)) for document in tokens.documents)]
    data = ("\n".join(lines) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def read_tokens(path: Path | str) -> TokenFile:
    """Read what `write_tokens` wrote."""
    head, *lines = Path(path).read_text(encoding="utf-8").splitlines()
    return TokenFile(**json.loads(head), documents=[Document(**json.loads(line)) for line in lines])
