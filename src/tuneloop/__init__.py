"""tuneloop: from raw domain rows to a tuned, scored DeepSeek R1, from one recipe.

The public functions are loaded on first use, so that `import tuneloop` stays instant and
brings in no torch. The command line is a thin door to the same functions.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuneloop.flow import clean, compare, evaluate, predict, run, tune
    from tuneloop.recipe import load_recipe
    from tuneloop.release.merge import merge
    from tuneloop.review.queue import open_queue

__version__ = "0.1.0"

_PUBLIC = {
    "clean": "tuneloop.flow",
    "compare": "tuneloop.flow",
    "evaluate": "tuneloop.flow",
    "load_recipe": "tuneloop.recipe",
    "merge": "tuneloop.release.merge",
    "open_queue": "tuneloop.review.queue",
    "predict": "tuneloop.flow",
    "run": "tuneloop.flow",
    "tune": "tuneloop.flow",
}

__all__ = [
    "__version__", "clean", "compare", "evaluate", "load_recipe", "merge", "open_queue", "predict", "run", "tune",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public function on first use (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tuneloop' has no attribute {name!r}")
    value = vars(import_module(_PUBLIC[name]))[name]
    globals()[name] = value
    return value
