"""Weights copied once for many products with few rows: adapters merged, what reads the same input stacked, and laid out
as oneDNN's kernels read them.

    y = x (W + s B A)' + b      x (T, in) -> y (T, out), out = q, k, v side by side, or gate, up, or one alone

The library behind `torch.mm` lays a weight out anew in each product. For the 1 to 64 rows of a decoding step that is
a large part of its work; here it is done once (docs/decisions.md has what it brought). The modules' own weights are
only read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from tuneloop.model.projection import Part, Projection

Matrix = Callable[[Tensor], Tensor]
"""(T, in) -> (T, out), float32; without gradients."""

ROWS = 64
"""Rows that the layout is chosen for; with others it is right too."""


class Packed:
    """One linear map over a copy of its weight.

    Args:
        weight: (out, in) float32, on the CPU.
        bias: (out,) float32, or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
        self._bias = None if bias is None else bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        """(T, in) -> (T, out)."""
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], ""))


def packs() -> bool:
    """Whether this build of torch has oneDNN."""
    return bool(torch.backends.mkldnn.is_available())


def pack(projection: Projection) -> Packed:
    """The projection with its adapters, as they are now; what trains later is not seen."""
    return Packed(torch.cat([_merged(part) for part in projection.parts]), _bias(projection.parts))


def _merged(part: Part) -> Tensor:
    weight = part.weight.detach().float()
    if part.up is None or part.down is None:
        return weight
    return torch.addmm(weight, part.up.detach(), part.down.detach(), alpha=part.scale)


def _bias(parts: Sequence[Part]) -> Tensor | None:
    if all(part.bias is None for part in parts):
        return None
    return torch.cat([part.weight.new_zeros(len(part.weight)) if part.bias is None else part.bias for part in parts])
