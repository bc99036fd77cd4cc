"""Operators by what they are for."""

from __future__ import annotations

from collections.abc import Mapping

KINDS: dict[str, tuple[str, ...]] = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "_linear_pointwise"),
    "attention": ("attention",),
    "copies": ("copy_", "cat", "index", "gather", "scatter", "embedding", "fill_", "zero_", "to_copy", "stack"),
}
"""Kind -> what the names of its operators are, or hold where the word is long; the first that fits counts."""
REST, BETWEEN = "other operators", "between operators (Python, autograd)"


def kind_of(operator: str) -> str:
    """The kind of an operator, by its name as torch.profiler gives it.

    Args:
        operator: Such as aten::mm.
    """
    name = operator.rpartition("::")[2]
    for kind, words in KINDS.items():
        if any(name == word or (len(word) > 4 and word in name) for word in words):
            return kind
    return REST


def shares(operators: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Seconds of each kind; what no operator accounts for lies between them.

    Args:
        operators: Name -> seconds of its own.
        seconds: Of all steps that were profiled.
    """
    found = dict.fromkeys((*KINDS, REST), 0.0)
    for name, own in operators.items():
        found[kind_of(name)] += own
    return found | {BETWEEN: max(0.0, seconds - sum(found.values()))}
