"""The checker of docstrings and lengths finds what it is for."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("house_rules", Path(__file__).parents[1] / "scripts" / "house_rules.py")
rules = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rules)

GOOD = '''"""A module."""

class Box:
    """A box.

    Args:
        size: How large, in metres
            (a second line: with a colon).
        *rest: More.
    """

    def __init__(self, size, *rest):
        ...

    def open(self, key, *, slowly=False, **options):
        """Open it.

        Args:
            key: Which.
            slowly: Or not.
            **options: Others.

        Returns:
            Nothing: at all.
        """

    def _inner(self): ...

class Row:
    """Fields.

    Attributes:
        id: One.
        text: Two.
    """

    id: str
    text: str = ""

def free(a, b):
    """No Args section, so nothing to compare."""
'''


def test_good_code_has_no_faults():
    assert rules.faults(GOOD, "f.py") == []


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ('"""A module."""', "", "the module has no docstring"),
        ('    """No Args section, so nothing to compare."""', "    pass", "f.py:40 free: no docstring"),
        ("key, *, slowly", "lock, *, slowly", "open: Args lists ['key', 'slowly', 'options'], the code has ['lock',"),
        ("            slowly: Or not.\n", "", "open: Args lists ['key', 'options']"),
        ("        size: How large", "        width: How large", "Box: Args lists ['width', 'rest'], the code has"),
        ("        text: Two.\n", "", "Row: Attributes lists ['id'], the code has ['id', 'text']"),
        ("def free(a, b):\n", "def free(a, b):\n" + "    a = b\n" * 60, "free: 62 lines, allowed 60"),
        ('"""A module."""', '"""A module."""' + "\n" * 500, "lines, allowed 500"),
    ],
)  # fmt: skip
def test_each_fault_is_found(before: str, after: str, says: str):
    assert before in GOOD
    found = rules.faults(GOOD.replace(before, after), "f.py")
    assert any(says in fault for fault in found), found
