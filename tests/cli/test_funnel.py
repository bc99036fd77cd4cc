"""The funnel in the terminal: every number, in 80 columns, plain where nobody looks at it."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from tuneloop.cli import show
from tuneloop.cli.funnel import BAR, REASONS, funnel_table
from tuneloop.errors import DataError
from tuneloop.runs import RunFolder

LONG = "read: messages.3.content: expected text, or a list of parts each of which is an object with a type"
REPORT: dict[str, Any] = {
    "format": "text + label", "repairs": {"repair_json": 16, "repair_encoding": 15},
    "waiting": {"outliers": 20, "near_duplicates": 4},
    "counts": {
        "train": {
            "in": 12_345, "repaired": 31, "dropped": {"near_duplicates": 6000, "exact_duplicates": 24, LONG: 1},
            "to review": 22, "kept": 6298,
        },
        "validation": {"in": 80, "repaired": 0, "dropped": {}, "kept": 80},
        "test": {"in": 280, "repaired": 0, "dropped": {"read: text is empty": 2}, "kept": 278},
    },
}  # fmt: skip


def printed(report: dict[str, Any], *, terminal: bool, width: int = 80) -> str:
    """The table as it comes out."""
    file = io.StringIO()
    out = Console(
        file=file, width=width, soft_wrap=True, highlight=False, force_terminal=terminal, no_color=False,
        color_system="standard" if terminal else None, _environ={},
    )  # fmt: skip
    out.print(funnel_table(report, bars=out.is_terminal))
    return file.getvalue()


def plain(text: str) -> list[str]:
    return [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()]


@pytest.mark.parametrize("terminal", [False, True])
def test_every_number_stands_in_80_columns(terminal: bool):
    lines = plain(printed(REPORT, terminal=terminal))
    assert max(map(len, lines)) <= 80
    figures = [found for line in lines if (found := re.match(r"(\S+| {2}\S.*?) +([\d,]+)(?: |$)", line))]
    told = [(found[1].strip(), found[2]) for found in figures]
    whole = [
        ("train", "12,345"), ("repaired", "31"), ("- near_duplicates", "6,000"), ("- exact_duplicates", "24"),
        ("- read: messages.3.content:", "1"), ("- to review", "22"), ("kept", "6,298"), ("validation", "80"),
        ("kept", "80"), ("test", "280"), ("- read: text is empty", "2"), ("kept", "278"),
    ]  # fmt: skip
    assert told == whole
    assert len({found.end(2) for found in figures}) == 1, "the numbers end in one column"
    assert "".join(" ".join(lines).split()).count("outliers20,near_duplicates4") == 1
    assert LONG.replace(" ", "") in "".join("".join(line[:40].split()) for line in lines), "nothing is cut"


def test_a_pipe_gets_neither_colour_nor_bars():
    text = printed(REPORT, terminal=False)
    assert "\x1b" not in text and "█" not in text
    assert text.isascii()


def test_a_bar_is_as_long_as_its_share_and_one_row_is_seen():
    lines = plain(printed(REPORT, terminal=True))
    bars = {line.split()[1]: len(re.findall("[█▏▎▍▌▋▊▉]", line)) for line in lines if line.startswith("  - ")}
    assert bars["near_duplicates"] == round(BAR * 6000 / 12_345)
    assert bars["exact_duplicates"] == bars["read:"] == 1
    assert "\x1b[31m" in printed(REPORT, terminal=True)


def test_many_reasons_are_counted():
    dropped = {f"read: reason {n}": 2 for n in range(REASONS + 5)}
    side = {"in": 100, "repaired": 0, "dropped": dropped, "kept": 100 - 2 * len(dropped), "to review": 0}
    lines = plain(printed({"counts": {"train": side}, "repairs": {}, "waiting": {}}, terminal=False))
    assert re.fullmatch(r"  - 5 more reasons +10", lines[-2])
    assert len(lines) == REASONS + 3


def test_what_a_user_wrote_is_no_markup():
    side = {
        "in": 2,
        "repaired": 0,
        "dropped": {"read: [red]x[/red]\x1b]0;\x07 is missing": 1},
        "kept": 1,
        "to review": 0,
    }
    assert "[red]x[/red]�]0;� is missing" in printed({"counts": {"train": side}, "repairs": {}}, terminal=True)


def test_a_report_that_does_not_add_up_is_not_printed(tmp_path, monkeypatch: pytest.MonkeyPatch):
    file = io.StringIO()
    monkeypatch.setattr(show, "out", Console(file=file, width=80))
    broken = REPORT | {"counts": REPORT["counts"] | {"test": {"in": 9, "repaired": 0, "dropped": {}, "kept": 8}}}
    with pytest.raises(DataError, match=r"test rows do not add up.*9 in, but 8 kept"):
        show.print_data_report(RunFolder(tmp_path), broken)
    assert file.getvalue() == ""


def test_the_report_ends_with_where_its_page_is(tmp_path, monkeypatch: pytest.MonkeyPatch):
    file, run = io.StringIO(), RunFolder(tmp_path / "r")
    monkeypatch.setattr(show, "out", Console(file=file, width=80, soft_wrap=True))
    show.print_data_report(run, REPORT)
    assert "report  " not in file.getvalue()
    run.data.mkdir(parents=True)
    run.data_page.write_text("<!doctype html>")
    show.print_data_report(run, REPORT)
    assert file.getvalue().splitlines()[-1] == f"report  {run.data_page.resolve().as_uri()}"
    assert "review  22 rows wait for a person: tuneloop review r" in file.getvalue()


def test_bad_rows_are_listed_and_the_others_counted(tmp_path, monkeypatch: pytest.MonkeyPatch):
    file, run = io.StringIO(), RunFolder(tmp_path / "r")
    monkeypatch.setattr(show, "out", Console(file=file, width=80, soft_wrap=True))
    bad = {"bad": [f"train: a.jsonl:{n}: got [b]" for n in range(20)], "bad_rows": 37, "mended_rows": 4}
    show.print_data_report(run, REPORT | bad)
    lines = file.getvalue().splitlines()
    start = lines.index("bad     37 rows cannot be read, 4 more were mended")
    assert lines[start + 1 : start + 11] == bad["bad"][:10]
    assert lines[start + 11] == f"and 27 more, which {run.data / 'dropped.parquet'} holds"
    show.print_data_report(run, REPORT | {"bad": bad["bad"][:1], "bad_rows": 1, "mended_rows": 0})
    assert file.getvalue().count("bad     1 row cannot be read\n") == 1 and file.getvalue().count("more, which") == 1
