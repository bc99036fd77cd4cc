"""Rows -> train, validation, test, by hash: the same rows fall on the same side whatever stands around them.

side = hash(seed, "test" | "validation", the group, else what the row asks)  against the share
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuneloop.errors import DataError
from tuneloop.records import BadRow, Row, Split
from tuneloop.rows.layout import SYNONYMS
from tuneloop.rows.read import Reading
from tuneloop.rows.room import MEMORY, Room
from tuneloop.rows.values import has, look_up, scalar_text
from tuneloop.shelf import Store

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """The three sides. Every row of the readings is on exactly one, in its old order.

    Attributes:
        train: Rows to learn from.
        validation: Rows that choose the checkpoint.
        test: Rows that score the model.
        bad: The bad rows of each side.
    """

    train: Sequence[Row]
    validation: Sequence[Row]
    test: Sequence[Row]
    bad: dict[Split, Sequence[BadRow]]


def split_rows(
    train: Reading, *, validation: Reading | float, test: Reading | float, seed: int, group_by: str | None,
    room: Room = MEMORY,
) -> Splits:  # fmt: skip
    """Cut the shares out of the training rows, before any cleaning.

    Rows with the same raw text (or prompt) always fall on one side, and with `group_by` rows of the same group.
    Shares are shares of `train` as it was read. A bad row falls where the hash of its raw line says.

    Args:
        train: The training rows.
        validation: Rows of their own, or a share in (0, 1).
        test: Rows of their own, or a share in (0, 1).
        seed: Another seed gives other sides.
        group_by: A column, ours or the user's; None for none.
        room: Where the sides are kept.

    Raises:
        DataError: if `group_by` is no column, or the shares leave nothing to train on.
    """
    shares: dict[Split, float] = {}
    if isinstance(test, float):
        shares["test"] = test
    if isinstance(validation, float):
        shares["validation"] = validation
    if sum(shares.values()) >= 1:
        raise DataError(
            "data.validation and data.test leave no training rows", got=f"shares of {sum(shares.values()):g} together",
            allowed="less than 1", fix="Make them smaller, e.g. 0.1 each",
        )  # fmt: skip
    group = group_of(train, group_by) if group_by else None
    rows: dict[Split, Store[Row]] = {split: room.store() for split in SPLITS}
    bad: dict[Split, Store[BadRow]] = {split: room.store() for split in SPLITS}
    for row in train.rows:
        rows[side_of((group(row) if group else None) or raw_key(row), shares, seed)].append(row)
    for line in train.bad:
        bad[side_of(line.raw, shares, seed)].append(line)
    sides: dict[Split, Sequence[Row]] = dict(rows)
    lost: dict[Split, Sequence[BadRow]] = dict(bad)
    apart: dict[Split, Reading | float] = {"validation": validation, "test": test}
    for split, given in apart.items():
        if isinstance(given, Reading):
            sides[split], lost[split] = given.rows, given.bad
    return Splits(sides["train"], sides["validation"], sides["test"], lost)


def raw_key(row: Row) -> str:
    """What a row asks, raw: its text, or all its turns before the answer; its content where it asks nothing."""
    turns = row.messages[:-1] if row.answer else row.messages
    asked = row.text or "\n".join(f"{turn.role}: {turn.content}" for turn in turns)
    return asked or row.id


def side_of(key: str, shares: dict[Split, float], seed: int) -> Split:
    """The side on which a key falls.

    Args:
        key: The group or the raw text.
        shares: Side -> its share of all rows; what is left is train.
        seed: Of the recipe.
    """
    taken = 0.0
    for split, share in shares.items():
        # the later share is cut from what the earlier one left, so it is scaled up to stay a share of all rows
        if fraction(seed, split, key) < share / (1 - taken):
            return split
        taken += share
    return "train"


def fraction(seed: int, purpose: str, key: str) -> float:
    """A number in [0, 1) that follows from its arguments alone (sha256)."""
    digest = hashlib.sha256(f"{seed}|{purpose}|{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6]) / 2**48


def group_of(reading: Reading, name: str) -> Callable[[Row], str | None]:
    """A function Row -> its value in the column `name`; None where the row has none there.

    Args:
        reading: Rows, and the columns that they were read from.
        name: A column of ours, or the user's name of it, or one of the row's other columns.

    Raises:
        DataError: if no row has such a column.
    """
    ours = next((o for o, theirs in reading.columns.items() if theirs == name), SYNONYMS.get(name, name))
    from_row: dict[str, Callable[[Row], str | None]] = {
        "label": lambda row: scalar_text(row.label) or None, "time": lambda row: row.time,
        "completion": lambda row: row.answer, "output": lambda row: row.answer,
        "chosen": lambda row: row.chosen, "rejected": lambda row: row.rejected,
    }  # fmt: skip
    asked = ("text", "prompt", "instruction", "messages", "conversations")
    if any(has(row.meta, name) for row in reading.rows):
        return lambda row: scalar_text(plain_value(look_up(row.meta, name))) or None
    if ours in from_row and ours in reading.columns:
        return from_row[ours]
    if ours in asked and (ours in reading.columns or ours in ("text", "prompt")):
        return raw_key
    columns = list(dict.fromkeys([*reading.columns.values(), *(key for row in reading.rows[:100] for key in row.meta)]))
    raise DataError(
        f"data.group_by names the column {name!r}, which the rows do not have",
        got=f"the columns {', '.join(columns)}", fix="Name one of these columns, or leave group_by out",
    )  # fmt: skip


def plain_value(value: object) -> object:
    """A nested group value as text, so that equal values are equal keys."""
    return repr(value) if isinstance(value, dict | list) else value
