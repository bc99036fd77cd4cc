"""Variants: rows of their own, answers and labels as they were, their origin in the lineage."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from tests.augment.made import Fake, labelled, said, talk

from tuneloop.augment.cache import Cache
from tuneloop.augment.endpoint import Answer, Endpoint, Question
from tuneloop.augment.variants import (
    appended,
    by_origin,
    copied_values,
    inputs_of,
    make_variants,
    origin_of,
    with_inputs,
)
from tuneloop.records import content_id
from tuneloop.rows.table import read_table, write_rows
from tuneloop.sections import Augment


def settings(**methods: object) -> Augment:
    return Augment.model_validate(methods)


def retold(questions: Sequence[Question]) -> list[Answer]:
    return [Answer(f"in other words {question.copy}: {question.user}") for question in questions]


def test_inputs_are_questions_or_user_turns():
    row = talk(("system", "be kind"), ("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four"))
    assert inputs_of(row, "generation") == ["one", "three"]
    assert [t.content for t in with_inputs(row, ["1", "3"], "generation").messages] == [
        "be kind",
        "1",
        "two",
        "3",
        "four",
    ]
    assert inputs_of(row, "classification") == ["three"]
    assert [t.content for t in with_inputs(row, ["3"], "classification").messages][3:] == ["3", "four"]
    assert inputs_of(labelled("hi"), "generation") == []  # a plain text is trained whole: it is all answer


def test_each_copy_of_each_row():
    rows = [labelled("where is my card", "card"), labelled("what is the fee", "fee")]
    found = make_variants(rows, settings(paraphrase={"copies": 2}), task="classification", seed=0, ask=retold)
    assert [row.text for row in found.rows] == [
        f"in other words {copy}: {row.text}" for copy in (0, 1) for row in rows
    ]  # fmt: skip
    assert [row.label for row in found.rows] == ["card", "fee"] * 2 and not found.skipped
    assert all(row.id == content_id(row) and row.source == "f.jsonl:1" for row in found.rows)
    assert [origin_of(row) for row in found.rows] == [("paraphrase", row.id) for row in rows] * 2
    assert by_origin(found.rows)["paraphrase", rows[0].id] == found.rows[::2]


def test_what_gives_no_variant_is_counted():
    def ask(questions: Sequence[Question]) -> list[Answer]:
        return [
            Answer("", "HTTP 400") if q.user == "no" else Answer("where is a card" if q.user == "b" else q.user)
            for q in questions
        ]

    rows = [labelled("no"), labelled("a text of its own"), labelled("b")]
    found = make_variants(rows, settings(paraphrase={"copies": 1}), task="classification", seed=0, ask=ask)
    assert [row.text for row in found.rows] == ["where is a card"]
    assert found.skipped == {("paraphrase", "HTTP 400"): 1, ("paraphrase", "the same text"): 1}
    twice = make_variants(rows[2:], settings(paraphrase={"copies": 2}), task="classification", seed=0, ask=ask)
    assert len(twice.rows) == 1 and twice.skipped == {("paraphrase", "the same text"): 1}


def test_a_generation_row_keeps_its_answers_and_what_they_copy():
    row = talk(("user", "ship it to Ada Byron"), ("assistant", '{"name": "Ada Byron", "kind": "shipping"}'))
    assert copied_values(row) == ["Ada Byron"]
    good = make_variants([row], settings(paraphrase={}), task="generation", seed=0, ask=retold)
    assert good.rows[0].messages[1] == row.messages[1] and good.rows[0].messages[0].content.endswith("Ada Byron")
    bad = make_variants(
        [row],
        settings(paraphrase={}),
        task="generation",
        seed=0,
        ask=lambda qs: [Answer("send it to Ada please")] * len(qs),
    )
    assert not bad.rows and bad.skipped == {("paraphrase", "lost what the answer copies"): 1}


def test_masked_lm_through_the_settings():
    def fill(texts, hidden):
        return [[[("bill", 0.9)]] * len(spans) for spans in hidden]

    augment = Augment.model_validate({"masked_lm": {"name_or_path": "x", "rate": 1.0}})
    rows = [labelled("where is it, my ticket", "bill payment"), labelled("the ticket", "other")]
    found = make_variants(rows, augment, task="classification", seed=0, labels=["other"], fill=fill)
    assert [row.text for row in found.rows] == ["where is it, my bill", "the bill"]
    guarded = make_variants(rows, augment, task="classification", seed=0, labels=["bill payment"], fill=fill)
    assert guarded.rows == []


def test_through_a_real_endpoint_twice_asks_once_and_survives_the_disk(teacher: Fake, tmp_path: Path):
    teacher.answer = lambda body, number: said("otherwise: " + body["messages"][1]["content"])
    rows = [labelled(f"question number {'abc'[place]}") for place in range(3)]
    augment = settings(back_translation={"use": "append", "through": ["German", "French"], "copies": 2})
    runs = []
    for _ in range(2):
        with contextlib.closing(Cache(tmp_path / "c.sqlite")) as cache:
            endpoint = Endpoint(teacher.settings(), cache)
            runs.append(make_variants(rows, augment, task="classification", seed=0, ask=endpoint.ask))
    assert runs[0] == runs[1] and len(teacher.asked) == 3 * 2 * 2
    write_rows(tmp_path / "variants.parquet", runs[0].rows)
    assert read_table(tmp_path / "variants.parquet") == runs[0].rows
    assert appended(rows, runs[0].rows, augment) == [*rows, *runs[0].rows]
    assert appended(rows, runs[0].rows, settings(back_translation={"use": "swap"})) == rows
