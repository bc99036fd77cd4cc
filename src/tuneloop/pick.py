"""Name -> function: the one door for built-in entries and installed plugins."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from tuneloop.errors import RecipeError


def pick(kind: str, builtin: Mapping[str, Callable[..., Any]], name: str, **options: Any) -> Callable[..., Any]:
    """Return `builtin[name]`, or the installed plugin `name` of group `tuneloop.<kind>`, with options bound.

    Raises:
        RecipeError: if nothing has that name, or it does not take these options.
    """
    found = builtin.get(name)
    if found is None:
        plugins = {point.name: point for point in entry_points(group=f"tuneloop.{kind}")}
        if name not in plugins:
            known = sorted({*builtin, *plugins})
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else ""
            raise RecipeError(f"Unknown {kind} {name!r}", allowed=", ".join(known), fix=hint)
        found = plugins[name].load()
    try:
        inspect.signature(found).bind_partial(**options)
    except TypeError as error:
        raise RecipeError(f"{kind} {name!r}: {error}") from None
    return functools.partial(found, **options) if options else found
