"""The page: whole, safe, honest about what is absent, in both languages and for both tasks."""

import json
import re

import polars as pl
import pytest
from tests.report.reader import Reader, read_page

from tuneloop.errors import RunError
from tuneloop.recipe import recipe_from_tree
from tuneloop.records import Row
from tuneloop.report.page import write_report
from tuneloop.report.tables import DASH
from tuneloop.report.words import WORDS
from tuneloop.rows.table import write_rows
from tuneloop.runs import RunFolder


def read(run) -> Reader:
    return read_page(write_report(run).read_text(encoding="utf-8"))


def change(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | entries), encoding="utf-8")


@pytest.mark.parametrize("task", ["classification", "generation"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_section_is_there(make_run, task, lang):
    reader, words = read(make_run(task=task, lang=lang)), WORDS[lang]
    heads = ["scores", "differences", "learning", "samples", "speed", "saved", "data", "recipe", "provenance"]
    heads += (
        ["per_class", "confusion", "calibration", "untuned_prompt"]
        if task == "classification"
        else ["thinking", "loss"]
    )
    missing = [key for key in heads if words[key] not in reader.text]
    assert not missing
    assert ("lang", words["html_lang"]) in reader.attributes


def test_language_follows_the_data_when_the_recipe_leaves_it_open(make_run):
    run = make_run(lang="auto")
    assert ("lang", "en") in read(run).attributes
    change(run.data / "report.json", language="zh")
    assert ("lang", "zh-CN") in read(run).attributes


@pytest.mark.parametrize(("texts", "lang"), [(["卡丢了", "额度", "hi"], "zh-CN"), (["卡丢了", "lost", "hi"], "en")])
def test_language_is_that_of_most_training_rows(make_run, texts, lang):
    run = make_run(lang="auto")
    report = json.loads((run.data / "report.json").read_text(encoding="utf-8"))
    del report["language"]
    (run.data / "report.json").write_text(json.dumps(report), encoding="utf-8")
    write_rows(run.data / "train.parquet", [Row(id=text, source="x:1", text=text, label="a") for text in texts])
    assert ("lang", lang) in read(run).attributes


def test_the_page_needs_nothing_from_outside_and_runs_nothing(make_run):
    run = make_run()
    reader, text = read(run), run.report.read_text(encoding="utf-8")
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name in ("src", "href", "srcset") or name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_of_the_rows_is_a_step_away_where_there_is_one(make_run, lang):
    run = make_run(lang=lang)
    assert WORDS[lang]["rows_page"] not in read(run).text
    run.data_page.write_text("<!doctype html>", encoding="utf-8")
    reader = read(run)
    assert [value for name, value in reader.attributes if name == "href"] == ["data/report.html"]
    assert WORDS[lang]["rows_page"] in reader.text


ATTACK = "</span><script>alert(1)</script><img src=x onerror=alert(2)> & \x07"


def test_what_users_wrote_is_text(make_run):
    run = make_run()
    table = pl.read_parquet(run.predictions).with_columns(text=pl.lit(ATTACK), expected=pl.lit(f"<b>{ATTACK}"))
    table.write_parquet(run.predictions)
    scores = json.loads(run.scores.read_text(encoding="utf-8"))
    scores["data"]["name"] = scores["template_hash"] = ATTACK
    for entry in scores["models"].values():
        entry["backend"] = entry["prompt"] = ATTACK
        entry["per_class"] = {ATTACK: {"f1": 0.5, "support": 3}}
    scores["models"][ATTACK] = scores["models"].pop("encoder")
    change(run.scores, **scores)
    data = {"format": ATTACK, "warnings": [ATTACK], "bad": [ATTACK], "files": [{"path": ATTACK, "sha256": "0"}]}
    change(run.data / "report.json", **data)
    change(run.model / "args.json", base={"name_or_path": ATTACK, "sha256": ATTACK})
    run.record(ATTACK, note=ATTACK)
    run.recipe.write_text(
        run.recipe.read_text(encoding="utf-8").replace("https://example.org/rows", "<script>1</script>")
    )
    reader = read(run)
    assert not {"script", "img"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name.startswith("on")]
    assert sum("<script>alert(1)</script>" in text for text in reader.text) >= 10


def test_a_figure_that_is_absent_is_never_a_zero(make_run):
    run = make_run()
    scores = json.loads(run.scores.read_text(encoding="utf-8"))
    for entry in scores["models"].values():
        for key in ("latency_ms", "throughput", "peak_memory_mb", "calibration", "prompt"):
            entry.pop(key, None)
    del scores["models"]["floor"]["metrics"]["macro_f1"]
    scores["saved_against_full"] = {"flops": 0.3}
    run.scores.write_text(json.dumps(scores), encoding="utf-8")
    reader = read(run)
    words = WORDS["en"]
    assert words["speed"] not in reader.text
    assert words["calibration"] not in reader.text
    assert words["untuned_prompt"] not in reader.text
    assert reader.text.count(words["not_measured"]) == 3
    assert "30% less" in reader.text
    assert not [text for text in reader.text if text in ("0.0%", "0 MB", "0.00", "None", "nan")]


@pytest.mark.parametrize(("lang", "says"), [("en", "Encoder left out: <2 words>"), ("zh", "缺少编码器：<2 words>")])
def test_a_model_that_was_not_asked_is_named_with_the_reason(make_run, lang, says):
    run = make_run(lang=lang)
    assert says not in read(run).text
    change(run.scores, absent={"encoder": "<2 words>"})
    assert says in read(run).text


def test_a_percentile_of_too_few_queries_is_a_dash(make_run):
    run = make_run()
    before = read(run).text
    scores = json.loads(run.scores.read_text(encoding="utf-8"))
    scores["models"]["tuned"]["latency_ms"] = {"p50": 21.0, "n": 5}
    run.scores.write_text(json.dumps(scores), encoding="utf-8")
    after = read(run).text
    assert ("29.4" in before and "39.9" in before) and not {"29.4", "39.9"} & set(after)  # 1.4 and 1.9 times the p50
    assert after.count(DASH) == before.count(DASH) + 2


def test_a_run_that_has_only_its_recipe_has_a_page(tmp_path):
    run = RunFolder(tmp_path / "bare")
    run.path.mkdir()
    run.save_recipe(
        recipe_from_tree({"name": "bare", "model": {"name_or_path": "m"}, "data": {"train": "x.jsonl"}}, "x")
    )
    reader = read(run)
    assert WORDS["en"]["not_measured_yet"] in reader.text
    assert WORDS["en"]["scores"] not in reader.text


def test_figures_stand_as_they_were_scored(make_run):
    run = make_run()
    scores = json.loads(run.scores.read_text(encoding="utf-8"))
    figure = scores["models"]["tuned"]["metrics"]["accuracy"]
    text = read(run).text
    assert f"{100 * figure['value']:.1f}%" in text
    assert f"[{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]" in text
    assert "Rows that could not be read (14)" in text
    assert "58 / 181 / 402" in text
    assert "99.3% less" in text  # saved parameters
    for reason, count in (("exact duplicate", "38"), ("broken JSON", "14"), ("empty text", "9")):
        assert text[text.index(f"{WORDS['en']['rows_dropped']}: {reason}") + 1] == count


def test_many_classes_fold_and_list_their_confused_pairs(make_run):
    run = make_run(classes=77)
    reader = read(run)
    folded = next(int(found[1]) for text in reader.text if (found := re.fullmatch(r"(\d+) more classes", text)))
    drawn = re.findall(r'<span class="bar-name" title="(\w+)">', run.report.read_text(encoding="utf-8"))
    assert len(drawn) == len(set(drawn)) == 30 + folded
    assert WORDS["en"]["confused_pairs"] in reader.text


def test_a_class_tells_its_figures_with_their_intervals(make_run):
    run = make_run()
    scores = json.loads(run.scores.read_text(encoding="utf-8"))
    classes = scores["models"]["tuned"]["per_class"]
    first, second = sorted(classes)[:2]
    for key in ("precision", "precision_low", "precision_high"):
        del classes[first][key]  # never predicted
    for key in [key for key in classes[second] if key.endswith(("_low", "_high"))]:
        del classes[second][key]  # scores that had no intervals yet
    run.scores.write_text(json.dumps(scores), encoding="utf-8")
    titles = [value for name, value in read(run).attributes if name == "title"]
    for label, figures in classes.items():
        told = [f"{name} {100 * figures[name]:.1f}%" for name in ("precision", "recall", "f1") if name in figures]
        assert len(told) == (2 if label == first else 3)
        if label != second:
            names = [entry.split()[0] for entry in told]
            ends = [f"[{100 * figures[f'{n}_low']:.1f}, {100 * figures[f'{n}_high']:.1f}]" for n in names]
            told = [f"{entry} {end}" for entry, end in zip(told, ends, strict=True)]
        assert f"{label}: {' · '.join(told)}" in titles


def test_samples_are_those_that_tell_most(make_run):
    run = make_run()
    rows = [
        {"id": str(i), "text": f"question {i}", "expected": "a", "tuned_predicted": said, "tuned_confidence": sure,
         "floor_predicted": floor, "untuned_predicted": None}
        for i, (said, sure, floor) in enumerate(
            [("a", 0.9, "a")] * 6 + [("a", 0.6, "b"), ("b", 0.99, "a"), ("b", 0.4, "a")])
    ]  # fmt: skip
    pl.DataFrame(rows).write_parquet(run.predictions)
    asked = [text for text in read(run).text if text.startswith("question ")]
    assert asked[0] == "question 6"  # only the tuned model was right
    assert asked[4:6] == ["question 7", "question 8"]  # the surest mistake first


def test_reasoning_is_folded_and_an_open_one_is_said(make_run):
    run = make_run(task="generation", skill={"tuned": 0.6})
    reader = read(run)
    assert reader.tags.count("details") > 5
    assert WORDS["en"]["unfinished"] in reader.text
    assert not [text for text in reader.text if "<think>" in text and "customer" in text]


def test_training_curve_takes_the_newest_line_of_a_step(make_run):
    run = make_run()
    with open(run.log, "a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 140, "stage": 3, "validation_loss": 0.001}) + "\n")
        file.write('{"step": 160, "val')  # a killed run's last line
    assert "best 0.001" in read(run).text


def test_a_broken_file_is_an_error_that_names_it(make_run):
    run = make_run()
    run.scores.write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"scores\.json"):
        write_report(run)


def test_the_same_run_gives_the_same_page(make_run):
    run = make_run()
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


AUGMENT = {
    "rows": 1000, "epochs": 1, "changed": 0.4, "changed_words": 0.1, "methods": {"synonyms": 300, "paraphrase": 150},
    "variants": {"paraphrase": 700, "masked_lm": 650}, "added": 650,
    "skipped": {"paraphrase: HTTP 500": 3, "paraphrase: the same text": 120, "masked_lm: the same text": 9},
    "samples": [
        {"method": "paraphrase+noise", "row": "a", "before": "where is [[my]] card", "after": "where [[<b>has]] card"},
        {"method": "masked_lm", "row": "b", "before": "我的[[手机]]坏了", "after": "我的[[电脑]]坏了"},
    ],
}  # fmt: skip
METHODS = {"synonyms": {}, "paraphrase": {}, "masked_lm": {"name_or_path": "m", "use": "append"}}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_augmentation_tells_methods_counts_cost_and_marked_samples(make_run, lang):
    run, words = make_run(lang=lang), WORDS[lang]
    assert words["wordings"] not in read(run).text
    recipe = run.load_recipe().model_dump() | {
        "augment": METHODS,
        "teacher": {"base_url": "http://x/v1", "model": "t9"},
    }
    run.save_recipe(recipe_from_tree(recipe, "fake"))
    run.augmentation.write_text(json.dumps(AUGMENT), encoding="utf-8")
    tally = {"questions": 1234, "prompt_tokens": 56789, "completion_tokens": 4321, "unanswered": {"HTTP 500": 3}}
    run.record("augment", key="k", teacher=tally | {"model": "t9"})
    text = read(run).text
    told = text[text.index(words["wordings"]) : text.index(words["recipe"])]
    for name, how, rows, not_used in (
        ("synonyms", "how_drawn", "30.0%", []), ("masked_lm", "how_appended", "650", ["the same text: 9"]),
        ("paraphrase", "how_swapped", "700 · 15.0%", ["HTTP 500: 3", "the same text: 120"]),
    ):  # fmt: skip
        place = told.index(words[name])
        assert told[place + 1 : place + 3 + len(not_used)] == [words[how], rows, *not_used]
    assert words["teacher_cost"].format(
        model="t9", questions="1,234", missing="3", prompt_tokens="56,789", completion_tokens="4,321"
    ) in told  # fmt: skip
    assert f"{words['paraphrase']} + {words['noise']}" in told and "40.0%" in "".join(told)
    page = run.report.read_text(encoding="utf-8")
    assert "<mark>my</mark>" in page and "<mark>&lt;b&gt;has</mark>" in page and "我的<mark>电脑</mark>坏了" in page


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_says_how_many_labels_are_kept_and_who_judged(make_run, lang):
    run, words = make_run(lang=lang), WORDS[lang]
    run.save_recipe(recipe_from_tree(run.load_recipe().model_dump() | {"augment": {"synonyms": {}}}, "fake"))
    run.augmentation.write_text(json.dumps(AUGMENT), encoding="utf-8")
    assert not [part for part in read(run).text if "TF-IDF" in part and words["wordings_labels"][:4] in part]
    labels = {"judged": 990, "kept": 941, "share": 0.950505, "changed": 400, "changed_kept": 351, "lost": []}
    run.augmentation.write_text(json.dumps(AUGMENT | {"labels": labels}), encoding="utf-8")
    told = words["wordings_labels"].format(judged="990", kept="941", share="95.1%", changed="400", changed_kept="351")
    assert told in read(run).text
    none = labels | {"judged": 0, "kept": 0, "share": None, "changed": 0, "changed_kept": 0}
    run.augmentation.write_text(json.dumps(AUGMENT | {"labels": none}), encoding="utf-8")
    assert words["wordings_unjudged"] in read(run).text


def test_without_a_teacher_or_a_method_that_is_made_there_is_no_cost(make_run):
    run = make_run(lang="en")
    run.save_recipe(recipe_from_tree(run.load_recipe().model_dump() | {"augment": {"synonyms": {}}}, "fake"))
    told = AUGMENT | {"methods": {"synonyms": 300}, "variants": {}, "skipped": {}, "samples": []}
    run.augmentation.write_text(json.dumps(told), encoding="utf-8")
    text = read(run).text
    assert "drawn anew each epoch" in text and "30.0%" in text and WORDS["en"]["wordings_samples"] not in text
    assert not [part for part in text if "teacher" in part and "questions" in part]


@pytest.mark.parametrize(
    ("lang", "told"),
    [
        (
            "en",
            ["2 texts stand in both validation and test", "a.jsonl:3: got '[1]', expected a JSON object with named"],
        ),
        ("zh", ["2 个文本同时出现在验证集和测试集中", "训练集：a.jsonl:3 实际为 '[1]'，应为带列名的 JSON 对象"]),
    ],
)
def test_warnings_and_bad_rows_are_in_the_language_of_the_page(make_run, lang, told):
    run = make_run(lang=lang)
    change(
        run.data / "report.json",
        warnings=["2 texts stand in both validation and test"],
        bad=["train: a.jsonl:3: got '[1]', expected a JSON object with named columns. Write it as an object"],
    )
    text = " ".join(read(run).text)
    assert [words for words in told if words not in text] == []
