"""Every mode, round and system in a process of its own; what stands in raw.jsonl already is not run again.

    mode: round 1: tuneloop, transformers 1, 8, ... -> check the tokens -> round 2: ... -> check -> ...
    at last one core's seconds, by operator, of tuneloop

A record is one process: its settings, its figures, and the hash of its answers. tuneloop's and the reference's answers
are kept too, as token ids, so that a later session can compare them.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.generation.systems import REFERENCE, Job, System, load, write_job
from benchmarks.generation.ties import TIE, difference
from benchmarks.session import Session
from benchmarks.train_speed.environments import ROOT
from benchmarks.train_speed.raw import Record, read_raw, withdraw
from benchmarks.train_speed.run import environment
from benchmarks.train_speed.watch import versions
from tuneloop.disk import sha256_file, sha256_json
from tuneloop.model.cache import settings_sha256, weights_sha256
from tuneloop.stations import machine_facts
from tuneloop.terminal import say

MODES = {"whole budget": False, "stop tokens": True}
"""Whether the model's end tokens end an answer."""
OURS = "tuneloop"
PROFILE = "profile"
"""The mode of a record of one core under torch.profiler, over whole budgets; of ours, since the events of
transformers' generate take more than 24 GB."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        systems: In the order of a round.
        model: Folder of the model.
        name: The model's name, for the table.
        prompts: Path of the prompts.
        rows: How many prompts.
        budget: New tokens of each answer.
        repeats: Rounds.
        threads: Of every process.
        work: Folder of the processes.
        raw: The records.
        command: What the user typed.
    """

    systems: Sequence[System]
    model: Path
    name: str
    prompts: Path
    rows: int
    budget: int
    repeats: int
    threads: int
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
        weights = weights_sha256(plan.model) + settings_sha256(plan.model)
        self.sha256 = {"model": weights, "prompts": sha256_file(plan.prompts)}

    def run(self) -> list[str]:
        """Run all that does not stand yet; gives what went wrong."""
        for mode in MODES:
            for turn in range(self.plan.repeats):
                for system in self.plan.systems:
                    if not self.stands(self.key(system, mode, turn)):
                        self._measure(system, mode, turn)
                self._compare(mode)
        for system in self._profiled():
            if not self.stands(self.key(system, PROFILE, 0)):
                self._measure(system, PROFILE, 0)
        return self.new_faults

    def key(self, system: System, mode: str, turn: int) -> str:
        """Hash of all that decides what a process computes and how fast."""
        plan = self.plan
        asked = [asdict(system), mode, turn, plan.rows, plan.budget, plan.threads, self.sha256]
        return sha256_json([asked, _code() if system.kind == OURS else versions()])

    def records(self) -> list[Record]:
        """The records in force of this plan's settings, whatever session made them."""
        return self.in_force({self.key(system, mode, turn) for system, mode, turn in self._all()})

    def profiles(self) -> list[Record]:
        """The records in force of what one core does."""
        return self.in_force({self.key(system, PROFILE, 0) for system in self._profiled()})

    def _profiled(self) -> list[System]:
        return [one for one in self.plan.systems if one.name == OURS]

    def _all(self) -> Iterator[tuple[System, str, int]]:
        for mode in MODES:
            for turn in range(self.plan.repeats):
                for system in self.plan.systems:
                    yield system, mode, turn

    def _measure(self, system: System, mode: str, turn: int) -> None:
        """Run one process and keep what it says."""
        plan = self.plan
        say(f"{mode}, round {turn + 1} of {plan.repeats}: {system.name} ...")
        record: Record = {
            "key": self.key(system, mode, turn), "session": self.session, "mode": mode, "system": system.name,
            "round": turn, "rows": plan.rows, "budget": plan.budget, "threads": plan.threads, "model": plan.name,
            "sha256": self.sha256, "machine": machine_facts(), "command": plan.command,
        }  # fmt: skip
        result = plan.work / "result.json"
        stop, profiled = MODES.get(mode, False), mode == PROFILE
        job = Job(system, str(plan.model), str(plan.prompts), plan.budget, stop, str(result), profiled)
        called = f"{mode}, {system.name}"
        if fault := answer(job, plan.work / "job.json", 1 if profiled else plan.threads):
            self.keep(called, record | {"withdrawn": f"failed: {fault}"})
            return
        found = json.loads(result.read_text(encoding="utf-8"))
        tokens = found.pop("tokens")
        record |= found | {"new_tokens": sum(map(len, tokens)), "answers_sha256": sha256_json(tokens)}
        if system.name in (OURS, REFERENCE) and not profiled:
            record["tokens"] = tokens
        before = [one for one in self.records() if (one["mode"], one["system"]) == (mode, system.name)]
        if before and before[0]["answers_sha256"] != record["answers_sha256"]:
            record["withdrawn"] = f"round {turn + 1} gives other tokens than round {before[0]['round'] + 1}"
        self.keep(called, record)

    def _compare(self, mode: str) -> None:
        """Withdraw our records of this mode where our tokens are not the reference's, up to ties."""
        told = compared(self.records(), mode, self.plan)
        if not told["faults"]:
            return
        for one in self.records():
            if (one["mode"], one["system"]) == (mode, OURS):
                withdraw(self.plan.raw, one["key"], "; ".join(told["faults"]))
        for fault in told["faults"]:
            self.tell(f"{mode}: {fault}")


def answer(job: Job, path: Path, threads: int) -> str:
    """Run one process; why it gave no result, else ""."""
    write_job(job, path)
    result = Path(job.result)
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.generation.systems", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment(threads), capture_output=True, text=True, check=False)
    if done.returncode or not result.is_file():
        return " / ".join(done.stderr.strip().splitlines()[-2:]) or f"exit {done.returncode}"
    return ""


def compared(records: Sequence[Record], mode: str, plan: Plan) -> dict[str, Any]:
    """How our answers of a mode stand to the reference's.

    Args:
        records: Those in force.
        mode: A key of MODES.
        plan: Names the model and the prompts.

    Returns:
        {"rows", "equal", "tied", "different"}, and "faults", empty while one of the two is not measured.
    """
    first: dict[str, Mapping[int, list[int]]] = {}
    for one in records:
        if one["mode"] == mode and "tokens" in one:
            first.setdefault(one["system"], dict(zip(one["places"], one["tokens"], strict=True)))
    if OURS not in first or REFERENCE not in first:
        return {"rows": 0, "equal": 0, "tied": 0, "different": 0, "faults": []}
    ours, wanted = first[OURS], first[REFERENCE]
    prompts, (model, _) = json.loads(plan.prompts.read_text(encoding="utf-8")), load(str(plan.model))
    told = {place: difference(model, prompts[place], ours[place], wanted[place]) for place in ours if place in wanted}
    faults = [f"row {place}: {fault}" for place, fault in told.items() if fault]
    equal, different = sum(ours[place] == wanted[place] for place in told), len(faults)
    if len(told) != len(prompts):
        faults.append(f"{len(told)} of {len(prompts)} rows were compared")
    return {
        "rows": len(told), "equal": equal, "tied": len(told) - equal - different, "different": different,
        "faults": faults,
    }  # fmt: skip


def summary(bench: Bench) -> dict[str, Any]:
    """What table.py writes: the runs in force, and what was withdrawn."""
    plan, runs = bench.plan, bench.records()
    withdrawn = [one for one in read_raw(plan.raw) if "withdrawn" in one]
    return {
        "session": ", ".join(dict.fromkeys(one["session"] for one in runs)), "command": plan.command,
        "machine": runs[-1]["machine"] if runs else machine_facts(), "threads": plan.threads, "rows": plan.rows,
        "budget": plan.budget, "model": plan.name, "tie": TIE, "versions": runs[-1]["versions"] if runs else {},
        "runs": runs, "profiles": bench.profiles(), "tokens": {mode: compared(runs, mode, plan) for mode in MODES},
        "withdrawn": [{name: one[name] for name in ("session", "mode", "system", "round", "withdrawn")}
                      for one in withdrawn],
    }  # fmt: skip


@functools.cache
def _code() -> dict[str, str]:
    """The files of tuneloop that an answer runs through, and the packages."""
    files = sorted(file for name in ("infer", "model") for file in (ROOT / "src" / "tuneloop" / name).glob("*.py"))
    return {str(file.relative_to(ROOT)): sha256_file(file) for file in files} | versions()
