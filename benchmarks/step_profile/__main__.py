"""Profile a step of tuneloop and of HF Trainer, write raw.jsonl and table.md. `--help` has the options."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.outcome import answer, conclude
from benchmarks.scaling import lengths
from benchmarks.session import Session
from benchmarks.step_profile.profiled import STEPS, SYSTEM
from benchmarks.step_profile.table import table
from benchmarks.train_speed.environments import ROOT, installed_packages, python_of
from benchmarks.train_speed.inputs import Inputs, base_model, prepare, tiny_model
from benchmarks.train_speed.job import Job
from benchmarks.train_speed.order import BY_LENGTH, documents_of
from benchmarks.train_speed.rows import ALL, GROUPED, MICRO, PLAIN, SETS, SHORT_SETS
from benchmarks.train_speed.run import environment, result_of
from benchmarks.train_speed.tokens import read_tokens
from tuneloop.disk import sha256_file, sha256_json
from tuneloop.model.cache import cache_root
from tuneloop.stations import machine_facts
from tuneloop.terminal import say

RESULTS = ROOT / "benchmarks" / "results" / "step_profile"
ROWS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gsm8k, tuneloop": ("gsm8k", "tuneloop", {"fast": True}),
    "gsm8k, HF Trainer + PEFT, 2 x 8": ("gsm8k", "hf_trainer", MICRO | PLAIN),
    "banking77 by length, tuneloop": ("banking77", "tuneloop", {"fast": True}),
    "banking77 by length, HF Trainer + PEFT": ("banking77", "hf_trainer", ALL | PLAIN | GROUPED),
    "32 tokens a document, tuneloop": ("tokens_32", "tuneloop", {"fast": True}),
    "512 tokens a document, tuneloop": ("tokens_512", "tuneloop", {"fast": True}),
}
"""Name -> the set, the system, its options: the rows of train_speed and of scaling that miss their figure."""
LENGTHS = {"gsm8k": (6, 2), "banking77": (24, 12), "tokens_32": (4, 1), "tokens_512": (4, 1)}
"""Set -> steps, and how many of the last ones are profiled; rows by length begin with the longest documents."""
ONE_LENGTH = {"tokens_32": 32, "tokens_512": 512}
"""Set -> tokens of each document, as in scaling."""
TOKENS_A_STEP = 4096
SMALLER = 8
"""How many times smaller both are in the short form."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where the user's own input said no."""
    return answer(parser(), run, arguments)


def run(asked: argparse.Namespace, command: str) -> int:
    """Measure what does not stand yet, write the table and print it.

    Args:
        asked: The options.
        command: What the user typed, for the records.
    """
    results = asked.results or (Path(tempfile.mkdtemp(prefix="profile-")) if asked.short else RESULTS)
    session, keys, made = Session(results / "raw.jsonl"), list[str](), dict[str, Inputs]()
    work = asked.work or cache_root() / "benchmarks" / "step_profile"
    for name, (data, system, options) in ROWS.items():
        key = sha256_json([name, options, LENGTHS[data], asked.short, code_of(system, short=asked.short)])
        keys.append(key)
        if asked.table or data not in asked.sets or session.stands(key):
            continue
        say(f"{name} ...")
        inputs = made[data] = made.get(data) or inputs_of(data, work / "inputs", short=asked.short)
        load = os.getloadavg()[0]
        result = profile(inputs, data, system, options, work, short=asked.short)
        session.keep(name, {
            "key": key, "session": session.session, "row": name, "data": data, "system": system, "options": options,
            "command": command, "date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine_facts(),
            "load_before": round(load, 2), "result": result,
        })  # fmt: skip
    return conclude(results / "table.md", table(session.in_force(set(keys))), session.new_faults)


def inputs_of(data: str, folder: Path, *, short: bool) -> Inputs:
    """Model, documents and start weights of a set.

    Args:
        data: A key of LENGTHS.
        folder: Where they lie.
        short: Made-up documents and a tiny model.
    """
    if data not in ONE_LENGTH:
        return prepare(data, folder, short=SHORT_SETS[data] if short else None)
    model = tiny_model(folder / "tiny") if short else base_model()
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    size = ONE_LENGTH[data] // (SMALLER if short else 1)
    return lengths.prepare(model, config, folder / data, size, documents_a_step(data) * steps_of(data, short)[0])[0]


def documents_a_step(data: str) -> int:
    """Documents of an optimiser step."""
    return TOKENS_A_STEP // ONE_LENGTH[data] if data in ONE_LENGTH else Job.documents_per_step


def steps_of(data: str, short: bool) -> tuple[int, int]:
    """Steps, and how many of the last ones are profiled."""
    return (4, 1) if short else LENGTHS[data]


def profile(
    inputs: Inputs, data: str, system: str, options: dict[str, Any], work: Path, *, short: bool
) -> dict[str, Any]:
    """What one core did in the steps of a system, and how fast it is by the clock on one core and on two.

    Args:
        inputs: Model, documents and start weights.
        data: Their set; banking77's documents come by length, as the Trainer's own sampler gives them.
        system: A module of train_speed.
        options: Its own.
        work: Folder of processes.
        short: The short form: every system in this process's environment.
    """
    tokens, (steps, profiled) = read_tokens(inputs.tokens), steps_of(data, short)
    horizon = max((SHORT_SETS if short else SETS)[data].horizon, steps) if data not in ONE_LENGTH else steps
    order = documents_of(BY_LENGTH, tokens, horizon) if data == "banking77" and system == "tuneloop" else None
    paths = {"model": inputs.model, "tokens": inputs.tokens, "start": inputs.start, "folder": work / "process"}
    found: dict[str, Any] = {}
    python = python_of(system, own=short)
    for kind, threads, name, more in (
        ("profile", 1, "benchmarks.step_profile.profiled", {SYSTEM: system, STEPS: profiled}), ("two", 2, system, {}),
    ):  # fmt: skip
        shutil.rmtree(paths["folder"], ignore_errors=True)
        job = Job(
            name, **{key: str(path.resolve()) for key, path in paths.items()}, steps=steps, horizon=horizon,
            options=options | more, order=order, documents_per_step=documents_a_step(data),
        )  # fmt: skip
        told = result_of(job, python, environment(threads))
        found[kind] = {name: told[name] for name in ("seconds", "documents", "positions", "label_tokens", "others")}
        found[kind] |= {
            name: told[name] for name in ("operators", "profiled", "profiled_seconds", "cores") if name in told
        }
        found[kind]["tokens"] = [
            sum(len(tokens.documents[number].ids) for number in step) for step in told["documents"]
        ]
    return found


def code_of(system: str, *, short: bool) -> dict[str, Any]:
    """What a result hangs on: the code that trains and watches, tuneloop's files or the peer's packages.

    Args:
        system: A module of train_speed.
        short: Whether it trains in this process's environment.
    """
    told = ("table.py", "kinds.py", "__main__.py")
    files = [file for file in sorted(Path(__file__).parent.glob("*.py")) if file.name not in told]
    files += [*sorted((ROOT / "benchmarks" / "train_speed").glob("**/*.py")), Path(lengths.__file__)]
    packages = [] if short or system == "tuneloop" else installed_packages(system)
    if system == "tuneloop":
        folders = ("examples", "loss", "model", "train")
        files += sorted(file for name in folders for file in (ROOT / "src" / "tuneloop" / name).glob("*.py"))
    return {"packages": packages} | {str(file.relative_to(ROOT)): sha256_file(file) for file in files}


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.step_profile", description=__doc__)
    made.add_argument("--short", action="store_true", help="a tiny model and made-up documents; a minute")
    made.add_argument("--sets", nargs="+", choices=list(LENGTHS), default=list(LENGTHS), help="which (all)")
    made.add_argument("--table", action="store_true", help="measure nothing, write the table from raw.jsonl")
    made.add_argument("--results", type=Path, metavar="FOLDER", help="where raw.jsonl and table.md go")
    made.add_argument("--work", type=Path, metavar="FOLDER", help="where inputs and processes lie (in the cache)")
    return made


if __name__ == "__main__":
    sys.exit(main())
