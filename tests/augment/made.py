"""Rows, and a teacher on the loopback address: what the tests of augmentation are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tuneloop.augment.settings import Teacher
from tuneloop.records import Message, Row, content_id

Reply = tuple[int, Any, dict[str, str]]
"""(status, JSON body or raw text, headers)."""


def labelled(text: str, label: str = "greeting") -> Row:
    """A classification row with its own id."""
    row = Row(id="", source="f.jsonl:1", text=text, label=label)
    return replace(row, id=content_id(row))


def talk(*turns: tuple[str, str]) -> Row:
    """A generation row of (role, content) turns."""
    row = Row(id="", source="f.jsonl:1", messages=tuple(Message(role, content) for role, content in turns))
    return replace(row, id=content_id(row))


def said(text: str, finish: str = "stop") -> Reply:
    """A good reply that says `text`."""
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]}, {}


@dataclass
class Fake:
    """A teacher of the test's own.

    Attributes:
        url: Its base_url.
        answer: (what was asked, number of the request) -> reply.
        asked: Every request's body, with its headers under "headers".
    """

    url: str = ""
    answer: Callable[[dict[str, Any], int], Reply] = lambda body, number: said("an answer")
    asked: list[dict[str, Any]] = field(default_factory=list)

    def settings(self, **changes: Any) -> Teacher:
        """How to reach it."""
        return Teacher(**({"base_url": self.url, "model": "m", "timeout": 5.0, "retries": 2, "workers": 2} | changes))
