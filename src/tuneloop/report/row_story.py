"""What the page of rows tells: the cleaned rows grouped by reason, a few of each, and how their texts are shown."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from tuneloop.recipe import Recipe
from tuneloop.records import Doubt, Dropped, Repair, Row
from tuneloop.report.plots import shortened
from tuneloop.report.row_reasons import in_language
from tuneloop.report.row_words import ROW_WORDS
from tuneloop.report.story import language_of
from tuneloop.report.words import WORDS, Language
from tuneloop.review.content import content_of, label_text
from tuneloop.rows.funnel import reason_of
from tuneloop.rows.personal_data import masked
from tuneloop.rows.prepare import Prepared
from tuneloop.rows.split import SPLITS

EXAMPLES = 10
"""Of each reason, at most."""
REASONS = {"train": 14, "validation": 3, "test": 3}
"""Of dropping, that the page names; the rarest of more are told together."""
CLUSTERS, MEMBERS = 8, 5
TEXT, SHORT = 300, 120
"""Characters of a row's text, and of all else that a user may have written, that the page shows."""
READ = 200_000
"""Characters of a text that are looked at: the page must not take minutes over one row."""
AS_READ = ("read", "repair_json")
"""Stages whose dropped rows are the user's own lines, not our columns."""

Kind = Literal["dropped", "repair", "doubt"]
Item = Dropped | Repair | Doubt
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Content:
    """What a row says.

    Attributes:
        text: What it asks, or the broken line.
        label: Its class or answer, "" where there is none.
    """

    text: str
    label: str = ""


@dataclass(frozen=True)
class Reason:
    """Why something was done to rows.

    Attributes:
        kind: What was done.
        stage: The stage that did it; "" for several.
        detail: The reason in the stage's words; "" where the stage says it all.
        split: The side whose rows they are.
        count: Rows.
        examples: At most EXAMPLES of them, from all over the set.
    """

    kind: Kind
    stage: str
    detail: str
    split: str
    count: int
    examples: Sequence[Item]


@dataclass(frozen=True)
class Cluster:
    """Rows that say nearly the same.

    Attributes:
        kept: Source of the one that stays.
        twins: Those that were dropped for it.
    """

    kept: str
    twins: Sequence[Dropped]


@dataclass(frozen=True)
class RowStory:
    """What was done to a set.

    Attributes:
        recipe: What asked for it.
        prepared: The rows.
        language: Of the page.
        reasons: Dropped, then repaired, then waiting; of each the most frequent first.
        clusters: The largest ones.
        cluster_count: How many there are in all.
        waiting: Id of each row that waits and is an example -> the row.
        contents: Source -> what the row says, of the rows that others repeat or contradict.
    """

    recipe: Recipe
    prepared: Prepared
    language: Language
    reasons: list[Reason]
    clusters: list[Cluster]
    cluster_count: int
    waiting: Mapping[str, Row]
    contents: Mapping[str, Content]

    @property
    def report(self) -> dict[str, Any]:
        """The data report."""
        return self.prepared.report

    @property
    def answers(self) -> bool:
        """Whether a row's label is an answer in free words."""
        return self.recipe.task.type == "generation"

    def say(self, key: str, **values: object) -> str:
        """The page's words for `key`, filled in."""
        words = ROW_WORDS[self.language]
        return (words[key] if key in words else WORDS[self.language][key]).format(**values)

    def title(self, reason: Reason) -> str:
        """A reason in a few words; a stage that has none of ours is called by its own name."""
        if not reason.stage:
            return self.say("other_reasons")
        return ROW_WORDS[self.language].get(f"{reason.kind}_{reason.stage}", reason.stage)

    def meaning(self, reason: Reason) -> str:
        """What a reason means, "" where we have no words for it."""
        return ROW_WORDS[self.language].get(f"{reason.kind}_{reason.stage}_about", "")

    def why(self, reason: str) -> str:
        """A stage's reason or warning in the page's language."""
        return in_language(reason, self.language)

    def rows(self, count: int) -> str:
        """A number of rows."""
        return self.say("row_of_reason") if count == 1 else self.say("rows_of_reason", n=f"{count:,}")

    def plain(self, text: str) -> str:
        """A text as it may be shown: without personal data where the recipe masks it, dropped rows' too."""
        text = text[:READ]
        return masked(text)[0] if self.recipe.clean.personal_data else text

    def shown(self, text: str, limit: int = TEXT) -> str:
        """A text on one line, cut to `limit` characters."""
        return shortened(" ".join(self.plain(text).split()), limit)

    def content(self, item: Item) -> Content:
        """What an example's row says."""
        if isinstance(item, Dropped):
            return content_of_dropped(item)
        if isinstance(item, Doubt):
            return content_of_row(self.waiting[item.row])
        return Content(item.before)


def place(source: str) -> str:
    """A source as the page shows it: of a long one the end, which has the line."""
    return source if len(source) <= SHORT else "…" + source[1 - SHORT :]


def content_of_row(row: Row) -> Content:
    """A row's text and label."""
    found = content_of(row)
    return Content(found["text"], label_text(found["label"]))


def content_of_dropped(item: Dropped) -> Content:
    """A dropped row's text and label; the whole line where it could not be read."""
    if item.stage in AS_READ:
        return Content(item.raw)
    try:
        record = json.loads(item.raw)
    except (ValueError, RecursionError):
        return Content(item.raw)
    if not isinstance(record, dict):
        return Content(item.raw)
    turns = record.get("messages") or []
    asked = [turn["content"] for turn in turns if turn["role"] == "user"]
    text, label = record.get("text") or (asked[-1] if asked else ""), record.get("label")
    if label is None and turns and turns[-1]["role"] == "assistant":
        label = turns[-1]["content"]
    return Content(text or item.raw, label_text(label))


def spread(items: Sequence[Thing], count: int = EXAMPLES) -> list[Thing]:
    """`count` of the items from the first to the last, as far apart as they go; all where they are fewer."""
    if len(items) <= count:
        return list(items)
    return [items[place * (len(items) - 1) // (count - 1)] for place in range(count)]


def tell_rows(prepared: Prepared, recipe: Recipe) -> RowStory:
    """Group what was done to the rows.

    Args:
        prepared: As `prepare_rows` gave it, with its clean rows and doubts.
        recipe: What asked for it.
    """
    waiting = _waiting(prepared)
    reasons = [*_dropped(prepared), *_repaired(prepared), *_doubted(prepared, set(waiting.values()))]
    clusters, count = _clusters(prepared.dropped)
    named = {cluster.kept for cluster in clusters}
    for item in (item for reason in reasons for item in reason.examples):
        named |= {item.twin} if isinstance(item, Dropped) else set()
        named |= set(item.twins) if isinstance(item, Doubt) else set()
    language = language_of(prepared.train) if recipe.report.lang == "auto" else recipe.report.lang
    doubted = {item.row for reason in reasons for item in reason.examples if isinstance(item, Doubt)}
    shown = {row.id: row for row in prepared.clean if row.id in doubted and row.source in waiting}
    return RowStory(recipe, prepared, language, reasons, clusters, count, shown, _contents(prepared, named))


def _waiting(prepared: Prepared) -> dict[str, str]:
    """Source -> id of the rows that wait: doubted ones that are neither let in nor dropped."""
    doubted = {doubt.row for doubt in prepared.doubts}
    found = {row.source: row.id for row in prepared.clean if row.id in doubted}
    for side in (prepared.train, prepared.dropped):
        for item in side:
            if isinstance(item, Row) or item.split == "train":
                found.pop(item.source, None)
    return found


def _dropped(prepared: Prepared) -> list[Reason]:
    """The reasons of each side; the rarest of too many as one. Of very many rows only their places are kept."""
    found = []
    for split in SPLITS:
        groups: dict[str, list[int]] = {reason: [] for reason in prepared.report["counts"][split]["dropped"]}
        for place, item in enumerate(prepared.dropped):
            if item.split == split:
                groups[reason_of(item)].append(place)
        named = len(groups) if len(groups) <= REASONS[split] else REASONS[split] - 1
        for reason in list(groups)[:named]:
            stage, _, detail = reason.partition(": ")
            places = groups.pop(reason)
            examples = [prepared.dropped[place] for place in spread(places)]
            found.append(Reason("dropped", stage, detail, split, len(places), examples))
        if rest := [place for places in groups.values() for place in places]:
            found.append(Reason("dropped", "", "", split, len(rest), [prepared.dropped[one] for one in spread(rest)]))
    return found


def _repaired(prepared: Prepared) -> list[Reason]:
    """The stages that mended; of each row the first field."""
    rows: dict[str, dict[str, int]] = {stage: {} for stage in prepared.report["repairs"]}
    for place, repair in enumerate(prepared.repairs):
        rows[repair.stage].setdefault(repair.source, place)
    return [
        Reason("repair", stage, "", "train", len(one), [prepared.repairs[at] for at in spread(list(one.values()))])
        for stage, one in rows.items()
    ]


def _doubted(prepared: Prepared, waiting: Collection[str]) -> list[Reason]:
    """The stages that doubt rows which wait, of each from the lowest score to the highest."""
    doubts: dict[str, dict[str, Doubt]] = {stage: {} for stage in prepared.report["waiting"]}
    for doubt in prepared.doubts:
        if doubt.row in waiting:
            doubts[doubt.stage].setdefault(doubt.row, doubt)
    found = []
    for stage, count in prepared.report["waiting"].items():
        ranked = sorted(doubts[stage].values(), key=lambda doubt: doubt.score)
        found.append(Reason("doubt", stage, "", "train", count, spread(ranked)))
    return found


def _clusters(dropped: Sequence[Dropped]) -> tuple[list[Cluster], int]:
    """The largest clusters of near duplicates, and how many there are."""
    found: dict[str, list[int]] = defaultdict(list)
    for place, item in enumerate(dropped):
        if item.stage == "near_duplicates":
            found[item.twin].append(place)
    ranked = sorted(found.items(), key=lambda pair: -len(pair[1]))[:CLUSTERS]
    return [Cluster(kept, [dropped[place] for place in places]) for kept, places in ranked], len(found)


def _contents(prepared: Prepared, wanted: set[str]) -> dict[str, Content]:
    """What the rows of these sources say: those that went in first, since they are what others were compared with."""
    found: dict[str, Content] = {}
    for row in (row for rows in (prepared.clean, prepared.validation, prepared.test) for row in rows):
        if row.source in wanted:
            found.setdefault(row.source, content_of_row(row))
    for item in prepared.dropped:
        if item.source in wanted:
            found.setdefault(item.source, content_of_dropped(item))
    return found
