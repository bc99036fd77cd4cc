from __future__ import annotations

from collections import defaultdict

import pytest
from tests.rows.conftest import Read, Write

from tuneloop.errors import DataError
from tuneloop.rows.split import Splits, split_rows


def sides(splits: Splits) -> dict[str, list[str]]:
    return {
        "train": [row.source for row in splits.train],
        "validation": [row.source for row in splits.validation],
        "test": [row.source for row in splits.test],
    }


def test_shares_are_shares_of_all_rows(write: Write, read: Read) -> None:
    reading = read(write("a.jsonl", *({"text": f"t{n}", "label": "x"} for n in range(4000))))
    splits = split_rows(reading, validation=0.2, test=0.3, seed=1, group_by=None)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 4000
    assert len(splits.test) == pytest.approx(1200, abs=90) and len(splits.validation) == pytest.approx(800, abs=80)
    assert sides(splits)["train"] == sorted(sides(splits)["train"], key=lambda s: int(s.split(":")[1])), "order is kept"
    other = split_rows(reading, validation=0.2, test=0.3, seed=2, group_by=None)
    assert sides(other) != sides(splits) == sides(split_rows(reading, validation=0.2, test=0.3, seed=1, group_by=None))


def test_a_row_stays_on_its_side_whatever_else_is_there(write: Write, read: Read) -> None:
    rows = [{"text": f"t{n}", "label": "x"} for n in range(300)]
    few = split_rows(read(write("a.jsonl", *rows[::3])), validation=0.2, test=0.2, seed=1, group_by=None)
    many = split_rows(read(write("a.jsonl", *rows)), validation=0.2, test=0.2, seed=1, group_by=None)
    assert {row.text for row in few.test} < {row.text for row in many.test}
    assert {row.text for row in few.validation} < {row.text for row in many.validation}


def test_equal_texts_fall_on_one_side(write: Write, read: Read) -> None:
    rows = [{"text": f"t{n % 100}", "label": f"l{n // 100}", "n": n} for n in range(400)]
    splits = split_rows(read(write("a.jsonl", *rows)), validation=0.3, test=0.3, seed=1, group_by=None)
    where = defaultdict(set)
    for name, side in (("train", splits.train), ("validation", splits.validation), ("test", splits.test)):
        for row in side:
            where[row.text].add(name)
    assert len(where) == 100 and all(len(names) == 1 for names in where.values())
    assert splits.train and splits.validation and splits.test


@pytest.mark.parametrize(("group_by", "columns"), [("who", {}), ("m.who", {}), ("prompt", {}), ("q", {}), ("text", {})])
def test_groups_stay_together(write: Write, read: Read, group_by: str, columns: dict[str, str]) -> None:
    rows = [{"q": f"q{n % 40}", "a": f"a{n}", "who": n % 40, "m": {"who": [n % 40]}} for n in range(200)]
    reading = read(write("a.jsonl", *rows), task="generation", columns={"prompt": "q", "completion": "a"})
    splits = split_rows(reading, validation=0.3, test=0.3, seed=1, group_by=group_by)
    groups = [{row.meta["who"] for row in side} for side in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 40 and all(groups)


def test_without_the_group_the_texts_would_part(write: Write, read: Read) -> None:
    rows = [{"text": f"t{n}", "label": "x", "who": n % 10} for n in range(200)]
    splits = split_rows(read(write("a.jsonl", *rows)), validation=0.3, test=0.3, seed=1, group_by=None)
    assert {row.meta["who"] for row in splits.train} & {row.meta["who"] for row in splits.test}


def test_a_group_must_be_a_column(write: Write, read: Read) -> None:
    reading = read(write("a.jsonl", {"text": "q", "label": "x", "who": 1}))
    with pytest.raises(DataError, match=r"group_by names the column 'whom'.*who"):
        split_rows(reading, validation=0.1, test=0.1, seed=1, group_by="whom")


def test_bad_rows_fall_by_their_raw_line(write: Write, read: Read) -> None:
    reading = read(write("a.jsonl", {"text": "q", "label": "x"}, *(f"broken {n % 50}" for n in range(300))))
    splits = split_rows(reading, validation=0.3, test=0.3, seed=1, group_by=None)
    assert sum(map(len, splits.bad.values())) == 300 and all(splits.bad.values())
    raws = [{bad.raw for bad in bads} for bads in splits.bad.values()]
    assert sum(map(len, raws)) == 50, "equal lines are on one side"


def test_files_of_their_own_are_taken_whole(write: Write, read: Read) -> None:
    train = read(write("a.jsonl", *({"text": f"t{n}", "label": "x"} for n in range(50)), "broken"))
    test = read(write("b.jsonl", {"text": "t1", "label": "x"}, "broken"))
    splits = split_rows(train, validation=test, test=test, seed=1, group_by=None)
    assert (len(splits.train), splits.validation, splits.test) == (50, test.rows, test.rows)
    assert {name: [b.source for b in bad] for name, bad in splits.bad.items()} == {
        "train": ["a.jsonl:51"], "validation": ["b.jsonl:2"], "test": ["b.jsonl:2"],
    }  # fmt: skip


def test_shares_must_leave_something(write: Write, read: Read) -> None:
    reading = read(write("a.jsonl", {"text": "q", "label": "x"}))
    with pytest.raises(DataError, match="leave no training rows"):
        split_rows(reading, validation=0.5, test=0.5, seed=1, group_by=None)
