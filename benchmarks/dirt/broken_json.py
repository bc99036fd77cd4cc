"""Six ways in which a JSON line breaks and its content stays whole."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from benchmarks.dirt.sets import Record

Operator = Callable[[Record, random.Random], str]
ESCAPES = "bfnrtu"
"""Letters that make a JSON escape behind a backslash: these would not be broken, but another text."""


def line_of(record: Record) -> str:
    """A record as one JSON line."""
    return json.dumps(record, ensure_ascii=False)


def cut(record: Record, chance: random.Random) -> str:
    """The line without some of its closing quotes and brackets."""
    line = line_of(record)
    return line[: -chance.randint(1, 2)]  # "} ends every line


def single_quotes(record: Record, chance: random.Random) -> str:
    """The line as Python prints a dict: single quotes, but double ones round a text with an apostrophe."""

    def quoted(value: str) -> str:
        if "'" in value and '"' not in value:
            return line_of(value)  # type: ignore[arg-type]
        inner = json.dumps(value, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("'", "\\'")
        return f"'{inner}'"

    return "{" + ", ".join(f"{quoted(key)}: {quoted(value)}" for key, value in record.items()) + "}"


def trailing_comma(record: Record, chance: random.Random) -> str:
    """A comma behind the last value."""
    return line_of(record)[:-1] + chance.choice((",}", ", }"))


def unquoted_key(record: Record, chance: random.Random) -> str:
    """One key, or every key, without its quotes."""
    keys = list(record) if chance.random() < 0.5 else [chance.choice(list(record))]
    parts = [f"{key if key in keys else json.dumps(key)}: {line_of(value)}" for key, value in record.items()]  # type: ignore[arg-type]
    return "{" + ", ".join(parts) + "}"


def stray_comment(record: Record, chance: random.Random) -> str:
    """A comment before a key, or at the end of the line."""
    line, note = line_of(record), chance.choice(("checked", "TODO", "second batch", "see ticket 4711"))
    if chance.random() < 0.5:
        return f"{line[:-1]} /* {note} */}}"
    return f"{{/* {note} */ {line[1:]}"


def backslash(record: Record, chance: random.Random) -> str:
    """A backslash before an ordinary letter of the text, one that makes no escape."""
    inner = json.dumps(record["text"], ensure_ascii=False)[1:-1]
    places = [
        place
        for place, sign in enumerate(inner)
        if sign.isalpha() and sign not in ESCAPES and (place == 0 or inner[place - 1] != "\\")
    ]
    if not places:
        return trailing_comma(record, chance)
    place = chance.choice(places)
    text = f'"{inner[:place]}\\{inner[place:]}"'
    parts = [f"{json.dumps(key)}: {text if key == 'text' else line_of(value)}" for key, value in record.items()]  # type: ignore[arg-type]
    return "{" + ", ".join(parts) + "}"


OPERATORS: dict[str, Operator] = {
    "cut": cut, "single_quotes": single_quotes, "trailing_comma": trailing_comma, "unquoted_key": unquoted_key,
    "stray_comment": stray_comment, "backslash": backslash,
}  # fmt: skip


def broken(record: Record, how: str, chance: random.Random) -> str:
    """The record as a line that no JSON parser takes.

    Args:
        record: Keys and texts.
        how: A key of OPERATORS.
        chance: The source of chance.

    Raises:
        ValueError: if the line parses all the same (a fault in an operator).
    """
    line = OPERATORS[how](record, chance)
    try:
        json.loads(line)
    except ValueError:
        return line
    raise ValueError(f"{how} left the line whole: {line}")
