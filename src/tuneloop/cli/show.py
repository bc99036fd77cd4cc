"""What the verbs print: samples in colour, tables of scores, the data report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from tuneloop.disk import read_json
from tuneloop.recipe import load_recipe
from tuneloop.records import Row
from tuneloop.runs import RunFolder
from tuneloop.terminal import err, out

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
    table = Table(title=f"{scores['data']['name']}: {scores['data']['rows']} test rows, 95 % intervals")
    table.add_column("model", no_wrap=True)
    for name in (*figures, "p50 latency", "rows"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, model in scores["models"].items():
        cells = [figure_text(model["metrics"][f], share=f != "loss") if f in model["metrics"] else "-" for f in figures]
        latency = f"{model['latency_ms']['p50']:.1f} ms" if "latency_ms" in model else "-"
        style = "bold" if name == "tuned" else None
        table.add_row(name, *cells, latency, str(model["rows"]), style=style)
    out.print(table)
    for gap in scores["comparisons"]:
        if gap["metric"] in ("accuracy", "rouge_l", "loss"):
            out.print(comparison_text(gap))


def comparison_text(gap: dict[str, Any]) -> str:
    """A paired difference in words."""
    factor, unit = (1.0, " nats") if gap["metric"] == "loss" else (100.0, " points")
    low, high = factor * gap["low"], factor * gap["high"]
    colour = {"better": "green", "worse": "red"}.get(gap["verdict"], "yellow")
    return (
        f"{gap['a']} against {gap['b']}: {gap['metric']} {factor * gap['difference']:+.2f}{unit}"
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
    kind = "predict" if scores["task"] == "classification" else "chat"
    example = f"tuneloop predict {folder.path.name} FILE" if kind == "predict" else f"tuneloop chat {folder.path.name}"
    out.print(f"\nreport  {folder.report.resolve()}")
    out.print("next:", style="bold")
    out.print(f"  open {folder.report}", highlight=False)
    out.print(f"  {example}")
    out.print(f"  tuneloop merge {folder.path.name}")


def print_data_report(folder: RunFolder, report: dict[str, Any]) -> None:
    """The funnel of rows, the faults, and where the tables are."""
    out.print(f"format  {report['format']}")
    for split, counts in report["counts"].items():
        out.print(f"{split:<10} " + ", ".join(f"{k} {_count_text(v)}" for k, v in counts.items()))
    for warning in report.get("warnings", []):
        out.print(f"[yellow]warning[/yellow] {warning}")
    for bad in report.get("bad", [])[:10]:
        out.print(str(bad), markup=False)
    out.print(f"rows    {folder.data}")


def _count_text(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k}: {v}" for k, v in value.items()) + ")"
    return str(value)


def print_comparison(found: dict[str, Any]) -> None:
    """Runs side by side."""
    names = list(found["runs"])
    figures = list(dict.fromkeys(f for run in found["runs"].values() for f in run["metrics"]))
    table = Table()
    table.add_column("figure")
    for name in names:
        table.add_column(name, justify="right")
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
    from tuneloop.rows.prepare import prepare_rows
    from tuneloop.stations import encode_rows

    recipe, home = load_recipe(recipe_path, overrides), recipe_path.resolve().parent
    prepared = prepare_rows(recipe, home)
    tokenizer = load_tokenizer(resolve(recipe.model.name_or_path, recipe.model.revision, relative_to=home))
    examples = encode_rows(recipe, prepared.train, tokenizer, prepared.labels)
    for row, example in list(zip(prepared.train, examples, strict=True))[:count]:
        out.print(f"\n[bold]{row.source}[/bold]" + ("  [red]cut at max_length[/red]" if example.truncated else ""))
        out.print(_coloured(tokenizer, example.input_ids, example.labels, row, recipe.task.type))
    tokens = sum(len(e.input_ids) for e in examples)
    trained = sum(sum(x != -100 for x in e.labels) for e in examples)
    out.print("")
    if recipe.task.type == "classification":
        out.print(f"{len(examples)} rows, {tokens} tokens; what is trained is the class of each row, not its tokens")
    else:
        out.print(f"{len(examples)} rows, {tokens} tokens, {trained} trained ({trained / max(tokens, 1):.1%})")
    err.print("[bold green]green[/bold green]: trained   [bright_black]grey[/bright_black]: masked")


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
