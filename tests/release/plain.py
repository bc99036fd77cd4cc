"""A model card's code, executed, and tuneloop's own logits to hold it against."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import torch

from tuneloop.examples.encode import encode_classification, encode_prompt
from tuneloop.examples.template import template_of
from tuneloop.model.saved import Tuned
from tuneloop.records import Message, Row

TEXTS = ["my card was declined", "how do I reset the PIN and pay the transfer twice? " * 8]  # the second is cut at 48


def run_card(folder: Path, base: Path, text: str) -> dict[str, Any]:
    """Execute the Python block of the README that was written; gives its names."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    code = card.partition("```python\n")[2].partition("```")[0]
    assert "tuneloop" not in code and "logits" in code
    names: dict[str, Any] = {"BASE": str(base), "HERE": str(folder), "text": text}
    exec(compile(ast.parse(code), "README.md", "exec"), names)
    return names


@torch.no_grad()
def our_logits(tuned: Tuned, text: str) -> torch.Tensor:
    row = Row(id="r", source="s:1", text=text)
    if tuned.args["task"] == "classification":
        (example,) = encode_classification([row], tuned.tokenizer, tuned.labels, max_length=48)
        ids = torch.tensor([example.input_ids])
        return tuned.model(ids, torch.ones_like(ids))
    template = template_of(tuned.tokenizer)
    ids = encode_prompt([Message("user", text)], tuned.tokenizer, template, think="keep", max_length=4096)
    return tuned.model(input_ids=torch.tensor([ids])).logits
