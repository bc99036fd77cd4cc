"""Other wordings that are made once, before training: by a masked model, or by a teacher.

rows --make--> variants: rows of their own, their lineage "paraphrase:<id of the original>" --> variants.parquet
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuneloop.augment.draws import generator
from tuneloop.augment.endpoint import Answer
from tuneloop.augment.masked_lm import FillMask, masked_lm
from tuneloop.augment.rewrite import Ask, back_translation, paraphrase
from tuneloop.augment.words import NOTHING, Protected, protect
from tuneloop.records import Message, Row
from tuneloop.rows.clean import normalised
from tuneloop.sections import Augment, BackTranslation, MaskedLm, Paraphrase

Reword = Callable[[Sequence[str], Sequence[Row], int], list[Answer]]
"""(texts, the row of each, number of the copy) -> another wording of each, or why there is none."""


@dataclass(frozen=True)
class Variants:
    """Rows in other words, and what became of those that have none.

    Attributes:
        rows: The variants, in the order of method, copy and row.
        skipped: (method, reason) -> wordings that were not used.
    """

    rows: list[Row]
    skipped: Mapping[tuple[str, str], int]


def inputs_of(row: Row, task: str) -> list[str]:
    """What the model reads of a row and what may so be said otherwise: the question, or the user's turns.

    A plain text of a generation row is all answer, and gives none.
    """
    if task == "classification":
        return [row.question] if row.question else []
    return [turn.content for turn in row.messages if turn.role == "user"]


def with_inputs(row: Row, texts: Sequence[str], task: str) -> Row:
    """The row with other inputs, in the order of `inputs_of`; id and lineage as they were."""
    if task == "classification":
        if row.text:
            return replace(row, text=texts[0])
        last = max(place for place, turn in enumerate(row.messages) if turn.role == "user")
        turns = [Message(t.role, texts[0]) if place == last else t for place, t in enumerate(row.messages)]
        return replace(row, messages=tuple(turns))
    left = iter(texts)
    turns = [Message(turn.role, next(left)) if turn.role == "user" else turn for turn in row.messages]
    return replace(row, messages=tuple(turns))


def answer_words(row: Row, task: str) -> Protected:
    """The words that a generation row's answers repeat: a changed question would make the answer wrong."""
    if task == "classification":
        return NOTHING
    return protect([turn.content for turn in row.messages if turn.role == "assistant"])


def copied_values(row: Row) -> list[str]:
    """Texts that a JSON answer copies out of the user's turns; another wording must hold them too."""
    try:
        answer: Any = json.loads(row.answer.rpartition("</think>")[2] or "null")
    except ValueError:
        return []
    asked = "\n".join(turn.content for turn in row.messages if turn.role == "user")
    return [value for value in _leaves(answer) if len(value) > 1 and value in asked]


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)


def make_variants(
    rows: Sequence[Row], augment: Augment, *, task: str, seed: int, labels: Sequence[str] = (),
    fill: FillMask | None = None, ask: Ask | None = None,
) -> Variants:  # fmt: skip
    """Every variant that the settings ask for; a row that gives none is counted under the reason.

    Args:
        rows: Training rows, never held-out ones.
        augment: Which methods, and how many copies.
        task: "classification" or "generation".
        seed: The recipe's.
        labels: The class names, whose words no method touches.
        fill: The masked model, where masked_lm is asked for.
        ask: The teacher, where back_translation or paraphrase is.

    Raises:
        ModelError: if the teacher is down; what it answered is kept, and the next call goes on.
    """
    made: list[Row] = []
    skipped: Counter[tuple[str, str]] = Counter()
    seen = {row.id: {normalised(text) for text in inputs_of(row, task)} for row in rows}
    for name, settings, reword in _methods(augment, task, seed, protect(labels), fill, ask):
        for copy in range(settings.copies):
            texts = [(row, text) for row in rows for text in inputs_of(row, task)]
            answers = iter(reword([text for _, text in texts], [row for row, _ in texts], copy))
            for row in rows:
                found = [next(answers) for _ in inputs_of(row, task)]
                if not found:
                    continue
                variant = _variant(row, found, task, name, seen[row.id])
                if isinstance(variant, Row):
                    made.append(variant)
                else:
                    skipped[name, variant] += 1
    return Variants(made, skipped)


def _variant(row: Row, found: Sequence[Answer], task: str, name: str, seen: set[str]) -> Row | str:
    """The row in other words, or why there is none."""
    fault = next((answer.fault or "empty" for answer in found if not answer.text), "")
    texts = [answer.text for answer in found]
    if fault:
        return fault
    if all(normalised(text) in seen for text in texts):
        return "the same text"
    lost = [value for value in copied_values(row) if not any(value in text for text in texts)]
    if task != "classification" and lost:
        return "lost what the answer copies"
    seen.update(normalised(text) for text in texts)
    changed = with_inputs(row, texts, task)
    return changed.through(f"{name}:{row.id}")


def _methods(
    augment: Augment, task: str, seed: int, guard: Protected, fill: FillMask | None, ask: Ask | None
) -> Iterator[tuple[str, MaskedLm | BackTranslation | Paraphrase, Reword]]:
    """The methods that are switched on, each as a Reword."""
    if augment.masked_lm is not None and fill is not None:
        settings, filler = augment.masked_lm, fill

        def masked(texts: Sequence[str], rows: Sequence[Row], copy: int) -> list[Answer]:
            randoms = [
                generator(seed, copy, f"{row.id}:{text}", "masked_lm") for row, text in zip(rows, texts, strict=True)
            ]
            guards = [guard | answer_words(row, task) for row in rows]
            least = settings.least_probability
            made = masked_lm(texts, randoms, filler, rate=settings.rate, least_probability=least, protected=guards)
            return [Answer(text) for text in made]

        yield "masked_lm", settings, masked
    if augment.back_translation is not None and ask is not None:
        languages, teacher = augment.back_translation.through, ask

        def there_and_back(texts: Sequence[str], rows: Sequence[Row], copy: int) -> list[Answer]:
            del rows
            return back_translation(texts, teacher, through=languages[copy % len(languages)], copy=copy)

        yield "back_translation", augment.back_translation, there_and_back
    if augment.paraphrase is not None and ask is not None:
        teller = ask

        def reworded(texts: Sequence[str], rows: Sequence[Row], copy: int) -> list[Answer]:
            del rows
            return paraphrase(texts, teller, copy=copy)

        yield "paraphrase", augment.paraphrase, reworded


def origin_of(row: Row) -> tuple[str, str] | None:
    """(method, id of the original row) of a variant; None for any other row."""
    for step in reversed(row.lineage):
        name, colon, origin = step.partition(":")
        if colon and name in MADE:
            return name, origin
    return None


MADE = ("masked_lm", "back_translation", "paraphrase")
"""The methods that make variants."""


def by_origin(variants: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """(method, id of the original) -> its variants, in the order of their copies."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in variants:
        origin = origin_of(row)
        if origin is not None:
            found[origin].append(row)
    return dict(found)


def appended(rows: Sequence[Row], variants: Sequence[Row], augment: Augment) -> list[Row]:
    """The training rows and, behind them, the variants of methods with `use: append`."""
    wanted = [name for name, method in augment.made.items() if method.use == "append"]
    return [*rows, *(row for row in variants if (origin := origin_of(row)) is not None and origin[0] in wanted)]
