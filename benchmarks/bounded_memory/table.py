"""The records as Markdown: what each way took, and whether the bytes agree."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.train_speed.raw import Record


def table(records: Sequence[Record]) -> str:
    """The table, and how it was made.

    Args:
        records: Those in force.
    """
    plain = next((one["result"]["tables"] for one in records if one["way"] == "small, in memory"), {})
    lines = [
        "# Cleaning within a bound", "", "Every run is a line of [raw.jsonl](raw.jsonl). Memory is that of all "
        "processes of the command together (proportional set sizes), above an idle one that has loaded it.", "",
        "| way | MB | rows | seconds | peak above idle, MB | bound, MB | within | bytes as in memory |",
        "|---|--:|--:|--:|--:|--:|---|---|",
    ]  # fmt: skip
    for one in records:
        result, bound = one["result"], one["bound_mb"]
        above = result["peak_mb"] - one["idle_mb"]
        within = "" if bound is None else "yes" if above <= bound else "**no**"
        same = "" if not one["way"].startswith("small") else "yes" if result["tables"] == plain else "**no**"
        lines.append(
            f"| {one['way']} | {result['bytes'] / 2**20:,.0f} | {result['rows']:,} | {result['seconds']:,.0f} | "
            f"{above:,} | {bound or '-'} | {within} | {same} |"
        )
    told = dict.fromkeys(
        f"- `{one['command']}`, {one['date'][:10]}, {one['machine']['cores']} cores of {one['machine']['cpu']}, load "
        f"before {one['load_before']}, idle process {one['idle_mb']} MB" for one in records
    )  # fmt: skip
    return "\n".join([*lines, "", *told, ""])
