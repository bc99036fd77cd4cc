"""The first sentence of the page says what the numbers say."""

from dataclasses import replace

import pytest

from tuneloop.report.story import read_story
from tuneloop.report.verdict import best_models, verdict_of


@pytest.fixture
def story(make_run):
    return read_story(make_run())


def told(story, **gaps):
    """`story` with the given differences (value, low, high) between tuned and each rival."""
    comparisons = []
    for rival, (value, low, high) in gaps.items():
        verdict = "better" if low > 0 else "worse" if high < 0 else "no difference"
        ends = {"difference": value, "low": low, "high": high, "p": 0.01, "verdict": verdict}
        comparisons.append({"a": "tuned", "b": rival, "metric": "accuracy", **ends})
    return replace(story, scores={**story.scores, "comparisons": comparisons})


def test_a_tuned_model_that_beats_all_is_said_to(story):
    verdict = verdict_of(told(story, floor=(0.031, 0.019, 0.043), encoder=(0.02, 0.01, 0.03), untuned=(0.6, 0.5, 0.7)))
    assert verdict.tone == "good"
    assert verdict.headline == "The tuned model beats the floor by 3.1 points [1.9, 4.3] on accuracy"
    assert verdict.others[1] == "The tuned model beats the untuned model by 60.0 points [50.0, 70.0] on accuracy"


def test_a_floor_that_wins_is_the_better_buy(story):
    verdict = verdict_of(told(story, floor=(-0.02, -0.035, -0.005), encoder=(0.02, 0.01, 0.03)))
    assert verdict.tone == "bad"
    assert verdict.headline.startswith("The floor is the better buy: it beats the tuned model by 2.0 points [0.5, 3.5]")
    assert any("fault" in text for text in verdict.others)


def test_an_encoder_that_is_level_is_the_better_buy_too(story):
    verdict = verdict_of(told(story, floor=(0.03, 0.02, 0.04), encoder=(0.003, -0.006, 0.012)))
    assert verdict.tone == "fair"
    assert verdict.headline.startswith("The encoder is the better buy")
    assert "+0.3 points [−0.6, 1.2]" in verdict.headline


def test_the_worst_rival_comes_first(story):
    verdict = verdict_of(told(story, floor=(-0.01, -0.02, -0.001), encoder=(-0.05, -0.06, -0.04)))
    assert verdict.headline.startswith("The encoder is the better buy")
    assert "The floor beats the tuned model by 1.0 points [0.1, 2.0] on accuracy" in verdict.others


def test_tuning_that_hurts_or_does_nothing_is_said(story):
    hurt = verdict_of(told(story, floor=(0.1, 0.05, 0.2), untuned=(-0.1, -0.2, -0.05)))
    assert (hurt.tone, "Tuning made it worse" in hurt.headline) == ("bad", True)
    idle = verdict_of(told(story, floor=(0.1, 0.05, 0.2), untuned=(0.01, -0.02, 0.05)))
    assert (idle.tone, "Tuning changed nothing" in idle.headline) == ("fair", True)


def test_a_comparison_saved_the_other_way_round_says_the_same(story):
    turned = [{"a": "floor", "b": "tuned", "metric": "accuracy", "difference": -0.031, "low": -0.043, "high": -0.019,
               "p": 0.01, "verdict": "worse"}]  # fmt: skip
    verdict = verdict_of(replace(story, scores={**story.scores, "comparisons": turned}))
    assert verdict.headline == "The tuned model beats the floor by 3.1 points [1.9, 4.3] on accuracy"


def test_without_comparisons_or_scores_nothing_is_claimed(story):
    alone = verdict_of(replace(story, scores={**story.scores, "comparisons": []}))
    assert (alone.tone, "Nothing was measured beside it" in alone.headline) == ("none", True)
    empty = verdict_of(replace(story, scores={}))
    assert (empty.tone, empty.headline) == ("none", "Nothing is scored yet")


def test_chinese_says_it_in_chinese(story):
    verdict = verdict_of(told(replace(story, language="zh"), floor=(0.031, 0.019, 0.043)))
    assert verdict.headline == "微调后的模型优于词袋基线：准确率高 3.1 个百分点 [1.9, 4.3]"


def test_generation_tells_the_loss_before_and_after(make_run):
    verdict = verdict_of(read_story(make_run(task="generation", skill={"floor": 0.4, "encoder": 0.3})))
    assert "on ROUGE-L" in verdict.headline
    assert any(text.startswith("Loss on held-out rows fell from 2.3") for text in verdict.others)


def test_best_is_highest_but_lowest_for_a_loss(make_run):
    story = read_story(make_run(task="generation"))
    assert best_models(story, "loss") == {"tuned"}
    assert best_models(story, "nothing") == set()
