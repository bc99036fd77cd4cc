"""One figure on one set and seed: plant, score, and compare with the list of what was planted."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dirt.plant import Dirty, Rates, dirty_set
from tuneloop.errors import RunError
from tuneloop.rows.label_errors import estimate_errors, margin, plausibility, suspicious
from tuneloop.rows.out_of_fold import out_of_fold
from tuneloop.rows.outliers import AT_END, noise_scores

Result = dict[str, Any]
BINS = 20
PEER = Path(__file__).with_name("peer.py")


def noise(name: str, seed: int, rows: int | None, peer: Path | None) -> Result:
    """How much of the noise, and of the clean rows, scores under 0.3.

    Args:
        name: The set.
        seed: Of the dirt.
        rows: How many rows of the set; None is all.
        peer: Not used: nothing of cleanlab's scores single rows without labels.
    """
    dirty = dirty_set(name, seed=seed, rates=Rates().only("noise"), rows=rows)[1]
    texts = [record["text"] for record in records(dirty)]
    planted = {one.line - 1: one.how for one in dirty.planted}
    scores = noise_scores(texts).score
    bad = np.array([place in planted for place in range(len(texts))])
    under = scores < AT_END
    kinds: dict[str, list[bool]] = {}
    for place, how in planted.items():
        kinds.setdefault(how.partition("/")[0], []).append(bool(under[place]))
        kinds.setdefault(how, []).append(bool(under[place]))
    edges = np.linspace(0, 1, BINS + 1)
    return {
        "rows": len(texts), "noise": int(bad.sum()), "noise_under": float(under[bad].mean()),
        "clean_under": float(under[~bad].mean()), "auc": area(scores, bad),
        "kinds": {
            kind: {"rows": len(found), "under": sum(found) / len(found)} for kind, found in sorted(kinds.items())
        },
        "histogram": {"noise": np.histogram(scores[bad], edges)[0].tolist(),
                      "clean": np.histogram(scores[~bad], edges)[0].tolist()},
        "missed": [texts[place] for place in sorted(planted) if not under[place]][:10] if name == "made_up" else [],
    }  # fmt: skip


def labels(name: str, seed: int, rows: int | None, peer: Path | None) -> Result:
    """How well the flipped labels are ranked, by ours and by cleanlab's.

    Args:
        name: The set.
        seed: Of the dirt and of the folds.
        rows: How many rows of the set; None is all.
        peer: The Python of a virtual environment with cleanlab; None leaves it out.
    """
    dirty = dirty_set(name, seed=seed, rates=Rates().only("flipped"), rows=rows)[1]
    rows_in = records(dirty)
    bad = np.zeros(len(rows_in), bool)
    bad[[one.line - 1 for one in dirty.planted]] = True
    judged = out_of_fold([row["text"] for row in rows_in], [row["label"] for row in rows_in], seed=seed)
    worth, likely = plausibility(judged)
    doubted = suspicious(judged, estimate_errors(judged))
    right = [judged.labels[likely[one.line - 1]] == one.before["label"] for one in dirty.planted if one.before]
    found: Result = {
        "rows": len(rows_in), "flipped": int(bad.sum()), "labels": len(judged.labels),
        "accuracy": float((judged.classifier.argmax(axis=1) == judged.given).mean()),
        "average_precision": {
            "plausibility": precision(worth, bad),
            "margin, pooled": precision(margin(judged.given, judged.pooled), bad),
            "self_confidence": precision(judged.classifier[np.arange(len(bad)), judged.given], bad),
            "margin": precision(margin(judged.given, judged.classifier), bad),
        },
        "doubted": doubts(doubted, bad), "suggestions_right": float(np.mean(right)),
    }  # fmt: skip
    if peer is not None:
        found["cleanlab"] = {}
        for name, shares in (("classifier", judged.classifier), ("pooled", judged.pooled)):
            told = cleanlab(peer, judged.given, shares)
            ways = {way: precision(np.array(scores), bad) for way, scores in told["scores"].items()}
            issues = np.zeros(len(bad), bool)
            issues[told["issues"]] = True
            found["cleanlab"]["version"] = told["version"]
            found["cleanlab"][name] = {"average_precision": ways, "doubted": doubts(issues, bad)}
    return found


def sent(name: str, seed: int, rows: int | None, peer: Path | None) -> Result:
    """How many rows the label stage sends to review: of the set as it is, and with a twentieth of the labels flipped.

    Args:
        name: The set.
        seed: Of the flips and of the folds.
        rows: How many rows of the set; None is all.
        peer: Not used.
    """
    found: Result = {}
    for kind, rate in (("as it is", 0.0), ("flipped", Rates().flipped)):
        dirty = dirty_set(name, seed=seed, rates=Rates(flipped=rate).only("flipped"), rows=rows)[1]
        rows_in = records(dirty)
        bad = np.zeros(len(rows_in), bool)
        bad[[one.line - 1 for one in dirty.planted]] = True
        judged = out_of_fold([row["text"] for row in rows_in], [row["label"] for row in rows_in], seed=seed)
        errors = estimate_errors(judged)
        doubted = suspicious(judged, errors)
        found[kind] = {
            "rows": len(rows_in), "labels": len(judged.labels), "flipped": int(bad.sum()),
            "right": float((judged.pooled.argmax(axis=1) == judged.given).mean()), "share": errors.share,
            "said_to_be_found": errors.found, "own_sent": float(doubted[~bad].mean()),
            "found": float(doubted[bad].mean()) if bad.any() else None,
        }  # fmt: skip
    return found


FIGURES: dict[str, tuple[Callable[[str, int, int | None, Path | None], Result], tuple[str, ...]]] = {
    "noise": (noise, ("banking77", "medquad_nih", "smp2019_nlu")),
    "labels": (labels, ("banking77", "snips", "smp2019_nlu")),
    "sent": (sent, ("banking77", "customer_service", "snips", "smp2019_nlu")),
}
"""Figure -> how it is measured, and the sets that it is reported on."""


def records(dirty: Dirty) -> list[dict[str, str]]:
    """The dirty rows; only for dirt that breaks no line."""
    return [json.loads(line) for line in dirty.lines]


def cleanlab(python: Path, given: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """What cleanlab says in its own environment.

    Args:
        python: Its Python.
        given: (N,) labels as numbers.
        probabilities: (N, C) out of fold.

    Raises:
        RunError: if it fails.
    """
    with tempfile.TemporaryDirectory(prefix="cleanlab-") as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.json"
        np.savez(source, given=given, probabilities=probabilities)
        done = subprocess.run([python, PEER, source, target], capture_output=True, text=True)
        if done.returncode:
            raise RunError(
                "cleanlab did not score the rows", got=(done.stderr.strip() or "nothing").splitlines()[-1],
                fix="--cleanlab takes the Python of a virtual environment where `pip install cleanlab` was run",
            )  # fmt: skip
        return dict(json.loads(target.read_text(encoding="utf-8")))


def precision(worth: np.ndarray, bad: np.ndarray) -> float:
    """Average precision of finding the `bad` rows by their low `worth`."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(bad, -worth))


def area(worth: np.ndarray, bad: np.ndarray) -> float:
    """Area under the ROC curve of finding the `bad` rows by their low `worth`."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(bad, -worth))


def doubts(doubted: np.ndarray, bad: np.ndarray) -> dict[str, float]:
    """How many rows are doubted, how many of these are bad, and how many of the bad ones are doubted."""
    both = float((doubted & bad).sum())
    return {"rows": int(doubted.sum()), "precision": both / max(1, doubted.sum()), "recall": both / max(1, bad.sum())}
