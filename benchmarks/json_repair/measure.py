"""One figure on one set and seed: break, read and clean as `tuneloop clean` does, and compare with what was there."""

from __future__ import annotations

import ast
import base64
import json
import os
import random
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.dirt.broken_json import OPERATORS, broken, line_of
from benchmarks.dirt.sets import Record, made_up, read_set
from tuneloop.errors import DataError, TuneloopError
from tuneloop.rows.clean import Cleaned, clean_rows
from tuneloop.rows.read import read_rows
from tuneloop.rows.repair_json import whole_columns
from tuneloop.sections import Clean

Result = dict[str, Any]
ROWS = 2000
SECONDS = 10
"""A line or file that takes longer hangs."""
MADE_UP_SUITE = {
    "accept.json": ("accept", b'{"text": "x", "label": "y", "n": 1e5}'), "list.json": ("accept", b"[1, [2]]"),
    "deep.json": ("reject", b"[" * 20_000), "quotes.json": ("reject", b'{"text": "' + b'"' * 20_000),
    "bytes.json": ("reject", b'{"text": "\xff\xfe", "label": "y"}'), "comma.json": ("reject", b'{"a": 1,}'),
}  # fmt: skip


class Hang(Exception):
    """A line or file that took longer than SECONDS."""


def cleaned(lines: Sequence[str], *, clean: Clean | None = None) -> tuple[Cleaned, int]:
    """What `tuneloop clean` makes of a file of these lines, duplicates kept, and the number of its rows.

    Args:
        lines: The file.
        clean: Which stages; None: all repairs.
    """
    with tempfile.TemporaryDirectory(prefix="json-repair-") as folder:
        (Path(folder) / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        reading = read_rows("rows.jsonl", folder=Path(folder), task="classification")
    stages = clean or Clean(exact_duplicates=False)
    return clean_rows(reading.rows, reading.bad, clean=stages, parse=reading.parse), len(reading.rows + reading.bad)


def picked(name: str, seed: int, rows: int | None) -> tuple[list[Record], list[Record]]:
    """The rows to break and the set's other rows.

    Args:
        name: A set of benchmarks/dirt, or "made_up".
        seed: Of which are broken.
        rows: How many at most; None is ROWS.
    """
    every = made_up(3 * (rows or 40)) if name == "made_up" else read_set(name)
    chosen = set(random.Random(f"{seed}:broken").sample(range(len(every)), min(rows or ROWS, len(every) - 1)))
    return [every[place] for place in sorted(chosen)], [row for place, row in enumerate(every) if place not in chosen]


# -- the six operators ----------------------------------------------------------------------------------------


def by_json_repair(line: str) -> Any:
    """json_repair alone."""
    import json_repair

    return json_repair.loads(line, skip_json_loads=True)


def by_literal_eval(line: str) -> Any:
    """Python's own reader of what it prints."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.literal_eval(line)


def by_yaml(line: str) -> Any:
    """YAML, which takes single quotes, bare keys and trailing commas."""
    import yaml

    return yaml.safe_load(line)


READERS: dict[str, Callable[[str], Any]] = {
    "json_repair": by_json_repair, "ast.literal_eval": by_literal_eval, "yaml.safe_load": by_yaml,
}  # fmt: skip


def broken_rows(name: str, seed: int, rows: int | None) -> Result:
    """How many rows of each operator come back, as they were or as another row.

    Args:
        name: The set.
        seed: Of the rows and of how each is broken.
        rows: How many are broken.
    """
    bad, whole = picked(name, seed, rows)
    hows = [list(OPERATORS)[place % len(OPERATORS)] for place in range(len(bad))]
    lines = [
        broken(row, how, random.Random(f"{seed}:{place}"))
        for place, (row, how) in enumerate(zip(bad, hows, strict=True))
    ]
    found, read = cleaned([*map(line_of, whole), *lines])
    rows_by_line = {int(row.source.rpartition(":")[2]): row for row in found.kept}
    touched = {repair.source for repair in found.repairs}
    told: dict[str, dict[str, Counter[str]]] = {how: {} for how in OPERATORS}
    for place, (row, how, line) in enumerate(zip(bad, hows, lines, strict=True)):
        kept = rows_by_line.get(len(whole) + place + 1)
        ours = None if kept is None else {"text": kept.text, "label": kept.label, **kept.meta}
        told[how].setdefault("tuneloop", Counter())[verdict(ours, row)] += 1
        for reader, how_read in READERS.items():
            told[how].setdefault(reader, Counter())[verdict(tried(how_read, line), row)] += 1
    return {
        "rows": len(bad), "beside": len(whole), "operators": told,
        "touched": sum(f"rows.jsonl:{number}" in touched for number in range(1, len(whole) + 1)),
        "lost": read - len(found.kept) - len(found.dropped),
        "reasons": dict(Counter(item.reason for item in found.dropped).most_common(10)),
    }  # fmt: skip


def tried(reader: Callable[[str], Any], line: str) -> Any:
    """What a reader makes of a line, None where it refuses."""
    try:
        return reader(line)
    except Exception:  # each refuses in its own ways
        return None


def verdict(found: Any, row: Record) -> str:
    """restored: the row as it was; wrong: a row with a text and a label that are not its own; none: no such row."""
    if isinstance(found, dict) and {key: found.get(key) for key in row} == row and set(found) == set(row):
        return "restored"
    return "wrong" if isinstance(found, dict) and found.get("text") and found.get("label") else "none"


# -- deep cuts ------------------------------------------------------------------------------------------------


def deep_cuts(name: str, seed: int, rows: int | None) -> Result:
    """What becomes of lines that are cut before their last value is whole.

    Args:
        name: The set.
        seed: Of the rows and of where each is cut.
        rows: How many are cut.
    """
    bad, whole = picked(name, seed, rows)
    chance = random.Random(f"{seed}:cuts")
    lines = []
    for row in bad:
        line = line_of(row)
        lines.append(line[: chance.randint(1, len(line) - 3)])  # at least one sign of the last value is gone
    found, _ = cleaned([*map(line_of, whole), *lines])
    dropped = {int(item.source.rpartition(":")[2]): item for item in found.dropped}
    kept = {int(row.source.rpartition(":")[2]): row for row in found.kept}
    counts: Counter[str] = Counter()
    survived = intact = 0
    for place, (row, line) in enumerate(zip(bad, lines, strict=True), len(whole) + 1):
        if place in kept:
            counts[
                "kept, whole" if (kept[place].text, kept[place].label) == (row["text"], row["label"]) else "wrong"
            ] += 1
        elif dropped[place].reason.startswith("incomplete: cut off") and dropped[place].raw == line:
            counts["marked incomplete"] += 1
        else:
            counts[f"not marked: {dropped[place].reason}"] += 1
        left = whole_columns(line)
        survived += len(left)
        intact += sum(row.get(key) == value for key, value in left.items())
    return {"rows": len(bad), "outcomes": dict(counts.most_common()), "survived": survived, "intact": intact}


# -- the test suite -------------------------------------------------------------------------------------------


def suite(name: str, seed: int, rows: int | None) -> Result:
    """Every file of json_test_suite that has bytes, alone and as a line among whole rows.

    Args:
        name: "json_test_suite", or "made_up".
        seed: Not used.
        rows: Not used.
    """
    cases = MADE_UP_SUITE if name == "made_up" else read_suite()
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    slowest = (0.0, "")
    for file, (expect, content) in cases.items():
        for way in (alone, in_a_line):
            began = time.perf_counter()
            try:
                with limited(SECONDS):
                    outcome = way(content, expect)
            except Hang:
                outcome = "hang"
            except Exception as error:
                outcome = f"crash: {type(error).__name__}"
            slowest = max(slowest, (time.perf_counter() - began, file))
            outcomes[f"{expect}, {way.__name__}: {outcome}"] += 1
            if outcome.startswith(("hang", "crash", "touched", "lost")):
                faults.append(f"{file}, {way.__name__}: {outcome}")
    return {
        "files": len(cases), "outcomes": dict(sorted(outcomes.items())), "faults": faults,
        "slowest": {"seconds": round(slowest[0], 3), "file": slowest[1]},
    }  # fmt: skip


def read_suite() -> dict[str, tuple[str, bytes]]:
    """File -> what a parser should do with it, and its bytes.

    Raises:
        DataError: if TUNELOOP_DATA does not hold the suite.
    """
    path = Path(os.environ.get("TUNELOOP_DATA", "")) / "json_test_suite" / "json_test_suite.jsonl"
    if not path.is_file():
        raise DataError("TUNELOOP_DATA does not hold json_test_suite", fix="TUNELOOP_DATA=/folder/of/the/sets ...")
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return {
        f"{one['dir']}/{one['file']}": (one["expect"], base64.b64decode(one["bytes_b64"]))
        for one in records if one["bytes_b64"]
    }  # fmt: skip


def alone(content: bytes, expect: str) -> str:
    """The file by itself, by both suffixes."""
    told = "cleaned"
    for suffix in ("json", "jsonl"):
        with tempfile.TemporaryDirectory(prefix="json-repair-") as folder:
            (Path(folder) / f"rows.{suffix}").write_bytes(content)
            try:
                reading = read_rows(f"rows.{suffix}", folder=Path(folder), task="classification")
            except TuneloopError:
                told = "refused by name"
                continue
            found = clean_rows(reading.rows, reading.bad, clean=Clean(), parse=reading.parse)
            if found.repairs and expect == "accept":
                return "touched"
            if len(found.kept) + len(found.dropped) != len(reading.rows) + len(reading.bad):
                return "lost"
    return told


def in_a_line(content: bytes, expect: str) -> str:
    """The file as the last line, or the last lines, of thirty whole rows."""
    rows = made_up(30)
    with tempfile.TemporaryDirectory(prefix="json-repair-") as folder:
        (Path(folder) / "rows.jsonl").write_bytes("\n".join(map(line_of, rows)).encode() + b"\n" + content)
        try:
            reading = read_rows("rows.jsonl", folder=Path(folder), task="classification")
        except TuneloopError:
            return "refused by name"
    found = clean_rows(reading.rows, reading.bad, clean=Clean(), parse=reading.parse)
    if [(row.text, row.label) for row in found.kept[:30]] != [(row["text"], row["label"]) for row in rows]:
        return "touched"
    # A valid file of several lines is no valid line: only what parses must stay as it is.
    lines = [line for line in content.split(b"\n") if line.strip()]
    if expect == "accept" and len(lines) == 1 and found.repairs:
        return "touched"
    if len(found.kept) + len(found.dropped) != len(reading.rows) + len(reading.bad):
        return "lost"
    return "cleaned"


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise Hang in the block after so many seconds; only in the main thread."""

    def stop(number: int, frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


SETS = ("banking77", "medquad_nih", "fincuge_finfe", "smp2019_nlu")
FIGURES: dict[str, tuple[Callable[[str, int, int | None], Result], tuple[str, ...]]] = {
    "broken": (broken_rows, SETS), "deep": (deep_cuts, SETS), "suite": (suite, ("json_test_suite",)),
}  # fmt: skip
"""Figure -> how it is measured, and the sets that it is reported on."""
