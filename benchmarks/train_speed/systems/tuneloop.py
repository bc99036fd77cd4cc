"""tuneloop's own loop, as `tuneloop train` runs it: its reader, its micro-batches, its halved frozen weights."""

from __future__ import annotations

# ruff: noqa: E402
from tuneloop.memory import share_one_heap

share_one_heap()  # first of all, as the command does

import contextlib
import threading
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from benchmarks.train_speed.job import TARGETS, Job, job_of_this_process, write_result
from benchmarks.train_speed.start import put_start
from benchmarks.train_speed.tokens import TokenFile
from benchmarks.train_speed.watch import Inputs, Watch
from tuneloop.examples.batch import Batch, epoch_order
from tuneloop.examples.encode import Example
from tuneloop.loss.total import LOSSES, LossSum
from tuneloop.model.adapt import METHODS
from tuneloop.model.heads import Classifier, Read, padded_states
from tuneloop.model.load import load_model
from tuneloop.model.reader import Reader, choose_reader, halved_weights
from tuneloop.model.source import resolve
from tuneloop.recipe import Adapt, Train
from tuneloop.train.loop import Job as TuneloopJob
from tuneloop.train.loop import train

SEED = 0


def main(job: Job) -> None:
    """Train as the job says; its options are `fast` (model.fast_path) and what the recipe's train section takes."""
    watch = Watch(job)
    tokens, options = watch.tokens, dict(job.options)
    fast = options.pop("fast")
    network, model = build(job, tokens)
    watch.see_model(model)  # before frozen weights are stored in half the bits, which changes none of them
    reader = choose_reader(network, fast=fast)
    if fast and not reader.packed:
        raise ValueError(f"the fast path does not apply: {reader.reason}")
    watch_losses(watch, tokens.task, packed=reader.packed)
    settings = {
        "per_device_train_batch_size": job.documents_per_step, "learning_rate": job.learning_rate,
        "lr_scheduler_type": "linear", "warmup_steps": 0, "num_train_epochs": 1, "max_grad_norm": 1.0,
        "logging_steps": 10**6, "report_to": [],
    }  # fmt: skip
    numbers = range(job.horizon * job.documents_per_step) if job.order is None else chain.from_iterable(job.order)
    examples = in_order(tokens, list(numbers))
    folder = Path(job.folder)
    asked = TuneloopJob(
        tokens.task, examples, Train(**settings | options), SEED, tokens.pad, folder, "bench", reader
    )  # fmt: skip
    with halved_weights(network) if asked.halves else contextlib.nullcontext():  # as the training station does
        watch.begin()
        train(model, asked, validate=None)
        model.eval()
        write_result(job, watch.result(states_of(network, reader)))


def build(job: Job, tokens: TokenFile) -> tuple[Any, nn.Module]:
    """The network with its adapters, and the model that trains: the same, or a Classifier around it."""
    loaded = load_model(resolve(job.model), dtype="float32", head=tokens.task == "generation")
    adapt = Adapt(method="lora", rank=job.rank, alpha=float(job.alpha), dropout=0.0, target=list(TARGETS))
    network = METHODS["lora"](loaded.model, adapt=adapt, seed=SEED).model
    if tokens.task == "generation":
        put_start(network, job.start)
        return network, network
    labels = [str(number) for number in range(tokens.classes)]
    model = Classifier(network, labels, pooling="last", attention="causal")
    put_start(network, job.start, head=model.head.weight)
    return network, model


def in_order(tokens: TokenFile, numbers: Sequence[int]) -> list[Example]:
    """These documents, placed so that the loop, which shuffles, takes them in this order."""
    placed: list[Example | None] = [None] * len(numbers)
    for number, place in zip(numbers, epoch_order(len(numbers), SEED, 0), strict=True):
        document = tokens.documents[number]
        ids = document.ids
        placed[place] = Example(str(number), ids, document.labels, document.target, length=len(ids))
    return [example for example in placed if example is not None]


def watch_losses(watch: Watch, task: str, *, packed: bool) -> None:
    """Let `watch` see every batch and its sums, at the door where losses come in."""
    plain, one = LOSSES[task], threading.Lock()  # micro-batches may go side by side

    def watched(model: nn.Module, batch: Batch, read: Read | None = None) -> LossSum:
        labels = batch.targets if task == "classification" else batch.labels
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "labels": labels}
        with one:
            watch.feed(inputs, positions=int(batch.attention_mask.sum()) if packed else None)
        sums = plain(model, batch, read)
        with one:
            watch.add_loss(float(sums.loss.detach()), float(sums.weight))
        return sums

    LOSSES[task] = watched


def states_of(network: Any, reader: Reader) -> Any:
    """Gives (B, T, D) states the way that trained; zeros where there is no token."""

    def states(inputs: Inputs) -> Tensor:
        real = inputs["attention_mask"].bool()
        if reader.read is None:
            return padded_states(network, inputs["input_ids"], inputs["attention_mask"], causal=True) * real[..., None]
        found = reader.read(inputs["input_ids"], inputs["attention_mask"], True, None)
        grid = found.new_zeros(*real.shape, found.shape[1])
        grid[real] = found
        return grid

    return states


if __name__ == "__main__":
    main(job_of_this_process())
