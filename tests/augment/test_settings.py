"""The sections `augment` and `teacher`: strict, every key does something, and no secret is repeated."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tuneloop.errors import RecipeError
from tuneloop.recipe import parse_yaml, recipe_from_tree
from tuneloop.sections import Augment

MINIMAL = {"name": "r", "model": {"name_or_path": "m"}, "data": {"train": "rows.jsonl"}}
TEACHER = {"base_url": "http://localhost:8000/v1", "model": "m"}


def test_absent_methods_are_off_and_empty_ones_have_their_defaults():
    assert Augment().synonyms is None and not Augment().dynamic
    augment = Augment.model_validate({"synonyms": {}, "eda": {}})
    assert augment.synonyms is not None and augment.synonyms.rate == 0.1 and augment.dynamic
    assert list(augment.drawn) == ["synonyms", "eda"] and not augment.made
    augment = Augment.model_validate({"paraphrase": {}, "masked_lm": {"name_or_path": "x"}})
    assert list(augment.made) == ["masked_lm", "paraphrase"] and list(augment.asking) == ["paraphrase"]


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"synonym": {}}, "Extra inputs"), ({"synonyms": {"rat": 0.1}}, "Extra inputs"),
        ({"synonyms": {"rate": 1.5}}, "less than"),
        ({"noise": {"kinds": ["typo"]}}, "keyboard"), ({"noise": {"kinds": []}}, "at least 1"),
        ({"masked_lm": {}}, "Field required"), ({"synonyms": {"probability": 0.0}}, "greater than 0"),
        ({"paraphrase": {"use": "both"}}, "append"), ({"back_translation": {"through": []}}, "at least 1"),
    ],
)  # fmt: skip
def test_faults(tree: dict, says: str):
    with pytest.raises(ValidationError, match=says):
        Augment.model_validate(tree)


def test_made_once_and_appended_draws_nothing():
    assert not Augment.model_validate({"paraphrase": {"use": "append"}}).dynamic
    assert Augment.model_validate({"paraphrase": {"use": "swap"}}).dynamic


def fault(tree: dict) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe_from_tree(MINIMAL | tree, "r.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("teacher", "says"),
    [
        ({"base_url": "localhost:8000"}, "teacher.base_url: should be an address such as http://localhost:8000/v1"),
        ({"base_url": "ftp://x/v1"}, "should be an address"), ({"base_url": "http://"}, "should be an address"),
        ({"base_url": "http://x/v 1"}, "should be an address"), ({"base_url": "http://x:99999/v1"}, "out of range"),
        ({"base_url": "http://x/v1/chat/completions/"}, "should end before /chat/completions"),
        ({"api_key": "hunter2"}, "unknown key 'teacher.api_key' (here it is teacher.api_key_env"),
        ({"temperature": 3.0}, "less than or equal to 2"), ({"max_missing": 1.5}, "less than or equal to 1"),
        ({"model": ""}, "at least 1 character"),
    ],
)  # fmt: skip
def test_faults_of_the_teacher(teacher: dict, says: str):
    assert says in fault({"teacher": TEACHER | teacher})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("base_url", "https://me:hunter2@x/v1"), ("base_url", "https://x/v1?key=hunter2"),
        ("api_key_env", "sk-hunter2"), ("api_key_env", "sk_hunter2"), ("api_key", "hunter2"),
    ],
)  # fmt: skip
def test_a_secret_in_the_recipe_is_refused_and_not_repeated(key: str, value: str):
    assert "hunter2" not in fault({"teacher": TEACHER | {key: value}})


def test_who_asks_needs_a_teacher():
    asking = {"augment": {"paraphrase": {}, "back_translation": {}}}
    assert "augment.back_translation and augment.paraphrase: there is no teacher to ask" in fault(asking)
    assert "there is no teacher" in fault(asking | {"teacher": None, "seed": "x"})
    assert "there is no teacher" not in fault(asking | {"techer": TEACHER})
    off = parse_yaml("augment:\n  paraphrase:\n")
    assert not recipe_from_tree(MINIMAL | off, "r.yaml").augment.made
    assert recipe_from_tree(MINIMAL | asking | {"teacher": TEACHER}, "r.yaml").teacher is not None
