"""Examples of each reason: the rows that were dropped, what was mended, the rows that wait, near duplicates."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence

from tuneloop.records import Doubt, Dropped, Repair
from tuneloop.report.html import Child, Html, folded, join, tag
from tuneloop.report.plots import shortened
from tuneloop.report.row_story import (
    AS_READ,
    MEMBERS,
    SHORT,
    TEXT,
    Cluster,
    Content,
    Item,
    Kind,
    Reason,
    RowStory,
    place,
)
from tuneloop.report.tables import section

OPEN = 3
"""Examples of a reason that stand open; the others are folded behind them."""
BESIDE = 2
"""Rows that a doubt names, of which the text is shown."""
_LEAD = 60
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+|\s+|.")
_JACCARD = re.compile(r"Jaccard ([01]\.\d\d)")
Fact = tuple[str, Child]


def anchor(story: RowStory, reason: Reason) -> str:
    """The name of a reason's place on the page."""
    return f"reason-{story.reasons.index(reason) + 1}"


def example_section(story: RowStory, kind: Kind, title: str, note: str, *more: Child) -> Html:
    """The examples of every reason of a kind; "" where there is none.

    Args:
        story: The page's story.
        kind: Which reasons.
        title: Key of the section's title.
        note: Key of its note.
        more: What stands before the examples.
    """
    groups = [_group(story, reason) for reason in story.reasons if reason.kind == kind]
    return section(story.say(title), story.say(note), *more, *groups) if groups else Html("")


def _group(story: RowStory, reason: Reason) -> Html:
    cards = [_card(story, item, reason.detail) for item in reason.examples]
    name = join(story.title(reason), tag("span", reason.detail and f": {shortened(story.why(reason.detail), SHORT)}"))
    side = tag("span", story.say(f"split_{reason.split}"), class_="chip") if reason.split != "train" else None
    head = tag("h3", name, " ", tag("small", story.rows(reason.count)), " ", side)
    rest = cards[OPEN:]
    fold = folded(story.say("more_examples", n=len(rest)), tag("div", *rest, class_="examples")) if rest else None
    shown = tag("div", *cards[:OPEN], class_="examples")
    return tag("div", head, shown, fold, class_="reason", id=anchor(story, reason))


def _card(story: RowStory, item: Item, detail: str) -> Html:
    """One example: where it stands, what it says, and why it is here, unless `detail` said that of all."""
    if isinstance(item, Repair):
        return _repair(story, item)
    content = story.content(item)
    name = story.say("row_answer" if story.answers else "row_label")
    facts: list[Fact] = [(name, story.shown(content.label, SHORT))] if content.label else []
    facts += _of_dropped(story, item, detail) if isinstance(item, Dropped) else _of_doubt(story, item)
    style = "raw mono" if isinstance(item, Dropped) and item.stage in AS_READ else "asked"
    return _frame(item.source, tag("p", story.shown(content.text), class_=style), facts)


def _frame(source: str, body: Html, facts: Sequence[Fact]) -> Html:
    listed = [join(tag("dt", name), tag("dd", value)) for name, value in facts]
    facts_shown = tag("dl", *listed) if listed else None
    return tag("article", tag("p", place(source), class_="where"), body, facts_shown, class_="sample")


def _of_dropped(story: RowStory, item: Dropped, detail: str) -> list[Fact]:
    why = shortened(story.why(item.reason), SHORT)
    facts: list[Fact] = [(story.say("row_reason"), why)] if item.reason != detail else []
    twin = story.contents.get(item.twin)
    return [*facts, _row_beside(story, "row_twin", item.twin, twin)] if twin else facts


def _of_doubt(story: RowStory, doubt: Doubt) -> list[Fact]:
    facts: list[Fact] = []
    if doubt.suggestion:
        facts.append((story.say("row_suggestion"), tag("b", story.shown(doubt.suggestion, SHORT))))
    why = shortened(story.why(doubt.reason), SHORT)
    facts += [(story.say("row_score"), f"{doubt.score:.2f}"), (story.say("row_reason"), why)]
    for source in doubt.twins[:BESIDE]:
        if source in story.contents:
            facts.append(_row_beside(story, "row_beside", source, story.contents[source]))
    return facts


def _row_beside(story: RowStory, name: str, source: str, content: Content) -> Fact:
    """Another row that an example names: its place, its text and its label."""
    label = tag("em", story.shown(content.label, 60)) if content.label and not story.answers else None
    where = tag("span", place(source), class_="where")
    return story.say(name), join(where, " ", story.shown(content.text, SHORT), " ", label)


def _repair(story: RowStory, repair: Repair) -> Html:
    mended = repair.after if repair.field else as_given(repair.after)
    before, after = difference(*_window(story.plain(repair.before), story.plain(mended)))
    # A JSON repair is of the whole line; the others are of one field.
    where = join(place(repair.source), " · ", shortened(repair.field, 60)) if repair.field else place(repair.source)
    lines = [
        join(tag("dt", story.say("before")), tag("dd", before or "–")),
        join(tag("dt", story.say("after")), tag("dd", after or "–")),
    ]
    return tag("article", tag("p", where, class_="where"), tag("dl", *lines, class_="change"), class_="sample")


def as_given(line: str) -> str:
    """A mended line with the user's other columns beside ours, as they stood in the file; not under "meta"."""
    try:
        record = json.loads(line)
        others = record.pop("meta", {})
        return json.dumps({**record, **others}, ensure_ascii=False)
    except (ValueError, TypeError, AttributeError):  # a stage of another kind
        return line


def difference(before: str, after: str) -> tuple[Html, Html]:
    """Two texts with what differs marked: what only the first has as `<del>`, what only the second has as `<ins>`.

    Args:
        before: Short: the time grows with the square of it.
        after: The same.
    """
    parts = list(_parts(before, after))
    old = (one if same or not one else tag("del", one) for same, one, _ in parts)
    return join(*old), join(*(other if same or not other else tag("ins", other) for same, _, other in parts))


def merged(before: str, after: str) -> Html:
    """Two texts as one, marked as in `difference`.

    Args:
        before: Short: the time grows with the square of it.
        after: The same.
    """
    shown: list[Child] = []
    for same, one, other in _parts(before, after):
        shown += [one] if same else [tag("del", one) if one else None, tag("ins", other) if other else None]
    return join(*shown)


def _parts(before: str, after: str) -> Iterator[tuple[bool, str, str]]:
    """(whether the same stands in both, what the first has, what the second has), in order; words stay whole."""
    left, right = _TOKEN.findall(before), _TOKEN.findall(after)
    for kind, *ends in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        yield kind == "equal", "".join(left[ends[0] : ends[1]]), "".join(right[ends[2] : ends[3]])


def _window(before: str, after: str) -> tuple[str, str]:
    """Both texts, cut to TEXT characters around the first place where they differ."""
    if max(len(before), len(after)) <= TEXT:
        return before, after
    start = max(_alike(before, after) - _LEAD, 0)
    before, after = before[start:], after[start:]
    lead = "…" if start else ""
    # As much is cut from both ends where it is the same, so that the cut itself is no difference.
    end = max(len(before), len(after)) - TEXT
    if 0 < end <= _alike(before[::-1], after[::-1]):
        return lead + before[:-end] + "…", lead + after[:-end] + "…"
    return lead + shortened(before, TEXT), lead + shortened(after, TEXT)


def _alike(one: str, other: str) -> int:
    """How many characters two texts share from their start."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def cluster_section(story: RowStory) -> Html:
    """The largest clusters of near duplicates, each beside the row that stays."""
    cards = [_cluster(story, cluster) for cluster in story.clusters]
    note = story.say("clusters_note", n=f"{story.cluster_count:,}")
    return section(story.say("clusters_title"), note, tag("div", *cards, class_="halves") if cards else None)


def _cluster(story: RowStory, cluster: Cluster) -> Html:
    kept = story.contents.get(cluster.kept, Content(""))
    base = story.plain(kept.text)
    lines = [_line(story.say("cluster_kept"), cluster.kept, join(story.shown(kept.text, TEXT)), "kept")]
    for twin in cluster.twins[:MEMBERS]:
        text = merged(*_window(base, story.plain(story.content(twin).text)))
        jaccard = _JACCARD.search(twin.reason)
        lines.append(_line(jaccard[1] if jaccard else "", twin.source, text, ""))
    more = len(cluster.twins) - MEMBERS
    lines += [tag("li", story.say("cluster_more", n=f"{more:,}"), class_="dim")] if more > 0 else []
    head = tag("h3", story.say("cluster_size", n=f"{len(cluster.twins) + 1:,}"))
    label = tag("span", story.shown(kept.label, 60), class_="chip") if kept.label and not story.answers else None
    return tag("article", head, label, tag("ul", *lines, class_="twins"), class_="sample")


def _line(beside: str, source: str, text: Html, style: str) -> Html:
    where = tag("span", place(source), class_="where")
    return tag("li", tag("b", beside), tag("span", text, " ", where), class_=style or None)
