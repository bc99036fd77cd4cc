"""The records in Markdown: strangers found in mixtures, then what clean sets lose."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.noise.table import header, spread
from benchmarks.train_speed.raw import Record

GOAL = 0.97


def table(records: Sequence[Record]) -> str:
    """Both tables, and how they were made.

    Args:
        records: Those in force.
    """
    parts = ["# Relevance to the task", "", "Every run is a line of [raw.jsonl](raw.jsonl); means over the seeds, the "
             "lowest and highest in brackets. Dropped and reviewed are at the defaults of the recipe.", ""]  # fmt: skip
    mixed, clean = [one for one in records if one["share"]], [one for one in records if not one["share"]]
    if mixed:
        parts += ["## Rows of other sets among those of the task", "",
                  f"Wanted: an AUC of at least {GOAL} with 20 example rows, a fifth of the rows strangers.", "",
                  *mixed_lines(mixed), ""]  # fmt: skip
    if clean:
        parts += ["## Clean sets", "", "What they lose. banking77's description and examples play no part in the "
                  "choice of the method.", "", *clean_lines(clean), ""]  # fmt: skip
    return "\n".join([*parts, *made(records), ""])


def mixed_lines(records: Sequence[Record]) -> list[str]:
    """A line for each set, share of strangers and way of telling the task."""
    head = ["set", "strangers", "told by", "rows", "AUC", "strangers dropped", "strangers to review",
            "own rows dropped", "own rows to review", "found, by set of the strangers", "reached"]  # fmt: skip
    lines = header(head)
    for (name, share, way), results in groups(records).items():
        origins = ", ".join(
            f"{one} {spread(results, lambda r, one=one: r['origins'][one])}" for one in results[0]["origins"]
        )
        wanted = way == "examples" and share == 0.2
        good = all(result["auc"] >= GOAL for result in results)
        cells = [
            name, f"{share:.0%}", way, f"{results[0]['rows']:,}", spread(results, lambda r: r["auc"], percent=False),
            *(spread(results, lambda r, key=key: r[key])
              for key in ("dropped", "reviewed", "own_dropped", "own_reviewed")),
            origins, ("yes" if good else "**no**") if wanted else "",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def clean_lines(records: Sequence[Record]) -> list[str]:
    """A line for each set and way of telling the task."""
    lines = header(["set", "told by", "rows", "dropped", "to review"])
    for (name, _, way), results in groups(records).items():
        lost = [spread(results, lambda r, key=key: r[key]) for key in ("own_dropped", "own_reviewed")]
        cells = [name, way, f"{results[0]['rows']:,}", *lost]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def groups(records: Sequence[Record]) -> dict[tuple[str, float, str], list[Record]]:
    """(set, share, way) -> the results of its seeds."""
    found: dict[tuple[str, float, str], list[Record]] = {}
    for one in sorted(records, key=lambda one: (one["set"], one["share"], one["way"], one["seed"])):
        found.setdefault((one["set"], one["share"], one["way"]), []).append(one["result"])
    return found


def made(records: Sequence[Record]) -> list[str]:
    """The commands, dates, machines, loads and encoders, each once."""
    loads: dict[str, list[float]] = {}
    for one in records:
        machine = f"{one['machine']['cores']} cores of {one['machine']['cpu']}"
        told = f"- `{one['command']}`, {one['date'][:10]}, {machine}; {one['encoder']}; versions {one['versions']}"
        loads.setdefault(told, []).append(one["load_before"])
    return [f"{told}; load average {min(seen):.1f} to {max(seen):.1f}" for told, seen in loads.items()]
