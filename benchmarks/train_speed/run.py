"""Runs the rows, interleaved, each in a process of its own; what stands in raw.jsonl already is not run again.

for each set: reference -> round 1: gemm A B C ... -> round 2: gemm A B C ... -> ...
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.train_speed.environments import ROOT, NotInstallable, installed_packages, python_of
from benchmarks.train_speed.guards import distance, faults, parity_fault
from benchmarks.train_speed.inputs import Inputs, prepare
from benchmarks.train_speed.job import PROCESSES, Job, write_job
from benchmarks.train_speed.order import documents_of
from benchmarks.train_speed.raw import Record, add_raw, read_raw, standing
from benchmarks.train_speed.rows import Row, Set
from benchmarks.train_speed.tokens import TokenFile, read_tokens
from tuneloop.disk import sha256_file, sha256_json
from tuneloop.stations import machine_facts
from tuneloop.terminal import say, warn

SECONDS_AT_MOST = 3600
ALLOCATORS: dict[str, dict[str, str]] = {
    "glibc": {},
    "kept": {
        "MALLOC_MMAP_THRESHOLD_": str(2**30),
        "MALLOC_TRIM_THRESHOLD_": str(2**34),
        "THP_MEM_ALLOC_ENABLE": "1",
    },
}
"""Settings of glibc's allocator (man 3 mallopt) and torch's use of huge pages: everyone gets the same.

glibc: as every command gets them. kept: freed blocks stay with the process, so that large tensors cause no page faults.
"""


class Failed(Exception):
    """A process that gave no result; the text is the end of what it said."""


@dataclass(frozen=True)
class Plan:
    """What to measure, and how.

    Attributes:
        rows: In the order of a round.
        sets: Their sets, by name.
        results: Folder of raw.jsonl.
        work: Folder of token files, start weights and processes.
        repeats: Rounds.
        threads: Of every process.
        allocator: A key of ALLOCATORS.
        short: The short form: made-up documents, tiny model, every system in this process's environment.
    """

    rows: Sequence[Row]
    sets: Mapping[str, Set]
    results: Path
    work: Path
    repeats: int = 3
    threads: int = 2
    allocator: str = "glibc"
    short: bool = False


class Bench:
    """One session of measuring.

    Args:
        plan: What to measure.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.raw = plan, plan.results / "raw.jsonl"
        self.session = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        names = list(dict.fromkeys(row.data for row in plan.rows))
        self.inputs: dict[str, Inputs] = {
            name: prepare(name, plan.work / "inputs", short=plan.sets[name] if plan.short else None) for name in names
        }
        self.tokens: dict[str, TokenFile] = {name: read_tokens(one.tokens) for name, one in self.inputs.items()}
        self.new_faults: list[str] = []

    def run(self) -> list[str]:
        """Run all that does not stand yet; gives what went wrong."""
        for name in self.inputs:
            rows = [row for row in self.plan.rows if row.data == name]
            for repeat in range(self.plan.repeats):
                left = [row for row in rows if self._wanted(row, repeat)]
                if left:
                    self._measure_machine(name, repeat)
                for row in left:
                    self._measure(row, repeat)
        return self.new_faults

    def key(self, row: Row, repeat: int) -> str:
        """Hash of all that decides what a run computes and how fast."""
        asked = {name: value for name, value in row.as_dict().items() if name != "about"}
        return sha256_json([asked, repeat, self._common(row.data), self._code(row.system)])

    # -- one run ----------------------------------------------------------------------------------------------

    def _wanted(self, row: Row, repeat: int) -> bool:
        if row.parity and repeat:
            return False
        here = standing(read_raw(self.raw))
        first = here.get(self.key(row, 0), {})
        return self.key(row, repeat) not in here and "absent" not in first

    def _measure(self, row: Row, repeat: int) -> None:
        say(f"{row.name}, round {repeat + 1} of {self.plan.repeats} ...")
        record = self._record(self.key(row, repeat), row.data, row.system, repeat) | {"row": row.as_dict()}
        horizon = max(self.plan.sets[row.data].horizon, row.steps)
        try:
            order = documents_of(row.order, self.tokens[row.data], horizon) if row.order else None
            result = self._process(self._job(row.data, row.system, row.steps, horizon, row.options, order))
            found = faults(result, self.tokens[row.data], row)
            if not found:
                reference = self._reference(row.data, result["documents"], horizon)
                record["parity"] = distance(result["loss"], reference)
                found = parity_fault(record["parity"])
            record["result"] = result
        except NotInstallable as reason:
            record["absent"], found = f"not installable: {reason}", []
        except Failed as reason:
            found = [f"failed: {reason}"]
        if found:
            record["withdrawn"] = "; ".join(found)
            self.new_faults.append(f"{row.name}, round {repeat + 1}: {record['withdrawn']}")
            warn(self.new_faults[-1])
        add_raw(self.raw, record)

    def _reference(self, data: str, documents: list[list[int]], horizon: int) -> list[float]:
        """The reference's losses over these documents, run where no record has them yet."""
        order = [sorted(step) for step in documents]
        for record in standing(read_raw(self.raw)).values():
            same = (
                record["data"] == data and record.get("horizon") == horizon and record["common"] == self._common(data)
            )
            if same and record["order"][: len(order)] == order:
                return record["result"]["loss"]
        say(f"{data}/reference over {len(order)} steps ...")
        job = self._job(data, "reference", len(order), horizon, {}, order)
        key = sha256_json(["reference", order, horizon, self._common(data)])
        result = self._process(job)
        record = self._record(key, data, "reference", 0) | {"horizon": horizon, "order": order, "result": result}
        add_raw(self.raw, record)
        return result["loss"]

    def _measure_machine(self, data: str, repeat: int) -> None:
        """The rate of matrix products now: it belongs to the session."""
        job = self._job(data, "gemm", 0, 0, {"seconds": 0.02 if self.plan.short else 0.5})
        key = sha256_json(["gemm", self.session, repeat, self._common(data)])
        add_raw(self.raw, self._record(key, data, "gemm", repeat) | {"result": self._process(job)})

    # -- parts ------------------------------------------------------------------------------------------------

    def _common(self, data: str) -> str:
        return sha256_json([self.inputs[data].sha256, self.plan.threads, self.plan.allocator])

    def _code(self, system: str) -> Any:
        """What computes: the peers' packages, or the files of tuneloop that a step runs through."""
        if system == "tuneloop":
            folders = ("examples", "loss", "model", "train")
            files = sorted(file for name in folders for file in (ROOT / "src" / "tuneloop" / name).glob("*.py"))
            return {str(file.relative_to(ROOT)): sha256_file(file) for file in files}
        if self.plan.short:
            return "this process's environment"
        try:
            python_of(system)
        except NotInstallable as reason:
            return str(reason)
        return installed_packages(system)

    def _record(self, key: str, data: str, system: str, repeat: int) -> Record:
        return {
            "key": key, "session": self.session, "data": data, "system": system, "repeat": repeat,
            "common": self._common(data), "inputs": self.inputs[data].sha256, "allocator": self.plan.allocator,
            "machine": machine_facts(),
        }  # fmt: skip

    def _job(self, data: str, system: str, steps: int, horizon: int, options: dict[str, Any], order: Any = None) -> Job:
        one, folder = self.inputs[data], self.plan.work / "processes" / f"{data}-{system}"
        shutil.rmtree(folder, ignore_errors=True)
        paths = {"model": one.model, "tokens": one.tokens, "start": one.start, "folder": folder}
        return Job(
            system, **{name: str(path.resolve()) for name, path in paths.items()}, steps=steps, horizon=horizon,
            options=options, order=order,
        )  # fmt: skip

    def _process(self, job: Job) -> dict[str, Any]:
        """Run a system and give its result.

        Raises:
            NotInstallable: if it cannot be had.
            Failed: if it ended without a result.
        """
        python = python_of(job.system, own=self.plan.short or job.system in ("gemm", "reference"))
        variables = environment(max(1, self.plan.threads // processes_of(job)), self.plan.allocator)
        return result_of(job, python, variables)


def result_of(job: Job, python: Path, variables: dict[str, str]) -> dict[str, Any]:
    """Run a job in a process of its own and give its result; its folder goes.

    Args:
        job: What runs.
        python: Of the system's environment.
        variables: The process's environment.

    Raises:
        Failed: if it ended without a result.
    """
    path, folder = write_job(job), Path(job.folder)
    variables = {**variables, "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor")}  # a killed run leaves broken files
    with open(folder / "log.txt", "w", encoding="utf-8") as log:
        ended = _wait(command_of(job, python, path), variables, log)
    told = folder / "result.json"
    if ended or not told.is_file():
        said = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise Failed(f"exit {ended}: {' / '.join(said[-3:])[-400:]}")
    result: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    shutil.rmtree(folder)
    return result


def processes_of(job: Job) -> int:
    """How many processes train together."""
    return int(job.options.get(PROCESSES, 1))


def command_of(job: Job, python: Path, path: Path) -> list[str]:
    """The command that runs a system, or a module by its dotted name; several processes are started by torchrun.

    Args:
        job: What runs.
        python: Of the system's environment.
        path: Of the job's file.
    """
    ranks = processes_of(job)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={ranks}"]
    start = torchrun if ranks > 1 else []
    module = job.system if "." in job.system else f"benchmarks.train_speed.systems.{job.system}"
    return [str(python), *start, "-m", module, str(path)]


def _wait(command: list[str], variables: dict[str, str], log: IO[str]) -> int:
    """Run a command and all that it starts to the end, and give its exit status.

    Raises:
        Failed: if it takes too long.
    """
    with subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    ) as started:
        try:
            return started.wait(timeout=SECONDS_AT_MOST)
        except BaseException as ended:  # the ranks that torchrun started must not outlive it, on Ctrl-C either
            os.killpg(started.pid, signal.SIGKILL)
            if isinstance(ended, subprocess.TimeoutExpired):
                raise Failed(f"no end after {SECONDS_AT_MOST} s") from None
            raise


def environment(threads: int, allocator: str = "glibc") -> dict[str, str]:
    """The variables of every process: threads, allocator, no GPU, no network; the rest as it is here."""
    count = str(threads)
    here = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "THP_", "LD_PRELOAD"))}
    return here | ALLOCATORS[allocator] | {
        "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "CUDA_VISIBLE_DEVICES": "",
        "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
