"""A full disk at each station: one paragraph, nothing half written, and the same command goes on once there is space.

On a machine where tests may mount (root), the disk is a real one: a small tmpfs that is filled up right before the
station writes. Everywhere, the fault is planted in the last step of every atomic write, the rename.
"""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.workbench import files_of, lines_of, read_json, runs_of, tuneloop, write_intents, write_recipe

from tuneloop.train.checkpoint import check_checkpoint

Models = Callable[[str], Path]

ROWS = {f"data/{name}.parquet" for name in ("clean", "train", "validation", "test", "dropped", "repairs")} | {
    "data/report.json",
    "data/report.html",
}
BEGUN = {"manifest.json", "recipe.yaml"} | ROWS

# Station -> the function that writes there, the name that the planted fault is for, and the manifest's stations then.
STATIONS: dict[str, tuple[str, str, list[str]]] = {
    "rows": ("tuneloop.row_station.save_prepared", "data", []),
    "checkpoint": ("tuneloop.train.loop.save_checkpoint", "step-00000009", ["data"]),
    "model": ("tuneloop.model.saved.save_tuned", "model", ["data"]),
    "scores": ("tuneloop.score.matrix._write_predictions", "scores.json", ["data", "train"]),
    "page": ("tuneloop.report.page.write_text", "report.html", ["data", "train", "evaluate"]),
}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 24 MB, or the test is skipped aloud."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs needs root and a machine that allows it")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Write until the disk is full."""
    with open(folder / "ballast", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC


def before(patch: pytest.MonkeyPatch, function: str, act: Callable[[], object]) -> None:
    """Do `act` before each call of `function`, which stands under this name in a module."""
    module, _, name = function.rpartition(".")
    real = vars(importlib.import_module(module))[name]

    def called(*args: Any, **options: Any) -> Any:
        act()
        return real(*args, **options)

    patch.setattr(function, called)


def refuse_rename(patch: pytest.MonkeyPatch, name: str) -> None:
    """Let the rename to `name` fail as it does on a full disk."""
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        real(source, target)

    patch.setattr(os, "replace", replace)


def check_left(run: Path, station: str) -> None:
    """Exactly what the stations before the fault wrote, each whole; a tracker's file grows and stands where it was."""
    left = {name for name in files_of(run) if not name.startswith("trackers/")}
    assert not [name for name in left if ".tmp" in name or ".old" in name], left
    if station == "rows":
        assert not run.exists()
        return
    assert left >= BEGUN
    assert list(read_json(run / "manifest.json")["stations"]) == STATIONS[station][2]
    others = {name for name in left - BEGUN if not name.startswith(("checkpoints/", "model/"))}
    steps = sorted(path.name for path in (run / "checkpoints").glob("*"))
    assert steps == ([] if station == "checkpoint" else ["step-00000009"])
    for step in steps:
        check_checkpoint(run / "checkpoints" / step)
    assert (run / "model").exists() == (station in ("scores", "page"))
    assert others == {"log.jsonl"} | ({"scores.json", "predictions.parquet"} if station == "page" else set())
    assert lines_of(run / "log.jsonl")


@pytest.mark.parametrize("station", STATIONS)
def test_a_refused_rename(intents: Path, model: Models, station: str, monkeypatch: pytest.MonkeyPatch):
    write_recipe(intents, "classification", model("llama"))
    with monkeypatch.context() as patch:
        refuse_rename(patch, STATIONS[station][1])
        told = tuneloop("run", "recipe.yaml", folder=intents).paragraph()
    assert "The disk is full" in told and STATIONS[station][1] in told
    check_left(intents / "runs/r", station)
    assert tuneloop("run", "recipe.yaml", folder=intents).status == 0
    assert list(read_json(intents / "runs/r/manifest.json")["stations"]) == ["data", "train", "evaluate", "report"]


@pytest.mark.parametrize("station", STATIONS)
@pytest.mark.parametrize("trackers", [[], ["tensorboard"]], ids=["no tracker", "tensorboard"])
def test_a_disk_that_is_really_full(
    small_disk: Path, model: Models, station: str, trackers: list[str], monkeypatch: pytest.MonkeyPatch
):
    write_intents(small_disk)
    write_recipe(small_disk, "classification", model("llama"), train__report_to=trackers)
    with monkeypatch.context() as patch:
        before(patch, STATIONS[station][0], lambda: fill(small_disk))
        told = tuneloop("run", "recipe.yaml", folder=small_disk).paragraph()
    assert "The disk is full" in told
    assert "No space left on device" in told
    check_left(small_disk / "runs/r", station)
    (small_disk / "ballast").unlink()
    assert tuneloop("run", "recipe.yaml", folder=small_disk).status == 0
    assert (small_disk / "runs/r/report.html").stat().st_size > 10_000


def test_a_tracker_that_finds_the_disk_full_ends_the_training(
    intents: Path, model: Models, monkeypatch: pytest.MonkeyPatch
):
    write_recipe(intents, "classification", model("llama"), train__report_to=["tensorboard"])
    records: list[bytes] = []

    def refuse(self: object, data: bytes) -> None:
        records.append(data)
        if len(records) > 20:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", refuse)
        told = tuneloop("run", "recipe.yaml", folder=intents).paragraph()
    assert "The disk is full" in told
    assert len(records) == 21
    check_left(intents / "runs/r", "checkpoint")
    assert tuneloop("run", "recipe.yaml", folder=intents).status == 0
    assert list((intents / "runs/r/trackers").rglob("events.out.tfevents*"))


@pytest.mark.parametrize("name", ["test.parquet", "report.json", "manifest.json"])
def test_an_older_run_outlives_a_disk_that_is_full_at_its_rows(
    copied: Callable[[str], Path], name: str, monkeypatch: pytest.MonkeyPatch
):
    folder = copied("intents")
    before = files_of(folder)
    refuse_rename(monkeypatch, name)
    told = tuneloop("run", "recipe.yaml", "--set", "seed=7", "--overwrite", folder=folder).paragraph()
    assert "The disk is full" in told
    assert files_of(folder) == before
    monkeypatch.undo()
    assert tuneloop("evaluate", "r", folder=folder).status == 0


def test_old_scores_and_predictions_stay_together(copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch):
    folder = copied("intents")
    before = files_of(folder / "runs/r")
    refuse_rename(monkeypatch, "scores.json")
    told = tuneloop("run", "recipe.yaml", "--set", "evaluate.max_rows=9", folder=folder).paragraph()
    assert "The disk is full" in told
    after = files_of(folder / "runs/r")
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed <= {"recipe.yaml", "manifest.json"}
    monkeypatch.undo()
    assert tuneloop("run", "recipe.yaml", folder=folder).status == 0
    assert read_json(folder / "runs/r/scores.json")["models"]["tuned"]["rows"] == 18


def test_other_outputs_are_whole_or_not_there(copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch):
    folder = copied("intents")
    before = files_of(folder)
    refuse_rename(monkeypatch, "answers.jsonl")
    words = ["predict", "r", "test.jsonl", "--out", "answers.jsonl"]
    assert "The disk is full" in tuneloop(*words, folder=folder).paragraph()
    refuse_rename(monkeypatch, "merged")
    assert "The disk is full" in tuneloop("merge", "r", folder=folder).paragraph()
    refuse_rename(monkeypatch, "recipe.yaml")
    assert "The disk is full" in tuneloop("init", "customer_service", folder=folder).paragraph()
    assert files_of(folder) == before
    assert runs_of(folder) == ["full", "r"]
