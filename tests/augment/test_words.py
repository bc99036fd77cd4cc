"""What is a word, what is kept, what is protected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.augment.words import (
    in_case_of,
    is_name,
    is_negation,
    is_number,
    kept_spans,
    mostly_chinese,
    protect,
    stays,
    words,
)


def only(text: str) -> list[str]:
    return [word for *_, word in words(text)]


def test_words_and_their_places():
    text = "Why isn't my top-up here?"
    assert only(text) == ["Why", "isn't", "my", "top-up", "here"]
    assert all(text[start:end] == word for start, end, word in words(text))


@pytest.mark.parametrize(
    "kept",
    [
        "https://a.example/pay?x=1#top", "www.example.org/help", "me.too+x@mail.example", "`pip install x`",
        "```\ncode here\n```", "{{order number}}", "{name}", "<EMAIL>", "</br>", "[ORDER ID]", "${HOME}", "%s",
        "%(name)s",
        "@support", "#refund", "2024-05-01", "£20.50", "1,000", "A4", "b2b", "24/7", "/etc/passwd", "a_b",
        "src/main.py", "《明天会更好》",
    ],
)  # fmt: skip
def test_what_is_no_word_is_left_out(kept: str):
    assert only(f"please see {kept} today") == ["please", "see", "today"]
    assert only(f"请看 {kept} 谢谢") == ["请", "看", "谢谢"]


def test_kept_spans_are_what_another_wording_must_hold():
    assert kept_spans("Send 20.50 to {{iban}} by 5 May, see https://x.example.") == [
        "20.50", "{{iban}}", "5", "https://x.example",
    ]  # fmt: skip


def test_chinese_runs_are_cut_by_jieba():
    text = "帮我查询iPhone的价格，谢谢"
    assert only(text) == ["帮", "我", "查询", "iPhone", "的", "价格", "谢谢"]
    assert all(text[start:end] == word for start, end, word in words(text))


@given(st.text(alphabet="ab Z9{}<>[]@#$%/\\_`.我你退款，'-\n", max_size=60))
def test_any_text_gives_words_in_order_that_stand_there(text: str):
    place = 0
    for start, end, word in words(text):
        assert place <= start < end and text[start:end] == word
        assert not any(sign.isdigit() or sign in "{}<>[]@#$%/\\_`" for sign in word)
        place = end


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("I met Peter there", "Peter", True), ("Peter is here", "Peter", False), ("Hi. Cards are late", "Cards", False),
        ("my PIN is wrong", "PIN", True), ("MY CARD IS LOST", "CARD", False), ("use my iPhone now", "iPhone", True),
        ("我叫王小明", "王小明", True), ("去北京的路", "北京", True), ("我的手机", "手机", False),
        ("so am I", "I", False), ("he said: \"Cards\"", "Cards", False), ("all lower", "lower", False),
    ],
)  # fmt: skip
def test_names(text: str, word: str, expected: bool):
    assert is_name(text, text.index(word), word) is expected


@pytest.mark.parametrize(
    "word", ["not", "Can't", "doesn’t", "cant", "没有", "不足", "不好", "无异", "不到", "拒绝", "未接"]
)
def test_negations(word: str):
    assert is_negation(word)


@pytest.mark.parametrize("word", ["knot", "canted", "非常", "特别", "区别", "无线", "未来", "好"])
def test_words_that_only_look_like_negations(word: str):
    assert not is_negation(word)


@pytest.mark.parametrize(
    "word", ["three", "Hundred", "五百元", "三天", "两点", "星期三", "一百八十", "第一", "半", "几个"]
)
def test_numbers(word: str):
    assert is_number(word)


@pytest.mark.parametrize("word", ["thread", "一下", "一直", "一定", "统一", "元"])
def test_words_that_are_no_numbers(word: str):
    assert not is_number(word)


def test_a_word_right_behind_a_name_is_part_of_it():
    text = "打开网易云音乐听音乐，看腾讯视频"
    found = words(text)
    kept = [
        word for place, (_, _, word) in enumerate(found) if len(word) > 1 and stays(text, found, place, protect([]))
    ]
    assert kept == ["音乐", "腾讯", "视频"] and [word for *_, word in found].count("音乐") == 2


def test_case_is_kept():
    assert in_case_of("Card", "bill") == "Bill"
    assert in_case_of("CARD", "bill") == "BILL"
    assert in_case_of("card", "bill") == "bill"


@pytest.mark.parametrize("word", ["card", "cards", "Card", "arrival", "arrivals", "playlist", "added", "adding"])
def test_words_of_labels_are_protected_in_every_inflection(word: str):
    assert word in protect(["card_arrival", "AddToPlaylist"])


@pytest.mark.parametrize("word", ["to", "payment", "list", "car"])
def test_other_words_and_stop_words_are_not(word: str):
    assert word not in protect(["card_arrival", "AddToPlaylist"])


def test_chinese_labels():
    guard = protect(["退款申请", "LAUNCH"])
    assert "退款" in guard and "申请" in guard and "launched" in guard
    assert "价格" not in guard and "款" not in guard


def test_either_of_two():
    both = protect(["card"]) | protect(["退款"])
    assert "cards" in both and "退款" in both and "bill" not in both


def test_language():
    assert mostly_chinese("我的card丢了")
    assert not mostly_chinese("what does 你好 mean in English, please")
