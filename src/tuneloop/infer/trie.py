"""Labels as a trie of tokens: what two labels begin with is fed and predicted once.

    card_arrival  card_linking  card                      [row] - card -+- _arrival
      -> tokens (card, _arrival), (card, _linking), (card,)              +- _linking

A node is a token that is fed, because another follows it in some label; an edge is a token that is predicted, by the
node above it or by the row's last token. The last token of a label is an edge only, unless a longer label goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Trie:
    """S nodes and E edges.

    Attributes:
        inputs: (S,) int64 tokens of the nodes; every node stands behind the one above it.
        depth: (S,) int64, how many label tokens stand before each.
        mask: (S, S) bool, True where a node sees another: itself and all above it.
        source: (E,) int64, whose state predicts the edge: 0 the row's last token, k + 1 node k.
        target: (E,) int64, the predicted tokens.
        paths: The edges of each label, first token first.
    """

    inputs: Tensor
    depth: Tensor
    mask: Tensor
    source: Tensor
    target: Tensor
    paths: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        """S."""
        return len(self.inputs)

    def label_means(self, edges: Tensor) -> Tensor:
        """Log-likelihoods of the edges, (N, E), as means over each label's tokens: (N, C) float64."""
        lengths = torch.tensor([len(path) for path in self.paths])
        owner = torch.arange(len(self.paths)).repeat_interleave(lengths)
        steps = edges.double()[:, [edge for path in self.paths for edge in path]]  # (N, tokens of all labels)
        sums = steps.new_zeros(len(steps), len(self.paths)).index_add_(1, owner, steps)
        return sums / lengths


def make_trie(labels: Sequence[Sequence[int]]) -> Trie:
    """Join labels where their tokens agree.

    Args:
        labels: The tokens of each label, at least one; two labels may have the same.
    """
    edges: dict[tuple[int, ...], int] = {}  # what a label begins with -> the edge that ends it
    nodes: dict[tuple[int, ...], int] = {}  # ... -> its node, counted from 1; what nothing follows has none
    for tokens in labels:
        for end in range(1, len(tokens) + 1):
            edges.setdefault(tuple(tokens[:end]), len(edges))
            if end < len(tokens):
                nodes.setdefault(tuple(tokens[:end]), len(nodes) + 1)
    mask = torch.zeros(len(nodes), len(nodes), dtype=torch.bool)
    for start, node in nodes.items():
        mask[node - 1, [nodes[start[:end]] - 1 for end in range(1, len(start) + 1)]] = True
    return Trie(
        inputs=torch.tensor([start[-1] for start in nodes], dtype=torch.long),
        depth=torch.tensor([len(start) - 1 for start in nodes], dtype=torch.long),
        mask=mask,
        source=torch.tensor([nodes[start[:-1]] if len(start) > 1 else 0 for start in edges], dtype=torch.long),
        target=torch.tensor([start[-1] for start in edges], dtype=torch.long),
        paths=tuple(tuple(edges[tuple(tokens[:end])] for end in range(1, len(tokens) + 1)) for tokens in labels),
    )
