"""The examples of a training step as its epoch shows them: rows are drawn anew and encoded anew, a step at a time.

    indexes of the step's rows, epoch --augmented--> rows --encode, the changed ones--> examples

Nothing is kept between steps, so a run that stops and goes on sees the same, whatever the workers and ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from tuneloop.augment.augmentation import Augmentation
from tuneloop.errors import DataError
from tuneloop.records import Row


class Encoded(Protocol):
    """What is asked of an encoded row (`examples.encode.Example` has it)."""

    @property
    def truncated(self) -> bool:
        """Whether the cut at max_length took something away."""


E = TypeVar("E", bound=Encoded)


class FreshExamples(Generic[E]):
    """Gives the examples of a step; call it with the rows' indexes and the epoch.

    Args:
        rows: The training rows.
        examples: The same rows as they stand, encoded, in the same order.
        augmentation: What changes them.
        encode: Rows -> examples, as many and in their order; it may refuse with a DataError.
        teaches: Whether an example has anything to learn; one that has not is not used.
    """

    def __init__(
        self, rows: Sequence[Row], examples: Sequence[E], augmentation: Augmentation,
        encode: Callable[[Sequence[Row]], Sequence[E]], *, teaches: Callable[[E], bool] = lambda example: True,
    ) -> None:  # fmt: skip
        if len(rows) != len(examples):
            raise ValueError(f"{len(rows)} rows and {len(examples)} examples: they must be the same rows")
        self._rows, self._examples, self._augmentation = rows, examples, augmentation
        self._encode, self._teaches = encode, teaches

    def __call__(self, indexes: Sequence[int], epoch: int) -> list[E]:
        """The examples of these rows in this epoch.

        A row whose new wording cannot be encoded, loses an end to max_length that the original keeps, or teaches
        nothing, stays as it is: augmentation never stops a run and never cuts an answer.

        Args:
            indexes: Places in `rows`.
            epoch: 0 for the first.
        """
        found = [self._examples[index] for index in indexes]
        changed: list[tuple[int, Row]] = []
        for place, index in enumerate(indexes):
            row = self._augmentation.augmented(self._rows[index], epoch)
            if row is not self._rows[index]:
                changed.append((place, row))
        for (place, _), example in zip(changed, encoded_rows([row for _, row in changed], self._encode), strict=True):
            if example is not None and not (example.truncated and not found[place].truncated):
                found[place] = example if self._teaches(example) else found[place]
        return found


def encoded_rows(rows: Sequence[Row], encode: Callable[[Sequence[Row]], Sequence[E]]) -> list[E | None]:
    """The rows encoded together, or one by one where one is refused; None for those.

    Args:
        rows: N rows.
        encode: Rows -> examples, as many and in their order; it may refuse with a DataError.
    """
    if not rows:
        return []
    try:
        return list(encode(rows))
    except DataError:
        return [encoded_rows([row], encode)[0] for row in rows] if len(rows) > 1 else [None]
