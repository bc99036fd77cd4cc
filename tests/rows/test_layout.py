from __future__ import annotations

import json

import pytest
from tests.rows.conftest import Read, Write

from tuneloop.errors import DataError, RecipeError
from tuneloop.records import BadRow, Row


def test_columns_map_ours_to_theirs(write: Write, read: Read) -> None:
    reading = read(
        write("a.jsonl", {"question": "q", "topic": "x", "text": "other"}),
        columns={"text": "question", "label": "topic"},
    )
    (row,) = reading.rows
    assert (row.text, row.label, dict(row.meta)) == ("q", "x", {"text": "other"})
    assert reading.columns == {"text": "question", "label": "topic"}


def test_columns_decide_the_format(write: Write, read: Read) -> None:
    name = write("a.jsonl", {"text": "q", "label": "x", "reply": "a"})
    assert read(name).rows[0].text == "q"
    (row,) = read(name, task="generation", columns={"prompt": "text", "completion": "reply"}).rows
    assert ([m.content for m in row.messages], row.label, dict(row.meta)) == (["q", "a"], "x", {})
    (row,) = read(name, task="generation", columns={"question": "text", "answer": "reply"}).rows
    assert row.answer == "a"


@pytest.mark.parametrize(
    ("column", "value"),
    [("a.b", {"a": {"b": "q"}}), ("a.0.b", {"a": [{"b": "q"}]}), ("a.b", {"a.b": "q"}), ("奇 怪!", {"奇 怪!": "q"})],
)
def test_nested_and_odd_names(write: Write, read: Read, column: str, value: dict[str, object]) -> None:
    reading = read(write("a.jsonl", value | {"label": "x"}), columns={"text": column})
    assert reading.rows[0].text == "q"


def test_a_column_that_is_not_there_names_the_nearest(write: Write, read: Read) -> None:
    name = write("a.jsonl", {"text": "q", "label": "x", "category_name": "y"})
    with pytest.raises(DataError, match=r"'categoryname'.*text, label, category_name.*mean 'category_name'"):
        read(name, columns={"label": "categoryname"})
    with pytest.raises(RecipeError, match=r"'labl' is none of our columns.*mean 'label'"):
        read(name, columns={"labl": "label"})


def test_a_column_of_a_later_row_counts(write: Write, read: Read) -> None:
    reading = read(write("a.jsonl", {"text": "q"}, {"text": "r", "topic": "x"}), columns={"label": "topic"})
    assert (len(reading.rows), len(reading.bad)) == (1, 1)


def test_no_format_fits(write: Write, read: Read) -> None:
    name = write("a.jsonl", {"utterance": "q", "intent": "x"})
    with pytest.raises(DataError, match=r"fit no format of a classification task.*utterance, intent.*text \+ label"):
        read(name)
    with pytest.raises(DataError, match=r"fit no format of a generation task"):
        read(name, task="generation")


def test_labelled_texts_are_no_generation_rows(write: Write, read: Read) -> None:
    name = write("a.jsonl", {"text": "q", "label": "x"})
    with pytest.raises(DataError, match="type: classification"):
        read(name, task="generation")
    assert read(name, task="generation", columns={"text": "text"}).format == "plain text"


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"closed": True}, [0, 2]),
        ({"closed": False}, [1]),
        ({"n": 1}, [0, 2]),
        ({"n": "1"}, [0, 2]),
        ({"n": 2.0}, [1]),
        ({"tags": "a"}, [0]),
        ({"closed": True, "m.lang": "zh"}, [2]),
        ({"label": "y"}, [1]),
    ],
)
def test_where_keeps_rows_of_these_values(write: Write, read: Read, where: dict[str, object], kept: list[int]) -> None:
    name = write(
        "a.jsonl",
        {"text": "0", "topic": "x", "closed": True, "n": 1, "tags": ["a", "b"], "m": {"lang": "en"}},
        {"text": "1", "topic": "y", "closed": False, "n": 2, "tags": [], "m": {"lang": "zh"}},
        {"text": "2", "topic": "x", "closed": "True", "n": 1.0, "tags": ["b"], "m": {"lang": "zh"}},
    )
    reading = read(name, where=where, columns={"label": "topic"})
    assert [int(row.text) for row in reading.rows] == kept
    assert reading.filtered == 3 - len(kept)


def test_where_must_name_a_column_and_leave_something(write: Write, read: Read) -> None:
    name = write("a.jsonl", {"text": "q", "label": "x", "closed": True})
    with pytest.raises(DataError, match=r"data.where names the column 'close'.*mean 'closed'"):
        read(name, where={"close": True})
    with pytest.raises(DataError, match=r"data.where leaves no row.*1 rows, none with closed = False"):
        read(name, where={"closed": False})


def test_the_parser_that_repairs_use_reads_alike(write: Write, read: Read) -> None:
    reading = read(write("a.jsonl", {"q": "a", "label": "x", "on": True}), columns={"text": "q"}, where={"on": True})
    row = reading.parse({"q": "b", "label": 1, "on": True, "more": 2}, "a.jsonl:9")
    assert isinstance(row, Row)
    assert (row.source, row.text, row.label, dict(row.meta)) == ("a.jsonl:9", "b", "1", {"on": True, "more": 2})
    left_out = reading.parse({"q": "b", "label": 1, "on": False}, "a.jsonl:9")
    assert isinstance(left_out, BadRow) and "data.where" in left_out.got
    assert json.loads(left_out.raw) == {"q": "b", "label": 1, "on": False}
    assert isinstance(reading.parse(["no", "object"], "a.jsonl:9"), BadRow)
