"""The page of rows: what a cleaning did, each reason with examples, in English or Chinese.

    Prepared + recipe --tell_rows--> RowStory --rows_page--> data/report.html

No script, no font, nothing from outside; what a user wrote is escaped and cut. Same rows, same bytes. However many
rows there are, the page stays small: it shows a few of each kind, and counts the rest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from tuneloop import __version__
from tuneloop.disk import sha256_json
from tuneloop.recipe import Recipe
from tuneloop.report.html import Child, Html, document, folded, join, tag
from tuneloop.report.origins import fact_list
from tuneloop.report.plots import Bins, flow_bar, histogram, kept_bar, short_number, shortened
from tuneloop.report.row_examples import anchor, cluster_section, example_section
from tuneloop.report.row_story import SHORT, Reason, RowStory, place, tell_rows
from tuneloop.report.tables import section, table
from tuneloop.rows.funnel import check_funnel
from tuneloop.rows.prepare import Prepared
from tuneloop.rows.split import SPLITS

FUNNEL_LINES = 12
LABELS_SHOWN, LABELS_FOLDED = 24, 150
FILES = 20
STYLES = {"dropped": "c-bad", "repair": "c-encoder", "doubt": "c-floor"}
LENGTH_BINS = 24


def rows_page(prepared: Prepared, recipe: Recipe) -> str:
    """The page as HTML text.

    Args:
        prepared: As `prepare_rows` gave it.
        recipe: What asked for it.

    Raises:
        DataError: if its counts do not add up.
    """
    check_funnel(prepared.report["counts"])
    story = tell_rows(prepared, recipe)
    decide = how_to_decide(recipe.name, story)
    sections = [
        funnel_section(story), reason_section(story), noise_section(story),
        example_section(story, "doubt", "waiting_title", "waiting_note", decide),
        example_section(story, "dropped", "dropped_title", "dropped_note"),
        example_section(story, "repair", "repaired_title", "repaired_note"),
        cluster_section(story), balance_section(story), length_section(story), file_section(story),
    ]  # fmt: skip
    title = f"{recipe.name} · {story.say('rows_report')}"
    made = tag("footer", story.say("rows_made_by", version=__version__))
    body = (hero(story), tag("main", *sections), made)
    return document(title, story.say("html_lang"), *body, key=page_key(recipe))


def page_key(recipe: Recipe) -> str:
    """What the page shows beside the rows, as a hash: where it changes, the rows stand and the page is written anew."""
    return sha256_json([recipe.data.source, recipe.report.lang])[:16]


def hero(story: RowStory) -> Html:
    """The set's name, how much of it is kept, and the figures."""
    side, report = story.report["counts"]["train"], story.report
    waits, lost = side["to review"], sum(side["dropped"].values())
    key = "rows_headline_waits" if waits else "rows_headline" if lost else "rows_all_kept"
    told = {name: f"{count:,}" for name, count in (("kept", side["kept"]), ("came", side["in"]), ("waits", waits))}
    facts = [story.say(report["task"]), *(shortened(text, SHORT) for text in (report["format"], report["source"]))]
    others = [_decided(story)] if report["review"] else []
    others += [story.say("rows_left_out", n=f"{report['filtered']:,}")] if report["filtered"] else []
    tiles = [
        ("rows_in", side["in"], "c-untuned"), ("rows_repaired", side["repaired"], "c-encoder"),
        ("rows_dropped", lost, "c-bad"), ("rows_to_review", waits, "c-floor"), ("rows_kept", side["kept"], "c-tuned"),
    ]  # fmt: skip
    tone = "bad" if 2 * side["kept"] < side["in"] else "fair" if waits else "good"
    return tag(
        "header",
        tag("p", "tuneloop", class_="brand"),
        tag("p", tag("strong", story.recipe.name), *(tag("span", fact) for fact in facts if fact), class_="chips"),
        tag("h1", story.say(key, **told), class_=f"tone-{tone}"),
        tag("ul", *(tag("li", text) for text in others), class_="others") if others else None,
        tag("div", *(_tile(story, *one) for one in tiles), class_="tiles"),
        class_="hero",
    )


def _tile(story: RowStory, name: str, count: int, style: str) -> Html:
    who = tag("div", tag("i", class_=f"key {style}"), story.say(name), class_="who")
    return tag("div", who, tag("div", f"{count:,}", class_="big"), class_="tile")


def _decided(story: RowStory) -> str:
    """What people decided, "" where nobody did anything."""
    deeds = story.report["review"]
    if not deeds:
        return ""
    told = {key: f"{deeds.get(key.replace('_', ' '), 0):,}" for key in ("let_in", "changed", "dropped")}
    return story.say("rows_decided", **told)


# -- the funnel ---------------------------------------------------------------------------------------------------


def funnel_section(story: RowStory) -> Html:
    """Where the rows of each side go, as bars; a side that lost nothing is one line."""
    drawn = [_funnel(story, split, story.report["counts"][split]) for split in SPLITS]
    warnings = [tag("li", shortened(story.plain(story.why(str(text))), 3 * SHORT)) for text in story.report["warnings"]]
    told = tag("div", tag("h3", story.say("warnings")), tag("ul", *warnings), class_="warn") if warnings else None
    return section(story.say("funnel_title"), story.say("funnel_note"), *drawn, told)


def _funnel(story: RowStory, split: str, side: Mapping[str, Any]) -> Html:
    """The bars of one side: what came, each reason where it takes its part away, what waits, what is left."""
    came, at = max(side["in"], 1), side["in"]
    lines: list[Html] = []

    def line(name: Child, count: int, style: str, ends: tuple[int, int], hover: str = "") -> None:
        bar = flow_bar(ends[0] / came, ends[1] / came, style)
        shown = tag("span", name, class_="bar-name", title=shortened(hover, SHORT) or None)
        value = tag("span", f"{count:,}", tag("small", f" {_share(count, came)}"), class_="bar-value")
        lines.append(tag("div", shown, bar, value, class_="bar-line"))

    line(story.say("funnel_in"), side["in"], "c-untuned", (0, side["in"]))
    if side["repaired"]:
        line(story.say("rows_repaired"), side["repaired"], "c-encoder", (0, side["repaired"]))
    reasons = [one for one in story.reasons if one.kind == "dropped" and one.split == split]
    parts = [(join("− ", _named(story, one)), one.count, story.why(one.detail)) for one in reasons[:FUNNEL_LINES]]
    if rest := sum(side["dropped"].values()) - sum(count for _, count, _ in parts):
        more = len(side["dropped"]) - len(parts)
        parts.append((join("− ", story.say("funnel_more", n=more)), rest, ""))
    for name, count, hover in parts:
        line(name, count, "c-bad", (at - count, at), hover)
        at -= count
    if waits := side.get("to review", 0):
        line(join("− ", story.say("rows_to_review")), waits, "c-floor", (at - waits, at))
    line(tag("b", story.say("rows_kept")), side["kept"], "c-tuned", (0, side["kept"]))
    if split != "train" and not side["dropped"]:
        lines = lines[-1:]
    return tag("div", tag("h3", story.say(f"split_{split}")), *lines, class_="funnel")


def _named(story: RowStory, reason: Reason) -> Html:
    """A reason's title, and its detail where the stage has several."""
    detail = shortened(story.why(reason.detail), SHORT)
    return join(story.title(reason), tag("small", f" {detail}") if detail else None)


def _share(count: int, of: int) -> str:
    """A share that is never rounded to nothing."""
    return "< 0.1%" if 0 < count / of < 0.0005 else f"{count / of:.1%}"


def reason_section(story: RowStory) -> Html:
    """Every reason, what it means, how many rows, and the way to its examples."""
    lines: list[list[Child]] = []
    for reason in story.reasons:
        came = max(story.report["counts"][reason.split]["in"], 1)
        style, what = STYLES[reason.kind], story.say(f"was_{reason.kind}")
        if reason.split != "train":
            what = story.say("was_in", what=what, split=story.say(f"split_{reason.split}"))
        lines.append([
            tag("a", _named(story, reason), href=f"#{anchor(story, reason)}"),
            join(tag("i", class_=f"key {style}"), what), story.meaning(reason),
            f"{reason.count:,}", _share(reason.count, came),
        ])  # fmt: skip
    heads = [story.say(key) for key in ("reason_of_rows", "reason_what", "reason_means", "count", "share")]
    body = table(heads, lines, "reasons") if lines else None
    return section(story.say("reasons_title"), story.say("reasons_note"), body)


def how_to_decide(run: str, story: RowStory) -> Html:
    """The commands that settle what waits.

    Args:
        run: The run's name.
        story: The page's story.
    """
    commands = [
        (f"tuneloop review {run}", "command_walk"),
        (f"tuneloop review {run} --export {run}.csv", "command_export"),
        (f"tuneloop review {run} --import {run}.csv", "command_import"),
    ]
    facts: list[tuple[str, Child]] = [(story.say(key), tag("code", command)) for command, key in commands]
    again = tag("p", story.say("command_again"), class_="note")
    return tag("div", tag("h3", story.say("how_to_decide")), fact_list(facts), again)


# -- distributions ------------------------------------------------------------------------------------------------


def noise_section(story: RowStory) -> Html:
    """The distribution of the noise score with the line below which rows wait; "" where the stage is off."""
    noise = story.report.get("noise")
    if not noise:
        return Html("")
    if not noise["judged"]:
        return section(story.say("noise_title"), "", tag("p", story.say("noise_unjudged")))
    line, edges, count = f"{noise['review_below']:g}", noise["edges"], len(noise["counts"])
    bins = Bins(
        title=story.say("noise_title"), x_label=story.say("noise_axis"), logarithmic=True,
        told=[f"{low:g}–{high:g}" for low, high in pairwise(edges)],
        labels=[(count * tenth / 10, f"{tenth / 10:g}") for tenth in range(11)],
        mark=(count * noise["review_below"], story.say("noise_line", line=line)),
    )  # fmt: skip
    note = story.say("noise_note", below=f"{noise['below']:,}", n=f"{noise['rows']:,}", line=line)
    return section(story.say("noise_title"), note, _plot(histogram(noise["counts"], bins)))


def balance_section(story: RowStory) -> Html:
    """Each class with its rows as they were read and as they are trained on; the largest first."""
    before, after = story.report["labels_read"], story.report["labels"]["train"]
    names = sorted({**before, **after}, key=lambda name: (-before.get(name, 0), -after.get(name, 0), name))
    top = max((*before.values(), *after.values()), default=0)
    lines = [_balance(story, name, before.get(name, 0), after.get(name, 0), top) for name in names[:LABELS_FOLDED]]
    if not lines:
        return Html("")
    body: list[Child] = [tag("div", *lines[:LABELS_SHOWN], class_="columns balance")]
    if rest := lines[LABELS_SHOWN:]:
        body.append(folded(story.say("balance_more", n=len(rest)), tag("div", *rest, class_="columns balance")))
    if len(names) > LABELS_FOLDED:
        body.append(tag("p", story.say("balance_rest", n=f"{len(names) - LABELS_FOLDED:,}"), class_="note"))
    return section(story.say("balance_title"), story.say("balance_note"), *body)


def _balance(story: RowStory, label: str, before: int, after: int, top: int) -> Html:
    name = story.shown(label, 60) or "–"
    bar = kept_bar(after, before, "c-tuned", top=top)
    told = tag("span", f"{before:,} → {after:,}", class_="bar-value")
    return tag("div", tag("span", name, class_="bar-name", title=name), bar, told, class_="bar-line")


def length_section(story: RowStory) -> Html:
    """How long the training rows' texts and answers are."""
    rows = story.prepared.train
    sides = {"question": Counter(len(row.question) for row in rows), "answer": Counter(len(row.answer) for row in rows)}
    drawn = []
    for side, lengths in sides.items():
        del lengths[0]
        if chart := _lengths(story, lengths):
            found = story.report["lengths"][side]
            told = " / ".join(f"{found[key]:,}" for key in ("p50", "p95", "max"))
            head = tag("h3", story.say(f"length_of_{side}"), " ", tag("small", f"p50 / p95 / max: {told}"))
            drawn.append(tag("div", head, _plot(chart)))
    body = tag("div", *drawn, class_="halves") if drawn else None
    return section(story.say("lengths_title"), story.say("lengths_note"), body)


def _plot(chart: Html) -> Html:
    return tag("div", chart, class_="scroll wide plot")


def _lengths(story: RowStory, lengths: Mapping[int, int]) -> Html:
    """Length -> rows as bars of equal width on a logarithmic axis, about LENGTH_BINS of them."""
    if not lengths:
        return Html("")
    octaves = max(math.log2(max(lengths) / min(lengths)), 1.0)
    parts = min(max(round(LENGTH_BINS / octaves), 1), 12)  # of an octave

    def at(length: float) -> float:
        return parts * math.log2(length)

    first = math.floor(at(min(lengths)))
    counts = [0] * (math.floor(at(max(lengths))) - first + 1)
    for length, rows in lengths.items():
        counts[math.floor(at(length)) - first] += rows
    edges = [2 ** ((first + step) / parts) for step in range(len(counts) + 1)]
    units = (1, 2, 5) if octaves > 3 else range(1, 10)
    round_numbers = [unit * 10**power for power in range(9) for unit in units]
    labels = [(at(n) - first, short_number(n)) for n in round_numbers if edges[0] * 0.999 <= n <= edges[-1] * 1.001]
    whole = [math.ceil(edge - 1e-9) for edge in edges]
    told = [f"{low:,}–{max(high - 1, low):,}" for low, high in pairwise(whole)]
    return histogram(counts, Bins(story.say("lengths_title"), story.say("lengths_axis"), told, labels))


# -- where it comes from ------------------------------------------------------------------------------------------


def file_section(story: RowStory) -> Html:
    """The files that were read, with their hashes."""
    files = story.report["files"]
    lines: list[list[Child]] = [
        [place(file["path"]), story.say(f"split_{file['split']}"), f"{file['rows']:,}", tag("code", file["sha256"])]
        for file in files[:FILES]
    ]
    heads = [story.say("file"), "", story.say("count"), "sha256"]
    more = len(files) - FILES
    rest = tag("p", story.say("files_more", n=f"{more:,}"), class_="note") if more > 0 else None
    return section(story.say("files_title"), "", table(heads, lines, "files"), rest)
