"""Embeddings that a run keeps: each text goes through the encoder once, whatever stops the cleaning in between.

    texts --sha256 of encoder and text--> those that runs/<name>/embeddings.sqlite has
                                       `-> the others --Encoder.batches--> written batch by batch as they are done

They stay in the run folder, not in the user's cache, since a text can be guessed from its vector: what is removed with
the run is gone. The file holds the texts of the newest cleaning that came to its end, and what was begun since.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tuneloop.disk import sha256_json
from tuneloop.errors import RunError
from tuneloop.model.cache import settings_sha256
from tuneloop.model.encoder import Encoder, pooling_of
from tuneloop.model.source import Source
from tuneloop.terminal import progress, warn

SCHEMA = 1
PATIENCE = 60.0
"""Seconds to wait for another process's short transaction."""
Vectors = npt.NDArray[np.float32]


class KeptEmbeddings:
    """Embeds texts, and keeps what it embedded in a file.

    Args:
        encoder: What reads.
        file: Where they are kept.
        writes: False reads what is kept, and keeps nothing: another process may hold the run.
    """

    def __init__(self, encoder: Encoder, file: Path, *, writes: bool = True) -> None:
        self.encoder, self.file, self.writes = encoder, file, writes
        self._encoder_key = encoder_sha256(encoder.source)
        self._used: set[bytes] = set()

    def embed(self, texts: Sequence[str], *, title: str = "embedding rows") -> Vectors:
        """(N, D) float32 vectors of length 1, in the order of the texts; what is kept is not embedded again.

        Args:
            texts: N texts.
            title: Of the progress bar.

        Raises:
            RunError: if the file cannot be written.
        """
        keys = [self._key(text) for text in texts]
        self._used.update(keys)
        first = {key: place for place, key in reversed(list(enumerate(keys)))}  # equal texts are read once
        vectors = np.zeros((len(texts), self.encoder.width), dtype=np.float32)
        with self._opened() as connection:
            missing = [place for key, place in first.items() if not self._found(connection, key, vectors[place])]
            missing.sort()
            if missing:
                with progress(title, len(missing)) as bar:
                    for batch, found in self.encoder.batches([texts[place] for place in missing]):
                        places = [missing[one] for one in batch]
                        vectors[places] = found
                        self._keep(connection, [keys[place] for place in places], found)
                        bar.advance(len(places))
        return np.asarray(vectors[[first[key] for key in keys]])

    def forget_others(self) -> None:
        """Take out what this cleaning did not ask for, so that the file does not grow from cleaning to cleaning.

        Raises:
            RunError: if the file cannot be written.
        """
        with self._opened() as connection:
            if connection is None or not self.writes:
                return
            old = [key for (key,) in connection.execute("SELECT key FROM vectors") if key not in self._used]
            if old:
                with _transaction(connection):
                    connection.executemany("DELETE FROM vectors WHERE key = ?", ((key,) for key in old))
                connection.execute("VACUUM")

    def _key(self, text: str) -> bytes:
        whole = f"{self._encoder_key}\n{text}"
        return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).digest()

    def _found(self, connection: sqlite3.Connection | None, key: bytes, into: Vectors) -> bool:
        """Fill `into`, (D,), where the file has it whole."""
        if connection is None:
            return False
        held = connection.execute("SELECT vector FROM vectors WHERE key = ?", (key,)).fetchone()
        if held is None or len(held[0]) != into.nbytes:
            return False
        into[:] = np.frombuffer(held[0], dtype="<f4")
        return True

    def _keep(self, connection: sqlite3.Connection | None, keys: Sequence[bytes], vectors: Vectors) -> None:
        if connection is not None and self.writes:
            values = ((key, vector.astype("<f4").tobytes()) for key, vector in zip(keys, vectors, strict=True))
            with _transaction(connection):
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", values)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection | None]:
        """The file, made anew where it is missing, no database or of another version: it holds nothing that is lost."""
        if not self.writes:
            with _read_only(self.file) as connection:
                yield connection
            return
        with _explained(self.file):
            try:
                connection = _connect(self.file)
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorname not in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
                    raise
                warn(f"{self.file} is broken and made anew")
                self.file.unlink()
                connection = _connect(self.file)
            with contextlib.closing(connection):
                yield connection


def encoder_sha256(source: Source) -> str:
    """Hash of all that decides a vector: weights, settings, tokenizer, and how many tokens are read."""
    limit = source.folder / "sentence_bert_config.json"
    stated = limit.read_text(encoding="utf-8") if limit.is_file() else ""
    pooling = pooling_of(source.folder, source.name, "clean.relevance.encoder")
    return sha256_json([source.sha256, settings_sha256(source.folder), stated, pooling, SCHEMA])


@contextlib.contextmanager
def _read_only(file: Path) -> Iterator[sqlite3.Connection | None]:
    """The file as it is, or None where there is none that can be read now."""
    connection = None
    try:
        if file.is_file():
            connection = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=PATIENCE)
            if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
                connection.close()
                connection = None
    except sqlite3.Error:
        connection = None
    with contextlib.closing(connection) if connection is not None else contextlib.nullcontext():
        yield connection


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:
            with _transaction(connection):
                if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA:  # nobody was quicker
                    connection.execute("DROP TABLE IF EXISTS vectors")
                    connection.execute(
                        "CREATE TABLE vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
                    )
                    connection.execute(f"PRAGMA user_version = {SCHEMA}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing, also when it is broken off."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.execute("COMMIT")


@contextlib.contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        full = str(vars(error).get("sqlite_errorname", "")).startswith(("SQLITE_FULL", "SQLITE_IOERR"))
        fix = "Free some space and run it again: it goes on" if full else "Remove it and run it again"
        raise RunError(f"The embeddings in {file} cannot be kept", got=str(error), fix=fix) from None
