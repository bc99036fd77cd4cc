"""`python -m benchmarks.train_speed_gpu`: measure what is not measured yet on this GPU, and print the table."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.train_speed.environments import ROOT
from benchmarks.train_speed.job import Job, write_job
from benchmarks.train_speed.raw import Record, add_raw, read_raw, standing
from benchmarks.train_speed.start import make_start
from benchmarks.train_speed.tokens import write_tokens
from benchmarks.train_speed.watch import versions
from benchmarks.train_speed_gpu.rows import DOCUMENTS, ROWS, SHAPE, STEPS, Row, documents, table
from tuneloop.disk import sha256_file, sha256_json, write_text
from tuneloop.errors import RunError, TuneloopError
from tuneloop.model.cache import cache_root
from tuneloop.stations import machine_facts
from tuneloop.terminal import err, say, warn

RESULTS = ROOT / "benchmarks" / "results" / "train_speed_gpu"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 1 where there is no GPU, or a row failed."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.train_speed_gpu", description=__doc__)
    made.add_argument("--repeats", type=int, default=3, help="rounds (3)")
    made.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="where raw.jsonl and table.md go")
    asked = made.parse_args(arguments)
    try:
        if not torch.cuda.is_available():
            raise RunError(
                "The GPU benchmark needs an NVIDIA GPU, and torch finds none", got=f"torch {torch.__version__}",
                fix="Run it on a machine with one; `make bench-train` measures on a CPU",
            )  # fmt: skip
        failed = measure(asked.results / "raw.jsonl", asked.repeats)
    except TuneloopError as error:
        err.print(str(error), markup=False)
        return 1
    text = table(read_raw(asked.results / "raw.jsonl"))
    write_text(asked.results / "table.md", text)
    print(text)
    return 1 if failed else 0


def measure(raw: Path, repeats: int) -> int:
    """Run what does not stand in `raw` yet, round by round; gives how many runs failed."""
    work, failed = cache_root() / "benchmarks" / "gpu", 0
    prepare(work)
    for repeat in range(repeats):
        for row in [*([] if repeat else [Row("gemm", "")]), *ROWS]:
            record = record_of(row, repeat)
            if record["key"] in standing(read_raw(raw)):
                continue
            say(f"{record['row']}, round {repeat + 1} of {repeats} ...")
            if row.system == "trl" and importlib.util.find_spec("trl") is None:
                record["absent"] = "trl is not installed in this environment (pip install trl==1.16.0)"
            else:
                record |= run(row, work)
                failed += "withdrawn" in record
            add_raw(raw, record)
    return failed


def record_of(row: Row, repeat: int) -> Record:
    """A record without its result; its key is a hash of all that decides what the run computes and how fast."""
    folders = ("examples", "loss", "model", "train") if row.system == "tuneloop" else ()
    files = sorted(file for name in folders for file in (ROOT / "src" / "tuneloop" / name).glob("*.py"))
    device = torch.cuda.get_device_name()
    key = [row.name, row.options, repeat, device, versions(), SHAPE, STEPS, [sha256_file(file) for file in files]]
    name = row.name.rstrip("/")
    return {"key": sha256_json(key), "row": name, "repeat": repeat, "device": device, "machine": machine_facts()}


def prepare(work: Path) -> None:
    """Make the model with random weights, the documents and the start weights, where they are not there."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    if (work / "start.safetensors").is_file():
        return
    say(f"making the model in {work}, once ...")
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<s>": 1}, unk_token="<s>"))
    special = {"pad_token": "<pad>", "eos_token": "<pad>", "unk_token": "<s>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(work / "model")
    config = Qwen2Config(**SHAPE, pad_token_id=0, bos_token_id=1, eos_token_id=0)
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(work / "model")
    write_tokens(work / "tokens.jsonl", documents())
    make_start(work / "start.safetensors", SHAPE, rank=Job.rank, classes=0)


def run(row: Row, work: Path) -> Record:
    """Run a row in a process of its own: its result, or why it does not count."""
    folder = work / "process"
    shutil.rmtree(folder, ignore_errors=True)
    paths = {"model": "model", "tokens": "tokens.jsonl", "start": "start.safetensors", "folder": "process"}
    job = Job(
        row.system, **{name: str(work / path) for name, path in paths.items()}, steps=STEPS, horizon=STEPS,
        options=row.options, documents_per_step=DOCUMENTS,
    )  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.train_speed_gpu.process", str(write_job(job))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    told = folder / "result.json"
    if done.returncode or not told.is_file():
        reason = f"exit {done.returncode}: {' / '.join(done.stderr.strip().splitlines()[-3:])[-400:]}"
        warn(f"{row.name}: {reason}")
        return {"withdrawn": reason}
    return {"result": json.loads(told.read_text(encoding="utf-8"))}


if __name__ == "__main__":
    sys.exit(main())
