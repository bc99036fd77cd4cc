"""What a training really did, seen from outside: each batch, each loss, the clock at each optimiser step, memory.

    feed(batch) -> add_loss(loss) -> ... -> torch calls end_step after optimiser.step() -> result()

Documents are recognised by their tokens, so that real tokens are counted from the token file and never from what a
system says about itself; what it says (its mask, its labels) is kept beside it for guards.py.
"""

from __future__ import annotations

import importlib.metadata
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.train_speed.job import Job
from benchmarks.train_speed.tokens import IGNORED, read_tokens

Inputs = Mapping[str, Any]
Place = tuple[int, int, int]  # row, first token, one past the last
PACKAGES = (
    "torch", "transformers", "peft", "accelerate", "trl", "llamafactory", "litgpt", "lightning", "torchtune", "torchao",
    "tuneloop",
)  # fmt: skip


@dataclass
class Step:
    """One optimiser step, as it was seen.

    Attributes:
        documents: Their numbers in the token file; -1: no document of it.
        masked_in: Tokens that the system's mask calls real.
        label_tokens: Labels that the system counts.
        positions: Rows x columns of its batches (of the real tokens alone, where it computes without padding).
        loss: As the system normalises it over the step.
        weight: What `loss` still has to be divided by; 0: nothing.
        seconds: From the end of the step before.
    """

    documents: list[int] = field(default_factory=list)
    masked_in: int = 0
    label_tokens: int = 0
    positions: int = 0
    loss: float = 0.0
    weight: float = 0.0
    seconds: float = 0.0


class Watch:
    """Sees one training.

    Args:
        job: What is trained. Made after the system's imports: memory is read now.
    """

    def __init__(self, job: Job) -> None:
        self.import_mb = memory_mb("VmRSS")
        self.job, self.tokens = job, read_tokens(job.tokens)
        self.numbers = {tuple(document.ids): number for number, document in enumerate(self.tokens.documents)}
        self.steps: list[Step] = []
        self.current = Step()
        self.shown: dict[str, Tensor] = {}
        self.facts: dict[str, Any] = {}
        self.clock = 0.0
        self.hook = register_optimizer_step_post_hook(self._end_step)

    def see_model(self, model: nn.Module) -> None:
        """Note in how many bits the model computes, once it is loaded."""
        self.facts["dtypes"] = sorted({str(parameter.dtype) for parameter in model.parameters()})

    def begin(self) -> None:
        """Start the clock; the model is whole, and no batch was taken yet."""
        self.facts["load_before"] = round(os.getloadavg()[0], 2)
        self.facts["peak_mb"] = memory_mb("VmHWM")
        self.busy, self.own = busy_seconds(), own_seconds()
        self.clock = self.began = time.perf_counter()

    def feed(self, inputs: Inputs, *, positions: int | None = None) -> None:
        """Note a micro-batch before it is computed.

        Args:
            inputs: input_ids (B, T) and labels ((B, T), or (B,) classes), with attention_mask (B, T) where padded, or
                position_ids (1, T) where documents lie end to end.
            positions: Positions that are computed, where they are fewer than B x T.
        """
        places = split(inputs)
        ids, labels = inputs["input_ids"], inputs["labels"]
        self.current.positions += ids.numel() if positions is None else positions
        for place, (row, start, stop) in enumerate(places):
            number = self._number(ids[row, start:stop].tolist())
            self.current.documents.append(number)
            self.current.masked_in += stop - start
            if labels.ndim == 1:
                known = number >= 0 and int(labels[place]) == self.tokens.documents[number].target
                self.current.label_tokens += known
        if labels.ndim == 2:  # wherever they stand, padding too; a document's first token is never predicted
            first = sum(int(labels[row, start] != IGNORED) for row, start, _ in places)
            self.current.label_tokens += int((labels != IGNORED).sum()) - first
        if len(places) > 1:
            self.shown = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}

    def add_loss(self, loss: float, weight: float = 0.0) -> None:
        """Add what a micro-batch adds to the step's loss; `weight`, where it is a sum that is divided later."""
        self.current.loss += loss
        self.current.weight += weight

    def _number(self, ids: list[int]) -> int:
        """Which document this is; padding that the mask lets through is seen in `masked_in`, not here."""
        while ids and tuple(ids) not in self.numbers and ids[-1] == self.tokens.pad:
            ids = ids[:-1]
        return self.numbers.get(tuple(ids), -1)

    def _end_step(self, *_: Any) -> None:
        now = time.perf_counter()
        done, self.current = self.current, Step()
        done.seconds, self.clock = now - self.clock, now
        done.loss /= done.weight or 1.0
        self.steps.append(done)
        if len(self.steps) == self.job.steps:
            others = (busy_seconds() - self.busy) / (now - self.began)
            self.facts["others"] = round(max(0.0, others), 3)
            self.facts["cores"] = round((own_seconds() - self.own) / (now - self.began), 3)
            self.facts["load_after"] = round(os.getloadavg()[0], 2)
            self.facts["peak_mb"] = max(self.facts["peak_mb"], memory_mb("VmHWM"))

    @property
    def done(self) -> bool:
        """Whether the job's steps are done."""
        return len(self.steps) >= self.job.steps

    def result(self, states: Callable[[Inputs], Tensor]) -> dict[str, Any]:
        """All that was seen, and whether documents see each other; ends the watch.

        Args:
            states: Gives the last states (B, T, D) of inputs like those that were fed, with the trained model.
        """
        self.hook.remove()
        steps = {key: [asdict(step)[key] for step in self.steps] for key in asdict(Step())}
        return {
            **steps, **self.facts, "leak": leak(self.shown, states) if self.shown else None,
            "import_mb": self.import_mb, "threads": torch.get_num_threads(), "versions": versions(),
        }  # fmt: skip


def split(inputs: Inputs) -> list[Place]:
    """Where the documents of a batch lie: by its mask, or by the positions that start again at 0."""
    if inputs.get("attention_mask") is not None:
        found = []
        for row, mask in enumerate(inputs["attention_mask"]):
            there = mask.nonzero().flatten().tolist()
            found.append((row, there[0], there[-1] + 1))
        return found
    starts = (inputs["position_ids"][0] == 0).nonzero().flatten().tolist()
    return [(0, start, stop) for start, stop in zip(starts, [*starts[1:], inputs["input_ids"].shape[1]], strict=True)]


@torch.no_grad()
def leak(inputs: Inputs, states: Callable[[Inputs], Tensor]) -> float:
    """How much the states of the other documents of a batch move when every token of the first one is another.

    Raises:
        ValueError: if the first document's own states do not move: then nothing was tried.
    """
    (row, start, stop), *others = split(inputs)
    changed = inputs["input_ids"].clone()
    changed[row, start:stop] = (changed[row, start:stop] + 1) % (changed.max() + 1)
    before, after = states(inputs), states({**inputs, "input_ids": changed})
    moved = (after - before).abs().amax(-1)  # (B, T)
    if float(moved[row, start:stop].max()) == 0.0:
        raise ValueError("another first document gives the same states: the check sees nothing")
    return max(float(moved[r, a:b].max()) for r, a, b in others)


# -- the process and the machine ------------------------------------------------------------------------------


def memory_mb(name: str) -> float:
    """VmHWM (peak) or VmRSS (now) of this process, MB (2**20 bytes)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def busy_seconds() -> float:
    """CPU seconds that all other processes of the machine used since it started."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(part) for part in file.readline().split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = ticks
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy - own_seconds()


def own_seconds() -> float:
    """CPU seconds that this process and its ended children used."""
    own = os.times()
    return own.user + own.system + own.children_user + own.children_system


def versions() -> dict[str, str]:
    """Versions of the packages that decide speed, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
