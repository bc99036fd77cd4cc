"""Mojibake and control characters are mended; a clean text, in whatever language, is never touched."""

from __future__ import annotations

from typing import Any

import pytest
from tests.rows.conftest import CleanThese, Read, after

from tuneloop.records import Message, Row
from tuneloop.rows.doubts import doubts_of
from tuneloop.rows.repair_encoding import LOST_SIGNS, lost_doubts, mended_text
from tuneloop.sections import Clean


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
        ("¿ìµÝÊ²Ã´Ê±ºòµ½", "快递什么时候到"),
        ("·¢Æ±¿ª´íÁËÔõÃ´°ì", "发票开错了怎么办"),
        ("订单：¿ìµÝµ½ÁËÂð\x07", "订单：快递到了吗"),
        ("鐢垫満杞存壙杩囩儹", "电机轴承过热"),
        ("浣犲ソ锛孉pp 涓婄殑璁㈠崟", "你好，App 上的订单"),
        ("\x1b[31mred\x1b[0m", "red"),
    ],
)
def test_encoding_is_mended(cleaned: CleanThese, broken: str, whole: str) -> None:
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
    "CRÉÉE À L’ÉTÉ", "¿Éste? ¿Ése?", "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×", "ÅÄÖåäö ÄÖÜäöüß", "ÖÖÖÖ", "°°°° ×××× ····", "“……”——‘’",
    "韩瑜出席,韩瑜", "饕餮魑魅魍魉", "妯娌", "浏览器", "ÂôÉ¶£¬ÕÇÉ¶",
]  # fmt: skip


@pytest.mark.parametrize("text", CLEAN_TEXTS)
def test_clean_text_is_never_touched(cleaned: CleanThese, text: str) -> None:
    assert mended_text(text) == text
    found = cleaned({"text": text, "label": "x"})
    assert after(found) == [(text, "x")] and found.repairs == [] and found.kept[1].lineage == ()


def test_every_turn_is_mended(cleaned: CleanThese) -> None:
    turns = [{"role": "user", "content": "cafÃ©"}, {"role": "assistant", "content": "ouvert Ã  8 h, cafÃ©"}]
    found = cleaned({"messages": turns}, task="generation", first={"messages": [turns[1] | {"content": "x"}]})
    assert [turn.content for turn in found.kept[1].messages] == ["café", "ouvert à 8 h, café"]
    assert [repair.field for repair in found.repairs] == ["messages.0", "messages.1"]


def test_a_label_is_mended_only_into_one_that_others_have(cleaned: CleanThese) -> None:
    found = cleaned({"text": "b", "label": "cafÃ©"}, {"text": "c", "label": "café"}, {"text": "d", "label": "thÃ©"})
    assert [row.label for row in found.kept] == ["a", "café", "café", "thÃ©"]


def test_a_text_of_control_characters_alone_is_dropped(cleaned: CleanThese) -> None:
    found = cleaned({"text": "\x07\x00", "label": "x"})
    assert [(d.stage, d.reason) for d in found.dropped] == [("repair_encoding", "text is empty after the repair")]


def test_repair_encoding_off_touches_nothing(cleaned: CleanThese) -> None:
    assert after(cleaned({"text": "cafÃ©", "label": "x"}, repair_encoding=False)) == [("cafÃ©", "x")]


def test_a_row_mended_twice_names_its_last_id(cleaned: CleanThese) -> None:
    found = cleaned('{"text": "cafÃ©", "label": "x",}')
    row = found.kept[1]
    assert row.lineage == ("repair_json", "repair_encoding")
    assert {repair.row for repair in found.repairs} == {row.id} and len(found.repairs) == 2


LOST_TEXTS = ["锟斤拷订单", "工\ufffd\ufffd和知识", "¿ìµÝÊ²Ã´Ê±ºòµ", "浣犲ソ锛屼笘鐣?", "鍙戠エ寮€閿欎簡�"]


def test_a_row_that_lost_signs_waits_and_is_not_mended_in_part() -> None:
    rows = [Row(id=str(place), source=f"a:{place}", text=text) for place, text in enumerate(LOST_TEXTS)]
    assert [mended_text(text) for text in LOST_TEXTS] == LOST_TEXTS
    talk = Row(id="t", source="b:1", text="", messages=(Message("user", "hi"), Message("assistant", "\ufffd")))
    pair = Row(id="p", source="b:2", text="", messages=(Message("user", "hi"),), chosen="a", rejected="锟斤拷")
    whole = [Row(id="w", source="c:1", text=text) for text in CLEAN_TEXTS if text != "�"]
    found = lost_doubts([*rows, talk, pair, *whole])
    assert [doubt.row for doubt in found] == [row.id for row in (*rows, talk, pair)]
    assert {(doubt.stage, doubt.score) for doubt in found} == {(LOST_SIGNS, 0.0)}


@pytest.mark.parametrize("on", [True, False])
def test_lost_signs_are_doubted_where_encodings_are_mended(on: bool) -> None:
    rows = [Row(id="1", source="a:1", text="锟斤拷订单", label="x")]
    found = doubts_of(rows, [], clean=Clean(repair_encoding=on), seed=1)
    assert [doubt.stage for doubt in found] == [LOST_SIGNS] * on


def test_no_clean_real_text_is_touched(read: Read, shared_data: Any) -> None:
    chinese = ["smp2019_nlu/train.jsonl", "fewclue_eprstmt/test_public.json", "fincuge_finfe/eval.jsonl"]
    for name, columns in zip(chinese, [{"label": "domain"}, {}, {}], strict=True):
        rows = read(name, folder=shared_data, columns=columns).rows
        assert len(rows) > 500
        assert [row.text for row in rows if mended_text(row.text) != row.text] == []
        assert lost_doubts(rows) == []


def test_real_text_comes_back_from_a_wrong_encoding(read: Read, shared_data: Any) -> None:
    """What does not is left whole: too short, or no words that the dictionary knows."""
    rows = read("smp2019_nlu/train.jsonl", folder=shared_data, columns={"label": "domain"}).rows[:800]
    whole = [row.text for row in rows if not row.text.isascii()]
    as_latin = [text.encode("gb18030").decode("latin-1") for text in whole]
    back = [mended_text(text) for text in as_latin]
    assert all(found in (text, broken) for found, text, broken in zip(back, whole, as_latin, strict=True))
    assert sum(found == text for found, text in zip(back, whole, strict=True)) > 0.97 * len(whole) > 700
