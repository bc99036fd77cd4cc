"""Texts in a wrong encoding, and control characters: `cafÃ©` -> `café`. A clean text is never touched."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tuneloop.records import Doubt, Repair, Row
from tuneloop.rows.mojibake import LOST, is_lost, may_be_gbk, reread
from tuneloop.rows.stage import Item, Known, mend_texts

STAGE = "repair_encoding"
LOST_SIGNS = "lost_signs"
"""The stage of the doubts."""

_SUSPECT = re.compile(
    r"[^\t\n\r\x20-\x7e\u2010-\u2027\u2030-\u205e\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
    r"\U0001f300-\U0001faff\U00020000-\U0003ffff]"
)
"""A broken text has one of these: ASCII, curly quotes, CJK and emoji alone are no mojibake. It spares ftfy's time."""


def repair_encoding(items: Sequence[Item], known: Known) -> tuple[list[Item], list[Repair]]:
    """Mend mojibake and take out control characters, in every text of a row, its other columns too.

    A label is mended only into one that other rows have: else the fault is the label's very name, in test rows too.
    """
    done, repairs = mend_texts(items, STAGE, lambda text, kind: mended_text(text))
    for place, item in enumerate(done):
        if isinstance(item, Row) and isinstance(item.label, str) and known.labels[mended_text(item.label)]:
            label = mended_text(item.label)
            if label != item.label:
                done[place] = row = item.through(STAGE, label=label)
                repairs.append(Repair(row.id, row.source, STAGE, "label", item.label, label))
    return done, repairs


def mended_text(text: str) -> str:
    """A text without mojibake and control characters; the same object if it has neither.

    Only what is broken changes: curly quotes, ligatures, full-width signs, line ends, HTML entities and the Unicode
    form stay as they are.
    """
    found = reread(text)  # before ftfy, which takes GBK for UTF-8 here and there, and nothing brings that back
    if found != text and LOST in found:
        return text
    text = found
    if not _SUSPECT.search(text):
        return text
    import ftfy

    return ftfy.fix_text(
        text, unescape_html=False, fix_latin_ligatures=False, fix_character_width=False, uncurl_quotes=False,
        fix_line_breaks=False, normalization=None, fix_encoding=not may_be_gbk(text),
    )  # fmt: skip


def lost_doubts(rows: Sequence[Row]) -> list[Doubt]:
    """Rows of which a wrong encoding took signs that nothing brings back. The score is 0.

    Args:
        rows: Any rows, their encoding mended.
    """
    found = []
    for row in rows:
        if any(map(is_lost, row.texts)):
            reason = "a wrong encoding took signs that cannot be brought back: write what stood there, or drop the row"
            found.append(Doubt(row.id, row.source, LOST_SIGNS, reason, 0.0))
    return found
