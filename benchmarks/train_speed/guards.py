"""What makes a measured run worthless, each guard a function of its result: GUARDS, and the parity of losses.

A fault is a sentence. A run with one is kept in raw.jsonl as withdrawn, and the command ends with an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.train_speed.order import documents_of
from benchmarks.train_speed.rows import Row
from benchmarks.train_speed.tokens import TokenFile

Result = dict[str, Any]
LEAK = 1e-4
"""How far other documents' states may move; float32 noise is below 1e-5, one token seen is above 1e-2."""
PARITY = 1e-4
"""How far a step's loss may be from the reference's, nats a token."""
DOCUMENTS = 16


def whole_documents(result: Result, tokens: TokenFile, row: Row) -> list[str]:
    """Everything that was trained on is a document of the token file."""
    del tokens, row
    strange = sum(number < 0 for step in result["documents"] for number in step)
    return [f"{strange} trained documents are not those of the token file"] if strange else []


def no_pad_counted(result: Result, tokens: TokenFile, row: Row) -> list[str]:
    """A pad token is no token: the mask lets through exactly the documents' own."""
    del row
    return [
        f"step {step}: the mask counts {counted} tokens where the documents have {real}"
        for step, counted, real in _miscounted(result, "masked_in", tokens.real_tokens)
    ]


def no_label_dropped(result: Result, tokens: TokenFile, row: Row) -> list[str]:
    """Every label counts, and nothing else does."""
    del row
    return [
        f"step {step}: {counted} labels are counted where the token file has {wanted}"
        for step, counted, wanted in _miscounted(result, "label_tokens", tokens.weight)
    ]


def _miscounted(
    result: Result, name: str, count: Callable[[Sequence[int]], float]
) -> Iterator[tuple[int, float, float]]:
    """(step, counted, wanted) of each step whose figure `name` is not the count over its documents."""
    for step, numbers in enumerate(result["documents"], 1):
        wanted, counted = count([number for number in numbers if number >= 0]), result[name][step - 1]
        if counted != wanted:
            yield step, counted, wanted


def apart(result: Result, tokens: TokenFile, row: Row) -> list[str]:
    """No document sees another."""
    del tokens, row
    if result["leak"] is None or result["leak"] <= LEAK:
        return []
    return [f"documents see each other: another first one moves their states by {result['leak']:.2g}"]


def same_steps(result: Result, tokens: TokenFile, row: Row) -> list[str]:
    """As many optimiser steps as asked, of 16 documents each: those of the row's order, where the row has one."""
    found, done = [], result["documents"]
    if len(done) != row.steps:
        found.append(f"{len(done)} optimiser steps, asked {row.steps}")
    sizes = sorted({len(step) for step in done} - {DOCUMENTS})
    if sizes and not row.packed:
        found.append(f"steps of {', '.join(map(str, sizes))} documents, asked {DOCUMENTS}")
    if row.order or not row.reordered:
        wanted = documents_of(row.order, tokens, len(done), DOCUMENTS)
        if [sorted(step) for step in done] != [sorted(step) for step in wanted]:
            found.append(f"the documents of a step are not those of the order {row.order or 'of the token file'}")
    return found


def float32(result: Result, tokens: TokenFile, row: Row) -> list[str]:
    """Nobody computes in fewer bits."""
    del tokens, row
    return [] if result["dtypes"] == ["torch.float32"] else [f"weights in {', '.join(result['dtypes'])}"]


GUARDS: dict[str, Callable[[Result, TokenFile, Row], list[str]]] = {
    "whole documents": whole_documents,
    "no pad counted": no_pad_counted,
    "no label dropped": no_label_dropped,
    "apart": apart,
    "same steps": same_steps,
    "float32": float32,
}


def faults(result: Result, tokens: TokenFile, row: Row) -> list[str]:
    """All that the guards have against a run."""
    return [f"{name}: {fault}" for name, guard in GUARDS.items() for fault in guard(result, tokens, row)]


def distance(losses: Sequence[float], reference: Sequence[float]) -> float:
    """The largest distance of a step's loss from the reference's, which may have more steps."""
    return max(abs(a - b) for a, b in zip(losses, reference[: len(losses)], strict=True))


def parity_fault(found: float) -> list[str]:
    """A fault where the losses are not the reference's; nan is one too."""
    return [] if found <= PARITY else [f"parity: a loss is {found:.2g} from the reference's, allowed {PARITY:.0e}"]
