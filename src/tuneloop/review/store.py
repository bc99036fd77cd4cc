"""The file of the queue: data/review.sqlite in the run folder, with the items to look at and the log of decisions.

    runs/<name>/data/review.sqlite   items, labels, twins: written by a cleaning; decisions: only ever added to
    runs/<name>/.review.lock         shared by whoever reads or decides, for milliseconds; alone by a re-clean

A re-clean replaces the data folder as a whole. It holds the lock alone from before it copies the log into the new
folder until that folder stands in the old one's place, and nobody keeps the file open between two steps, so that no
decision goes into a file that is about to vanish.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tuneloop.disk import explain_os_error
from tuneloop.errors import RunError
from tuneloop.records import Doubt, Row, row_json
from tuneloop.review.content import content_of, has_classes
from tuneloop.review.log import Decision, in_force
from tuneloop.review.worth import rarest, values, worth_of

SCHEMA = 1
NAME = "review.sqlite"
PATIENCE = 60.0
"""Seconds to wait for another process's short transaction, or for a re-clean that is writing its tables."""

TABLES = """
CREATE TABLE items (
    row TEXT PRIMARY KEY, place INTEGER NOT NULL, worth REAL NOT NULL, settles INTEGER NOT NULL, sources TEXT NOT NULL,
    content TEXT NOT NULL, classes INTEGER NOT NULL, columns TEXT NOT NULL, doubts TEXT NOT NULL
);
CREATE TABLE labels (label TEXT PRIMARY KEY, rows INTEGER NOT NULL);
CREATE TABLE twins (source TEXT PRIMARY KEY, row TEXT NOT NULL, content TEXT NOT NULL);
CREATE TABLE decisions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, row TEXT NOT NULL, kind TEXT NOT NULL, reviewer TEXT NOT NULL,
    time TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, comment TEXT NOT NULL, undoes INTEGER NOT NULL
);
CREATE INDEX decisions_of_a_row ON decisions (row);
CREATE TRIGGER decisions_are_never_changed BEFORE UPDATE ON decisions
BEGIN SELECT RAISE(ABORT, 'a decision is never changed: add another'); END;
CREATE TRIGGER decisions_are_never_removed BEFORE DELETE ON decisions
BEGIN SELECT RAISE(ABORT, 'a decision is never removed: add an undo'); END;
"""
"""Texts are JSON in ASCII, so that half a surrogate pair in a row does no harm."""


def packed(value: Any) -> str:
    """A value as the file holds it."""
    return json.dumps(value, ensure_ascii=True, sort_keys=True)


# -- the lock and the transaction -----------------------------------------------------------------------------


@contextlib.contextmanager
def held(data: Path) -> Iterator[None]:
    """Keep every reviewer out while the block replaces `data`; where it has no queue there is nobody to keep out.

    Args:
        data: The run's data folder.

    Raises:
        RunError: if a reviewer's process holds the queue for longer than a minute.
    """
    if not (data / NAME).exists():
        yield
        return
    with _locked(data, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def transaction(data: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    """One step on the queue, all of it or nothing; once the block has ended well it survives a power cut.

    Args:
        data: The run's data folder, with a queue in it.
        write: Whether the step adds decisions: then it sees all that were added before it, and others wait.

    Raises:
        RunError: if the file is missing, broken, busy for a minute, or cannot be written.
    """
    path = data / NAME
    with _locked(data, fcntl.LOCK_SH if write else None):
        if not path.exists():
            raise RunError(f"{path} does not exist", fix="Run `tuneloop clean` again: it writes the queue")
        with _explained(path), contextlib.closing(_connect(path, mode="rw")) as connection:
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version != SCHEMA:
                    raise RunError(
                        f"{path} is of another version of tuneloop", got=f"schema {version}", allowed=str(SCHEMA),
                        fix="Use the version that wrote it",
                    )  # fmt: skip
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.execute("COMMIT")


def _connect(path: Path, *, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=PATIENCE, isolation_level=None
    )
    connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextlib.contextmanager
def _locked(data: Path, how: int | None) -> Iterator[None]:
    """Hold the lock file beside `data`; a reader whose folder cannot be written goes without."""
    path = data.parent / ".review.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if how is not None:
            raise explain_os_error(error, path) from None
        yield
        return
    try:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(handle, (how or fcntl.LOCK_SH) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise RunError(
                        f"The review queue of {data.parent} is busy", got=f"a lock held for {PATIENCE:.0f} s",
                        fix="Another process cleans the rows again: wait for it to end, then try again",
                    ) from None  # fmt: skip
                time.sleep(0.02)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """SQLite's errors as a paragraph that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        name, got = str(vars(error).get("sqlite_errorname", "")), str(error)
        fix = "Restore it from a copy, or remove it: the next `tuneloop clean` asks everything again"
        if name.startswith("SQLITE_BUSY"):
            fix = "Another process is writing: try again when it has ended"
        elif name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            fix = "Check that the disk has room; what was decided before stands"
        elif name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            fix = "Check that you may write the file and its folder"
        raise RunError(f"The review queue {path} cannot be used", got=got, fix=fix) from None


# -- decisions ------------------------------------------------------------------------------------------------


def read_log(connection: sqlite3.Connection, row: str = "") -> list[Decision]:
    """The decisions, oldest first; of one row where it is named."""
    columns = "number, row, kind, reviewer, time, before, after, comment, undoes"
    where, values_ = (" WHERE row = ?", (row,)) if row else ("", ())
    found = connection.execute(f"SELECT {columns} FROM decisions{where} ORDER BY number", values_)
    return [
        Decision(number, of, kind, who, when, json.loads(before), json.loads(after), json.loads(comment), undoes)
        for number, of, kind, who, when, before, after, comment, undoes in found
    ]


def add_decision(connection: sqlite3.Connection, decision: Decision) -> Decision:
    """Write a decision at the end of the log (a number of 0 is the next one), and give it with its number."""
    d = decision
    parts = (d.row, d.kind, d.reviewer, d.time, packed(dict(d.before)), packed(dict(d.after)), packed(d.comment))
    cursor = connection.execute(
        "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (d.number or None, *parts, d.undoes)
    )
    return replace(d, number=int(cursor.lastrowid or 0))


def load_decisions(data: Path) -> list[Decision]:
    """The whole log of a data folder, [] where it has no queue: what `apply_decisions` takes.

    Args:
        data: The run's data folder.

    Raises:
        RunError: if the queue is there and cannot be read.
    """
    if not (data / NAME).exists():
        return []
    with transaction(data, write=False) as connection:
        return read_log(connection)


# -- a cleaning writes its queue ------------------------------------------------------------------------------


def write_queue(folder: Path, rows: Collection[Row], doubts: Sequence[Doubt], *, older: Path) -> None:
    """Write the queue of a cleaning into the folder that is about to become the run's data folder.

    The log of the older data folder is carried over whole. Rows that somebody decided stand in the queue too, doubted
    or not, so that the decision can be seen and taken back. Nothing is written where there is neither doubt nor log.

    Args:
        folder: The new folder; the caller holds the older one (`held`) until it has taken its place.
        rows: The training rows after cleaning and before the decisions; read twice, and need not fit into memory.
        doubts: Why some of them wait.
        older: The data folder that it replaces.

    Raises:
        RunError: if the older queue cannot be read, or the new one cannot be written: no decision is left behind.
    """
    log: list[Decision] = []
    if (older / NAME).exists():
        with _explained(older / NAME), contextlib.closing(_connect(older / NAME, mode="rw")) as connection:
            log = read_log(connection)
    if not doubts and not log:
        return
    seen = _look(rows, {doubt.row for doubt in doubts} | {row for row, d in in_force(log).items() if d.settles})
    why: dict[str, list[tuple[float, Doubt]]] = {}
    for value, doubt in zip(values(doubts), doubts, strict=True):
        why.setdefault(doubt.row, []).append((value, doubt))
    named = {twin for doubt in doubts for twin in doubt.twins}
    with _explained(folder / NAME), contextlib.closing(_connect(folder / NAME, mode="rwc")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SCHEMA};")
        connection.executemany("INSERT INTO labels VALUES (?, ?)", ((packed(name), n) for name, n in seen.rows.items()))
        ranked = _ranked(seen, why)
        for row in rows:
            if (rank := ranked.pop(row.id, None)) is not None:
                line = _item(row, rank, seen.sources[row.id], why.get(row.id, ()))
                connection.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", line)
            if row.source in named:
                twin = row.source, row.id, packed(content_of(row))
                connection.execute("INSERT OR IGNORE INTO twins VALUES (?, ?, ?)", twin)
        for decision in log:
            add_decision(connection, decision)
        connection.execute("COMMIT")


@dataclass(frozen=True)
class _Seen:
    """What is known of all rows before any of them is written.

    Attributes:
        rows: Label -> rows of it, of the whole set.
        sources: Content that the queue shows -> where it stands, in the order of the rows.
        labels: Content that the queue shows -> its label, as `content_of` has it.
    """

    rows: Counter[str] = field(default_factory=Counter)
    sources: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)


def _look(rows: Iterable[Row], wanted: Collection[str]) -> _Seen:
    """Look through the rows once; `wanted` are the contents that the queue shows."""
    seen = _Seen()
    for row in rows:
        seen.rows.update(row.labels)
        if row.id in wanted:
            seen.sources.setdefault(row.id, []).append(row.source)
            seen.labels.setdefault(row.id, content_of(row)["label"])
    return seen


_Rank = tuple[int, float, int]
"""Place in the queue, worth, rows that an answer settles."""


def _ranked(seen: _Seen, why: Mapping[str, Sequence[tuple[float, Doubt]]]) -> dict[str, _Rank]:
    """Each content's rank, the most valuable decision first; equals stay in the order of the rows."""
    waiting = {source for row_id, sources in seen.sources.items() if row_id in why for source in sources}
    found: list[tuple[float, int, str]] = []
    for row_id, sources in seen.sources.items():
        mine = why.get(row_id, ())
        twins = {twin for _, doubt in mine for twin in doubt.twins if twin in waiting} - set(sources)
        settles, class_rows = len(sources) + len(twins), rarest(seen.labels[row_id], seen.rows)
        gain = worth_of((value for value, _ in mine), settles=settles, class_rows=class_rows)
        found.append((gain, settles, row_id))
    found.sort(key=lambda entry: -entry[0])
    return {row_id: (place, gain, settles) for place, (gain, settles, row_id) in enumerate(found)}


def _item(row: Row, rank: _Rank, sources: Sequence[str], why: Sequence[tuple[float, Doubt]]) -> tuple[Any, ...]:
    """One line of the queue: a content with its doubts, the weightiest first."""
    ranked = sorted(why, key=lambda pair: -pair[0])
    return (
        row.id, *rank, packed(sources), packed(content_of(row)), int(has_classes(row)),
        packed(json.loads(row_json(row))), packed([asdict(doubt) for _, doubt in ranked]),
    )  # fmt: skip
