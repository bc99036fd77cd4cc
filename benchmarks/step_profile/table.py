"""The records as Markdown: seconds of each kind of operator for 1,000 real tokens, and what a second core adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.step_profile.kinds import BETWEEN, KINDS, REST, shares
from benchmarks.train_speed.raw import Record

HEAD = [*KINDS, REST, BETWEEN]


def table(records: Sequence[Record]) -> str:
    """The table, and how it was made.

    Args:
        records: Those in force.
    """
    parts = [
        "# Where the time of a step goes", "", "SmolLM2-135M, LoRA r 8 on all matrices, float32; 16 rows a step, "
        "those of one length 4,096 tokens. On one core every second belongs to an operator, or lies between two: "
        "seconds for 1,000 real tokens under torch.profiler, which slows many small operators more than few large "
        "ones. The last columns are of steps without it. Every run is a line of [raw.jsonl](raw.jsonl).", "",
        f"| row | {' | '.join(HEAD)} | positions a token | tokens/s, one core | two cores | the second core adds |",
        "|---|" + "--:|" * (len(HEAD) + 4),
    ]  # fmt: skip
    parts += [line(record) for record in records]
    return "\n".join([*parts, "", *made(records), ""])


def line(record: Record) -> str:
    """A row of the table.

    Args:
        record: Of one row of train_speed.
    """
    one, two = record["result"]["profile"], record["result"]["two"]
    profiled = one["profiled"]
    tokens = sum(one["tokens"][-profiled:])
    seconds = shares(one["operators"], one["profiled_seconds"])
    whole = sum(seconds.values())
    cells = [f"{1000 * seconds[kind] / tokens:.2f} ({seconds[kind] / whole:.0%})" for kind in HEAD]
    clocked = slice(1, len(one["seconds"]) - profiled - 1)  # the profiler started at the end of the step behind them
    speeds = [sum(run["tokens"][clocked]) / sum(run["seconds"][clocked]) for run in (one, two)]
    cells += [f"{sum(one['positions'][-profiled:]) / tokens:.2f}", *(f"{speed:.1f}" for speed in speeds)]
    return f"| {record['row']} | {' | '.join(cells)} | {speeds[1] / speeds[0]:.2f}x |"


def made(records: Sequence[Record]) -> list[str]:
    """The commands, and where and when they ran."""
    facts: dict[str, Any] = {}
    for record in records:
        machine = record["machine"]
        others = max(*(record["result"][kind]["others"] for kind in ("profile", "two")), 0.0)
        fact = f"- `{record['command']}`, {record['date'][:10]}, {machine['cores']} cores of {machine['cpu']}"
        facts[fact] = max(facts.get(fact, 0.0), others)
    return [f"{fact}; other processes used up to {others:.2f} cores meanwhile" for fact, others in facts.items()]
