"""The record as a table: medians over the rounds, tokens a second, peak memory, and ours against the best peer."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.step_profile.kinds import BETWEEN, KINDS, REST, shares


def figures(record: dict[str, Any], mode: str) -> dict[str, dict[str, float]]:
    """System -> {seconds, tokens_per_second, peak_mb, rows}: medians; seconds are those of all rows, extrapolated where
    fewer were answered."""
    found = {}
    names = dict.fromkeys(run["system"] for run in record["runs"] if run["mode"] == mode)
    for name in names:
        runs = [run for run in record["runs"] if (run["mode"], run["system"]) == (mode, name)]
        rows = len(runs[0]["places"])
        found[name] = {
            "rows": rows,
            "seconds": statistics.median(run["seconds"] for run in runs) * record["rows"] / rows,
            "tokens_per_second": statistics.median(run["new_tokens"] / run["seconds"] for run in runs),
            "peak_mb": statistics.median(run["peak_mb"] for run in runs),
        }
    return found


def best_peer(record: dict[str, Any], mode: str) -> dict[str, Any]:
    """{"name", "ratio"}: the quickest other system, and how many times as fast tuneloop is; {"ratio": None} without."""
    all_of = figures(record, mode)
    peers = {name: one for name, one in all_of.items() if name != "tuneloop"}
    if not peers or "tuneloop" not in all_of:
        return {"name": "", "ratio": None}
    name = max(peers, key=lambda peer: peers[peer]["tokens_per_second"])
    return {"name": name, "ratio": all_of["tuneloop"]["tokens_per_second"] / peers[name]["tokens_per_second"]}


def table(record: dict[str, Any]) -> str:
    """Markdown."""
    machine = record["machine"]
    rounds = 1 + max((run["round"] for run in record["runs"]), default=0)
    loads = sorted(run["load_before"] for run in record["runs"]) or [0.0]
    lines = [
        "# Greedy generation", "", f"`{record['command']}`, {record['session']}", "",
        f"{record['rows']} prompts, {record['budget']} new tokens, {record['model']}, float32; {record['threads']} "
        f"threads, {machine['cores']} cores, {machine['cpu']}; load average before a process {loads[0]} to "
        f"{loads[-1]}; medians of {rounds} rounds; versions {record['versions']}", "",
    ]  # fmt: skip
    for mode, told in record["tokens"].items():
        lines += [f"## {mode}", "", "| system | seconds | new tokens a second | peak MB |", "|---|--:|--:|--:|"]
        for name, one in figures(record, mode).items():
            note = "" if one["rows"] == record["rows"] else f" (extrapolated from {one['rows']} rows)"
            lines.append(
                f"| {name}{note} | {one['seconds']:.1f} | {one['tokens_per_second']:.1f} | {one['peak_mb']:,.0f} |"
            )
        best = best_peer(record, mode)
        if best["ratio"] is not None:
            lines += ["", f"tuneloop is {best['ratio']:.2f} times as fast as the best peer ({best['name']})."]
        lines += [
            "", f"Tokens: {told['equal']} of {told['rows']} answers equal, {told['tied']} differ from a tie of "
            f"{record['tie']:.0e} on, {told['different']} differ.", "",
        ]  # fmt: skip
    lines += profile_lines(record["profiles"])
    if record["withdrawn"]:
        lines += ["## Withdrawn", ""]
        lines += [
            f"- {one['mode']}, {one['system']}, round {one['round'] + 1}, {one['session']}: {one['withdrawn']}"
            for one in record["withdrawn"]
        ] + [""]
    return "\n".join(lines)


def profile_lines(profiles: Sequence[dict[str, Any]]) -> list[str]:
    """Where one core's time goes; nothing where nothing was profiled.

    Args:
        profiles: The records of that mode.
    """
    if not profiles:
        return []
    head = [*KINDS, REST, BETWEEN]
    lines = [
        "## Where the time goes", "", "Seconds for all answers with whole budgets on one core, under torch.profiler.",
        "", f"| system | {' | '.join(head)} | all |", "|---|" + "--:|" * (len(head) + 1),
    ]  # fmt: skip
    for one in profiles:
        seconds = shares(one["operators"], one["seconds"])
        cells = [f"{seconds[kind]:.1f} ({seconds[kind] / one['seconds']:.0%})" for kind in head]
        lines.append(f"| {one['system']} | {' | '.join(cells)} | {one['seconds']:.1f} |")
    return [*lines, ""]
