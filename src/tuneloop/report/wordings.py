"""What augmentation did to the training rows: methods, counts, and samples with the changed words marked."""

from __future__ import annotations

import re
from typing import Any

from tuneloop.report.html import Child, Html, join, tag
from tuneloop.report.plots import shortened
from tuneloop.report.story import Story
from tuneloop.report.tables import DASH, section, table

_MARKED = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
CHARACTERS = 600


def wordings_section(story: Story) -> Html:
    """A line for each method of the recipe, the teacher's cost, and sampled rows before and after."""
    told = story.augment
    if not told:
        return Html("")
    augment = story.recipe.augment
    lines: list[list[Child]] = []
    for name in augment.drawn:
        lines.append([story.name(name), story.say("how_drawn"), _share(told, name), DASH])
    for name, method in augment.made.items():
        made = f"{told['variants'].get(name, 0):,}"
        how = story.say("how_appended" if method.use == "append" else "how_swapped")
        shown = made if method.use == "append" else f"{made} · {_share(told, name)}"
        lines.append([story.name(name), how, shown, _not_used(told, name)])
    heads = [story.say(key) for key in ("wordings_method", "wordings_how", "wordings_rows", "wordings_not_used")]
    cards = [_card(story, sample) for sample in told["samples"]]
    note = story.say("wordings_note", n=f"{told['rows']:,}", changed=f"{told['changed']:.1%}")
    return section(
        story.say("wordings"),
        note,
        table(heads, lines),
        _labels(story, told.get("labels")),
        _cost(story),
        tag("div", tag("h3", story.say("wordings_samples")), *cards) if cards else None,
    )


def _share(told: dict[str, Any], name: str) -> str:
    """The rows that the first epoch showed changed by a method, of those that were looked at."""
    return f"{told['methods'].get(name, 0) / max(1, told['rows']):.1%}"


def _not_used(told: dict[str, Any], name: str) -> Child:
    """Why wordings of a method were refused, and how often."""
    reasons = [(*key.partition(": "), count) for key, count in told["skipped"].items()]
    lines = [tag("div", f"{why}: {count:,}") for method, _, why, count in reasons if method == name]
    return join(*lines) if lines else DASH


def _labels(story: Story, found: dict[str, Any] | None) -> Html | None:
    """How many rows keep their label in the eyes of a judge, where one judged, and who that is."""
    if not found:
        return None
    if not found["judged"]:
        return tag("p", story.say("wordings_unjudged"), class_="note")
    counts = {key: f"{found[key]:,}" for key in ("judged", "kept", "changed", "changed_kept")}
    return tag("p", story.say("wordings_labels", share=f"{found['share']:.1%}", **counts), class_="note")


def _cost(story: Story) -> Html | None:
    """What asking the teacher took, where it was asked."""
    teacher = story.stations.get("augment", {}).get("teacher")
    if not teacher:
        return None
    keys = ("questions", "prompt_tokens", "completion_tokens")
    counts = {key: f"{teacher[key]:,}" for key in keys} | {"missing": f"{sum(teacher['unanswered'].values()):,}"}
    return tag("p", story.say("teacher_cost", model=teacher["model"], **counts), class_="note")


def _card(story: Story, sample: dict[str, Any]) -> Html:
    methods = " + ".join(story.name(name) for name in str(sample["method"]).split("+"))
    return tag(
        "article",
        tag(
            "dl",
            join(tag("dt", story.say("wordings_before")), tag("dd", _marked(sample["before"]))),
            join(tag("dt", methods), tag("dd", _marked(sample["after"]))),
        ),
        class_="sample",
    )


def _marked(text: str) -> Html:
    """A text whose changed words stand in [[ ]], these as marks."""
    parts = _MARKED.split(shortened(text, CHARACTERS))
    return join(*(tag("mark", part) if place % 2 else part for place, part in enumerate(parts)))
