"""What was made once, by the hash of all that it was made of, in a SQLite file that survives a kill.

runs/<name>/teacher.sqlite   answers that were paid for      runs/<name>/masked_lm.sqlite   guesses that took time
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from tuneloop.disk import explain_os_error
from tuneloop.errors import RunError


class Cache:
    """Texts by key; what is put is on the disk when the call returns (journal DELETE, synchronous FULL).

    Args:
        path: The file; made when missing.

    Raises:
        RunError: if it cannot be opened, read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._data.execute("pragma journal_mode=delete")
            self._data.execute("pragma synchronous=full")
            self._data.execute("create table if not exists kept (key text primary key, value text not null)")

    def get(self, key: str) -> str | None:
        """The text, or None."""
        with self._told(), self._lock:
            found = self._data.execute("select value from kept where key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def put(self, texts: Mapping[str, str]) -> None:
        """Keep texts by their keys, all or none of them; the first one of a key stays."""
        with self._told(), self._lock:
            self._data.execute("begin")
            try:
                self._data.executemany("insert or ignore into kept values (?, ?)", texts.items())
                self._data.execute("commit")
            except BaseException:
                if self._data.in_transaction:  # a full disk may have ended it already
                    self._data.execute("rollback")
                raise

    def close(self) -> None:
        """Close the file."""
        self._data.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise explain_os_error(error, self._path) from error
        except sqlite3.Error as error:
            raise RunError(
                f"{self._path} cannot be used", got=str(error),
                fix="Check that its disk has room; if the file is broken, remove it: what it holds is made again",
            ) from None  # fmt: skip
