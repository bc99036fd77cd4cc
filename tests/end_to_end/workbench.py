"""The real command on tiny models and tiny data: run it in this process or in its own, and look at what it left.

tuneloop("run", "recipe.yaml", folder=place)  ->  Done(status, out, err)
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tuneloop.cli import main

INTENTS = {
    "card": ["my card was declined at {}", "the card did not work when I tried to pay {}", "a lost card near {}"],
    "transfer": ["the transfer to {} did not arrive", "where is the transfer that I sent to {}", "I sent it to {}"],
    "rate": ["what is the exchange rate in {}", "I'd like to know the rate of {}", "how much do you charge in {}"],
}
PLACES = ["rome", "paris", "oslo", "lima", "cairo", "delhi", "tokyo", "quito", "bern", "riga", "minsk", "accra"]
MAIN = "from tuneloop.cli import main; main()"


@dataclass(frozen=True)
class Done:
    """What a command said.

    Attributes:
        status: Its exit status.
        out: Its stdout.
        err: Its stderr.
    """

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Stdout as JSON; the command must have ended well."""
        assert self.status == 0, self.err
        return json.loads(self.out)

    def paragraph(self) -> str:
        """The one paragraph of an expected error: exit 1, nothing on stdout, its line the last, no traceback."""
        assert self.status == 1, (self.status, self.out, self.err)
        assert self.out == ""
        assert "Traceback" not in self.err
        lines = self.err.rstrip("\n").split("\n")
        assert lines[-1].startswith("error: "), self.err
        assert sum(line.startswith("error:") for line in lines) == 1, self.err
        assert all(line.strip() for line in lines), self.err
        return lines[-1].removeprefix("error: ")


def tuneloop(*args: object, folder: Path, stdin: str = "") -> Done:
    """Run the command in this process (torch is loaded once for all tests), in `folder`."""
    out, err, before = io.StringIO(), io.StringIO(), (sys.argv, sys.stdin)
    sys.argv, sys.stdin, status = ["tuneloop", *map(str, args)], io.StringIO(stdin), 0
    try:
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv, sys.stdin = before
    return Done(status, out.getvalue(), err.getvalue())


def start(*args: object, folder: Path, script: str = MAIN, **environment: str) -> subprocess.Popen[str]:
    """Start the command in a process of its own.

    Args:
        *args: Of the command.
        folder: Where it runs.
        script: What runs it.
        **environment: Variables to set; an empty value takes one away.
    """
    wanted = {name: value for name, value in {**os.environ, **environment}.items() if value}
    command = [sys.executable, "-c", script, *map(str, args)]
    return subprocess.Popen(
        command, cwd=folder, env=wanted, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], *, seconds: float = 120) -> Done:
    """Wait for a started command."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Done(process.returncode, out, err)


# -- rows and recipes ------------------------------------------------------------------------------


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def intent_rows(places: Iterable[str]) -> list[dict[str, str]]:
    """A row for each intent, wording and place; texts are distinct."""
    return [
        {"text": wording.format(place), "label": label}
        for place in places
        for label, wordings in INTENTS.items()
        for wording in wordings
    ]


def answer_rows(places: Iterable[str], *, think: bool = False) -> list[dict[str, str]]:
    """A question and its answer for each place and intent, with reasoning before it if asked."""
    rows = []
    for place in places:
        for label, wordings in INTENTS.items():
            thought = f"<think>\nthis is about a {label}\n</think>\n\n" if think else ""
            rows.append({"prompt": wordings[0].format(place), "completion": f"{thought}your {label}: {place}"})
    return rows


def write_intents(folder: Path) -> None:
    """train.jsonl (72 rows), validation.jsonl (18) and test.jsonl (18), three intents."""
    for name, places in {"train": PLACES[:8], "validation": PLACES[8:10], "test": PLACES[10:]}.items():
        write_jsonl(folder / f"{name}.jsonl", intent_rows(places))


def write_answers(folder: Path, *, think: bool = False) -> None:
    """train.jsonl (24 rows), validation.jsonl (6) and test.jsonl (6), questions with answers."""
    for name, places in {"train": PLACES[:8], "validation": PLACES[8:10], "test": PLACES[10:]}.items():
        write_jsonl(folder / f"{name}.jsonl", answer_rows(places, think=think))


def recipe_tree(task: str, model: Path | str, **changes: Any) -> dict[str, Any]:
    """A short recipe over train.jsonl, validation.jsonl and test.jsonl.

    Args:
        task: classification or generation.
        model: model.name_or_path.
        **changes: `section__key=value`, or `key=value` at the top.
    """
    tree: dict[str, Any] = {
        "name": "r", "seed": 1, "task": {"type": task}, "model": {"name_or_path": str(model)},
        "data": {
            "train": "train.jsonl", "validation": "validation.jsonl", "test": "test.jsonl", "max_length": 64,
        },
        "clean": {"near_duplicates": False},  # the rows here are of one pattern, many nearly alike
        "adapt": {"method": "lora", "rank": 4, "alpha": 8.0},
        "train": {
            "per_device_train_batch_size": 8, "learning_rate": 1e-2, "num_train_epochs": 1, "warmup_steps": 0,
            "logging_steps": 1, "report_to": [],
        },
        "evaluate": {"max_new_tokens": 4, "latency": False, "untuned_rows": 6},
    }  # fmt: skip
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            tree.setdefault(section, {})[key] = value
        else:
            tree[section] = value
    return tree


def write_recipe(folder: Path, task: str, model: Path | str, *, file: str = "recipe.yaml", **changes: Any) -> Path:
    """`recipe_tree` as a file in `folder`."""
    path = folder / file
    path.write_text(yaml.safe_dump(recipe_tree(task, model, **changes), allow_unicode=True), encoding="utf-8")
    return path


# -- what a command left ---------------------------------------------------------------------------


def files_of(folder: Path) -> dict[str, str]:
    """Relative path -> sha256 of every file below `folder`, but the locks (one holds a process id)."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", ".review.lock")
    }


def runs_of(folder: Path) -> list[str]:
    """Names of the run folders."""
    return sorted(path.name for path in (folder / "runs").glob("*"))


def read_json(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def lines_of(path: Path) -> list[dict[str, Any]]:
    """A JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
