"""What the processes of one training saw, each of its own documents, as one result. The standard library is enough."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

SUMMED = ("masked_in", "label_tokens", "positions", "weight")
Result = dict[str, Any]


def merged(results: Sequence[Result]) -> Result:
    """One result of several ranks: their documents side by side, their memory added, the first one's clock.

    All ranks wait for each other in every step, so that any clock is everyone's. The memory that they share, such as
    the pages of libraries, is counted for each.

    Args:
        results: As Watch.result gives them, of one length, rank 0 first.

    Raises:
        ValueError: if they are not of one length.
    """
    first = results[0]
    if len({len(one["documents"]) for one in results}) > 1:
        raise ValueError(f"ranks did {[len(one['documents']) for one in results]} steps")
    whole = dict(first)
    for name in SUMMED:
        whole[name] = [sum(step) for step in zip(*(one[name] for one in results), strict=True)]
    whole["documents"] = [
        list(chain.from_iterable(step)) for step in zip(*(one["documents"] for one in results), strict=True)
    ]
    # DDP averages gradients, so a rank's loss is its share times the number of ranks.
    shares = zip(*(one["loss"] for one in results), strict=True)
    whole["loss"] = [sum(step) / len(results) for step in shares]
    for name in ("peak_mb", "import_mb", "threads", "cores"):
        whole[name] = sum(one[name] for one in results)
    leaks = [one["leak"] for one in results if one["leak"] is not None]
    whole["leak"] = max(leaks) if leaks else None
    whole["dtypes"] = sorted({dtype for one in results for dtype in one["dtypes"]})
    whole["others"] = round(max(0.0, first["others"] - sum(one["cores"] for one in results[1:])), 3)
    return whole
