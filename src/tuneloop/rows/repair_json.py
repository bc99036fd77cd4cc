"""Lines that are no JSON: mended where their content is whole, told as incomplete where they are cut off.

    {'text': 'a', 'label': 'x'}  ->  Row                          {"text": "a", "label": "x"  ->  Row
    {"text": "half of a ques     ->  Dropped "incomplete: cut off in 'text'", the line kept whole

Never touched: lines that parse. Never guessed: the rest of a value that is cut off. A label is the exception that
proves itself: where what stands of it is the label of other rows and the beginning of no other, only its quote is gone.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Collection, Sequence
from typing import Any, SupportsIndex

from tuneloop.records import BadRow, Dropped, Repair, Row, row_json
from tuneloop.rows.cut_off import End, end_of
from tuneloop.rows.files import JSON_LINE
from tuneloop.rows.stage import Change, Item, Known

STAGE = "repair_json"
REPAIR_LIMIT = 200_000
"""Characters of a broken line beyond which no repair is tried."""
LOOKS, LOOKS_EACH = 100_000, 20
"""How often json_repair may look at a sign of a line, and how often more for each sign: real lines need 2 to 4 a sign,
but there are lines of 120,000 signs on which it takes hours (`{'{'{'...`)."""
_CONTEXT = ("system", "history", "input")
"""Columns of ours that belong to the question: where a cut may have taken one, the row is not whole."""


def repair_json(items: Sequence[Item], known: Known) -> tuple[list[Item], list[Repair]]:
    """Mend lines that are no JSON; those that are cut off inside the row's content are dropped as incomplete.

    A line that is mended and lacks a column, say, is a bad row still, which a later stage may mend. Where a cut took a
    column that the row can do without, the row is kept, and a repair of that column, with nothing after it, says so.
    """
    done = list(items)
    repairs: list[Repair] = []
    for place, bad in enumerate(items):
        if isinstance(bad, BadRow) and bad.expected == JSON_LINE:
            done[place], changes = _mended(bad, _end(bad.raw), known)
            after = done[place]
            name = after.id if isinstance(after, Row) else ""
            repairs += [Repair(name, bad.source, STAGE, *change) for change in changes]
    return done, repairs


def whole_columns(line: str) -> dict[str, Any]:
    """The columns of a line that stand before its cut, all whole; {} where none is.

    Args:
        line: A line that is cut off.
    """
    line = line.strip()
    found = _guess(line[: end_of(line).whole] + "}")
    return found if isinstance(found, dict) else {}


def _end(raw: str) -> End:
    """How a line ends; one that is too long, or no object, is not looked at."""
    if len(raw) > REPAIR_LIMIT or not raw.lstrip().startswith("{"):
        return End(open=False, depth=0, whole=0)
    return end_of(raw)


def _mended(bad: BadRow, end: End, known: Known) -> tuple[Item, list[Change]]:
    """What becomes of a line, and (field, before, after) of what was done to it."""

    def dropped(reason: str) -> tuple[Item, list[Change]]:
        return Dropped(bad.source, STAGE, reason, bad.raw), []

    if len(bad.raw) > REPAIR_LIMIT:
        return dropped(f"broken JSON, too long to repair (over {REPAIR_LIMIT:,} characters)")
    if _several(bad.raw):  # a repair would keep one of them and lose the others
        return dropped("several objects on one line")
    if end.cut:
        return _cut(bad, known)
    record = _guess(bad.raw)
    if isinstance(record, list) and len(record) == 1:
        record = record[0]
    if not isinstance(record, dict) or not record:
        return dropped("broken JSON that cannot be repaired")
    found = known.parse(record, bad.source)
    if isinstance(found, Row):
        found = found.through(STAGE)
        return found, [("", bad.raw, row_json(found))]
    return found, [("", bad.raw, found.raw)]


def _cut(bad: BadRow, known: Known) -> tuple[Item, list[Change]]:
    """A row that is whole without what the cut took, or an incomplete one."""
    whole, guessed = whole_columns(bad.raw), _guess(bad.raw)
    every: dict[str, Any] = guessed if isinstance(guessed, dict) else {}
    lost = [key for key in every if key not in whole]
    without = known.parse(whole, bad.source) if whole else None
    row = known.parse(every, bad.source) if every else None
    columns = known.parse.columns
    context = all(columns[name] in whole for name in _CONTEXT if name in columns)
    if isinstance(row, Row) and isinstance(without, Row) and _same_content(row, without) and context:
        row = without.through(STAGE)
        gone = [(key, str(every[key]), "") for key in lost]
        return row, [("", bad.raw, row_json(row)), *gone]
    if isinstance(row, Row) and lost == [columns.get("label")] and context and _is_whole(row.label, known.labels):
        row = row.through(STAGE)
        return row, [("", bad.raw, row_json(row))]
    where = f"in {lost[-1]!r}" if lost else f"behind {next(reversed(whole))!r}" if whole else "before its first value"
    left = f"; whole: {', '.join(whole)}" if whole and lost else ""
    return Dropped(bad.source, STAGE, f"incomplete: cut off {where}{left}", bad.raw), []


def _is_whole(label: Any, labels: Collection[str]) -> bool:
    """Whether what stands of a label is all of it: other rows have it, and it is the beginning of no other label."""
    return label in labels and not any(other != label and other.startswith(label) for other in labels)


def _several(raw: str) -> bool:
    """Whether a line is a whole JSON object with another one behind it."""
    try:
        _, end = json.JSONDecoder().raw_decode(raw.lstrip())
    except (ValueError, RecursionError):
        return False
    return raw.lstrip()[end:].lstrip(" ,;\t").startswith("{")


def _same_content(one: Row, other: Row) -> bool:
    return one.id == other.id and (one.time, one.weight) == (other.time, other.weight)


# -- reading a broken line --------------------------------------------------------------------------------------


def _guess(raw: str) -> Any:
    """What a broken line says: as Python's print of a dict, as JSON with a stray backslash, or as json_repair reads it.

    None where there is no reading.
    """
    import json_repair

    found = _python_dict(raw)
    if found is not None:
        return found
    raw = without_stray_backslash(raw)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        pass
    try:
        return json_repair.repair_json(_Metered(raw), return_objects=True, skip_json_loads=True)
    except Exception:  # it guesses at hostile input, and fails in many ways (RecursionError among them)
        return None


class _Tangled(Exception):
    """A reader went over a line again and again."""


class _Metered(str):
    """A line that counts how often a reader looks at one of its signs, and stops one that never ends: by count and not
    by the clock, so that the same line has the same fate on every machine."""

    looks = 0

    def __getitem__(self, place: SupportsIndex | slice) -> str:
        self.looks += 1
        if self.looks > LOOKS + LOOKS_EACH * len(self):
            raise _Tangled
        return super().__getitem__(place)


_PYTHON = re.compile(r"\s*\{\s*'")
_TWIN_QUOTES = re.compile(r"(?<![\s:,\[{(\\'])''|''(?![\s,:}\])'])")
"""An apostrophe that is doubled, as SQL does; Python would take two texts for one and lose it."""


def _python_dict(raw: str) -> dict[str, Any] | None:
    """A line that is what Python prints of a dict; None for any other."""
    if not _PYTHON.match(raw) or _TWIN_QUOTES.search(raw):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of a backslash before an ordinary letter
            found = ast.literal_eval(raw.strip())
        if isinstance(found, dict) and all(isinstance(key, str) for key in found):
            return dict(json.loads(json.dumps(found, allow_nan=False)))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    return None


_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
_KNOWN_ESCAPES = "\"'\\/bfnrtu"
_LATEX = re.compile(
    r"\\(?:alpha|gamma|delta|epsilon|lambda|sigma|phi|psi|omega|Gamma|Delta|Sigma|Omega|sqrt|cdot|ldots|leq|geq|infty"
    r"|mathbb|mathrm|mathbf|overline|approx|equiv|dfrac|cfrac|circ|quad|boxed|usepackage)(?![A-Za-z])"
    r"|\\(?:mu|pi|sum|int|prod|dots|left|right|le|ge|pm|in|cup|cap|subset|hat|vec|angle|log|ln|sin|cos|lim|section|item"
    r"|cite|emph|label)(?=[{_^(\[|])|\\[dwsDWS](?=[+*?{)\]])"
)
"""Commands that are no words, and those that are, in front of what only a command takes."""
_DRIVE = re.compile(r"(?<![A-Za-z])[A-Za-z]:(?:[\\/][^\"]*)?$")


def without_stray_backslash(line: str) -> str:
    r"""The line without the one backslash in it that stands before an ordinary letter.

    A backslash is content where there are several of them, or where it begins a LaTeX command, a sign class of a
    regular expression or part of a path: `\alpha`, `\d+`, `C:\docs`.

    Args:
        line: One that is no JSON.
    """
    unknown = [found for found in _ESCAPE.finditer(line) if found[0][1] not in _KNOWN_ESCAPES]
    if len(unknown) != 1 or not unknown[0][0][1].isalpha():
        return line
    at = unknown[0].start()
    if _LATEX.match(line, at) or _DRIVE.search(line, 0, at):
        return line
    return line[:at] + line[at + 1 :]
