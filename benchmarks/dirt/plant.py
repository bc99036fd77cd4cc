"""Planting: which row gets which fault, where the added rows stand, and the list of all of it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from benchmarks.dirt.broken_json import OPERATORS, broken, line_of
from benchmarks.dirt.edits import near_twin, words_of
from benchmarks.dirt.mojibake import mojibake, with_accents
from benchmarks.dirt.noise import noise_rows
from benchmarks.dirt.sets import Record, language, made_up, read_set, strangers
from tuneloop.errors import DataError

MADE_UP_ROWS = 200
MADE_UP_STRANGERS = {
    "rhymes": [f"{who} {what} {where}" for who in ("the cow", "three mice", "a star", "little Ann", "the old king")
               for what in ("jumped", "ran away", "sat down", "sang") for where in ("over the moon", "up the hill")]
}  # fmt: skip


@dataclass(frozen=True)
class Rates:
    """Shares of the clean rows, in [0, 1); 0 leaves a kind out.

    Attributes:
        exact: Added copies of a row.
        near: Added copies with one to three words edited.
        broken_json: Lines that no parser takes.
        mojibake: Texts in a wrong encoding.
        off_topic: Added rows of another set.
        flipped: Labels replaced by another one of the set.
        noise: Added rows of gibberish, of a wrong language, of a template.
    """

    exact: float = 0.05
    near: float = 0.05
    broken_json: float = 0.05
    mojibake: float = 0.03
    off_topic: float = 0.05
    flipped: float = 0.05
    noise: float = 0.05

    def times(self, factor: float) -> Rates:
        """All rates multiplied."""
        return Rates(**{name: rate * factor for name, rate in asdict(self).items()})

    def only(self, *kinds: str) -> Rates:
        """These kinds at their rates, the others left out."""
        return Rates(**{name: rate if name in kinds else 0.0 for name, rate in asdict(self).items()})


KINDS = tuple(field.name for field in fields(Rates))


@dataclass(frozen=True)
class Planted:
    """One fault.

    Attributes:
        line: Where it stands in the dirty lines, from 1.
        kind: One of KINDS.
        how: The operator or maker, e.g. "trailing_comma", "2 edits", "gibberish/symbols", "sms_spam".
        of: The line of the row that a copy was made from; 0 for all others.
        before: The clean record; None where there was no row.
        after: The record that stands there now (before its line was broken).
    """

    line: int
    kind: str
    how: str
    of: int
    before: Record | None
    after: Record


@dataclass(frozen=True)
class Dirty:
    """The outcome.

    Attributes:
        lines: JSON lines, some of them broken.
        planted: The faults, by line.
    """

    lines: list[str]
    planted: list[Planted]


@dataclass
class _Place:
    """A row on its way: what it was, what it is, its line, where it stands."""

    order: float
    before: Record | None
    after: Record
    kind: str = ""
    how: str = ""
    twin: _Place | None = None
    line: str = ""


def plant(
    rows: Sequence[Record], others: Mapping[str, Sequence[str]], *, tongue: str, rates: Rates, seed: int
) -> Dirty:
    """Make rows dirty.

    In place kinds never share a row, and copies are made of rows that have no fault. What was there keeps its order.

    Args:
        rows: Clean records with "text" and "label".
        others: Other set -> its texts.
        tongue: The language of the set: "en" or "zh".
        rates: How much of what.
        seed: The same seed gives the same lines.

    Raises:
        DataError: if labels are to be flipped and there is only one, or rows cannot hold all faults.
    """
    places = [_Place(float(order), dict(row), dict(row)) for order, row in enumerate(rows)]
    free = list(places)
    random.Random(f"{seed}:rows").shuffle(free)
    count = {kind: round(rate * len(rows)) for kind, rate in asdict(rates).items()}
    if sum(count[kind] for kind in ("mojibake", "broken_json", "flipped")) > len(rows):
        raise DataError("The rates leave a row with two faults", got=str(count), fix="Lower the rates")
    _spoil(free, count["mojibake"], tongue, random.Random(f"{seed}:mojibake"))
    _flip(free, count["flipped"], random.Random(f"{seed}:flipped"))
    for place, number in zip(_take(free, count["broken_json"]), range(len(rows)), strict=False):
        chance = random.Random(f"{seed}:broken_json:{number}")
        place.kind, place.how = "broken_json", list(OPERATORS)[number % len(OPERATORS)]
        place.line = broken(place.after, place.how, chance)
    places += _copies(free, count["exact"], count["near"], seed)
    places += _added(rows, others, count, tongue, seed)
    places.sort(key=lambda place: place.order)
    line_number = {id(place): number for number, place in enumerate(places, 1)}
    planted = [
        Planted(line_number[id(p)], p.kind, p.how, line_number[id(p.twin)] if p.twin else 0, p.before, p.after)
        for p in places
        if p.kind
    ]
    return Dirty([place.line or line_of(place.after) for place in places], planted)


def _take(free: list[_Place], count: int) -> list[_Place]:
    taken = free[:count]
    del free[:count]
    return taken


def _spoil(free: list[_Place], count: int, tongue: str, chance: random.Random) -> None:
    """Mojibake in rows that hold more than ASCII; where they are too few, in others that get it first (English)."""
    ready = [place for place in free if not place.after["text"].isascii()]
    others = [place for place in free if place.after["text"].isascii()] if tongue == "en" else []
    for place in [*ready, *others][:count]:
        text = place.after["text"]
        text = with_accents(text, chance) if text.isascii() else text
        place.before = place.after | {"text": text}
        place.kind, place.how = "mojibake", chance.choice(("cp1252", "latin-1"))
        place.after = place.after | {"text": mojibake(text, place.how)}
    free[:] = [place for place in free if not place.kind]


def _flip(free: list[_Place], count: int, chance: random.Random) -> None:
    labels = sorted({place.after["label"] for place in free})
    if count and len(labels) < 2:
        raise DataError("Labels can be flipped only where there are two or more", got=str(labels))
    for place in _take(free, count):
        label = chance.choice([one for one in labels if one != place.after["label"]])
        place.kind, place.how = "flipped", label
        place.after = place.after | {"label": label}


def _copies(free: Sequence[_Place], exact: int, near: int, seed: int) -> list[_Place]:
    """Copies of rows without fault; no row has two."""
    chance, copies = random.Random(f"{seed}:copies"), list[_Place]()
    words = sorted({word for place in free for word in words_of(place.after["text"])}) if near else []
    end = max((place.order for place in free), default=0.0)
    for place in free:
        if len(copies) == exact + near:
            break
        record, how = place.after, "copy"
        if len(copies) >= exact:
            twin = near_twin(record["text"], words, chance)
            if twin is None:
                continue
            record, how = record | {"text": twin[0]}, f"{twin[1]} edits"
        kind = "exact" if how == "copy" else "near"
        copies.append(_Place(chance.uniform(-0.5, end), None, dict(record), kind, how, place))
    if len(copies) < exact + near:
        raise DataError("Too few rows without fault to copy", got=str(len(copies)), allowed=str(exact + near))
    return copies


def _added(
    rows: Sequence[Record], others: Mapping[str, Sequence[str]], count: Mapping[str, int], tongue: str, seed: int
) -> list[_Place]:
    """Off-topic and noise rows, under labels as frequent as the set's own."""
    labels, texts = [row["label"] for row in rows], [row["text"] for row in rows]
    chance, found = random.Random(f"{seed}:off_topic"), list[tuple[str, str, str]]()
    names = sorted(others)
    if count["off_topic"] and not names:
        raise DataError("Off-topic rows come from another set, and none was given")
    known = set(texts)
    shuffled = {name: chance.sample(list(others[name]), len(others[name])) for name in names}
    while len(found) < count["off_topic"]:
        name = names[len(found) % len(names)]
        text = next((text for text in shuffled[name] if text not in known), None)
        if text is None:
            raise DataError(f"The set {name} has too few rows to give off-topic ones", got=str(len(others[name])))
        known.add(text)
        found.append(("off_topic", name, text))
    noisy = noise_rows(texts, tongue, count["noise"], random.Random(f"{seed}:noise"))
    found += [("noise", how, text) for text, how in noisy]
    chance = random.Random(f"{seed}:places")
    return [
        _Place(chance.uniform(-0.5, len(rows)), None, {"text": text, "label": chance.choice(labels)}, kind, how)
        for kind, how, text in found
    ]


def dirty_set(
    name: str, *, seed: int, rates: Rates, rows: int | None = None, fewest: int = 0
) -> tuple[list[Record], Dirty]:
    """The clean rows of a set, and the same made dirty.

    Args:
        name: A key of SETS, or "made_up".
        seed: Of the dirt, and of which rows are taken.
        rates: How much of what.
        rows: How many rows of the set, by chance; None takes all.
        fewest: Labels with fewer rows than this are left out.

    Raises:
        DataError: if the set is unknown or cannot be had, or the rates do not fit.
    """
    clean = made_up(rows or MADE_UP_ROWS) if name == "made_up" else read_set(name)
    labels = [row["label"] for row in clean]
    clean = [row for row in clean if labels.count(row["label"]) >= fewest] if fewest else clean
    if rows is not None and rows < len(clean):
        kept = sorted(random.Random(f"{seed}:taken").sample(range(len(clean)), rows))
        clean = [clean[place] for place in kept]
    others: dict[str, Sequence[str]] = {}
    if rates.off_topic:
        others = dict(MADE_UP_STRANGERS if name == "made_up" else strangers(name))
    return clean, plant(clean, others, tongue=language(name), rates=rates, seed=seed)


def facts(dirty: Dirty, rates: Rates, seed: int) -> dict[str, Any]:
    """What stands in dirt.json."""
    counts = {kind: sum(one.kind == kind for one in dirty.planted) for kind in KINDS}
    return {"seed": seed, "rates": asdict(rates), "lines": len(dirty.lines), "planted": counts}
