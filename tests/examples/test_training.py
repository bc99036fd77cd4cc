"""The training rows with the wordings that join them: what is left out, and what each epoch draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuneloop.augment.variants import Variants
from tuneloop.errors import DataError
from tuneloop.examples import training
from tuneloop.examples.encode import Example
from tuneloop.examples.training import training_examples
from tuneloop.recipe import Recipe
from tuneloop.records import Row, content_id
from tuneloop.rows.prepare import Prepared

LONGEST = 30


def row(text: str, label: str = "a") -> Row:
    made = Row(id="", source="f:1", text=text, label=label)
    return replace(made, id=content_id(made))


def reworded(of: Row, text: str, method: str = "paraphrase") -> Row:
    return replace(of, text=text).through(f"{method}:{of.id}")


def encode(rows: Sequence[Row]) -> list[Example]:
    """A token a character, cut at LONGEST; "@" cannot be written."""
    if any("@" in one.text for one in rows):
        raise DataError("a sign that the template owns")
    ids = [[ord(sign) for sign in one.text] for one in rows]
    return [
        Example(one.id, i[:LONGEST], [-100] * len(i[:LONGEST]), target=0, truncated=len(i) > LONGEST, length=len(i))
        for one, i in zip(rows, ids, strict=True)
    ]


ROWS = [row("where is my card"), row("what is the fee"), row("a text that is too long for the model by itself")]


def recipe(**augment: Any) -> Recipe:
    tree = {"name": "r", "model": {"name_or_path": "m"}, "data": {"train": "x"}, "task": {"type": "classification"}}
    return Recipe.model_validate(tree | {"augment": augment, "teacher": {"base_url": "http://x/v1", "model": "m"}})


def shown(examples: Sequence[Example]) -> list[str]:
    return ["".join(map(chr, example.input_ids)) for example in examples]


def test_wordings_join_the_rows_but_for_those_that_cannot_be_trained_on():
    made = [
        reworded(ROWS[0], "has my card come"), reworded(ROWS[0], "my c@rd"), reworded(ROWS[1], "fee? " * 9),
        reworded(ROWS[2], "another one that is too long, as its original"), reworded(ROWS[1], "x", "masked_lm"),
    ]  # fmt: skip
    asked = recipe(paraphrase={"use": "append"}, masked_lm={"name_or_path": "m"})
    prepared = Prepared(ROWS, [], [], [], [], ["a"], {})
    found = training_examples(asked, prepared, encode, Path(), Variants(made, {("paraphrase", "empty"): 4}))
    assert shown(found.examples) == [*(r.text[:LONGEST] for r in ROWS), made[0].text, made[3].text[:LONGEST]]
    assert found.facts["rows"] == 5 and found.augment["added"] == 2
    assert found.augment["skipped"] == {
        "paraphrase: empty": 4, "paraphrase: cannot be written for this model": 1,
        "paraphrase: longer than data.max_length": 1,
    }  # fmt: skip
    assert found.fresh is not None  # the masked model's are swapped in
    drawn = {text for epoch in range(20) for text in shown(found.fresh(range(5), epoch))}
    assert drawn == {*shown(found.examples), "x"}


def test_what_is_drawn_each_epoch_is_drawn_of_the_wordings_too():
    rows = [row(f"the problem with the phone is {place}") for place in "abcdef"]
    made = [reworded(one, f"so {one.text}") for one in rows]
    asked = recipe(paraphrase={"use": "append"}, synonyms={"rate": 1.0})

    def whole(some: Sequence[Row]) -> list[Example]:
        return [replace(e, input_ids=[*map(ord, r.text)], truncated=False)
                for e, r in zip(encode(some), some, strict=True)]  # fmt: skip

    found = training_examples(asked, Prepared(rows, [], [], [], [], ["a"], {}), whole, Path(), Variants(made, {}))
    assert found.fresh is not None and len(found.examples) == 12
    texts = shown(found.fresh(range(12), 0))
    assert any("problem" not in text for text in texts[:6]) and any("problem" not in text for text in texts[6:])
    assert all(text.startswith("so ") for text in texts[6:])


@pytest.mark.parametrize("augment", [{}, {"paraphrase": {"use": "append"}}])
def test_without_anything_to_draw_the_examples_stay(augment: dict[str, Any]):
    found = training_examples(recipe(**augment), Prepared(ROWS, [], [], [], [], ["a"], {}), encode, Path())
    assert found.fresh is None and shown(found.examples) == [r.text[:LONGEST] for r in ROWS]
    assert bool(found.augment) == bool(augment)


def test_a_judge_looks_at_the_first_rows_as_an_epoch_shows_them_and_at_wordings_that_are_rows(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(training, "LOOKED_AT", 4)
    rows = [row(f"the problem with the phone is {place}", "b" if place == "d" else "a") for place in "abcdef"]
    made = [reworded(rows[0], "the card is a"), reworded(rows[1], "the phone is b"), reworded(rows[5], "the card is f")]
    asked = recipe(paraphrase={"use": "append"}, synonyms={"rate": 1.0})
    texts: list[str] = []

    def judge(some: Sequence[str]) -> list[str]:
        """Whatever is of a card is of another class."""
        texts.extend(some)
        return ["c" if "card" in text else "a" for text in some]

    def labels(asked: Recipe) -> Any:
        prepared = Prepared(rows, [], [], [], [], ["a", "b", "c"], {})
        return training_examples(asked, prepared, encode, Path(), Variants(made, {}), judge).augment["labels"]

    found = labels(asked)
    assert {key: found[key] for key in ("judged", "kept", "changed", "changed_kept")} == {
        "judged": 5, "kept": 4, "changed": 5, "changed_kept": 4,  # rows a, b, c and their two wordings; d is not read
    }  # fmt: skip
    assert [lost["before"] for lost in found["lost"]] == [rows[0].text]
    assert set(texts) >= {one.text for one in rows[:4]} and not {"e", "f"} & {text[-1] for text in texts}
    assert any("problem" not in text and "card" not in text for text in texts)
    found = labels(recipe(paraphrase={"use": "append"}))
    assert (found["judged"], found["changed"], found["changed_kept"]) == (5, 2, 1)
    assert (
        "labels"
        not in training_examples(
            asked, Prepared(rows, [], [], [], [], ["a", "b", "c"], {}), encode, Path(), Variants(made, {})
        ).augment
    )
