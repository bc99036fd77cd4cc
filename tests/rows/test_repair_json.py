"""Broken JSON: what is mended, what is cut off and told as incomplete, and that nothing hangs."""

from __future__ import annotations

import json
import time

import pytest
from tests.rows.conftest import CleanThese, after

from tuneloop.rows.repair_json import REPAIR_LIMIT, whole_columns, without_stray_backslash


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "it\'s \\"b\\"", "label": "x",}',
        '{"text": "it\'s \\"b\\"", "label": "x"',
        '{"text": "it\'s \\"b\\"" "label": "x"}',
        '{"text": "it\'s \\"b\\"", label: "x"}',
        '{"text": "it\'s \\"b\\"", /* checked */ "label": "x"}',
        '{"text": "it\'s \\"b\\"", "label": "x"}}',
        "{'text': 'it\\'s \"b\"', 'label': 'x'}",
        '{"text": "it\'s \\"b\\"", "label": "x", "lang": "e',
    ],
)
def test_broken_json_is_mended(cleaned: CleanThese, line: str) -> None:
    found = cleaned(line)
    assert after(found) == [('it\'s "b"', "x")]
    row = found.kept[1]
    assert (row.lineage, dict(row.meta)) == (("repair_json",), {}), "a column that is cut off is no column"
    repair, *gone = found.repairs
    assert [(lost.field, lost.before, lost.after) for lost in gone] == [("lang", "e", "")] * line.endswith('"e')
    assert (repair.row, repair.source, repair.stage, repair.before) == (row.id, "a.jsonl:2", "repair_json", line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "half of a ques', "incomplete: cut off in 'text'"),
        ('{"label": "x", "text": "half of a ques', "incomplete: cut off in 'text'; whole: label"),
        ('{"text": "whole", "label": "ref', "incomplete: cut off in 'label'; whole: text"),
        ('{"text": "whole", "label": 1', "incomplete: cut off in 'label'; whole: text"),
        ('{"text": "use {x}', "incomplete: cut off in 'text'"),
        ('{"text": "he said \\"', "incomplete: cut off in 'text'"),
        ('{"text": "whole"', "incomplete: cut off behind 'text'"),
        ('{"text": "whole",', "incomplete: cut off behind 'text'"),
        ('{"te', "incomplete: cut off before its first value"),
        ("{", "incomplete: cut off before its first value"),
        ('{"text": "whole", "label": }', "label is empty"),
        ('{"text": "a", "label": "x"} {"text": "b", "label": "y"}', "several objects on one line"),
        ("rubbish", "broken JSON that cannot be repaired"),
        ('{"text": "' + "[" * 300_000, "broken JSON, too long to repair (over 200,000 characters)"),
        ("[" * 50_000 + "x", "broken JSON that cannot be repaired"),
    ],
)
def test_what_cannot_be_mended_whole_is_dropped(cleaned: CleanThese, line: str, reason: str) -> None:
    found = cleaned(line)
    assert after(found) == [] and found.repairs == []
    (dropped,) = found.dropped
    assert dropped.raw == line and dropped.source == "a.jsonl:2" and dropped.split == "train"
    if dropped.stage == "repair_json":
        assert dropped.reason == reason
    else:
        assert "[[[" in line and "flat" in dropped.reason


def test_a_cut_answer_is_never_learnt(cleaned: CleanThese) -> None:
    first = {"prompt": "q", "completion": "a", "system": "s"}
    for line in (
        '{"prompt": "p", "completion": "half of an ans',
        '{"prompt": "p", "completion": "a", "system": "be poli',
    ):
        found = cleaned(line, task="generation", first=first)
        assert [item.reason.partition(" in ")[0] for item in found.dropped] == ["incomplete: cut off"]


def test_a_wrong_row_of_valid_json_is_dropped_as_read(cleaned: CleanThese) -> None:
    found = cleaned(
        {"text": "b"}, {"text": "", "label": "x"}, {"text": "c", "label": None}, '{"text": "d", "text": "e"}'
    )
    assert [(d.stage, d.reason) for d in found.dropped] == [
        ("read", "label is missing"), ("read", "text is empty"), ("read", "label is null"),
        ("read", "expected each key once"),
    ]  # fmt: skip


def test_repair_json_off_drops_the_line(cleaned: CleanThese) -> None:
    found = cleaned('{"text": "b", "label": "x",}', repair_json=False)
    assert [(d.stage, d.reason) for d in found.dropped] == [("read", "expected one JSON object a line")]


def test_a_mended_row_is_in_its_old_place(cleaned: CleanThese) -> None:
    found = cleaned('{"text": "b", "label": "x",}', {"text": "c", "label": "x"}, {"text": "B", "label": "x"})
    assert [row.source for row in found.kept] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3"]
    assert found.dropped[0].reason == "says the same as a.jsonl:2"


@pytest.mark.parametrize(
    ("line", "label"),
    [
        ('{"text": "b", "label": "refund', "refund"),
        ("{'text': 'b', 'label': 'refund", "refund"),
        ('{"text": "b", "label": "ord', None),  # what is left of order
        ('{"text": "b", "label": "order', None),  # or of order_late, who knows
        ('{"text": "b", "label": "order_late', "order_late"),
        ('{"text": "b", "label": "refuse', None),
    ],
)
def test_a_cut_label_is_whole_where_it_can_be_no_other(cleaned: CleanThese, line: str, label: str | None) -> None:
    labels = ["refund", "order", "order_late"]
    rows = [{"text": f"row of {name}", "label": name} for name in labels]
    found = cleaned(line, *rows)
    assert [row.label for row in found.kept if row.text == "b"] == ([label] if label else [])
    assert [item.reason for item in found.dropped] == ([] if label else ["incomplete: cut off in 'label'; whole: text"])


def test_a_cut_may_have_taken_a_part_of_the_question(cleaned: CleanThese) -> None:
    first = {"instruction": "q", "output": "a", "input": "more"}
    found = cleaned('{"instruction": "p", "output": "b"', task="generation", first=first)
    assert [item.reason for item in found.dropped] == ["incomplete: cut off behind 'output'"]
    asked = {"prompt": "q", "label": "x", "system": "s"}
    found = cleaned('{"prompt": "p", "label": "x', first=asked)
    assert [item.reason for item in found.dropped] == ["incomplete: cut off in 'label'; whole: prompt"]
    found = cleaned('{"instruction": "p", "input": "", "output": "b"', task="generation", first=first)
    assert found.kept[1].answer == "b"


WHOLE = {"text": 'he said "hi, {x}", it\'s [5] \\ fine', "label": "a", "tags": ["x", {"y": 1}], "n": 12, "on": True}


@pytest.mark.parametrize("spaced", [(", ", ": "), (",", ":")])
def test_what_survives_a_cut_is_whole(spaced: tuple[str, str]) -> None:
    line = json.dumps(WHOLE, separators=spaced)
    seen = set()
    for end in range(1, len(line)):
        left = whole_columns(line[:end])
        assert all(WHOLE[key] == value for key, value in left.items()), line[:end]
        assert list(left) == list(WHOLE)[: len(left)]
        seen.add(len(left))
    assert seen == {0, 1, 2, 3, 4, 5}, "of each column it is found out that it is whole"


def test_whatever_a_cut_leaves_of_a_row_is_its_own_content_or_told_as_incomplete(cleaned: CleanThese) -> None:
    line = json.dumps(WHOLE)
    for end in range(1, len(line)):
        found = cleaned(line[:end])
        for row in found.kept[1:]:
            assert (row.text, row.label) == (WHOLE["text"], WHOLE["label"]), line[:end]
            assert all(WHOLE[key] == value for key, value in row.meta.items()), line[:end]
        for item in found.dropped:
            assert item.reason.startswith("incomplete: cut off") and item.raw == line[:end], line[:end]


def test_a_python_print_is_read_as_python_reads_it(cleaned: CleanThese) -> None:
    for text in ('he said "no, it\'s {mine}"', "a, 'b': c", "back\\slash\n", "emoji 😀 中文", "'", '"', "it's"):
        record = {"text": f"x {text}", "label": "x", "more": None, "yes": True}
        found = cleaned(str(record))
        assert after(found) == [(f"x {text}", "x")] and dict(found.kept[1].meta) == {"more": None, "yes": True}


def test_a_doubled_apostrophe_is_not_lost(cleaned: CleanThese) -> None:
    assert "its" not in str(after(cleaned("{'text': 'it''s mine', 'label': 'x'}")))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (r'{"text": "wo\rd", "label": "x"}', "wo\rd"),  # a real escape is no fault
        (r'{"text": "\kettle is bro\"ken", "label": "x"}', 'kettle is bro"ken'),
        (r'{"text": "ke\ttle is br\oken", "label": "x"}', "ke\ttle is broken"),
        (r'{"text": "查\询天气", "label": "x"}', "查询天气"),
        (r'{"text": "what is \alpha here", "label": "x"}', r"what is \alpha here"),
        (r'{"text": "\sqrt{\Delta}", "label": "x"}', r"\sqrt{\Delta}"),
        (r'{"text": "match \d+ here", "label": "x"}', r"match \d+ here"),
        (r'{"text": "is it \in my account", "label": "x"}', "is it in my account"),
        (r'{"text": "\sum_{i} i", "label": "x"}', r"\sum_{i} i"),
        (r'{"text": "open C:\docs now", "label": "x"}', r"open C:\docs now"),
    ],
)
def test_a_stray_backslash_goes_and_one_that_says_something_stays(cleaned: CleanThese, line: str, text: str) -> None:
    assert after(cleaned(line)) == [(text, "x")]


def test_only_a_single_stray_backslash_goes() -> None:
    assert without_stray_backslash(r"a\kb") == "akb"
    for line in (r"a\kb\kc", r"a\\kb", r"a\"b", r"a\u00e9", r"a\ b", r"a\😀"):
        assert without_stray_backslash(line) == line


HOSTILE = [
    '{"text": "' + '"' * 150_000,
    '{"text": ' + '"a",' * 40_000,
    "{" * 150_000,
    '{"a":' * 30_000,
    "{'" * 60_000,  # json_repair by itself takes hours
    "{'" * 5_000,
    "{'" * 60_000 + "}",
    '{"text": "' + "\\" * 150_001,
    '{"text": "' + "/*" * 70_000,
    '{"text": "x", "label": ' + "[" * 100_000,
    "{'a': " * 20_000,
    '{"text": "' + "\\k" * 60_000 + '"}',
]


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_no_line_takes_long(cleaned: CleanThese, line: str) -> None:
    assert len(line) <= REPAIR_LIMIT
    began = time.monotonic()
    cleaned(line)
    assert time.monotonic() - began < 20


def test_a_long_line_that_is_only_broken_is_no_hostile_one(cleaned: CleanThese) -> None:
    text = 'He said "well, {this} is: [it]", and it\'s so. ' * 4_000
    line = json.dumps({"text": text, "label": "x"})[:-1] + ",}"
    assert 180_000 < len(line) <= REPAIR_LIMIT
    assert after(cleaned(line)) == [(text, "x")]
