"""The station of rows: raw rows in, the run's data folder out, with its key, its page and its time.

A station's key is the hash of all that decides its output; `flow.py` compares keys to see what is stale.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tuneloop import __version__
from tuneloop.disk import sha256_json, write_text
from tuneloop.errors import DataError
from tuneloop.recipe import Recipe
from tuneloop.review.log import Decision, decisions_key
from tuneloop.review.store import load_decisions
from tuneloop.rows.engine import at_most
from tuneloop.rows.locate import expand_variables
from tuneloop.rows.prepare import Prepared, input_files, inputs_key, load_prepared, prepare_rows, save_prepared
from tuneloop.rows.relevance import Embedder
from tuneloop.rows.room import room_of
from tuneloop.runs import RUNS, RunFolder
from tuneloop.terminal import say

ENCODER_KEY = "clean.relevance.encoder"
HEAD = 2_000
"""Characters at the start of a page that hold its key."""


def data_key(recipe: Recipe, home: Path, decisions: Sequence[Decision]) -> str:
    """Hash of the input files, the sections that shape the rows, people's decisions, the seed, the code's version."""
    decided = decisions_key(decisions)  # "" where nobody decided anything
    parts = [
        recipe.data.model_dump(exclude={"source"}),
        recipe.clean.model_dump(exclude={"memory_mb"}),
        recipe.task.type,
        recipe.seed,
    ]
    inputs: dict[str, str] = inputs_key(recipe, home)  # what is missing is told before an encoder is downloaded
    if recipe.clean.relevance is not None:
        inputs |= {"encoder": _encoder_key(recipe.clean.relevance.encoder, home)}
    return sha256_json([inputs, parts, decided, __version__])


def _encoder_key(name: str, home: Path) -> str:
    """Hash of the encoder that `clean.relevance` names; it is downloaded where it has to be."""
    from tuneloop.model.encoder import find_encoder
    from tuneloop.model.kept_embeddings import encoder_sha256

    return encoder_sha256(find_encoder(expand_variables(name), relative_to=home, key=ENCODER_KEY))


def rows_stand(run: RunFolder, key: str) -> bool:
    """Whether the rows of `key` were written and are still there."""
    entry = run.stations().get("data")
    names = ("clean", "train", "validation", "test", "dropped", "repairs")
    there = all((run.data / f"{name}.parquet").is_file() for name in names) and (run.data / "report.json").is_file()
    return entry is not None and entry["key"] == key and there


def load_rows(run: RunFolder) -> Prepared:
    """The rows that the data station wrote.

    Raises:
        DataError: if it has not run yet.
    """
    if "data" not in run.stations():
        raise DataError(f"{run.path} holds no rows yet", fix="Run `tuneloop clean` or `tuneloop run` first")
    return load_prepared(run)


def timed_prepare(
    recipe: Recipe, home: Path, decisions: Sequence[Decision], run: RunFolder, key: str, *, peek: bool = False
) -> tuple[Prepared, float]:
    """Read, split and clean the recipe's rows, by what people decided; with the seconds it took.

    Args:
        recipe: What to do.
        home: Where its relative paths start.
        decisions: The log of the run's queue.
        run: Takes the files of a set that does not fit into memory, and what is finished of it after a Ctrl-C.
        key: Of the rows that come out.
        peek: Whether another process may hold the run of this name, so that nothing of it may change.
    """
    began = time.monotonic()
    room = room_of(recipe, input_files(recipe, home), run.cleaning, key)
    if room.folder is not None:
        say(f"rows: cleaned through files in {room.folder}, by {recipe.engine} workers")
        if whole := [name for name in ("label_errors", "relevance") if getattr(recipe.clean, name)]:
            say(f"rows: {' and '.join(whole)} will hold all rows in memory, whatever clean.memory_mb says")
    try:
        with at_most(room.workers):
            prepared = prepare_rows(
                recipe, home, decisions, room, functools.partial(_embedder, recipe, home, peek=peek)
            )
    except KeyboardInterrupt:
        if room.folder is None or peek:  # nothing is kept
            raise
        raise KeyboardInterrupt("stopped; the same command goes on") from None
    return prepared, time.monotonic() - began


def _embedder(recipe: Recipe, home: Path, *, peek: bool) -> Embedder:
    """What reads the rows for `clean.relevance`; what it read is kept in the run folder, unless this is a peek."""
    from tuneloop.model.encoder import UNREAD_ABOVE, load_encoder
    from tuneloop.model.kept_embeddings import KeptEmbeddings

    assert recipe.clean.relevance is not None  # nobody asks otherwise
    name = recipe.clean.relevance.encoder
    encoder = load_encoder(expand_variables(name), relative_to=home, key=ENCODER_KEY)
    kept = KeptEmbeddings(encoder, RunFolder(RUNS / recipe.name).embeddings, writes=not peek)
    return Embedder(name, kept.embed, lambda texts: encoder.unread_shares(texts) <= UNREAD_ABOVE, kept.forget_others)


def peek_rows(recipe: Recipe, home: Path, decisions: Sequence[Decision] | None = None) -> Prepared:
    """The rows as `run` would make them now; nothing is written, and a run of this name may be at work.

    Args:
        recipe: What to do.
        home: Where its relative paths start.
        decisions: What people decided; None: what stands in the queue of the run of this name.
    """
    decisions = load_decisions(RunFolder(RUNS / recipe.name).data) if decisions is None else decisions
    with tempfile.TemporaryDirectory() as folder:
        return timed_prepare(recipe, home, decisions, RunFolder(Path(folder)), "", peek=True)[0]


def data_station(run: RunFolder, recipe: Recipe, prepared: Prepared, key: str, seconds: float) -> None:
    """Write the clean, dropped and split rows, and the data report with its page."""
    from tuneloop.report.row_page import rows_page

    again = run.stations().get("data", {}).get("key") == key
    save_prepared(prepared, run, rows_page(prepared, recipe), again=again)
    shutil.rmtree(run.cleaning, ignore_errors=True)  # open files of it stay readable while training needs their rows
    counts = {"train": len(prepared.train), "validation": len(prepared.validation), "test": len(prepared.test)}
    counts |= {"dropped": len(prepared.dropped), "to_review": prepared.report["counts"]["train"]["to review"]}
    run.record(
        "data", key=key, seed=recipe.seed, seconds=round(seconds, 2), counts=counts,
        inputs={file["path"]: file["sha256"] for file in prepared.report["files"]},
    )  # fmt: skip


def keep_page(run: RunFolder, recipe: Recipe, home: Path, decisions: Sequence[Decision]) -> None:
    """Write the page of rows that stand as they were anew, where it is gone or is to be in another language.

    Args:
        run: The run folder, with rows of the same key.
        recipe: What asks for them.
        home: Where its relative paths start.
        decisions: What people decided about doubted rows.
    """
    from tuneloop.report.row_page import page_key, rows_page

    if run.data_page.is_file():
        with open(run.data_page, encoding="utf-8", errors="replace") as page:
            if page_key(recipe) in page.read(HEAD):
                return
    # the tables do not hold all that it shows
    write_text(run.data_page, rows_page(peek_rows(recipe, home, decisions), recipe))
