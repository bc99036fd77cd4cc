"""Whether a broken JSON line ends in the middle of a value: then its text is not whole, and must not be trained on."""

from __future__ import annotations

import re

_LITERALS = {"true", "false", "null", "True", "False", "None"}


def open_at_end(line: str) -> bool:
    """Whether a string, or a bare word or number, is still open where the line ends.

    The line is no valid JSON, so this reads it as a person would: a quote ends a string only where a comma, a colon,
    a closing bracket or the end of the line follows, so that quotes inside a text do not mislead; comments are skipped.
    """
    line = line.strip()
    at, quote, bare = 0, "", ""
    while at < len(line):
        sign = line[at]
        if quote:
            if sign == "\\":
                at += 1
            elif sign == quote and re.compile(r"\s*([,:}\]]|$|/\*)").match(line, at + 1):
                quote, bare = "", ""
        elif line.startswith("/*", at):
            end = line.find("*/", at)
            at = len(line) if end < 0 else end + 1
        elif sign in "\"'" and not bare.strip():
            quote = sign
        elif sign in ",:{}[]":
            bare = ""
        else:
            bare += sign
        at += 1
    return bool(quote) or (bool(bare.strip()) and bare.strip() not in _LITERALS)
