"""The report: one self-contained page to look at and to send on, in English or Chinese.

    recipe.yaml manifest.json data/report.json augment.json log.jsonl scores.json predictions.parquet model/args.json
    -> report.html

No script, no font, nothing from outside; what a user wrote is escaped. A figure that was not measured is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuneloop import __version__
from tuneloop.disk import write_text
from tuneloop.report.classes import calibration_section, class_section, confusion_section
from tuneloop.report.html import Html, document, tag
from tuneloop.report.origins import data_section, prompt_section, provenance_section, recipe_section
from tuneloop.report.plots import Chart, Line, line_chart
from tuneloop.report.samples import sample_section
from tuneloop.report.story import Story, read_story
from tuneloop.report.tables import (
    difference_section,
    model_cards,
    saved_section,
    score_section,
    section,
    speed_section,
    think_section,
)
from tuneloop.report.verdict import verdict_of
from tuneloop.report.wordings import wordings_section
from tuneloop.runs import RunFolder


def write_report(run: RunFolder) -> Path:
    """Write the run's page from what it holds so far; later stations make it fuller.

    Args:
        run: The run folder.

    Returns:
        The page's path.

    Raises:
        RunError: if a file of the run is broken, or the page cannot be written.
    """
    write_text(run.report, page_html(read_story(run)))
    return run.report


def page_html(story: Story) -> str:
    """The whole page as HTML text."""
    title = f"{story.recipe.name} · {story.say('report')}"
    sections = [
        score_section, difference_section, think_section, learning_section, class_section, confusion_section,
        calibration_section, sample_section, speed_section, saved_section, data_section, wordings_section,
        prompt_section, recipe_section, provenance_section,
    ]  # fmt: skip
    made = story.say("made_by", version=__version__, date=_date(story))
    shown = tag("main", *(make(story) for make in sections))
    return document(title, story.say("html_lang"), hero(story), shown, tag("footer", made))


def hero(story: Story) -> Html:
    """The run's name, the verdict, and each model's lead figure."""
    verdict = verdict_of(story)
    facts = [story.name(story.task), story.recipe.model.name_or_path, story.recipe.adapt.method]
    rows = story.scores.get("data", {}).get("rows")
    facts += [story.say("test_rows", n=f"{rows:,}")] if rows else []
    facts += [story.say("seed", seed=story.recipe.seed), _date(story)]
    others = [tag("li", text) for text in verdict.others]
    return tag(
        "header",
        tag("p", "tuneloop", class_="brand"),
        tag("p", tag("strong", story.recipe.name), *(tag("span", fact) for fact in facts if fact), class_="chips"),
        tag("h1", verdict.headline, class_=f"tone-{verdict.tone}"),
        tag("ul", *others, class_="others") if others else None,
        model_cards(story),
        tag("p", story.say("interval_note"), class_="note") if story.scores.get("comparisons") else None,
        class_="hero",
    )


def learning_section(story: Story) -> Html:
    """Loss and learning rate over the steps, the stages as bands, the best validation loss marked."""
    stages = _stages(story)
    looked = _points(story.log, "validation_loss")
    best = min(looked, key=lambda point: point[1]) if looked else None
    mark = (best[0], story.say("best", value=f"{best[1]:.3f}")) if best else None
    last = max((float(line["step"]) for line in story.log), default=1.0)
    losses = [
        Line(story.say("training_loss"), _points(story.log, "loss"), "c-floor"),
        Line(story.say("validation_loss"), looked, "c-tuned", dots=True),
    ]
    right = [
        Line(story.say("training_accuracy"), _points(story.log, "accuracy"), "c-floor"),
        Line(story.say("validation_accuracy"), _points(story.log, "validation_accuracy"), "c-tuned", dots=True),
    ]
    rates = [Line(story.say("learning_rate"), _points(story.log, "learning_rate"), "c-encoder")]
    norms = [Line(story.say("grad_norm"), _points(story.log, "grad_norm"), "c-other")]

    def framed(name: str, lines: Sequence[Line], mark: tuple[float, str] | None = None) -> Html:
        title = story.say(name)
        return _framed(title, lines, Chart(title, story.say("step"), stages, mark, (0.0, last)))

    charts = [framed("loss_title", losses, mark), framed("accuracy", right), framed("learning_rate", rates)]
    if charts[1]:  # the gradient's norm fills the second line of two
        charts.append(framed("grad_norm", norms))
    drawn = [chart for chart in charts if chart]
    note = story.say("learning_note") if best else ""
    return section(story.say("learning"), note, tag("div", *drawn, class_="halves") if drawn else None)


def _framed(title: str, lines: Sequence[Line], chart: Chart) -> Html:
    drawn = line_chart(lines, chart)
    if not drawn:
        return Html("")
    shown = [line for line in lines if line.points]
    keys = [tag("span", tag("i", class_=f"key {line.style}"), line.name) for line in shown]
    legend = tag("p", *keys, class_="legend") if len(shown) > 1 else None
    return tag("div", tag("h3", title), legend, tag("div", drawn, class_="scroll wide"))


def _points(log: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """(step, value) of the lines that have the key; the newest line of a step counts, as after a resume."""
    return sorted({float(line["step"]): float(line[key]) for line in log if line.get(key) is not None}.items())


def _stages(story: Story) -> list[tuple[float, str]]:
    """Where each stage begins: (step, name)."""
    first: dict[int, float] = {}
    for line in story.log:
        if "stage" in line:
            stage = int(line["stage"])
            first[stage] = min(first.get(stage, float(line["step"])), float(line["step"]))
    return [(step, story.say("stage", n=stage)) for stage, step in sorted(first.items())]


def _date(story: Story) -> str:
    """When the newest station ended, to the minute."""
    ended = max((str(entry.get("finished", "")) for entry in story.stations.values()), default="")
    return ended[:16].replace("T", " ") + " UTC" if ended else ""
