"""What the verbs print: samples in colour, tables of scores, the data report."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tuneloop.cli.funnel import funnel_table
from tuneloop.disk import read_json
from tuneloop.recipe import Recipe, load_recipe
from tuneloop.records import Row
from tuneloop.rows.funnel import check_funnel
from tuneloop.rows.prepare import Prepared
from tuneloop.runs import RunFolder
from tuneloop.terminal import counted, err, out

LISTED = 10
"""Bad rows that are spelt out; the others are counted."""
TRAINED, MASKED = "bold green", "bright_black"


def figure_text(figure: dict[str, Any], *, share: bool = True) -> str:
    """A figure with its interval, e.g. `92.4 % [91.4, 93.3]`, or the plain number of a loss."""
    if not share:
        return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
    return f"{100 * figure['value']:.1f} % [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


def print_score_table(scores: dict[str, Any]) -> None:
    """Every model's figures with 95 % intervals, then the paired differences."""
    figures = list(dict.fromkeys(name for model in scores["models"].values() for name in model["metrics"]))
    # With one label a row micro F1 is the accuracy: one column says both.
    figures = [name for name in figures if name != "micro_f1" or "accuracy" not in figures]
    title = f"{scores['data']['name']}: {scores['data']['rows']} test rows, 95 % intervals"
    table = Table(title=escape(title))  # figures down, models across: a narrow terminal folds the cells, not the names
    table.add_column("", no_wrap=True)
    models = scores["models"].values()
    for name in scores["models"]:
        table.add_column(name, justify="right", style="bold" if name == "tuned" else None)
    for name in figures:
        found = [model["metrics"].get(name) for model in models]
        table.add_row(name, *[figure_text(figure, share=name != "loss") if figure else "-" for figure in found])
    if any("latency_ms" in model for model in models):
        timed = [f"{model['latency_ms']['p50']:.1f} ms" if "latency_ms" in model else "-" for model in models]
        table.add_row("p50 latency", *timed)
    table.add_row("rows", *[str(model["rows"]) for model in models])
    out.print(table)
    for name, why in scores.get("absent", {}).items():  # scores of an earlier version have none
        out.print(f"{name} left out: {why}", markup=False)
    for gap in scores["comparisons"]:
        if gap["metric"] in ("accuracy", "rouge_l", "loss"):
            out.print(comparison_text(gap))


def comparison_text(gap: dict[str, Any]) -> str:
    """A paired difference in words."""
    factor, unit = (1.0, " nats") if gap["metric"] == "loss" else (100.0, " points")
    low, high = factor * gap["low"], factor * gap["high"]
    colour = {"better": "green", "worse": "red"}.get(gap["verdict"], "yellow")
    return (
        f"{escape(gap['a'])} against {escape(gap['b'])}: {gap['metric']} {factor * gap['difference']:+.2f}{unit}"
        f" \\[{low:+.2f}, {high:+.2f}] on {gap['n']} rows: [{colour}]{gap['verdict']}[/{colour}]"
    )


def print_scores(folder: RunFolder) -> None:
    """The run's own scores."""
    print_score_table(read_json(folder.scores))


def print_summary(folder: RunFolder) -> None:
    """Where things are, and the three commands to type next."""
    scores = read_json(folder.scores)
    verdicts = {gap["b"]: gap["verdict"] for gap in scores["comparisons"] if gap["metric"] in ("accuracy", "rouge_l")}
    for rival in ("floor", "encoder"):
        if verdicts.get(rival) == "worse":
            out.print(
                f"[yellow]The {rival} is better than the tuned model on these rows: it is the better buy.[/yellow]"
            )
    program, name = _program(), folder.path.name
    out.print(f"\nreport  {folder.report.resolve().as_uri()}", markup=False)
    out.print("next:", style="bold")
    for command in (f"chat {name}", f"predict {name} {folder.data / 'test.parquet'} -n 5", f"merge {name}"):
        out.print(f"  {program} {command}", markup=False)


def _program() -> str:
    """What the user typed to get here, so that the next command can be typed in the same way."""
    typed = Path(sys.argv[0])
    if typed.name != "tuneloop":
        return "tuneloop"
    if shutil.which("tuneloop") == str(typed):
        return "tuneloop"
    return os.path.relpath(typed) if typed.is_relative_to(Path.cwd()) else str(typed)


def print_data_report(folder: RunFolder, report: dict[str, Any]) -> None:
    """The funnel of rows, the faults, and where the tables and the page are."""
    check_funnel(report["counts"])
    out.print(f"format  {report['format']}", markup=False)
    out.print(funnel_table(report, bars=out.is_terminal))
    for warning in report.get("warnings", []):
        out.print(f"[yellow]warning[/yellow] {escape(warning)}")
    if bad := report.get("bad", [])[:LISTED]:
        count, mended = report.get("bad_rows", len(bad)), report.get("mended_rows", 0)
        told = f"bad     {counted(count, 'row')} cannot be read"
        out.print(told + (f", {mended:,} more were mended" if mended else ""))
        for line in bad:
            out.print(str(line), markup=False)
        if count > len(bad):
            out.print(f"and {count - len(bad):,} more, which {folder.data / 'dropped.parquet'} holds", markup=False)
    if waiting := report["counts"]["train"].get("to review"):
        told = f"review  {counted(waiting, 'row')} wait{'s' if waiting == 1 else ''} for a person"
        told += f": {_program()} review {folder.path.name}"
        out.print(told, markup=False)
    out.print(f"rows    {folder.data}", markup=False)
    if folder.data_page.exists():
        out.print(f"report  {folder.data_page.resolve().as_uri()}", markup=False)


def print_comparison(found: dict[str, Any]) -> None:
    """Runs side by side."""
    names = list(found["runs"])
    figures = list(dict.fromkeys(f for run in found["runs"].values() for f in run["metrics"]))
    table = Table()
    table.add_column("figure")
    for name in names:
        table.add_column(escape(name), justify="right")
    for figure in figures:
        cells = [run["metrics"].get(figure) for run in found["runs"].values()]
        table.add_row(figure, *[figure_text(c, share=figure != "loss") if c else "-" for c in cells])
    out.print(table)
    for gap in found["comparisons"]:
        out.print(comparison_text(gap))


def show_samples(recipe_path: Path, overrides: list[str] | None, count: int) -> None:
    """Print `count` training rows as the model will see them: trained tokens green, masked ones grey."""
    from tuneloop.model.load import load_tokenizer
    from tuneloop.model.source import resolve
    from tuneloop.row_station import peek_rows
    from tuneloop.rows.checks import untrainable
    from tuneloop.rows.locate import expand_variables
    from tuneloop.stations import encode_rows

    recipe, home = load_recipe(recipe_path, overrides), recipe_path.resolve().parent
    prepared = peek_rows(recipe, home)
    if fault := untrainable(prepared, recipe):
        raise fault
    tokenizer = load_tokenizer(
        resolve(expand_variables(recipe.model.name_or_path), recipe.model.revision, relative_to=home)
    )
    examples = encode_rows(recipe, prepared.train, tokenizer, prepared.labels)
    for row, example in list(zip(prepared.train, examples, strict=True))[:count]:
        out.print(
            f"\n[bold]{escape(row.source)}[/bold]" + ("  [red]cut at max_length[/red]" if example.truncated else "")
        )
        out.print(_coloured(tokenizer, example.input_ids, example.labels, row, recipe.task.type))
    _print_wordings(recipe, prepared, home, count)
    tokens = sum(len(e.input_ids) for e in examples)
    trained = sum(sum(x != -100 for x in e.labels) for e in examples)
    out.print("")
    if recipe.task.type == "classification":
        out.print(f"{len(examples)} rows, {tokens} tokens; what is trained is the class of each row, not its tokens")
    else:
        out.print(f"{len(examples)} rows, {tokens} tokens, {trained} trained ({trained / max(tokens, 1):.1%})")
    err.print("[bold green]green[/bold green]: trained   [bright_black]grey[/bright_black]: masked")


def _print_wordings(recipe: Recipe, prepared: Prepared, home: Path, count: int) -> None:
    """The first rows as augmentation shows them: what two epochs draw, and the wordings that the run holds by now.

    Nothing is made and nobody is asked here.
    """
    from tuneloop.augment.augmentation import augmentation_of
    from tuneloop.augment.report import report
    from tuneloop.augment.station import variants_path
    from tuneloop.augment.variants import appended
    from tuneloop.examples.training import label_figures
    from tuneloop.rows.table import read_table
    from tuneloop.runs import RUNS
    from tuneloop.score.judge import judge_of, labels_told

    augment = recipe.augment
    if not (augment.drawn or augment.made):
        return
    path = variants_path(RunFolder(RUNS / recipe.name))
    variants = read_table(path) if augment.made and path.exists() else []
    how = augmentation_of(
        augment, task=recipe.task.type, seed=recipe.seed, labels=prepared.labels, variants=variants, folder=home
    )
    told = report(prepared.train[:count], how, epochs=2, variants=variants)
    out.print("\nthe same rows in other words:", style="bold")
    for sample in told["samples"]:
        out.print(f"\n{sample['method']}:", markup=False)
        out.print(_marked(sample["before"]))
        out.print(_marked(sample["after"]))
    judge = judge_of(recipe, prepared.train)
    if judge is not None:
        found = label_figures(prepared.train, appended([], variants, augment), how, judge)
        out.print(f"\nlabels: {labels_told(found)}", markup=False)
    if augment.made and not variants:
        names = ", ".join(augment.made)
        out.print(f"\n{names}: nothing is made yet; `tuneloop run` makes it before it trains", markup=False)


def _marked(text: str) -> Text:
    """A text, with what stands in [[ ]] in colour."""
    found = Text()
    for place, part in enumerate(re.split(r"\[\[(.*?)\]\]", text, flags=re.DOTALL)):
        found.append(part, style=TRAINED if place % 2 else "")
    return found


def _coloured(tokenizer: Any, ids: list[int], labels: list[int], row: Row, task: str) -> Text:
    """Tokens joined in runs of one colour; decoded together, so that characters of several tokens stay whole."""
    text = Text()
    start = 0
    for i in range(1, len(ids) + 1):
        if i == len(ids) or (labels[i] == -100) != (labels[start] == -100):
            text.append(tokenizer.decode(ids[start:i]), style=MASKED if labels[start] == -100 else TRAINED)
            start = i
    if task == "classification":
        text.append(f"  -> {row.label}", style=TRAINED)
    return text
