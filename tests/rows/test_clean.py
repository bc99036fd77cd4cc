"""The stages of basic cleaning together, and exact duplicates; each repair has a test file of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.rows.conftest import FIRST, CleanThese, Read, Write, after

import tuneloop
from tuneloop.records import Dropped, Repair, Row, content_id, row_json
from tuneloop.rows.clean import REPAIRS, WHOLE_SET, asked_key, clean_rows, content_key, normalised
from tuneloop.rows.stage import Known
from tuneloop.rows.table import read_records, read_table
from tuneloop.sections import STAGES, Clean

TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
PROMPT = {"prompt": "q", "completion": "a"}


def test_there_is_a_stage_for_every_key_of_the_recipe() -> None:
    basic = [*REPAIRS, *WHOLE_SET, "near_duplicates"]
    doubting = ["personal_data", "relevance", "outliers", "label_errors", "lengths", "language"]
    assert basic + doubting == list(STAGES) and len(REPAIRS) == 6


# A row that each stage mends or drops: (task, rows)
FAULTY: dict[str, tuple[str, list[Any]]] = {
    "repair_json": ("classification", [FIRST, "{'text': 'b', 'label': 'x',}"]),
    "repair_columns": ("classification", [FIRST, {"Text ": "b", "label": "x"}]),
    "repair_roles": ("generation", [{"messages": TURNS}, {"messages": [*TURNS, TURNS[0]]}]),
    "repair_html": ("classification", [FIRST, {"text": "b<br>c &amp; d", "label": "x"}]),
    "repair_encoding": ("classification", [FIRST, {"text": "cafÃ©", "label": "x"}]),
    "repair_think": ("generation", [PROMPT | {"prompt": "p"}, PROMPT | {"completion": "so\n</think>\n\na"}]),
    "repair_labels": (
        "classification", [FIRST, FIRST | {"text": "c"}, FIRST | {"text": "d"}, {"text": "b", "label": "A:"}],
    ),
    "exact_duplicates": ("classification", [FIRST, FIRST]),
}  # fmt: skip


@pytest.mark.parametrize("name", REPAIRS)
def test_every_repair_keeps_places_and_does_nothing_twice(write: Write, read: Read, name: str) -> None:
    task, rows = FAULTY[name]
    more = ["rubbish", {"text": "", "label": "x"}] if task == "classification" else [{"prompt": "p", "completion": ""}]
    reading = read(write("a.jsonl", *rows, *more), task=task)
    items, known = [*reading.rows, *reading.bad], Known(reading.parse)
    once, repairs = REPAIRS[name](items, known)
    twice, again = REPAIRS[name](once, known)
    assert [item.source for item in once] == [item.source for item in items]
    assert (twice, again) == (once, []) and once != items
    assert all(repair.stage == name for repair in repairs) and repairs
    lineages = [item.lineage for item in once if isinstance(item, Row) and item not in items]
    assert all(lineage == (name,) for lineage in lineages)


@pytest.mark.parametrize("name", [*REPAIRS, *WHOLE_SET])
def test_a_stage_that_is_off_does_nothing(write: Write, read: Read, name: str) -> None:
    task, rows = FAULTY[name]
    reading = read(write("a.jsonl", *rows), task=task)
    off = Clean.model_validate(dict.fromkeys([*REPAIRS, *WHOLE_SET], True) | {name: False})
    found = clean_rows(reading.rows, reading.bad, clean=off, parse=reading.parse)
    assert name not in {repair.stage for repair in found.repairs} | {item.stage for item in found.dropped}
    assert not any(name in row.lineage for row in found.kept)


# One row with every fault that a row can have at once: its line, its columns, HTML, encoding, label.
WORST = "{'Text ': 'caf&amp;#195;&amp;#169; &amp; bar<br>closed', 'label': 'A.',}"


def test_the_repairs_of_a_row_add_up_and_all_are_kept(cleaned: CleanThese) -> None:
    found = cleaned(FIRST | {"text": "more"}, FIRST | {"text": "and more"}, WORST)
    row = found.kept[-1]
    assert (row.text, row.label, row.source) == ("café & bar\nclosed", "a", "a.jsonl:4")
    assert row.lineage == ("repair_json", "repair_columns", "repair_html", "repair_encoding", "repair_labels")
    assert [(r.row, r.source, r.stage, r.field) for r in found.repairs] == [
        (row.id, "a.jsonl:4", stage, name)
        for stage, name in zip(row.lineage, ("", "text", "text", "text", "label"), strict=True)
    ]
    assert row.id == content_id(row) and found.repairs[0].before == WORST
    assert found.repairs[-1].before == "A." and found.repairs[-1].after == "a"


def test_a_row_that_stays_bad_keeps_its_own_line_and_says_which_stage_gave_up(cleaned: CleanThese) -> None:
    lines = ["{'text': 'b', 'colour': 'x',}", "{'Text ': 'b', 'label': '',}"]
    found = cleaned(*lines)
    assert [(d.stage, d.reason, d.raw) for d in found.dropped] == [
        ("repair_json", "label is missing", lines[0]), ("repair_columns", "label is empty", lines[1]),
    ]  # fmt: skip
    assert found.repairs == []


def test_what_was_mended_in_a_row_that_a_later_repair_drops_is_kept(cleaned: CleanThese) -> None:
    line = "{'text': '<br><p>', 'label': 'b'}"
    found = cleaned({"text": "b", "label": "x"}, line, {"text": "c<br>d", "label": "x"})
    (lost,), (json_mended, html_mended) = found.dropped, found.repairs
    assert (lost.source, lost.stage, json.loads(lost.raw)["text"]) == ("a.jsonl:3", "repair_html", "<br><p>")
    assert (json_mended.source, json_mended.stage, json_mended.before) == ("a.jsonl:3", "repair_json", line)
    assert json_mended.after == lost.raw and json_mended.row == content_id(
        Row(id="", source="", text="<br><p>", label="b")
    )
    assert html_mended.source == "a.jsonl:4", "in the order of the rows"


def test_tuneloop_clean_mends_a_real_file_records_it_and_does_the_same_again(in_folder: Path) -> None:
    rows: list[Any] = [{"text": f"where is parcel number {n}{n}{n}", "label": "ab"[n % 2]} for n in range(40)]
    rows += [WORST, {"text": "one &lt; two<br/>three", "label": "b"}, '{"text": "cut in the mi']
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    Path("train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    held_out = [{"text": "held out", "label": "a"}, {"text": "held &amp; out", "label": "B"}]
    Path("test.jsonl").write_text("\n".join(map(json.dumps, held_out)), encoding="utf-8")
    Path("r.yaml").write_text(
        "name: t\ntask: {type: classification}\nmodel: {name_or_path: none}\n"
        "data: {train: train.jsonl, validation: test.jsonl, test: test.jsonl}\nclean: {near_duplicates: off}\n",
        encoding="utf-8",
    )  # fmt: skip
    tables = []
    for name in ("t", "again"):
        tuneloop.clean("r.yaml", [f"name={name}"])
        data = Path("runs", name, "data")
        tables.append((read_table(data / "train.parquet"), read_records(data / "repairs.parquet", Repair)))
        report = json.loads((data / "report.json").read_text(encoding="utf-8"))
        counts = report["counts"]["train"]
        assert counts["in"] == counts["kept"] + sum(counts["dropped"].values()) + counts["to review"] == len(rows)
        assert (counts["repaired"], counts["to review"]) == (2, 0)
        (lost,) = read_records(data / "dropped.parquet", Dropped)
        assert (lost.reason, lost.raw) == ("incomplete: cut off in 'text'", lines[-1])
        assert [row.label for row in read_table(data / "test.parquet")] == ["a", "b"]
        assert [row.text for row in read_table(data / "test.parquet")] == ["held out", "held &amp; out"]
        said = " ".join(report["warnings"])
        assert "1 test labels are written otherwise in training, and read so: 'B' as 'b' (1)" in said
        assert "test rows with HTML remains, which are taken out of training rows alone: 1" in said
    assert tables[0] == tables[1]
    assert [row.id for row in tables[0][0] if row.lineage] == [content_id(r) for r in tables[0][0] if r.lineage]
    assert {repair.row for repair in tables[0][1]} == {row.id for row in tables[0][0] if row.lineage}


@pytest.mark.parametrize("asked", ["Tom &amp; I<br>waited", "Tom &#38; I\n\nwaited", "<p>Tom & I</p><p>waited</p>"])
def test_what_a_row_asks_is_compared_as_the_repairs_would_write_it(asked: str) -> None:
    assert asked_key(Row(id="", source="", text=asked)) == asked_key(Row(id="", source="", text="Tom & I\nwaited"))


# -- duplicates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["good", "GOOD", " good\t", "ｇｏｏｄ"])
def test_exact_duplicates_are_dropped(cleaned: CleanThese, text: str) -> None:
    found = cleaned({"text": "other", "label": "a"}, {"text": text, "label": "a", "more": 1})
    assert after(found) == [("other", "a")]
    (dropped,) = found.dropped
    assert (dropped.stage, dropped.reason) == ("exact_duplicates", "says the same as a.jsonl:1")
    assert json.loads(dropped.raw) == {"text": text, "label": "a", "meta": {"more": 1}}


@pytest.mark.parametrize(
    "other", [{"text": "good", "label": "b"}, {"text": "good!", "label": "a"}, {"text": "go od", "label": "a"}]
)
def test_what_differs_stays(cleaned: CleanThese, other: dict[str, str]) -> None:
    assert len(cleaned(other).kept) == 2


def test_duplicates_off_keeps_them(cleaned: CleanThese) -> None:
    assert len(cleaned(FIRST, exact_duplicates=False).kept) == 2


def test_the_content_of_a_conversation_is_all_its_turns(cleaned: CleanThese) -> None:
    first = {"prompt": "q", "completion": "a"}
    found = cleaned(
        {"prompt": "q", "completion": "b"}, {"prompt": "Q ", "completion": "A"}, {"prompt": "r", "completion": "a"},
        task="generation", first=first,
    )  # fmt: skip
    assert [row.source for row in found.kept] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:4"]


def test_normalised_forms() -> None:
    assert normalised(" Straße　１００ \n") == normalised("STRASSE 100") == "strasse 100"
    a, b = (Row(id="", source="", text="x", label=label) for label in ("a", ("a",)))
    assert content_key(a) != content_key(b)


def test_a_dropped_row_is_kept_whole(cleaned: CleanThese) -> None:
    row = Row(id="", source="", text="好", label=("a", "b"), meta={"n": 1, "half": "\ud800"})
    assert row_json(row) == '{"text": "好", "label": ["a", "b"], "meta": {"n": 1, "half": "\\ud800"}}'
