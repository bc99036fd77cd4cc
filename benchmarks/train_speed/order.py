"""The order in which transformers' Trainer takes documents where it groups them by length, without a training.

    lengths -> LengthGroupedSampler, seeded as the Trainer seeds it -> documents of each step

tuneloop trains on these documents too (`order` of a Row), so that both have the same ones, step by step.
LLaMA-Factory 0.9.5 takes them in the same order: it trains with this sampler under the same seed.
"""

from __future__ import annotations

from benchmarks.train_speed.tokens import TokenFile

BY_LENGTH = "by length"
SEED = 42
"""TrainingArguments' default, which no row changes."""


def by_length(tokens: TokenFile, steps: int, documents: int = 16) -> list[list[int]]:
    """The documents of each step of a row with `train_sampling_strategy: group_by_length`.

    Args:
        tokens: The set.
        steps: How many.
        documents: Of a step: the sampler sorts in batches of per-device size times accumulation steps.
    """
    import torch
    from torch.utils.data import DataLoader
    from transformers.trainer_pt_utils import LengthGroupedSampler

    lengths = [len(document.ids) for document in tokens.documents]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)  # as Trainer.__init__ does; a loader draws once before its sampler does
        loader = iter(
            DataLoader(range(len(lengths)), documents, sampler=LengthGroupedSampler(documents, lengths=lengths))
        )
        return [next(loader).tolist() for _ in range(steps)]


def documents_of(order: str, tokens: TokenFile, steps: int, documents: int = 16) -> list[list[int]]:
    """The documents of each step that a row with this `order` takes.

    Args:
        order: "" (as they stand in the file) or BY_LENGTH.
        tokens: The set.
        steps: How many.
        documents: Of a step.
    """
    if order == BY_LENGTH:
        return by_length(tokens, steps, documents)
    return [list(range(step * documents, (step + 1) * documents)) for step in range(steps)]
