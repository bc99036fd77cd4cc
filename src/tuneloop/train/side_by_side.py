"""A step's micro-batches side by side, each on its own share of the cores.

    long micro-batches    one after the other, each on all cores
    short ones            taken from one queue by W workers; their gradients are added in the queue's order

A matrix product of some hundred rows keeps one core busier than two, and what stands between products (Python, small
passes) runs on one core only: two products at once waste less than one product cut in two. The sums do not depend on
which worker was faster: gradients are added in the order of the micro-batches, so a run repeats to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from tuneloop.examples.encode import Example
from tuneloop.loss.total import LossSum

TOKENS_A_WORKER = 256
"""Tokens from which a core of its own is used well: fewer make its matrix products too thin."""
LONG = 1.125
"""A micro-batch may have this many times a worker's tokens. A row that is longer gets all cores: two such rows would
take its memory twice."""
START = 24
"""What a micro-batch costs whatever its size, in tokens: weights are read and widened for it."""
GRADIENTS_AT_MOST = 2**26
"""Bytes of a model's gradients, which every worker holds once more: adapters fit, whole models do not."""

Compute = Callable[[Sequence[Example]], LossSum]


@dataclass(frozen=True)
class Share:
    """What one micro-batch adds to its step.

    Attributes:
        sums: Its loss, without the graph.
        gradients: One a trainable parameter, None where it has none.
    """

    sums: LossSum
    gradients: Sequence[Tensor | None]


def side_by_side(model: nn.Module, compute: Compute, tokens: int) -> SideBySide | None:
    """Workers for a model on the CPU; None where one after the other is better.

    Args:
        model: With what trains unfrozen.
        compute: Gives the sums of a micro-batch, with their graph; called from several threads.
        tokens: That may be on their way at once, over all workers.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    workers = min(torch.get_num_threads(), tokens // TOKENS_A_WORKER)
    if workers < 2 or sum(p.numel() * p.element_size() for p in trained) > GRADIENTS_AT_MOST:
        return None
    return SideBySide(trained, compute, workers, tokens // workers)


class SideBySide:
    """Workers that compute losses and gradients of micro-batches.

    Args:
        parameters: The trainable ones.
        compute: Gives the sums of a micro-batch, with their graph; called from several threads.
        workers: How many.
        tokens: Of each one's micro-batches.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], compute: Compute, workers: int, tokens: int) -> None:
        self.parameters, self.compute = list(parameters), compute
        self.workers, self.tokens = workers, tokens
        self.pool = ThreadPoolExecutor(workers, "micro-batch", _set_threads, (torch.get_num_threads() // workers,))

    def cut(self, rows: Sequence[Example]) -> tuple[list[list[Example]], list[list[Example]]]:
        """The micro-batches that get all cores, and those that go side by side, the largest first.

        Of some numbers of micro-batches the one by which all workers are done first: with three like ones, two workers
        take as long as with four.
        """
        least = max(self.workers, math.ceil(_tokens(rows) / (self.tokens * LONG)))
        ways = (_spread(rows, count) for count in range(least, max(least, len(rows)) + 1))
        fit = (parts for parts in ways if all(len(part) == 1 or _tokens(part) <= self.tokens * LONG for part in parts))
        parts = min(islice(fit, self.workers + 1), key=self._ends)  # more parts are thinner ones
        alone = [part for part in parts if len(part[0].input_ids) > self.tokens * LONG]  # they stand first
        if len(parts) - len(alone) < 2:
            return parts, []
        return alone, parts[len(alone) :]

    def _ends(self, parts: Sequence[Sequence[Example]]) -> float:
        """When the last worker is done if each takes the next part, largest first, in tokens of one worker."""
        loads = [0.0] * self.workers
        for part in parts:
            tokens = _tokens(part) + START
            if len(part[0].input_ids) > self.tokens * LONG:
                loads = [load + tokens / self.workers for load in loads]
            else:
                loads[loads.index(min(loads))] += tokens
        return max(loads)

    def accumulate(self, parts: Sequence[Sequence[Example]], total: float) -> Iterator[LossSum]:
        """Add the gradients of `parts` to the parameters' own, and give the sums of each, in their order."""
        for share in self.shares(parts, total):
            for parameter, gradient in zip(self.parameters, share.gradients, strict=True):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            yield share.sums

    def shares(self, parts: Sequence[Sequence[Example]], total: float) -> Iterator[Share]:
        """The shares of `parts`, in their order, while later ones are being computed.

        Args:
            parts: From `cut`.
            total: What the losses are divided by before their gradients are taken.
        """
        waiting: list[Future[Share]] = [self.pool.submit(self._share, part, total) for part in parts]
        try:
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for one in waiting:
                one.cancel()

    def _share(self, part: Sequence[Example], total: float) -> Share:
        sums = self.compute(part)
        gradients = torch.autograd.grad(sums.loss / total, self.parameters, allow_unused=True)
        return Share(LossSum(sums.loss.detach(), sums.weight, sums.correct), gradients)

    def close(self) -> None:
        """Let the threads go."""
        self.pool.shutdown(cancel_futures=True)


def _spread(rows: Sequence[Example], count: int) -> list[list[Example]]:
    """At most `count` micro-batches of like many tokens, the largest first: each row, longest first, to the smallest.

    Source: Graham 1969, Bounds on multiprocessing timing anomalies, section 4 (LPT).
    """
    parts: list[list[Example]] = [[] for _ in range(count)]
    filled = [0] * count
    for row in sorted(rows, key=lambda row: -len(row.input_ids)):
        smallest = filled.index(min(filled))
        parts[smallest].append(row)
        filled[smallest] += len(row.input_ids)
    return sorted((part for part in parts if part), key=lambda part: -_tokens(part))


def _tokens(rows: Sequence[Example]) -> int:
    return sum(len(row.input_ids) for row in rows)


def _set_threads(count: int) -> None:
    """Of the calling worker alone: torch keeps the number for each thread."""
    torch.set_num_threads(max(1, count))
