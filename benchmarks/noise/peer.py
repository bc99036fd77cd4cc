"""cleanlab's ranking of the same rows by the same probabilities; runs in a virtual environment of its own.

`PYTHON peer.py IN.npz OUT.json`: `given` (N,) and `probabilities` (N, C) in, each way's quality scores (N,) out.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


def main(source: str, target: str) -> None:
    """Score the rows in every way that cleanlab has; the last way needs probabilities of no class that are 0."""
    with np.load(source) as file:
        given, probabilities = file["given"], file["probabilities"]
    scores = {}
    for method in METHODS:
        for adjusted in (False, True) if method != "confidence_weighted_entropy" else (False,):
            found = get_label_quality_scores(given, probabilities, method=method, adjust_pred_probs=adjusted)
            scores[method + (", adjusted" if adjusted else "")] = found.tolist()
    issues = find_label_issues(given, probabilities, n_jobs=1)
    told = {"version": version("cleanlab"), "scores": scores, "issues": np.flatnonzero(issues).tolist()}
    with open(target, "w", encoding="utf-8") as file:
        json.dump(told, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
