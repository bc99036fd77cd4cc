"""Basic cleaning of training rows: broken JSON, wrong encoding, exact duplicates.

    rows + bad rows, in file order --each stage--> the same places, each now a Row, a BadRow or a Dropped

A stage is a function (items, parse) -> (items, repairs) that returns as many items as it got, in their order, so
that a row can be mended or dropped but never lost. A new stage is one more such function and its line in CLEANERS.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuneloop.records import BadRow, Dropped, Message, Repair, Row, Split, row_json
from tuneloop.rows.cut_off import open_at_end
from tuneloop.rows.files import JSON_LINE
from tuneloop.rows.read import source_place
from tuneloop.sections import Clean

Item = Row | BadRow | Dropped
Parse = Callable[[Any, str], Row | BadRow]
Stage = Callable[[Sequence[Item], Parse], tuple[list[Item], list[Repair]]]

REPAIR_LIMIT = 200_000
"""Characters of a broken line beyond which no repair is tried: it takes time that grows faster than the line."""


@dataclass(frozen=True)
class Cleaned:
    """What cleaning gave; kept and dropped add up to the rows and bad rows that went in.

    Attributes:
        kept: The rows to train on.
        dropped: The others, each with its reason.
        repairs: What was mended.
    """

    kept: list[Row]
    dropped: list[Dropped]
    repairs: list[Repair]


def clean_rows(rows: list[Row], bad: list[BadRow], *, clean: Clean, parse: Parse) -> Cleaned:
    """Run the stages that the recipe switches on; what is still bad at the end is dropped.

    Args:
        rows: Training rows.
        bad: Training rows that could not be read as they stand.
        clean: Which stages.
        parse: (record, source) -> Row or BadRow, as the rows were read.
    """
    order: dict[str, int] = {}
    given: list[Row | BadRow] = [*rows, *bad]
    for item in given:
        order.setdefault(item.source.rpartition(":")[0], len(order))
    items: list[Item] = sorted(given, key=lambda item: source_place(item.source, order))
    repairs: list[Repair] = []
    for name, stage in CLEANERS.items():
        if getattr(clean, name):
            before = len(items)
            items, mended = stage(items, parse)
            repairs += mended
            if len(items) != before:
                raise AssertionError(f"the cleaning stage {name} took {before} rows and gave {len(items)}")
    kept = [item for item in items if isinstance(item, Row)]
    dropped = [dropped_bad(item) if isinstance(item, BadRow) else item for item in items if not isinstance(item, Row)]
    ids = {row.source: row.id for row in kept}  # a row that was mended twice has the id of its last content
    return Cleaned(kept, dropped, [replace(r, row=ids[r.source]) for r in repairs if r.source in ids])


def dropped_bad(bad: BadRow, split: Split = "train", stage: str = "read") -> Dropped:
    """A bad row as a dropped one, its line whole."""
    reason = f"{bad.field}: expected {bad.expected}" if bad.field else f"expected {bad.expected}"
    if bad.field and bad.got in ("empty", "blank", "null", "no such column", "an empty list"):
        reason = f"{bad.field} is {bad.got}" if bad.got != "no such column" else f"{bad.field} is missing"
    return Dropped(bad.source, stage, reason, bad.raw, split)


def dropped_row(row: Row, stage: str, reason: str, twin: str = "") -> Dropped:
    """A row as a dropped one, all its columns as JSON; `twin` is the source of the row that it repeats."""
    return Dropped(row.source, stage, reason, row_json(row), twin=twin)


# -- broken JSON ----------------------------------------------------------------------------------------------


def repair_json(items: Sequence[Item], parse: Parse) -> tuple[list[Item], list[Repair]]:
    """Mend lines that are no JSON; those that are cut off inside the row's content, or lack a column, are dropped."""
    done: list[Item] = []
    repairs: list[Repair] = []
    for item in items:
        if not isinstance(item, BadRow) or item.expected != JSON_LINE:
            done.append(item)
            continue
        mended = _mended(item, parse)
        done.append(mended)
        if isinstance(mended, Row):
            repairs.append(Repair(mended.id, item.source, "repair_json", "", item.raw, row_json(mended)))
    return done, repairs


def _mended(bad: BadRow, parse: Parse) -> Row | Dropped:
    def dropped(reason: str) -> Dropped:
        return Dropped(bad.source, "repair_json", reason, bad.raw)

    if len(bad.raw) > REPAIR_LIMIT:
        return dropped(f"broken JSON, too long to repair (over {REPAIR_LIMIT:,} characters)")
    if _several(bad.raw):  # a repair would keep one of them and lose the others
        return dropped("several objects on one line")
    record = _guess(bad.raw)
    if isinstance(record, list) and len(record) == 1:
        record = record[0]
    if not isinstance(record, dict) or not record:
        return dropped("broken JSON that cannot be repaired")
    row = parse(record, bad.source)
    if open_at_end(bad.raw):
        # What is cut is the last value. If the row's content does not hang on it, the row is whole without it.
        last = next(reversed(record))
        without = parse({key: value for key, value in record.items() if key != last}, bad.source)
        whole = isinstance(row, Row) and isinstance(without, Row) and _same_content(row, without)
        if not whole:
            return dropped("cut off")
        row = without
    if isinstance(row, BadRow):
        return dropped_bad(replace(row, raw=bad.raw), stage="repair_json")
    return row.through("repair_json")


def _guess(raw: str) -> Any:
    """json_repair's reading of a broken line, None where it has none."""
    import json_repair

    try:
        return json_repair.repair_json(raw, return_objects=True, skip_json_loads=True)
    except Exception:  # it guesses at hostile input, and fails in many ways (RecursionError among them)
        return None


def _several(raw: str) -> bool:
    """Whether a line is a whole JSON object with another one behind it."""
    try:
        _, end = json.JSONDecoder().raw_decode(raw.lstrip())
    except (ValueError, RecursionError):
        return False
    return raw.lstrip()[end:].lstrip(" ,;\t").startswith("{")


def _same_content(one: Row, other: Row) -> bool:
    return one.id == other.id and (one.time, one.weight) == (other.time, other.weight)


# -- encoding -------------------------------------------------------------------------------------------------

_SUSPECT = re.compile(
    r"[^\t\n\r\x20-\x7e\u2010-\u2027\u2030-\u205e\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
    r"\U0001f300-\U0001faff\U00020000-\U0003ffff]"
)
"""A broken text has one of these: ASCII, curly quotes, CJK and emoji alone are no mojibake. It spares ftfy's time."""


def repair_encoding(items: Sequence[Item], parse: Parse) -> tuple[list[Item], list[Repair]]:
    """Mend mojibake and take out control characters, in every text of a row; a clean text is never touched.

    A label is mended only into one that other rows have: else the fault is the label's very name, in test rows too.
    """
    labels = Counter(item.label for item in items if isinstance(item, Row) and isinstance(item.label, str))
    done: list[Item] = []
    repairs: list[Repair] = []
    for item in items:
        if not isinstance(item, Row):
            done.append(item)
            continue
        row, changed = _decoded(item, labels)
        done.append(row)
        if isinstance(row, Row):
            repairs += [Repair(row.id, row.source, "repair_encoding", *change) for change in changed]
    return done, repairs


def _decoded(row: Row, labels: Counter[str]) -> tuple[Row | Dropped, list[tuple[str, str, str]]]:
    """The row with its texts mended, and (field, before, after) of each that changed."""
    changed: list[tuple[str, str, str]] = []

    def mend(value: str, name: str) -> str:
        after = mended_text(value)
        if after != value:
            changed.append((name, value, after))
        return after

    parts: dict[str, Any] = {"text": mend(row.text, "text")}
    parts["messages"] = tuple(
        Message(turn.role, mend(turn.content, f"messages.{place}")) for place, turn in enumerate(row.messages)
    )
    for name, value in (("chosen", row.chosen), ("rejected", row.rejected)):
        parts[name] = None if value is None else mend(value, name)
    parts["meta"] = {key: mend(value, key) if isinstance(value, str) else value for key, value in row.meta.items()}
    if isinstance(row.label, str) and labels[mended_text(row.label)]:
        parts["label"] = mend(row.label, "label")
    if not changed:
        return row, []
    blank = [name for name, before, after in changed if before.strip() and not after.strip()]
    if any(name not in row.meta for name in blank):
        return dropped_row(row, "repair_encoding", f"{blank[0]} is empty after the repair"), []
    return row.through("repair_encoding", **parts), changed


def mended_text(text: str) -> str:
    """A text without mojibake and control characters; the same object if it has neither.

    Only what is broken changes: curly quotes, ligatures, full-width signs, line ends, HTML entities and the Unicode
    form stay as they are.
    """
    if not _SUSPECT.search(text):
        return text
    import ftfy

    return ftfy.fix_text(
        text, unescape_html=False, fix_latin_ligatures=False, fix_character_width=False, uncurl_quotes=False,
        fix_line_breaks=False, normalization=None,
    )  # fmt: skip


# -- duplicates -----------------------------------------------------------------------------------------------


def exact_duplicates(items: Sequence[Item], parse: Parse) -> tuple[list[Item], list[Repair]]:
    """Drop rows whose normalised content and label stand in an earlier row. The same text with another label stays."""
    first: dict[str, str] = {}
    done: list[Item] = []
    for item in items:
        if isinstance(item, Row):
            original = first.setdefault(content_key(item), item.source)
            if original != item.source:
                done.append(dropped_row(item, "exact_duplicates", f"says the same as {original}", original))
                continue
        done.append(item)
    return done, []


def normalised(text: str) -> str:
    """What two texts that say the same have in common: NFKC, case folded, white space collapsed."""
    if text.isascii():  # NFKC changes no ASCII
        return " ".join(text.casefold().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def content_key(row: Row) -> str:
    """A row's whole content, normalised; labels and media count as they are."""
    turns = [[turn.role, normalised(turn.content)] for turn in row.messages]
    answers = [None if answer is None else normalised(answer) for answer in (row.chosen, row.rejected)]
    label = list(row.label) if isinstance(row.label, tuple) else row.label
    return json.dumps([normalised(row.text), turns, answers, label, list(row.images), list(row.audios)])


CLEANERS: dict[str, Stage] = {
    "repair_json": repair_json,
    "repair_encoding": repair_encoding,
    "exact_duplicates": exact_duplicates,
}
"""Every basic cleaning stage, by its key in the recipe's section `clean`, in their order."""
