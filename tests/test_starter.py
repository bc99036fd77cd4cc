"""`tuneloop init`: what it writes, what it refuses, and that nothing is half written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tuneloop.errors import RecipeError, RunError
from tuneloop.recipe import load_recipe
from tuneloop.starter import TEMPLATES, write_starter


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_starter_is_a_recipe_with_its_rows(template: str, tmp_path: Path) -> None:
    paths = write_starter(template, tmp_path / "new" / "folder")
    assert paths[0] == tmp_path / "new" / "folder" / "recipe.yaml"
    assert {path.name for path in paths} == {path.name for path in paths[0].parent.iterdir()}  # no temporary file stays
    assert paths[0].read_text(encoding="utf-8").startswith("# tuneloop run recipe.yaml\n")
    recipe = load_recipe(paths[0])
    assert recipe.name == template
    for name in (recipe.data.train, recipe.data.test):
        assert isinstance(name, str) and (paths[0].parent / name).stat().st_size > 10_000


def test_the_templates_differ_in_their_task(tmp_path: Path) -> None:
    recipes = {name: load_recipe(write_starter(name, tmp_path / name)[0]) for name in TEMPLATES}
    assert {name: recipe.task.type for name, recipe in recipes.items()} == {
        "customer_service": "classification",
        "customer_service_replies": "generation",
    }
    assert recipes["customer_service_replies"].data.columns == {"prompt": "text", "completion": "reply"}


def test_writing_twice_is_writing_once(tmp_path: Path) -> None:
    first = write_starter("customer_service", tmp_path)
    changed = {path: path.stat().st_mtime_ns for path in first}
    assert write_starter("customer_service", tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in first} == changed


def test_a_changed_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    recipe, *rows = write_starter("customer_service", tmp_path)
    shipped = recipe.read_bytes()
    recipe.write_text("mine")
    rows[0].unlink()
    with pytest.raises(RunError, match=r"recipe\.yaml.*--overwrite"):
        write_starter("customer_service", tmp_path)
    assert recipe.read_text() == "mine"
    assert not rows[0].exists()  # refused before anything was written
    write_starter("customer_service", tmp_path, overwrite=True)
    assert recipe.read_bytes() == shipped
    assert rows[0].exists()


def test_another_template_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    write_starter("customer_service", tmp_path)
    with pytest.raises(RunError, match=r"Got recipe\.yaml\."):
        write_starter("customer_service_replies", tmp_path)


@pytest.mark.parametrize(("wrong", "said"), [("custommer-service", "Did you mean 'customer_service'"), ("x", "--list")])
def test_an_unknown_template_names_the_nearest(wrong: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        write_starter(wrong, tmp_path)
    assert "customer_service_replies" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_place_of_the_folder(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="Could not write"):
        write_starter("customer_service", tmp_path / "file" / below)
    assert (tmp_path / "file").read_text() == "mine"


def test_starters_load_no_torch() -> None:
    code = "import sys, tuneloop.starter; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
