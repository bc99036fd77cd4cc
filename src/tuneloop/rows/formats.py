"""The formats of rows: how the mapped columns of each become the parts of a Row.

    {"instruction": ..., "input": ..., "output": ...} -> {"messages": (user, assistant)}

A new format is a function from the mapped fields to the parts of a Row, and one line in FORMATS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tuneloop.records import Message
from tuneloop.rows.files import shorten
from tuneloop.rows.values import Fault, as_label, as_messages, as_text, has, look_up

LAST_TURN = "an assistant's turn at the end"
"""`BadRow.expected` of a conversation that ends otherwise: the repair of roles tries these."""
ONE_LABEL = "one label a row"
"""`BadRow.expected` of a row to classify that has several: training knows one class a row."""


@dataclass(frozen=True)
class Fields:
    """One record seen through a layout: our names in, values out."""

    record: Mapping[str, Any]
    columns: Mapping[str, str]

    def theirs(self, name: str) -> str:
        """Their name of our column."""
        return self.columns.get(name, name)

    def get(self, name: str) -> Any:
        """The value of our column, None if there is none."""
        return look_up(self.record, self.columns[name]) if name in self.columns else None

    def text(self, name: str) -> str:
        """A text that must be there and not be blank."""
        value = self.get(name)
        if value is None and not has(self.record, self.theirs(name)):
            raise Fault(self.theirs(name), "no such column", "text that is not empty", "Fill it in or remove the row")
        return as_text(value, self.theirs(name))

    def label(self) -> str | tuple[str, ...]:
        """The label of a row to classify: it must be there, alone."""
        if not has(self.record, self.theirs("label")):
            raise Fault(self.theirs("label"), "no such column", "a label", "Fill it in or remove the row")
        label = as_label(self.get("label"), self.theirs("label"))
        if isinstance(label, tuple) and len(label) > 1:
            raise Fault(self.theirs("label"), f"the labels {shorten(repr(label))}", ONE_LABEL, "Keep one of them")
        return label

    def turns(self, name: str) -> list[Message]:
        """The turns that must be there."""
        if not has(self.record, self.theirs(name)):
            raise Fault(self.theirs(name), "no such column", "a list of turns", "Fill it in or remove the row")
        return as_messages(self.get(name), self.theirs(name))

    def optional(self, name: str) -> str:
        """A text that may be missing, null or blank; then ""."""
        value = self.get(name)
        return "" if value is None or value == "" else as_text(value, self.theirs(name), blank=True)


@dataclass(frozen=True)
class Format:
    """One shape of rows.

    Attributes:
        needs: Our columns that must be there.
        tasks: The tasks that it can teach.
        build: Fields -> parts of a Row; raises Fault.
    """

    needs: tuple[str, ...]
    tasks: tuple[str, ...]
    build: Callable[[Fields], dict[str, Any]]


def _turns(name: str) -> Callable[[Fields], list[Message]]:
    def read(fields: Fields) -> list[Message]:
        messages = fields.turns(name)
        system = fields.optional("system")
        return [Message("system", system), *messages] if system and messages[0].role != "system" else messages

    return read


def _prompt(*names: str) -> Callable[[Fields], list[Message]]:
    """The first of `names` as the question, behind `system` and `history`; `input` joins it on a new line."""

    def read(fields: Fields) -> list[Message]:
        name = next(name for name in names if name in fields.columns)
        value = fields.get(name)
        if isinstance(value, list):  # TRL writes prompts as turns, too
            return as_messages(value, fields.theirs(name))
        question, more, system = fields.text(name), fields.optional("input"), fields.optional("system")
        history = fields.get("history") or []
        turns = [Message("system", system)] if system else []
        pair = "a list of [question, answer] pairs"
        if isinstance(history, str):
            try:
                history = json.loads(history)
            except (ValueError, RecursionError):
                raise Fault(fields.theirs("history"), shorten(history), pair) from None
        for turn in history if isinstance(history, list) else [history]:
            if not isinstance(turn, list | tuple) or len(turn) != 2:
                raise Fault(fields.theirs("history"), shorten(repr(turn)), pair)
            asked, told = (as_text(said, fields.theirs("history")) for said in turn)
            turns += [Message("user", asked), Message("assistant", told)]
        return [*turns, Message("user", f"{question}\n{more}" if more.strip() else question)]

    return read


def _asked(fields: Fields) -> list[Message]:
    """The prompt of any format."""
    for name in ("messages", "conversations"):
        if name in fields.columns:
            return _turns(name)(fields)
    return _prompt("prompt", "instruction")(fields)


def _conversation(name: str) -> Callable[[Fields], dict[str, Any]]:
    def build(fields: Fields) -> dict[str, Any]:
        messages = _turns(name)(fields)
        if messages[-1].role != "assistant":
            got = f"a last turn of the {messages[-1].role}"
            raise Fault(fields.theirs(name), got, LAST_TURN)
        return {"messages": tuple(messages)}

    return build


def _answered(question: str, answer: str) -> Callable[[Fields], dict[str, Any]]:
    def build(fields: Fields) -> dict[str, Any]:
        prompt, told = _prompt(question)(fields), fields.get(answer)
        said = as_messages(told, fields.theirs(answer)) if isinstance(told, list) else []
        last = said or [Message("assistant", fields.text(answer))]
        if last[-1].role != "assistant":
            raise Fault(fields.theirs(answer), f"a last turn of the {last[-1].role}", LAST_TURN)
        return {"messages": (*prompt, *last)}

    return build


def _preference(fields: Fields) -> dict[str, Any]:
    """The prompt with the chosen answer as the one to learn, the rejected one beside it."""
    answers: dict[str, str] = {}
    before: list[Message] = []
    for name in ("rejected", "chosen"):
        value = fields.get(name)
        if isinstance(value, dict):
            value = [value]
        turns = as_messages(value, fields.theirs(name)) if isinstance(value, list) else []
        last = turns[-1] if turns else Message("assistant", fields.text(name))
        if last.role != "assistant":
            raise Fault(fields.theirs(name), f"a last turn of the {last.role}", LAST_TURN)
        answers[name], before = last.content, turns[:-1]
    asked = any(name in fields.columns for name in ("messages", "conversations", "prompt", "instruction"))
    prompt = before if before or not asked else _asked(fields)
    if not prompt:
        expected = "a prompt column, or turns before the answer"
        raise Fault(fields.theirs("chosen"), "an answer without a question", expected)
    return {"messages": (*prompt, Message("assistant", answers["chosen"])), **answers}


def _text(fields: Fields) -> dict[str, Any]:
    return {"text": fields.text("text")}


def _labelled_text(fields: Fields) -> dict[str, Any]:
    return {"text": fields.text("text"), "label": fields.label()}


def _labelled(name: str) -> Callable[[Fields], dict[str, Any]]:
    def build(fields: Fields) -> dict[str, Any]:
        turns = _asked(fields) if name == "prompt" else _turns(name)(fields)
        if not any(turn.role == "user" for turn in turns):
            raise Fault(fields.theirs(name), "no turn of the user", "a user's turn to classify")
        asked = {"text": turns[0].content} if len(turns) == 1 else {"messages": tuple(turns)}
        return {**asked, "label": fields.label()}

    return build


CLASSES, ANSWERS = ("classification",), ("generation",)

FORMATS: dict[str, Format] = {
    "text + label": Format(("text", "label"), CLASSES, _labelled_text),
    "messages + label": Format(("messages", "label"), CLASSES, _labelled("messages")),
    "sharegpt + label": Format(("conversations", "label"), CLASSES, _labelled("conversations")),
    "question + label": Format(("prompt", "label"), CLASSES, _labelled("prompt")),
    "preference": Format(("chosen", "rejected"), ANSWERS, _preference),
    "messages": Format(("messages",), ANSWERS, _conversation("messages")),
    "sharegpt": Format(("conversations",), ANSWERS, _conversation("conversations")),
    "alpaca": Format(("instruction", "output"), ANSWERS, _answered("instruction", "output")),
    "prompt + completion": Format(("prompt", "completion"), ANSWERS, _answered("prompt", "completion")),
    "plain text": Format(("text",), ANSWERS, _text),
}
"""Every format, in the order in which they are looked for."""


def _any_question(fields: Fields) -> dict[str, Any]:
    """What a row asks, its answer left out: for rows that only need to be answered."""
    if "text" in fields.columns and (fields.optional("text").strip() or not fields.columns.keys() & TURNS):
        return _text(fields)
    turns = _asked(fields)
    while turns and turns[-1].role == "assistant":
        turns.pop()
    if not turns:
        raise Fault("", "no turn of the user", "a question")
    return {"text": turns[0].content} if len(turns) == 1 and turns[0].role == "user" else {"messages": tuple(turns)}


TURNS = {"messages", "conversations", "prompt", "instruction"}
ASKING = {"text", *TURNS}

QUESTION = Format((), CLASSES + ANSWERS, _any_question)
