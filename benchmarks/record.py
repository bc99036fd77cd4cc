"""Keep a run's figures as a record: `python benchmarks/record.py RUN` -> benchmarks/results/<run>/.

The record holds the resolved recipe, the manifest (hashes, versions, machine, load average), the log and the
scores, and for a classification run each test row's id and the labels given to it, so that every paired
statistic can be computed again. It holds no text of the rows: the data sets are not the project's to give away.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import polars as pl

from tuneloop.runs import RunFolder, open_run

RESULTS = Path(__file__).parent / "results"
COMMANDS = {"customer_service": "make demo"}
"""What makes a run whose recipe does not lie in recipes/."""


def record(run: RunFolder, results: Path = RESULTS) -> Path:
    """Write the record of `run` and give its folder."""
    folder = results / run.path.name
    folder.mkdir(parents=True, exist_ok=True)
    for path in (run.recipe, run.log, run.scores):
        shutil.copyfile(path, folder / path.name)
    (folder / "manifest.json").write_text(
        json.dumps(without_folders(run.stations()), indent=2) + "\n", encoding="utf-8"
    )
    scores = json.loads(run.scores.read_text(encoding="utf-8"))
    if scores["task"] == "classification":
        table = pl.read_parquet(run.predictions)
        kept = [
            name for name in table.columns if name in ("id", "expected") or name.endswith(("_predicted", "_latency_ms"))
        ]
        table.select(kept).write_csv(folder / "predictions.csv", float_precision=3)
    (folder / "README.md").write_text(summary(run, scores), encoding="utf-8")
    return folder


def without_folders(stations: dict) -> dict:
    """The manifest's entries, input files named by set and file alone: where they lay is nobody's business."""
    inputs = stations["data"]["inputs"]
    short = {"/".join(Path(name).parts[-2:]): digest for name, digest in inputs.items()}
    return stations | {"data": stations["data"] | {"inputs": short}}


def summary(run: RunFolder, scores: dict) -> str:
    """The record in Markdown: command, date, machine, table, paired differences."""
    stations = run.stations()
    trained, machine = stations["train"], stations["train"]["machine"]
    figures = list(dict.fromkeys(name for model in scores["models"].values() for name in model["metrics"]))
    command = COMMANDS.get(run.path.name, f"tuneloop run recipes/{run.path.name}.yaml")
    lines = [
        f"# {run.path.name}", "", f"`{command}`, then `python benchmarks/record.py {run.path.name}`", "",
        f"- finished {stations['evaluate']['finished']}; {machine['cores']} cores, {machine['cpu']}; load average at "
        f"the end of training {machine['load_average']}, of scoring {stations['evaluate']['load_average']}",
        f"- training: {trained['steps']} steps, {trained['tokens']:,} tokens, {trained['seconds']:,.0f} s, peak memory "
        f"{trained['peak_memory_mb']:,.0f} MB, kept step {trained['best_step']} (validation {trained['validation']})",
        f"- rows: {stations['data']['counts']}; versions: {trained['versions']}", "",
        "| model | rows | " + " | ".join(figures) + " | p50 ms | p95 ms |", "|---" * (len(figures) + 4) + "|",
    ]  # fmt: skip
    for name, model in scores["models"].items():
        cells = [_figure(name_, model["metrics"].get(name_)) for name_ in figures]
        timed = model.get("latency_ms", {})
        latency = [f"{timed[key]:.1f}" if key in timed else "" for key in ("p50", "p95")]
        lines.append("| " + " | ".join([name, str(model["rows"]), *cells, *latency]) + " |")
    absent = scores.get("absent", {})
    lines += ["", *(f"- {name} left out: {why}" for name, why in absent.items())] if absent else []
    lines += ["", "Paired differences (bootstrap over test rows, 10,000 draws, 95 %):", ""]
    for gap in scores["comparisons"]:
        scale, unit = (1, " nats") if gap["metric"] == "loss" else (100, " points")
        lines.append(
            f"- {gap['a']} - {gap['b']}, {gap['metric']}: {scale * gap['difference']:+.2f}{unit} "
            f"[{scale * gap['low']:+.2f}, {scale * gap['high']:+.2f}], n = {gap['n']}: {gap['verdict']}"
        )
    return "\n".join([*lines, ""])


def _figure(name: str, figure: dict | None) -> str:
    if figure is None:
        return ""
    scale = 1 if name == "loss" else 100
    return f"{scale * figure['value']:.2f} [{scale * figure['low']:.2f}, {scale * figure['high']:.2f}]"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="a run's name under runs/, or its path")
    print(record(open_run(parser.parse_args().run)))
