"""Stage 3, the noise score: how much a row looks like the rest of its set, in [0, 1], by TF-IDF of characters.

A row's text is normalised (NFKC, case, white space; digits become 0) and read twice: its *wording* as it stands, and
its *shape*, every letter replaced by its script (script.py). Of each reading the n-grams of 2 to 4 characters are
counted (Chinese, Japanese, Korean: 2), and the row's *surprise* is the mean TF-IDF weight of its n-grams, in nats:

    idf(g)   = log((n + 1) / (df(g) + prior(g) + 1/2))
    mean     = sum over g of tf(g) * idf(g) / sum over g of tf(g)
    surprise = (sum over g of tf(g) * idf(g) + TYPICAL * median of the means) / (sum over g of tf(g) + TYPICAL)

The wording of a short row is thereby judged as if it went on for TYPICAL n-grams more, all of them ordinary: two rare
characters say less than ten. The shape has no such term.

n and df(g) count the other rows (of a large set a sample of them), never the row itself: taking its own part out of
both is leave-one-out in closed form. They count trusted rows only: after a first pass over all rows, the tenth with the
most surprise is left out of the statistics and everything is counted again, twice (concentration steps as in Rousseeuw
& Van Driessen 1999, "A fast algorithm for the minimum covariance determinant estimator", section 2), so that noisy rows
do not vouch for each other. prior(g) is DICTIONARY_ROWS for a pair of Chinese characters that jieba's dictionary has in
a word, else 0: names that stand in one row alone are no noise, characters that no word has side by side are.

Each surprise becomes a normal score within the bulk of its set (bulk.py: the wording by a fitted tail, the shape, which
hardly differs in many sets, on a straight scale), the larger of the two counts, and the result is mapped by a logistic
curve through two points: the median of the bulk scores 0.7, and its 2.5th percentile scores 0.3. Up to a tenth of a set
may be noise without moving these points much.

Rows like their neighbours are not what this looks for: the cosine to the nearest 1, 3 or 10 rows, or to the centroid,
finds half to four fifths of English noise and a tenth to a half of Chinese noise at the same false alarms, since a
template with two words filled in stays near its like.

A script that a twentieth of the rows or more are written in (OWN_SHARE, and at least OWN_ROWS) is scored as a set of
its own: the Chinese rows of a set that is mostly English are no noise; fewer than FEWEST_ROWS of them are not judged.
A script of fewer rows still is noise beside the others.

Memory is that of one block of texts, two tables of BUCKETS numbers, and four numbers a row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneloop.errors import RecipeError
from tuneloop.records import Doubt, Row
from tuneloop.rows.bulk import fit_bulk, linear_scores
from tuneloop.rows.clean import normalised
from tuneloop.rows.mojibake import pairs_of_words
from tuneloop.rows.ngrams import BUCKETS, CodePoints, Codes, Counts, Floats, Ints, codes_of, count_ngrams
from tuneloop.rows.script import SCRIPTS, kind_of_sign, script_of
from tuneloop.rows.texts import blocks_of, in_order

Blocks = Callable[[], Iterable[Sequence[str]]]
"""Gives the texts of a set from the start, in order, as `blocks_of` does; it is asked several times."""
Bools = NDArray[np.bool_]

SIZES = (2, 3, 4)
DICTIONARY_ROWS = 3.0
STATISTICS_ROWS = 50_000
"""A larger set is counted on every second row, or third, and so on; every row is scored."""
MISTRUSTED = 0.10
REFITS = 2
BINS = 40
"""Of the scores' distribution in the report; 0.3 is the edge of one."""
FEWEST_ROWS = 50
"""Fewer rows have no bulk that could be told from noise; they all score AT_MEDIAN."""
OWN_SHARE, OWN_ROWS = 0.05, 20
AT_MEDIAN, AT_END, END_TAIL = 0.7, 0.3, 0.025
TYPICAL = 3.0
LEAST_WORDING, LEAST_SHAPE = 0.2, 1.6
"""Nats from the median that the bulk's upper 12 % is taken to have at least: smaller differences mean nothing."""
STAGE = "outliers"


@dataclass(frozen=True)
class NoiseScores:
    """What stage 3 knows of N rows.

    Attributes:
        score: (N,) in [0, 1]; low is noise.
        wording: (N,) surprise of the text, nats.
        shape: (N,) surprise of its shape, nats.
        by_shape: (N,) whether the shape is what decided.
        judged: (N,) False for rows that had too few like them; they score AT_MEDIAN.
    """

    score: Floats
    wording: Floats
    shape: Floats
    by_shape: Bools
    judged: Bools


def noise_scores(texts: Sequence[str]) -> NoiseScores:
    """The noise score of every text of a set.

    Args:
        texts: All of the set; duplicates should be gone, since they vouch for each other.
    """
    return noise_scores_of_blocks(lambda: blocks_of(texts))


def noise_scores_of_blocks(blocks: Blocks) -> NoiseScores:
    """The noise scores of a set that need not fit into memory; the same as of all its texts at once.

    Args:
        blocks: Gives the texts from the start; asked seven times, and more where groups of scripts are scored.
    """
    group = _groups(blocks)
    groups = int(group.max(initial=0)) + 1
    if groups == 1:
        return _scores(blocks, len(group))
    score, wording, shape = np.zeros((3, len(group)))
    by_shape, judged = np.zeros((2, len(group)), bool)
    found = NoiseScores(score, wording, shape, by_shape, judged)
    for one in range(groups):
        inside = group == one
        scores = _scores(functools.partial(_of_group, blocks, group, one), int(inside.sum()))
        for name, values in vars(scores).items():
            getattr(found, name)[inside] = values
    return found


def _groups(blocks: Blocks) -> NDArray[np.int8]:
    """(N,) the number of the group that each text is scored in: 0, or that of a script that many texts have."""
    scripts = ["", *SCRIPTS, "other"]

    def read(_: int, texts: Sequence[str]) -> NDArray[np.int8]:
        return np.array([scripts.index(script_of(text)) for text in texts], dtype=np.int8)

    parts = list(in_order(blocks(), read))
    counts = sum((np.bincount(part, minlength=len(scripts)) for part in parts), np.zeros(len(scripts), np.int64))
    rows = int(counts.sum())
    counts[[0, int(counts.argmax())]] = 0  # the script of most texts, and texts without letters, are group 0
    own = np.flatnonzero((counts >= OWN_ROWS) & (counts >= OWN_SHARE * rows))
    number = np.zeros(len(scripts), np.int8)
    number[own] = np.arange(1, len(own) + 1)
    return np.concatenate([np.zeros(0, np.int8), *(number[part] for part in parts)])


def _of_group(blocks: Blocks, group: NDArray[np.int8], one: int) -> Iterator[Sequence[str]]:
    """The texts of a group, block by block."""
    start = 0
    for texts in blocks():
        inside = np.flatnonzero(group[start : start + len(texts)] == one).tolist()
        start += len(texts)
        if inside:
            yield [texts[place] for place in inside]


def _scores(blocks: Blocks, rows: int) -> NoiseScores:
    """The scores of one group of texts."""
    if rows < FEWEST_ROWS:
        same = np.zeros(rows)
        return NoiseScores(same + AT_MEDIAN, same, same, *np.zeros((2, rows), bool))
    step = -(-rows // STATISTICS_ROWS)

    def some() -> Iterator[Sequence[str]]:
        return _every(blocks(), step)

    readings = (_wording, _shape)
    trusted = [np.ones(len(range(0, rows, step)), bool) for _ in readings]
    tables = _document_frequencies(some, readings, trusted)
    for _ in range(REFITS):
        surprise = _surprises(some, readings, tables, trusted)
        trusted = [values <= np.quantile(values, 1 - MISTRUSTED) for values in surprise]
        tables = _document_frequencies(some, readings, trusted)
    counted = [np.zeros(rows, bool) for _ in readings]
    for whole, trust in zip(counted, trusted, strict=True):
        whole[::step] = trust
    wording, shape = _surprises(blocks, readings, tables, counted)
    by_wording = fit_bulk(wording, floor=LEAST_WORDING).normal_scores(wording)
    by_shape = linear_scores(shape, floor=LEAST_SHAPE)
    score = calibrated(np.maximum(by_wording, by_shape))
    return NoiseScores(score, wording, shape, by_shape > by_wording, np.ones(rows, bool))


def calibrated(worse: Floats) -> Floats:
    """Map values of which more is worse to [0, 1]: the bulk's median to 0.7, its worst 2.5 % below 0.3.

    Args:
        worse: (N,) finite; up to a tenth of them may be strangers to the bulk.
    """
    bulk = fit_bulk(worse)
    end = max(bulk.upper_quantile(worse, END_TAIL), bulk.median + 1e-6)
    steep = (_logit(AT_MEDIAN) - _logit(AT_END)) / (end - bulk.median)
    # Kept where exp neither overflows nor loses the order of what lies far out.
    height = np.clip(_logit(AT_END) - steep * (worse - end), -500, 500)
    return np.asarray(1 / (1 + np.exp(-height)))


def noise_doubts(rows: Sequence[Row], scores: NoiseScores, *, review_below: float = AT_END) -> list[Doubt]:
    """The rows that a person should look at, in order.

    Args:
        rows: The rows that were scored.
        scores: Their scores.
        review_below: Scores under this are doubted, in [0, 1].

    Raises:
        RecipeError: if `review_below` is no share.
    """
    if not 0 <= review_below <= 1:
        raise RecipeError("review_below must be a share", got=str(review_below), allowed="0 to 1")
    found = []
    for place in np.flatnonzero(scores.score < review_below).tolist():
        row, what = rows[place], "signs and scripts" if scores.by_shape[place] else "wording"
        found.append(Doubt(row.id, row.source, STAGE, f"{what} unlike the rest of the set", float(scores.score[place])))
    return found


def noise_figures(scores: NoiseScores, *, review_below: float) -> dict[str, Any]:
    """The distribution of the scores, JSON-able: rows (judged ones), unjudged, judged (any), review_below, below, edges
    (BINS + 1), counts (BINS).

    Args:
        scores: Of all rows of the set.
        review_below: As for `noise_doubts`.
    """
    counts, edges = np.histogram(scores.score[scores.judged], bins=BINS, range=(0.0, 1.0))
    rows = int(scores.judged.sum())
    return {
        "rows": rows, "unjudged": len(scores.judged) - rows, "judged": rows > 0, "review_below": review_below,
        "below": int((scores.score < review_below).sum()), "edges": [round(edge, 6) for edge in edges.tolist()],
        "counts": counts.tolist(),
    }  # fmt: skip


def _every(blocks: Iterable[Sequence[str]], step: int) -> Iterator[Sequence[str]]:
    """Every `step`th text of all blocks, the first one among them."""
    start = 0
    for texts in blocks:
        yield texts[-start % step :: step]
        start += len(texts)


# -- surprise -------------------------------------------------------------------------------------------------

_Reading = Callable[[Codes], Codes]


def _document_frequencies(blocks: Blocks, readings: Sequence[_Reading], trusted: Sequence[Bools]) -> list[Floats]:
    """For each reading, in how many trusted rows each bucket stands."""
    tables = [np.zeros(BUCKETS) for _ in readings]

    def counted(start: int, texts: Sequence[str]) -> list[tuple[Ints, Ints]]:
        found = zip(_counts(texts, readings), trusted, strict=True)
        return [np.unique(one.bucket[trust[start : start + len(one)][one.row_of()]], return_counts=True)
                for one, trust in found]  # fmt: skip

    for parts in in_order(blocks(), counted):
        for table, (buckets, rows) in zip(tables, parts, strict=True):
            table[buckets] += rows
    return tables


def _surprises(
    blocks: Blocks, readings: Sequence[_Reading], tables: Sequence[Floats], trusted: Sequence[Bools]
) -> list[Floats]:
    """For each reading, the surprise of each row, itself left out."""
    prior = DICTIONARY_ROWS * dictionary_pairs()
    totals = [int(trust.sum()) for trust in trusted]

    def surprised(start: int, texts: Sequence[str]) -> list[tuple[Floats, Floats]]:
        found = []
        for place, one in enumerate(_counts(texts, readings)):
            own = trusted[place][start : start + len(one)][one.row_of()].astype(float)
            rows = tables[place][one.bucket] - own + (prior[one.bucket] if readings[place] is _wording else 0.0)
            weighted = one.sums(one.times * np.log((totals[place] - own + 1) / (rows + 0.5)))
            found.append((weighted, one.sums(one.times)))
        return found

    parts = list(in_order(blocks(), surprised))
    typical = [TYPICAL if reading is _wording else 0.0 for reading in readings]
    found = []
    for place, more in enumerate(typical):
        sums, counts = (np.concatenate([part[place][which] for part in parts]) for which in (0, 1))
        found.append(_means(sums, counts, more))
    return found


def _means(sums: Floats, totals: Floats, typical: float) -> Floats:
    """(N,) means, drawn to their median as by `typical` more n-grams; the median itself for a row that has none."""
    some = totals > 0
    median = float(np.median(sums[some] / totals[some])) if some.any() else 0.0
    drawn = np.divide(sums + typical * median, totals + typical, out=np.full(len(sums), median), where=some)
    return np.asarray(drawn)


def _counts(texts: Sequence[str], readings: Sequence[_Reading]) -> list[Counts]:
    """The n-grams of a block in each reading."""
    codes = codes_of([normalised(text) for text in texts])
    return [count_ngrams(reading(codes), SIZES) for reading in readings]


def _wording(codes: Codes) -> Codes:
    points = codes.points
    return Codes(
        np.where((points >= ord("0")) & (points <= ord("9")), np.uint32(ord("0")), points), codes.row, codes.rows
    )


def _shape(codes: Codes) -> Codes:
    table = _kinds()
    for point in np.unique(codes.points[table[codes.points] == 0]):
        table[point] = ord(kind_of_sign(chr(point)))
    return Codes(table[codes.points], codes.row, codes.rows)


@functools.lru_cache(maxsize=1)
def _kinds() -> CodePoints:
    """Code point -> the code point of its kind; 0 where nobody has asked yet."""
    return np.zeros(0x110000, dtype=np.uint32)


@functools.lru_cache(maxsize=1)
def dictionary_pairs() -> Floats:
    """1 for the bucket of every pair of characters that stands in a word of jieba's dictionary, else 0."""
    table = np.zeros(BUCKETS)
    table[count_ngrams(codes_of(sorted(pairs_of_words())), (2,)).bucket] = 1.0
    return table


def _logit(share: float) -> float:
    return float(np.log(share / (1 - share)))
