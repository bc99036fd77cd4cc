"""Where a cleaning keeps its rows: in memory while they fit into the recipe's bound, in files where they do not.

recipe, sizes of the inputs --room_of--> Room --store()--> list | Shelf

Whoever cleans rows writes to a store and reads sequences, and does not know which of the two it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tuneloop.disk import atomic_path, read_json, write_json
from tuneloop.memory import available_memory, give_back_memory
from tuneloop.recipe import Recipe
from tuneloop.rows.engine import Engine, Here, engine_of
from tuneloop.shelf import Shelf, Store

Value = TypeVar("Value")
Arrays = dict[str, NDArray[Any]]

PER_BYTE = 12
"""Bytes of memory that a byte of rows needs while they are cleaned in lists: short rows cost most, as objects do."""
SHARE = 0.5
"""Of the memory that is free, where the recipe says nothing."""
LEAST_MB, WORKER_MB = 260, 40
"""What cleaning takes above an idle command however few the rows are, with one worker, and with each one more: most of
it are the tables of the noise score and a block of rows in each worker (`python -m benchmarks.bounded_memory`)."""


class Room:
    """Gives the stores of one cleaning.

    Args:
        folder: Where shelves lie; None: everything is kept in memory.
        engine: Who works on parts of what lies on disk.
        workers: As many work at once at most; None: as many as there are cores.
    """

    def __init__(self, folder: Path | None = None, engine: Engine | None = None, workers: int | None = None) -> None:
        self.folder, self.engine, self.workers = folder, engine or Here(), workers
        self._made = 0

    def store(self) -> Store[Any]:
        """An empty store."""
        return [] if self.folder is None else self.shelf()

    def shelf(self) -> Shelf[Any]:
        """An empty store on disk."""
        return Shelf(self.path("shelf"))

    def path(self, name: str) -> Path:
        """A file of its own, the same one whenever the same cleaning is done again."""
        assert self.folder is not None, "files are for what does not fit into memory"
        self._made += 1
        return self.folder / f"{self._made:05d}-{name}"

    def arrays(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """What a long stage found; in a room of files it is kept, so that it is not looked for again after a stop.

        Args:
            name: Of the stage.
            make: Finds it; asks for no store of this room.
        """
        if self.folder is None:
            return make()
        path = self.path(f"{name}.npz")
        if not path.exists():
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, allow_pickle=False, **make())
            give_back_memory()  # freed blocks of a long stage, a third of what the process holds
        with np.load(path, allow_pickle=False) as found:
            return dict(found)


MEMORY = Room()
"""Keeps everything in memory."""


def kept(path: Path, make: Callable[[], Value]) -> Value:
    """What stands in a JSON file, which is made first where there is none."""
    if not path.exists():
        write_json(path, make())
    found: Value = read_json(path)
    return found


def room_of(recipe: Recipe, inputs: Iterable[Path], folder: Path, key: str) -> Room:
    """The room for the rows of a recipe.

    Args:
        recipe: Its `clean.memory_mb` and `engine` decide.
        inputs: The files of rows.
        folder: Where shelves would lie; what an attempt with another key left there is removed.
        key: Of the rows that are to be made.
    """
    bound = recipe.clean.memory_mb * 2**20 if recipe.clean.memory_mb else (available_memory() or 2**32) * SHARE
    workers = max(1, 1 + int(bound / 2**20 - LEAST_MB) // WORKER_MB)
    needed = LEAST_MB * 2**20 + PER_BYTE * sum(path.stat().st_size for path in inputs)
    if recipe.engine == "local" and needed <= bound:
        return Room(workers=workers)
    if folder.exists() and (not (folder / "key.json").exists() or read_json(folder / "key.json") != key):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "key.json", key)
    return Room(folder, engine_of(recipe.engine), workers)
