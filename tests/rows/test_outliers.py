from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
from benchmarks.dirt.noise import noise_rows
from benchmarks.dirt.sets import made_up
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneloop.errors import RecipeError
from tuneloop.records import Row
from tuneloop.rows import outliers
from tuneloop.rows.bulk import fit_bulk
from tuneloop.rows.outliers import (
    AT_MEDIAN,
    DICTIONARY_ROWS,
    FEWEST_ROWS,
    TYPICAL,
    NoiseScores,
    calibrated,
    dictionary_pairs,
    noise_doubts,
    noise_figures,
    noise_scores,
    noise_scores_of_blocks,
)

CLEAN = [row["text"] for row in made_up(400)]
APART = list({"".join(sorted(text.split())): text for text in CLEAN}.values())
"""No two with the same words: these would be as surprising as each other, and chance would say which is trusted."""


def grams(text: str) -> Counter[str]:
    """The 2- to 4-grams of a lower-case text, as the module's docstring says."""
    padded = f" {text} "
    windows = [padded[start : start + size] for size in (2, 3, 4) for start in range(len(padded) - size + 1)]
    return Counter(window for window in windows if " " not in window[1:-1])


def surprises(texts: list[str], refits: int, step: int = 1) -> list[float]:
    """The surprise of each text, row by row and gram by gram, with the row taken out of the rows that are counted."""
    counted = [grams(text) for text in texts]
    trusted = counted_rows = set(range(0, len(texts), step))
    for refit in range(refits + 1):
        sums = []
        for row, mine in enumerate(counted):
            others = trusted - {row}
            known = Counter(gram for other in others for gram in counted[other])
            weights = [times * math.log((len(others) + 1) / (known[gram] + 0.5)) for gram, times in mine.items()]
            sums.append((sum(weights), sum(mine.values())))
        known_rows = counted_rows if refit < refits else range(len(texts))
        median = float(np.median([sums[row][0] / sums[row][1] for row in known_rows]))
        values = [(one + 3 * median) / (total + 3) for one, total in sums]
        if refit < refits:
            end = np.quantile([values[row] for row in counted_rows], 0.9)
            trusted = {row for row in counted_rows if values[row] <= end}
    return values


@pytest.mark.parametrize(("refits", "step"), [(0, 1), (1, 1), (2, 1), (0, 3), (2, 3)])
def test_the_surprise_is_the_definition(monkeypatch: pytest.MonkeyPatch, refits: int, step: int):
    monkeypatch.setattr(outliers, "REFITS", refits)
    monkeypatch.setattr(outliers, "STATISTICS_ROWS", {1: 50_000, 3: 30}[step])
    texts = [*APART[:70], "zzz qqq", "xkcd xkcd"]
    monkeypatch.setattr(outliers, "dictionary_pairs", lambda: np.zeros(outliers.BUCKETS))
    # Two n-grams may share a bucket, hence the tolerance.
    np.testing.assert_allclose(noise_scores(texts).wording, surprises(texts, refits, step), atol=0.02)


def test_a_row_never_speaks_for_itself(monkeypatch: pytest.MonkeyPatch):
    """A row's own n-grams count nothing, even where it is trusted: they are as rare as if nobody had ever seen them."""
    monkeypatch.setattr(outliers, "REFITS", 0)
    monkeypatch.setattr(outliers, "TYPICAL", 0.0)
    monkeypatch.setattr(outliers, "dictionary_pairs", lambda: np.zeros(outliers.BUCKETS))
    found = noise_scores([*CLEAN[:80], "xqzj"])
    assert found.wording[-1] == pytest.approx(math.log(81 / 0.5), abs=0.01)
    assert found.wording[-1] == found.wording.max()


def test_digits_count_as_one_digit_and_case_and_width_do_not_count():
    texts = [*CLEAN[:80], "call 555 now", "call 131 now", "ＣＡＬＬ 777 NOW"]
    found = noise_scores(texts).wording[-3:]
    assert found[0] == found[1] == found[2]


def test_pairs_that_the_dictionary_knows_are_less_surprising():
    base = ["今天天气很好我们去公园", "明天会不会下雨呢请告诉我"] * 40
    known, unknown = noise_scores([*base, "葡萄", "萄葡"]).wording[-2:]
    one_of_four = 1 / (1 + TYPICAL)
    assert unknown - known == pytest.approx(one_of_four * math.log((DICTIONARY_ROWS + 0.5) / 0.5), abs=0.02)
    assert 0.02 < dictionary_pairs().mean() < 0.2


@given(st.integers(1, 200))
@settings(max_examples=8)
def test_block_by_block_is_the_same_as_all_at_once(size: int):
    before, outliers.STATISTICS_ROWS = outliers.STATISTICS_ROWS, 60
    try:
        check_blocks(size)
    finally:
        outliers.STATISTICS_ROWS = before


def check_blocks(size: int):
    texts = [*CLEAN[:150], "qwpo eiru", "今天", ""]
    whole = noise_scores(texts)
    parts = noise_scores_of_blocks(lambda: [texts[start : start + size] for start in range(0, len(texts), size)])
    for name in ("score", "wording", "shape", "by_shape"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1])
def test_planted_noise_falls_under_the_line_and_clean_rows_do_not(share: float):
    chance = random.Random(3)
    noise = [text for text, _ in noise_rows(CLEAN, "en", round(share * len(CLEAN)), chance)]
    texts = [*CLEAN, *noise]
    order = list(range(len(texts)))
    chance.shuffle(order)
    under = np.empty(len(texts), bool)
    under[order] = noise_scores([texts[place] for place in order]).score < 0.3
    assert under[: len(CLEAN)].mean() <= 0.08  # made-up rows: a few phrases, in a small set
    assert not noise or under[len(CLEAN) :].mean() >= 0.85


def test_scores_lie_in_0_to_1_the_median_at_07_and_the_worst_fortieth_under_03():
    values = np.random.default_rng(0).normal(10, 3, 4000)
    scores = calibrated(values)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert np.median(scores) == pytest.approx(AT_MEDIAN, abs=0.01)
    assert (scores < 0.3).mean() == pytest.approx(0.025, abs=0.006)
    assert np.array_equal(np.argsort(scores), np.argsort(-values))


def test_very_far_values_and_equal_ones_give_numbers():
    assert calibrated(np.array([0.0] * 99 + [1e9]))[-1] == pytest.approx(0, abs=1e-6)
    same = calibrated(np.full(60, 2.0))
    assert np.isfinite(same).all() and (same >= 0.3).all()


def test_a_small_set_is_not_judged():
    found = noise_scores(["x%$#", *CLEAN[: FEWEST_ROWS - 2]])
    assert (found.score == AT_MEDIAN).all() and len(found.score) == FEWEST_ROWS - 1
    assert len(noise_scores([]).score) == 0


def test_a_row_without_ngrams_is_no_noise_by_its_wording():
    found = noise_scores([*CLEAN[:100], ""])
    assert found.wording[-1] == pytest.approx(np.median(found.wording), abs=0.05)


def test_the_doubts_are_the_rows_under_the_line_in_order():
    rows = [Row(id=str(number), source=f"a:{number}", text="x") for number in range(4)]
    by_shape = np.array([False, True, False, False])
    scores = NoiseScores(np.array([0.9, 0.1, 0.3, 0.2]), np.zeros(4), np.zeros(4), by_shape, np.ones(4, bool))
    found = noise_doubts(rows, scores)
    assert [(one.row, one.source, one.stage, one.score) for one in found] == [
        ("1", "a:1", "outliers", 0.1),
        ("3", "a:3", "outliers", 0.2),
    ]
    assert "signs" in found[0].reason and "wording" in found[1].reason
    assert [one.row for one in noise_doubts(rows, scores, review_below=0.5)] == ["1", "2", "3"]


@pytest.mark.parametrize("line", [-0.1, 1.1, float("nan")])
def test_a_line_that_is_no_share_is_refused(line: float):
    with pytest.raises(RecipeError, match="0 to 1"):
        noise_doubts([], NoiseScores(*np.zeros((3, 0)), *np.zeros((2, 0), bool)), review_below=line)


def test_strangers_do_not_vouch_for_each_other():
    """A twentieth of the set in one other language, every row like the next, is found; a tenth does not blind it."""
    numbers = ("eins", "zwei", "drei", "vier", "fünf", "sechs")
    same = [f"wo ist die nächste haltestelle nummer {word}" for word in numbers]
    texts = [*CLEAN, *(f"{text} {end}" for text in same for end in ("bitte", "danke", "heute"))]
    scores = noise_scores(texts).score
    assert (scores[len(CLEAN) :] < 0.3).all()
    assert fit_bulk(-scores).median < -0.6


# -- several scripts ------------------------------------------------------------------------------------------------

CHINESE = [
    f"{start}{thing}{end}" for start in ("我的", "请问", "昨天买的", "为什么", "刚收到的")
    for thing in ("卡", "水壶", "耳机")
    for end in ("坏了", "怎么用", "还没到", "要多少钱", "不能退吗")
]  # fmt: skip


def test_a_script_of_many_rows_is_scored_as_a_set_of_its_own():
    mixed = [text for pair in zip(CLEAN[: len(CHINESE)], CHINESE, strict=True) for text in pair] + CLEAN[len(CHINESE) :]
    found = noise_scores(mixed)
    chinese = np.array([not text.isascii() for text in mixed])
    np.testing.assert_array_equal(found.score[chinese], noise_scores(CHINESE).score)
    np.testing.assert_array_equal(found.score[~chinese], noise_scores(CLEAN).score)
    by_blocks = noise_scores_of_blocks(lambda: (mixed[place : place + 7] for place in range(0, len(mixed), 7)))
    np.testing.assert_array_equal(by_blocks.score, found.score)
    assert (found.score[chinese] < 0.3).mean() < 0.2


def test_a_script_of_some_rows_is_not_judged_and_one_of_a_few_rows_is_noise():
    some = noise_scores(CLEAN + CHINESE[: len(CLEAN) // 10])
    assert (some.score[len(CLEAN) :] == AT_MEDIAN).all() and len(CLEAN) // 10 < FEWEST_ROWS
    assert some.judged[: len(CLEAN)].all() and not some.judged[len(CLEAN) :].any()
    figures = noise_figures(some, review_below=0.3)
    assert (figures["rows"], figures["unjudged"]) == (len(CLEAN), len(CLEAN) // 10) == (sum(figures["counts"]), 40)
    few = noise_scores(CLEAN + CHINESE[: len(CLEAN) // 25])
    assert (few.score[len(CLEAN) :] < 0.3).all()


def test_rows_without_letters_are_judged_among_most_rows():
    assert (noise_scores([*CLEAN, *(["12 - 34"] * 2), "!?!?"]).score[len(CLEAN) :] < 0.3).all()
