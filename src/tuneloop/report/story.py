"""What a report tells: the files of a run, read once, and how its numbers are written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuneloop.disk import read_json
from tuneloop.recipe import Recipe
from tuneloop.records import Row
from tuneloop.report.words import WORDS, Language
from tuneloop.rows.table import read_table
from tuneloop.runs import RunFolder
from tuneloop.score.floor import is_chinese

ORDER = ("tuned", "encoder", "floor", "untuned")
LEAD_METRICS = {
    "classification": ("accuracy", "macro_f1", "micro_f1"),
    "generation": ("rouge_l", "exact_match", "bleu"),
}
PLAIN_METRICS = frozenset({"loss"})
"""Metrics that are no share: written as they are, and less is better."""
LANGUAGE_ROWS = 5_000


@dataclass(frozen=True)
class Story:
    """A run's files.

    Attributes:
        recipe: The resolved recipe.
        recipe_text: Its YAML.
        stations: The manifest's entries.
        data: data/report.json, {} where there is none.
        augment: augment.json, {} where there is none.
        log: The lines of log.jsonl, in order.
        scores: scores.json, {} where there is none.
        predictions: The rows of predictions.parquet.
        args: model/args.json, {} where there is none.
        language: Of the page.
        data_page: Where the page of the rows stands, from the run folder; "" where there is none.
    """

    recipe: Recipe
    recipe_text: str
    stations: dict[str, Any]
    data: dict[str, Any]
    augment: dict[str, Any]
    log: list[dict[str, Any]]
    scores: dict[str, Any]
    predictions: list[dict[str, Any]]
    args: dict[str, Any]
    language: Language
    data_page: str = ""

    def say(self, key: str, **values: object) -> str:
        """The page's words for `key`, filled in."""
        return WORDS[self.language][key].format(**values)

    def name(self, key: str) -> str:
        """The page's words for a model or metric; its own name where it is not ours."""
        return WORDS[self.language].get(key, key)

    def called(self, model: str) -> str:
        """A model in a sentence."""
        return self.name(f"the_{model}") if model in ORDER else model

    @property
    def models(self) -> list[str]:
        """The scored models, ours first."""
        scored = self.scores.get("models", {})
        return [model for model in ORDER if model in scored] + sorted(set(scored) - set(ORDER))

    @property
    def subject(self) -> str | None:
        """The model that the page is about: the tuned one, else the first scored."""
        return self.models[0] if self.models else None

    @property
    def task(self) -> str:
        """The task's type."""
        return str(self.scores.get("task") or self.recipe.task.type)

    def figures(self, model: str) -> dict[str, dict[str, Any]]:
        """A model's figures, those of its thinking too."""
        entry = self.scores["models"][model]
        found = {**entry.get("metrics", {}), **entry.get("think", {})}
        return {name: figure for name, figure in found.items() if isinstance(figure, dict) and "value" in figure}

    def opened(self, model: str) -> bool:
        """Whether a model's prompt ended with an open `<think>`."""
        return bool(self.scores["models"][model].get("think", {}).get("opened_by_prompt"))

    @property
    def lead_metric(self) -> str | None:
        """The figure that the verdict is about: the first of the task's that was measured."""
        measured = {metric for model in self.models for metric in self.figures(model)}
        return next((metric for metric in LEAD_METRICS.get(self.task, ()) if metric in measured), None)

    def figure(self, metric: str, value: float) -> str:
        """A figure as it is written: 93.1%, or 1.873 for a loss."""
        return f"{value:.3f}" if metric in PLAIN_METRICS else f"{100 * value:.1f}%"

    def interval(self, metric: str, low: float, high: float) -> str:
        """An interval as it is written, in the unit of its figure."""
        if metric in PLAIN_METRICS:
            return f"[{low:.3f}, {high:.3f}]"
        return f"[{100 * low:.1f}, {100 * high:.1f}]"

    def gap(self, metric: str, ends: tuple[float, float, float], *, sign: bool = True) -> str:
        """A difference (value, low, high) in words: +3.1 points [1.9, 4.3]."""
        plain = metric in PLAIN_METRICS
        scale, digits = (1.0, 3) if plain else (100.0, 1)
        size, low, high = (_signed(scale * end, digits, sign=sign and place == 0) for place, end in enumerate(ends))
        return self.say("by_plain" if plain else "by_points", size=size, low=low, high=high)


def _signed(value: float, digits: int, *, sign: bool) -> str:
    """A number with a true minus, and no minus before a rounded zero."""
    rounded = round(value, digits) + 0.0
    text = f"{rounded:+.{digits}f}" if sign and rounded else f"{rounded:.{digits}f}"
    return text.replace("-", "−")  # a true minus


def read_story(run: RunFolder) -> Story:
    """Read what a run holds so far; only the recipe must be there.

    Args:
        run: The run folder.

    Raises:
        RunError: if a file is broken.
        RecipeError: if the recipe is.
    """
    recipe = run.load_recipe()
    report, args = run.data / "report.json", run.model / "args.json"
    data = read_json(report) if report.exists() else {}
    return Story(
        recipe=recipe,
        recipe_text=run.recipe.read_text(encoding="utf-8"),
        stations=run.stations(),
        data=data,
        augment=read_json(run.augmentation) if run.augmentation.exists() else {},
        log=_log_lines(run),
        scores=read_json(run.scores) if run.scores.exists() else {},
        predictions=_predictions(run),
        args=read_json(args) if args.exists() else {},
        language=_language(run, data) if recipe.report.lang == "auto" else recipe.report.lang,
        data_page=f"{run.data.name}/{run.data_page.name}" if run.data_page.exists() else "",
    )


def _language(run: RunFolder, data: dict[str, Any]) -> Language:
    """The language of most training rows: as the data report says, else by their characters; English before any."""
    if "language" in data:
        return "zh" if data["language"] == "zh" else "en"
    train = run.data / "train.parquet"
    return language_of(read_table(train)) if train.exists() else "en"


def language_of(rows: Sequence[Row]) -> Language:
    """The language of most rows, by their characters; of a large set a sample tells. English for none."""
    some = rows[:: -(-len(rows) // LANGUAGE_ROWS) or 1]
    chinese = sum(is_chinese([row.question]) for row in some)
    return "zh" if 2 * chinese > len(some) else "en"


def _log_lines(run: RunFolder) -> list[dict[str, Any]]:
    if not run.log.exists():
        return []
    lines = []
    for text in run.log.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:  # a line that a killed run left half written
            continue
    return lines


def _predictions(run: RunFolder) -> list[dict[str, Any]]:
    if not run.predictions.exists():
        return []
    import polars

    return polars.read_parquet(run.predictions).to_dicts()
