"""Columns under other names: of a whole set, and of some of its rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.rows.conftest import CleanThese, Read, Write, after

from tuneloop.rows.clean import clean_rows
from tuneloop.rows.layout import plain_name
from tuneloop.sections import Clean


@pytest.mark.parametrize(
    "record",
    [
        {"Text ": "q", "LABEL": "x"}, {"ＴＥＸＴ": "q", "label:": "x"}, {"文本": "q", "标签": "x"},
        {"内容：": "q", "类别": "x"},
        {"问题": "q", "分类": "x"}, {"\ufefftext": "q", "label": "x"}, {'"text"': "q", "Label*": "x"},
    ],
)  # fmt: skip
def test_a_set_with_other_names_is_read(write: Write, read: Read, record: dict[str, Any]) -> None:
    (row,) = read(write("a.jsonl", record)).rows
    assert (row.text, row.label, dict(row.meta)) == ("q", "x", {})


@pytest.mark.parametrize(
    "record",
    [
        {"问题": "q", "回答": "a"}, {"Instruction:": "q", "Input": "", "Output ": "a"},
        {"指令": "q", "输入": "", "输出": "a"},
        {"提问": "q", "答案": "a"}, {"Messages": [{"role": "用户", "content": "q"}, {"role": " AI ", "content": "a"}]},
        {"对话": [{"from": "Human", "value": "q"}, {"from": "助手", "value": "a"}]},
        {"messages": [{"role": "customer", "content": "q"}, {"role": "Agent", "content": "a"}]},
    ],
)  # fmt: skip
def test_a_set_of_answers_with_other_names_is_read(write: Write, read: Read, record: dict[str, Any]) -> None:
    (row,) = read(write("a.jsonl", record), task="generation").rows
    assert [(turn.role, turn.content) for turn in row.messages] == [("user", "q"), ("assistant", "a")]


def test_the_usual_name_goes_before_one_that_is_like_it(write: Write, read: Read) -> None:
    (row,) = read(write("a.jsonl", {"Text ": "other", "text": "q", "label": "x"})).rows
    assert row.text == "q" and dict(row.meta) == {"Text ": "other"}


@pytest.mark.parametrize(
    ("record", "names"),
    [
        ({"Text ": "b", "label": "x"}, [("text", "Text ")]), ({"sentence": "b", "label": "x"}, [("text", "sentence")]),
        ({"question": "b", "label": "x"}, [("text", "question")]),
        ({"文本": "b", "类别": "x"}, [("text", "文本"), ("label", "类别")]),
        ({"text": "b", "Category": "x", "n": 1}, [("label", "Category")]),
    ],
)  # fmt: skip
def test_some_rows_have_other_names(cleaned: CleanThese, record: dict[str, Any], names: list[tuple[str, str]]) -> None:
    found = cleaned(record)
    assert after(found) == [("b", "x")]
    row = found.kept[1]
    assert row.lineage == ("repair_columns",) and set(row.meta) == set(record) & {"n"}
    assert [(r.row, r.source, r.stage, r.field, r.before, r.after) for r in found.repairs] == [
        (row.id, "a.jsonl:2", "repair_columns", ours, theirs, ours) for ours, theirs in names
    ]


OPENAI = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "b"}]
SHAREGPT = [{"from": "human", "value": "p"}, {"from": "gpt", "value": "b"}]
FIRST = [OPENAI[0], {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("first", "record"),
    [
        ({"messages": FIRST}, {"消息": OPENAI}), ({"messages": FIRST}, {"conversations": SHAREGPT}),
        ({"conversations": FIRST}, {"对话": OPENAI}),
        ({"messages": OPENAI[:1], "chosen": "a", "rejected": "c"},
         {"消息": OPENAI[:1], "chosen": "b", "rejected": "c"}),
        ({"prompt": OPENAI[:1], "chosen": "a", "rejected": "c"},
         {"query": OPENAI[:1], "chosen": "b", "rejected": "c"}),
    ],
)  # fmt: skip
def test_some_conversations_have_other_names(
    cleaned: CleanThese, first: dict[str, Any], record: dict[str, Any]
) -> None:
    found = cleaned(record, task="generation", first=first, near_duplicates=None)
    assert [(row.question, row.answer) for row in found.kept] == [("p", "a"), ("p", "b")]
    assert [(repair.stage, repair.field) for repair in found.repairs] == [("repair_columns", next(iter(first)))]


def test_a_conversation_that_is_null_is_not_taken_from_elsewhere(cleaned: CleanThese) -> None:
    first, record = {"messages": OPENAI}, {"messages": None, "消息": OPENAI}
    found = cleaned(record, task="generation", first=first)
    assert [item.reason.partition(":")[0] for item in found.dropped] == ["messages"] and not found.repairs


def test_rows_of_an_array_and_of_broken_lines_are_read_too(write: Write, read: Read, cleaned: CleanThese) -> None:
    assert after(cleaned("{'Sentence': 'b', 'label': 'x'}")) == [("b", "x")]
    first = {"question": "q", "answer": "a"}
    found = cleaned({"query": "p", "response": "b"}, task="generation", first=first)
    assert [turn.content for turn in found.kept[1].messages] == ["p", "b"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"sentence": "b", "content": "c", "label": "x"}, "text is missing"),  # which of them?
        ({"txt": "b", "label": "x"}, "text is missing"),
        ({"text": "b", "topic": "x"}, "label is missing"),
        ({"text": "", "sentence": "b", "label": "x"}, "text is empty"),  # the column is there
        ({"Text ": "", "label": "x"}, "text is empty"),
    ],
)
def test_names_are_never_guessed(cleaned: CleanThese, record: dict[str, Any], reason: str) -> None:
    found = cleaned(record)
    assert [item.reason for item in found.dropped] == [reason] and found.repairs == []
    assert json.loads(found.dropped[0].raw) == record


def test_a_column_of_another_meaning_is_not_taken(write: Write, read: Read) -> None:
    name = write("a.jsonl", {"prompt": "p", "completion": "a"}, {"instruction": "q", "input": "more", "output": "b"})
    reading = read(name, task="generation", columns={"prompt": "prompt", "completion": "completion"})
    found = clean_rows(reading.rows, reading.bad, clean=Clean(), parse=reading.parse)
    assert [item.reason for item in found.dropped] == ["prompt is missing"], "its input would be lost"


@pytest.mark.parametrize(("others", "name"), [(1, "answer"), (2, "answer"), (3, "response")])
def test_the_name_that_most_rows_have_is_the_sets(cleaned: CleanThese, others: int, name: str) -> None:
    first = {"question": "q", "answer": "a"}
    rows = [{"question": f"q{n}", "response": "b"} for n in range(others)]
    found = cleaned(first | {"question": "p"}, *rows, task="generation", first=first)
    assert len(found.kept) == 2 + others and {repair.after for repair in found.repairs} == {name}


def test_a_column_that_other_rows_have_beside_it_says_something_else(cleaned: CleanThese) -> None:
    rows = [{"text": f"t{n}", "content": f"c{n}", "label": "x"} for n in range(3)]
    found = cleaned(*rows[1:], {"content": "d", "label": "x"}, first=rows[0])
    assert [row.text for row in found.kept] == ["t0", "t1", "t2"], "the first name that most rows have is the set's"
    assert [item.reason for item in found.dropped] == ["text is missing"]


def test_an_optional_column_under_another_name_is_not_passed_over(cleaned: CleanThese) -> None:
    first = {"instruction": "q", "input": "", "output": "a"}
    found = cleaned({"instruction": "sum up", "Input": "a long text", "output": "b"}, task="generation", first=first)
    assert found.kept[1].question == "sum up\na long text"
    off = cleaned({"instruction": "sum up", "Input": "text", "output": "b"}, task="generation", first=first,
                  repair_columns=False)  # fmt: skip
    assert [item.reason for item in off.dropped] == ["input is missing"]


def test_a_line_of_a_csv_file_is_no_json(write: Write, read: Read) -> None:
    reading = read(write("a.csv", "Text ,LABEL:", "q,x", "r,y"))
    assert [(row.text, row.label) for row in reading.rows] == [("q", "x"), ("r", "y")]


def test_plain_names() -> None:
    assert {plain_name(name) for name in ("User Text", " user-text:", "USER_TEXT", "ｕｓｅｒ　ｔｅｘｔ")} == {
        "user_text"
    }
    assert plain_name("text2") != plain_name("text") and plain_name("文本：") == "文本"
