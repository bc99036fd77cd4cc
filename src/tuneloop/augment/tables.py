"""The tables that come with tuneloop, in the folder `tables`: text files, read when they are first asked for."""

from __future__ import annotations

import functools
import gzip
from importlib.resources import files


def table_lines(name: str) -> list[str]:
    """The lines of a table, notes (#) and blank ones left out.

    Args:
        name: The file's name; one that ends in .gz is unpacked.
    """
    data = files("tuneloop.augment").joinpath("tables", name).read_bytes()
    text = (gzip.decompress(data) if name.endswith(".gz") else data).decode()
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


@functools.cache
def word_list(name: str) -> frozenset[str]:
    """A list of tables/word_lists.txt: what stands behind its name, on one line or several."""
    found: set[str] = set()
    for line in table_lines("word_lists.txt"):
        head, _, rest = line.partition(":")
        if head == name:
            found.update(rest.split())
    if not found:
        raise KeyError(name)
    return frozenset(found)
