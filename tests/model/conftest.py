"""Tiny model folders, each written once a session; a test that changes one copies it first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny_models import make_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Callable[[str], Path]:
    """(architecture) -> the folder of the tiny model; shared, not to be changed."""
    made: dict[str, Path] = {}

    def folder(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = make_tiny(architecture, tmp_path_factory.mktemp("tiny") / architecture)
        return made[architecture]

    return folder


@pytest.fixture
def llama(tiny, tmp_path) -> Path:
    """A tiny Llama folder of the test's own."""
    return Path(shutil.copytree(tiny("llama"), tmp_path / "llama"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    """A model cache of the test's own, so that none writes into the user's."""
    monkeypatch.setenv("TUNELOOP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
