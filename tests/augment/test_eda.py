"""Easy data augmentation: each operation does what it says and keeps off what it must not touch."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.augment.draws import generator
from tuneloop.augment.eda import eda
from tuneloop.augment.lexicon import Lexicon, shipped
from tuneloop.augment.synonyms import options
from tuneloop.augment.words import NEGATIONS, NOTHING, Protected, kept_spans, protect, words

TEXT = "the problem with the film is that the phone of my friend rang two times during it"

PIECES = ["card", "film", "not", "{{x}}", "20", "no", "不", "手机", "Bob", ".", "!", "phone", "查询"]


def done(text: str, lexicon: Lexicon, epoch: int = 0, *, protected: Protected = NOTHING, **rates: float) -> str:
    given_rates = {"swap": 0.0, "delete": 0.0, "insert": 0.0} | rates
    return eda(text, generator(0, epoch, "r", "eda"), lexicon=lexicon, protected=protected, **given_rates)


def test_swap_keeps_all_words(lexicon: Lexicon):
    for epoch in range(50):
        after = done(TEXT, lexicon, epoch, swap=0.2)
        assert Counter(after.split()) == Counter(TEXT.split())
        moved = sum(a != b for a, b in zip(after.split(), TEXT.split(), strict=True))
        assert moved <= 4
    assert done(TEXT, lexicon, swap=0.2) != TEXT


def test_no_word_crosses_a_negation_or_the_end_of_a_sentence(lexicon: Lexicon):
    text = "red card works not blue card here. green bill came"
    parts = [{"red", "card", "works"}, {"blue", "card", "here"}, {"green", "bill", "came"}]
    for epoch in range(200):
        after = done(text, lexicon, epoch, swap=0.6)
        first, rest = after.split(" not ")
        second, third = rest.split(". ")
        assert [set(first.split()), set(second.split()), set(third.split())] == parts


def test_delete(lexicon: Lexicon):
    lost = 0
    for epoch in range(2000):
        after = done(TEXT, lexicon, epoch, delete=0.1)
        left = Counter(TEXT.split())
        left.subtract(after.split())
        assert all(count >= 0 for count in left.values()) and "  " not in after
        lost += sum(left.values())
    assert lost / (2000 * len(TEXT.split())) == pytest.approx(0.1, abs=0.005)
    assert done("we sold a car", lexicon, delete=1.0) == "we sold a car"  # too short to lose a word


def test_insert_puts_in_a_synonym_of_a_word(lexicon: Lexicon):
    for epoch in range(50):
        after = Counter(done(TEXT, lexicon, epoch, insert=0.1).split())
        after.subtract(TEXT.split())
        assert set(+after) <= {"issue", "movie", "telephone", "mobile", "buddy", "pal"} and not -after
    assert done(TEXT, lexicon, insert=0.2) != TEXT


def test_chinese_has_no_blanks(lexicon: Lexicon):
    text = "我想查询一下手机的价格和地址"
    for epoch in range(30):
        for rates in ({"swap": 0.3}, {"delete": 0.3}, {"insert": 0.3}):
            assert " " not in done(text, lexicon, epoch, **rates)


@pytest.mark.parametrize(
    "text",
    [
        "客服电话一直打不通", "这个产品的质量真的不好", "从北京到上海的机票多少钱", "请给我转账五百元到他的卡",
        "我付款3次总共1280.50元没有退", "王小明打电话给张大伟", "这手机好得很", "我觉得不很好用",
    ],
)  # fmt: skip
def test_chinese_keeps_its_order_and_all_that_says_something(lexicon: Lexicon, text: str):
    light = {"请", "一直"}
    for epoch in range(200):
        after = [word for *_, word in words(done(text, lexicon, epoch, swap=0.5, delete=0.5))]
        assert [word for word in after if word not in light] == [w for *_, w in words(text) if w not in light]
        longer = done(text, lexicon, epoch, insert=0.3)
        told = {start: others for (start, _, _), others in options(text, words(text), lexicon, NOTHING)}
        assert longer == text or any(
            longer.startswith(text[:start] + other + text[start:start + 2]) for start, others in told.items()
            for other in others)  # fmt: skip


def test_chinese_loses_words_that_say_little(lexicon: Lexicon):
    seen = {done("请帮我查一下手机的价格", lexicon, epoch, delete=0.2) for epoch in range(100)}
    assert seen == {"帮我查一下手机的价格", "请帮我查手机的价格", "帮我查手机的价格"}


def test_what_a_number_counts_and_what_orders_stay(lexicon: Lexicon):
    text = "please turn off the big light 3 times before the two cards come from mine"
    for epoch in range(300):
        for rates in ({"swap": 0.5}, {"delete": 0.4}):
            after = done(text, lexicon, epoch, **rates)
            after = f" {after} "
            assert " off " in after and "3 times before " in after and " two cards " in after and " from" in after
        assert "3 times" in done(text, lexicon, epoch, insert=0.2)


def test_no_word_crosses_a_comma(lexicon: Lexicon):
    text = "red card works, blue bill came"
    for epoch in range(100):
        first, second = done(text, lexicon, epoch, swap=0.6).split(", ")
        assert (set(first.split()), set(second.split())) == ({"red", "card", "works"}, {"blue", "bill", "came"})


def test_one_operation_a_text_each_as_likely(lexicon: Lexicon):
    kinds: Counter[int] = Counter()
    for epoch in range(600):
        size = len(done(TEXT, lexicon, epoch, swap=0.2, delete=0.2, insert=0.2).split())
        kinds[(size > len(TEXT.split())) - (size < len(TEXT.split()))] += 1
    assert all(150 < kinds[way] < 250 for way in (-1, 0, 1))


@given(
    st.text(max_size=50) | st.lists(st.sampled_from(PIECES)).map(" ".join),
    st.integers(0, 2**32),
)  # fmt: skip
def test_negations_numbers_and_protected_words_stay(text: str, seed: int):
    lexicon, guard = shipped(), protect(["card"])
    after = eda(text, Random(seed), swap=0.3, delete=0.3, insert=0.3, lexicon=lexicon, protected=guard)
    for word in (*NEGATIONS, "card"):
        before = sum(w.lower() == word for *_, w in words(text))
        assert sum(w.lower() == word for *_, w in words(after)) == before
    assert sorted(kept_spans(after)) == sorted(kept_spans(text))
