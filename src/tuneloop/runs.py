"""The run folder: where each station writes, and the manifest that ties a score to its rows.

runs/<name>/recipe.yaml manifest.json data/ augment.json checkpoints/ model/ log.jsonl scores.json predictions.parquet
            report.html
"""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuneloop.disk import atomic_folder, read_json, write_json, write_text
from tuneloop.errors import RunError
from tuneloop.recipe import Recipe, dump_recipe, parse_yaml, recipe_from_tree

RUNS = Path("runs")


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def manifest(self) -> Path:
        """One entry a station: key, inputs, versions, seed, wall time, counts."""
        return self.path / "manifest.json"

    @property
    def data(self) -> Path:
        """Folder of the row tables, the data report and its page."""
        return self.path / "data"

    @property
    def data_page(self) -> Path:
        """The page of the rows: each reason with examples."""
        return self.data / "report.html"

    @property
    def cleaning(self) -> Path:
        """Files of rows that are being cleaned and do not fit into memory; gone once they are clean."""
        return self.path / ".cleaning"

    @property
    def augmentation(self) -> Path:
        """What augmentation did to the training rows: counts and samples; absent where there was none."""
        return self.path / "augment.json"

    @property
    def embeddings(self) -> Path:
        """What the relevance stage embedded, so that it need not do so again."""
        return self.path / "embeddings.sqlite"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """What plain PEFT and transformers load."""
        return self.path / "model"

    @property
    def log(self) -> Path:
        """One JSON line a logging step."""
        return self.path / "log.jsonl"

    @property
    def scores(self) -> Path:
        """The scores (section 4.1 of the design)."""
        return self.path / "scores.json"

    @property
    def predictions(self) -> Path:
        """One line a test row, each model's answer beside the expected one."""
        return self.path / "predictions.parquet"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    @property
    def previous(self) -> RunFolder:
        """The run as it stood before `--overwrite`, a whole run of its own, until the new model is saved."""
        return RunFolder(self.path / "previous")

    def set_aside(self) -> None:
        """Keep the trained run in previous/ while another is made in its place; files are linked, not copied.

        Checkpoints stay out: they serve only to go on training. Where no trained model stands (an overwrite that was
        cut is overwritten again), what previous/ already holds stays.

        Raises:
            RunError: if the disk is full or the folder cannot be written.
        """
        if "train" not in self.stations():
            return
        kept = [self.recipe, self.manifest, self.data, self.augmentation, self.model, self.log]
        kept += [self.scores, self.predictions, self.report]
        with atomic_folder(self.previous.path) as folder:
            for path in kept:
                if path.is_dir():
                    # The review queue is written in place: linked, it would be one file under two names.
                    queue = shutil.ignore_patterns("review.sqlite*")
                    shutil.copytree(path, folder / path.name, copy_function=_link, ignore=queue)
                elif path.exists():
                    _link(path, folder / path.name)

    def drop_previous(self) -> None:
        """Take previous/ away, now that the new model is saved."""
        shutil.rmtree(self.previous.path, ignore_errors=True)

    def load_recipe(self) -> Recipe:
        """The recipe that this run was made with."""
        return recipe_from_tree(parse_yaml(self.recipe.read_text(encoding="utf-8")), str(self.recipe))

    def save_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe."""
        write_text(self.recipe, dump_recipe(recipe))

    def stations(self) -> dict[str, Any]:
        """The manifest's entries, {} before the first station ran."""
        return dict(read_json(self.manifest)["stations"]) if self.manifest.exists() else {}

    def require_model(self) -> None:
        """Refuse a run whose model is missing, or was made from other rows than those that stand there now.

        Raises:
            RunError: saying what to run.
        """
        stations = self.stations()
        if "train" not in stations or "data" not in stations or not (self.model / "args.json").exists():
            raise RunError(
                f"{self.path} holds no trained model yet", fix="Run `tuneloop run` or `tuneloop train` first"
            )
        if stations["train"]["data_key"] != stations["data"]["key"]:
            raise RunError(
                f"The rows in {self.path} are not those that its model was trained on", fix="Run `tuneloop run` again"
            )

    def record(self, station: str, **entry: Any) -> None:
        """Set a station's entry in the manifest, with time and versions, atomically."""
        stations = self.stations()
        stations[station] = {**entry, "finished": datetime.now(UTC).isoformat(timespec="seconds"), **versions()}
        write_json(self.manifest, {"schema": 1, "stations": stations})

    def forget(self, *stations: str) -> None:
        """Take stations out of the manifest, before their files are replaced."""
        left = {name: entry for name, entry in self.stations().items() if name not in stations}
        if self.manifest.exists():
            write_json(self.manifest, {"schema": 1, "stations": left})


def _link(source: str | Path, target: str | Path) -> None:
    """A hard link: every file of a run is replaced whole, never written into, so the link keeps the old content."""
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links, or with too few
        shutil.copy2(source, target)


def versions() -> dict[str, Any]:
    """The versions that a station's entry carries."""
    found = {}
    for package in ("tuneloop", "torch", "transformers", "peft", "accelerate"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"versions": {"python": platform.python_version(), **found}}


def open_run(run: str | Path) -> RunFolder:
    """Find an existing run by name under runs/, or by path.

    Raises:
        RunError: if there is none, naming those there are.
    """
    for path in (RUNS / str(run), Path(run)):
        if (path / "manifest.json").is_file() and (path / "recipe.yaml").is_file():
            return RunFolder(path)
    known = sorted(p.parent.name for p in RUNS.glob("*/manifest.json"))
    raise RunError(
        f"There is no run {str(run)!r}",
        got="no manifest.json there or under runs/",
        allowed=", ".join(known) or "none yet",
        fix="`tuneloop run RECIPE` makes one",
    )
