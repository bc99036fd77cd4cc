"""The examples of a step: fresh where rows changed, the old ones where the new will not do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from tests.augment.made import labelled

from tuneloop.augment.augmentation import augmentation_of
from tuneloop.augment.fresh import FreshExamples
from tuneloop.errors import DataError
from tuneloop.records import Row
from tuneloop.sections import Augment

ROWS = [labelled(f"the problem with the phone is {'abcdefgh'[place]} big", "x") for place in range(6)]
AUGMENTATION = augmentation_of(Augment.model_validate({"synonyms": {"rate": 0.05}}), task="classification", seed=0)


@dataclass(frozen=True)
class Coded:
    text: str
    truncated: bool = False


def plain(rows: Sequence[Row]) -> list[Coded]:
    return [Coded(row.text) for row in rows]


def test_a_step_has_its_rows_as_the_epoch_shows_them():
    asked: list[int] = []

    def encode(rows: Sequence[Row]) -> list[Coded]:
        asked.append(len(rows))
        return plain(rows)

    fresh = FreshExamples(ROWS, plain(ROWS), AUGMENTATION, encode)
    for epoch in range(4):
        expected = [AUGMENTATION.augmented(ROWS[index], epoch).text for index in (4, 0, 2)]
        assert [example.text for example in fresh([4, 0, 2], epoch)] == expected
    assert fresh([], 0) == []
    assert sum(asked) < 12  # unchanged rows are not encoded again


def test_what_is_cut_refused_or_teaches_nothing_stays_as_it_was():
    def encode(rows: Sequence[Row]) -> list[Coded]:
        if any("issue" in row.text for row in rows):
            raise DataError("no")
        return [Coded(row.text, truncated="large" in row.text) for row in rows]

    fresh = FreshExamples(
        ROWS, plain(ROWS), AUGMENTATION, encode, teaches=lambda example: "telephone" not in example.text
    )
    texts = {example.text for epoch in range(40) for example in fresh(range(6), epoch)}
    assert texts == {row.text for row in ROWS}
    open_ended = FreshExamples(ROWS, [Coded(row.text, truncated=True) for row in ROWS], AUGMENTATION, plain)
    assert any("issue" in e.text for epoch in range(20) for e in open_ended(range(6), epoch))


def test_rows_and_examples_must_be_the_same():
    with pytest.raises(ValueError, match="6 rows and 5 examples"):
        FreshExamples(ROWS, plain(ROWS[1:]), AUGMENTATION, plain)


def test_with_the_real_encoder():
    from tests.tiny_models import word_piece_tokenizer

    from tuneloop.examples.encode import encode_classification

    tokenizer = word_piece_tokenizer()

    def encode(rows: Sequence[Row]):
        return encode_classification(rows, tokenizer, ["x", "y"], max_length=31)

    fresh = FreshExamples(ROWS, encode(ROWS), AUGMENTATION, encode)
    for epoch in range(3):
        shown = [AUGMENTATION.augmented(row, epoch) for row in ROWS]
        expected = [
            old if new.truncated and not old.truncated else new
            for new, old in zip(encode(shown), encode(ROWS), strict=True)
        ]
        assert fresh(range(6), epoch) == expected
        assert [example.row_id for example in fresh(range(6), epoch)] == [row.id for row in ROWS]
