"""One process: trains as its job.json says, or measures matrix products, and writes result.json."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.train_speed.floor import shapes
from benchmarks.train_speed.job import TARGETS, Job, job_of_this_process, write_result
from benchmarks.train_speed.start import put_start
from benchmarks.train_speed.tokens import read_tokens
from benchmarks.train_speed.watch import versions
from benchmarks.train_speed_gpu.rows import SHAPE, SKIPPED


class Clock:
    """Times the steps behind the first ones; waits for the GPU at both ends alone."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done, self.began, self.ended = steps, 0, 0.0, 0.0
        self.hook = register_optimizer_step_post_hook(self._end_step)

    def _end_step(self, *_: Any) -> None:
        self.done += 1
        if self.done in (SKIPPED, self.steps):
            torch.cuda.synchronize()
            now = time.perf_counter()
            self.began, self.ended = (now, now) if self.done == SKIPPED else (self.began, now)

    def result(self, losses: list[float]) -> dict[str, Any]:
        """What the row's record holds."""
        return {
            "seconds_a_step": (self.ended - self.began) / (self.steps - SKIPPED), "losses": losses,
            "peak_bytes": torch.cuda.max_memory_allocated(), "versions": versions(),
        }  # fmt: skip


def base(job: Job) -> nn.Module:
    """The model in bfloat16."""
    from transformers import Qwen2ForCausalLM

    return Qwen2ForCausalLM.from_pretrained(job.model, dtype=torch.bfloat16, attn_implementation="sdpa")


def tuneloop(job: Job) -> dict[str, Any]:
    """tuneloop's own loop, as `tuneloop train` runs it."""
    from benchmarks.train_speed.systems.tuneloop import SEED, in_order
    from tuneloop.model.adapt import METHODS
    from tuneloop.model.reader import choose_reader
    from tuneloop.recipe import Adapt, Train
    from tuneloop.train.loop import Job as TuneloopJob
    from tuneloop.train.loop import train

    adapt = Adapt(method="lora", rank=job.rank, alpha=float(job.alpha), dropout=0.0, target=list(TARGETS))
    model = METHODS["lora"](base(job), adapt=adapt, seed=SEED).model
    put_start(model, job.start)
    model.cuda()
    reader = choose_reader(model, fast=True)
    if not reader.packed:
        raise ValueError(f"the fast path does not apply: {reader.reason}")
    settings = {
        "per_device_train_batch_size": job.documents_per_step, "learning_rate": job.learning_rate, "warmup_steps": 0,
        "lr_scheduler_type": "linear", "num_train_epochs": 1, "max_grad_norm": 1.0, "logging_steps": 1, "report_to": [],
    }  # fmt: skip
    examples = in_order(read_tokens(job.tokens), job.steps * job.documents_per_step)
    folder, clock = Path(job.folder), Clock(job.steps)
    train(
        model,
        TuneloopJob("generation", examples, Train(**settings | job.options), SEED, 0, folder, "bench", reader),
        validate=None,
    )
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return clock.result([line["loss"] for line in lines])


def trl(job: Job) -> dict[str, Any]:
    """TRL's SFTTrainer with PEFT."""
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from benchmarks.train_speed.systems.trainer import arguments, dataset, lora

    class Start(TrainerCallback):
        """Puts the start weights in before the first step."""

        def on_train_begin(self, args: Any, state: Any, control: Any, *, model: nn.Module, **rest: Any) -> None:
            """The model is whole, and no batch was taken."""
            put_start(model, job.start)

    tokens = read_tokens(job.tokens)
    asked = arguments(job) | {"use_cpu": False, "bf16": True, "logging_strategy": "steps", "logging_steps": 1}
    trainer = SFTTrainer(
        model=base(job), args=SFTConfig(max_length=2048, **asked), train_dataset=dataset(tokens),
        processing_class=AutoTokenizer.from_pretrained(job.model, padding_side="right"),
        peft_config=lora(job, tokens), callbacks=[Start()],
    )  # fmt: skip
    clock = Clock(job.steps)
    trainer.train()
    return clock.result([line["loss"] for line in trainer.state.log_history if "loss" in line])


def gemm(job: Job) -> dict[str, Any]:
    """FLOP/s of the GPU's bfloat16 matrix products at the model's shapes, 8,192 rows, the mean of 50 in a row."""
    del job
    found = {}
    for name, (inside, out) in shapes(SHAPE).items():
        left, weight = (torch.randn(rows, inside, device="cuda", dtype=torch.bfloat16) for rows in (8192, out))
        result = torch.empty(8192, out, device="cuda", dtype=torch.bfloat16)
        for calls in (10, 50):
            torch.cuda.synchronize()
            began = time.perf_counter()
            for _ in range(calls):
                torch.mm(left, weight.T, out=result)
            torch.cuda.synchronize()
            found[name] = 2.0 * 8192 * inside * out * calls / (time.perf_counter() - began)
    return {"flops": found}


SYSTEMS = {"tuneloop": tuneloop, "trl": trl, "gemm": gemm}


if __name__ == "__main__":
    asked = job_of_this_process()
    write_result(asked, SYSTEMS[asked.system](asked))
    sys.exit(0)
