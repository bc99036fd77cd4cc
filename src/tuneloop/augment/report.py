"""What augmentation did: samples with the changed words marked, counts, shares, and how many rows keep their label."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuneloop.augment.augmentation import Augmentation
from tuneloop.augment.variants import inputs_of, origin_of
from tuneloop.augment.words import words
from tuneloop.records import Row

Judge = Callable[[Sequence[str]], Sequence[str]]
"""N texts -> the label that it gives each; trained on other data than the rows, or on all of it."""

_SAMPLES = 20
_TOKEN = re.compile(r"\s+|[\u3400-\u9fff]|[^\s\u3400-\u9fff]+")


def report(
    rows: Sequence[Row], augmentation: Augmentation, *, epochs: int = 1, judge: Judge | None = None,
    variants: Sequence[Row] = (), skipped: Mapping[tuple[str, str], int] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What an augmentation does to rows over some epochs; JSON-able.

    Args:
        rows: Training rows.
        augmentation: What is done to them.
        epochs: Epochs to look at, from the first.
        judge: Tells whether a changed row keeps its label; None: not measured.
        variants: What `make_variants` made.
        skipped: What it did not.

    Returns:
        rows, epochs, `changed` (share of the rows that an epoch changes), `changed_words` (share of all words that
        an epoch changes, by alignment of the two texts), `methods` (rows that each method changed, of rows x epochs),
        `variants` (made by each method), `skipped` ("method: reason" -> count), `samples` of both (method, row,
        before, after, the changed words in [[ ]]), and with a judge `labels` (see `label_preservation`).
    """
    pairs: list[tuple[Row, Row]] = []
    everything: list[tuple[Row, Row]] = []
    total = differing = 0
    methods: Counter[str] = Counter()
    for epoch in range(epochs):
        for row in rows:
            shown = augmentation.augmented(row, epoch)
            everything.append((row, shown))
            if shown is row:
                total += sum(len(words(text)) for text in inputs_of(row, augmentation.task))
                continue
            pairs.append((row, shown))
            methods.update(step.partition(":")[0] for step in shown.lineage[len(row.lineage) :])
            both = zip(inputs_of(row, augmentation.task), inputs_of(shown, augmentation.task), strict=True)
            for before, after in both:
                count, of = changed_words(before, after)
                differing, total = differing + count, total + of
    originals = {row.id: row for row in rows}
    by_method: Counter[str] = Counter()
    made: list[tuple[Row, Row]] = []
    for variant in variants:
        if (origin := origin_of(variant)) is not None:
            by_method[origin[0]] += 1
            made += [(originals[origin[1]], variant)] if origin[1] in originals else []
    found: dict[str, Any] = {
        "rows": len(rows), "epochs": epochs, "changed": round(len(pairs) / max(1, len(rows) * epochs), 6),
        "changed_words": round(differing / max(1, total), 6), "methods": dict(methods), "variants": dict(by_method),
        "skipped": {f"{method}: {reason}": count for (method, reason), count in (skipped or {}).items()},
        "samples": _samples([*made, *pairs], augmentation.task),
    }  # fmt: skip
    if judge is not None:
        found["labels"] = label_preservation(everything, judge)
    return found


def changed_words(before: str, after: str) -> tuple[int, int]:
    """(words of `before` that do not stand in `after` at their place, words of `before`), by alignment.

    A word that was put in counts as one changed; the first figure is never more than the second.
    """
    old, new = [word for *_, word in words(before)], [word for *_, word in words(after)]
    changed = sum(
        max(b - a, d - c)
        for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        if kind != "equal"
    )
    return min(changed, len(old)), len(old)


def marked(before: str, after: str) -> tuple[str, str]:
    """Both texts, what differs in [[ ]]."""
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    parts: tuple[list[str], list[str]] = ([], [])
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        for side, text in zip(parts, ("".join(old[a:b]), "".join(new[c:d])), strict=True):
            side.append(f"[[{text}]]" if kind != "equal" and text else text)
    return "".join(parts[0]), "".join(parts[1])


def label_preservation(pairs: Sequence[tuple[Row, Row]], judge: Judge) -> dict[str, Any]:
    """How many rows keep their label in the eyes of a judge.

    Counted are pairs whose original the judge gets right: what it cannot read before, it proves nothing about after.

    Args:
        pairs: (original, as it was shown) classification rows; one that was not changed keeps its label.
        judge: Texts -> labels.

    Returns:
        judged (pairs whose original it gets right), kept (those of them that get the same label), share; the same of
        changed rows alone as changed, changed_kept, changed_share; `lost`: up to twenty (label, before, after, judge).
    """
    with_label = [(row, shown) for row, shown in pairs if isinstance(row.label, str)]
    originals = list(dict.fromkeys(row.question for row, _ in with_label))
    told = dict(zip(originals, judge(originals), strict=True)) if originals else {}
    right = [(row, shown) for row, shown in with_label if told[row.question] == row.label]
    changed = [(row, shown) for row, shown in right if shown.question != row.question]
    after = judge([shown.question for _, shown in changed]) if changed else []
    lost = [
        {"label": row.label, "before": row.question, "after": shown.question, "judge": label}
        for (row, shown), label in zip(changed, after, strict=True)
        if label != row.label
    ]
    return {
        "judged": len(right), "kept": len(right) - len(lost), "share": _share(len(right) - len(lost), len(right)),
        "changed": len(changed), "changed_kept": len(changed) - len(lost),
        "changed_share": _share(len(changed) - len(lost), len(changed)), "lost": lost[:_SAMPLES],
    }  # fmt: skip


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _samples(pairs: Sequence[tuple[Row, Row]], task: str) -> list[dict[str, str]]:
    """Up to twenty changed rows, spread over all, each method in turn."""
    by_method: dict[str, list[tuple[Row, Row]]] = {}
    for row, shown in pairs:
        done = "+".join(step.partition(":")[0] for step in shown.lineage[len(row.lineage) :])
        by_method.setdefault(done, []).append((row, shown))
    found: list[dict[str, str]] = []
    each = max(1, _SAMPLES // max(1, len(by_method)))
    for method, of in sorted(by_method.items()):
        for row, shown in of[:: max(1, len(of) // each)][:each]:
            before, after = marked("\n".join(inputs_of(row, task)), "\n".join(inputs_of(shown, task)))
            found.append({"method": method, "row": row.id, "before": before, "after": after})
    return found[:_SAMPLES]
