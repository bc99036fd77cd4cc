"""Synonyms: right words, right form, right case; what must stay stays; the rate is kept."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneloop.augment.draws import generator
from tuneloop.augment.lexicon import Lexicon, shipped
from tuneloop.augment.synonyms import options, synonyms, takes_an
from tuneloop.augment.words import NOTHING, Protected, kept_spans, protect, words

PIECES = ["the", "film", "problem", "Buy", "手机", "价格", "{{x}}", "20", "not", ".", "!", "phones"]


def told(text: str, lexicon: Lexicon, protected: Protected = NOTHING) -> dict[str, tuple[str, ...]]:
    return {word: others for (_, _, word), others in options(text, words(text), lexicon, protected)}


def every(text: str, lexicon: Lexicon, protected: Protected = NOTHING) -> str:
    return synonyms(text, Random(0), rate=1.0, lexicon=lexicon, protected=protected)


@pytest.mark.parametrize(
    ("text", "word", "instead"),
    [
        ("the two films were good", "films", "movies"), ("we purchased it there", "purchased", "bought"),
        ("I am purchasing it now", "purchasing", "buying"), ("he purchases it there", "purchases", "buys"),
        ("this is a larger box", "larger", "bigger"), ("it is the easiest of them", "easiest", "simplest"),
        ("there are two problems with it", "problems", "issues"),
    ],
)  # fmt: skip
def test_inflection_is_kept(lexicon: Lexicon, text: str, word: str, instead: str):
    assert instead in told(text, lexicon)[word]


def test_case_is_kept(lexicon: Lexicon):
    assert every("Problems with the phone", lexicon).split()[0] == "Issues"
    assert every("WE HAVE THE PROBLEM HERE", lexicon) == "WE HAVE THE ISSUE HERE"


def test_the_article_before_fits(lexicon: Lexicon):
    assert "problem" not in told("I have a problem with it", lexicon)  # "a issue"
    assert told("I have the problem with it", lexicon)["problem"] == ("issue",)
    assert [takes_an(word) for word in ("issue", "hour", "user", "one", "card", "honest", "umbrella")] == [
        True, True, False, False, False, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("please look up the problem", "look"),  # look up is another verb
        ("I did not buy it", "not"), ("I can't help it", "can't"), ("I met Buy there", "Buy"),
        ("see https://movies.example/film now", "film"), ("the {{film}} of <MOVIE> here", "film"),
        ("say `film` to it", "film"), ("I paid 20 for it", "20"), ("my credit card is here", "credit"),
    ],
)  # fmt: skip
def test_what_must_stay_stays(lexicon: Lexicon, text: str, word: str):
    assert word not in told(text, lexicon)
    assert word in every(text, lexicon)


def test_label_words_stay_and_are_put_in_nowhere(lexicon: Lexicon):
    guard = protect(["movie_tickets", "purchases"])
    assert told("the movies and the film are good", lexicon, guard) == {}
    assert told("I want to buy it", lexicon, guard).get("buy") is None  # its synonym is a label word
    assert every("I want the movies", lexicon, protect(["want"])) == "I want the films"


def test_only_the_sense_and_only_where_it_is_sure(lexicon: Lexicon):
    assert "movie" in lexicon.english["n", "film"] and "film" in lexicon.english["n", "movie"]
    assert "charge" not in told("charge", lexicon)  # noun or verb? neither neighbours nor counts tell


def test_text_in_another_language_is_left_alone(lexicon: Lexicon):
    text = "der film war gestern leider nicht gut"
    assert every(text, lexicon) == text


def test_chinese(lexicon: Lexicon):
    text = "我想查询一下医生的价格"
    assert set(told(text, lexicon)) == {"查询", "医生", "价格"}
    changed = every(text, lexicon)
    assert changed != text and "一下" in changed
    assert every(text, lexicon, protect(["医生价格"])).count("医生") == 1
    assert "不能" in every("我的账号不能登录", lexicon)


@pytest.mark.parametrize(
    "text",
    [
        "快递员没给我打", "快递费很贵", "设备显示故障码", "轴承温度过高", "打开汽车之家", "付款码", "价格表", "小孩子",
        "工商银行手机银行", "网易云音乐", "手机充电很慢", "开关跳闸", "系统提示密码错误", "不经常",
    ],
)  # fmt: skip
def test_what_a_chinese_word_is_part_of_stays(lexicon: Lexicon, text: str):
    assert told(text, lexicon) == {}


@pytest.mark.parametrize(
    "text",
    [
        "I want a refund", "please help me change it", "my phone will not start", "I need to use my card",
        "show me more",         "what happened to it", "he is receiving it", "tell me why", "there is a red trailer",
        "please find me a table",
    ],
)  # fmt: skip
def test_what_has_no_synonym_that_people_would_write_stays(lexicon: Lexicon, text: str):
    assert told(text, lexicon) == {}


def test_a_line_with_an_arrow_goes_one_way(lexicon: Lexicon):
    assert "现在" in told("目前很好", lexicon)["目前"] and told("现在很好", lexicon) == {}
    assert told("please assist him", lexicon)["assist"] == ("help",) and told("please help him", lexicon) == {}


@pytest.mark.parametrize(
    ("text", "word", "instead"),
    [
        ("I want to pay", "want", "wish"), ("I tried to pay", "tried", "attempted"), ("I'm at home", "I'm", "i am"),
        ("please contact the seller", "contact", "get in touch with"), ("it seems to work", "seems", "appears"),
        ("then I'm late", "I'm", "i am"),
    ],
)  # fmt: skip
def test_what_stands_beside_a_word_decides(lexicon: Lexicon, text: str, word: str, instead: str):
    assert told(text, lexicon)[word] == (instead,)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("I want a refund", "want"), ("I tried the card", "tried"), ("it's been a week", "it's"),
        ("she contacted the seller", "contacted"), ("I can't seem to pay", "seem"), ("how soon will it come", "soon"),
    ],
)  # fmt: skip
def test_beside_other_words_it_stays(lexicon: Lexicon, text: str, word: str):
    assert word in text.split() and word not in told(text, lexicon)


def test_own_table_goes_first(lexicon: Lexicon):
    mine = replace(lexicon, own={"film": ("motion-picture",), "手机": ("终端",)}, entries={})
    assert every("the Film was good", mine) == "the Film was good"  # a name in mid sentence
    assert every("the film was great", mine, protect(["great"])) == "the motion-picture was great"
    assert "终端" in every("我的手机坏了", mine)


def test_the_rate_is_kept_where_enough_words_are_eligible(lexicon: Lexicon):
    text = "the problem with the film and the phone is big and the shop is small"
    total = changed = 0
    for epoch in range(3000):
        after = synonyms(text, generator(1, epoch, "r", "synonyms"), rate=0.1, lexicon=lexicon)
        changed += sum(a != b for a, b in zip(text.split(), after.split(), strict=True))
        total += len(text.split())
    assert changed / total == pytest.approx(0.1, abs=0.005)


def test_a_rate_of_nothing_changes_nothing_and_every_choice_comes_up(lexicon: Lexicon):
    text = "that was the dreadful day"
    assert synonyms(text, Random(1), rate=0.0, lexicon=lexicon) == text
    seen = Counter(synonyms(text, generator(0, e, "r", "s"), rate=0.2, lexicon=lexicon).split()[3] for e in range(200))
    assert set(seen) == {"awful", "terrible"}


@given(
    st.text(max_size=80) | st.lists(st.sampled_from(PIECES)).map(" ".join),
    st.integers(0, 2**32),
)  # fmt: skip
def test_any_text_keeps_what_must_be_kept_and_is_the_same_for_the_same_draw(text: str, seed: int):
    lexicon = shipped()
    once = synonyms(text, Random(seed), rate=0.5, lexicon=lexicon)
    assert once == synonyms(text, Random(seed), rate=0.5, lexicon=lexicon)
    assert kept_spans(once) == kept_spans(text)
    assert once.count("not") == text.count("not")


def test_speed(lexicon: Lexicon):
    texts = [
        f"I have the problem that my phone number {place} is wrong and the shop can't fix it" for place in range(2000)
    ]
    synonyms(texts[0], Random(0), rate=0.1, lexicon=lexicon)
    best = min(_seconds(texts, lexicon) for _ in range(3))
    assert len(texts) / best > 5_000  # 20,000 and more on an idle core; a busy machine is no fault of the code


def _seconds(texts: list[str], lexicon: Lexicon) -> float:
    start = time.process_time()
    for place, text in enumerate(texts):
        synonyms(text, generator(0, 0, str(place), "synonyms"), rate=0.1, lexicon=lexicon)
    return time.process_time() - start
