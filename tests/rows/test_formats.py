from __future__ import annotations

from typing import Any

import pytest
from tests.rows.conftest import Read, Write

from tuneloop.records import Row
from tuneloop.rows.formats import FORMATS

USER, ANSWER = ("user", "q"), ("assistant", "a")
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHARED = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]

# format -> (task, a row of it, what it becomes)
SAMPLES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "text + label": ("classification", {"text": "q", "label": "x"}, {"text": "q", "label": "x"}),
    "messages + label": ("classification", {"messages": TURNS, "label": "x"}, {"turns": [USER, ANSWER], "label": "x"}),
    "sharegpt + label": ("classification", {"conversations": SHARED[:1], "label": 3}, {"text": "q", "label": "3"}),
    "question + label": ("classification", {"question": "q", "category": True}, {"text": "q", "label": "true"}),
    "preference": (
        "generation",
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"turns": [USER, ANSWER], "chosen": "a", "rejected": "b"},
    ),
    "messages": ("generation", {"messages": TURNS}, {"turns": [USER, ANSWER]}),
    "sharegpt": ("generation", {"conversations": SHARED, "system": "s"}, {"turns": [("system", "s"), USER, ANSWER]}),
    "alpaca": (
        "generation",
        {"instruction": "q", "input": "more", "output": "a", "system": "s", "history": [["x", "y"]]},
        {"turns": [("system", "s"), ("user", "x"), ("assistant", "y"), ("user", "q\nmore"), ANSWER]},
    ),
    "prompt + completion": ("generation", {"prompt": "q", "completion": "a"}, {"turns": [USER, ANSWER]}),
    "plain text": ("generation", {"text": "once upon"}, {"text": "once upon"}),
}


def seen(row: Row) -> dict[str, Any]:
    parts = {"text": row.text, "turns": [(m.role, m.content) for m in row.messages], "label": row.label}
    parts |= {"chosen": row.chosen, "rejected": row.rejected}
    return {name: value for name, value in parts.items() if value}


def test_every_format_has_a_sample() -> None:
    assert set(SAMPLES) == set(FORMATS) and len(SAMPLES) == 10


@pytest.mark.parametrize("name", SAMPLES)
def test_every_format_is_detected_and_read(write: Write, read: Read, name: str) -> None:
    task, record, expected = SAMPLES[name]
    reading = read(write("a.jsonl", record | {"extra": {"deep": [1]}}), task=task)
    assert reading.format.startswith(name)
    (row,) = reading.rows
    assert seen(row) == expected
    assert row.meta["extra"] == {"deep": [1]} and len(row.id) == 16 and row.source == "a.jsonl:1"
    assert not set(row.meta) & {"prompt", "instruction", "output", "messages", "conversations"}


def test_the_format_is_said_with_the_columns(write: Write, read: Read) -> None:
    assert read(write("a.jsonl", {"text": "q", "label": "x"})).format == "text + label"
    assert read(write("a.jsonl", {"sentence": "q", "class": "x"})).format == "text + label: sentence + class"


@pytest.mark.parametrize(
    ("record", "turns"),
    [
        ({"question": "q", "answer": "a"}, [USER, ANSWER]),
        ({"prompt": "q", "response": "a"}, [USER, ANSWER]),
        ({"Question": "q", "Response": "a"}, [USER, ANSWER]),
        ({"prompt": TURNS[:1], "completion": TURNS[1:]}, [USER, ANSWER]),
        ({"conversations": SHARED[:1], "chosen": SHARED[1], "rejected": SHARED[1]}, [USER, ANSWER]),
        ({"prompt": "q", "chosen": TURNS, "rejected": TURNS}, [USER, ANSWER]),
        ({"instruction": "q", "input": "", "output": "a"}, [USER, ANSWER]),
        ({"messages": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'}, [USER, ANSWER]),
        (
            {"conversations": [SHARED[0], {"from": "function_call", "value": "f"},
                               {"from": "observation", "value": "o"}, SHARED[1]]},
            [USER, ("assistant", "f"), ("tool", "o"), ANSWER],
        ),
        (
            {"messages": [TURNS[0], {"role": "assistant", "reasoning_content": "hm", "content": "a"}]},
            [USER, ("assistant", "<think>\nhm\n</think>\n\na")],
        ),
        (
            {"messages": [TURNS[0], {"role": "assistant", "content": [
                {"type": "reasoning", "value": "hm"}, {"type": "text", "text": "a"}]}]},
            [USER, ("assistant", "<think>\nhm\n</think>\n\na")],
        ),
        *(
            (
                {"messages": [TURNS[0], {"role": "assistant", "reasoning_content": "hm\n", "content": content}]},
                [USER, ("assistant", "<think>\nhm\n</think>\n\n" + answer)],
            )
            for content, answer in [
                ("<think>\nhm\n</think>\na", "a"), ("<think>hm</think>a", "a"), ("hm</think>\n\na", "a"),
                ("<think>\n\n</think>\n\na", "a"), ("<think>so</think>a", "<think>so</think>a"),
                ("a</think>", "a</think>"),
            ]
        ),
    ],
)  # fmt: skip
def test_other_spellings(write: Write, read: Read, record: dict[str, Any], turns: list[tuple[str, str]]) -> None:
    (row,) = read(write("a.jsonl", record), task="generation").rows
    assert [(m.role, m.content) for m in row.messages] == turns


@pytest.mark.parametrize(
    ("task", "record", "field", "got"),
    [
        ("classification", {"text": "", "label": "x"}, "text", "empty"),
        ("classification", {"text": " \n", "label": "x"}, "text", "blank"),
        ("classification", {"text": "\u200b\ufeff ", "label": "x"}, "text", "blank"),
        ("classification", {"text": "q", "label": "\u200b"}, "label", "blank"),
        ("generation", {"messages": [TURNS[0], {"role": "assistant", "content": "\u200b"}]}, "messages", "blank"),
        ("classification", {"text": 5, "label": "x"}, "text", "(int)"),
        ("classification", {"label": "x"}, "text", "no such column"),
        ("classification", {"text": "q", "label": None}, "label", "null"),
        ("classification", {"text": "q", "label": ""}, "label", "empty"),
        ("classification", {"text": "q", "label": []}, "label", "an empty list"),
        ("classification", {"text": "q", "label": {"a": 1}}, "label", "an object"),
        ("classification", {"text": "q"}, "label", "no such column"),
        ("generation", {"messages": TURNS[:1]}, "messages", "last turn of the user"),
        ("generation", {"messages": []}, "messages", "an empty list"),
        ("generation", {"messages": [{"role": "boss", "content": "q"}]}, "messages", "'boss'"),
        ("generation", {"messages": [{"role": "user", "content": None}]}, "messages", "empty"),
        ("generation", {"messages": "no list"}, "messages", "no list"),
        ("generation", {"prompt": "q", "completion": ""}, "completion", "empty"),
        ("generation", {"instruction": "q", "output": "a", "history": [["x"]]}, "history", "['x']"),
        ("generation", {"prompt": "q", "chosen": "a", "rejected": None}, "rejected", "null"),
        ("generation", {"messages": TURNS, "images": [1]}, "images", "[1]"),
    ],
)
def test_bad_records_name_the_field(
    write: Write, read: Read, task: str, record: dict[str, Any], field: str, got: str
) -> None:
    good = next(sample for t, sample, _ in SAMPLES.values() if t == task and set(record) - {"images"} <= set(sample))
    good = good | {"images": []}
    reading = read(write("a.jsonl", good, record), task=task)
    assert len(reading.rows) == 1
    (bad,) = reading.bad
    assert (bad.source, bad.field) == ("a.jsonl:2", field)
    assert got in bad.got and bad.expected and bad.fix


def test_labels_become_text(write: Write, read: Read) -> None:
    labels = [1, 1.0, 2.5, True, False, " x ", ["a"], 0]
    reading = read(write("a.jsonl", *({"text": f"t{n}", "label": label} for n, label in enumerate(labels))))
    assert [row.label for row in reading.rows] == ["1", "1", "2.5", "true", "false", "x", ("a",), "0"]


def test_media_time_and_weight(write: Write, read: Read) -> None:
    record = {
        "messages": TURNS,
        "images": "a.png",
        "audios": ["b.wav", "c.wav"],
        "time": "2026-01-02",
        "weight": 5,
        "w": 2,
    }
    (row,) = read(write("a.jsonl", record), task="generation").rows
    assert (row.images, row.audios, row.time) == (("a.png",), ("b.wav", "c.wav"), "2026-01-02")
    assert row.weight == 1.0 and row.meta["weight"] == 5, "a user's column weight may be kilograms"
    (row,) = read(write("a.jsonl", record), task="generation", columns={"weight": "w"}).rows
    assert row.weight == 2.0 and "w" not in row.meta
