"""Tiny models, finished runs, a tiny stand-in for the sentence encoder in a cache of its own, no network for pip."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.workbench import Done, tuneloop, write_answers, write_intents, write_recipe
from tests.tiny_models import make_tiny

from tuneloop.model.cache import build_cached
from tuneloop.model.encoder import MINILM
from tuneloop.model.wheel import PINS

Models = Callable[[str], Path]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of models in which a tiny BERT stands where MiniLM would; pip may ask no index.

    Processes that a test starts inherit both.
    """
    root = tmp_path_factory.mktemp("cache")
    name = MINILM.removeprefix("pypi:")
    version = PINS[name].version
    tiny = make_tiny("bert", tmp_path_factory.mktemp("minilm"))

    def build(folder: Path) -> dict[str, str]:
        shutil.copytree(tiny, folder, dirs_exist_ok=True)
        return {"revision": f"{name}=={version}", "origin_sha256": ""}

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNELOOP_CACHE", str(root))
        patch.setenv("PIP_NO_INDEX", "1")
        build_cached(root / "models" / "pypi" / f"{name}-{version}", build)
        yield root


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Architecture -> folder of the tiny model, made once a session."""
    return functools.cache(lambda architecture: make_tiny(architecture, tmp_path_factory.mktemp(architecture)))


@pytest.fixture
def intents(tmp_path: Path) -> Path:
    """A folder with the rows of three intents."""
    write_intents(tmp_path)
    return tmp_path


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """A folder with questions and answers."""
    write_answers(tmp_path)
    return tmp_path


# Kind -> architecture, task, changes of the recipe. A `full` run stands beside the lora one, to be compared with.
THINKING = {"data__max_length": 128, "evaluate__max_new_tokens": 6}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "intents": ("llama", "classification", {"train__report_to": ["tensorboard"], "evaluate__latency": True}),
    "intents_last": ("llama", "classification", {"task__pooling": "last"}),
    "intents_both": ("llama", "classification", {"task__attention": "bidirectional"}),
    "intents_full": ("llama", "classification", {"adapt__method": "full", "train__learning_rate": 1e-3}),
    "intents_bert": ("bert", "classification", {"adapt__method": "full", "train__learning_rate": 1e-3}),
    "answers": ("llama", "generation", {"evaluate__latency": True, "adapt__dropout": 0.1}),
    "answers_full": ("llama", "generation", {"adapt__method": "full", "train__learning_rate": 1e-3}),
    "answers_r1": ("qwen2", "generation", THINKING),
    "answers_v3": ("deepseek_v3", "generation", THINKING),
}


@pytest.fixture(scope="session")
def finished(model: Models, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Kind -> folder with rows, recipe.yaml and runs/r, run once a session; look, but do not touch."""

    @functools.cache
    def make(kind: str) -> Path:
        architecture, task, changes = KINDS[kind]
        folder = tmp_path_factory.mktemp(kind)
        if task == "classification":
            write_intents(folder)
        else:
            write_answers(folder, think=changes is THINKING)
        write_recipe(folder, task, model(architecture), **changes)
        if kind == "intents":
            write_recipe(
                folder, task, model(architecture), file="full.yaml", name="full", adapt__method="full",
                train__learning_rate=1e-3,
            )  # fmt: skip
            done = tuneloop("run", "full.yaml", folder=folder)
            assert done.status == 0, done.err
        done: Done = tuneloop("run", "recipe.yaml", folder=folder)
        assert done.status == 0, done.err
        return folder

    return make


@pytest.fixture
def copied(finished: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Kind -> a copy of the finished folder, to do things to."""

    def copy(kind: str) -> Path:
        return Path(shutil.copytree(finished(kind), tmp_path / kind, symlinks=True))

    return copy
