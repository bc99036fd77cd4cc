"""The verdict in plain words: is the tuned model worth it, or is a cheap rival the better buy?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tuneloop.report.story import PLAIN_METRICS, Story

Tone = Literal["good", "fair", "bad", "none"]
CHEAP = ("floor", "encoder")


@dataclass(frozen=True)
class Verdict:
    """What the page says first.

    Attributes:
        tone: How the tuned model stands: good, fair (level with a cheap rival), bad (beaten), none (nothing to say).
        headline: One sentence.
        others: The sentences below it.
    """

    tone: Tone
    headline: str
    others: list[str]


@dataclass(frozen=True)
class Against:
    """The tuned model against one rival: tuned - rival, in the metric's unit."""

    rival: str
    metric: str
    difference: float
    low: float
    high: float
    verdict: str

    def turned(self) -> tuple[float, float, float]:
        """The difference seen from the rival."""
        return -self.difference, -self.high, -self.low

    def straight(self) -> tuple[float, float, float]:
        """The difference seen from the tuned model."""
        return self.difference, self.low, self.high


def against(story: Story, rival: str, metric: str) -> Against | None:
    """The tuned model's comparison with `rival` on `metric`, whichever way round it was saved."""
    turned = {"better": "worse", "worse": "better"}
    for entry in story.scores.get("comparisons", []):
        if entry["metric"] != metric or {entry["a"], entry["b"]} != {"tuned", rival}:
            continue
        if entry["a"] == "tuned":
            return Against(rival, metric, entry["difference"], entry["low"], entry["high"], entry["verdict"])
        verdict = turned.get(entry["verdict"], entry["verdict"])
        return Against(rival, metric, -entry["difference"], -entry["high"], -entry["low"], verdict)
    return None


def verdict_of(story: Story) -> Verdict:
    """The verdict on the tuned model, from the comparisons on the task's lead metric."""
    metric = story.lead_metric
    pairs = [against(story, rival, metric) for rival in ("floor", "encoder", "untuned")] if metric else []
    found = [pair for pair in pairs if pair is not None]
    if not found:
        return _alone(story, metric)
    beaten = [pair for pair in found if pair.verdict == "worse" and pair.rival in CHEAP]
    level = [pair for pair in found if pair.verdict == "no difference" and pair.rival in CHEAP]
    untuned = next((pair for pair in found if pair.rival == "untuned"), None)
    tone: Tone
    if beaten:
        first, tone = max(beaten, key=lambda pair: -pair.difference), "bad"
        headline = _sentence(story, "better_buy_beats", first, turned=True)
    elif untuned is not None and untuned.verdict == "worse":
        first, tone = untuned, "bad"
        headline = _sentence(story, "tuning_hurt", first, turned=True)
    elif level:
        first, tone = min(level, key=lambda pair: pair.difference), "fair"
        headline = _sentence(story, "better_buy_level", first)
    elif untuned is not None and untuned.verdict == "no difference":
        first, tone = untuned, "fair"
        headline = _sentence(story, "tuning_idle", first)
    else:
        first, tone = found[0], "good"
        headline = _sentence(story, "beats", first)
    others = [_plainly(story, pair) for pair in found if pair is not first]
    if any(pair.rival == "floor" for pair in beaten) and story.task == "classification":
        others.append(story.say("fault_hint"))
    return Verdict(tone, _opened(headline), [_opened(text) for text in [*others, *_loss(story)]])


def _alone(story: Story, metric: str | None) -> Verdict:
    if story.subject is None:
        return Verdict("none", story.say("not_measured_yet"), [])
    value = story.figures(story.subject).get(metric or "", {}).get("value")
    if metric is None or value is None:
        loss = _loss(story)
        return Verdict("none", _opened(loss[0]) if loss else story.name(story.subject), [])
    told = {"a": story.called(story.subject), "value": story.figure(metric, value), "metric": _inside(story, metric)}
    return Verdict("none", _opened(story.say("no_verdict", **told)), _loss(story))


def _plainly(story: Story, pair: Against) -> str:
    if pair.verdict == "no difference":
        return _sentence(story, "level", pair)
    if pair.verdict == "better":
        return _sentence(story, "beats", pair)
    size = story.gap(pair.metric, pair.turned(), sign=False)
    a, b, metric = story.called(pair.rival), story.called("tuned"), _inside(story, pair.metric)
    return story.say("beats", a=a, b=b, size=size, metric=metric)


def _sentence(story: Story, key: str, pair: Against, *, turned: bool = False) -> str:
    ends = pair.turned() if turned else pair.straight()
    size = story.gap(pair.metric, ends, sign=pair.verdict == "no difference")
    a, b = story.called("tuned"), story.called(pair.rival)
    return story.say(key, a=a, b=b, size=size, metric=_inside(story, pair.metric))


def _loss(story: Story) -> list[str]:
    """Loss on held-out rows before and after, where both were measured."""
    if not {"tuned", "untuned"} <= set(story.models):
        return []
    after, before = (story.figures(model).get("loss", {}).get("value") for model in ("tuned", "untuned"))
    if after is None or before is None:
        return []
    key = "loss_fell" if after < before else "loss_rose"
    return [story.say(key, before=f"{before:.3f}", after=f"{after:.3f}")]


def _inside(story: Story, metric: str) -> str:
    """A metric's name inside a sentence: English writes accuracy small, never BLEU or F1; Chinese sets Latin apart."""
    name = story.name(metric)
    if story.language == "zh":
        return f"{name} " if name[-1].isascii() else name
    plain = metric not in PLAIN_METRICS and name[1:2].islower()
    return name[0].lower() + name[1:] if plain else name


def _opened(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def best_models(story: Story, metric: str) -> set[str]:
    """The models with the best value of a figure, as it is written: equal ones share the place."""
    values: dict[str, Any] = {
        model: story.figures(model)[metric]["value"] for model in story.models if metric in story.figures(model)
    }
    if len(values) < 2:
        return set()
    best = (min if metric in PLAIN_METRICS else max)(values.values())
    return {model for model, value in values.items() if story.figure(metric, value) == story.figure(metric, best)}
