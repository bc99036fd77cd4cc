"""The records as Markdown: accuracy of each arm and seed, what dirt took, what cleaning gave back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.train_speed.raw import Record
from tuneloop.score.statistics import paired_difference

GOALS = {"cleaned": 0.5, "reviewed": 0.8}
"""Of the accuracy that dirt took: what has to come back."""


def table(records: Sequence[Record]) -> str:
    """The table, and how it was made.

    Args:
        records: Those in force.
    """
    by_seed: dict[int, dict[str, Record]] = {}
    for one in records:
        by_seed.setdefault(one["seed"], {})[one["arm"]] = one["result"]
    whole = {seed: arms for seed, arms in sorted(by_seed.items()) if len(arms) == 4}
    parts = [
        "# The effect of cleaning", "", "Every training is a line of [raw.jsonl](raw.jsonl). Accuracy on the same test "
        "rows; brackets are 95% intervals of the paired difference to the dirty arm, over all seeds' rows.", "",
        "| seed | clean | dirty | cleaned, nobody reviews | reviewed by the planted list |", "|---|--:|--:|--:|--:|",
    ]  # fmt: skip
    for seed, arms in sorted(by_seed.items()):
        cells = [f"{100 * arms[name]['accuracy']:.1f} %" if name in arms else "-"
                 for name in ("clean", "dirty", "cleaned", "reviewed")]  # fmt: skip
        parts.append(f"| {seed} | {' | '.join(cells)} |")
    if whole:
        parts += ["", *(recovered_line(name, goal, list(whole.values())) for name, goal in GOALS.items())]
    parts += ["", "What cleaning did with the rows of each seed:", ""]
    parts += [
        f"- seed {seed}, {name}: in {counts['in']}, kept {counts['kept']}, to review {counts.get('to review', 0)}, "
        f"dropped {sum(counts['dropped'].values())}; planted {arms[name]['planted']}; answers {arms[name]['answers']}"
        for seed, arms in sorted(by_seed.items()) for name in ("cleaned", "reviewed") if name in arms
        for counts in [arms[name]["counts"]]
    ]  # fmt: skip
    return "\n".join([*parts, "", *made(records), ""])


def recovered_line(name: str, goal: float, seeds: Sequence[dict[str, Any]]) -> str:
    """The share of the lost accuracy that came back, and the gain over the dirty arm with its interval.

    Args:
        name: The arm.
        goal: The share that is wanted.
        seeds: Arm -> result, of each seed.
    """
    right = {arm: np.concatenate([np.array(one[arm]["right"], float) for one in seeds]) for arm in
             ("clean", "dirty", name)}  # fmt: skip
    lost = float(right["clean"].mean() - right["dirty"].mean())
    gain = paired_difference(right[name], right["dirty"])
    share = gain.difference / lost if lost > 0 else float("nan")
    reached = "reached" if share >= goal and gain.low > 0 else "**missed**"
    return (
        f"- {name}: {share:.0%} of the {100 * lost:.2f} points that dirt took came back (wanted {goal:.0%}); "
        f"gain {100 * gain.difference:+.2f} [{100 * gain.low:+.2f}, {100 * gain.high:+.2f}] points: {reached}"
    )


def made(records: Sequence[Record]) -> list[str]:
    """The commands, dates and machines, each once."""
    return list(dict.fromkeys(
        f"- `{one['command']}`, {one['date'][:10]}, {one['machine']['cores']} cores of {one['machine']['cpu']}, "
        f"load before {one['load_before']}, {one['result']['seconds']:.0f} s" for one in records
    ))  # fmt: skip
