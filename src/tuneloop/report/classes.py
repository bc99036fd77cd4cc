"""The sections on single classes: F1 bars, confusions, calibration."""

from __future__ import annotations

from typing import Any

from tuneloop.report.html import Html, folded, join, tag
from tuneloop.report.plots import LABELS_UP_TO, bar, heat_map, reliability
from tuneloop.report.story import Story
from tuneloop.report.tables import section, style_of, table
from tuneloop.score.metrics import confusion_matrix, per_class

SHOWN = 30
PAIRS = 15


def said_and_expected(story: Story, model: str) -> tuple[list[str], list[str]]:
    """What a model said and what was expected, for the rows that it answered."""
    column = f"{model}_predicted"
    answered = [row for row in story.predictions if row.get(column) is not None]
    return [row[column] for row in answered], [row["expected"] or "" for row in answered]


def class_section(story: Story) -> Html:
    """F1 of each class of the page's model, weakest first, folded behind the first SHOWN."""
    if story.task != "classification" or story.subject is None:
        return Html("")
    classes: dict[str, Any] = story.scores["models"][story.subject].get("per_class", {})
    predicted, expected = said_and_expected(story, story.subject)
    if not classes and predicted:
        classes = per_class(predicted, expected)
    ordered = sorted(classes.items(), key=lambda item: (item[1]["f1"], -item[1]["support"], item[0]))
    lines = [_class_line(story, label, figures) for label, figures in ordered if figures["support"]]
    if not lines:
        return Html("")
    body = [tag("div", *lines[:SHOWN], class_="columns")]
    if len(lines) > SHOWN:
        rest = tag("div", *lines[SHOWN:], class_="columns")
        body.append(folded(story.say("more_classes", n=len(lines) - SHOWN), rest))
    return section(story.say("per_class"), story.say("per_class_note"), *body)


def _class_line(story: Story, label: str, figures: dict[str, Any]) -> Html:
    told = []
    for name in ("precision", "recall", "f1"):
        if name in figures:
            low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")  # absent from older scores
            ends = f" {story.interval(name, low, high)}" if low is not None and high is not None else ""
            told.append(f"{name} {figures[name]:.1%}{ends}")
    return tag(
        "div",
        tag("span", label, class_="bar-name", title=label),
        bar(figures["f1"], None, "c-tuned"),
        tag("span", f"{100 * figures['f1']:.0f}%", tag("small", f" · {figures['support']:.0f}"), class_="bar-value"),
        class_="bar-line", title=f"{label}: {' · '.join(told)}",
    )  # fmt: skip


def confusion_section(story: Story) -> Html:
    """The confusion matrix, and with many classes the pairs that are confused most."""
    if story.task != "classification" or story.subject is None:
        return Html("")
    predicted, expected = said_and_expected(story, story.subject)
    if not predicted:
        return Html("")
    labels, counts = confusion_matrix(predicted, expected)
    axes = (story.say("expected"), story.say("predicted"))
    drawn = heat_map(labels, counts, story.say("confusion"), axes)
    pairs = sorted(
        (
            (int(counts[i, j]), labels[i], labels[j], int(counts[i].sum()))
            for i, j in zip(*counts.nonzero(), strict=True)
            if i != j
        ),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )[: PAIRS if len(labels) > LABELS_UP_TO else 8]
    heads = [story.say(name) for name in ("expected", "predicted", "times", "of_class")]
    lines = [[wanted, given, str(times), f"{times / total:.0%}"] for times, wanted, given, total in pairs]
    listed = tag("div", tag("h3", story.say("confused_pairs")), table(heads, lines, "pairs")) if lines else None
    return section(story.say("confusion"), story.say("confusion_note"), tag("div", drawn, listed, class_="halves"))


def calibration_section(story: Story) -> Html:
    """Calibration diagrams of the models that have one."""
    drawn = []
    for model in story.models:
        found = story.scores["models"][model].get("calibration")
        if found:
            axes = (story.say("confidence"), story.say("right_share"))
            title = f"{story.say('calibration')}: {story.name(model)}"
            ece = found["ece"]["value"] if isinstance(found["ece"], dict) else found["ece"]
            note = tag("p", story.say("calibration_note", ece=f"{100 * ece:.1f}%"), class_="note")
            drawn.append(
                tag("div", tag("h3", story.name(model)), reliability(found["bins"], title, axes, style_of(model)), note)
            )
    return section(story.say("calibration"), "", tag("div", join(*drawn), class_="thirds") if drawn else None)
