"""As much of JSON Schema (draft 2020-12) as a recipe's schema uses; any other keyword is an error."""

from __future__ import annotations

import re
from typing import Any

KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "object": (dict,),
    "array": (list,), "null": (type(None),),
}  # fmt: skip
SAID = {"title", "description", "default", "$defs", "$schema"}


def faults(schema: dict[str, Any], value: Any, root: dict[str, Any] | None = None, place: str = "") -> list[str]:
    """What is wrong with `value`, one line a fault; [] where it is valid."""
    root = root if root is not None else schema
    found: list[str] = []
    for key, rule in schema.items():
        if key in SAID:
            continue
        inner = INNER.get(key)
        if inner is not None:
            found += inner(rule, value, schema, root, place)
        elif not SIMPLE[key](rule, value):
            found.append(f"{place}: {value!r} breaks {key}: {rule!r}")
    return found


def _is_kind(rule: str, value: Any) -> bool:
    if isinstance(value, bool) and rule != "boolean":
        return False
    return isinstance(value, KINDS[rule])


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


SIMPLE: dict[str, Any] = {
    "type": _is_kind,
    "const": lambda rule, value: value == rule and type(value) is type(rule),
    "enum": lambda rule, value: value in rule,
    "minimum": lambda rule, value: not _number(value) or value >= rule,
    "maximum": lambda rule, value: not _number(value) or value <= rule,
    "exclusiveMinimum": lambda rule, value: not _number(value) or value > rule,
    "exclusiveMaximum": lambda rule, value: not _number(value) or value < rule,
    "minLength": lambda rule, value: not isinstance(value, str) or len(value) >= rule,
    "pattern": lambda rule, value: not isinstance(value, str) or re.search(rule, value) is not None,
    "required": lambda rule, value: not isinstance(value, dict) or set(rule) <= set(value),
}


def _reference(rule: str, value: Any, _: Any, root: dict[str, Any], place: str) -> list[str]:
    assert rule.startswith("#/$defs/"), rule
    return faults(root["$defs"][rule.removeprefix("#/$defs/")], value, root, place)


def _any_of(rule: list[Any], value: Any, _: Any, root: dict[str, Any], place: str) -> list[str]:
    tried = [faults(one, value, root, place) for one in rule]
    return [] if [] in tried else min(tried, key=len)


def _properties(rule: dict[str, Any], value: Any, _: Any, root: dict[str, Any], place: str) -> list[str]:
    held = value if isinstance(value, dict) else {}
    return [fault for key in rule if key in held for fault in faults(rule[key], held[key], root, f"{place}.{key}")]


def _others(rule: Any, value: Any, schema: dict[str, Any], root: dict[str, Any], place: str) -> list[str]:
    others = [key for key in value if key not in schema.get("properties", {})] if isinstance(value, dict) else []
    if rule is False:
        return [f"{place}.{key}: unknown" for key in others]
    return [fault for key in others for fault in faults(rule, value[key], root, f"{place}.{key}")]


def _items(rule: dict[str, Any], value: Any, _: Any, root: dict[str, Any], place: str) -> list[str]:
    items = value if isinstance(value, list) else []
    return [fault for n, item in enumerate(items) for fault in faults(rule, item, root, f"{place}[{n}]")]


INNER: dict[str, Any] = {
    "$ref": _reference, "anyOf": _any_of, "properties": _properties, "additionalProperties": _others, "items": _items,
}  # fmt: skip
