"""The records as Markdown: a line for each figure and set, the mean over the seeds, with the lowest and highest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.train_speed.raw import Record

NOISE_GOAL, CLEAN_GOAL, SENT_GOAL = 0.90, 0.05, 0.03


def table(records: Sequence[Record]) -> str:
    """Both tables, and how they were made.

    Args:
        records: Those in force.
    """
    parts = ["# Noise and label errors", "", "Every run is a line of [raw.jsonl](raw.jsonl); means over the seeds, the "
             "lowest and highest in brackets.", ""]  # fmt: skip
    noise, labels, sent = (
        [one for one in records if one["figure"] == figure] for figure in ("noise", "labels", "sent")
    )
    if noise:
        parts += ["## Noise score", "", f"Wanted: at least {NOISE_GOAL:.0%} of the noise under 0.3, at most "
                  f"{CLEAN_GOAL:.0%} of the clean rows. [scores.svg](scores.svg) has the distributions.", "",
                  *noise_lines(noise), ""]  # fmt: skip
    if labels:
        parts += ["## Label errors", "", "Average precision of finding the flipped labels. cleanlab ranks by the same "
                  "out-of-fold probabilities of the linear SVM, and once by our pooled ones; its best way is picked "
                  "on each set and seed with the answer in hand.", "",
                  *label_lines(labels), ""]  # fmt: skip
    if sent:
        told = (
            f"Each set as it is, and with a twentieth of its labels flipped. Wanted: at most {SENT_GOAL:.0%} as it is."
        )
        parts += ["## Rows that the label stage sends to review", "", told, "", *sent_lines(sent), ""]
    return "\n".join([*parts, *made(records), ""])


def noise_lines(records: Sequence[Record]) -> list[str]:
    """The table of the noise figure."""
    head = ["set", "rows", "noise", "noise under 0.3", "gibberish", "wrong language", "template", "clean under 0.3",
            "AUC", "reached"]  # fmt: skip
    lines = header(head)
    for name, runs in by_set(records).items():
        results = [one["result"] for one in runs]
        cells = [
            name,
            f"{results[0]['rows']:,}",
            f"{results[0]['noise']:,}",
            spread(results, lambda r: r["noise_under"]),
        ]
        cells += [spread(results, lambda r, k=kind: r["kinds"][k]["under"])
                  for kind in ("gibberish", "wrong_language", "template")]  # fmt: skip
        cells += [spread(results, lambda r: r["clean_under"]), spread(results, lambda r: r["auc"], percent=False)]
        good = all(r["noise_under"] >= NOISE_GOAL and r["clean_under"] <= CLEAN_GOAL for r in results)
        lines.append(f"| {' | '.join([*cells, 'yes' if good else '**no**'])} |")
    return lines


def label_lines(records: Sequence[Record]) -> list[str]:
    """The table of the label figure."""
    head = ["set", "rows", "labels", "flipped", "accuracy", "ours", "cleanlab, its default", "cleanlab, best way",
            "cleanlab on ours, best way", "doubted by ours: precision, recall", "by cleanlab", "right label suggested",
            "reached"]  # fmt: skip
    lines = header(head)
    for name, runs in by_set(records).items():
        results = [one["result"] for one in runs]
        asked = all("cleanlab" in r for r in results)
        cells = [name, f"{results[0]['rows']:,}", str(results[0]["labels"]), f"{results[0]['flipped']:,}",
                 spread(results, lambda r: r["accuracy"]), spread(results, ours, percent=False)]  # fmt: skip
        cells += [spread(results, value, percent=False) if asked else "not asked" for value in (
            lambda r: peer(r, "classifier")["self_confidence"], lambda r: max(peer(r, "classifier").values()),
            lambda r: max(peer(r, "pooled").values()),
        )]  # fmt: skip
        cells.append(both(results, lambda r: r["doubted"]))
        cells.append(both(results, lambda r: r["cleanlab"]["classifier"]["doubted"]) if asked else "not asked")
        cells.append(spread(results, lambda r: r["suggestions_right"]))
        good = asked and all(ours(r) >= max(peer(r, "classifier").values()) for r in results)
        lines.append(f"| {' | '.join([*cells, 'yes' if good else '**no**' if asked else ''])} |")
    return lines


def sent_lines(records: Sequence[Record]) -> list[str]:
    """The table of the rows that are sent."""
    head = ["set", "rows", "labels", "told right out of fold", "sent of the set as it is", "flipped: own rows sent",
            "flips found", "said to be found", "errors counted", "reached"]  # fmt: skip
    lines = header(head)
    for name, runs in by_set(records).items():
        clean, flipped = ([one["result"][kind] for one in runs] for kind in ("as it is", "flipped"))
        cells = [
            name, f"{clean[0]['rows']:,}", str(clean[0]["labels"]), spread(clean, lambda r: r["right"]),
            spread(clean, lambda r: r["own_sent"]),
            *(spread(flipped, lambda r, key=key: r[key]) for key in ("own_sent", "found", "said_to_be_found", "share")),
            "yes" if all(r["own_sent"] <= SENT_GOAL for r in clean) else "**no**",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def ours(result: Record) -> float:
    """The average precision of our ranking."""
    return float(result["average_precision"]["plausibility"])


def peer(result: Record, probabilities: str) -> dict[str, float]:
    """cleanlab's average precision in each of its ways.

    Args:
        result: Of a run.
        probabilities: "classifier" or "pooled".
    """
    return dict(result["cleanlab"][probabilities]["average_precision"])


def both(results: Sequence[Record], value: Callable[[Record], Record]) -> str:
    """Precision and recall of what is doubted."""
    return ", ".join(spread(results, lambda r, p=part: value(r)[p]) for part in ("precision", "recall"))


def made(records: Sequence[Record]) -> list[str]:
    """The commands, dates and machines, each once."""
    told = dict.fromkeys(
        f"- `{one['command']}`, {one['date'][:10]}, {one['machine']['cores']} cores of {one['machine']['cpu']}; "
        f"versions {one['versions']}"
        + (f"; cleanlab {one['result']['cleanlab']['version']}" if "cleanlab" in one["result"] else "")
        for one in records
    )
    return list(told)


def by_set(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Set -> its runs, by seed."""
    found: dict[str, list[Record]] = {}
    for one in sorted(records, key=lambda one: one["seed"]):
        found.setdefault(one["set"], []).append(one)
    return dict(sorted(found.items()))


def header(names: Sequence[str]) -> list[str]:
    """The head of a table."""
    return [f"| {' | '.join(names)} |", "|---" + "|--:" * (len(names) - 1) + "|"]


def spread(results: Sequence[Record], value: Callable[[Record], float], *, percent: bool = True) -> str:
    """Mean [lowest, highest]."""
    values = [value(one) for one in results]
    mean, scale, digits, unit = sum(values) / len(values), 100 if percent else 1, 1 if percent else 4, "%" * percent
    if len(values) == 1:
        return f"{scale * mean:.{digits}f}{unit}"
    return f"{scale * mean:.{digits}f}{unit} [{scale * min(values):.{digits}f}, {scale * max(values):.{digits}f}]"
