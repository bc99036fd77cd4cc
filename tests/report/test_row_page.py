"""The page of rows: every reason with its examples, the report's own numbers, safe, small, the same each time."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.reader import body_of, read_page, text_of

import tuneloop
from tuneloop.errors import DataError
from tuneloop.recipe import Recipe, load_recipe
from tuneloop.records import Doubt, Dropped, Repair, Row
from tuneloop.report import row_page
from tuneloop.report.row_examples import difference, merged
from tuneloop.report.row_page import page_key, rows_page
from tuneloop.report.row_reasons import in_chinese
from tuneloop.report.row_story import EXAMPLES, REASONS, content_of_dropped, spread, tell_rows
from tuneloop.report.row_words import ROW_WORDS
from tuneloop.review.content import content_of
from tuneloop.review.log import Decision
from tuneloop.rows.funnel import reasons_of
from tuneloop.rows.prepare import prepare_rows

SHIPPED = Path(tuneloop.__file__).parent / "templates" / "customer_service" / "recipe.yaml"
ALL_STAGES = [
    "clean.relevance=off", "clean.outliers={}", "clean.label_errors=true", "clean.lengths=true",
    "clean.language=true", "clean.personal_data=true", "clean.near_duplicates.threshold=0.6",
]  # fmt: skip
MOJIBAKE = "cafÃ© {} at the corner"


def asked(lang="en", **clean) -> Recipe:
    data = {"train": "train.jsonl", "validation": "held.jsonl", "test": "held.jsonl"}
    tree = {"name": "x", "task": {"type": "classification"}, "model": {"name_or_path": "m"}, "data": data}
    return Recipe.model_validate(tree | {"clean": clean, "report": {"lang": lang}})


def words(number: int) -> str:
    return f"question {number * 7919 % 10007} about topic {number * 104729 % 9973}"


def write(folder: Path, *rows) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "held.jsonl").write_text(json.dumps({"text": "held out", "label": "a"}) + "\n", encoding="utf-8")


def plain_rows(count=30) -> list[dict]:
    return [{"text": words(n), "label": "ab"[n % 2]} for n in range(count)]


@pytest.fixture(scope="module")
def shipped():
    """The shipped rows with every stage on, and what asked for it."""
    recipe = load_recipe(SHIPPED, ALL_STAGES)
    return prepare_rows(recipe, SHIPPED.parent), recipe


@pytest.fixture
def dirty(tmp_path):
    """Thirteen of most faults, on purpose more than ten."""
    twice = [{"text": words(n), "label": "ab"[n % 2]} for n in range(13)]
    broken = ["{" + f'"text": "mend me {n} {words(n + 100)}", "label": "a",' + "}" for n in range(13)]
    lost = [f"rubbish {n}" for n in range(13)]
    empty = [{"text": "", "label": "a", "n": n} for n in range(13)]
    odd = [{"text": MOJIBAKE.format(words(n + 50)), "label": "b"} for n in range(13)]
    write(tmp_path, *plain_rows(), *twice, *broken, *lost, *empty, *odd, {"text": "Held out", "label": "a"})
    return prepare_rows(asked(), tmp_path)


def groups(page: str) -> list[tuple[str, int, int]]:
    """(title, rows, examples) of each reason's examples."""
    found = []
    for node in body_of(page).iter("div"):
        if node.get("class") == "reason":
            rows = text_of(node.find("h3/small"))
            count = int(re.search(r"[\d,]+", rows)[0].replace(",", ""))
            found.append((text_of(node.find("h3")), count, sum(one.tag == "article" for one in node.iter())))
    return found


# -- examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_reason_has_its_examples_and_no_more_than_ten(shipped, lang):
    prepared, recipe = shipped
    report = prepared.report
    counts = [n for side in report["counts"].values() for n in side["dropped"].values()]
    counts = [*counts, *report["repairs"].values(), *report["waiting"].values()]
    assert len(counts) >= 15
    page = rows_page(prepared, recipe.model_copy(update={"report": recipe.report.model_copy(update={"lang": lang})}))
    found = groups(page)
    assert sorted(rows for _, rows, _ in found) == sorted(counts)
    assert [shown for _, _, shown in found] == [min(rows, EXAMPLES) for _, rows, _ in found]


def test_the_chinese_page_tells_every_reason_and_warning_in_chinese(shipped):
    prepared, recipe = shipped
    said = {item.reason for item in prepared.dropped} | {doubt.reason for doubt in prepared.doubts}
    said |= set(prepared.report["warnings"])
    assert len(said) > 40
    assert [text for text in said if in_chinese(text) == text] == []
    chinese = recipe.model_copy(update={"report": recipe.report.model_copy(update={"lang": "zh"})})
    pages = {lang: rows_page(prepared, one) for lang, one in (("en", recipe), ("zh", chinese))}
    phrases = ("unlike the rest", "says the same as", "fits better", "cut off", "expected ", "also stand")
    told = {lang: [phrase for phrase in phrases if phrase in text_of(body_of(pages[lang]))] for lang in pages}
    assert len(told["en"]) >= 6 and told["zh"] == []


def test_the_first_ten_are_not_all_there_is(dirty):
    found = dict((title, (rows, shown)) for title, rows, shown in groups(rows_page(dirty, asked())))
    assert {rows for rows, _ in found.values()} == {13, 1}
    assert {shown for _, shown in found.values()} == {10, 1}
    sources = [node.text for node in body_of(rows_page(dirty, asked())).iter("p") if node.get("class") == "where"]
    lines = [int(source.split(":")[1].split()[0]) for source in sources if source.startswith("train.jsonl:")]
    assert {31, 43, 57, 69} <= set(lines)  # the first and the last duplicate, the first and the last line of rubbish


def test_reasons_name_the_numbers_of_the_report_and_lead_to_their_examples(dirty):
    page = rows_page(dirty, asked())
    table = next(node for node in body_of(page).iter("div") if "reasons" in (node.get("class") or "").split())
    lines = [[text_of(cell) for cell in row] for row in table.find("table/tbody")]
    links = [node.get("href") for node in table.iter("a")]
    places = {node.get("id") for node in body_of(page).iter() if node.get("id")}
    assert len(links) == len(lines) == 6 and {link[1:] for link in links} == places
    side = dirty.report["counts"]["train"]
    assert [int(line[3]) for line in lines] == [*side["dropped"].values(), *dirty.report["repairs"].values()]
    assert lines[0][4] == f"{13 / side['in']:.1%}"


def test_the_funnel_has_every_count_of_the_report(dirty):
    page = rows_page(dirty, asked())
    train, validation, test = (node for node in body_of(page).iter("div") if node.get("class") == "funnel")
    side = dirty.report["counts"]["train"]
    told = [int(text_of(node).split()[0]) for node in train.iter("span") if node.get("class") == "bar-value"]
    assert told == [side["in"], side["repaired"], *side["dropped"].values(), side["kept"]]
    bars = [list(node.iter("rect"))[1] for node in train.iter("svg")][2:]
    ends = [(float(bar.get("x")[:-1]), float(bar.get("x")[:-1]) + float(bar.get("width")[:-1])) for bar in bars]
    assert len(ends) == 5 and ends[0][1] == pytest.approx(100, abs=0.05) and ends[-1][0] == 0
    assert [after[1] == pytest.approx(before[0], abs=0.4) for before, after in pairwise(ends)] == [True] * 4  # no gap
    assert ends[-1][1] == pytest.approx(100 * side["kept"] / side["in"], abs=0.05)
    assert [text_of(one).count("1 100.0%") for one in (validation, test)] == [1, 1]  # nothing went: one line
    assert f"{side['kept']} of {side['in']} training rows are kept" in page


def test_one_row_of_many_is_never_no_share(dirty):
    report = json.loads(json.dumps(dirty.report))
    side = report["counts"]["train"]
    side["in"], side["kept"] = side["in"] + 10_000, side["kept"] + 10_000
    page = rows_page(replace(dirty, report=report), asked())
    assert "&lt; 0.1%" in page and "0.0%" not in page.replace("100.0%", "")


def test_answers_are_called_answers(tmp_path):
    rows = [{"prompt": words(n), "completion": f"so {words(n + 200)}"} for n in range(30)]
    lines = "".join(json.dumps(row) + "\n" for row in [*rows, rows[0]])
    (tmp_path / "train.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "held.jsonl").write_text(json.dumps({"prompt": "held", "completion": "out"}), encoding="utf-8")
    recipe = Recipe.model_validate(asked().model_dump() | {"task": {"type": "generation"}})
    card = next(text_of(node) for node in body_of(rows_page(prepare_rows(recipe, tmp_path), recipe)).iter("article"))
    assert card.startswith(f"train.jsonl:31{words(0)}answerso {words(200)}reason")


def test_a_dropped_row_stands_beside_the_row_that_it_repeats(tmp_path):
    text = "Where can I see the list of all payments that I made with my card in the last month"
    twin = {"text": f"{text}?", "label": "a"}
    held, copy = {"text": "HELD  out", "label": "a"}, {"text": words(3).upper(), "label": "b"}
    write(tmp_path, *plain_rows(), {"text": text, "label": "a"}, twin, held, copy)
    prepared = prepare_rows(asked(), tmp_path)
    assert [(item.stage, item.twin) for item in prepared.dropped] == [
        ("exact_duplicates", "train.jsonl:4"), ("near_duplicates", "train.jsonl:32"), ("leak", "held.jsonl:1")
    ]  # fmt: skip
    body = body_of(rows_page(prepared, asked()))
    cards = [text_of(node) for node in body.iter("article")]
    assert any("near duplicate of train.jsonl:32" in card and f"train.jsonl:32 {text}? a" in card for card in cards)
    assert any("says the same as" in card and f"train.jsonl:4 {words(3)} b" in card for card in cards)
    assert any("stands in test" in card and "held.jsonl:1 held out a" in card for card in cards)
    cluster = next(node for node in body.iter("ul") if node.get("class") == "twins")
    kept, dropped = cluster
    assert text_of(kept).startswith(f"kept{text}?") and [node.text for node in dropped.iter("del")] == ["?"]
    assert re.match(rf"0\.9\d{text}\? train\.jsonl:31", text_of(dropped))


def test_what_waits_shows_label_suggestion_score_and_reason(shipped):
    prepared, recipe = shipped
    story = tell_rows(prepared, recipe)
    reason = next(one for one in story.reasons if one.stage == "label_errors")
    scores = [doubt.score for doubt in reason.examples]
    assert len(scores) > 3 and scores == sorted(scores)
    body = body_of(rows_page(prepared, recipe))
    cards = [text_of(node) for node in body.iter("article")]
    for doubt in reason.examples:
        row = story.waiting[doubt.row]
        says = f"{doubt.source}{row.text}label{row.label}suggested{doubt.suggestion}score{doubt.score:.2f}reason"
        assert any(card.startswith(says) for card in cards), says
    assert f"tuneloop review {recipe.name} --export {recipe.name}.csv" in text_of(body)


def test_a_repair_shows_what_went_and_what_came(tmp_path):
    broken = '{"text": "mend me", "label": "a", "n": 3,}'
    write(tmp_path, *plain_rows(), {"text": "a cafÃ© here", "label": "a"}, broken)
    body = body_of(rows_page(prepare_rows(asked(), tmp_path), asked()))
    assert sorted(node.text for node in body.iter("del")) == [",", "cafÃ©"]
    assert [node.text for node in body.iter("ins")] == ["café"]
    change = [text_of(node) for node in body.iter("dl") if node.get("class") == "change"]
    assert "beforea cafÃ© hereaftera café here" in change
    assert f'before{broken}after{{"text": "mend me", "label": "a", "n": 3}}' in change


TEXTS = st.text(alphabet=st.sampled_from("ab ,.<&卡丢了é"), max_size=30)


@given(TEXTS, TEXTS)
def test_a_difference_takes_nothing_away(before, after):
    old, new = difference(before, after)
    trees = [body_of(f"<body>{one}</body>") for one in (old, new)]
    assert [text_of(tree) for tree in trees] == [before, after]
    assert {node.tag for node in trees[0]} <= {"del"} and {node.tag for node in trees[1]} <= {"ins"}
    unmarked = [re.sub(r"<(del|ins)>.*?</\1>", "", str(one)) for one in (old, new)]
    assert unmarked[0] == unmarked[1]
    assert (before == after) == (not list(trees[0]) and not list(trees[1]))
    both = str(merged(before, after))
    for taken, text in (("ins", before), ("del", after)):
        assert text_of(body_of(f"<body>{re.sub(f'<{taken}>.*?</{taken}>', '', both)}</body>")) == text


def test_a_difference_is_of_words_and_single_chinese_characters():
    assert difference("a cat sat", "a dog sat") == ("a <del>cat</del> sat", "a <ins>dog</ins> sat")
    assert difference("银行卡丢了", "银行卡坏了") == ("银行卡<del>丢</del>了", "银行卡<ins>坏</ins>了")


def test_a_difference_far_inside_a_long_text_is_shown(tmp_path):
    long = "word " * 2000
    write(tmp_path, *plain_rows(), {"text": f"{long}cafÃ© {long}", "label": "a"})
    body = body_of(rows_page(prepare_rows(asked(), tmp_path), asked()))
    assert [node.text for node in body.iter("ins")] == ["café"]
    assert all(len(text_of(node)) < 800 for node in body.iter("dl") if node.get("class") == "change")


@given(st.lists(st.integers(), max_size=40), st.integers(2, 12))
def test_examples_are_spread_from_the_first_to_the_last(items, count):
    found = spread(items, count)
    assert len(found) == min(len(items), count)
    if items:
        assert (found[0], found[-1]) == (items[0], items[-1])
    places = spread(list(range(len(items))), count)
    assert places == sorted(set(places))
    steps = {right - left for left, right in pairwise(places)}
    assert not steps or max(steps) - min(steps) <= 1


# -- what users wrote -------------------------------------------------------------------------------------------------

ATTACK = "\"><script>alert('x')</script><img src=x onerror=alert(2)> & \x07\x1b[31m\u202e"


def test_what_users_wrote_is_text_and_is_cut(tmp_path):
    million = f"{ATTACK} " * 15_000
    assert len(million) > 1_000_000
    rows = [{"text": f"{ATTACK} {words(n)}", "label": f"{ATTACK}{n % 2}"} for n in range(30)]
    rows += [{"text": million, "label": f"{ATTACK}0"}, {"text": million, "label": f"{ATTACK}0"}]
    rows += [{"text": f"{million} cafÃ©", "label": f"{ATTACK}1"}, f"{ATTACK}{million}", {"text": "", ATTACK: million}]
    write(tmp_path, *rows)
    (tmp_path / "held.jsonl").write_text(json.dumps({"text": "held out", "label": f"{ATTACK}0"}), encoding="utf-8")
    (tmp_path / "train.jsonl").rename(tmp_path / "<b>'\"&.jsonl")
    recipe = asked(near_duplicates=False)  # which takes a minute over such texts
    recipe = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"train": "<b>'\"&.jsonl", "source": ATTACK})}
    )
    page = rows_page(prepare_rows(recipe, tmp_path), recipe)
    reader = read_page(page)
    assert not {"script", "img", "link", "iframe", "object", "form", "b>"} & set(reader.tags)
    assert not [name for name, _ in reader.attributes if name in ("src", "srcset") or name.startswith("on")]
    assert all(value.startswith("#") for name, value in reader.attributes if name == "href")
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", page)
    assert sum("<script>alert('x')</script>" in text for text in reader.text) >= 10
    assert len(page.encode("utf-8")) < 200_000


def test_the_page_needs_nothing_from_outside(dirty):
    page = rows_page(dirty, asked())
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page
    assert "url(" not in page and "@import" not in page and "http" not in page.replace("http-equiv", "")


def test_the_page_stays_small_whatever_the_rows(dirty):
    """Hundreds of reasons, texts of signs that take six bytes each, ten thousand classes, a thousand files."""
    worst = "\"'&" * 4000
    rows = [Row(id=f"{n}", source=f"{worst[:300]}:{n}", text=worst, label=worst) for n in range(300)]
    dropped = [
        Dropped(f"{worst[:300]}:{n}", f"stage{n % 60}", f"{worst}{n % 90}", json.dumps({"text": worst, "label": worst}),
                split, twin=rows[n % 9].source)
        for split in ("train", "validation", "test") for n in range(2000)
    ]  # fmt: skip
    dropped += [Dropped(f"d:{n}", "near_duplicates", "x", worst, twin=rows[n % 30].source) for n in range(900)]
    stages = ["outliers", "label_errors", "lengths", "language", "near_duplicates", "personal_data", "later"]
    doubts = [
        Doubt(row.id, row.source, stage, worst, 0.5, worst, tuple(other.source for other in rows[:9]))
        for row in rows for stage in stages
    ]  # fmt: skip
    changed = worst.replace("&", "é.")
    repairs = [Repair(row.id, row.source, f"repair{n % 5}", worst, worst, changed) for n, row in enumerate(rows)]
    report = json.loads(json.dumps(dirty.report))
    for split, side in report["counts"].items():
        side["dropped"] = reasons_of(item for item in dropped if item.split == split)
        side["in"] = side["kept"] + sum(side["dropped"].values()) + side.get("to review", 0)
    report["labels_read"] = {f"{n}{worst}": n for n in range(10_000)}
    report |= {"repairs": {f"repair{n}": 60 for n in range(5)}, "waiting": dict.fromkeys(stages, 300)}
    report |= {"warnings": [worst] * 9, "files": report["files"] * 500, "format": worst, "source": worst}
    prepared = replace(
        dirty, clean=rows, dropped=dropped, doubts=doubts, repairs=repairs, report=report
    )  # fmt: skip
    page = rows_page(prepared, asked())
    assert 500_000 < len(page.encode("utf-8")) < 2_000_000
    read_page(page)
    for split, most in REASONS.items():
        told = [
            one.count for one in tell_rows(prepared, asked()).reasons if (one.kind, one.split) == ("dropped", split)
        ]
        assert len(told) == most and sum(told) == sum(report["counts"][split]["dropped"].values())


def test_masked_data_stays_masked_in_dropped_rows_too(tmp_path):
    secret = "write to jane.doe@example.org about it"
    write(tmp_path, *plain_rows(), {"text": secret, "label": "a"}, {"text": secret, "label": "a"})
    for on in (False, True):
        recipe = asked(personal_data=on)
        page = rows_page(prepare_rows(recipe, tmp_path), recipe)
        assert ("jane.doe@example.org" in page) != on
    assert "write to &lt;EMAIL&gt; about it" in page


def test_a_dropped_rows_raw_is_read_as_what_it_is():
    def content(stage: str, raw: str) -> tuple[str, str]:
        found = content_of_dropped(Dropped("a:1", stage, "why", raw))
        return found.text, found.label

    talk = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    assert content("leak", json.dumps({"text": "t", "label": ["a", "b"]})) == ("t", '["a", "b"]')
    assert content("leak", json.dumps(talk)) == ("hi", "hello")
    for raw in ("[1]", "rubbish", "[" * 100_000, '"x"', "{}"):
        assert content("later", raw) == (raw, "")
    assert content("read", '{"text": "", "label": "a"}') == ('{"text": "", "label": "a"}', "")


# -- languages, sections ----------------------------------------------------------------------------------------------


def test_the_chinese_page_is_chinese(shipped):
    prepared, recipe = shipped
    chinese = recipe.model_copy(update={"report": recipe.report.model_copy(update={"lang": "zh"})})
    pages = [read_page(rows_page(prepared, one)) for one in (recipe, chinese)]
    assert [dict(page.attributes)["lang"] for page in pages] == ["en", "zh-CN"]
    heads = [key for key in ROW_WORDS["en"] if key.endswith("_title")]
    assert len(heads) == 10
    for page, lang, other in zip(pages, ("en", "zh"), ("zh", "en"), strict=True):
        assert [key for key in heads if ROW_WORDS[lang][key] not in page.text] == []
        assert [key for key in heads if ROW_WORDS[other][key] in page.text] == []


def test_the_language_is_that_of_most_training_rows_where_the_recipe_leaves_it_open(tmp_path):
    rows = [{"text": f"我的银行卡丢了{words(n)[9:13]}怎么办呢请告诉我", "label": "ab"[n % 2]} for n in range(20)]
    write(tmp_path, *rows)
    recipe = asked(lang="auto", near_duplicates=False)
    assert '<html lang="zh-CN">' in rows_page(prepare_rows(recipe, tmp_path), recipe)
    write(tmp_path, *plain_rows())
    assert '<html lang="en">' in rows_page(prepare_rows(recipe, tmp_path), recipe)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_set_that_lost_nothing_has_a_page_too(tmp_path, lang):
    write(tmp_path, *plain_rows())
    recipe = asked(lang=lang)
    page = rows_page(prepare_rows(recipe, tmp_path), recipe)
    assert ROW_WORDS[lang]["rows_all_kept"].format(came=30) in read_page(page).text
    assert groups(page) == []
    for key in ("dropped_title", "repaired_title", "waiting_title", "clusters_title", "noise_title", "reasons_title"):
        assert f"<h2>{ROW_WORDS[lang][key]}</h2>" not in page
    for key in ("funnel_title", "balance_title", "lengths_title", "files_title"):
        assert f"<h2>{ROW_WORDS[lang][key]}</h2>" in page


def test_every_reason_of_ours_has_a_title_and_a_meaning_in_both_languages(shipped, dirty):
    found = {(one.kind, one.stage) for prepared, recipe in (shipped, (dirty, asked()))
             for one in tell_rows(prepared, recipe).reasons}  # fmt: skip
    found |= {("dropped", "repair_encoding"), ("dropped", "near_leak"), ("dropped", "review")}
    assert len(found) >= 14
    for table in ROW_WORDS.values():
        assert [one for one in sorted(found) if "_".join(one) not in table] == []
        assert [one for one in sorted(found) if "_".join((*one, "about")) not in table] == []


def test_a_stage_that_we_have_no_words_for_is_called_by_its_name(dirty):
    report = json.loads(json.dumps(dirty.report))
    side = report["counts"]["train"]
    side["dropped"]["later: too dull"], side["kept"] = 1, side["kept"] - 1
    gone = Dropped("train.jsonl:1", "later", "too dull", '{"text": "hm", "label": "a"}')
    prepared = replace(dirty, report=report, dropped=[*dirty.dropped, gone], train=dirty.train[1:])
    assert ("later: too dull 1 row ", 1, 1) in groups(rows_page(prepared, asked()))


def test_the_noise_score_is_drawn_with_its_line(shipped):
    prepared, recipe = shipped
    page = rows_page(prepared, recipe)
    section = next(node for node in body_of(page).iter("section") if node.find("header/h2").text == "Noise score")
    noise = prepared.report["noise"]
    told = [node.find("title").text for node in section.iter("rect")]
    assert sum(int(text.split(": ")[1].replace(",", "")) for text in told) == noise["rows"]
    assert f"Here {noise['below']} of {noise['rows']} rows score below 0.3." in text_of(section)
    assert "to review below 0.3" in [node.text for node in section.iter("text")]
    few = prepared.report | {"noise": noise | {"judged": False}}
    text = rows_page(replace(prepared, report=few), recipe)
    assert "each one scores 0.7" in text and "to review below 0.3" not in text


def test_classes_stand_as_they_were_read_and_as_they_are_kept(dirty):
    body = body_of(rows_page(dirty, asked()))
    section = next(node for node in body.iter("section") if node.find("header/h2").text == "Classes before and after")
    lines = [text_of(node) for node in section.iter("div") if node.get("class") == "bar-line"]
    before, after = dirty.report["labels_read"], dirty.report["labels"]["train"]
    assert lines == [f"{name}{before[name]} → {after[name]}" for name in sorted(before, key=lambda x: -before[x])]
    assert before != after


def test_lengths_are_all_drawn(dirty):
    body = body_of(rows_page(dirty, asked()))
    section = next(node for node in body.iter("section") if node.find("header/h2").text == "Lengths")
    told = [node.find("title").text for node in section.iter("rect")]
    assert sum(int(text.split(": ")[1]) for text in told) == len(dirty.train)
    lengths = [len(row.text) for row in dirty.train]
    edges = [tuple(map(int, text.split(": ")[0].split("–"))) for text in told]
    assert [sum(low <= n <= high for n in lengths) for low, high in edges] == [
        int(text.split(": ")[1]) for text in told
    ]


def test_files_stand_with_their_hashes(dirty):
    text = text_of(body_of(rows_page(dirty, asked())))
    assert len(dirty.report["files"]) == 3
    for file in dirty.report["files"]:
        assert f"{file['path']}" in text and file["sha256"] in text


def test_what_people_decided_is_told(tmp_path):
    text = "Where can I see the list of all payments that I made with my card in the last month"
    rows = [{"text": text + end, "label": label} for end, label in (("", "a"), ("?", "b"), ("!", "c"))]
    write(tmp_path, *plain_rows(), *rows)
    first = prepare_rows(asked(), tmp_path)
    waiting = [row for row in first.clean if row.text.startswith(text)]
    assert first.report["review"] == {} and "People let in" not in rows_page(first, asked())
    acts = [("keep", {}), ("edit", {"label": "a"}), ("drop", {})]
    log = [
        Decision(n, row.id, kind, "ann", "2026-01-01T00:00:00Z", content_of(row), after)
        for n, (row, (kind, after)) in enumerate(zip(waiting, acts, strict=True), 1)
    ]
    second = prepare_rows(asked(), tmp_path, log)
    page = rows_page(second, asked())
    assert "People let in 1, changed 1 and dropped 1 rows" in page
    assert ("By a person: dropped by ann 1 row ", 1, 1) in groups(page)
    assert "How to decide" not in page  # nothing waits any more
    third = rows_page(prepare_rows(asked(), tmp_path, log[:1]), asked())
    assert "People let in 1, changed 0 and dropped 0 rows" in third
    assert ("Contradicting labels 2 rows ", 2, 2) in groups(third)


# -- honest, the same each time ---------------------------------------------------------------------------------------


def test_counts_that_do_not_add_up_make_no_page(dirty):
    report = json.loads(json.dumps(dirty.report))
    report["counts"]["train"]["kept"] -= 1
    with pytest.raises(DataError, match="train rows do not add up"):
        rows_page(replace(dirty, report=report), asked())


def test_the_same_rows_give_the_same_bytes(shipped):
    prepared, recipe = shipped
    again = prepare_rows(recipe, SHIPPED.parent)
    assert rows_page(again, recipe) == rows_page(prepared, recipe)


def test_the_head_of_the_page_tells_what_it_was_made_for(dirty):
    from tuneloop.row_station import HEAD

    keys = {lang: page_key(asked(lang)) for lang in ("en", "zh", "auto")}
    assert len(set(keys.values())) == 3
    for lang, key in keys.items():
        assert key in rows_page(dirty, asked(lang))[:HEAD]
    assert row_page.page_key(asked(outliers={})) == keys["en"]  # what shapes the rows is in the key of the rows
