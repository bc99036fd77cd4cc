"""The one training loop.

    examples -> order of the epoch -> rows of a step -> micro-batches -> sums of loss -> gradient -> AdamW

The gradient of a step is that of (sum of losses) / (weight of all rows of the step), however the rows are
cut into micro-batches, accumulation steps and ranks. What it validates with comes in as a function. The
state is explicit and saved, so that a run can stop anywhere and go on.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType
from torch import Tensor, nn

from tuneloop.disk import write_text
from tuneloop.errors import RecipeError, TrainError
from tuneloop.examples.batch import collate, epoch_order, micro_batches
from tuneloop.examples.encode import Example
from tuneloop.loss.total import LOSSES, LossSum, Objective, step_weight
from tuneloop.memory import memory_mb, peak_memory_mb, reset_peak_memory
from tuneloop.model.projection import HALVE_FROM
from tuneloop.model.reader import PLAIN, Reader
from tuneloop.recipe import Train
from tuneloop.terminal import Bar, progress, say
from tuneloop.train.checkpoint import (
    latest_checkpoint,
    load_checkpoint,
    load_optimizer_state,
    load_weights,
    optimizer_state,
    prune_checkpoints,
    save_checkpoint,
    trainable_state,
)
from tuneloop.train.checks import (
    MOVED_BY_STEP,
    check_frozen,
    check_gradients,
    check_loss,
    check_moved,
    frozen_sums,
    snapshot,
)
from tuneloop.train.experts import clear_gradients, idle_experts_held
from tuneloop.train.optim import make_optimizer, make_schedule
from tuneloop.train.plan import micro_batch_tokens
from tuneloop.train.side_by_side import SideBySide, side_by_side

Validate = Callable[[nn.Module], dict[str, float]]


@dataclass
class Window:
    """Sums over the steps since the last line of the log.

    Attributes:
        loss: Of the steps' mean losses.
        correct: Of the steps' shares of right classes.
        seconds: Of the steps' wall time.
        tokens: Real tokens; padding is not counted.
        steps: How many.
    """

    loss: float = 0.0
    correct: float = 0.0
    seconds: float = 0.0
    tokens: int = 0
    steps: int = 0

    def add(self, loss: float, correct: float, tokens: int, seconds: float) -> None:
        """Add one step."""
        self.loss, self.correct, self.seconds = self.loss + loss, self.correct + correct, self.seconds + seconds
        self.tokens, self.steps = self.tokens + tokens, self.steps + 1

    def line(self, task: str) -> dict[str, float]:
        """Means over the window's steps."""
        figures = {"loss": self.loss / self.steps, "tokens_per_second": self.tokens / max(self.seconds, 1e-9)}
        if task == "classification":
            figures["accuracy"] = self.correct / self.steps
        return figures


@dataclass
class State:
    """Where a run stands: all that, with the weights and moments, lets it go on.

    Attributes:
        step: Optimiser steps done.
        tokens: Real tokens that went through training so far.
        seconds: Seconds of training so far, validation and saving included.
        best: The best validation score so far, in the recipe's metric; None before the first.
        best_step: The step of the best score.
        validation: The validation figures of the newest look.
        best_validation: Those of the best step.
        peak_memory_mb: Peak memory of all sessions of the run, MB (2**20 bytes).
        window: What the next line of the log will tell.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int | None = None
    validation: dict[str, float] = field(default_factory=dict)
    best_validation: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float = 0.0
    window: Window = field(default_factory=Window)


@dataclass(frozen=True)
class Job:
    """What a run trains, fixed before the first step.

    Attributes:
        task: Name in LOSSES.
        examples: The training examples.
        settings: The recipe's section.
        seed: Seed of the order of rows.
        pad_token_id: What short rows are filled with.
        folder: The run folder, for checkpoints, log and trackers.
        key: Hash of all that decides the run's weights; a checkpoint of another key is not resumed.
        reader: How the model's states are computed.
        fresh: (places in `examples`, epoch) -> these examples as the epoch shows them; None: as they stand.
    """

    task: str
    examples: Sequence[Example]
    settings: Train
    seed: int
    pad_token_id: int
    folder: Path
    key: str
    reader: Reader = PLAIN
    fresh: Callable[[Sequence[int], int], list[Example]] | None = None

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimiser step on one rank."""
        return self.settings.per_device_train_batch_size * self.settings.gradient_accumulation_steps

    def steps_per_epoch(self, ranks: int) -> int:
        """Optimiser steps of one pass over the examples."""
        return math.ceil(len(self.examples) / (self.rows_per_step * ranks))

    @property
    def halves(self) -> bool:
        """Whether frozen weights are to lie in half the bits: only where steps are so long that widening them pays."""
        tokens = sum(len(example.input_ids) for example in self.examples)
        return self.reader.packed and tokens >= HALVE_FROM * self.steps_per_epoch(1)


class Stopped(KeyboardInterrupt):
    """Ctrl-C (or SIGTERM), raised after the checkpoint was written."""


def train(model: nn.Module, job: Job, *, validate: Validate | None, resume: bool = False) -> State:
    """Train `model` in place and leave it with the best (or last) weights.

    Args:
        model: With exactly the weights to train unfrozen.
        job: What to train on, and how.
        validate: Gives "loss" and other figures of the model as it stands; None: no validation rows.
        resume: Go on from the newest whole checkpoint of the same key, if there is one.

    Returns:
        The final state.

    Raises:
        TrainError: if a check of train/checks.py says no.
        Stopped: on Ctrl-C or SIGTERM, after a checkpoint.
    """
    run = _Run(model, job, validate)
    if resume:
        run.resume()
    with _catch_signals() as stop, progress("training", run.total_steps, unit="tokens") as bar:
        if run.state.step:
            bar.advance(run.state.step, measure=0)
        while run.state.step < run.total_steps:
            run.one_step(bar)
            if run.due(job.settings.eval_steps):
                run.look()
            if run.due(job.settings.save_steps or job.settings.eval_steps):
                run.save()
            if run.any_rank(stop.asked):
                run.save()
                raise Stopped(f"stopped at step {run.state.step} of {run.total_steps}; the checkpoint is kept")
    return run.finish()


class _Run:
    """The loop's parts around one State; private to this file."""

    def __init__(self, model: nn.Module, job: Job, validate: Validate | None) -> None:
        self.job, self.settings, self.validate, self.model = job, job.settings, validate, model
        self.checkpoints = job.folder / "checkpoints"
        self.accelerator = _accelerator(job)
        reset_peak_memory(self.accelerator.device.type)
        model.to(self.accelerator.device)
        optimizer = make_optimizer(model, self.settings)
        objective = Objective(model, LOSSES[job.task], job.reader.read)
        self.objective, self.optimizer = self.accelerator.prepare(objective, optimizer)
        self.sum_dtype = torch.float64 if self.accelerator.device.type == "cpu" else torch.float32
        ranks = self.accelerator.num_processes
        self.steps_per_epoch = job.steps_per_epoch(ranks)
        self.total_steps = self.steps_per_epoch * self.settings.num_train_epochs
        self.schedule = make_schedule(optimizer, self.settings, self.total_steps)
        self.state = State()
        self.frozen = frozen_sums(model)
        self.first_weights = snapshot(model)
        self.started_at, self.reach, self.clock = 0, 0.0, time.monotonic()
        self.saved_step: int | None = None
        self.order: tuple[int, list[int]] = (-1, [])
        self.workers = self._make_workers()

    def _make_workers(self) -> SideBySide | None:
        """Workers for micro-batches side by side; None where they go one after the other."""
        alone = self.accelerator.num_processes == 1 and self.accelerator.device.type == "cpu"
        if not self.job.reader.packed or not alone:
            return None
        return side_by_side(self.model, self._compute, micro_batch_tokens(self.settings, packed=True))

    # -- one optimiser step ---------------------------------------------------------------------------

    def rows(self) -> list[Example]:
        """This rank's rows of the step to come; none, where an epoch ends with fewer rows than ranks."""
        epoch, place = divmod(self.state.step, self.steps_per_epoch)
        if self.order[0] != epoch:
            self.order = (epoch, epoch_order(len(self.job.examples), self.job.seed, epoch))
        order = self.order[1]
        size = self.job.rows_per_step * self.accelerator.num_processes
        chosen = order[place * size : (place + 1) * size]
        mine = chosen[self.accelerator.process_index :: self.accelerator.num_processes]
        return self.job.fresh(mine, epoch) if self.job.fresh else [self.job.examples[i] for i in mine]

    def one_step(self, bar: Bar) -> None:
        """Forward and backward over the step's micro-batches, clip, update, log."""
        began = time.monotonic()
        self.model.train()
        rows = self.rows()
        total = self._sum(step_weight(self.job.task, [r.labels for r in rows], [r.weight for r in rows]))
        if total <= 0:
            raise TrainError(
                f"Step {self.state.step + 1} has no trained token", fix="Check `tuneloop show` for the rows"
            )
        sums = self._accumulate(rows, total)
        first = self.state.step == self.started_at
        if first:
            check_gradients(self.model)
        clipped = self.accelerator.clip_grad_norm_(self.objective.parameters(), self.settings.max_grad_norm)
        loss, correct, norm = self._figures(sums, clipped, total)
        check_loss(norm, self.state.step + 1, "gradient's norm")
        check_loss(loss, self.state.step + 1)
        rate = float(self.schedule.get_last_lr()[0])
        with idle_experts_held(self.model, self.optimizer):
            self.optimizer.step()
        self.schedule.step()
        clear_gradients(self.model, self.optimizer, keep=self.job.reader.packed, first=first)
        self.state.step += 1
        self.reach += rate
        if self.state.step == self.started_at + MOVED_BY_STEP:
            check_moved(self.model, self.first_weights, reach=self.reach)
            self.first_weights = {}
        tokens = int(self._sum(sum(len(r.input_ids) for r in rows)))
        self.state.tokens += tokens
        self.state.window.add(loss, correct, tokens, time.monotonic() - began)
        bar.advance(1, measure=tokens, note=f"loss {loss:.3f}")
        if self.due(self.settings.logging_steps) or self.state.step == self.total_steps:
            line = self.state.window.line(self.job.task)
            self.log(line | {"learning_rate": rate, "grad_norm": norm, "memory_mb": memory_mb()})
            self.state.window = Window()

    def _accumulate(self, rows: list[Example], total: float) -> Tensor:
        """Add up the step's gradient; gives this rank's summed loss and weight of right classes, (2,)."""
        device, ranks = self.accelerator.device, self.accelerator.num_processes
        # Every rank takes part in the reduction of the gradient, one without rows by a row that counts nothing.
        rows = rows or [replace(self.job.examples[0], weight=0.0)]
        loss, correct = torch.zeros((), device=device), torch.zeros((), device=device)
        packed = self.job.reader.packed
        tokens = micro_batch_tokens(self.settings, packed=packed)
        alone, together = self.workers.cut(rows) if self.workers else (micro_batches(rows, tokens, packed=packed), [])
        for index, part in enumerate(alone):
            last = index == len(alone) - 1
            with self.accelerator.no_sync(self.objective) if not last else contextlib.nullcontext():
                sums = self._compute(part)
                # Data-parallel wrappers average over ranks; the step's weight is already summed over them.
                self.accelerator.backward(sums.loss * (ranks / total))
            loss += sums.loss.detach()
            correct += sums.correct
        for sums in self.workers.accumulate(together, total) if self.workers else []:
            loss += sums.loss
            correct += sums.correct
        return torch.stack([loss, correct])

    def _figures(self, sums: Tensor, norm: Tensor, total: float) -> list[float]:
        """The step's mean loss, share of right classes and gradient norm: the one place that waits for a GPU."""
        sums = sums.to(self.sum_dtype)
        if self.accelerator.num_processes > 1:
            sums = self.accelerator.reduce(sums, reduction="sum")
        loss, correct, length = torch.cat([sums, norm.to(self.sum_dtype)[None]]).tolist()
        return [loss / total, correct / total, length]

    def _compute(self, part: Sequence[Example]) -> LossSum:
        batch = collate(part, self.job.pad_token_id)
        # The padding-free decoder packs rows on the host, and sends no more than the device needs.
        sums: LossSum = self.objective(batch if self.job.reader.packed else batch.to(self.accelerator.device))
        return sums

    def _sum(self, value: float) -> float:
        if self.accelerator.num_processes == 1:
            return float(value)
        tensor = torch.as_tensor(value, dtype=self.sum_dtype, device=self.accelerator.device)
        return float(self.accelerator.reduce(tensor, reduction="sum"))

    def any_rank(self, flag: bool) -> bool:
        """Whether `flag` is set on any rank: they must all stop at the same step."""
        return self._sum(float(flag)) > 0

    # -- looking, logging, saving ---------------------------------------------------------------------

    def due(self, every: int | None) -> bool:
        """Whether a multiple of `every` steps (None: an epoch) is just done."""
        return self.state.step % (every or self.steps_per_epoch) == 0 or self.state.step == self.total_steps

    def look(self) -> None:
        """Validate, note whether it is the best so far, and save it if so."""
        if self.validate is not None:
            self.model.eval()
            with torch.no_grad():
                self.state.validation = self.validate(self.model)
            self.log({f"validation_{name}": value for name, value in self.state.validation.items()})
            metric = self.settings.metric_for_best_model
            if "loss" in self.state.validation:  # absent when no validation row has a class that training knows
                check_loss(self.state.validation["loss"], self.state.step, "validation loss")
            if metric in self.state.validation:
                score = self.state.validation[metric] * (-1.0 if metric == "loss" else 1.0)
                if self.state.best is None or score > self.state.best:
                    self.state.best, self.state.best_step = score, self.state.step
                    self.state.best_validation = dict(self.state.validation)
            epoch = self.state.step / self.steps_per_epoch
            figures = ", ".join(f"{name} {value:.4f}" for name, value in self.state.validation.items())
            say(f"epoch {epoch:.2f}, step {self.state.step}: validation {figures}")
        if self.state.best_step == self.state.step:
            self.save()

    def log(self, line: dict[str, Any]) -> None:
        """Append one line to log.jsonl, and send it to the trackers."""
        if not self.accelerator.is_main_process:
            return
        place = {"step": self.state.step, "epoch": round(self.state.step / self.steps_per_epoch, 4), "stage": 1}
        with open(self.job.folder / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(place | line) + "\n")
        if self.settings.report_to:
            self.accelerator.log({k: v for k, v in line.items() if isinstance(v, int | float)}, step=self.state.step)

    def save(self) -> None:
        """Write a checkpoint; the best and the last stay, the others go."""
        if not self.accelerator.is_main_process or self.saved_step == self.state.step:
            return
        self._account()
        save_checkpoint(
            self.checkpoints,
            weights=trainable_state(self.model),
            optimizer=optimizer_state(self.model, self.optimizer),
            state=asdict(self.state) | {"key": self.job.key, "total_steps": self.total_steps},
        )
        self.saved_step = self.state.step
        keep = {f"step-{step:08d}" for step in (self.state.step, self.state.best_step) if step is not None}
        prune_checkpoints(self.checkpoints, keep)

    def resume(self) -> None:
        """Go on from the newest whole checkpoint, or say that there is none."""
        with self.accelerator.main_process_first():  # which sets damaged ones aside
            path = latest_checkpoint(self.checkpoints)
        if path is None:
            say("nothing to resume: no checkpoint yet, starting at step 0")
            return
        weights, moments, random, state = load_checkpoint(path)
        if state.pop("key") != self.job.key or state.pop("total_steps") != self.total_steps:
            raise TrainError(
                f"{path} belongs to a run with other rows, model or settings",
                fix="Start over with --overwrite, or choose another name (--set name=...)",
            )
        load_weights(self.model, weights)
        load_optimizer_state(self.model, self.optimizer, moments)
        torch.set_rng_state(random["torch"])
        if "cuda" in random and torch.cuda.is_available():
            torch.cuda.set_rng_state(random["cuda"])
        self.state = State(**state | {"window": Window(**state["window"])})
        self.schedule = make_schedule(self.schedule.optimizer, self.settings, self.total_steps, done=self.state.step)
        self.started_at, self.first_weights = self.state.step, snapshot(self.model)
        self.saved_step = self.state.step
        if self.accelerator.is_main_process:
            _cut_log(self.job.folder / "log.jsonl", self.state.step)
        say(f"resumed at step {self.state.step} of {self.total_steps} from {path.name}")

    def _account(self) -> None:
        """Bring the state's seconds and peak memory up to now."""
        self.state.seconds += time.monotonic() - self.clock
        self.clock = time.monotonic()
        peak = peak_memory_mb(self.accelerator.device.type)
        self.state.peak_memory_mb = max(self.state.peak_memory_mb, peak)

    def finish(self) -> State:
        """Check the frozen weights, save, and put the chosen weights into the model."""
        if self.workers:
            self.workers.close()
        check_frozen(self.model, self.frozen)
        self.save()
        best = self.state.best_step
        if self.settings.load_best_model_at_end and best is not None and best != self.state.step:
            weights, _, _, _ = load_checkpoint(self.checkpoints / f"step-{best:08d}")
            load_weights(self.model, weights)
            say(f"kept the weights of step {best}, the best on the validation rows")
        self._account()
        if self.settings.report_to:
            self.accelerator.end_training()
        self.model.eval()
        return self.state


class _catch_signals:
    """Turn the first Ctrl-C or SIGTERM into a flag; a second one ends at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        say(f"\nstopping after this step ({signal.Signals(number).name}); press Ctrl-C again to stop at once")

    def __enter__(self) -> _catch_signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)


def check_trackers(names: Sequence[str]) -> None:
    """Refuse experiment trackers that Accelerate does not know or cannot load; it would pass over them in silence.

    Raises:
        RecipeError: naming the package to install.
    """
    known = [str(kind.value) for kind in LoggerType if kind != LoggerType.ALL]
    usable = {str(kind.value) for kind in get_available_trackers()}
    for name in names:
        if name not in known:
            raise RecipeError(f"train.report_to: there is no tracker {name!r}", allowed=", ".join(known))
        if name not in usable:
            raise RecipeError(f"train.report_to: {name} is not installed", fix=f"pip install {name}, or leave it out")


def _accelerator(job: Job) -> Accelerator:
    trackers = list(job.settings.report_to)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), log_with=trackers or None, project_dir=str(job.folder / "trackers")
    )
    if trackers:
        accelerator.init_trackers("tuneloop")
    return accelerator


def _cut_log(path: Path, step: int) -> None:
    """Drop the lines past `step`, which the resumed run writes again, and a last one that was never finished."""
    if path.exists():
        whole = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
        write_text(path, "".join(line + "\n" for line in whole if json.loads(line)["step"] <= step))
