"""Whether the demo keeps its promise: a tuned model worth having, for few tokens, in little memory.

    python scripts/check_demo.py [runs/customer_service]

- The tuned model's accuracy is at least 0.3 above the untuned one's, on the same rows, the interval above 0.
- It is not below the floor: neither the figure nor the paired comparison says so.
- Training took at most 40,000 tokens; no step of it, and no model that was scored, reached 6 GB.

Exit status 1 and one paragraph where any of these is not so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RUN = Path("runs/customer_service")
GAIN, TOKENS, MEMORY_MB = 0.3, 40_000, 6144


def paired(scores: dict[str, Any], rival: str) -> dict[str, Any]:
    """The tuned model's paired difference of accuracy to a rival.

    Raises:
        ValueError: if the two were not compared.
    """
    for gap in scores["comparisons"]:
        if (gap["a"], gap["b"], gap["metric"]) == ("tuned", rival, "accuracy"):
            return dict(gap)
    why = scores.get("absent", {}).get(rival, "no comparison of accuracy in scores.json")
    raise ValueError(f"the tuned model is not compared with the {rival}: {why}")


def gained(scores: dict[str, Any], manifest: dict[str, Any]) -> Iterator[str]:
    """Tuning brought enough."""
    gap = paired(scores, "untuned")
    if gap["difference"] < GAIN or gap["low"] <= 0:
        yield (
            f"accuracy of tuned - untuned is {gap['difference']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}], "
            f"wanted at least {GAIN:+} and an interval above 0"
        )


def above_floor(scores: dict[str, Any], manifest: dict[str, Any]) -> Iterator[str]:
    """The floor is no better."""
    gap = paired(scores, "floor")
    tuned, floor = (scores["models"][name]["metrics"]["accuracy"]["value"] for name in ("tuned", "floor"))
    if gap["verdict"] == "worse" or tuned < floor:
        yield f"accuracy is {tuned:.3f} and the floor's {floor:.3f} ({gap['verdict']}), wanted no less than the floor's"


def few_tokens(scores: dict[str, Any], manifest: dict[str, Any]) -> Iterator[str]:
    """Training stays within its budget of tokens."""
    tokens = manifest["stations"]["train"]["tokens"]
    if tokens > TOKENS:
        yield f"training processed {tokens:,} tokens, wanted at most {TOKENS:,}"


def little_memory(scores: dict[str, Any], manifest: dict[str, Any]) -> Iterator[str]:
    """No peak reaches the limit; one that could not be measured is absent and says nothing."""
    peaks = {"training": manifest["stations"]["train"]["peak_memory_mb"]}
    peaks |= {f"scoring {name}": entry.get("peak_memory_mb", 0.0) for name, entry in scores["models"].items()}
    for name, peak in peaks.items():
        if peak >= MEMORY_MB:
            yield f"{name} peaked at {peak:,.0f} MB, wanted less than {MEMORY_MB:,}"


def faults(run: Path) -> list[str]:
    """What the run in `run` falls short of, [] where it keeps the promise."""
    found: list[str] = []
    try:
        scores, manifest = (json.loads((run / name).read_text("utf-8")) for name in ("scores.json", "manifest.json"))
    except FileNotFoundError as missing:
        return [f"{missing.filename} is missing; `make demo` writes it"]
    for check in (gained, above_floor, few_tokens, little_memory):
        try:
            found += check(scores, manifest)
        except ValueError as error:
            found.append(str(error))
    return found


def main(run: Path) -> int:
    """Print what the demo came to, or how it falls short; 1 then."""
    found = faults(run)
    if found:
        print(f"The demo in {run} does not keep its promise: {'; '.join(found)}.", file=sys.stderr)
        return 1
    print(f"{run} keeps the promise of the demo")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else RUN))
