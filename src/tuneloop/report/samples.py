"""Sample answers: rows that show what tuning bought, and what it did not."""

from __future__ import annotations

from typing import Any

from tuneloop.examples.think import Thought, split_think
from tuneloop.report.html import Html, folded, join, tag
from tuneloop.report.plots import shortened
from tuneloop.report.story import Story
from tuneloop.report.tables import section, style_of
from tuneloop.score.overlap import rouge_l_of

EACH = 4
CHARACTERS = 900
Row = dict[str, Any]


def sample_section(story: Story) -> Html:
    """A few good and a few bad answers of the page's model, each beside the others'."""
    model = story.subject
    if model is None:
        return Html("")
    answered = [row for row in story.predictions if row.get(f"{model}_predicted") is not None]
    good, bad = _chosen(story, answered, model)
    parts = []
    for title, rows in (("good_samples", good), ("bad_samples", bad)):
        if rows:
            cards = [_card(story, row) for row in rows]
            parts.append(tag("div", tag("h3", story.say(title)), *cards))
    note = story.name(f"samples_note_{story.task}")
    return section(story.say("samples"), note, tag("div", *parts, class_="halves") if parts else None)


def _chosen(story: Story, rows: list[Row], model: str) -> tuple[list[Row], list[Row]]:
    """Good and bad rows, the most telling first; ids break ties, so that the page is the same each time."""
    column = f"{model}_predicted"
    if story.task != "classification":
        ranked = sorted(rows, key=lambda row: (-_overlap(row, row[column], story.opened(model)), str(row["id"])))
        half = len(ranked) // 2
        return ranked[: min(EACH, len(ranked) - half)], ranked[::-1][: min(EACH, half)]
    right = [row for row in rows if row[column] == row["expected"]]
    wrong = [row for row in rows if row[column] != row["expected"]]

    def rivals_right(row: Row) -> int:
        others = [other for other in story.models if other != model]
        return sum(row.get(f"{other}_predicted") == row["expected"] for other in others)

    def sure(row: Row) -> float:
        return float(row.get(f"{model}_confidence") or 0.0)

    right.sort(key=lambda row: (rivals_right(row), -sure(row), str(row["id"])))
    wrong.sort(key=lambda row: (-sure(row), str(row["id"])))
    return right[:EACH], wrong[:EACH]


def _overlap(row: Row, said: str, opened: bool) -> float:
    answer = split_think(said, opened_by_prompt=opened).answer
    return rouge_l_of(answer, split_think(row["expected"] or "").answer)


def _card(story: Story, row: Row) -> Html:
    classes = story.task == "classification"
    expected = row["expected"] or ""
    lines = [_answer(story, story.say("answer_expected"), split_think(expected), "", "expected")]
    for model in story.models:
        said = row.get(f"{model}_predicted")
        if said is None:
            continue
        mark = ("✓" if said == expected else "✗") if classes else ""
        sure = row.get(f"{model}_confidence")
        beside = f"{mark} {sure:.0%}" if classes and sure is not None else mark
        thought = split_think(said, opened_by_prompt=story.opened(model))
        lines.append(_answer(story, story.name(model), thought, beside, style_of(model), right=mark == "✓"))
    text = tag("p", shortened(str(row.get("text") or ""), CHARACTERS), class_="asked")
    return tag("article", text, tag("dl", *lines), class_="sample")


def _answer(story: Story, who: str, thought: Thought, beside: str, style: str, *, right: bool = False) -> Html:
    answer = thought.answer.strip()
    if not answer:
        answer = story.say("unfinished" if thought.opened and not thought.closed else "empty_answer")
    fold = (
        folded(story.say("reasoning"), tag("pre", shortened(thought.thought, 4 * CHARACTERS)))
        if thought.thought
        else None
    )
    body = join(fold, tag("span", shortened(answer, CHARACTERS), class_="said"))
    if beside:
        body = join(body, tag("span", beside, class_="mark right" if right else "mark"))
    return join(tag("dt", tag("i", class_=f"key {style}"), who), tag("dd", body))
