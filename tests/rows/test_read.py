from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from tests.rows.conftest import Read, Write

from tuneloop.errors import DataError
from tuneloop.records import content_id
from tuneloop.rows.clean import clean_rows
from tuneloop.rows.read import read_questions, read_rows
from tuneloop.sections import Clean


def test_a_glob_reads_all_files_in_order(write: Write, read: Read) -> None:
    for name in ("b", "a"):
        write(f"{name}.jsonl", {"text": name, "label": "x"}, "broken")
    reading = read("*.jsonl")
    assert [row.source for row in reading.rows] == ["a.jsonl:1", "b.jsonl:1"]
    assert [bad.source for bad in reading.bad] == ["a.jsonl:2", "b.jsonl:2"]
    assert [(file.path, file.rows) for file in reading.files] == [("a.jsonl", 2), ("b.jsonl", 2)]


def test_ids_follow_the_content_alone(write: Write, read: Read) -> None:
    write("a.jsonl", {"text": "q", "label": "x", "more": 1}, {"text": "q", "label": "y"})
    write("b.jsonl", {"label": "x", "text": "q"})
    a, b, c = read("*.jsonl").rows
    assert a.id == c.id != b.id and a.id == content_id(a)


def test_no_usable_row_shows_the_first_bad_ones(write: Write, read: Read) -> None:
    with pytest.raises(DataError, match=r"no usable row.*2 bad rows.*a\.jsonl:1"):
        read(write("a.jsonl", "rubbish", "more rubbish"))
    with pytest.raises(DataError, match=r"no usable row.*'label': got empty"):
        read(write("a.jsonl", {"text": "q", "label": ""}))


@pytest.mark.parametrize(("several", "rows"), [(2, 3), (2, 20), (9, 90)])
def test_a_few_rows_with_several_labels_are_bad_rows(write: Write, read: Read, several: int, rows: int) -> None:
    good = [{"text": f"text {n}", "label": ["内科"] if n else "外科"} for n in range(rows - several)]
    odd = [{"text": f"odd {n}", "label": ["内科", "外科"]} for n in range(several)]
    reading = read(write("a.jsonl", *good, *odd))
    assert [row.labels for row in reading.rows] == [("外科",), *[("内科",)] * (len(good) - 1)]
    assert [bad.source for bad in reading.bad] == [f"a.jsonl:{len(good) + 1 + n}" for n in range(several)]
    assert "'内科', '外科'" in str(reading.bad[0]) and "one label a row" in str(reading.bad[0])
    found = clean_rows(reading.rows, reading.bad, clean=Clean(), parse=reading.parse)
    assert [item.reason for item in found.dropped] == ["label: expected one label a row"] * several


@pytest.mark.parametrize(("several", "rows"), [(3, 3), (3, 20), (10, 90)])
def test_a_set_of_rows_with_several_labels_is_refused(write: Write, read: Read, several: int, rows: int) -> None:
    good = [{"text": f"text {n}", "label": "a"} for n in range(rows - several)]
    name = write("a.jsonl", *good, *[{"text": f"odd {n}", "label": ["a", "b"]} for n in range(several)])
    with pytest.raises(DataError, match=rf"{several} of {rows} rows of a.jsonl have several labels.*Keep one label"):
        read(name)
    answers = [{"prompt": "p", "completion": "a", "label": ["a", "b"]}] * 9
    assert len(read(write("b.jsonl", *answers), task="generation").rows) == 9


def test_a_hub_id_without_a_network_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def no_network(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub (LocalEntryNotFoundError)")

    monkeypatch.setattr(datasets, "load_dataset", no_network)
    with pytest.raises(DataError, match=r"owner/name \(split test\) could not be loaded.*ConnectionError.*network"):
        read_rows("owner/name:test", folder=tmp_path, task="classification")


def test_a_hub_set_is_read_through_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[tuple[str, str]] = []

    def load(name: str, split: str) -> datasets.Dataset:
        asked.append((name, split))
        features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["card", "cash"])}
        return datasets.Dataset.from_list([{"text": "q", "label": 1}], features=datasets.Features(features))

    monkeypatch.setattr(datasets, "load_dataset", load)
    reading = read_rows("owner/name", folder=tmp_path, task="classification")
    assert asked == [("owner/name", "train")]
    assert [(r.source, r.text, r.label) for r in reading.rows] == [("owner/name:1", "q", "cash")]
    assert reading.files[0].path == "hub:owner/name:train" and len(reading.files[0].sha256) == 64


def test_questions_leave_answers_out(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    turns = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    ]
    (row,) = read_questions(Path(write("a.jsonl", {"messages": turns, "label": ""})))
    assert [(m.role, m.content) for m in row.messages] == [("system", "s"), ("user", "q")] and row.label is None
    columns = {"prompt": "text", "completion": "reply"}
    (row,) = read_questions(Path(write("a.jsonl", {"text": "q"})), columns=columns)
    assert (row.text, row.messages) == ("q", ())
    (row,) = read_questions(Path(write("a.csv", "topic,text", "x,q")), columns={"text": "text", "label": "category"})
    assert row.text == "q"
    assert [row.text for row in read_questions(Path(write("a.txt", "one, two", "", "three")))] == ["one, two", "three"]


def test_questions_refuse_what_cannot_be_answered(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"1 of 2 rows of a\.jsonl cannot be read.*a\.jsonl:2"):
        read_questions(Path(write("a.jsonl", {"text": "q"}, {"text": ""})))
    with pytest.raises(DataError, match=r"no column with a question.*utterance"):
        read_questions(Path(write("a.jsonl", {"utterance": "q"})))
    with pytest.raises(DataError, match="There is no file"):
        read_questions(Path("none.jsonl"))


def test_a_hundred_thousand_rows_would_read_in_seconds(tmp_path: Path, read: Read) -> None:
    lines = (json.dumps({"text": f"where is parcel {n}?", "label": f"l{n % 50}", "n": n}) for n in range(20_000))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    began = time.process_time()
    assert len(read("a.jsonl").rows) == 20_000
    assert time.process_time() - began < 2  # 0.4 s on the machine it was written on


@pytest.mark.parametrize(
    ("spec", "options", "format_name", "rows"),
    [
        ("banking77/train.csv", {}, "text + label: text + category", 10_003),
        ("sms_spam/sms_spam.jsonl", {}, "text + label", 5_574),
        ("smp2019_nlu/train.jsonl", {"columns": {"label": "domain"}}, "text + label: text + domain", 2_049),
        (
            "fewclue_tnews/test_public.json", {"columns": {"label": "label_desc"}},
            "text + label: sentence + label_desc", 2_010,
        ),
        (
            "r1_traces/traces.jsonl", {"task": "generation", "where": {"closed": True}},
            "prompt + completion: prompt + response", 284,
        ),
        ("gsm8k_train/train.jsonl", {"task": "generation"}, "prompt + completion: question + answer", 7_473),
        ("instruct_pref_demos/alpaca_zh_demo.json", {"task": "generation"}, "alpaca", 1_000),
        ("instruct_pref_demos/dpo_en_demo.json", {"task": "generation"}, "preference", 300),
        ("instruct_pref_demos/kto_en_demo.json", {"task": "generation"}, "messages", 300),
        ("instruct_pref_demos/glaive_toolcall_zh_demo.json", {"task": "generation"}, "sharegpt", 300),
    ],
)  # fmt: skip
def test_real_sets(
    shared_data: Path, read: Read, spec: str, options: dict[str, object], format_name: str, rows: int
) -> None:
    reading = read(spec, folder=shared_data, **options)
    assert (reading.format, len(reading.rows), reading.bad) == (format_name, rows, [])
