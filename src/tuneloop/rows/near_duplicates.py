"""Drop rows that say nearly what another row says, keep the best of them, report labels that contradict.

    items -> content of each row -> rows/near -> clusters --best first--> kept rows, their twins dropped, conflicts

A row is dropped only where a row that stays is truly near it: in a chain a - b - c of near pairs whose ends are not
near, the best row's twins go, and what is left is judged again by the best of the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tuneloop.records import Dropped, Row
from tuneloop.rows.clean import Item, dropped_row, normalised
from tuneloop.rows.near import NearDuplicates, jaccards, near_duplicates

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


def drop_near_duplicates(
    items: Sequence[Item], threshold: float, *, workers: int | None = None
) -> tuple[list[Item], list[LabelConflict]]:
    """Drop rows whose content is near that of a better one with the same label; as many items as came, in their places.

    Rows are twins where their content (all but the label) has a true Jaccard of at least `threshold`, and so has what
    is learnt from each: the answer, the chosen and the rejected one. A long question would else make twins of "yes" and
    "no". Media must be the same files. A row without a label may be the twin of any; rows with different labels all
    stay, the best of each, and are reported.

    Args:
        items: Rows, bad rows and dropped rows.
        threshold: Jaccard over character n-grams, 0.5 to 1 (rows/near/shingles.py).
        workers: Threads; None: as many as there are cores. The result does not depend on it.

    Raises:
        RecipeError: if the threshold is out of range.
    """
    places = [place for place, item in enumerate(items) if isinstance(item, Row)]
    rows = [item for item in items if isinstance(item, Row)]
    texts = [content_text(row) for row in rows]
    found = near_duplicates(texts, threshold, workers=workers)
    judged = _Judge(rows, texts, threshold, workers)
    judged.start(found.clusters)
    for _ in range(ROUNDS):
        if not judged.round():
            break
    else:
        judged.rest(found)
    done = list(items)
    for place, row, twin in zip(places, range(len(rows)), judged.twin, strict=True):
        if twin is not None:
            done[place] = _dropped(rows[row], rows[twin[0]], twin[1])
    return done, judged.conflicts()


def without_twins(
    rows: Sequence[Row], threshold: float, *, workers: int | None = None
) -> tuple[list[Row], list[Dropped], list[LabelConflict]]:
    """The rows that stay, those dropped for a better one, and the labels that contradict each other.

    Args:
        rows: Training rows.
        threshold: As for `drop_near_duplicates`.
        workers: Threads; None: as many as there are cores.
    """
    items, conflicts = drop_near_duplicates(rows, threshold, workers=workers)
    stay = [item for item in items if isinstance(item, Row)]
    return stay, [item for item in items if isinstance(item, Dropped)], conflicts


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
    texts = [row.text, *(turn.content for turn in row.messages), row.chosen or "", row.rejected or ""]
    unclosed = any("<think>" in text and "</think>" not in text for text in texts)
    columns = sum(map(bool, (row.text, row.messages, row.chosen, row.rejected, row.images, row.audios)))
    return row.label in (None, "", ()), unclosed, -columns, -len(content)


def _dropped(row: Row, kept: Row, jaccard: float) -> Dropped:
    shown = min(jaccard, 0.99) if jaccard < 1.0 else 1.0  # 1.00 means the same shingles
    return dropped_row(row, STAGE, f"near duplicate of {kept.source} (Jaccard {shown:.2f})", kept.source)


class _Judge:
    """Decides in each cluster who stays, best row first."""

    def __init__(self, rows: Sequence[Row], texts: Sequence[str], threshold: float, workers: int | None) -> None:
        self.rows, self.texts, self.threshold, self.workers = rows, texts, threshold, workers
        self.twin: list[tuple[int, float] | None] = [None] * len(rows)  # the row that stays for it, and how near it is
        self.edges: list[tuple[int, int, float]] = []  # a row that stays, one near it with another label
        self.left: list[list[int]] = []  # of each cluster, those not judged yet, best first
        self.learnt = [texts for part in range(3) if any(texts := [_learnt(row, part) for row in rows])]

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
        for twin in self.twin:
            if twin is not None:
                votes[twin[0]] += 1
        group: dict[int, set[int]] = {}
        highest: dict[int, float] = defaultdict(float)
        stay = [(kept, twin[0] if (twin := self.twin[other]) else other, near) for kept, other, near in self.edges]
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


def _learnt(row: Row, part: int) -> str:
    return normalised((row.answer, row.chosen or "", row.rejected or "")[part])


def _same_label(one: Row, other: Row) -> bool:
    """Whether two labels agree; none agrees with any, and the order of several does not count."""
    labels = [sorted(row.label) if isinstance(row.label, tuple) else row.label for row in (one, other)]
    return labels[0] == labels[1] or any(label in (None, "", []) for label in labels)
