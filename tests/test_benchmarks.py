"""The records behind the READMEs' table: the figures are theirs, and each was made by the recipe that is shipped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuneloop.recipe import dump_recipe, load_recipe
from tuneloop.rows.prepare import prepare_rows

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SHIPPED = ["banking77", "reasoning", "zh_intent"]
NAMES = ["banking77", "customer_service", "reasoning", "zh_intent"]
SPEEDS = {
    "bounded_memory",
    "effect",
    "json_repair",
    "relevance",
    "augmentation",
    "generation",
    "label_scoring",
    "near_duplicates",
    "noise",
    "products",
    "scaling",
    "step_profile",
    "train_speed",
}  # no recipe makes them; tests/benchmarks has theirs
MODELS = ["floor", "encoder", "untuned", "tuned"]


def read(name: str, file: str) -> Any:
    return json.loads((RESULTS / name / file).read_text(encoding="utf-8"))


def numbers(cell: str) -> list[str]:
    return re.findall(r"[+-]?\d[\d,]*(?:\.\d+)?", cell)


def table(readme: str) -> dict[str, list[str]]:
    """Record -> the cells behind its name."""
    lines = re.findall(
        r"^\| \[\w+\]\(benchmarks/results/(\w+)/README\.md\)(.*)\|$",
        (ROOT / readme).read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    return {name: [cell.strip() for cell in rest.split("|")[1:]] for name, rest in lines}


def test_there_is_a_record_for_each_recipe_and_nothing_else():
    assert sorted({path.name for path in RESULTS.iterdir()} - SPEEDS) == NAMES
    assert sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")) == SHIPPED


@pytest.mark.parametrize("name", NAMES)
def test_a_record_was_made_by_the_shipped_recipe(name: str):
    recorded = yaml.safe_load((RESULTS / name / "recipe.yaml").read_text(encoding="utf-8"))
    demo = ROOT / "src" / "tuneloop" / "templates" / name / "recipe.yaml"
    shipped = load_recipe(demo if demo.exists() else ROOT / "recipes" / f"{name}.yaml")
    assert as_it_was(yaml.safe_load(dump_recipe(shipped)), recorded) == recorded


LATER = ("repair_columns", "repair_roles", "repair_html", "repair_think", "repair_labels")
"""Repairs that came after the records, and are on by default."""


def as_it_was(tree: dict[str, Any], recorded: dict[str, Any]) -> dict[str, Any]:
    """A recipe without the keys that came later, where they are off or change no row: recorded was without them."""
    return {
        key: as_it_was(value, recorded[key])
        if isinstance(value, dict) and isinstance(recorded.get(key), dict)
        else value
        for key, value in tree.items()
        if key in recorded or not (off(value) or key in LATER)
    }


def off(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(off, value.values()))
    return value is None or value is False or value == "local"


def test_what_came_later_counts_where_it_is_on():
    recorded = {"clean": {"old": True}}
    later = {"clean": {"old": True, "new": None}, "later": {"a": None, "b": False}, "engine": "local"}
    assert as_it_was(later, recorded) == recorded
    assert as_it_was({"clean": {"old": True, "new": {"threshold": 0.8}}}, recorded) != recorded
    assert as_it_was({"clean": {"old": True}, "engine": "ray"}, recorded) != recorded
    assert as_it_was({"clean": {"old": False}}, recorded) != recorded


@pytest.mark.parametrize("name", SHIPPED)  # the demo's: test_customer_service.py
def test_the_repairs_that_came_later_change_no_recorded_row(name: str, shared_data: Path, monkeypatch):
    monkeypatch.setenv("TUNELOOP_DATA", str(shared_data))
    recipe = load_recipe(ROOT / "recipes" / f"{name}.yaml")
    before = recipe.model_copy(update={"clean": recipe.clean.model_copy(update=dict.fromkeys(LATER, False))})
    assert prepare_rows(recipe, ROOT / "recipes").train == prepare_rows(before, ROOT / "recipes").train


@pytest.mark.parametrize("name", NAMES)
def test_a_records_parts_are_of_one_run(name: str):
    scores, manifest = read(name, "scores.json"), read(name, "manifest.json")
    assert scores["data"]["rows"] == manifest["evaluate"]["rows"] == manifest["data"]["counts"]["test"]
    assert manifest["train"]["data_key"] == manifest["data"]["key"]
    shown = (RESULTS / name / "README.md").read_text(encoding="utf-8")
    for model, entry in scores["models"].items():
        (line,) = re.findall(rf"^\| {model} \| {entry['rows']} \|(.*)$", shown, re.MULTILINE)
        for metric, figure in entry["metrics"].items():
            scale = 1 if metric == "loss" else 100
            assert f"{scale * figure['value']:.2f} [{scale * figure['low']:.2f}," in line, (model, metric)


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
@pytest.mark.parametrize("name", NAMES)
def test_the_readmes_table_holds_the_records_figures(readme: str, name: str):
    assert sorted(table(readme)) == NAMES
    rows, *cells, against = table(readme)[name]
    scores = read(name, "scores.json")
    metric = "accuracy" if scores["task"] == "classification" else "loss"
    assert numbers(rows) == [f"{scores['data']['rows']:,}"]
    assert len(cells) == len(MODELS)
    for model, cell in zip(MODELS, cells, strict=True):
        entry = scores["models"].get(model, {"metrics": {}})
        figure = entry["metrics"].get(metric)
        if figure is None:
            assert numbers(cell) == [], model
        elif metric == "loss":  # of all test rows, also where only some were answered
            assert numbers(cell) == [f"{figure['value']:.2f}"], model
            assert figure["n"] > 0
        else:
            fewer = [str(entry["rows"])] if entry["rows"] < scores["data"]["rows"] else []
            assert numbers(cell) == [f"{100 * figure['value']:.1f}", *fewer], model
    pairs = [gap for gap in scores["comparisons"] if (gap["b"], gap["metric"]) == ("floor", metric)]
    if pairs:
        assert numbers(against) == [f"{100 * pairs[0][key]:+.2f}" for key in ("difference", "low", "high")]
    else:
        assert numbers(against) == [str(read(name, "manifest.json")["data"]["counts"]["train"])]
