"""`make bench-generate`: time every system, round after round, check the tokens, write <session>.json and table.md."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from benchmarks.generation.inputs import prepare
from benchmarks.generation.systems import REFERENCE, SHORT, SYSTEMS, Job, load, write_job
from benchmarks.generation.table import best_peer, table
from benchmarks.generation.ties import TIE, difference
from benchmarks.train_speed.environments import ROOT
from benchmarks.train_speed.run import environment
from tuneloop.disk import sha256_file, write_text
from tuneloop.errors import TuneloopError
from tuneloop.model.cache import settings_sha256, weights_sha256
from tuneloop.stations import machine_facts
from tuneloop.terminal import err, say, warn

RESULTS = ROOT / "benchmarks" / "results" / "generation"
MODES = {"whole budget": False, "stop tokens": True}
"""Whether the model's end tokens end an answer."""
BRIEF = {"rows": 10, "tokens": 12, "repeats": 1}
FULL = {"rows": 50, "tokens": 128, "repeats": 3}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where tokens differ, a system failed, or the user's own input said no."""
    asked = parser().parse_args(arguments)
    for name, value in (BRIEF if asked.short else FULL).items():
        if getattr(asked, name) is None:
            setattr(asked, name, value)
    try:
        with tempfile.TemporaryDirectory(prefix="generation-") as work:
            results = asked.results or (Path(tempfile.mkdtemp(prefix="generation-")) if asked.short else RESULTS)
            record = session(asked, Path(work))
    except TuneloopError as error:
        err.print(str(error), markup=False)
        return 1
    name = record["session"].replace(":", "")
    write_text(results / f"{name}.json", json.dumps(record, indent=1) + "\n")
    write_text(results / "table.md", table(record))
    print(table(record))
    for fault in record["faults"]:
        warn(fault)
    return 1 if record["faults"] else 0


def session(asked: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Measure every mode and system `repeats` times, interleaved, and check the tokens."""
    systems = [one for one in (SHORT if asked.short else SYSTEMS) if _wanted(one.name, asked.systems)]
    model, prompts = prepare(work, rows=asked.rows, short=asked.short)
    record: dict[str, Any] = {
        "session": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": " ".join(["python -m benchmarks.generation", *sys.argv[1:]]),
        "machine": machine_facts(), "threads": asked.threads, "rows": asked.rows, "budget": asked.tokens,
        "model": "made up, tiny" if asked.short else model.name, "tie": TIE,
        "sha256": {"model": weights_sha256(model) + settings_sha256(model), "prompts": sha256_file(prompts)},
        "runs": [], "tokens": {}, "faults": [],
    }  # fmt: skip
    for mode, stop in MODES.items():
        for turn in range(asked.repeats):
            for system in systems:
                say(f"{mode}, round {turn + 1} of {asked.repeats}: {system.name} ...")
                job = Job(system, str(model), str(prompts), asked.tokens, stop, str(work / "result.json"))
                _one(record, job, mode, turn, asked.threads, work)
        record["tokens"][mode] = _check(record, mode, str(model), json.loads(prompts.read_text(encoding="utf-8")))
    for run in record["runs"]:
        run["new_tokens"] = sum(map(len, run.pop("tokens")))
    record["ratio"] = {mode: best_peer(record, mode)["ratio"] for mode in MODES}
    return record


def _wanted(name: str, patterns: list[str] | None) -> bool:
    return patterns is None or name == REFERENCE or any(fnmatch(name, pattern) for pattern in patterns)


def _one(record: dict[str, Any], job: Job, mode: str, turn: int, threads: int, work: Path) -> None:
    """Run one process and add what it says to the record."""
    path, result = work / "job.json", Path(job.result)
    write_job(job, path)
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.generation.systems", str(path)]
    done = subprocess.run(command, cwd=ROOT, env=environment(threads), capture_output=True, text=True, check=False)
    if done.returncode or not result.is_file():
        record["faults"].append(f"{mode}, {job.system.name}: {' / '.join(done.stderr.strip().splitlines()[-2:])}")
        return
    found = json.loads(result.read_text(encoding="utf-8"))
    record["versions"] = found.pop("versions")
    record["runs"].append({"mode": mode, "system": job.system.name, "round": turn, **found})


def _check(record: dict[str, Any], mode: str, folder: str, prompts: list[list[int]]) -> dict[str, Any]:
    """Compare every round's tokens of ours with the reference's first ones, and every round of a system with itself."""
    answers = [run for run in record["runs"] if run["mode"] == mode]
    by_place = [dict(zip(run["places"], run["tokens"], strict=True)) for run in answers]
    first: dict[str, dict[int, list[int]]] = {}
    for run, said in zip(answers, by_place, strict=True):
        if said != first.setdefault(run["system"], said):
            record["faults"].append(f"{mode}, {run['system']}: round {run['round'] + 1} gives other tokens")
    ours, wanted = first.get("tuneloop", {}), first.get(REFERENCE, {})
    model, _ = load(folder)
    told = {place: difference(model, prompts[place], ours[place], wanted[place]) for place in ours if place in wanted}
    record["faults"] += [f"{mode}, row {place}: {fault}" for place, fault in told.items() if fault]
    if len(told) != len(prompts):
        record["faults"].append(f"{mode}: {len(told)} of {len(prompts)} rows were compared")
    equal = sum(ours[place] == wanted[place] for place in told)
    faults = sum(map(bool, told.values()))
    return {"rows": len(told), "equal": equal, "tied": len(told) - equal - faults, "different": faults}


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=__doc__)
    made.add_argument("--short", action="store_true", help="a tiny model, 10 made-up rows, 12 tokens, one round")
    made.add_argument("--systems", nargs="+", metavar="PATTERN", help="only these, e.g. 'transformers, 16*' tuneloop")
    made.add_argument("--rows", type=int, help="prompts (50)")
    made.add_argument("--tokens", type=int, help="new tokens of each answer (128)")
    made.add_argument("--repeats", type=int, help="rounds (3)")
    made.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of every process (2)")
    made.add_argument("--results", type=Path, metavar="FOLDER", help="where <session>.json and table.md go")
    return made


if __name__ == "__main__":
    sys.exit(main())
