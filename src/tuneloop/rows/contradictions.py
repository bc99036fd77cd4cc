"""Rows that say nearly the same under different labels: a person decides which label is right.

LabelConflict(sources, labels, votes) --> a Doubt for each of its rows, with the label that most rows give
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tuneloop.records import Doubt, Row
from tuneloop.rows.near_duplicates import STAGE, LabelConflict

NAMED = 3
"""Contradicting rows that a reason names; the others are counted."""


def doubts_of_conflicts(rows: Iterable[Row], conflicts: Sequence[LabelConflict]) -> list[Doubt]:
    """A doubt for each of the rows that contradict each other; those that are gone by now count no more.

    Args:
        rows: The training rows that are left; they are read once and need not fit into memory.
        conflicts: From `without_twins`.
    """
    wanted = {source for conflict in conflicts for source in conflict.sources}
    at = {row.source: row.id for row in rows if row.source in wanted}
    found: list[Doubt] = []
    for conflict in conflicts:
        places = [place for place, source in enumerate(conflict.sources) if source in at]
        labels = {place: _said(conflict.labels[place]) for place in places}
        if len(set(labels.values())) < 2:
            continue
        votes: Counter[str] = Counter()
        for place in places:
            votes[labels[place]] += conflict.votes[place]
        (most, count), second = votes.most_common(1)[0], sorted(votes.values())[-2]
        for place in places:
            source = conflict.sources[place]
            others = [(conflict.sources[other], labels[other]) for other in places if labels[other] != labels[place]]
            suggestion = most if count > second and most != labels[place] else ""
            twins = tuple(other for other, _ in others)
            found.append(Doubt(at[source], source, STAGE, _reason(others), conflict.jaccard, suggestion, twins))
    return found


def _said(label: str | tuple[str, ...]) -> str:
    return label if isinstance(label, str) else ", ".join(sorted(label))


def _reason(others: Sequence[tuple[str, str]]) -> str:
    named = " and ".join(f"{source} is labelled {label!r}" for source, label in others[:NAMED])
    more = f" and {len(others) - NAMED} more differ" if len(others) > NAMED else ""
    return f"nearly the same text under another label: {named}{more}"
