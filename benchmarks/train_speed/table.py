"""raw.jsonl -> table.md: a section a set, a line a row, and below it all that does not stand in a column."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.train_speed.floor import limit_seconds, machine_rate, step_flops
from benchmarks.train_speed.guards import PARITY
from benchmarks.train_speed.inputs import Inputs
from benchmarks.train_speed.job import Job
from benchmarks.train_speed.raw import Record
from benchmarks.train_speed.rows import NOT_RUN
from benchmarks.train_speed.tokens import TokenFile

COMMAND = "make bench-train"
OURS = ("fast", "by_length")
"""tuneloop's rows that others are compared with, the first one where no row has the same documents."""


@dataclass(frozen=True)
class Line:
    """One row of the table; where there are several rounds, each figure's list has one value a round.

    Attributes:
        system: Its name.
        variant: Which settings.
        about: The settings in words.
        tokens_per_second: Real tokens of the counted steps by their seconds.
        limit_share: Least time of the counted steps by their seconds.
        peak_mb: Peak resident memory.
        import_mb: Resident memory after the imports.
        padding: Positions computed by real tokens.
        parity: Largest distance of a step's loss from the reference's.
        loads: One-minute load averages before and after.
        others: Cores that other processes used meanwhile.
        ranks: Whether it takes part in the comparison.
        steps: The documents of each step, the skipped ones too.
    """

    system: str
    variant: str
    about: str
    tokens_per_second: list[float]
    limit_share: list[float]
    peak_mb: list[float]
    import_mb: list[float]
    padding: list[float]
    parity: list[float]
    loads: list[str]
    others: list[float]
    ranks: bool
    steps: list[list[int]]

    def same_documents(self, other: Line) -> bool:
        """Whether both took the same documents, step by step, as far as both went."""
        pairs = zip(self.steps, other.steps, strict=False)
        return all(sorted(mine) == sorted(theirs) for mine, theirs in pairs)


def lines_of(records: Sequence[Record], inputs: Inputs, tokens: TokenFile) -> list[Line]:
    """The lines of one set, in the order in which rows were first run.

    Args:
        records: Those in force of one set and one allocator.
        inputs: Of the set.
        tokens: Of the set.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if "row" in record and "result" in record:
            groups.setdefault((record["system"], record["row"]["variant"]), []).append(record)
    found = []
    for (system, variant), runs in groups.items():
        measured = [figures(run, session_rates(records, run["session"]), inputs, tokens) for run in runs]
        columns = {name: [one[name] for one in measured] for name in measured[0]}
        row = runs[0]["row"]
        found.append(Line(system, variant, row["about"], **columns, ranks=not row["parity"],
                          steps=runs[0]["result"]["documents"]))  # fmt: skip
    return found


def session_rates(records: Sequence[Record], session: str) -> dict[str, float]:
    """Median rate of each shape over the session's rounds, FLOP/s; over all sessions where its own do not stand."""
    timed = [one for one in records if one["system"] == "gemm"]
    runs = [one["result"]["flops"] for one in [own for own in timed if own["session"] == session] or timed]
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def figures(record: Record, rates: Mapping[str, float], inputs: Inputs, tokens: TokenFile) -> dict[str, Any]:
    """What one run says about its counted steps."""
    result, skipped = record["result"], record["row"]["skipped"]
    steps, seconds = result["documents"][skipped:], sum(result["seconds"][skipped:])
    real = sum(tokens.real_tokens(step) for step in steps)
    least = 0.0
    for step in steps:
        lengths = [len(tokens.documents[number].ids) for number in step]
        flops = step_flops(inputs.config, lengths, tokens.weight(step), rank=Job.rank, classes=tokens.classes)
        least += limit_seconds(inputs.config, rates, flops)
    return {
        "tokens_per_second": real / seconds, "limit_share": least / seconds, "peak_mb": result["peak_mb"],
        "import_mb": result["import_mb"], "padding": sum(result["positions"][skipped:]) / real,
        "parity": record["parity"], "loads": f"{result['load_before']:.2f} -> {result['load_after']:.2f}",
        "others": result["others"],
    }  # fmt: skip


def table(records: Sequence[Record], inputs: Mapping[str, Inputs], tokens: Mapping[str, TokenFile]) -> str:
    """The whole of table.md.

    Args:
        records: All of raw.jsonl, withdrawn ones too.
        inputs: Of each set.
        tokens: Of each set.
    """
    parts = ["# Training speed on one CPU", "", f"`{COMMAND}`; every run is a line of [raw.jsonl](raw.jsonl).", ""]
    current = [one for one in records if one["data"] in inputs and one["inputs"] == inputs[one["data"]].sha256]
    for data in inputs:
        for allocator in dict.fromkeys(one["allocator"] for one in current if one["data"] == data):
            chosen = [one for one in current if one["data"] == data and one["allocator"] == allocator]
            parts += section(data, allocator, chosen, inputs[data], tokens[data])
    if NOT_RUN:
        parts += ["## Not measured", "", *(f"- {system}: {reason}" for system, reason in NOT_RUN.items()), ""]
    return "\n".join(parts)


def section(data: str, allocator: str, records: Sequence[Record], inputs: Inputs, tokens: TokenFile) -> list[str]:
    """One set under one allocator: facts, table, what is missing."""
    standing = [one for one in records if "withdrawn" not in one]
    lines = lines_of(standing, inputs, tokens)
    if not lines:
        return [f"## {data}", "", "Nothing measured yet.", "", *missing(records)]
    head = (
        "| system | settings | tokens/s | tuneloop is faster by | share of the limit | peak RSS, MB | after imports "
        "| positions a token | loss distance | load average | others' cores |"
    )
    body = [written(line, faster(line, lines)) for line in sorted(lines, key=lambda one: (not one.ranks, -middle(one)))]
    return [f"## {data}", "", *facts(allocator, standing, inputs, tokens), "", head, "|---" * 11 + "|", *body, "",
            *missing(records)]  # fmt: skip


def middle(line: Line) -> float:
    """The median speed."""
    return statistics.median(line.tokens_per_second)


def faster(line: Line, lines: Sequence[Line]) -> str:
    """How many times as fast tuneloop is: the row of it that took the same documents, else the one as it comes."""
    ours = [one for one in lines if one.system == "tuneloop" and one.variant in OURS]
    if not line.ranks or not ours:
        return ""
    same = [one for one in ours if line.same_documents(one)]
    ratio = f"{middle((same or ours)[0]) / middle(line):.2f}x"
    return ratio if same else f"{ratio}, over other documents"


def written(line: Line, ratio: str) -> str:
    """One line of Markdown: medians, and the range where there are several rounds."""
    cells = [
        line.system, f"{line.variant}: {line.about}", spread(line.tokens_per_second, "{:.1f}".format), ratio,
        spread(line.limit_share, "{:.2f}".format), f"{max(line.peak_mb):,.0f}",
        f"{statistics.median(line.import_mb):,.0f}", f"{statistics.median(line.padding):.2f}",
        f"{max(line.parity):.1e}", "; ".join(line.loads), f"{max(line.others):.2f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    """Median, and [least, most] of several."""
    middle_ = form(statistics.median(values))
    return middle_ if len(values) == 1 else f"{middle_} [{form(min(values))}, {form(max(values))}]"


def facts(allocator: str, records: Sequence[Record], inputs: Inputs, tokens: TokenFile) -> list[str]:
    """What the figures hold for: data, machine, settings, versions."""
    runs = [one for one in records if "row" in one and "result" in one]
    shown = sorted({number for one in runs if not one["row"]["reordered"] for step in one["result"]["documents"][:8]
                    for number in step})  # fmt: skip
    lengths = [len(tokens.documents[number].ids) for number in shown]
    weight, real = tokens.weight(shown), sum(lengths)
    batches = [lengths[start : start + 16] for start in range(0, len(lengths), 16)]
    padded = sum(max(batch) * len(batch) for batch in batches) / max(1, real)
    machine, sessions = runs[0]["machine"], list(dict.fromkeys(one["session"] for one in runs))
    versions = {f"{one['system']} ({', '.join(f'{k} {v}' for k, v in one['result']['versions'].items())})"
                for one in runs}  # fmt: skip
    rates = session_rates(records, sessions[-1])
    flops = step_flops(inputs.config, lengths, weight, rank=Job.rank, classes=tokens.classes)
    limit = real / limit_seconds(inputs.config, rates, flops)
    share = "" if tokens.classes else f", {weight / max(1, real):.0%} of them predicted"
    return [
        f"- first documents: {len(shown)} of {len(tokens.documents)}, {real:,} tokens{share}, {min(lengths)} to "
        f"{max(lengths)} a document; 16 in file order padded to the longest: {padded:.2f} positions a token",
        f"- token file sha256 {inputs.sha256['tokens'][:16]}, start weights {inputs.sha256['start'][:16]}; 16 "
        f"documents a step, LoRA r {Job.rank} alpha {Job.alpha} on all 7 matrices, float32, AdamW, rate "
        f"{Job.learning_rate:g} to 0",
        f"- {machine['cpu']}, {runs[0]['result']['threads']} threads; allocator: {allocator}; matrix products "
        f"{machine_rate(inputs.config, rates, flops) / 1e9:.0f} GFLOP/s, so the limit of these documents is "
        f"{limit:.0f} tokens/s; sessions: {', '.join(sessions)}",
        f"- the largest loss distance allowed is {PARITY:.0e} nats a token in every step, from plain transformers and "
        "PEFT over the same documents",
        "- rows by length or packed take other documents than the first ones: they are compared with the row of "
        "tuneloop over the same documents, and it is said where there is none (packed steps hold about 16 documents, "
        "each a number of its own)",
        f"- versions: {'; '.join(sorted(versions))}",
    ]


def missing(records: Sequence[Record]) -> list[str]:
    """Rows that have no figure, or lost one, with the reason."""
    found = []
    for one in records:
        if "row" in one and (reason := one.get("absent") or one.get("withdrawn")):
            word = "absent" if "absent" in one else "withdrawn"
            found.append(f"- {one['system']} {one['row']['variant']}, {one['session']}, {word}: {reason}")
    return [*found, ""] if found else []
