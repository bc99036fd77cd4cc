"""Where a run comes from: its rows, its recipe, its machine and versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuneloop.report.html import Child, Html, folded, join, tag
from tuneloop.report.plots import stacked_bar
from tuneloop.report.row_reasons import in_language
from tuneloop.report.story import Story
from tuneloop.report.tables import section, table

SHADES = ("c-encoder", "c-floor", "c-bad", "c-other", "c-untuned")
SPLITS = ("train", "validation", "test")


def data_section(story: Story) -> Html:
    """The funnel of the training rows, the splits, and what the rows look like."""
    data = story.data
    counts = data.get("counts", {})
    facts: list[tuple[str, Child]] = []
    if data.get("format"):
        facts.append((story.say("format"), str(data["format"])))
    if story.recipe.data.source:
        facts.append((story.say("source"), story.recipe.data.source))
    for side, found in data.get("lengths", {}).items():
        if {"p50", "p95", "max"} <= set(found):
            told = " / ".join(f"{found[key]:,.0f}" for key in ("p50", "p95", "max"))
            facts.append((story.say(f"lengths_{side}"), told))
    share = data.get("think", {}).get("share")
    if share:
        facts.append((story.say("think_share"), f"{share:.1%}"))
    files = data.get("files") or []
    if files:
        listed = [tag("div", tag("code", _short_hash(file["sha256"])), f" {file['path']}") for file in files]
        facts.append((story.say("files"), join(*listed)))
    body = (
        [tag("div", _funnel(story, counts.get("train", {})), _splits(story, counts), class_="halves")] if counts else []
    )
    body += [fact_list(facts)] if facts else []
    if story.data_page:
        body.append(tag("p", tag("a", story.say("rows_page"), href=story.data_page)))
    warnings = data.get("warnings") or []
    if warnings:
        listed = [tag("li", in_language(text, story.language)) for text in map(str, warnings)]
        body.append(tag("div", tag("h3", story.say("warnings")), tag("ul", *listed), class_="warn"))
    bad = data.get("bad") or []
    if bad:
        listed = [tag("li", in_language(text, story.language)) for text in map(str, bad)]
        shown = story.say("bad_rows", n=f"{data.get('bad_rows', len(bad)):,}")
        body.append(folded(shown, tag("ul", *listed, class_="mono")))
    return section(story.say("data"), "", *body)


def _funnel(story: Story, counts: Mapping[str, Any]) -> Html | None:
    """Training rows: in, repaired, kept, waiting for review, dropped by reason."""
    if "in" not in counts or "kept" not in counts:
        return None
    dropped = counts.get("dropped", {})
    reasons = dropped if isinstance(dropped, Mapping) else {story.say("rows_dropped"): dropped}
    reasons = dict(sorted(((str(k), int(v)) for k, v in reasons.items() if v), key=lambda item: -item[1]))
    parts = [(story.say("rows_kept"), float(counts["kept"]), "c-tuned")]
    waiting = int(counts.get("to review", 0))
    parts += [(reason, float(n), SHADES[i % len(SHADES)]) for i, (reason, n) in enumerate(reasons.items())]
    bar = [*parts, (story.say("rows_to_review"), float(waiting), "c-floor")] if waiting else parts
    lines = [_count(story.say("rows_in"), counts["in"], "")]
    if counts.get("repaired"):
        lines.append(_count(story.say("rows_repaired"), counts["repaired"], ""))
    lines.append(_count(parts[0][0], int(parts[0][1]), parts[0][2]))
    if waiting:
        lines.append(_count(story.say("rows_to_review"), waiting, "c-floor"))
    for reason, number, style in parts[1:]:
        lines.append(_count(f"{story.say('rows_dropped')}: {reason}", int(number), style))
    return tag("div", tag("h3", story.say("funnel")), stacked_bar(bar), tag("ul", *lines, class_="legend-list"))


def _splits(story: Story, counts: Mapping[str, Any]) -> Html | None:
    styles = dict(zip(SPLITS, ("c-tuned", "c-encoder", "c-floor"), strict=True))
    sizes = [
        (story.say(f"split_{split}"), float(counts[split]["kept"]), style)
        for split, style in styles.items()
        if "kept" in counts.get(split, {})
    ]
    if not sizes:
        return None
    lines = [_count(name, int(size), style) for name, size, style in sizes]
    return tag("div", tag("h3", story.say("splits")), stacked_bar(sizes), tag("ul", *lines, class_="legend-list"))


def _count(name: str, count: int, style: str) -> Html:
    return tag("li", tag("i", class_=f"key {style}") if style else None, tag("span", name), tag("b", f"{int(count):,}"))


def prompt_section(story: Story) -> Html:
    """The prompt that the untuned model was asked with."""
    prompt = story.scores.get("models", {}).get("untuned", {}).get("prompt")
    if not prompt:
        return Html("")
    note = story.say("untuned_prompt_note")
    return tag(
        "section",
        folded(story.say("untuned_prompt"), tag("p", note, class_="note"), tag("pre", prompt)),
        class_="card fold",
    )


def recipe_section(story: Story) -> Html:
    """The resolved recipe."""
    note = tag("p", story.say("recipe_note"), class_="note")
    return tag("section", folded(story.say("recipe"), note, tag("pre", story.recipe_text)), class_="card fold")


def provenance_section(story: Story) -> Html:
    """Model, test rows, and what the manifest says of each station."""
    facts: list[tuple[str, Child]] = []
    base = story.args.get("base")
    if isinstance(base, Mapping):
        named = [
            base.get("name_or_path"),
            base.get("revision"),
            story.args.get("architecture"),
            story.args.get("method"),
        ]
        told = " · ".join(str(part) for part in named if part)
        facts.append((story.say("model_facts"), join(told, " ", tag("code", _short_hash(base.get("sha256", ""))))))
    tested = story.scores.get("data")
    if isinstance(tested, Mapping):
        told = f"{tested.get('name', '')} · {tested.get('rows', 0):,} {story.say('rows')} "
        facts.append((story.say("test_data"), join(told, tag("code", _short_hash(tested.get("sha256", ""))))))
    template = story.scores.get("template_hash") or story.args.get("template_hash")
    if template:
        facts.append((story.say("template"), tag("code", str(template))))
    lines: list[list[Child]] = []
    for station, entry in story.stations.items():
        flat = _flat({key: value for key, value in entry.items() if key != "rows"})
        shown = [tag("span", tag("em", key), f" {value}", class_="pair") for key, value in flat]
        lines.append([station, tag("div", *shown, class_="pairs-list")])
    body = [fact_list(facts)] if facts else []
    body += [table([story.say("station"), ""], lines, "stations")] if lines else []
    return section(story.say("provenance"), "", *body)


def fact_list(facts: list[tuple[str, Child]]) -> Html:
    """Names and values in two columns."""
    return tag("dl", *(join(tag("dt", name), tag("dd", value)) for name, value in facts), class_="facts")


def _flat(entry: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested entries as `a.b value`; hashes are shortened."""
    found: list[tuple[str, str]] = []
    for key, value in entry.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            found += _flat(value, f"{name}." if name not in ("versions", "machine") else "")
        elif isinstance(value, list):
            found.append((name, " ".join(_plain(part) for part in value)))
        elif value is not None:
            found.append((name, _plain(value)))
    return found


def _plain(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _short_hash(str(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _short_hash(text: str) -> str:
    """The first 12 digits of a sha256; any other text as it is."""
    digits = text.lower()
    return text[:12] if len(text) >= 40 and all(c in "0123456789abcdef" for c in digits) else text
