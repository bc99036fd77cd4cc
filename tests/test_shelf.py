"""Records on disk: the same as in a list, whatever they hold, and without a copy where some are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuneloop.records import BadRow, Dropped, Message, Repair, Row
from tuneloop.shelf import BLOCK, Shelf, decoded, encoded, select, writing

RECORDS: list[Any] = [
    Row(id="a", source="f:1", text="退款 é 😀 \u2028 \x00 \r\n", label="x"),
    Row(
        id="b", source="f:2", messages=(Message("user", "q"), Message("assistant", "a")), label=("x", "y"), chosen="c",
        rejected="", images=("i.png",), audios=("s.wav",), time="2024", weight=0.25, lineage=("repair_json",),
        meta={"n": 1, "deep": {"list": [1, None, "\ud800"]}, "big": 2**70, "f": 1e-300},
    ),
    BadRow("f:3", "text", "null", "text", "Fix it", '{"text": null}'),
    Dropped("f:4", "read", "no", "raw\nraw", "test"),
    Repair("a", "f:1", "repair_html", "text", "<b>", ""),
    "one text",
    "",
]  # fmt: skip


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf[Any]:
    return Shelf(tmp_path / "shelf")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was(record: Any) -> None:
    line = encoded(record)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decoded(line) == record


def test_a_shelf_is_used_like_a_list(shelf: Shelf[Any]) -> None:
    shelf.extend(RECORDS)
    assert list(shelf) == RECORDS
    assert len(shelf) == len(RECORDS)
    assert shelf[1] == RECORDS[1]
    assert shelf[-1] == RECORDS[-1]
    assert shelf[2:5] == RECORDS[2:5]
    assert shelf[::-2] == RECORDS[::-2]
    with pytest.raises(IndexError):
        shelf[len(RECORDS)]
    shelf.append("more")  # reading has not moved the place where it writes
    assert list(shelf) == [*RECORDS, "more"]


def test_records_larger_than_a_block_are_read_whole(shelf: Shelf[str]) -> None:
    texts = ["a" * (BLOCK // 3), "b" * (2 * BLOCK), "c", "d" * BLOCK]
    shelf.extend(texts)
    assert list(shelf) == texts
    assert [shelf[place] for place in range(4)] == texts


def test_a_shelf_takes_in_what_another_process_wrote(shelf: Shelf[Any], tmp_path: Path) -> None:
    with writing(tmp_path / "part") as part:
        part.extend(RECORDS)
        assert not (tmp_path / "part").exists()  # only whole
    shelf.append("first")
    shelf.adopt(tmp_path / "part")
    shelf.append("last")
    assert list(shelf) == ["first", *RECORDS, "last"]
    assert shelf[3] == RECORDS[2]


@pytest.mark.parametrize("places", [[], [0], [1, 2, 5], [0, 6], list(range(7))])
def test_some_of_a_shelf_are_those_of_the_list(shelf: Shelf[Any], places: list[int]) -> None:
    shelf.extend(RECORDS)
    chosen = np.array(places, dtype=np.int64)
    listed, lying = select(RECORDS, chosen), select(shelf, chosen)
    assert list(lying) == list(listed) == [RECORDS[place] for place in places]
    assert lying[1:] == list(listed)[1:]
    again = np.arange(0, len(places), 2)
    assert list(select(lying, again)) == list(select(listed, again))
