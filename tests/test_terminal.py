"""Results on stdout, commentary on stderr, user text never read as markup."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tuneloop import terminal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("tuneloop.terminal.time.monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("text", ["rows: 5", "[/b] stands in the path", "[red]intent[/red]", "a" * 300])
def test_say_and_warn_print_the_text_as_it_is_to_stderr(text: str, capsys: pytest.CaptureFixture[str]):
    terminal.say(text)
    terminal.warn(text)
    shown = capsys.readouterr()
    assert shown.err == f"{text}\nwarning: {text}\n"
    assert shown.out == ""


def test_out_goes_to_stdout(capsys: pytest.CaptureFixture[str]):
    terminal.out.print("91.2")
    assert capsys.readouterr().out == "91.2\n"


def test_without_a_terminal_a_line_in_ten_seconds(clock: list[float], capsys: pytest.CaptureFixture[str]):
    with terminal.progress("training", 100, unit="tokens") as bar:
        bar.advance(10, measure=500)
        assert capsys.readouterr().err == ""
        clock[0] += 10
        bar.advance(10, measure=500, note="loss [1.2]")
        assert capsys.readouterr().err == "training: 20/100, 100 tokens/s, 40 s left loss [1.2]\n"
        clock[0] += 9
        bar.advance(10)
        assert capsys.readouterr().err == ""


def test_a_bar_that_has_not_moved_or_has_no_total_still_prints(clock: list[float], capsys: pytest.CaptureFixture[str]):
    with terminal.progress("reading", 100) as bar:
        clock[0] += 20
        bar.advance(0)
    with terminal.progress("reading", None) as bar:
        clock[0] += 20
        bar.advance(3)
    assert capsys.readouterr().err == "reading: 0/100, 0 rows/s\nreading: 3/?, 0.1 rows/s\n"


def test_on_a_terminal_there_is_a_bar_with_rate_and_count(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "err", Console(file=screen, force_terminal=True, width=120, color_system=None))
    with terminal.progress("reading", 3) as bar:
        for _ in range(3):
            bar.advance()
    assert "reading" in screen.getvalue()
    assert "3/3" in screen.getvalue()
