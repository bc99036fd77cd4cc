"""The READMEs say what is so: commands that exist, a recipe that loads, every verb and file; both alike."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import typer.main

from tuneloop.cli.app import app
from tuneloop.recipe import parse_yaml, recipe_from_tree

ROOT = Path(__file__).parents[1]
READMES = ["README.md", "README.zh-CN.md"]
GROUP = typer.main.get_command(app)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands(name: str) -> list[str]:
    return script("readme_commands").commands(text_of(name))


def test_the_commands_are_found_and_cleaned_of_comments():
    text = "```sh\n# one\nmake demo   # two\n\n.venv/bin/x a \\\n  --b 1\n```\n```text\nnot this\n```\n"
    text += "```sh\necho 'a#b'\n```\n"
    assert script("readme_commands").commands(text) == ["make demo", ".venv/bin/x a    --b 1", "echo 'a#b'"]


@pytest.mark.parametrize("name", READMES)
def test_every_command_is_one_that_the_program_takes(name: str):
    found = [shlex.split(command) for command in commands(name)]
    assert len(found) >= 10
    for program, *arguments in found:
        if program == "make":
            target = re.search(rf"^{arguments[0]}:", text_of("Makefile"), re.MULTILINE)
            assert target, f"no target {arguments[0]}"
            continue
        assert program == ".venv/bin/tuneloop"
        verb, *rest = arguments
        with GROUP.commands[verb].make_context(verb, rest):  # parses and checks; runs nothing
            pass


@pytest.mark.parametrize("name", READMES)
def test_the_table_of_commands_has_every_verb_and_no_other(name: str):
    listed = re.findall(r"^\| `tuneloop (\w+)[^`]*` \|", text_of(name), re.MULTILINE)
    assert sorted(listed) == sorted(GROUP.commands)
    assert len(listed) == 14


@pytest.mark.parametrize("name", READMES)
def test_the_recipe_loads(name: str):
    blocks = re.findall(r"^```yaml\n(.*?)^```", text_of(name), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    recipe = recipe_from_tree(parse_yaml(blocks[0]), name)
    assert recipe.train.learning_rate == 1e-3


@pytest.mark.parametrize("name", READMES)
def test_the_file_structure_names_all_that_is_there(name: str):
    structure = text_of(name).split("src/tuneloop/\n", 1)[1].split("```", 1)[0]
    package = ROOT / "src" / "tuneloop"
    there = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    there |= {f"{path.name}/" for path in package.iterdir() if any(path.glob("*.py"))}
    assert len(there) > 15
    inside = structure.split("\nrecipes/")[0]
    named = set(re.findall(r"(?:^|  )(\w+(?:\.py|/))(?=  )", inside, re.MULTILINE))
    assert named == there


@pytest.mark.parametrize("name", [*READMES, "CONTRIBUTING.md", "docs/decisions.md", "docs/rows.md"])
def test_links_lead_somewhere(name: str):
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", text_of(name))
    assert links or name in ("CONTRIBUTING.md", "docs/decisions.md")
    assert [link for link in links if not ((ROOT / name).parent / link).exists()] == []


FENCED = r"^```(?:sh|yaml|text)\n.*?^```"


def code_words(text: str) -> set[str]:
    """The bits of inline code that hold no words of a language."""
    words = re.findall(r"`([^`\n]+)`", re.sub(FENCED, "", text, flags=re.MULTILINE | re.DOTALL))
    return {word for word in words if re.fullmatch(r"[\w./=-]+", word)}


def test_both_languages_have_the_same_shape():
    english, chinese = (text_of(name) for name in READMES)
    fences = [re.findall(FENCED, text, re.MULTILINE | re.DOTALL) for text in (english, chinese)]
    assert fences[0] == fences[1]
    assert len(fences[0]) == 5
    for mark in (r"^#+ ", r"^\| ", r"^- ", r"^<!-- results -->$"):
        counts = [len(re.findall(mark, text, re.MULTILINE)) for text in (english, chinese)]
        assert counts[0] == counts[1] > 0, mark
    assert code_words(english) - code_words(chinese) == set()
    assert code_words(chinese) - code_words(english) <= {".venv"}


def test_the_changelog_is_about_this_version():
    import tuneloop

    assert re.search(r"^## \[(.+?)\]", text_of("CHANGELOG.md"), re.MULTILINE)[1] == tuneloop.__version__
