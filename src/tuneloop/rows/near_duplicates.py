"""Drop rows that say nearly what another row says, keep the best of them, report labels that contradict.

    rows -> content of each -> rows/near -> clusters --best first--> kept rows, their twins dropped, conflicts

A row is dropped only where a row that stays is truly near it: in a chain a - b - c of near pairs whose ends are not
near, the best row's twins go, and what is left is judged again by the best of the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import overload

import numpy as np

from tuneloop.records import Dropped, Row
from tuneloop.rows.clean import normalised
from tuneloop.rows.near import NearDuplicates, jaccards, near_duplicates
from tuneloop.rows.room import MEMORY, Arrays, Room
from tuneloop.rows.stage import dropped_row
from tuneloop.shelf import Store, select

STAGE = "near_duplicates"
ROUNDS = 256
"""Rows of one cluster that may be compared with all the rest; of a cluster that keeps more, the rest is judged by the
pairs that were found."""
_MARKS = {"system": "\ue000", "user": "\ue001", "assistant": "\ue002", "tool": "\ue003"}
_CHOSEN, _REJECTED = "\ue004", "\ue005"  # for private use: they stand in no text, and take one character

Label = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelConflict:
    """Rows that stay, since they say nearly the same under different labels; someone has to decide.

    Attributes:
        sources: `file:line` of each, in the order of the rows.
        labels: The label of each.
        votes: How many rows each speaks for: itself and the twins that were dropped for it.
        jaccard: The largest similarity of two rows that contradict each other.
    """

    sources: tuple[str, ...]
    labels: tuple[Label, ...]
    votes: tuple[int, ...]
    jaccard: float


@dataclass(frozen=True)
class Untwinned:
    """Rows of which none is the twin of another, and what became of those that were; both add up to what went in.

    Attributes:
        rows: The rows that stay, in their order.
        dropped: The others, each with the row that stays for it.
        conflicts: Rows that stay, and contradict each other.
    """

    rows: Sequence[Row]
    dropped: Sequence[Dropped]
    conflicts: list[LabelConflict]


def without_twins(
    rows: Sequence[Row], threshold: float, *, workers: int | None = None, room: Room = MEMORY
) -> Untwinned:
    """Drop rows whose content is near that of a better one with the same label.

    Rows are twins where their content (all but the label) has a true Jaccard of at least `threshold`, and so has what
    is learnt from each: the answer, the chosen and the rejected one. A long question would else make twins of "yes" and
    "no". Media must be the same files. A row without a label may be the twin of any; rows with different labels all
    stay, the best of each, and are reported.

    Args:
        rows: Training rows.
        threshold: Jaccard over character n-grams, 0.5 to 1 (rows/near/shingles.py).
        workers: Threads; None: as many as there are cores. The result does not depend on it.
        room: Where texts and dropped rows are kept.

    Raises:
        RecipeError: if the threshold is out of range.
    """
    texts: Store[str] = room.store()
    texts.extend(content_text(row) for row in rows)
    found = near_in(texts, threshold, workers=workers, room=room)
    judged = _Judge(rows, texts, threshold, workers)
    judged.start(found.clusters)
    for _ in range(ROUNDS):
        if not judged.round():
            break
    else:
        judged.rest(found)
    dropped: Store[Dropped] = room.store()
    for place in sorted(judged.twin):
        kept, jaccard = judged.twin[place]
        dropped.append(_dropped(rows[place], rows[kept], jaccard))
    stay = np.ones(len(rows), dtype=bool)
    stay[list(judged.twin)] = False
    return Untwinned(select(rows, np.flatnonzero(stay)), dropped, judged.conflicts())


def near_in(texts: Sequence[str], threshold: float, *, workers: int | None, room: Room) -> NearDuplicates:
    """What `near_duplicates` finds, kept where the room is one of files.

    Args:
        texts: As there.
        threshold: As there.
        workers: As there.
        room: Of this cleaning.
    """

    def arrays() -> Arrays:
        found = near_duplicates(texts, threshold, workers=workers)
        sizes = np.array([len(members) for members in found.clusters], dtype=np.int64)
        members = np.fromiter(chain.from_iterable(found.clusters), dtype=np.int64, count=int(sizes.sum()))
        return {
            "left": found.left, "right": found.right, "jaccard": found.jaccard, "sizes": sizes, "members": members,
        }  # fmt: skip

    given = room.arrays("near", arrays)
    members, ends = given["members"].tolist(), np.cumsum(given["sizes"]).tolist()
    clusters = [tuple(members[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    return NearDuplicates(
        given["left"].astype(np.int64), given["right"].astype(np.int64), given["jaccard"].astype(np.float64), clusters
    )


def keep_best(rows: Sequence[Row]) -> int:
    """The position of the row that stays when all of them say the same.

    In this order: one with a label; one whose <think> is closed; the one with the most columns of content; the longest;
    the first.

    Args:
        rows: At least one.
    """
    return min(range(len(rows)), key=lambda place: (*_worth(rows[place], content_text(rows[place])), place))


def content_text(row: Row) -> str:
    """All that a row says but its label, normalised: the text, every message behind a mark of its role, both answers.

    A mark is one character for private use, so that roles count, and weigh little in short messages.
    """
    parts = [normalised(row.text)]
    parts += [_MARKS[turn.role] + normalised(turn.content) for turn in row.messages]
    parts += [mark + normalised(answer) for mark, answer in _answers(row) if answer is not None]
    return "".join(parts)


def _answers(row: Row) -> tuple[tuple[str, str | None], ...]:
    return (_CHOSEN, row.chosen), (_REJECTED, row.rejected)


def _worth(row: Row, content: str) -> tuple[bool, bool, int, int]:
    """The better row has the smaller one."""
    unclosed = any("<think>" in text and "</think>" not in text for text in row.texts)
    columns = sum(map(bool, (row.text, row.messages, row.chosen, row.rejected, row.images, row.audios)))
    return row.label in (None, "", ()), unclosed, -columns, -len(content)


def _dropped(row: Row, kept: Row, jaccard: float) -> Dropped:
    shown = min(jaccard, 0.99) if jaccard < 1.0 else 1.0  # 1.00 means the same shingles
    return dropped_row(row, STAGE, f"near duplicate of {kept.source} (Jaccard {shown:.2f})", kept.source)


class _Judge:
    """Decides in each cluster who stays, best row first."""

    def __init__(self, rows: Sequence[Row], texts: Sequence[str], threshold: float, workers: int | None) -> None:
        self.rows, self.texts, self.threshold, self.workers = rows, texts, threshold, workers
        self.twin: dict[int, tuple[int, float]] = {}  # dropped -> the row that stays for it, and how near it is
        self.edges: list[tuple[int, int, float]] = []  # a row that stays, one near it with another label
        self.left: list[list[int]] = []  # of each cluster, those not judged yet, best first
        told = np.zeros(3, dtype=bool)
        for row in rows:
            told |= (bool(row.answer), bool(row.chosen), bool(row.rejected))
        self.learnt = [_Learnt(rows, part) for part in np.flatnonzero(told).tolist()]

    def start(self, clusters: Iterable[tuple[int, ...]]) -> None:
        """Put the rows of each cluster in order."""
        self.left = [sorted(part, key=self._rank) for members in clusters for part in self._by_media(members)]

    def round(self) -> bool:
        """Let the best row left of each cluster stay and take its twins out; whether any row is left behind it."""
        pairs = [(members[0], other) for members in self.left for other in members[1:]]
        gone = self._judge(pairs)
        rest = ([row for row in members[1:] if row not in gone] for members in self.left)
        self.left = [members for members in rest if members]
        return bool(self.left)

    def rest(self, found: NearDuplicates) -> None:
        """Judge what the rounds left by the pairs that were found, with no more comparing of all with all."""
        waiting = {row for members in self.left for row in members}
        near: dict[int, list[int]] = defaultdict(list)
        for one, other in zip(found.left.tolist(), found.right.tolist(), strict=True):
            if one in waiting and other in waiting:
                near[one].append(other)
                near[other].append(one)
        for row in sorted(waiting, key=self._rank):
            if row in waiting:
                waiting.discard(row)
                waiting -= self._judge([(row, other) for other in near[row] if other in waiting])

    def conflicts(self) -> list[LabelConflict]:
        """The rows that stay and contradict each other, by their first row."""
        if not self.edges:
            return []
        votes: dict[int, int] = defaultdict(lambda: 1)
        for kept, _ in self.twin.values():
            votes[kept] += 1
        group: dict[int, set[int]] = {}
        highest: dict[int, float] = defaultdict(float)
        stay = [(kept, self.twin.get(other, (other,))[0], near) for kept, other, near in self.edges]
        for one, other, near in stay:
            joined = group.get(one, {one}) | group.get(other, {other})
            group.update(dict.fromkeys(joined, joined))
            highest[one] = max(highest[one], near)
        torn = {min(members): sorted(members) for members in group.values()}
        return [
            LabelConflict(
                tuple(self.rows[row].source for row in members), tuple(self.rows[row].label or "" for row in members),
                tuple(votes[row] for row in members), max(highest[row] for row in members),
            )
            for _, members in sorted(torn.items())
        ]  # fmt: skip

    def _rank(self, row: int) -> tuple[bool, bool, int, int, int]:
        return *_worth(self.rows[row], self.texts[row]), row

    def _by_media(self, members: Sequence[int]) -> list[list[int]]:
        """Rows about other pictures or sounds are never twins, whatever they say about them."""
        parts: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = defaultdict(list)
        for row in members:
            parts[self.rows[row].images, self.rows[row].audios].append(row)
        return [part for part in parts.values() if len(part) > 1]

    def _judge(self, pairs: Sequence[tuple[int, int]]) -> set[int]:
        """Drop the second row of each pair that is the first one's twin, and give those rows."""
        gone: set[int] = set()
        for (kept, other), similar in zip(pairs, self._similar(pairs).tolist(), strict=True):
            if similar < self.threshold:
                continue
            if _same_label(self.rows[kept], self.rows[other]):
                self.twin[other] = kept, similar
                gone.add(other)
            else:
                self.edges.append((kept, other, similar))
        return gone

    def _similar(self, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        """(P,) the Jaccard of two rows' content; 0 where what is learnt from them is not near."""
        left, right = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        similar = jaccards(self.texts, left, right, workers=self.workers)
        for texts in self.learnt:
            unequal = [place for place, (one, other) in enumerate(pairs) if texts[one] != texts[other]]
            differ = np.array(unequal, dtype=np.int64)
            far = jaccards(texts, left[differ], right[differ], workers=self.workers) < self.threshold
            similar[differ[far]] = 0.0
        return similar


class _Learnt(Sequence[str]):
    """What is learnt from each row: the answer, the chosen or the rejected one."""

    def __init__(self, rows: Sequence[Row], part: int) -> None:
        self.rows, self.part = rows, part

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self._of(row) for row in self.rows[place]]
        return self._of(self.rows[place])

    def _of(self, row: Row) -> str:
        return normalised((row.answer, row.chosen or "", row.rejected or "")[self.part])


def _same_label(one: Row, other: Row) -> bool:
    """Whether two labels agree; none agrees with any, and the order of several does not count."""
    labels = [sorted(row.label) if isinstance(row.label, tuple) else row.label for row in (one, other)]
    return labels[0] == labels[1] or any(label in (None, "", []) for label in labels)
