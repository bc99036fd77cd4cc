"""What every test runs under: no network, one thread, one terminal width, and what CI has or a loud word."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

# Before anything imports torch, transformers or rich, since they read these once.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    COLUMNS="120",
    TERM="dumb",
    NO_COLOR="1",
)
os.environ.pop("FORCE_COLOR", None)

import pytest
from hypothesis import settings

# Examples are the same in every session, and a busy machine is no fault of the code.
settings.register_profile("tuneloop", deadline=None, derandomize=True)
settings.load_profile("tuneloop")

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Real data and tokenizers, beside the clone; they are never part of the project."""

REQUIRE_SHARED = os.environ.get("TUNELOOP_REQUIRE_SHARED", "") not in ("", "0")
"""CI sets it: a test that would be skipped for want of what CI has (../shared, and the models that `make demo` put
into the model cache) fails instead."""

WANTED = ("shared", "model cache")
"""One of these words stands in the reason of each such skip."""

_CollectHook = Generator[None, pytest.CollectReport, pytest.CollectReport]


def _shared(part: str) -> Path:
    folder = SHARED / part
    if not folder.is_dir():
        pytest.skip(f"needs ../shared/{part} beside the clone, which is not there")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """../shared/data/public, or the test is skipped aloud (fails under TUNELOOP_REQUIRE_SHARED=1)."""
    return _shared("data/public")


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """../shared/models, or the test is skipped aloud (fails under TUNELOOP_REQUIRE_SHARED=1)."""
    return _shared("models")


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory while the test runs, so that runs/ lands there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a `gpu` test aloud where there is no CUDA device."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and there is none")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under TUNELOOP_REQUIRE_SHARED, turn a skip for want of what CI has into a failure, however it was asked for."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> _CollectHook:
    """The same for a whole module that skips itself."""
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not (REQUIRE_SHARED and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if any(word in reason for word in WANTED):
        report.outcome = "failed"
        report.longrepr = f"TUNELOOP_REQUIRE_SHARED is set, so this is no skip. {reason}"
