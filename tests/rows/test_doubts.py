"""Which stages doubt rows: each only where the recipe asks for it, all on the shipped rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tuneloop
from tuneloop.recipe import load_recipe
from tuneloop.rows.doubts import doubts_of
from tuneloop.rows.prepare import Prepared, prepare_rows
from tuneloop.sections import Clean, Outliers

SHIPPED = Path(tuneloop.__file__).parent / "templates" / "customer_service" / "recipe.yaml"
STAGES = {
    "outliers": Clean(outliers=Outliers()),
    "label_errors": Clean(label_errors=True),
    "lengths": Clean(lengths=True),
    "language": Clean(language=True),
}


@pytest.fixture(scope="module")
def shipped() -> Prepared:
    return prepare_rows(load_recipe(SHIPPED, ["clean.relevance=off", "clean.outliers=off"]), SHIPPED.parent)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_doubts_rows_where_the_recipe_asks_for_it(shipped: Prepared, stage: str):
    found = doubts_of(shipped.clean, [], clean=STAGES[stage], seed=1)
    assert {doubt.stage for doubt in found} == {stage}
    assert {doubt.row for doubt in found} < {row.id for row in shipped.clean}


def test_no_stage_doubts_anything_by_itself(shipped: Prepared):
    assert doubts_of(shipped.clean, [], clean=Clean(), seed=1) == []


def test_a_threshold_of_nothing_doubts_nothing(shipped: Prepared):
    assert doubts_of(shipped.clean, [], clean=Clean(outliers=Outliers(review_below=0.0)), seed=1) == []


def test_the_noise_stage_tells_how_its_scores_lie_and_no_other_stage_does(shipped: Prepared):
    told: dict[str, Any] = {}
    said: list[str] = []
    asked = Clean(outliers=Outliers(review_below=0.25))
    found = doubts_of(shipped.clean, [], clean=asked, seed=1, figures=told, tell=said.append)
    noise = told.pop("noise")
    assert told == {}
    assert said == [
        f"outliers: {noise['unjudged']} rows are in scripts that too few others have to tell noise from them; "
        "none waits"
    ]
    assert noise["rows"] + noise["unjudged"] == len(shipped.clean) and noise["unjudged"] > 30  # Chinese ones
    assert (noise["below"], noise["review_below"]) == (len(found), 0.25)
    assert noise["judged"] and sum(noise["counts"]) == noise["rows"]
    assert len(noise["edges"]) == len(noise["counts"]) + 1 and (noise["edges"][0], noise["edges"][-1]) == (0.0, 1.0)
    under = sum(count for edge, count in zip(noise["edges"][1:], noise["counts"], strict=True) if edge <= 0.25)
    assert under == noise["below"] > 0
    assert json.loads(json.dumps(noise)) == noise
    doubts_of(shipped.clean[:49], [], clean=Clean(outliers=Outliers()), seed=1, figures=told, tell=said.append)
    assert not told["noise"]["judged"] and len(said) == 1  # too few, whatever they are written in
    told.clear()
    doubts_of(shipped.clean, [], clean=Clean(lengths=True), seed=1, figures=told)
    assert told == {}


def test_personal_data_is_masked_told_and_waits():
    recipe = load_recipe(SHIPPED, ["clean.personal_data=true", "clean.relevance=off", "clean.outliers=off"])
    prepared = prepare_rows(recipe, SHIPPED.parent)
    masked = [repair for repair in prepared.repairs if repair.stage == "personal_data"]
    counts = prepared.report["counts"]["train"]
    assert counts["in"] == counts["kept"] + sum(counts["dropped"].values()) + counts["to review"]
    assert counts["to review"] == prepared.report["doubts"].get("personal_data", 0)
    assert len(masked) >= counts["to review"]
