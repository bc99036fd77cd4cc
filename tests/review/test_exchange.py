"""Files: what goes out comes back as it was, all of an import or nothing, and no decision is overrun."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.review.conftest import ROWS, Reclean, doubt, row

from tuneloop.errors import DataError, RecipeError, RunError
from tuneloop.records import Message
from tuneloop.review.exchange import FORMATS, Imported, export_items, import_answers
from tuneloop.review.queue import SHEET_MARK, Answer, Queue
from tuneloop.review.sheet import COLUMNS, armed, defused, read_csv, read_jsonl, write_csv

Fill = Callable[[Path, dict[str, dict[str, Any]]], None]


def fill_jsonl(path: Path, said: dict[str, dict[str, Any]]) -> None:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    path.write_text("".join(json.dumps(line | said.get(line["id"], {})) + "\n" for line in lines), "utf-8")


def fill_csv(path: Path, said: dict[str, dict[str, Any]], *, delimiter: str = ",", bom: bool = True) -> None:
    """As a spreadsheet does it: every cell is read and written again."""
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(rows[0])
    for cells in rows[1:]:
        line = dict(zip(rows[0], cells, strict=True))
        writer.writerow((line | said.get(line["id"].removeprefix(SHEET_MARK), {})).values())
    path.write_bytes(file.getvalue().encode("utf-8-sig" if bom else "utf-8"))


def fill_tasks(path: Path, said: dict[str, dict[str, Any]]) -> None:
    """As Label Studio exports it: the task that it was given, with ids of its own and the annotations."""
    tasks = json.loads(path.read_text("utf-8"))
    for number, task in enumerate(tasks, 1):
        say = said.get(task["data"]["id"])
        task |= {"id": number, "project": 3, "annotations": [annotation(say)] if say else []}
    path.write_text(json.dumps(tasks), "utf-8")


def annotation(said: dict[str, Any], who: Any = 10, made: str = "2026-01-02T00:00:00Z") -> dict[str, Any]:
    results = []
    for name, value in said.items():
        choice = name in ("decision", "new_label")
        results.append({
            "id": "x", "from_name": {"new_label": "label"}.get(name, name), "to_name": "text",
            "type": "choices" if choice else "textarea", "origin": "manual",
            "value": {"choices": [value]} if choice else {"text": [value]},
        })  # fmt: skip
    return {"id": 1, "result": results, "was_cancelled": False, "completed_by": who, "created_at": made, "lead_time": 4}


FILLS: dict[str, Fill] = {"jsonl": fill_jsonl, "csv": fill_csv, "label-studio": fill_tasks}


@pytest.fixture(params=list(FORMATS))
def sheet(request: pytest.FixtureRequest, queue: Queue, tmp_path: Path) -> tuple[Path, Fill]:
    """The queue in a file of each format, and what fills it in."""
    path = tmp_path / f"审核{FORMATS[request.param].suffix}"
    count, _ = export_items(queue, path)
    assert count == 5
    return path, FILLS[request.param]


def take(queue: Queue, path: Path, **options: Any) -> Imported:
    return import_answers(queue, path, **{"reviewer": "ann", **options})


def test_every_format_has_a_test():
    assert set(FILLS) == set(FORMATS)


def test_a_file_that_comes_back_as_it_went_says_nothing(queue: Queue, sheet: tuple[Path, Fill]):
    path, fill = sheet
    fill(path, {})
    done = take(queue, path)
    blank = 0 if path.suffix == ".json" else 5  # a task without an annotation is no line
    assert (done.written, done.unchanged, done.blank, done.conflicts, done.gone) == (0, 0, blank, (), ())
    assert queue.log() == []


def test_every_kind_of_decision_comes_back(queue: Queue, sheet: tuple[Path, Fill]):
    path, fill = sheet
    keeps = {"new_label": "card"} if path.suffix == ".json" else {"decision": "keep"}
    said = {
        ROWS[0].id: keeps,
        ROWS[1].id: {"new_text": "=转账\n到账了 '好'", "comment": "@安"},
        ROWS[2].id: {"decision": "drop", "comment": "公式"},
        ROWS[3].id: {"new_label": "card"},
    }
    fill(path, said)
    done = take(queue, path)
    assert dict(done.by_kind) == {"keep": 1, "edit text": 1, "drop": 1, "edit label": 1}
    assert [item.row for item in queue.items()] == [ROWS[4].id]
    made = {decision.row: decision for decision in queue.log()}
    assert dict(made[ROWS[1].id].after) == {"text": "=转账\n到账了 '好'"}
    assert (made[ROWS[1].id].comment, made[ROWS[2].id].comment) == ("@安", "公式")
    assert dict(made[ROWS[3].id].after) == {"label": "card"}
    assert {each.reviewer for each in made.values()} == {"label-studio:10" if path.suffix == ".json" else "ann"}
    log = queue.log()
    again = take(queue, path)
    assert (again.written, again.unchanged, again.conflicts) == (0, 4, ())
    assert queue.log() == log


def test_a_decision_made_meanwhile_stands_and_is_told(queue: Queue, sheet: tuple[Path, Fill]):
    path, fill = sheet
    queue.decide([Answer(ROWS[0].id, "keep", "bo"), Answer(ROWS[1].id, "drop", "bo"), Answer(ROWS[2].id, "skip", "bo")])
    fill(path, {each.id: {"decision": "drop"} for each in ROWS[:3]})
    done = take(queue, path)
    assert (done.written, done.unchanged, len(done.conflicts)) == (1, 1, 1)  # a skipped row still waits
    assert "bo decided keep at " in done.conflicts[0] and done.conflicts[0].endswith("the file says drop")
    assert done.conflicts[0].startswith(f"{path.name}:")
    assert queue.item(ROWS[0].id).decision.kind == "keep"


def test_a_later_file_corrects_the_reviewers_own_decision(queue: Queue, sheet: tuple[Path, Fill]):
    path, fill = sheet
    first = {ROWS[0].id: {"decision": "drop"}, ROWS[1].id: {"decision": "drop"}}
    fill(path, first)
    sent = path.read_bytes()
    assert take(queue, path).written == 2
    fill(path, first | {ROWS[0].id: {"decision": "", "new_label": "转账"}})
    done = take(queue, path)
    assert (done.written, done.corrected, done.unchanged, done.conflicts) == (1, 1, 1, ())
    assert [(d.row, d.deed) for d in queue.log()] == [
        (ROWS[0].id, "drop"), (ROWS[1].id, "drop"), (ROWS[0].id, "edit label"),
    ]  # fmt: skip
    log = queue.log()
    assert take(queue, path).unchanged == 2 and queue.log() == log
    path.write_bytes(sent)  # the older file once more: what it says was said before, and changed since
    done = take(queue, path)
    assert (done.written, done.unchanged, len(done.conflicts)) == (0, 1, 1) and queue.log() == log
    assert (
        " decided edit label at " in done.conflicts[0]
        and ", after having said that, and that stands" in done.conflicts[0]
    )


def test_a_file_does_not_undo_what_was_decided_in_the_walk_since(queue: Queue, sheet: tuple[Path, Fill]):
    path, fill = sheet
    who = "label-studio:10" if path.suffix == ".json" else "ann"
    fill(path, {ROWS[0].id: {"decision": "drop"}})
    take(queue, path)
    queue.decide([Answer(ROWS[0].id, "keep", who, seen=queue.item(ROWS[0].id).seen)])
    fill(path, {ROWS[0].id: {"decision": "drop"}, ROWS[1].id: {"decision": "drop"}})  # the file grew by a line
    done = take(queue, path)
    assert (done.written, done.corrected, len(done.conflicts)) == (1, 0, 1)
    assert queue.item(ROWS[0].id).decision.kind == "keep"


def test_one_bad_line_and_nothing_is_imported(queue: Queue, sheet: tuple[Path, Fill]):
    path, fill = sheet
    fill(path, {ROWS[0].id: {"decision": "drop"}, ROWS[1].id: {"decision": "dorp"}, ROWS[3].id: {"new_label": "crad"}})
    with pytest.raises(DataError) as caught:
        take(queue, path)
    places = {".jsonl": (2, 4), ".csv": (3, 5), ".json": ("task 2", "task 4")}[path.suffix]
    told = str(caught.value)
    assert told.startswith(f"2 lines of {path} cannot be imported, and nothing was: ")
    assert f"{path.name}:{places[0]}, 'decision': got 'dorp', expected keep, edit, drop, skip or nothing" in told
    assert "Did you mean 'drop'?" in told
    assert f"{path.name}:{places[1]}, 'new_label': got 'crad'" in told and "Did you mean 'card'?" in told
    assert queue.log() == []


def test_a_new_label_must_be_meant(queue: Queue, sheet: tuple[Path, Fill]):
    path, fill = sheet
    fill(path, {ROWS[0].id: {"new_label": "新类"}})
    with pytest.raises(DataError, match="Add --new-labels if it is a new class"):
        take(queue, path)
    assert take(queue, path, new_labels=True).written == 1


def test_rows_that_are_gone_are_passed_over_and_told(queue: Queue, reclean: Reclean, sheet: tuple[Path, Fill]):
    path, fill = sheet
    fill(path, {each.id: {"decision": "drop"} for each in ROWS[:5]})
    reclean(ROWS[1:], [doubt(each) for each in ROWS[1:5]])
    done = take(queue, path)
    assert (done.written, len(done.gone)) == (4, 1)
    other = row("of another set")
    reclean([other], [])
    queue.data.joinpath("review.sqlite").unlink()
    reclean([other], [doubt(other)])
    with pytest.raises(DataError, match=r"is not about this queue. Got \d rows, none of them in it"):
        take(queue, path)


@pytest.mark.parametrize("name", list(FORMATS))
def test_half_a_surrogate_pair_goes_out_and_comes_back(name: str, reclean: Reclean, tmp_path: Path):
    odd = row("a\ud800b", "x\udfff")
    queue = reclean([odd], [doubt(odd)])
    path = tmp_path / f"odd{FORMATS[name].suffix}"
    export_items(queue, path)
    FILLS[name](path, {odd.id: {"new_label": "x\\udfff", "new_text": "c"}})
    take(queue, path)
    assert dict(queue.log()[0].after) == {"text": "c"}


@pytest.mark.parametrize("name", list(FORMATS))
def test_conversations_carry_their_answer_as_the_label(name: str, reclean: Reclean, tmp_path: Path):
    talk = row("", None, messages=(Message("user", "why?"), Message("assistant", "because\nso")))
    queue = reclean([talk], [doubt(talk)])
    path = tmp_path / f"talk{FORMATS[name].suffix}"
    export_items(queue, path)
    if name == "label-studio":
        (task,) = json.loads(path.read_text("utf-8"))
        assert "predictions" not in task and 'name="new_label"' in path.with_suffix(".xml").read_text("utf-8")
        said = annotation({}) | {
            "result": [{"from_name": "new_label", "type": "textarea", "value": {"text": ["=new"]}}]
        }
        path.write_text(json.dumps([task | {"annotations": [said]}]), "utf-8")
    else:
        FILLS[name](path, {talk.id: {"new_label": "=new"}})
    take(queue, path)
    assert dict(queue.log()[0].after) == {"label": "=new"}


def test_stage_and_limit_choose_what_goes_out(reclean: Reclean, tmp_path: Path):
    queue = reclean(ROWS, [doubt(each) for each in ROWS[:3]] + [doubt(ROWS[4], "language")])
    assert export_items(queue, tmp_path / "a.jsonl", stage="language")[0] == 1
    assert export_items(queue, tmp_path / "a.jsonl", limit=2)[0] == 2
    with pytest.raises(DataError, match=r"No row waits because of 'langauge'. Allowed: language, outliers"):
        export_items(queue, tmp_path / "a.jsonl", stage="langauge")


def test_an_unknown_format_is_refused(queue: Queue, tmp_path: Path):
    with pytest.raises(RecipeError, match=r"Unknown format of .*xlsx. Got '.xlsx'. Allowed: jsonl"):
        export_items(queue, tmp_path / "a.xlsx")
    export_items(queue, tmp_path / "a.txt", format="csv")
    assert (tmp_path / "a.txt").read_bytes().startswith(b"\xef\xbb\xbfid,source,")


def test_a_folder_that_is_not_there_is_not_made(queue: Queue, tmp_path: Path):
    with pytest.raises(RunError, match=r"a\.csv cannot be written\. Got no folder .*/nix\. Correct the path"):
        export_items(queue, tmp_path / "nix" / "a.csv")
    assert not (tmp_path / "nix").exists()


# -- spreadsheets --------------------------------------------------------------------------------------------------


def test_no_cell_begins_like_a_formula(queue: Queue, tmp_path: Path):
    export_items(queue, tmp_path / "q.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "q.csv").read_bytes().decode("utf-8-sig"), newline="")))
    assert rows[0] == list(COLUMNS)
    cells = [cell for line in rows for cell in line if cell]
    assert len(cells) > 30
    assert [cell for cell in cells if cell[0] in "=+-@\t\r"] == []
    texts = {line[0]: (line[4], line[5]) for line in rows[1:]}
    assert texts["r" + ROWS[2].id] == ("'=cmd|' /C calc'!A0", "card")
    assert texts["r" + ROWS[4].id] == ("''=quoted", "'-1")


@given(st.text(alphabet="'=+-@\t\r\n＝a好", max_size=6))
def test_what_is_defused_is_restored(text: str):
    assert armed(defused(text)) == text
    assert not defused(text)[:1] or defused(text)[0] not in "=+-@\t\r\n＝＋－＠"


@pytest.mark.parametrize("typed", ["'tis", "''", "it's", "好'", ""])
def test_an_apostrophe_that_a_person_typed_stays(typed: str):
    assert armed(typed) == typed


NUMBERS = ["985187861930e035", "1234567812345678", "0000000000000012"]
"""Ids that a spreadsheet reads as a number."""


def numbered_queue(reclean: Reclean) -> Queue:
    """A queue of three rows whose ids are NUMBERS."""
    rows = [replace(each, id=number) for each, number in zip(ROWS, NUMBERS, strict=False)]
    return reclean(rows, [doubt(each) for each in rows])


def as_excel(cell: str) -> str:
    """A cell that looks like a number as Excel saves it again."""
    looks = re.fullmatch(r"[0-9]+(e[0-9]+)?", cell)
    return f"{float(cell):.5E}" if looks else cell


def through_excel(path: Path, **said: str) -> None:
    """The file as it is once somebody opened it there, filled in every line, and saved it."""
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    lines = [rows[0]] + [
        [said.get(name, as_excel(cell)) for name, cell in zip(rows[0], c, strict=True)] for c in rows[1:]
    ]
    file = io.StringIO(newline="")
    csv.writer(file).writerows(lines)
    path.write_bytes(file.getvalue().encode("utf-8-sig"))


def test_a_spreadsheet_takes_no_id_for_a_number(reclean: Reclean, tmp_path: Path):
    queue, path = numbered_queue(reclean), tmp_path / "q.csv"
    export_items(queue, path)
    through_excel(path, decision="drop")
    assert take(queue, path).written == 3
    assert sorted(decision.row for decision in queue.log()) == sorted(NUMBERS)
    found = [[item.row for item in queue.items(decided=True) if item.has(f"{mark}{NUMBERS[0]}")] for mark in ("r", "")]
    assert found == [[NUMBERS[0]], [NUMBERS[0]]]  # the walk finds it as either file writes it


def test_an_id_without_its_mark_is_read_too_and_one_that_was_rewritten_is_said_to_be(reclean: Reclean, tmp_path: Path):
    queue, path = numbered_queue(reclean), tmp_path / "q.csv"
    export_items(queue, path)  # as files were before ids had a mark
    path.write_bytes(re.sub(rb"(?m)^r(?=[0-9a-f]{16},)", b"", path.read_bytes()))
    assert path.read_bytes().count(b"\n" + NUMBERS[0].encode()) == 1
    before = path.read_bytes()
    through_excel(path, decision="drop")
    with pytest.raises(DataError) as caught:
        take(queue, path)
    assert "3 lines of " in str(caught.value) and "nothing was: " in str(caught.value)
    assert "'id': got '9.85188E+46', expected the row's id. A spreadsheet took it for a number" in str(caught.value)
    path.write_bytes(before.replace(b"card,,,", b"card,,drop,"))
    assert take(queue, path).written > 0


@pytest.mark.parametrize("cell", ["9.85188E+15", "9,85188E+15", "1.23456781234568E+015", "1234567812345670", "12"])
def test_a_number_is_no_row_that_left_the_queue(queue: Queue, tmp_path: Path, cell: str):
    path = tmp_path / "q.csv"
    path.write_text(f'id,decision\n"{cell}",keep\n{ROWS[0].id},keep\n', "utf-8")
    if re.fullmatch("[0-9a-f]{16}", cell):  # as likely the id of a row that is gone
        assert take(queue, path).gone == ("q.csv:2",)
        return
    with pytest.raises(DataError, match="A spreadsheet took it for a number: export again"):
        take(queue, path)
    assert queue.log() == []


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_no_byte_order_mark_are_read(queue: Queue, tmp_path: Path, delimiter: str):
    path = tmp_path / "q.csv"
    export_items(queue, path)
    fill_csv(path, {ROWS[1].id: {"new_text": "a;b\tc,d"}}, delimiter=delimiter, bom=False)
    take(queue, path)
    assert dict(queue.log()[0].after) == {"text": "a;b\tc,d"}


def test_line_ends_of_a_spreadsheet_are_no_change(queue: Queue, tmp_path: Path):
    path = tmp_path / "q.csv"
    export_items(queue, path)
    path.write_bytes(path.read_bytes().replace(b"not\narrive", b"not\r\narrive"))
    fill_csv(path, {ROWS[3].id: {"decision": "keep", "new_text": 'it did not\r\narrive; "really", they said \n'}})
    take(queue, path)
    assert queue.log()[0].kind == "keep"


def test_decisions_may_be_written_in_chinese(queue: Queue, sheet: tuple[Path, Fill]):
    path, fill = sheet
    said = [{"decision": "保留"}, {"decision": "修改", "new_text": "好"}, {"decision": "剔除"}, {"decision": "删除"}]
    fill(path, {each.id: what for each, what in zip(ROWS, [*said, {"decision": "跳过"}], strict=False)})
    take(queue, path)
    assert [d.kind for d in queue.log()] == ["keep", "edit", "drop", "drop", "skip"]


@pytest.mark.parametrize(
    ("said", "column", "says"),
    [
        ({"text": "where is my crad"}, "text", "Put the change into new_text"),
        ({"label": "转账"}, "label", "Put the change into new_label"),
        ({"decision": "edit"}, "decision", "'edit' without a new text or label"),
        ({"decision": "keep", "new_text": "x"}, "decision", "'keep' and a new_text"),
        ({"decision": "drop", "new_label": "转账"}, "decision", "'drop' and a new_label"),
        ({"new_text": "  "}, "new_text", "a blank"),
        ({"id": ""}, "id", "the row's id"),
    ],
)
def test_what_contradicts_itself_is_a_bad_line(
    queue: Queue, tmp_path: Path, said: dict[str, str], column: str, says: str
):
    path = tmp_path / "q.csv"
    export_items(queue, path)
    fill_csv(path, {ROWS[0].id: said})
    with pytest.raises(DataError) as caught:
        take(queue, path)
    assert f"q.csv:2, '{column}': got " in str(caught.value) and says in str(caught.value)


def test_a_line_is_named_by_where_it_begins(queue: Queue, tmp_path: Path):
    path = tmp_path / "q.csv"
    export_items(queue, path)  # the fourth row has a line break in its text
    fill_csv(path, {ROWS[4].id: {"decision": "?"}})
    with pytest.raises(DataError, match=r"q\.csv:7, 'decision'"):
        take(queue, path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("id;text\n".encode("utf-16"), "is not UTF-8 text.*CSV UTF-8"),
        (b"text,label\na,b\n", "has no column `id`. Got text, label"),
        (b"", "has no column `id`. Got an empty file"),
        (b"id,decision\nx,keep,spare\n", "q.csv:2: got 3 cells, expected 2"),
    ],
)
def test_files_that_are_no_sheet(queue: Queue, tmp_path: Path, content: bytes, says: str):
    (tmp_path / "q.csv").write_bytes(content)
    with pytest.raises(DataError, match=says):
        take(queue, tmp_path / "q.csv")


def test_a_missing_file_is_said_to_be_missing(queue: Queue, tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere.csv cannot be read"):
        take(queue, tmp_path / "nowhere.csv")


def test_a_column_that_was_taken_out_is_no_fault(queue: Queue, tmp_path: Path):
    (tmp_path / "q.csv").write_text(f"decision,id\nDROP ,{ROWS[0].id}\n,\n", "utf-8")
    assert take(queue, tmp_path / "q.csv").written == 1


@given(st.lists(st.tuples(st.text(min_size=1, max_size=8), st.sampled_from(["a", "=b", "好"])), min_size=1, max_size=4))
def test_any_text_comes_back_from_csv(pairs: list[tuple[str, str]]):
    from tuneloop.review.queue import Item

    items = [
        Item(str(n), ("f:1",), text, label, True, {}, (), (), 0.0, 1, None) for n, (text, label) in enumerate(pairs)
    ]
    lines, bad = read_csv(write_csv(items, []), "f.csv")
    assert bad == []
    expected = [(text.encode("utf-8", "backslashreplace").decode(), label) for text, label in pairs]
    assert [(line.values["text"], line.values["label"]) for line in lines] == expected


def test_bad_json_lines_are_named(queue: Queue, tmp_path: Path):
    lines = ["{", "[1]", json.dumps({"id": ROWS[0].id, "new_text": 3}), "", json.dumps({"id": ROWS[0].id})]
    read, bad = read_jsonl("\n".join(lines), "f.jsonl")
    assert [each.source for each in bad] == ["f.jsonl:1", "f.jsonl:2", "f.jsonl:3"]
    assert (bad[2].field, bad[2].got) == ("new_text", "3")
    assert [line.source for line in read] == ["f.jsonl:5"]


# -- Label Studio --------------------------------------------------------------------------------------------------


def test_tasks_are_what_label_studio_documents(reclean: Reclean, tmp_path: Path):
    queue = reclean(ROWS, [doubt(ROWS[0], "label_errors", 0.9, suggestion="转账"), doubt(ROWS[1])])
    count, files = export_items(queue, tmp_path / "tasks.json")
    assert (count, [path.name for path in files]) == (2, ["tasks.json", "tasks.xml"])
    first, second = json.loads(files[0].read_text("utf-8"))
    assert set(first) == {"data", "predictions"} and first["data"]["text"] == "where is my card"
    (prediction,) = first["predictions"]
    assert prediction["model_version"] == "tuneloop" and 0 < prediction["score"] <= 1
    assert prediction["result"] == [
        {"id": ROWS[0].id, "from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["转账"]}}
    ]
    assert second["predictions"][0]["result"][0]["value"] == {"choices": ["转账"]}  # its own, as nothing is suggested
    view = ET.fromstring(files[1].read_text("utf-8"))
    controls = {element.get("name"): element for element in view if element.get("name")}
    assert set(controls) == {"text", "label", "new_text", "decision", "comment"}
    assert all(element.get("toName") == "text" for name, element in controls.items() if name != "text")
    assert [choice.get("value") for choice in controls["label"]] == list(queue.labels())


def test_annotators_who_disagree_are_a_conflict_and_the_first_stands(queue: Queue, tmp_path: Path):
    path = tmp_path / "t.json"
    export_items(queue, path)
    tasks = json.loads(path.read_text("utf-8"))
    said = [
        annotation({"decision": "drop"}, {"id": 2, "email": "bo@x.cn"}, "2026-01-03T00:00:00Z"),
        annotation({"new_label": "转账"}, {"id": 1, "email": "an@x.cn"}, "2026-01-02T00:00:00Z"),
    ]
    path.write_text(json.dumps([tasks[0] | {"annotations": said}]), "utf-8")
    done = take(queue, path)
    assert (done.written, len(done.conflicts)) == (1, 1)
    assert "an@x.cn decided edit label" in done.conflicts[0]
    assert queue.log()[0].reviewer == "an@x.cn"


def test_of_an_annotator_who_went_back_to_a_row_the_last_answer_counts(queue: Queue, tmp_path: Path):
    path = tmp_path / "t.json"
    export_items(queue, path)
    tasks = json.loads(path.read_text("utf-8"))
    said = [
        annotation({"decision": "drop"}, made="2026-01-03T00:00:00Z"),
        annotation({"new_label": "转账"}, made="2026-01-02T00:00:00Z"),
    ]
    path.write_text(json.dumps([tasks[0] | {"annotations": said}]), "utf-8")
    assert (take(queue, path).written, [d.kind for d in queue.log()]) == (1, ["drop"])
    done = take(queue, path)
    assert (done.written, done.unchanged, done.conflicts) == (0, 1, ())


def test_two_lines_of_a_sheet_that_contradict_each_other_are_refused(queue: Queue, tmp_path: Path):
    path = tmp_path / "q.csv"
    path.write_text(f"id,decision\nr{ROWS[0].id},keep\n{ROWS[0].id},drop\n{ROWS[0].id},keep\n", "utf-8")
    with pytest.raises(
        DataError, match=r"q\.csv:3, 'decision': got 'drop', expected keep, as q\.csv:2 says of the same"
    ):
        take(queue, path)
    path.write_text(path.read_text("utf-8").replace("drop", "keep"), "utf-8")
    assert take(queue, path).written == 1


def test_a_cancelled_annotation_skips_and_a_drop_needs_no_label(queue: Queue, tmp_path: Path):
    path = tmp_path / "t.json"
    export_items(queue, path)
    tasks = json.loads(path.read_text("utf-8"))
    cancelled = annotation({}) | {"was_cancelled": True}
    both = annotation({"new_label": "转账", "decision": "drop", "comment": "广告"}, None)
    path.write_text(json.dumps([tasks[0] | {"annotations": [cancelled]}, tasks[1] | {"annotations": [both]}]), "utf-8")
    take(queue, path)
    assert [(d.kind, d.reviewer, d.comment) for d in queue.log()] == [
        ("skip", "label-studio:10", ""), ("drop", "ann", "广告"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "t.json is no JSON.*not JSON-MIN"),
        ('{"a": 1}', "is no list of tasks. Got dict"),
        ('[{"text": "a", "label": "b", "annotator": 1}]', "t.json:task 1: got KeyError: 'data'.*not JSON-MIN"),
        ('[{"data": {"text": "a"}, "annotations": []}]', "task 1: got ValueError: data has no id"),
        ("[1]", "task 1: got TypeError"),
    ],
)
def test_other_exports_of_label_studio_are_refused(queue: Queue, tmp_path: Path, content: str, says: str):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(DataError, match=says):
        take(queue, tmp_path / "t.json")
