"""How far two texts overlap: BLEU counts and ROUGE-L, equal to sacrebleu and rouge_score, quick enough to resample."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tuneloop.examples.think import split_think
from tuneloop.score.statistics import Floats

# Han with its extensions and compatibility forms, kana, hangul: scripts that write no spaces a tokenizer could use.
CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f]")
_WORD = re.compile(rf"[a-z0-9]+|{CJK.pattern}")
ORDERS = 4


def answer_text(text: str, *, opened: bool) -> str:
    """What stands behind the reasoning, "" while it is not closed.

    Args:
        text: What the assistant wrote.
        opened: The prompt ended with an open `<think>`.
    """
    return split_think(text, opened_by_prompt=opened).answer


def cjk_share(texts: Sequence[str]) -> float:
    """Share of the letters and digits of all texts that are Chinese, Japanese or Korean characters; 0 for none."""
    cjk = letters = 0
    for text in texts:
        cjk += len(CJK.findall(text))
        letters += sum(character.isalnum() for character in text)
    return cjk / letters if letters else 0.0


def words_of(text: str) -> list[str]:
    """Lower-case Latin words and digits as rouge_score takes them, and each CJK character by itself."""
    return _WORD.findall(text.lower())


def rouge_l_of(predicted: str, expected: str) -> float:
    """ROUGE-L F1 of one pair, in [0, 1]; 0 where either side has no word.

    Equal to rouge_score's `rougeL` without stemming on text without CJK; CJK goes by characters.
    The longest common subsequence is found on bit vectors, a few hundred times quicker than its table.

    Source: Lin 2004 (W04-1013), section 3.1; Hyyro 2004, "Bit-parallel LCS-length computation revisited".
    """
    left, right = words_of(predicted), words_of(expected)
    if not left or not right:
        return 0.0
    places: dict[str, int] = {}
    for index, word in enumerate(left):
        places[word] = places.get(word, 0) | (1 << index)
    full = (1 << len(left)) - 1
    state = full
    for word in right:
        match = state & places.get(word, 0)
        state = ((state + match) | (state - match)) & full
    length = len(left) - state.bit_count()
    precision, recall = length / len(left), length / len(right)
    return 2 * precision * recall / (precision + recall) if length else 0.0


def bleu_counts(predicted: Sequence[str], expected: Sequence[str]) -> tuple[Floats, str]:
    """What each pair adds to corpus BLEU, and sacrebleu's tokenizer that was used.

    The tokenizer is `zh` where any expected text has CJK characters (`13a` does not split them), else `13a`.

    Returns:
        (N, 10) float64: n-gram matches of orders 1 to 4, n-grams of orders 1 to 4, predicted length, expected length.
    """
    from sacrebleu.metrics.bleu import BLEU

    tokenizer = "zh" if any(CJK.search(text) for text in expected) else "13a"
    # effective_order touches only the sentence's own score, which is not read, and silences a warning about it.
    scorer = BLEU(tokenize=tokenizer, effective_order=True, max_ngram_order=ORDERS)
    counts = np.zeros((len(predicted), 2 * ORDERS + 2))
    for row, (said, wanted) in enumerate(zip(predicted, expected, strict=True)):
        score = scorer.sentence_score(said, [wanted])
        counts[row] = [*score.counts, *score.totals, score.sys_len, score.ref_len]
    return counts, tokenizer


def bleu_of_sums(sums: Floats) -> Floats:
    """Corpus BLEU in [0, 1] from sums of `bleu_counts`, with sacrebleu's default (exponential) smoothing.

    Args:
        sums: (draws, 10).

    Source: Post 2018 (W18-6319); Chen & Cherry 2014 (W14-3346), method 3, as in sacrebleu 2.6 `BLEU.compute_bleu`.
    """
    matches, totals = sums[:, :ORDERS], sums[:, ORDERS : 2 * ORDERS]
    said, wanted = sums[:, -2], sums[:, -1]
    # An order without a match counts as 1 / 2**k of one match, k being how many such orders stand before, plus this.
    halvings = 2.0 ** np.cumsum(matches == 0, axis=1)
    safe = np.maximum(totals, 1.0)
    precision = np.where(matches > 0, matches / safe, 1.0 / (halvings * safe))
    geometric = np.exp(np.log(precision).mean(axis=1))
    short = np.divide(wanted, said, out=np.ones_like(said), where=said > 0)
    penalty = np.where(said < wanted, np.exp(np.minimum(1.0 - short, 0.0)), 1.0)
    # sacrebleu: no match at all, or no n-gram of the highest order, is 0.
    return np.asarray(np.where((matches.sum(axis=1) > 0) & (totals > 0).all(axis=1), penalty * geometric, 0.0))
