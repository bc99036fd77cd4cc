from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.rows.conftest import Read, Write

from tuneloop.records import Row
from tuneloop.rows.clean import CLEANERS, Cleaned, clean_rows, content_key, mended_text, normalised, row_json
from tuneloop.sections import Clean

Clean3 = Callable[..., Cleaned]

FIRST = {"text": "good", "label": "a"}


@pytest.fixture
def cleaned(write: Write, read: Read) -> Clean3:
    """cleaned(*rows, task=..., **stages): a clean first row and these, read and cleaned."""

    def run(*rows: Any, task: str = "classification", first: Any = FIRST, **stages: bool) -> Cleaned:
        reading = read(write("a.jsonl", first, *rows), task=task)
        found = clean_rows(reading.rows, reading.bad, clean=Clean(**stages), parse=reading.parse)
        sources = [row.source for row in found.kept] + [item.source for item in found.dropped]
        assert sorted(sources) == sorted(r.source for r in [*reading.rows, *reading.bad]), "in = kept + dropped"
        return found

    return run


def after(found: Cleaned) -> list[tuple[str, Any]]:
    return [(row.text, row.label) for row in found.kept[1:]]


def test_there_is_a_stage_for_every_key_of_the_recipe() -> None:
    basic = [*CLEANERS, "near_duplicates"]
    doubting = ["personal_data", "outliers", "label_errors", "lengths", "language"]
    assert basic + doubting == list(Clean.model_fields) and len(CLEANERS) == 3


@pytest.mark.parametrize("name", CLEANERS)
def test_every_stage_keeps_places_and_does_nothing_twice(write: Write, read: Read, name: str) -> None:
    rows = [FIRST, "{'text': 'b', 'label': 'x',}", {"text": "cafÃ©", "label": "x"}, FIRST, "rubbish", {"text": ""}]
    reading = read(write("a.jsonl", *rows))
    items = [*reading.rows, *reading.bad]
    once, repairs = CLEANERS[name](items, reading.parse)
    twice, again = CLEANERS[name](once, reading.parse)
    assert [item.source for item in once] == [item.source for item in items]
    assert (twice, again) == (once, []) and once != items
    assert all(repair.stage == name for repair in repairs)
    lineages = [item.lineage for item in once if isinstance(item, Row) and item not in items]
    assert all(lineage == (name,) for lineage in lineages)


# -- JSON -----------------------------------------------------------------------------------------------------


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
def test_broken_json_is_mended(cleaned: Clean3, line: str) -> None:
    found = cleaned(line)
    assert after(found) == [('it\'s "b"', "x")]
    row = found.kept[1]
    assert (row.lineage, dict(row.meta)) == (("repair_json",), {}), "a column that is cut off is no column"
    (repair,) = found.repairs
    assert (repair.row, repair.source, repair.stage, repair.before) == (row.id, "a.jsonl:2", "repair_json", line)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "half of a ques', "cut off"),
        ('{"label": "x", "text": "half of a ques', "cut off"),
        ('{"text": "whole", "label": "ref', "cut off"),
        ('{"text": "whole", "label": 1', "cut off"),
        ('{"text": "use {x}', "cut off"),
        ('{"text": "he said \\"', "cut off"),
        ('{"text": "whole"', "label is missing"),
        ('{"text": "whole", "label": }', "label is empty"),
        ('{"text": "a", "label": "x"} {"text": "b", "label": "y"}', "several objects on one line"),
        ("rubbish", "broken JSON that cannot be repaired"),
        ('{"text": "' + "[" * 300_000, "broken JSON, too long to repair (over 200,000 characters)"),
        ("[" * 50_000 + "x", "broken JSON that cannot be repaired"),
    ],
)
def test_what_cannot_be_mended_whole_is_dropped(cleaned: Clean3, line: str, reason: str) -> None:
    found = cleaned(line)
    assert after(found) == [] and found.repairs == []
    (dropped,) = found.dropped
    assert dropped.raw == line and dropped.source == "a.jsonl:2" and dropped.split == "train"
    if dropped.stage == "repair_json":
        assert dropped.reason == reason
    else:
        assert "[[[" in line and "flat" in dropped.reason


def test_a_cut_answer_is_never_learnt(cleaned: Clean3) -> None:
    first = {"prompt": "q", "completion": "a", "system": "s"}
    for line in (
        '{"prompt": "p", "completion": "half of an ans',
        '{"prompt": "p", "completion": "a", "system": "be poli',
    ):
        found = cleaned(line, task="generation", first=first)
        assert [item.reason for item in found.dropped] == ["cut off"]


def test_a_wrong_row_of_valid_json_is_dropped_as_read(cleaned: Clean3) -> None:
    found = cleaned(
        {"text": "b"}, {"text": "", "label": "x"}, {"text": "c", "label": None}, '{"text": "d", "text": "e"}'
    )
    assert [(d.stage, d.reason) for d in found.dropped] == [
        ("read", "label is missing"), ("read", "text is empty"), ("read", "label is null"),
        ("read", "expected each key once"),
    ]  # fmt: skip


def test_repair_json_off_drops_the_line(cleaned: Clean3) -> None:
    found = cleaned('{"text": "b", "label": "x",}', repair_json=False)
    assert [(d.stage, d.reason) for d in found.dropped] == [("read", "expected one JSON object a line")]


def test_a_mended_row_is_in_its_old_place(cleaned: Clean3) -> None:
    found = cleaned('{"text": "b", "label": "x",}', {"text": "c", "label": "x"}, {"text": "B", "label": "x"})
    assert [row.source for row in found.kept] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3"]
    assert found.dropped[0].reason == "says the same as a.jsonl:2"


# -- encoding -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("cafÃ©", "café"),
        ("â€œquotedâ€\x9d", "“quoted”"),
        ("itâ€™s 8â€“10", "it’s 8–10"),
        ("æˆ‘çš„å¿«é€’è¿˜æ²¡åˆ°", "我的快递还没到"),
        ("快递还没到".encode().decode("latin-1"), "快递还没到"),
        ("it\x92s", "it’s"),
        ("a\x00b\x07c", "abc"),
        ("\ufeffstart", "start"),
        ("\x1b[31mred\x1b[0m", "red"),
    ],
)
def test_encoding_is_mended(cleaned: Clean3, broken: str, whole: str) -> None:
    found = cleaned({"text": broken, "label": "x", "reply": broken})
    assert after(found) == [(whole, "x")]
    row = found.kept[1]
    assert row.meta["reply"] == whole and row.lineage == ("repair_encoding",)
    assert [(r.row, r.field, r.before, r.after) for r in found.repairs] == [
        (row.id, "text", broken, whole),
        (row.id, "reply", broken, whole),
    ]


CLEAN_TEXTS = [
    "“curly” ‘quotes’ — and … dashes–", "我的快递还没到，麻烦查一下！（谢谢）", "价格：１００元；ＡＢＣ", 
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 family \U0001f3f3\ufe0f\u200d\U0001f308 ❤\ufe0f", "naïve façade",
    "Größe, señor, Çelik, Øre", "ВАШ ЗАКАЗ", "ﬁne ﬀ", "&lt;b&gt; &amp;", "line\r\nend\ttab",
    "e\u0301 NFD", "𠮷野家 ㎏ ℃ ①",
    "±5 °C ×2 ·", "日本語テキスト、ｶﾀｶﾅ",
    "한국어", "a\u200bb\u00a0c", "£5 €6 ¥7", "�",
]  # fmt: skip


@pytest.mark.parametrize("text", CLEAN_TEXTS)
def test_clean_text_is_never_touched(cleaned: Clean3, text: str) -> None:
    assert mended_text(text) == text
    found = cleaned({"text": text, "label": "x"})
    assert after(found) == [(text, "x")] and found.repairs == [] and found.kept[1].lineage == ()


def test_every_turn_is_mended(cleaned: Clean3) -> None:
    turns = [{"role": "user", "content": "cafÃ©"}, {"role": "assistant", "content": "ouvert Ã  8 h, cafÃ©"}]
    found = cleaned({"messages": turns}, task="generation", first={"messages": [turns[1] | {"content": "x"}]})
    assert [turn.content for turn in found.kept[1].messages] == ["café", "ouvert à 8 h, café"]
    assert [repair.field for repair in found.repairs] == ["messages.0", "messages.1"]


def test_a_label_is_mended_only_into_one_that_others_have(cleaned: Clean3) -> None:
    found = cleaned({"text": "b", "label": "cafÃ©"}, {"text": "c", "label": "café"}, {"text": "d", "label": "thÃ©"})
    assert [row.label for row in found.kept] == ["a", "café", "café", "thÃ©"]


def test_a_text_of_control_characters_alone_is_dropped(cleaned: Clean3) -> None:
    found = cleaned({"text": "\x07\x00", "label": "x"})
    assert [(d.stage, d.reason) for d in found.dropped] == [("repair_encoding", "text is empty after the repair")]


def test_repair_encoding_off_touches_nothing(cleaned: Clean3) -> None:
    assert after(cleaned({"text": "cafÃ©", "label": "x"}, repair_encoding=False)) == [("cafÃ©", "x")]


def test_a_row_mended_twice_names_its_last_id(cleaned: Clean3) -> None:
    found = cleaned('{"text": "cafÃ©", "label": "x",}')
    row = found.kept[1]
    assert row.lineage == ("repair_json", "repair_encoding")
    assert {repair.row for repair in found.repairs} == {row.id} and len(found.repairs) == 2


def test_no_clean_real_text_is_touched(read: Read, shared_data: Any) -> None:
    chinese = ["smp2019_nlu/train.jsonl", "fewclue_eprstmt/test_public.json", "fincuge_finfe/eval.jsonl"]
    for name, columns in zip(chinese, [{"label": "domain"}, {}, {}], strict=True):
        rows = read(name, folder=shared_data, columns=columns).rows
        assert len(rows) > 500
        assert [row.text for row in rows if mended_text(row.text) != row.text] == []


# -- duplicates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["good", "GOOD", " good\t", "ｇｏｏｄ"])
def test_exact_duplicates_are_dropped(cleaned: Clean3, text: str) -> None:
    found = cleaned({"text": "other", "label": "a"}, {"text": text, "label": "a", "more": 1})
    assert after(found) == [("other", "a")]
    (dropped,) = found.dropped
    assert (dropped.stage, dropped.reason) == ("exact_duplicates", "says the same as a.jsonl:1")
    assert json.loads(dropped.raw) == {"text": text, "label": "a", "meta": {"more": 1}}


@pytest.mark.parametrize(
    "other", [{"text": "good", "label": "b"}, {"text": "good!", "label": "a"}, {"text": "go od", "label": "a"}]
)
def test_what_differs_stays(cleaned: Clean3, other: dict[str, str]) -> None:
    assert len(cleaned(other).kept) == 2


def test_duplicates_off_keeps_them(cleaned: Clean3) -> None:
    assert len(cleaned(FIRST, exact_duplicates=False).kept) == 2


def test_the_content_of_a_conversation_is_all_its_turns(cleaned: Clean3) -> None:
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


def test_a_dropped_row_is_kept_whole(cleaned: Clean3) -> None:
    row = Row(id="", source="", text="好", label=("a", "b"), meta={"n": 1, "half": "\ud800"})
    assert row_json(row) == '{"text": "好", "label": ["a", "b"], "meta": {"n": 1, "half": "\\ud800"}}'
