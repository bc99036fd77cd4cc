"""Relevance to the task: the mixture, the distance, the trusted rows, and what becomes of each row; no model here."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.dirt.sets import made_up
from benchmarks.relevance.inputs import word_vectors
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from tuneloop.errors import ModelError
from tuneloop.recipe import Recipe
from tuneloop.records import Message, Row, content_id
from tuneloop.rows import relevance as module
from tuneloop.rows.anything import CHINESE, ENGLISH
from tuneloop.rows.prepare import prepare_rows
from tuneloop.rows.relevance import (
    FEWEST_ROWS,
    SHRINKAGE,
    Embedder,
    Judged,
    distances,
    judge_relevance,
    relevance,
    trusted_learnt,
    trusted_told,
)
from tuneloop.rows.texts import asked_text
from tuneloop.sections import Relevance

OTHERS = [
    f"{who} {what} {where}"
    for who in ("the cow", "three mice", "a star", "little Ann", "the old king")
    for what in ("jumped", "ran away", "sat down", "sang")
    for where in ("over the moon", "up the hill")
]
BANK = made_up(200)


def row(text: str, place: int, label: str | None = None) -> Row:
    made = Row(id="", source=f"a.jsonl:{place}", text=text, label=label)
    return Row(id=content_id(made), source=made.source, text=text, label=label)


def mixture(strangers: int, seed: int = 0) -> tuple[list[Row], set[str]]:
    """Rows of a bank with strangers among them, whose labels are the bank's; and the strangers' sources."""
    chance = random.Random(seed)
    texts = [(one["text"], one["label"], False) for one in BANK]
    texts += [(text, chance.choice(BANK)["label"], True) for text in chance.sample(OTHERS, strangers)]
    chance.shuffle(texts)
    rows = [row(text, place, label) for place, (text, label, _) in enumerate(texts, 1)]
    return rows, {one.source for one, (*_, stranger) in zip(rows, texts, strict=True) if stranger}


def reader(unread: Sequence[str] = (), **options: Any) -> Embedder:
    """An encoder that counts words, and has none for texts with one of `unread` in them."""
    return Embedder(
        "words", word_vectors,
        lambda texts: np.array([not any(word in text for word in unread) for text in texts], dtype=bool), **options,
    )  # fmt: skip


TOLD: dict[str, dict[str, Any]] = {
    "examples": {"asked": Relevance(examples="x"), "examples": [one["text"] for one in made_up(220)[200:]]},
    "description": {"asked": Relevance(task="where is my card, what is the rate, I have a question about the fee")},
    "both": {
        "asked": Relevance(examples="x", task="a question about the card"), "examples": ["where is my pin please"],
    },
    "learnt": {"asked": Relevance()},
}  # fmt: skip


def judge(rows: Sequence[Row], way: str, embedder: Embedder | None = None, **options: Any) -> Judged:
    return judge_relevance(rows, embedder=embedder or reader(), **TOLD[way], **options)


# -- the probability ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_the_relevance_is_the_probability_to_be_of_the_task(share: float):
    chance = np.random.default_rng(1)
    count = round(share * 4000)
    near = np.concatenate([chance.normal(1.0, 0.12, 4000 - count), chance.normal(1.4, 0.06, count)])
    found, apart = relevance(near, chance.normal(1.4, 0.06, 300))
    own, other = (1 - share) * norm.pdf(near, 1.0, 0.12), share * norm.pdf(np.minimum(near, 1.4), 1.4, 0.06)
    assert np.abs(found - own / (own + other)).mean() < 0.01
    assert (1 - found).mean() == pytest.approx(share, abs=0.01)
    assert apart == pytest.approx(0.4 / 0.12, abs=0.2)


def test_where_no_row_is_a_stranger_none_is_doubted():
    chance = np.random.default_rng(1)
    found, _ = relevance(chance.normal(1.0, 0.12, 4000), chance.normal(1.5, 0.06, 300))
    assert (found < 0.5).mean() < 0.002 and (found < 0.05).sum() <= 4


def test_one_stranger_among_many_rows_is_found():
    chance = np.random.default_rng(1)
    found, _ = relevance(np.append(chance.normal(1.0, 0.1, 2000), 1.6), chance.normal(1.6, 0.06, 300))
    assert found[-1] < 0.01 and (found[:-1] < 0.5).sum() <= 1


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=60), st.lists(st.floats(0, 5), min_size=1, max_size=20)
)  # fmt: skip
def test_the_relevance_is_a_share_and_falls_with_the_distance(near: list[float], far: list[float]):
    found, apart = relevance(np.array(near), np.array(far))
    assert np.isfinite(found).all() and (found >= 0).all() and (found <= 1).all() and np.isfinite(apart)
    assert (np.diff(found[np.argsort(near, kind="stable")]) <= 1e-9).all()


# -- the distance ---------------------------------------------------------------------------------------------------


def plain_distance(one: np.ndarray, groups: Sequence[np.ndarray]) -> float:
    """The docstring's formula, for one row."""
    away = np.concatenate([group - group.mean(axis=0) for group in groups if len(group)])
    covariance = sum(np.outer(a, a) for a in away) / len(away)
    width = len(one)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / width * np.eye(width)
    gaps = [one - group.mean(axis=0) for group in groups if len(group)]
    return float(np.sqrt(min(gap @ np.linalg.inv(shrunk) @ gap for gap in gaps) / width))


def test_the_distance_is_the_definition_and_a_trusted_row_is_judged_without_its_fold(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    others = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    groups = [np.array([3, 1, 4, 15, 9, 2, 6]), np.array([20, 30, 25])]
    found, far = distances(vectors, groups, others)
    trusted = np.concatenate(groups)
    whole = [vectors[group].astype(float) for group in groups]
    for place in set(range(40)) - set(trusted.tolist()):
        assert found[place] == pytest.approx(plain_distance(vectors[place], whole), rel=1e-5)
    assert far == pytest.approx([plain_distance(other, whole) for other in others], rel=1e-5)
    for group in groups:
        for number, place in enumerate(group):
            rest = [vectors[np.delete(one, np.s_[number % 5 :: 5])].astype(float) for one in groups]
            assert found[place] == pytest.approx(plain_distance(vectors[place], rest), rel=1e-5)


def test_the_only_row_of_a_label_does_not_vouch_for_itself():
    chance = np.random.default_rng(0)
    vectors = np.concatenate([chance.normal(0, 0.1, (60, 8)) + np.eye(8)[0], [3 * np.eye(8)[1]]]).astype(np.float32)
    found, _ = distances(vectors, [np.arange(30), np.array([60])], vectors[:1])
    assert found[60] > 5 * found[:60].max()


def test_many_trusted_rows_are_sampled(monkeypatch: pytest.MonkeyPatch):
    vectors = np.random.default_rng(0).normal(size=(4000, 4)).astype(np.float32)
    whole, _ = distances(vectors, [np.arange(2000)], vectors[:2])
    monkeypatch.setattr(module, "FIT_ROWS", 500)
    some, _ = distances(vectors, [np.arange(2000)], vectors[:2])
    assert not np.array_equal(whole, some) and np.abs(whole - some).max() < 0.3


# -- trusted rows ---------------------------------------------------------------------------------------------------


def unit(values: Any) -> np.ndarray:
    values = np.asarray(values, dtype=np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_the_third_nearest_to_the_examples_mean_is_trusted():
    angles = np.linspace(0, np.pi, 30)
    vectors = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert trusted_told(vectors, vectors[[0, 2]], None).tolist() == [1, 0, 2, 3, 4, 5, 6, 7, 8, 9] or set(
        trusted_told(vectors, vectors[[0, 2]], None).tolist()
    ) == set(range(10))


def test_a_description_stands_for_the_tenth_of_the_rows_that_is_nearest_to_it():
    angles = np.linspace(0, np.pi / 2, 30)
    vectors = unit(np.stack([np.cos(angles), np.sin(angles), np.zeros(30)], axis=1))
    description = unit([0.2, 0.0, 1.0])  # far from all rows, and least from those of small angles
    assert set(trusted_told(vectors, None, description).tolist()) == set(range(10))


def test_examples_and_a_description_count_alike():
    vectors = unit(np.eye(4, dtype=np.float32)[[0] * 10 + [1] * 10 + [2] * 10 + [3] * 10])
    found = trusted_told(vectors, vectors[[0] * 9], vectors[10])
    assert set(found.tolist()) <= set(range(20)) and set(found.tolist()) & set(range(10)) and len(found) == 13


def test_each_label_trusts_the_half_of_its_rows_that_is_like_the_rest_of_them():
    chance = np.random.default_rng(0)
    means = {"many": 0, "few": 1}
    labels = ["many"] * 30 + ["few"] * 8
    vectors = np.stack([np.eye(6)[means[label]] + chance.normal(0, 0.05, 6) for label in labels])
    strangers = [*range(5), 30]
    vectors[strangers] = np.eye(6)[4]
    (many, few), unjudged = trusted_learnt(unit(vectors), labels)
    assert not len(unjudged)
    assert len(many) == 15 and len(few) == 4
    assert set(many.tolist()) <= set(range(5, 30)) and set(few.tolist()) <= set(range(31, 38))


def test_rows_with_several_labels_or_none_count_as_of_one():
    vectors = word_vectors([f"word{number}" for number in range(9)])
    groups, unjudged = trusted_learnt(vectors, [None, ("x", "y"), "x", "x", "x", "x", "y", "z", "z"])
    assert not len(unjudged)
    assert [
        set(group.tolist()) < places for group, places in zip(groups, ({0, 1, 6, 7, 8}, {2, 3, 4, 5}), strict=True)
    ] == [True] * 2


def test_rows_of_too_rare_labels_stay_unjudged():
    rows, odd = mixture(40)
    some = next(number for number, one in enumerate(rows) if one.source in odd)
    rows[some] = replace(rows[some], label="rare")
    groups, unjudged = trusted_learnt(word_vectors([one.text for one in rows]), [one.label for one in rows])
    assert unjudged.tolist() == [some] and some not in np.concatenate(groups)
    found = judge(rows, "learnt")
    assert rows[some] in found.kept and rows[some].id not in {one.row for one in found.doubts}


def test_an_encoder_that_reads_no_text_about_anything_judges_nothing():
    rows, _ = mixture(40)
    found = judge(rows, "learnt", reader([*ENGLISH[::2], *ENGLISH[1::4]]))
    assert found.kept == rows and found.doubts == [] and len(found.warnings) == 1
    assert "does not read English" in found.warnings[0]


# -- what becomes of the rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", TOLD)
@pytest.mark.parametrize("strangers", [10, 40])
def test_strangers_are_dropped_or_doubted_and_rows_of_the_task_stay(way: str, strangers: int):
    rows, odd = mixture(strangers)
    found = judge(rows, way)
    lost = {one.source for one in found.dropped}
    doubted = {one.source for one in found.doubts}
    assert len(lost & odd) >= 0.5 * strangers and len((lost | doubted) & odd) >= 0.8 * strangers
    assert len(lost - odd) <= 5 and len(doubted - odd) <= 8
    assert found.warnings == []
    assert [one.source for one in found.kept] == [one.source for one in rows if one.source not in lost]
    assert doubted.isdisjoint(lost) and len(found.kept) + len(found.dropped) == len(rows)
    assert all(one.stage == "relevance" and "relevance 0.0" in one.reason for one in found.dropped)
    known = {one.source: one.id for one in rows}
    assert all(one.row == known[one.source] and 0.05 <= one.score < 0.5 for one in found.doubts)


@pytest.mark.parametrize("way", TOLD)
def test_a_clean_set_loses_nothing(way: str):
    found = judge(mixture(0)[0], way)
    assert len(found.dropped) <= 1 and len(found.doubts) <= 7 and found.warnings == []


def test_the_thresholds_are_the_recipes():
    rows, _ = mixture(40)
    none = judge_relevance(rows, Relevance(drop_below=0.0, keep_above=0.0), reader())
    assert none.dropped == [] and none.doubts == [] and none.kept == rows
    review = judge_relevance(rows, Relevance(drop_below=0.0), reader())
    usual = judge_relevance(rows, Relevance(), reader())
    assert review.dropped == [] and len(review.doubts) == len(usual.dropped) + len(usual.doubts)
    every = judge_relevance(rows, Relevance(drop_below=1.0, keep_above=1.0), reader())
    assert len(every.dropped) > len(usual.dropped) and every.doubts == []


def test_what_a_person_decided_about_is_not_dropped():
    rows, _ = mixture(40)
    gone = {one.source for one in judge(rows, "learnt").dropped}
    spared = next(one for one in rows if one.source in gone)
    found = judge(rows, "learnt", decided={spared.id})
    assert {one.source for one in found.dropped} == gone - {spared.source}
    assert spared in found.kept and spared.id in {one.row for one in found.doubts}


def test_a_few_rows_are_not_judged():
    rows = mixture(0)[0][: FEWEST_ROWS - 1]
    found = judge(rows, "learnt")
    assert found.kept == rows and found.dropped == found.doubts == []
    assert "49 rows are too few" in found.warnings[0]
    assert judge([], "learnt").kept == []


def test_rows_that_have_nothing_in_common_are_not_judged():
    texts = [*ENGLISH[::-1], *(" ".join(reversed(text.split())) for text in ENGLISH)]
    rows = [row(text, place) for place, text in enumerate(texts)]
    found = judge(rows, "learnt")
    assert found.kept == rows and found.doubts == [] and "hardly more like each other" in found.warnings[0]


def test_a_row_that_is_dropped_waits_for_nobody(tmp_path: Path):
    rows = [{"text": one.text, "label": one.label} for one in mixture(40)[0]]
    odd = set(OTHERS)
    rows = [
        one | {"text": f"{one['text']} ann{n}@example.com"} if one["text"] in odd else one for n, one in enumerate(rows)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    recipe = Recipe.model_validate({
        "name": "t", "task": {"type": "classification"}, "model": {"name_or_path": "x"},
        "data": {"train": "a.jsonl", "validation": 0.05, "test": 0.05},
        "clean": {"near_duplicates": False, "personal_data": True, "relevance": {}},
    })  # fmt: skip
    prepared = prepare_rows(recipe, tmp_path, embedder=reader)
    lost = {one.source for one in prepared.dropped if one.stage == "relevance"}
    assert lost and lost.isdisjoint(doubt.source for doubt in prepared.doubts)


# -- what the encoder reads -----------------------------------------------------------------------------------------


def test_rows_without_words_stay_and_are_told():
    rows, _ = mixture(10)
    mixed = [*rows, *(row(f"zzz {number}", 900 + number) for number in range(20))]
    found = judge(mixed, "learnt", reader(["zzz"]))
    assert {f"a.jsonl:{900 + number}" for number in range(20)} <= {one.source for one in found.kept}
    assert not any(one.source.startswith("a.jsonl:9") for one in found.doubts if len(one.source) == 11)
    (warning,) = found.warnings
    assert "cannot read 20 of 230 training rows" in warning and "paraphrase-multilingual" in warning
    assert {one.source for one in found.dropped} == {one.source for one in judge(rows, "learnt").dropped} != set()


def never(_: Sequence[str]) -> Any:
    pytest.fail("embedded before it was clear that the encoder reads the rows")


@pytest.mark.parametrize(
    ("unread", "way", "says"),
    [
        ([" "], "learnt", "200 of the 200 training rows"),
        (["I have a question about the fee"], "description", "what clean.relevance.task says"),
        (["where is my pin please"], "both", "any of the rows in clean.relevance.examples"),
    ],
)
def test_an_encoder_that_cannot_read_is_an_error_before_the_work(unread: list[str], way: str, says: str):
    rows = [one for one in mixture(0)[0] if way == "learnt" or not any(word in one.text for word in unread)]
    blind = Embedder("words", never, reader(unread).reads)
    with pytest.raises(ModelError) as caught:
        judge_relevance(rows, embedder=blind, **TOLD[way])
    assert says in str(caught.value)
    assert "for Chinese e.g. shibing624/text2vec-base-chinese" in str(caught.value)


def test_examples_that_it_cannot_read_are_passed_over():
    rows, _ = mixture(10)
    told = TOLD["examples"]
    more = told | {"examples": [*told["examples"], "zzz", "zzz zzz"]}
    one, other = (judge_relevance(rows, embedder=reader(["zzz"]), **some) for some in (told, more))
    assert one == other


@pytest.mark.parametrize("chinese", [False, True])
def test_the_texts_about_anything_are_in_the_rows_language(chinese: bool):
    read: list[str] = []

    def embed(texts: Sequence[str]) -> np.ndarray:
        read.extend(texts)
        return word_vectors([" ".join(text) for text in texts])

    texts = [
        f"我的卡在第{number}家店不能用，怎么办" if chinese else f"my card fails in shop {number}"
        for number in range(60)
    ]
    rows = [row(text, place) for place, text in enumerate(texts)]
    judge_relevance(rows, Relevance(), Embedder("signs", embed, lambda some: np.ones(len(some), bool)))
    assert (set(CHINESE) <= set(read)) is chinese and (set(ENGLISH) <= set(read)) is not chinese


def test_the_texts_about_anything_are_many_and_different():
    assert len(set(ENGLISH)) == len(ENGLISH) >= 100 and len(set(CHINESE)) == len(CHINESE) >= 80
    first = [text.split()[0] for text in ENGLISH]
    assert max(map(first.count, first)) < len(ENGLISH) / 3


# -- what is read of a row ------------------------------------------------------------------------------------------


def test_what_a_row_asks_is_its_text_or_what_its_user_says():
    turns = [("system", "be kind"), ("user", "hello"), ("assistant", "yes?"), ("user", "a card"), ("assistant", "sure")]
    messages = tuple(Message(role, content) for role, content in turns)  # type: ignore[arg-type]
    assert asked_text(Row(id="", source="", text="t", messages=messages)) == "t"
    assert asked_text(Row(id="", source="", messages=messages)) == "hello\na card"
    assert asked_text(Row(id="", source="", messages=messages[2:3], chosen="c")) == "yes?\nc"
