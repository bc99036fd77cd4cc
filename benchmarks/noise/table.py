"""The records as Markdown: a line for each figure and set, the mean over the seeds, with the lowest and highest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.train_speed.raw import Record

NOISE_GOAL, CLEAN_GOAL = 0.90, 0.05


def table(records: Sequence[Record]) -> str:
    """Both tables, and how they were made.

    Args:
        records: Those in force.
    """
    parts = ["# Noise and label errors", "", "Every run is a line of [raw.jsonl](raw.jsonl); means over the seeds, the "
             "lowest and highest in brackets.", ""]  # fmt: skip
    noise, labels = ([one for one in records if one["figure"] == figure] for figure in ("noise", "labels"))
    if noise:
        parts += ["## Noise score", "", f"Wanted: at least {NOISE_GOAL:.0%} of the noise under 0.3, at most "
                  f"{CLEAN_GOAL:.0%} of the clean rows.", "", *noise_lines(noise), ""]  # fmt: skip
    if labels:
        parts += ["## Label errors", "", "Average precision of finding the flipped labels, from the same out-of-fold "
                  "probabilities; cleanlab's is the best of its ways on each set and seed.", "",
                  *label_lines(labels), ""]  # fmt: skip
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
    ours = ["plausibility (ours)", "cleanlab, best way", "margin (ours)", "self confidence (ours)"]
    doubted = ["doubted: precision, recall (ours)", "(cleanlab)", "right label suggested", "reached"]
    head = ["set", "rows", "labels", "flipped", "accuracy", *ours, *doubted]
    lines = header(head)
    for name, runs in by_set(records).items():
        results = [one["result"] for one in runs]
        told = [r for r in results if "cleanlab" in r]
        best = spread(told, peer_best, percent=False) if told else "not asked"
        doubted = [f"{spread(results, lambda r: r['doubted']['precision'])}, "
                   f"{spread(results, lambda r: r['doubted']['recall'])}"]  # fmt: skip
        doubted.append(f"{spread(told, lambda r: r['cleanlab']['doubted']['precision'])}, "
                       f"{spread(told, lambda r: r['cleanlab']['doubted']['recall'])}" if told else "")  # fmt: skip
        ways = [spread(results, lambda r, w=way: r["average_precision"][w], percent=False)
                for way in ("plausibility", "margin", "self_confidence")]  # fmt: skip
        good = told and all(r["average_precision"]["plausibility"] >= peer_best(r) for r in told)
        lines.append("| " + " | ".join([
            name, f"{results[0]['rows']:,}", str(results[0]["labels"]), f"{results[0]['flipped']:,}",
            spread(results, lambda r: r["accuracy"]), ways[0], best, ways[1], ways[2], *doubted,
            spread(results, lambda r: r["suggestions_right"]), "yes" if good else "**no**" if told else "",
        ]) + " |")  # fmt: skip
    return lines


def peer_best(result: Record) -> float:
    """The average precision of cleanlab's best way, chosen with the answer in hand."""
    return float(max(result["cleanlab"]["average_precision"].values()))


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
