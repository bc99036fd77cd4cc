"""The sections of figures: models as bars, scores, differences, thinking, speed and what was saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuneloop.report.html import Child, Html, join, tag
from tuneloop.report.plots import bar, difference_bar
from tuneloop.report.story import ORDER, PLAIN_METRICS, Story
from tuneloop.report.verdict import best_models

THINK = ("think_rate", "closed_tag_rate", "answer_after_think")
DASH = "–"
SAVED = ("flops", "peak_memory", "trainable_parameters", "seconds")


def section(title: str, note: str, *body: Child, style: str = "card", anchor: str | None = None) -> Html:
    """A part of the page; "" when it has no body."""
    if not any(body):
        return Html("")
    head = tag("header", tag("h2", title), tag("p", note, class_="note") if note else None)
    return tag("section", head, *body, class_=style, id=anchor)


def table(heads: Sequence[Child], lines: Sequence[Sequence[Child]], style: str = "") -> Html:
    """A table in a box that scrolls by itself on small screens; the first column names the line."""
    head = tag("thead", tag("tr", *(tag("th", text, scope="col") for text in heads)))
    body = [tag("tr", tag("th", line[0], scope="row"), *(tag("td", cell) for cell in line[1:])) for line in lines]
    return tag("div", tag("table", head, tag("tbody", *body)), class_=f"scroll {style}".strip())


def style_of(model: str) -> str:
    """The class that colours a model."""
    return f"c-{model}" if model in ORDER else "c-other"


def dotted(story: Story, model: str) -> Html:
    """A model's name behind a dot in its colour."""
    return join(tag("i", class_=f"key {style_of(model)}"), story.name(model))


def model_cards(story: Story) -> Html:
    """The lead figure of every model, large."""
    metric = story.lead_metric
    if metric is None:
        return Html("")
    cards = []
    for model in story.models:
        figure = story.figures(model).get(metric)
        if figure is None:
            continue
        about = f"about_{model}_{story.task}" if model in ("floor", "encoder") else f"about_{model}"
        cards.append(
            tag(
                "div",
                tag("div", dotted(story, model), class_="who"),
                tag("div", story.figure(metric, figure["value"]), class_="big"),
                tag(
                    "div",
                    f"{story.name(metric)} {story.interval(metric, figure['low'], figure['high'])}",
                    class_="small",
                ),
                tag("div", story.name(about) if model in ORDER else "", class_="small dim"),
                class_=f"tile {style_of(model)}",
            )
        )
    return tag("div", *cards, class_="tiles")


def score_section(story: Story) -> Html:
    """Bars with error bars for every share, and the table of all figures."""
    metrics = [metric for metric in _metrics(story) if metric not in THINK]
    if not metrics:
        return Html("")
    groups = [_bars(story, metric) for metric in metrics if metric not in PLAIN_METRICS]
    lines = []
    for model in story.models:
        figures = story.figures(model)
        rows = {figures[metric]["n"] for metric in metrics if metric in figures}
        cells: list[Child] = [f"{max(rows):,}" if rows else DASH]
        for metric in metrics:
            cells.append(_score_cell(story, model, metric))
        lines.append([dotted(story, model), *cells])
    heads = [story.say("model"), "n", *(story.name(metric) for metric in metrics)]
    return section(
        story.say("scores"),
        story.say("scores_note"),
        tag("div", *groups, class_="groups"),
        table(heads, lines, "figures"),
        absent_lines(story),
    )


def absent_lines(story: Story) -> Html:
    """Each model that has no line in the table, and why."""
    absent = story.scores.get("absent", {})
    lines = [tag("li", story.say("left_out", model=story.name(name), why=why)) for name, why in absent.items()]
    return tag("ul", *lines, class_="note") if lines else Html("")


def _metrics(story: Story) -> list[str]:
    """Every figure that some model has, in the order that they stand in the scores."""
    return list(dict.fromkeys(metric for model in story.models for metric in story.figures(model)))


def _score_cell(story: Story, model: str, metric: str) -> Html:
    figure = story.figures(model).get(metric)
    if figure is None:
        return tag("span", DASH, class_="dim", title=story.say("not_measured"))
    value = story.figure(metric, figure["value"])
    shown = tag("b", value) if model in best_models(story, metric) else tag("span", value)
    low, high = figure.get("low"), figure.get("high")
    small = tag("small", story.interval(metric, low, high)) if low is not None and high is not None else None
    return join(shown, small)


def _bars(story: Story, metric: str) -> Html:
    lines = []
    for model in story.models:
        figure = story.figures(model).get(metric)
        if figure is None:
            continue
        ends = (figure["low"], figure["high"]) if "low" in figure else None
        lines.append(
            tag(
                "div",
                tag("span", story.name(model), class_="bar-name"),
                bar(figure["value"], ends, style_of(model)),
                tag("span", story.figure(metric, figure["value"]), class_="bar-value"),
                class_="bar-line",
            )
        )
    return tag("div", tag("h3", story.name(metric)), *lines, class_="group")


def difference_section(story: Story) -> Html:
    """Every paired comparison as a point with its interval around 0, each metric to its own scale."""
    comparisons = story.scores.get("comparisons", [])
    reach: dict[str, tuple[float, float]] = {}
    for entry in comparisons:
        low, high = reach.get(entry["metric"], (0.0, 0.0))
        reach[entry["metric"]] = (min(low, entry["low"]), max(high, entry["high"]))
    lines = []
    for entry in comparisons:
        metric, verdict = entry["metric"], entry["verdict"]
        ends = (entry["difference"], entry["low"], entry["high"])
        style = {"better": "c-tuned", "worse": "c-bad"}.get(verdict, "c-untuned")
        p = entry.get("p")
        lines.append(
            [
                f"{story.name(entry['a'])} − {story.name(entry['b'])}",
                story.name(metric),
                difference_bar(*ends, reach=reach[metric], style=style),
                story.gap(metric, ends),
                "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}",
                tag("span", story.name(verdict), class_=f"chip {verdict.replace(' ', '-')}"),
            ]
        )
    names = ("compared", "metric", "", "difference", "p_value", "verdict")
    heads = [story.say(name) if name else "" for name in names]
    body = table(heads, lines, "differences") if lines else None
    return section(story.say("differences"), story.say("differences_note"), body)


def think_section(story: Story) -> Html:
    """How the answers think, for each model that was asked."""
    lines, budgets, opened = [], set(), False
    for model in story.models:
        figures, entry = story.figures(model), story.scores["models"][model]
        if not any(metric in figures for metric in THINK):
            continue
        tokens = entry.get("new_tokens", {})
        opened = opened or story.opened(model)
        budgets.add(tokens.get("budget"))
        cells: list[Child] = [_score_cell(story, model, metric) for metric in THINK]
        stopped, mean = entry.get("stopped_share"), tokens.get("mean")
        cells.append(DASH if stopped is None else f"{stopped:.1%}")
        cells.append(DASH if mean is None else f"{mean:,.0f}")
        lines.append([dotted(story, model), *cells])
    budget = max((one for one in budgets if one is not None), default=None)
    note = story.say("thinking_note", budget=f"{budget:,}") if budget else story.say("thinking_note_plain")
    note += story.say("opened_by_prompt" if opened else "opened_by_itself")
    heads = [story.say("model"), *(story.name(metric) for metric in THINK)]
    heads += [story.say("stopped_share"), story.say("new_tokens")]
    return section(story.say("thinking"), note, table(heads, lines, "figures") if lines else None)


def speed_section(story: Story) -> Html:
    """Latency, throughput and memory; a model without any of them has no line."""
    lines = []
    for model in story.models:
        entry = story.scores["models"][model]
        latency, through = entry.get("latency_ms", {}), entry.get("throughput", {})
        measured = [latency.get(p) for p in ("p50", "p95", "p99")]
        measured += [through.get("queries_per_second"), through.get("tokens_per_second")]
        memory = entry.get("peak_memory_mb")
        if not any(value is not None for value in (*measured, memory)):
            continue
        cells = [*(_amount(value) for value in measured), _memory(memory), entry.get("backend") or DASH]
        lines.append([dotted(story, model), *cells])
    heads = [story.say("model"), *(join(tag("small", story.say("latency")), p) for p in ("p50", "p95", "p99"))]
    names = ("queries_per_second", "tokens_per_second", "peak_memory", "backend")
    heads += [tag("span", story.say(name)) for name in names]
    return section(story.say("speed"), story.say("speed_note"), table(heads, lines, "figures speed") if lines else None)


def saved_section(story: Story) -> Html:
    """The four figures of what was saved against full tuning, apart; absent ones are said to be."""
    saved = story.scores.get("saved_against_full")
    if not saved:
        return Html("")
    tiles = []
    for name in SAVED:
        share = saved.get(name)
        if share is None:
            big: Html = tag("div", story.say("not_measured"), class_="absent")
        else:
            told = story.say("less" if share >= 0 else "more", size=f"{abs(100 * share):.3g}%")
            big = tag("div", told, class_="big")
        tiles.append(tag("div", big, tag("div", story.say(f"saved_{name}"), class_="small"), class_="tile"))
    return section(story.say("saved"), story.say("saved_note"), tag("div", *tiles, class_="tiles"))


def _amount(value: Any) -> str:
    if value is None:
        return DASH
    number = float(value)
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def _memory(megabytes: Any) -> str:
    if megabytes is None:
        return DASH
    return f"{megabytes / 1024:.2f} GB" if megabytes >= 1024 else f"{megabytes:.0f} MB"
