"""How a broken JSON line ends: whole, or cut off in the middle; then what stands before the cut is whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LITERALS = {"true", "false", "null", "True", "False", "None"}
_BEHIND_A_STRING = re.compile(r"\s*([,:}\]]|$|/\*)")


@dataclass(frozen=True, slots=True)
class End:
    """Where a line stands at its end.

    Attributes:
        open: A string, or a bare word or number, is still open: its text is not whole, and must not be trained on.
        depth: Brackets that are still open.
        whole: Characters up to which all members of the outer object are whole; 0 for none.
    """

    open: bool
    depth: int
    whole: int

    @property
    def cut(self) -> bool:
        """Whether something is missing behind the end."""
        return self.open or self.depth > 0


def open_at_end(line: str) -> bool:
    """Whether a string, or a bare word or number, is still open where the line ends."""
    return end_of(line).open


def end_of(line: str) -> End:
    """Read a line that is no valid JSON as a person would, and tell how it ends.

    A quote ends a string only where a comma, a colon, a closing bracket or the end of the line follows, so that quotes
    inside a text do not mislead; comments are skipped.

    Args:
        line: Without white space around it, for `whole` to be a place in it.
    """
    line = line.strip()
    at, quote, bare, depth, whole, valued = 0, "", "", 0, 0, False
    while at < len(line):
        sign = line[at]
        if quote:
            if sign == "\\":
                at += 1
            elif sign == quote and _BEHIND_A_STRING.match(line, at + 1):
                quote, bare = "", ""
                whole = at + 1 if depth == 1 and valued else whole
        elif line.startswith("/*", at):
            end = line.find("*/", at)
            at = len(line) if end < 0 else end + 1
        elif sign in "\"'" and not bare.strip():
            quote = sign
        elif sign in ",:{}[]":
            whole = at if depth == 1 and valued and bare.strip() else whole
            depth += (sign in "{[") - (sign in "}]")
            whole = at + 1 if sign in "}]" and depth == 1 and valued else whole
            if depth == 1 and sign in ",:":
                valued = sign == ":"
            bare = ""
        else:
            bare += sign
        at += 1
    is_open = bool(quote) or (bool(bare.strip()) and bare.strip() not in _LITERALS)
    if bare.strip() and not is_open and depth == 1 and valued:
        whole = len(line)
    return End(is_open, depth, whole)
