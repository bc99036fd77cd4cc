"""The records as Markdown, the mean over the seeds with the lowest and highest, and whether the figures are reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.dirt.broken_json import OPERATORS
from benchmarks.noise.table import by_set, header, spread
from benchmarks.train_speed.raw import Record

GOAL = 0.95


def table(records: Sequence[Record]) -> str:
    """All tables, and how they were made.

    Args:
        records: Those in force.
    """
    parts = ["# Broken JSON", "", "Every run is a line of [raw.jsonl](raw.jsonl); means over the seeds, lowest and "
             "highest in brackets.", ""]  # fmt: skip
    by_figure = {figure: [one for one in records if one["figure"] == figure] for figure in ("broken", "deep", "suite")}
    if by_figure["broken"]:
        parts += ["## Rows that come back as they were", "", f"Wanted: at least {GOAL:.0%} of the broken rows, and no "
                  "whole row touched. A wrong row has a text and a label, but not its own.", "",
                  *broken_lines(by_figure["broken"]), "", *reader_lines(by_figure["broken"]), ""]  # fmt: skip
    if by_figure["deep"]:
        parts += ["## Lines cut deeper", "", "Wanted: every row whole, or marked incomplete; what survives of it "
                  "intact.", "", *deep_lines(by_figure["deep"]), ""]  # fmt: skip
    if by_figure["suite"]:
        parts += ["## Test suite", "", "Wanted: no crash, no hang (10 s), no valid file touched, no row lost.", "",
                  *suite_lines(by_figure["suite"]), ""]  # fmt: skip
    return "\n".join([*parts, *made(records), ""])


def share(how: str, reader: str, outcome: str) -> Callable[[Record], float]:
    """What share of an operator's rows, or of all where it is "", has an outcome with a reader.

    Args:
        how: A key of OPERATORS, or "".
        reader: "tuneloop" or one of READERS.
        outcome: restored, wrong or none.
    """

    def of(result: Record) -> float:
        counts = [result["operators"][one][reader] for one in ([how] if how else OPERATORS)]
        return float(sum(one.get(outcome, 0) for one in counts) / sum(sum(one.values()) for one in counts))

    return of


def broken_lines(records: Sequence[Record]) -> list[str]:
    """A line for each set: the share restored by each operator."""
    lines = header(["set", "broken", "whole beside", "restored", *OPERATORS, "wrong", "whole touched", "reached"])
    for name, runs in by_set(records).items():
        results = [one["result"] for one in runs]
        cells = [name, f"{results[0]['rows']:,}", f"{results[0]['beside']:,}"]
        cells += [spread(results, share(how, "tuneloop", "restored")) for how in ("", *OPERATORS)]
        touched = sum(result["touched"] for result in results)
        cells += [spread(results, share("", "tuneloop", "wrong")), str(touched)]
        good = all(share("", "tuneloop", "restored")(result) >= GOAL for result in results) and not touched
        lines.append(f"| {' | '.join([*cells, 'yes' if good else '**no**'])} |")
    return lines


def reader_lines(records: Sequence[Record]) -> list[str]:
    """A line for each reader: over all sets and seeds, the share restored by each operator, and what is wrong."""
    results = [one["result"] for one in records]
    lines = header(["reader, all sets", "restored", *OPERATORS, "wrong"])
    for reader in results[0]["operators"][next(iter(OPERATORS))]:
        cells = [spread(results, share(how, reader, "restored")) for how in ("", *OPERATORS)]
        lines.append(f"| {reader} | {' | '.join([*cells, spread(results, share('', reader, 'wrong'))])} |")
    return lines


def deep_lines(records: Sequence[Record]) -> list[str]:
    """A line for each set: what became of the rows, and of the columns that survived."""
    lines = header(["set", "cut", "marked incomplete", "kept, whole", "wrong or not marked", "columns that survive",
                    "of them intact", "reached"])  # fmt: skip
    for name, runs in by_set(records).items():
        results = [one["result"] for one in runs]
        fine = ("marked incomplete", "kept, whole")
        cells = [name, f"{results[0]['rows']:,}"]
        cells += [spread(results, lambda r, one=one: r["outcomes"].get(one, 0) / r["rows"]) for one in fine]
        bad = sum(count for r in results for what, count in r["outcomes"].items() if what not in fine)
        survived, intact = (sum(r[what] for r in results) for what in ("survived", "intact"))
        cells += [str(bad), f"{survived:,}", f"{intact:,}"]
        lines.append(f"| {' | '.join([*cells, 'yes' if not bad and survived == intact else '**no**'])} |")
    return lines


def suite_lines(records: Sequence[Record]) -> list[str]:
    """What became of the files, and every fault by name."""
    result = max(records, key=lambda one: one["date"])["result"]
    lines = header(["files", "outcome", "count"])
    lines += [f"| {result['files']} | {what} | {count} |" for what, count in result["outcomes"].items()]
    slowest = result["slowest"]
    told = "; ".join(result["faults"]) or "none"
    return [*lines, "", f"Slowest: {slowest['file']}, {slowest['seconds']} s. Faults: {told}."]


def made(records: Sequence[Record]) -> list[str]:
    """The commands, dates and machines, each once."""
    return list(dict.fromkeys(
        f"- `{one['command']}`, {one['date'][:10]}, {one['machine']['cores']} cores of {one['machine']['cpu']}; "
        f"versions {one['versions']}" for one in records
    ))  # fmt: skip
