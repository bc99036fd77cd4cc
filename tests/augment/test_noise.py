"""Slips: of the kinds asked for, inside words, never in what must stay."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.augment.draws import generator
from tuneloop.augment.lexicon import Lexicon, shipped
from tuneloop.augment.noise import keyboard, noise, same_reading
from tuneloop.augment.words import jieba_tokenizer, kept_spans, protect, words
from tuneloop.sections import KINDS, Kind

TEXT = "please transfer money from another account before tomorrow morning"


def outcomes(text: str, kind: Kind, lexicon: Lexicon, count: int = 300) -> set[str]:
    return {
        noise(text, generator(0, epoch, "r", kind), rate=1.0, kinds=[kind], lexicon=lexicon) for epoch in range(count)
    }


def test_neighbours_on_the_keyboard_are_mutual_and_near():
    table = keyboard()
    assert set(table["g"]) == set("fhtyvb") and set(table["q"]) == set("wa") and set(table["m"]) == set("njk")
    assert all(letter in table[near] for letter, others in table.items() for near in others)


def test_keyboard_slips_stay_inside_the_word_and_make_no_other_word(lexicon: Lexicon):
    seen = outcomes("transfer", "keyboard", lexicon)
    assert len(seen) > 20
    for slip in seen - {"transfer"}:
        assert slip[0] == "t" and slip[-1] == "r" and abs(len(slip) - 8) <= 1
        assert not lexicon.known(slip)


def test_ocr(lexicon: Lexicon):
    assert {"rnoney", "m0ney"} & outcomes("money", "ocr", lexicon) == {"m0ney"}  # the first letter stays
    assert "mornlng" in outcomes("morning", "ocr", lexicon)


def test_homophones(lexicon: Lexicon):
    assert outcomes("their", "homophone", lexicon) == {"there", "they're"}
    assert outcomes("Your", "homophone", lexicon) == {"You're"}
    assert outcomes("account", "homophone", lexicon) == {"acount"}
    assert outcomes("know", "homophone", lexicon) == {"know"}  # "no" would turn the sentence round


def test_chinese_characters_of_the_same_reading_or_a_like_shape(lexicon: Lexicon):
    table = same_reading()
    assert "帐" in table["账"] and "账" not in table["账"]
    for slip in outcomes("账户", "pinyin", lexicon) - {"账户"}:
        assert sum(a != b for a, b in zip(slip, "账户", strict=True)) == 1
    assert "土兵" in outcomes("士兵", "shape", lexicon)


def test_each_kind_keeps_to_its_script(lexicon: Lexicon):
    for kind in KINDS:
        chinese = kind in ("pinyin", "shape")
        assert (outcomes("请查询账户余额", kind, lexicon, 30) != {"请查询账户余额"}) is chinese
        assert (outcomes("their transfer", kind, lexicon, 30) != {"their transfer"}) is not chinese


def test_protected_words_names_and_negations_stay(lexicon: Lexicon):
    text = "I never told Peter about account 12345678 at bank@example.org"
    for epoch in range(100):
        after = noise(
            text, generator(0, epoch, "r", "n"), rate=1.0, lexicon=lexicon, protected=protect(["accounts"])
        )  # fmt: skip
        assert {"never", "Peter", "account", "12345678", "bank@example.org"} <= set(after.split())
        assert after != text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("客服电话一直打不通", "打不通"), ("卡里余额不足无法付款", "不足无法"), ("我收不到验证码", "收不到"),
        ("电机运行无异响", "无异响"), ("请给我转账五百元", "五百元"), ("提醒我下午三点开会", "三点"),
        ("请告诉王小明", "王小明"), ("请告诉张大伟", "张大伟"), ("打开酷狗音乐", "酷狗音乐"),
        ("I can't log in to my account", "can't"), ("the app doesn't open on my phone", "doesn't"),
        ("we paid for three tickets", "three"),
    ],
)  # fmt: skip
def test_what_makes_the_meaning_stays(lexicon: Lexicon, text: str, kept: str):
    seen = {noise(text, generator(0, epoch, "r", "n"), rate=1.0, lexicon=lexicon) for epoch in range(200)}
    assert len(seen) > 1
    assert all(kept in after for after in seen)


def test_a_chinese_slip_is_no_other_word(lexicon: Lexicon):
    listed = jieba_tokenizer().FREQ
    for kind in ("pinyin", "shape"):
        for slip in outcomes("权利", kind, lexicon) | outcomes("全部", kind, lexicon):
            assert slip in ("权利", "全部") or not listed.get(slip)
            assert "不" not in slip
    assert not any("卖" in slip for kind in KINDS for slip in outcomes("购买", kind, lexicon))
    assert "帐户" in outcomes("账户", "pinyin", lexicon)  # a word of the dictionary, but the same one


def test_the_rate_is_kept(lexicon: Lexicon):
    changed = 0
    for epoch in range(2000):
        after = noise(TEXT, generator(3, epoch, "r", "noise"), rate=0.1, lexicon=lexicon)
        changed += sum(a != b for a, b in zip(TEXT.split(), after.split(), strict=True))
    assert changed / (2000 * len(TEXT.split())) == pytest.approx(0.1, abs=0.006)


@given(st.text(max_size=60), st.integers(0, 2**32), st.sampled_from(KINDS))
def test_any_text(text: str, seed: int, kind: Kind):
    lexicon = shipped()
    once = noise(text, Random(seed), rate=0.7, kinds=[kind], lexicon=lexicon)
    assert once == noise(text, Random(seed), rate=0.7, kinds=[kind], lexicon=lexicon)
    assert all(span in once for span in kept_spans(text))
    if not words(text):
        assert once == text
