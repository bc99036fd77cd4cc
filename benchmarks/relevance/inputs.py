"""The sets, what a user would say of each, and how their texts become vectors."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.dirt.plant import Rates, dirty_set
from benchmarks.dirt.sets import SHIPPED, Record
from benchmarks.noise.measure import records
from tuneloop.rows.out_of_fold import chinese_share

Embed = Callable[[Sequence[str]], np.ndarray]
EXAMPLES = 20
WORDS_WIDTH = 256

TASKS = {
    "banking77": "Customers of a bank ask about their account: cards, payments, transfers, top-ups and exchange rates.",
    "medquad_nih": "Patients ask about diseases: what they are, their symptoms, causes, tests and treatments.",
    "snips": "Commands to a voice assistant: play music, book a restaurant, tell the weather, rate a book, find films.",
    "customer_service": "Customers of an online shop ask about orders, delivery, returns, refunds and their account.",
    "made_up": "A customer of a bank asks about a card, a rate, a fee or a pin.",
}
"""Set -> the description that the figure `description` uses; each was written once, before anything was measured."""


@dataclass(frozen=True)
class Mixed:
    """Rows of one set, with those of others among them.

    Attributes:
        rows: What is judged.
        strangers: (N,) whether a row is of another set.
        origin: Place of a stranger -> the set that it is of.
        examples: Rows of the set that are not among `rows`.
    """

    rows: list[Record]
    strangers: np.ndarray
    origin: dict[int, str]
    examples: list[str]


def mixed(name: str, *, share: float, seed: int, rows: int | None = None) -> Mixed:
    """A set with a share of rows of other sets; 20 of its rows are set aside as examples.

    Strangers have labels as frequent as the set's own, so no label gives them away.

    Args:
        name: A set of benchmarks/dirt, or "made_up"; "customer_service" without strangers only.
        share: Of strangers among all rows, in [0, 1).
        seed: Of which strangers, where they stand, and which rows are examples.
        rows: How many rows of the set; None is all.
    """
    dirty = dirty_set(name, seed=seed, rates=Rates(off_topic=share / (1 - share)).only("off_topic"), rows=rows)[1]
    found = records(dirty)
    origin = {one.line - 1: one.how for one in dirty.planted}
    if name == SHIPPED:  # its Chinese rows are not read by the default encoder
        found = [row for row in found if not chinese_share([row["text"]])]
    own = [place for place in range(len(found)) if place not in origin]
    examples = set(random.Random(f"{seed}:examples").sample(own, EXAMPLES))
    left = [place for place in range(len(found)) if place not in examples]
    return Mixed(
        [found[place] for place in left], np.array([place in origin for place in left]),
        {number: origin[place] for number, place in enumerate(left) if place in origin},
        [found[place]["text"] for place in sorted(examples)],
    )  # fmt: skip


def word_vectors(texts: Sequence[str]) -> np.ndarray:
    """(N, D) counts of words, each at a place that its letters decide, short ones less: the short form's encoder."""
    found = np.zeros((len(texts), WORDS_WIDTH), dtype=np.float32)
    for row, text in zip(found, texts, strict=True):
        for word in text.lower().split():
            row[random.Random(word).randrange(WORDS_WIDTH)] += 1 if len(word) > 3 else 0.3
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


class Remembered:
    """Embeds each text once in the life of the process; the sets share most of their rows from seed to seed.

    Args:
        embed: What embeds.
    """

    def __init__(self, embed: Embed) -> None:
        self.embed, self.known = embed, dict[str, np.ndarray]()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        self.known |= dict(zip(new, self.embed(new), strict=True)) if new else {}
        return np.stack([self.known[text] for text in texts])


def sentence_vectors() -> tuple[Embed, str]:
    """The default encoder, and its name with its revision."""
    from tuneloop.model.encoder import load_encoder
    from tuneloop.sections import Relevance

    encoder = load_encoder(Relevance().encoder)
    return Remembered(encoder.embed), f"{encoder.source.name} ({encoder.source.revision})"
