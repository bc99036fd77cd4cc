"""The records in Markdown: seconds and memory beside each other, then quality."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.near_duplicates.systems import SYSTEMS
from benchmarks.train_speed.raw import Record


def table(records: Sequence[Record], withdrawn: Sequence[Record]) -> str:
    """Medians of the speed runs, the figures of the quality runs.

    Args:
        records: Those in force.
        withdrawn: Those that do not count.
    """
    parts = ["# Near duplicates", "", "Every run is a line of [raw.jsonl](raw.jsonl).", ""]
    if records:
        machine = records[0]["machine"]
        commands = ", ".join(f"`{one}`" for one in dict.fromkeys(one["command"] for one in records))
        parts += [f"{commands}; {machine['cpu']}, {machine['cores']} cores.", ""]
    parts += speed([one for one in records if one["kind"] == "speed"])
    parts += quality([one for one in records if one["kind"] == "quality"])
    absent = {one["system"]: one["absent"] for one in records if "absent" in one}
    parts += [f"- {system}: {reason}" for system, reason in absent.items()]
    parts += [
        f"- {one['kind']}, {one['data']}, {one['system']}, Jaccard {one['threshold']}, {one['session']}, withdrawn: "
        f"{one['withdrawn']}" for one in withdrawn
    ]  # fmt: skip
    return "\n".join([*parts, ""])


def speed(records: Sequence[Record]) -> list[str]:
    """A line for each system; what it would take for all texts is by the number of texts, linearly."""
    runs = [one for one in records if "result" in one]
    if not runs:
        return []
    whole = max(one["first"] for one in runs)
    groups: dict[str, list[Record]] = {}
    for one in runs:
        groups.setdefault(one["system"], []).append(one)

    def seconds(system: str) -> float:
        return statistics.median(one["result"]["seconds"] / one["first"] for one in groups[system]) * whole

    head = ["system", "texts", "seconds", f"for {whole:,} texts", "by ours", "peak MB", "before it MB", "duplicates",
            "planted twins found"]  # fmt: skip
    lines = [
        f"## Speed and memory, {runs[0]['data']} texts, Jaccard {runs[0]['threshold']}", "",
        f"| {' | '.join(head)} |", "|---" + "|--:" * (len(head) - 1) + "|",
    ]  # fmt: skip
    for system, several in sorted(groups.items(), key=lambda group: list(SYSTEMS).index(group[0])):
        results = [one["result"] for one in several]
        times = sorted(one["seconds"] for one in results)
        ratio = f"{seconds(system) / seconds('tuneloop'):.2f}x" if "tuneloop" in groups else ""
        told = several[0].get("quality", {})
        recall = f"{told['planted_found'] / told['planted']:.2%}" if told.get("planted") else ""
        count = results[0].get("in_clusters", results[0].get("flagged", ""))
        cells = [
            system, f"{several[0]['first']:,}", f"{statistics.median(times):.2f} [{times[0]:.2f}, {times[-1]:.2f}]",
            f"{seconds(system):,.1f}" + ("" if several[0]["first"] == whole else " (extrapolated)"), ratio,
            f"{max(one['peak_mb'] for one in results):,.0f}", f"{max(one['before_mb'] for one in results):,.0f}",
            f"{count:,}", recall,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    told = (
        "Duplicates: texts in clusters (tuneloop, datasketch), flagged (rensa), dropped (text-dedup). Only tuneloop "
        "verifies a pair; text-dedup and tuneloop use every core, datasketch and rensa's Python side one."
    )
    return [*lines, "", told, ""]


def quality(records: Sequence[Record]) -> list[str]:
    """A line for each set, threshold and system."""
    runs = [one for one in records if "result" in one]
    if not runs:
        return []
    lines = [
        "## Quality", "", "| set | Jaccard | system | precision | recall | F1 | pairs | seconds |",
        "|---|--:|---" + "|--:" * 5 + "|",
    ]  # fmt: skip
    order = list(SYSTEMS)
    for one in sorted(runs, key=lambda run: (run["data"], run["threshold"], order.index(run["system"]))):
        told = one["quality"]
        if "f1" in told:
            figures = [*(f"{told[name]:.2%}" for name in ("precision", "recall", "f1")), f"{told['pairs']:,}"]
        else:
            figures = ["", f"{told['planted_found'] / told['planted']:.2%}", "", f"{told['planted']:,} planted"]
        cells = [one["data"], str(one["threshold"]), one["system"], *figures, f"{one['result']['seconds']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    told = (
        "Pairs are those of each system's clusters. The truth of dedupe_early_childhood is its record ids; by Jaccard, "
        "and for sms_spam, it is the clusters of all pairs whose true Jaccard reaches the threshold. Of planted twins "
        "those count that reach it. A system that takes less similar pairs than asked can gain on record ids."
    )
    return [*lines, "", told, ""]
