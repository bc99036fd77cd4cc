"""The section `augment`: strict, and every key does something."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tuneloop.augment.settings import Augment


def test_absent_methods_are_off_and_empty_ones_have_their_defaults():
    assert Augment().synonyms is None and not Augment().dynamic
    augment = Augment.model_validate({"synonyms": {}, "eda": {}})
    assert augment.synonyms is not None and augment.synonyms.rate == 0.1 and augment.dynamic


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"synonym": {}}, "Extra inputs"), ({"synonyms": {"rat": 0.1}}, "Extra inputs"),
        ({"synonyms": {"rate": 1.5}}, "less than"),
        ({"noise": {"kinds": ["typo"]}}, "keyboard"), ({"noise": {"kinds": []}}, "at least 1"),
        ({"masked_lm": {}}, "Field required"),
        ({"paraphrase": {}}, "need.s. a `teacher`"), ({"synonyms": {"probability": 0.0}}, "greater than 0"),
        ({"teacher": {"base_url": "localhost", "model": "m"}}, "pattern"),
    ],
)  # fmt: skip
def test_faults(tree: dict, says: str):
    with pytest.raises(ValidationError, match=says):
        Augment.model_validate(tree)


def test_made_once_and_appended_draws_nothing():
    teacher = {"base_url": "http://x/v1", "model": "m"}
    assert not Augment.model_validate({"paraphrase": {"use": "append"}, "teacher": teacher}).dynamic
    assert Augment.model_validate({"paraphrase": {"use": "swap"}, "teacher": teacher}).dynamic


def test_every_key_has_a_description():
    assert all(info.description for name, info in Augment.model_fields.items() if name == "teacher")
    for name in ("synonyms", "noise", "eda", "masked_lm", "back_translation", "paraphrase", "teacher"):
        section = next(a for a in Augment.model_fields[name].annotation.__args__ if a is not type(None))
        assert all(info.description for info in section.model_fields.values()), name
