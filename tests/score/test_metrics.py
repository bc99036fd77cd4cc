"""Every figure against the reference library, and one contract over every metric."""

import random
import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from tuneloop.errors import DataError, RecipeError, ShapeError
from tuneloop.score.metrics import (
    MEASURES,
    METRICS,
    Options,
    calibration,
    confusion_matrix,
    difference,
    loss_difference,
    loss_figure,
    measure,
    per_class,
)
from tuneloop.score.statistics import wilson

CLASSES = ["card", "loan", "mortgage", "transfer", "密码"]


def drawn(seed, right=0.7, rows=300):
    generator = random.Random(seed)
    expected = [generator.choice(CLASSES[:4]) for _ in range(rows)]
    predicted = [e if generator.random() < right else generator.choice(CLASSES) for e in expected]
    return predicted, expected


def test_classification_figures_are_sklearns():
    predicted, expected = drawn(1)
    found = measure(["accuracy", "macro_f1", "micro_f1"], predicted, expected)
    assert found["accuracy"]["value"] == pytest.approx(reference.accuracy_score(expected, predicted))
    assert found["macro_f1"]["value"] == pytest.approx(reference.f1_score(expected, predicted, average="macro"))
    assert found["micro_f1"]["value"] == pytest.approx(reference.f1_score(expected, predicted, average="micro"))
    assert (found["accuracy"]["low"], found["accuracy"]["high"]) == wilson(
        sum(map(str.__eq__, predicted, expected)), 300
    )
    assert found["macro_f1"]["low"] < found["macro_f1"]["value"] < found["macro_f1"]["high"]


def test_macro_f1_interval_is_that_of_resampled_rows():
    predicted, expected = drawn(2, rows=150)
    generator = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_hand = [
            reference.f1_score([expected[i] for i in rows], [predicted[i] for i in rows], average="macro")
            for rows in generator.integers(0, 150, size=(600, 150))
        ]
    found = measure(["macro_f1"], predicted, expected)["macro_f1"]
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.percentile(by_hand, [2.5, 97.5])), abs=0.02)


def test_per_class_and_confusion_are_sklearns():
    predicted, expected = drawn(3)
    labels, counts = confusion_matrix(predicted, expected)
    assert counts.tolist() == reference.confusion_matrix(expected, predicted, labels=labels).tolist()
    wanted = reference.classification_report(expected, predicted, output_dict=True, zero_division=0)
    found = per_class(predicted, expected)
    assert set(found) == set(labels)
    for label in CLASSES[:4]:
        reported = [wanted[label][key] for key in ("precision", "recall", "f1-score", "support")]
        assert [found[label][key] for key in ("precision", "recall", "f1", "support")] == pytest.approx(reported)


def test_intervals_of_precision_and_recall_are_scipys():
    predicted, expected = drawn(3)
    found = per_class(predicted, expected)
    for label in CLASSES[:4]:
        right = sum(p == e == label for p, e in zip(predicted, expected, strict=True))
        assert predicted.count(label) != expected.count(label), "each is over rows of its own"
        for figure, rows in (("precision", predicted), ("recall", expected)):
            wanted = stats.binomtest(right, rows.count(label)).proportion_ci(method="wilson")
            ends = (found[label][f"{figure}_low"], found[label][f"{figure}_high"])
            assert ends == pytest.approx((wanted.low, wanted.high), abs=1e-9), (label, figure)


def test_what_a_class_cannot_have_is_absent():
    found = per_class(["a", "a", "c"], ["a", "b", "a"])
    assert not [key for key in found["b"] if key.startswith("precision")]
    assert not [key for key in found["c"] if key.startswith("recall")]
    assert {"recall", "recall_low", "recall_high"} < set(found["b"])
    assert {"precision", "precision_low", "precision_high"} < set(found["c"])
    assert found["b"]["f1"] == 0


SENTENCES = [
    ("The card was blocked, because it was stolen.", "The card was blocked because it had been stolen."),
    ("I'll send a new one", "We will send you a new one in 3 days"),
    ("", "Please call us."),
    ("Yes", "Yes, you can."),
    ("Your limit is 1,000 EUR & no more.", "Your limit is 1,000 EUR & no more."),
]
CHINESE = [
    ("您的卡已被冻结", "您的银行卡已经被冻结了"),
    ("请在3天内联系我们", "请您在3天内与我们联系"),
    ("好的", "好的,谢谢"),
]


@pytest.mark.parametrize(("pairs", "tokenizer"), [(SENTENCES, "13a"), (CHINESE, "zh"), ([("a b", "c d e f g")], "13a")])
def test_bleu_is_sacrebleus(pairs, tokenizer):
    import sacrebleu

    predicted, expected = zip(*pairs, strict=True)
    found = METRICS["bleu"](predicted, expected)["bleu"]
    wanted = sacrebleu.corpus_bleu(list(predicted), [list(expected)], tokenize=tokenizer).score / 100
    assert found["value"] == pytest.approx(wanted, abs=1e-9)
    assert found["tokenizer"] == tokenizer


def test_bleu_of_random_corpora_is_sacrebleus():
    import sacrebleu

    generator = random.Random(0)
    for size in (1, 2, 5, 30):
        for _ in range(20):
            texts = [
                [" ".join(generator.choices("abcdef", k=generator.randint(0, 9))) for _ in range(size)]
                for _ in range(2)
            ]
            wanted = sacrebleu.corpus_bleu(texts[0], [texts[1]]).score / 100
            assert METRICS["bleu"](texts[0], texts[1])["bleu"]["value"] == pytest.approx(wanted, abs=1e-9)


def test_rouge_l_is_rouge_scores():
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    generator = random.Random(1)
    pairs = SENTENCES + [
        tuple(" ".join(generator.choices("abcd", k=generator.randint(0, 90))) for _ in "pe") for _ in range(50)
    ]
    for predicted, expected in pairs:
        wanted = scorer.score(expected, predicted)["rougeL"].fmeasure
        assert METRICS["rouge_l"]([predicted], [expected])["rouge_l"]["value"] == pytest.approx(wanted, abs=1e-12)


def test_rouge_l_of_chinese_goes_by_characters():
    # 5 of 5 against 6 characters, in order: P 1, R 5/6.
    assert METRICS["rouge_l"](["银行卡冻结"], ["银行卡被冻结"])["rouge_l"]["value"] == pytest.approx(10 / 11)


def test_answers_are_compared_behind_their_reasoning():
    predicted = ["<think>\nhm\n</think>\n\nparis  city", "<think>never ends paris city"]
    found = METRICS["exact_match"](predicted, ["<think>why</think>paris city", "paris city"])
    assert found["exact_match"]["value"] == 0.5
    opened = METRICS["exact_match"](
        ["hm</think>\nparis", "paris"], ["paris"] * 2, options=Options(opened_by_prompt=True)
    )
    assert opened["exact_match"]["value"] == 0.5


def test_think_figures_count_over_all_answers():
    answers = ["<think>a</think>b", "<think>a</think>", "<think>a", "no"]
    found = METRICS["think"](answers, [""] * 4)
    assert [found[name]["value"] for name in ("think_rate", "closed_tag_rate", "answer_after_think")] == [
        0.75,
        0.5,
        0.25,
    ]
    prompted = METRICS["think"](["a</think>b", "a"], [""] * 2, options=Options(opened_by_prompt=True))
    assert [figure["value"] for figure in prompted.values()] == [1.0, 0.5, 0.5]


@pytest.mark.parametrize("name", METRICS)
def test_contract_of_every_metric(name):
    predicted = [
        "<think>x</think>the card was lost today",
        "<think>y</think>we will call you back",
        "<think></think>a b c d e",
    ]
    perfect = METRICS[name](predicted, predicted)
    assert perfect
    for figure in perfect.values():
        assert figure["value"] == pytest.approx(1.0)
        assert 0.0 <= figure["low"] <= figure["value"] + 1e-9 <= figure["high"] + 2e-9
        assert figure["n"] == 3
    worst = METRICS[name](["zz zz zz zz"] * 3, predicted)
    assert all(figure["value"] == 0.0 for figure in worst.values())
    turned = METRICS[name](predicted[::-1], predicted[::-1])
    assert {k: f["value"] for k, f in turned.items()} == pytest.approx({k: f["value"] for k, f in perfect.items()})
    with pytest.raises(DataError):
        METRICS[name]([], [])
    with pytest.raises(ShapeError):
        METRICS[name](["a"], ["a", "b"])


def test_contract_covers_every_metric_and_measure():
    assert len(METRICS) == 7
    assert len(MEASURES) == 9


def test_unknown_metric_names_the_nearest():
    with pytest.raises(RecipeError, match="accuracy"):
        measure(["acuracy"], ["a"], ["a"])


@pytest.mark.parametrize("figure", ["accuracy", "macro_f1", "bleu", "rouge_l", "exact_match"])
def test_difference_is_that_of_the_two_figures(figure):
    a, expected = drawn(4, right=0.9)
    b, _ = drawn(4, right=0.5)
    texts = [[f"the {p} is a b c here" for p in side] for side in (a, b, expected)]
    found = difference(figure, [texts[0]], [texts[1]], texts[2])
    gap = METRICS[figure](texts[0], texts[2])[figure]["value"] - METRICS[figure](texts[1], texts[2])[figure]["value"]
    assert found.difference == pytest.approx(gap)
    assert found.low < gap < found.high
    assert found.verdict == "better"
    assert difference(figure, [texts[1], texts[1]], [texts[0]], texts[2]).verdict == "worse"


def test_loss_is_weighted_by_tokens_and_less_is_better():
    weights = np.array([1.0, 9.0, 5.0, 20.0] * 20)
    before, after = weights * 2.0, weights * 1.5
    before[0], after[0] = 3.0, 1.0
    figure = loss_figure(before, weights)
    assert figure["value"] == pytest.approx(before.sum() / weights.sum())
    found = loss_difference(after, before, weights)
    assert found.difference < 0
    assert found.verdict == "better"


def test_calibration_of_honest_and_of_boastful_confidence():
    generator = np.random.default_rng(0)
    sure = generator.random(4000)
    honest = calibration(sure.tolist(), (generator.random(4000) < sure).tolist())
    boastful = calibration([0.99] * 100, [True] * 50 + [False] * 50)
    assert honest["ece"]["value"] < 0.04
    assert boastful["ece"]["value"] == pytest.approx(0.49)
    assert boastful["bins"] == [{"confidence": pytest.approx(0.99), "accuracy": 0.5, "n": 100}]
    with pytest.raises(DataError):
        calibration([], [])
