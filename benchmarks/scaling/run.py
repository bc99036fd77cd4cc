"""Each length and each number of rows, round after round, in a process of its own; nothing that stands is run twice."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scaling import lengths, rows
from benchmarks.session import Session
from benchmarks.train_speed.environments import ROOT
from benchmarks.train_speed.floor import limit_seconds, step_flops
from benchmarks.train_speed.job import Job
from benchmarks.train_speed.raw import Record
from benchmarks.train_speed.run import Failed, environment, result_of
from tuneloop.disk import sha256_file, sha256_json
from tuneloop.model.cache import settings_sha256, weights_sha256
from tuneloop.stations import machine_facts
from tuneloop.terminal import say

FLAT = 0.10
"""How far the largest figure may be above the smallest."""
SKIPPED = 1


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        model: Folder of the base model.
        lengths: Tokens of a document.
        tokens: Of a step, whatever their length.
        rows: Numbers of rows.
        rows_per_step: Of the runs over rows.
        steps: Of a run, by kind; the first one is not counted.
        repeats: Rounds.
        threads: Of every process.
        rate_seconds: For each matrix product, before each run and after it.
        work: Folder of inputs and processes.
        raw: The records.
        command: What the user typed.
    """

    model: Path
    lengths: Sequence[int]
    tokens: int
    rows: Sequence[int]
    rows_per_step: int
    steps: Mapping[str, int]
    repeats: int
    threads: int
    rate_seconds: float
    work: Path
    raw: Path
    command: str


class Bench(Session):
    """One session of measuring.

    Args:
        plan: What to measure.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.raw)
        self.plan = plan
        self.config: dict[str, Any] = json.loads((plan.model / "config.json").read_text(encoding="utf-8"))
        folders = ("examples", "loss", "model", "rows", "train")
        files = sorted(file for name in folders for file in (ROOT / "src" / "tuneloop" / name).glob("*.py"))
        self.code = {str(file.relative_to(ROOT)): sha256_file(file) for file in files}
        self.sha256 = weights_sha256(plan.model) + settings_sha256(plan.model)

    def points(self) -> list[tuple[str, int]]:
        """(kind, size) of each run of a round."""
        return [*(("length", size) for size in self.plan.lengths), *(("rows", size) for size in self.plan.rows)]

    def key(self, kind: str, size: int, turn: int) -> str:
        """Hash of all that decides what a run computes and how fast."""
        plan = self.plan
        step = plan.tokens if kind == "length" else plan.rows_per_step
        return sha256_json(
            [kind, size, turn, step, plan.steps[kind], plan.threads, self.sha256, self.code, "before, after"]
        )

    def records(self) -> list[Record]:
        """The records in force of this plan, whatever session made them."""
        wanted = {self.key(*point, turn) for turn in range(self.plan.repeats) for point in self.points()}
        return self.in_force(wanted)

    def run(self) -> list[str]:
        """Run all that does not stand yet; gives what went wrong."""
        for turn in range(self.plan.repeats):
            for kind, size in self.points():
                if not self.stands(self.key(kind, size, turn)):
                    self._measure(kind, size, turn)
        return self.new_faults

    def _measure(self, kind: str, size: int, turn: int) -> None:
        say(f"{kind} {size:,}, round {turn + 1} of {self.plan.repeats} ...")
        record: Record = {
            "key": self.key(kind, size, turn), "session": self.session, "kind": kind, "size": size, "round": turn,
            "threads": self.plan.threads, "machine": machine_facts(), "command": self.plan.command,
        }  # fmt: skip
        try:
            record["rates_before"] = self._rates()
            record |= self._length(size) if kind == "length" else self._rows(size)
            record["rates_after"] = self._rates()
        except Failed as reason:
            record["withdrawn"] = f"failed: {reason}"
        self.keep(f"{kind} {size:,}, round {turn + 1}", record)

    def _rates(self) -> dict[str, float]:
        """What the machine's matrix products do now."""
        job = self._job("gemm", Path(), {"seconds": self.plan.rate_seconds}, 0, 0)
        return dict(self._process(job)["flops"])

    def _length(self, size: int) -> Record:
        """A run over documents of one length, and why it does not count."""
        plan, documents, steps = self.plan, self.plan.tokens // size, self.plan.steps["length"]
        inputs, tokens = lengths.prepare(plan.model, self.config, plan.work / "inputs", size, documents * steps)
        job = self._job("tuneloop", inputs.tokens, {"fast": True}, steps, documents, str(inputs.start))
        result = self._process(job)
        return judged(result, lengths.faults(result, tokens, steps, documents)) | {"documents": documents}

    def _rows(self, size: int) -> Record:
        """A run over a number of rows, and why it does not count."""
        path = self.plan.work / "inputs" / f"rows-{size}.jsonl"
        rows.write_rows(path, size)
        job = self._job(rows.__name__, path, {"rows": size}, self.plan.steps["rows"], self.plan.rows_per_step)
        result = self._process(job)
        return judged(result, rows.faults(result, job))

    def _job(
        self, system: str, data: Path, options: dict[str, Any], steps: int, documents: int, start: str = ""
    ) -> Job:
        plan = self.plan
        return Job(
            system, str(plan.model), str(data.resolve()), start, str(plan.work / "process"), steps, steps, options,
            documents_per_step=documents,
        )  # fmt: skip

    def _process(self, job: Job) -> dict[str, Any]:
        return result_of(job, Path(sys.executable), environment(self.plan.threads))


def judged(result: dict[str, Any], told: Sequence[str]) -> Record:
    """A result, withdrawn where a guard said no."""
    return {"result": result} | ({"withdrawn": "; ".join(told)} if told else {})


def measured_rates(records: Sequence[Record]) -> list[Mapping[str, float]]:
    """Shape -> FLOP/s, as measured before and after each run.

    Args:
        records: Those in force.
    """
    return [record[when] for record in records for when in ("rates_before", "rates_after")]


def machine_rates(records: Sequence[Record]) -> dict[str, float]:
    """Shape -> FLOP/s: the median of what was measured around all runs.

    Around one run the rate of a shape is up to half off, and a run beside it is not, so that it says nothing of it.

    Args:
        records: Those in force.
    """
    found = measured_rates(records)
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def over_limit(record: Record, config: Mapping[str, Any], rates: Mapping[str, float]) -> list[float]:
    """Seconds of each counted step by the least time that its work takes.

    Args:
        record: Of one run.
        config: The base model's config.json.
        rates: Shape -> FLOP/s.
    """
    result = record["result"]
    if record["kind"] == "length":
        works = [([record["size"]] * record["documents"], int(weight), 0) for weight in result["weight"]]
    else:
        works = [(sizes, 0, result["classes"]) for sizes in result["lengths"]]
    least = [
        limit_seconds(config, rates, step_flops(config, sizes, weight, rank=Job.rank, classes=classes))
        for sizes, weight, classes in works
    ]
    return [seconds / limit for seconds, limit in zip(result["seconds"], least, strict=True)][SKIPPED:]


def table(records: Sequence[Record], withdrawn: Sequence[Record], config: Mapping[str, Any]) -> str:
    """Markdown: medians over the rounds, and whether each column is flat.

    Args:
        records: Those in force.
        withdrawn: Those that do not count.
        config: The base model's config.json.
    """
    parts = ["# Scaling", "", "`make bench-scaling`; every run is a line of [raw.jsonl](raw.jsonl).", ""]
    if records:
        machine, sessions = records[0]["machine"], ", ".join(dict.fromkeys(one["session"] for one in records))
        parts += [f"{machine['cpu']}, {records[0]['threads']} threads; versions {records[0]['result']['versions']}; "
                  f"sessions {sessions}; time over the limit: median [least, most] of the counted steps' seconds, each "
                  "by the least time that train_speed/floor.py gives for its work; the rate of matrix products is the "
                  f"median of {2 * len(records)} measurements before and after the runs ({span(records)}).",
                  ""]  # fmt: skip
    for kind, told in (("length", "tokens a document"), ("rows", "rows")):
        groups: dict[int, list[Record]] = {}
        for one in records:
            if one["kind"] == kind:
                groups.setdefault(one["size"], []).append(one)
        if groups:
            parts += section(kind, told, dict(sorted(groups.items())), config, machine_rates(records))
    parts += [f"- {one['kind']} {one['size']:,}, round {one['round'] + 1}, {one['session']}, withdrawn: "
              f"{one['withdrawn']}" for one in withdrawn]  # fmt: skip
    return "\n".join([*parts, ""])


def span(records: Sequence[Record]) -> str:
    """How far the measurements of a shape lie apart at most, in words."""
    found = measured_rates(records)
    widest = max(found[0], key=lambda name: max(one[name] for one in found) / min(one[name] for one in found))
    each = [one[widest] / 1e9 for one in found]
    return f"those of one shape lie as far apart as {min(each):.0f} and {max(each):.0f} GFLOP/s"


def section(
    kind: str, told: str, groups: Mapping[int, Sequence[Record]], config: Mapping[str, Any],
    rates: Mapping[str, float],
) -> list[str]:  # fmt: skip
    """The lines of one kind, and what they prove.

    Args:
        kind: "length" or "rows".
        told: What a size counts.
        groups: Size -> its runs.
        config: The base model's config.json.
        rates: Shape -> FLOP/s.
    """
    more = kind == "rows"
    head = [told, "time over the limit", "peak MB", "others' cores", *(["read, clean and split: ms a row",
            "encode: ms a row", "MB once encoded"] * more)]  # fmt: skip
    lines, columns = (
        [f"## By {told}", "", f"| {' | '.join(head)} |", "|--:" * len(head) + "|"],
        dict[str, list[float]](),
    )
    for size, runs in groups.items():
        times, results = (
            [step for one in runs for step in over_limit(one, config, rates)],
            [one["result"] for one in runs],
        )
        middle, peak = statistics.median(times), statistics.median(one["peak_mb"] for one in results)
        columns.setdefault("Time over the limit", []).append(middle)
        columns.setdefault("Peak memory", []).append(peak)
        cells = [f"{size:,}", f"{middle:.2f} [{min(times):.2f}, {max(times):.2f}]", f"{peak:,.0f}",
                 f"{max(one['others'] for one in results):.2f}"]  # fmt: skip
        if more:
            cells += [f"{1000 * statistics.median(one['data_seconds'][part] for one in results) / size:.3f}"
                      for part in ("prepare", "encode")]  # fmt: skip
            cells.append(f"{statistics.median(one['data_mb'] for one in results):,.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *(verdict(name, values) for name, values in columns.items() if len(values) > 1), ""]


def verdict(name: str, values: Sequence[float]) -> str:
    """Whether a column is flat, in words."""
    above = max(values) / min(values) - 1
    return (
        f"- {name}: the largest is {above:.1%} above the smallest, {'' if above <= FLAT else 'not '}within {FLAT:.0%}."
    )
