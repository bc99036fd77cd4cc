"""The dirt: each kind is what it says, the list is true, and the same seed gives the same lines."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import ftfy
import pytest
from benchmarks.dirt.__main__ import main
from benchmarks.dirt.broken_json import ESCAPES, OPERATORS, broken, line_of
from benchmarks.dirt.edits import joined, near_twin, words_of
from benchmarks.dirt.mojibake import mojibake, with_accents
from benchmarks.dirt.noise import NOISE, noise_rows
from benchmarks.dirt.plant import KINDS, Dirty, Rates, dirty_set, plant
from benchmarks.dirt.sentences import SENTENCES, sentences
from benchmarks.dirt.sets import distinct, made_up

from tuneloop.errors import DataError

ROWS = made_up(400)
CHINESE = [
    {"text": f"帮我{verb}一下{thing}{tail}", "label": label}
    for verb, label in (("打开", "app"), ("播放", "music"), ("查询", "search"), ("删除", "app"))
    for thing in ("微信", "天气预报", "北京的地图", "昨天的照片", "火车时刻表", "周杰伦的歌")
    for tail in ("", "谢谢", "好吗")
]


def planted(rates: Rates | None = None, seed: int = 0) -> Dirty:
    others = {"rhymes": [f"rhyme number {n}" for n in range(90)]}
    return plant(ROWS, others, tongue="en", rates=rates or Rates(), seed=seed)


def test_the_rates_are_those_of_the_figures_and_the_list_counts_them():
    dirty = planted()
    counts = Counter(one.kind for one in dirty.planted)
    assert counts == {
        "exact": 20, "near": 20, "broken_json": 20, "mojibake": 12, "off_topic": 20, "flipped": 20, "noise": 20,
    }  # fmt: skip
    assert tuple(counts) and set(counts) == set(KINDS)
    assert len(dirty.lines) == 400 + 20 + 20 + 20 + 20
    assert [one.line for one in dirty.planted] == sorted({one.line for one in dirty.planted}), "a line with two faults"


def test_the_list_is_true_and_all_other_lines_are_clean_and_in_order():
    dirty = planted()
    listed = {one.line: one for one in dirty.planted}
    rest = [json.loads(line) for number, line in enumerate(dirty.lines, 1) if number not in listed]
    texts = {row["text"]: place for place, row in enumerate(ROWS)}
    places = [texts[row["text"]] for row in rest]
    assert places == sorted(places) and all(row in ROWS for row in rest)
    for line, one in listed.items():
        text = dirty.lines[line - 1]
        if one.kind == "broken_json":
            assert one.before in ROWS and one.after == one.before and one.how in OPERATORS
            with pytest.raises(ValueError):
                json.loads(text)
            continue
        assert json.loads(text) == one.after
        if one.kind in ("exact", "near"):
            original = json.loads(dirty.lines[one.of - 1])
            assert one.of not in listed and original["label"] == one.after["label"]
            assert (original["text"] == one.after["text"]) is (one.kind == "exact")
        elif one.kind == "flipped":
            assert one.before in ROWS and one.after["text"] == one.before["text"] and one.after["label"] == one.how
            assert one.how != one.before["label"] and one.how in {row["label"] for row in ROWS}
        elif one.kind == "mojibake":
            assert (
                one.before is not None and not one.before["text"].isascii() and one.before["text"] != one.after["text"]
            )
        else:
            assert one.before is None and one.after not in ROWS and one.after["label"] in {r["label"] for r in ROWS}


def test_the_seed_decides_all_of_it():
    assert planted() == planted() and planted(seed=1).lines != planted().lines


def test_a_kind_that_is_left_out_leaves_no_trace():
    dirty = planted(Rates().only("flipped", "noise"))
    assert {one.kind for one in dirty.planted} == {"flipped", "noise"}
    assert planted(Rates().times(0.0)) == Dirty([line_of(row) for row in ROWS], [])
    assert asdict(Rates().times(2))["near"] == 0.1


@pytest.mark.parametrize("language", ["en", "zh"])
def test_mojibake_is_what_ftfy_mends(language: str):
    rows = ROWS if language == "en" else CHINESE
    for number, row in enumerate(rows[:60]):
        text = with_accents(row["text"], random.Random(number)) if language == "en" else row["text"]
        assert not text.isascii()
        for encoding in ("cp1252", "latin-1"):
            assert mojibake(text, encoding) != text
    assert ftfy.fix_text(mojibake("naïve café", "latin-1")) == "naïve café"
    assert mojibake("é“", "cp1252") == "Ã©â€œ" and mojibake("Ý", "cp1252") == "Ã\x9d"


@pytest.mark.parametrize("how", OPERATORS)
def test_a_broken_line_is_broken_and_its_content_stays(how: str):
    for number, row in enumerate([*ROWS[:30], {"text": 'it\'s "so" \\ far\n好', "label": "l'a"}]):
        line = broken(row, how, random.Random(number))
        with pytest.raises(ValueError):
            json.loads(line)
        for word in row["text"].replace('"', " ").replace("\\", " ").replace("'", " ").split():
            assert all(part in line.replace("\\", "") for part in word.split("\n"))


def test_the_operators_do_what_they_say():
    row = {"text": "zig zag", "label": "x"}
    lines = {how: {broken(row, how, random.Random(seed)) for seed in range(60)} for how in OPERATORS}
    assert lines["cut"] == {'{"text": "zig zag", "label": "x"', '{"text": "zig zag", "label": "x'}
    assert lines["single_quotes"] == {"{'text': 'zig zag', 'label': 'x'}"}
    assert lines["trailing_comma"] == {'{"text": "zig zag", "label": "x",}', '{"text": "zig zag", "label": "x", }'}
    assert '{text: "zig zag", "label": "x"}' in lines["unquoted_key"] and len(lines["unquoted_key"]) == 3
    assert '{"text": "zig zag", "label": "x" /* checked */}' in lines["stray_comment"]
    assert '{"text": "zig \\zag", "label": "x"}' in lines["backslash"] and len(lines["backslash"]) == 6
    assert all(f"\\{letter}" not in line for line in lines["backslash"] for letter in ESCAPES)
    assert len(OPERATORS) == 6


def test_near_twins_have_one_to_three_word_edits():
    vocabulary = ["alpha", "beta"]
    for number, row in enumerate(ROWS):
        found = near_twin(row["text"], vocabulary, random.Random(number))
        assert found is not None
        twin, edits = found
        assert twin != row["text"] and 1 <= edits <= 3 and edits <= max(1, len(row["text"].split()) // 3)
        changed = Counter(twin.split()) - Counter(row["text"].split())
        assert sum(changed.values()) <= edits and abs(len(twin.split()) - len(row["text"].split())) <= edits
    assert near_twin("too short here", vocabulary, random.Random(0)) is None


def test_chinese_twins_are_cut_by_words_and_have_no_blanks():
    words = words_of("帮我打开北京的地图")
    assert "".join(words) == "帮我打开北京的地图" == joined(words, "帮我打开北京的地图") and 3 < len(words) < 9
    twin = near_twin("帮我打开北京的地图", ["天气"], random.Random(1))
    assert twin is not None and " " not in twin[0] and twin[0] != "帮我打开北京的地图"


@pytest.mark.parametrize(("rows", "language"), [(ROWS, "en"), (CHINESE, "zh")])
def test_noise_is_a_third_of_each_kind_and_all_different(rows: list[dict[str, str]], language: str):
    texts = [row["text"] for row in rows]
    found = noise_rows(texts, language, 300, random.Random(0))
    assert len({text for text, _ in found}) == 300 and not {text for text, _ in found} & set(texts)
    assert Counter(how.split("/")[0] for _, how in found) == dict.fromkeys(NOISE, 100)
    makers = {maker.__name__ for makers in NOISE.values() for maker in makers}
    assert {how.split("/")[1] for _, how in found} == makers
    wrong = [text for text, how in found if how.startswith("wrong")]
    own = set(sentences(language))
    assert not any(sentence in text for text in wrong for sentence in own)


def test_there_are_twenty_sentences_of_each_language():
    assert len(SENTENCES) == 7 and all(len(set(sentences(name))) == 20 for name in SENTENCES)


def test_the_same_row_counts_once():
    row = {"text": "a", "label": "x"}
    assert distinct([row, {"text": "a ", "label": "x"}, {"text": "a", "label": "y"}, {"text": " ", "label": "x"}]) == [
        row, {"text": "a", "label": "y"},
    ]  # fmt: skip


def test_the_command_writes_the_four_files_and_refuses_a_folder_of_others(tmp_path: Path):
    out = tmp_path / "dirt"
    arguments = ["--set", "made_up", "--seed", "3", "--rows", "60", "--times", "2", "--out", str(out)]
    assert main(arguments) == 0 and main(arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == ["clean.jsonl", "dirt.json", "planted.jsonl", "rows.jsonl"]
    told = json.loads((out / "dirt.json").read_text(encoding="utf-8"))
    lines = (out / "rows.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    listed = [json.loads(line) for line in (out / "planted.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert told["lines"] == len(lines) == 60 + 4 * 6 and told["planted"]["noise"] == 6 and told["seed"] == 3
    assert len(listed) == sum(told["planted"].values()) and told["command"].startswith(
        "python -m benchmarks.dirt --set"
    )
    assert (out / "clean.jsonl").read_text(encoding="utf-8").count("\n") == 60
    (out / "mine.txt").write_text("x")
    assert main(arguments) == 1 and (out / "mine.txt").exists()


def test_what_cannot_be_planted_is_told():
    with pytest.raises(DataError, match="two faults"):
        planted(Rates(flipped=0.6, broken_json=0.6))
    with pytest.raises(DataError, match="two or more"):
        plant([{"text": "a b c d", "label": "x"}] * 30, {}, tongue="en", rates=Rates().only("flipped"), seed=0)
    with pytest.raises(DataError, match="none was given"):
        plant(ROWS, {}, tongue="en", rates=Rates(), seed=0)
    with pytest.raises(DataError, match="too few rows to give off-topic"):
        plant(ROWS, {"few": ["a", "b"]}, tongue="en", rates=Rates(), seed=0)
    with pytest.raises(DataError, match="Too few rows"):
        plant([{"text": "a b", "label": "x"}] * 30, {}, tongue="en", rates=Rates().only("near"), seed=0)


def test_a_missing_set_names_what_to_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TUNELOOP_DATA", "/nowhere")
    with pytest.raises(DataError, match="TUNELOOP_DATA=/folder"):
        dirty_set("banking77", seed=0, rates=Rates())
    with pytest.raises(DataError, match="No such set"):
        dirty_set("banking78", seed=0, rates=Rates())


@pytest.mark.parametrize("name", ["banking77", "smp2019_nlu"])
def test_real_sets_get_all_kinds(name: str, shared_data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TUNELOOP_DATA", str(shared_data))
    clean, dirty = dirty_set(name, seed=5, rates=Rates(), rows=600, fewest=5)
    assert len(clean) == 600 and min(Counter(row["label"] for row in clean).values()) >= 1
    counts = Counter(one.kind for one in dirty.planted)
    assert counts["mojibake"] == 18 and all(counts[kind] == 30 for kind in KINDS if kind != "mojibake")
    assert len({one.how for one in dirty.planted if one.kind == "off_topic"}) == 3
