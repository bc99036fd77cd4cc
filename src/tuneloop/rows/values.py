"""One value of a record -> text, label, turns or paths, or a Fault that says what stands there and what should."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from tuneloop.records import Message, Role
from tuneloop.rows.files import shorten

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant", "model": "assistant", "bot": "assistant", "function_call": "assistant", "tool": "tool",
    "observation": "tool", "function": "tool", "function_response": "tool",
    "ai": "assistant", "chatgpt": "assistant", "chatbot": "assistant", "customer": "user", "agent": "assistant",
    "系统": "system", "用户": "user", "客户": "user", "顾客": "user", "助手": "assistant", "助理": "assistant",
    "模型": "assistant", "机器人": "assistant", "客服": "assistant", "工具": "tool",
}  # fmt: skip
"""Spellings of a role; case and white space around them do not count."""


UNSEEN = "\u00ad\u200b-\u200f\u2060\ufeff"
"""Signs that nobody sees and that are no white space, as a class of a pattern has them."""
BLANK = re.compile(rf"[\s{UNSEEN}]*")
"""A text in which nobody sees anything."""


class Fault(Exception):
    """A record that is no row, as (field, got, expected, fix): becomes a BadRow."""

    def __init__(self, field: str, got: str, expected: str, fix: str = "Mend or remove the row") -> None:
        super().__init__(field, got, expected, fix)
        self.field, self.got, self.expected, self.fix = field, got, expected, fix


def has(record: Any, path: str) -> bool:
    """Whether a record has a column, by its name or by a dotted path into nested objects and lists."""
    if not isinstance(record, Mapping):
        return False
    if path in record:
        return True
    return "." in path and look_up(record, path) is not None


def look_up(record: Any, path: str) -> Any:
    """The value of a column, by its name or by a dotted path (`meta.topic`, `turns.0.text`); None if there is none."""
    if isinstance(record, Mapping) and path in record:
        return record[path]
    if "." not in path:
        return None
    for part in path.split("."):
        if isinstance(record, Mapping):
            record = record.get(part)
        elif isinstance(record, list) and part.isdigit() and int(part) < len(record):
            record = record[int(part)]
        else:
            return None
    return record


def as_text(value: Any, name: str, *, blank: bool = False) -> str:
    """`value` as text that can be written as UTF-8; `blank` lets white space pass.

    Raises:
        Fault: naming the column `name`.
    """
    if not isinstance(value, str):
        got = "null" if value is None else f"{shorten(repr(value))} ({type(value).__name__})"
        raise Fault(name, got, "text that is not empty", "Write it as text")
    if not blank and BLANK.fullmatch(value):
        raise Fault(name, "blank" if value else "empty", "text that is not empty", "Fill it in or remove the row")
    try:
        value.encode()
    except UnicodeEncodeError:
        fix = "Write the sign itself, or a whole pair of surrogates"
        raise Fault(name, f"half a surrogate pair in {shorten(value)}", "valid Unicode", fix) from None
    return value


def scalar_text(value: Any) -> str:
    """A label or a value of `where` as text: true, false, whole numbers without a point; "" for a missing one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    return "" if value is None else str(value)


def as_label(value: Any, name: str) -> str | tuple[str, ...]:
    """A label, or several, as text.

    Raises:
        Fault: naming the column `name`.
    """
    if isinstance(value, list | tuple):
        if not value:
            raise Fault(name, "an empty list", "a label", "Fill it in or remove the row")
        several = [as_label(item, name) for item in value]
        if not all(isinstance(item, str) for item in several):
            raise Fault(name, shorten(repr(value)), "a label, or a list of labels")
        return tuple(str(item) for item in several)
    if isinstance(value, dict):
        raise Fault(name, "an object", "a label, or a list of labels", "Name the field inside it, such as label.name")
    text = scalar_text(value).strip()
    if not text:
        got = "null" if value is None else "blank" if value else "empty"
        raise Fault(name, got, "a label", "Fill it in or remove the row")
    return as_text(text, name)


def as_messages(value: Any, name: str) -> list[Message]:
    """OpenAI or sharegpt turns, also as a JSON string (CSV); reasoning comes back as `<think>...</think>`.

    Raises:
        Fault: naming the column `name`.
    """
    expected = "a list of turns with role and content (or from and value)"
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Fault(name, shorten(value), expected) from None
    if not isinstance(value, list) or not value:
        raise Fault(name, "an empty list" if value == [] else shorten(repr(value)), expected)
    return [as_message(turn, name) for turn in value]


def as_message(turn: Any, name: str) -> Message:
    """One turn, of either spelling.

    Raises:
        Fault: naming the column `name`.
    """
    if not isinstance(turn, dict):
        raise Fault(name, shorten(repr(turn)), "a turn with role and content (or from and value)")
    role = turn.get("role", turn.get("from"))
    known = ROLES.get(role.strip().lower()) if isinstance(role, str) else None
    if known is None:
        allowed = "one of the roles system, user, assistant, tool (or human, gpt, observation, function_call)"
        raise Fault(name, f"the role {role!r}", allowed, "Rename the role")
    content = turn.get("content", turn.get("value"))
    thought, answer = _parts(content, name)
    thought = thought or turn.get("reasoning_content") or turn.get("reasoning") or ""
    if thought:
        thought = as_text(thought, name).strip()
        answer = f"<think>\n{thought}\n</think>\n\n{_without(answer, thought)}"
    return Message(known, as_text(answer, name))


def _without(answer: str, thought: str) -> str:
    """An answer without its own block of reasoning, where that says nothing, or the same."""
    block, close, rest = answer.partition("</think>")
    told = block.strip().removeprefix("<think>").strip()
    return rest.lstrip() if close and told in ("", thought) else answer


def _parts(content: Any, name: str) -> tuple[str, str]:
    """(reasoning, text) of a turn's content, which is a text or a list of typed parts."""
    if not isinstance(content, list):
        return "", "" if content is None else as_text(content, name, blank=True)
    found = {"reasoning": "", "text": ""}
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in found:
            raise Fault(name, f"a part of the kind {kind!r}", "parts of the kinds text and reasoning")
        found[kind] += as_text(part.get("text", part.get("value", part.get("reasoning"))), name, blank=True)
    return found["reasoning"], found["text"]


def as_paths(value: Any, name: str) -> tuple[str, ...]:
    """The paths of a media column; () for null.

    Raises:
        Fault: naming the column `name`.
    """
    values = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(values, list | tuple) or not all(isinstance(item, str) for item in values):
        raise Fault(name, shorten(repr(value)), "a path, or a list of paths")
    return tuple(as_text(item, name) for item in values)
