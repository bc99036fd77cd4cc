"""The layout of a set: its format and its columns, told once by all its column names; it turns records into Rows.

record {"question": ..., "topic": ...} --Layout (ours -> theirs, where)--> Row(text=..., label=...) | BadRow
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tuneloop.errors import DataError, RecipeError
from tuneloop.records import BadRow, Row, content_id
from tuneloop.rows.files import plain, shorten
from tuneloop.rows.formats import ASKING, FORMATS, QUESTION, Fields, Format
from tuneloop.rows.values import Fault, as_label, as_paths, as_text, has, look_up, scalar_text

Where = Mapping[str, str | int | float | bool]

ALIASES: dict[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "content", "文本", "句子", "内容"),
    "label": ("label", "labels", "category", "class", "标签", "类别", "分类"),
    "messages": ("messages", "消息"),
    "conversations": ("conversations", "conversation", "对话"),
    "prompt": ("prompt", "question", "query", "问题", "提问", "提示词"),
    "completion": ("completion", "response", "answer", "回答", "答案", "回复"),
    "instruction": ("instruction", "指令"),
    "input": ("input", "输入"),
    "output": ("output", "输出"),
    "system": ("system", "系统提示词"),
    "history": ("history", "历史"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "images": ("images",),
    "audios": ("audios",),
    "time": ("time", "timestamp"),
    "weight": (),  # only where `columns` says so: a user's column `weight` may be kilograms
}
"""Our columns -> the names by which they are found, in order, where `columns` does not say; see `plain_name`."""

SYNONYMS = {"question": "prompt", "answer": "completion", "response": "completion"}
"""Other words for our columns that `columns` takes."""


WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
"""Full-width signs -> the ASCII ones."""


@functools.lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """A column's name as it is compared: case, white space, full-width signs, hyphens and end marks do not count."""
    name = name.translate(WIDE).strip("\ufeff \t\r\n\u00a0\"'").rstrip(" :.,;!?*。，：；、").casefold()
    return re.sub(r"[\s_-]+", "_", name)


@dataclass(frozen=True)
class Layout:
    """How the records of one set become rows: called with (record, source) it gives a Row or a BadRow.

    Attributes:
        name: The format, as it is said aloud.
        shape: The format.
        columns: Ours -> theirs, for all of ours that the set has.
        where: Their column (or ours) -> the value that rows must have.
    """

    name: str
    shape: Format
    columns: Mapping[str, str]
    where: Where = field(default_factory=dict)

    def __reduce__(self) -> tuple[Any, ...]:
        """To other processes goes the name of the format, not its functions."""
        key = next((key for key, shape in FORMATS.items() if shape is self.shape), "")
        return _layout, (self.name, key, dict(self.columns), dict(self.where))

    def wanted(self, record: Mapping[str, Any]) -> bool:
        """Whether `where` lets a record in."""
        return all(_matches(look_up(record, self.theirs(name, record)), value) for name, value in self.where.items())

    def theirs(self, name: str, record: Mapping[str, Any]) -> str:
        """Their column that a recipe means by `name`: their own name first, else the one that ours stands for."""
        return name if has(record, name) else self.columns.get(SYNONYMS.get(name, name), name)

    def __call__(self, record: Any, source: str) -> Row | BadRow:
        """One record as a Row, or as a BadRow whose `raw` is the record as JSON."""
        try:
            if not isinstance(record, dict):
                raise Fault("", shorten(repr(record)), "a JSON object with named columns")
            if not self.wanted(record):
                rule = ", ".join(f"{name} = {scalar_text(value)}" for name, value in self.where.items())
                raise Fault("", "a row that data.where leaves out", rule, "It is left out on purpose")
            self._refuse_other_spelling(record)
            return self._row(Fields(record, self.columns), source)
        except Fault as fault:
            raw = json.dumps(record, ensure_ascii=True, default=str)
            return BadRow(source, fault.field, fault.got, fault.expected, fault.fix, raw)

    def _refuse_other_spelling(self, record: Mapping[str, Any]) -> None:
        """An `Input ` where the other rows have `input` would be passed over, and the row not say what it says."""
        missing = [theirs for theirs in self.columns.values() if theirs not in record]
        for key in record if missing else ():
            for theirs in missing:
                if plain_name(key) == plain_name(theirs) and key not in self.columns.values():
                    raise Fault(theirs, "no such column", f"the column {theirs!r}, not {key!r}", "Rename the column")

    def _row(self, fields: Fields, source: str) -> Row:
        parts = self.shape.build(fields)
        used = set(self.columns.values())
        if "label" in self.columns and "label" not in parts:
            try:
                parts["label"] = as_label(fields.get("label"), fields.theirs("label"))
            except Fault:  # the format does not need one: what is no label stays among the user's other columns
                used.discard(fields.theirs("label"))
        for name in ("images", "audios"):
            if name in self.columns:
                parts[name] = as_paths(fields.get(name), fields.theirs(name))
        if fields.get("time") is not None:
            parts["time"] = as_text(str(plain(fields.get("time"))), fields.theirs("time"), blank=True)
        if "weight" in self.columns:
            parts["weight"] = _weight(fields.get("weight"), fields.theirs("weight"))
        meta = {key: plain(value) for key, value in fields.record.items() if key not in used}
        row = Row(id="", source=source, meta=meta, **parts)
        return replace(row, id=content_id(row))


def _layout(name: str, key: str, columns: Mapping[str, str], where: Where) -> Layout:
    return Layout(name, FORMATS[key] if key else QUESTION, columns, where)


def _weight(value: Any, name: str) -> float:
    try:
        weight = 1.0 if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        weight = -1.0
    if not (math.isfinite(weight) and weight >= 0):
        raise Fault(name, shorten(repr(value)), "a weight, a number of at least 0")
    return weight


def _matches(found: Any, wanted: str | int | float | bool) -> bool:
    if isinstance(found, list):
        return any(_matches(item, wanted) for item in found)
    left, right = scalar_text(found), scalar_text(wanted)
    return left.lower() == right.lower() if isinstance(wanted, bool) else left == right


@dataclass
class Columns:
    """The columns of a set, as far as it was looked through.

    Attributes:
        names: Column -> records that have it, in the order in which they were met.
        filled: Those that hold more than null and [] somewhere.
        sample: The first record.
        rows: Records that were looked at.
    """

    names: Counter[str] = field(default_factory=Counter)
    filled: set[str] = field(default_factory=set)
    sample: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Look at one more record."""
        self.names.update(record.keys())
        self.filled.update(key for key, value in record.items() if value is not None and value != [])
        self.sample = self.sample or record
        self.rows += 1

    def join(self, other: Columns) -> None:
        """Take in what was found further on in the set."""
        self.names.update(other.names)
        self.filled |= other.filled
        self.sample = self.sample or other.sample
        self.rows += other.rows


def find_layout(seen: Columns, *, task: str, columns: Mapping[str, str], where: Where, name: str) -> Layout:
    """Tell the format of a set by all its column names.

    Args:
        seen: All columns of the set.
        task: classification, generation, or question (rows that only need to be answered).
        columns: Ours -> theirs, from the recipe.
        where: From the recipe; its columns must be there.
        name: How errors call the set.

    Raises:
        RecipeError: if `columns` names something that is not a column of ours.
        DataError: if a named column is not there, or no format fits.
    """
    sample, keys, count = seen.sample, seen.names, seen.rows
    found = list(keys)
    known = _named(columns, found, sample, name, lenient=task == "question")
    explicit = set(known)
    taken = set(known.values())
    for ours, names in ALIASES.items():
        if ours in known:
            continue
        free = {key: keys[key] for key in found if key not in taken}
        theirs = _theirs(names, free, count)
        if theirs is not None:
            known[ours] = theirs
    for key in where:
        if key not in keys and not has(sample, key) and SYNONYMS.get(key, key) not in known:
            raise _no_column("data.where", key, found, name)
    if task != "question":
        return _best(known, explicit, seen.filled, found, task, where, name)
    asking = (explicit & ASKING) or ASKING
    used = {ours: theirs for ours, theirs in known.items() if ours in asking or ours in ("system", "history", "input")}
    if not used.keys() & ASKING:
        raise DataError(
            f"{name} has no column with a question or a text", got=f"the columns {', '.join(found[:40])}",
            allowed=", ".join(sorted(ASKING)), fix="Name the column in data.columns, e.g. {text: question}",
        )  # fmt: skip
    return Layout("question", QUESTION, used, where)


def _theirs(names: tuple[str, ...], free: Mapping[str, int], rows: int) -> str | None:
    """Their column that has one of the names: the first name that most rows have, else the column of the most rows.

    A name as it stands goes before one that is only written like it.
    """
    plain_names = {plain_name(key): key for key in reversed(list(free))}
    alike = [plain_names[name] for name in names if name in plain_names]
    there = list(dict.fromkeys([*(name for name in names if name in free), *alike]))
    usual = [name for name in there if free[name] * 2 > rows]
    return usual[0] if usual else max((key for key in free if key in there), key=lambda key: free[key], default=None)


def _named(
    columns: Mapping[str, str], found: list[str], sample: Mapping[str, Any], name: str, *, lenient: bool
) -> dict[str, str]:
    """The mapping that the recipe gives, checked; `lenient` drops what is not there: rows to answer have no answers."""
    known: dict[str, str] = {}
    for word, theirs in columns.items():
        ours = SYNONYMS.get(word, word)
        if ours not in ALIASES:
            near = difflib.get_close_matches(word, ALIASES, n=1)
            raise RecipeError(
                f"data.columns: {word!r} is none of our columns", allowed=", ".join(ALIASES),
                fix=f"Did you mean {near[0]!r}? It is written ours: yours" if near else "It is written ours: yours",
            )  # fmt: skip
        if theirs in found or has(sample, theirs):
            known[ours] = theirs
        elif not lenient:
            raise _no_column("data.columns", theirs, found, name)
    return known


def _no_column(key: str, column: str, found: list[str], name: str) -> DataError:
    near = difflib.get_close_matches(column, found, n=1, cutoff=0.5)
    return DataError(
        f"{key} names the column {column!r}, which {name} does not have",
        got=f"the columns {', '.join(found[:40])}",
        fix=f"Did you mean {near[0]!r}?" if near else "Name one of these columns",
    )


def _best(
    known: dict[str, str], explicit: set[str], filled: set[str], found: list[str], task: str, where: Where, name: str
) -> Layout:
    """The format that uses the most columns that the recipe names, else the first that fits and has values.

    A table may have columns for every format and nulls in most, as the tables of a run have.
    """
    fitting = [key for key, shape in FORMATS.items() if task in shape.tasks and set(shape.needs) <= set(known)]
    if task == "generation" and "label" in known and fitting == ["plain text"] and "text" not in explicit:
        raise DataError(
            f"The rows of {name} have a text and a label, and a generation task trains on neither as an answer",
            got=f"the columns {', '.join(found[:40])}",
            fix="Set task: {type: classification}, or say which column is the answer: data.columns: "
            f"{{prompt: {known['text']}, completion: ...}}",
        )
    if not fitting:
        needs = " | ".join(dict.fromkeys(" + ".join(s.needs) for s in FORMATS.values() if task in s.tasks))
        example = "{prompt: question, completion: reply}"
        if task == "classification":
            example = "{text: question, label: topic}"
        raise DataError(
            f"The columns of {name} fit no format of a {task} task",
            got=f"the columns {', '.join(found[:40])}", allowed=needs,
            fix=f"Say which column is which in data.columns, e.g. {example}",
        )  # fmt: skip

    def fits(key: str) -> tuple[int, bool]:
        needs = FORMATS[key].needs
        return len(explicit & set(needs)), all(known[ours] in filled for ours in needs)

    best = max(fitting, key=fits)  # the first of equals
    used = {ours: known[ours] for ours in known if ours in _used_by(FORMATS[best])}
    said = f"{best}: {' + '.join(known[ours] for ours in FORMATS[best].needs)}"
    plain_name = best if all(known[ours] == ours for ours in FORMATS[best].needs) else said
    return Layout(plain_name, FORMATS[best], used, where)


def _used_by(shape: Format) -> set[str]:
    """Our columns that a format reads; others stay in the row's meta."""
    needs = set(shape.needs)
    used = needs | {"images", "audios", "time", "weight", "label"}
    if "label" in needs or needs == {"text"}:
        used -= {"label"} - needs
    if needs & {"instruction", "prompt", "messages", "conversations", "chosen"}:
        used.add("system")
    if needs & {"instruction", "prompt"}:
        used |= {"input", "history"} if "instruction" in needs else {"history"}
    if "chosen" in needs:
        used |= {"messages", "conversations", "prompt", "instruction", "input", "history"}
    return used
