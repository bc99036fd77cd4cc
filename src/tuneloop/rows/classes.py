"""Whether the sides' labels make a task: two classes or more, enough rows of each, held-out labels that are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tuneloop.errors import DataError
from tuneloop.records import Row, Split


def refuse_one_class(labels: list[str], train: Sequence[Row]) -> None:
    """Check that there is something to tell apart.

    Args:
        labels: Those of the training rows.
        train: The training rows.

    Raises:
        DataError: if all of them have the same label.
    """
    if len(labels) < 2:
        raise DataError(
            "The training rows have one class only", got=f"{labels[0]!r} in all {len(train)} rows",
            allowed="two classes or more", fix="Check data.columns.label and data.where",
        )  # fmt: skip


def unknown_labels(sides: dict[Split, Sequence[Row]], labels: list[str]) -> list[str]:
    """One warning for each held-out side with labels that training lacks; an error where most rows have one."""
    known = set(labels)
    warnings: list[str] = []
    held_out: tuple[Split, ...] = ("validation", "test")
    for split in held_out:
        unknown = Counter(label for row in sides[split] for label in row.labels if label not in known)
        rows = sum(any(label not in known for label in row.labels) for row in sides[split])
        if rows > len(sides[split]) / 2:
            trained = ", ".join(map(repr, labels[:8])) + (", ..." if len(labels) > 8 else "")
            raise DataError(
                f"Training lacks the labels of {rows} of the {len(sides[split])} {split} rows",
                got=f"{listed(unknown)} in {split}, {trained} in train",
                fix=f"Check that data.columns.label names the right column, and that data.{split} is of the same task",
            )
        if rows:
            warnings.append(
                f"{rows} of {len(sides[split])} {split} rows have a label that the training rows lack, "
                f"and count as wrong: {listed(unknown)}"
            )
    return warnings


def thin_classes(train: Sequence[Row]) -> list[str]:
    """A warning that names the classes with one training row; [] where there are none.

    Args:
        train: The training rows.
    """
    counts = Counter(label for row in train for label in row.labels)
    thin = sorted(label for label, count in counts.items() if count == 1)
    warnings: list[str] = []
    if thin:
        shown = ", ".join(map(repr, thin[:10])) + (", ..." if len(thin) > 10 else "")
        warnings.append(
            f"{len(thin)} of {len(counts)} classes have one training row, too few to learn from; slips? {shown}"
        )
    return warnings


def listed(counts: Mapping[str, int]) -> str:
    """Names with their counts, the ten most frequent."""
    most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{name} ({count})" for name, count in most[:10]) + (", ..." if len(most) > 10 else "")
