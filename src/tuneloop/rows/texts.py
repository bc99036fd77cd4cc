"""What the stages that compare rows read of them: one text each, block by block."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tuneloop.records import Row
from tuneloop.rows.engine import threads

Result = TypeVar("Result")

ROWS_AT_ONCE, CHARACTERS_AT_ONCE = 4096, 120_000
"""A block ends at whichever comes first; a longer text is a block of its own."""


def row_text(row: Row) -> str:
    """A row's text, or all its messages and answers, a line each."""
    if row.text:
        return row.text
    answers = [answer for answer in (row.chosen, row.rejected) if answer]
    return "\n".join([*(message.content for message in row.messages), *answers])


def asked_text(row: Row) -> str:
    """What a row asks: its text, or all that its user says, a line each; all of it where nobody asks."""
    asked = row.text or "\n".join(message.content for message in row.messages if message.role == "user")
    return asked or row_text(row)


def blocks_of(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in order, as many at a time as memory allows."""
    block: list[str] = []
    characters = 0
    for text in texts:
        if block and (len(block) == ROWS_AT_ONCE or characters + len(text) > CHARACTERS_AT_ONCE):
            yield block
            block, characters = [], 0
        block.append(text)
        characters += len(text)
    if block:
        yield block


def in_order(
    blocks: Iterable[Sequence[str]], work: Callable[[int, Sequence[str]], Result], *, workers: int | None = None
) -> Iterator[Result]:
    """What `work` makes of each block, in their order; a few are worked on at once, as numpy lets threads do.

    Args:
        blocks: Texts.
        work: (place of the block's first text, the block) -> anything.
        workers: Threads; None: as many as there are cores. The result does not depend on it.
    """
    count, start = workers or threads(), 0
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(count) as pool:
        for block in blocks:
            waiting.append(pool.submit(work, start, block))
            start += len(block)
            if len(waiting) >= count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
