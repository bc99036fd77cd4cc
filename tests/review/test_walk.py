"""`tuneloop review` in the terminal: piped, with a real terminal, stopped by Ctrl-C, and beside another person."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.end_to_end.workbench import MAIN, Done, tuneloop
from tests.review.conftest import ROWS, Reclean, doubt, row

from tuneloop.cli import walk
from tuneloop.records import Message
from tuneloop.review.queue import Answer, Queue


def review(folder: Path, *typed: str, options: tuple[str, ...] = ("--reviewer", "ann")) -> Done:
    return tuneloop("review", "r", *options, folder=folder, stdin="".join(line + "\n" for line in typed))


def deeds(queue: Queue) -> list[tuple[str, str]]:
    """(text, what was done) of each record, in the order of the log."""
    return [(str(decision.before["text"]), decision.deed) for decision in queue.log()]


TEXTS = [each.text for each in ROWS]


def test_piped_answers_decide_row_after_row(queue: Queue, tmp_path: Path):
    done = review(tmp_path, "k fine", "t 转账到账了", "d 公式", "s later", "l card")
    assert done.status == 0, done.err
    assert deeds(queue) == list(zip(TEXTS[:5], ["keep", "edit text", "drop", "skip", "edit label"], strict=True))
    assert [d.comment for d in queue.log()] == ["fine", "", "公式", "later", ""]
    assert {d.reviewer for d in queue.log()} == {"ann"}
    assert "1 of 5" in done.err and "5 of 5" in done.err and "outliers doubts it" in done.err
    assert done.out.startswith("waiting  1 of 5 rows (1 skipped)")
    assert "ann: keep 1, edit text 1, drop 1, edit label 1" in done.out
    assert review(tmp_path, "k").status == 0  # the skipped one came again
    assert deeds(queue)[-1] == (TEXTS[3], "keep")
    assert "nothing waits" in review(tmp_path).err


def test_the_end_of_the_input_ends_the_walk(queue: Queue, tmp_path: Path):
    assert review(tmp_path, "k").status == 0
    assert review(tmp_path, "q").status == 0
    assert len(queue.log()) == 1


def test_undo_goes_back_to_the_row(queue: Queue, tmp_path: Path):
    done = review(tmp_path, "k", "d", "u", "u", "s", "k")
    assert deeds(queue) == [
        (TEXTS[0], "keep"), (TEXTS[1], "drop"), (TEXTS[1], "undo"), (TEXTS[0], "undo"), (TEXTS[0], "skip"),
        (TEXTS[1], "keep"),
    ]  # fmt: skip
    assert "undone: drop" in done.err
    assert "has made no decision that could be undone" in review(tmp_path, "u", options=("--reviewer", "new")).err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("k l u d d s", "3 decisions made, 1 row skipped, all saved"),
        ("k k u u", "0 decisions made, all saved"),
        ("d", "1 decision made, all saved"),
        ("k /where d", "1 decision made, all saved"),
        ("k /where d u q", "1 decision made, all saved"),
        ("s /where k", "1 decision made, all saved"),
    ],
)
def test_the_walk_counts_what_stands(queue: Queue, tmp_path: Path, typed: str, told: str):
    commands = [command.replace("l", "l card") for command in typed.split()]
    assert review(tmp_path, *commands).err.rstrip().splitlines()[-1] == told
    assert sum(item.decision.settles for item in queue.items(decided=True) if item.decision) == int(told[0])


def test_a_label_is_suggested_completed_and_a_new_one_asked_twice(reclean: Reclean, tmp_path: Path):
    rows = [row(f"t{n}", "card arrival", n) for n in range(6)] + [row("x", "Card lost", 8), row("y", "rate", 9)]
    queue = reclean(
        rows, [doubt(each, "label_errors", 1 - n / 10, suggestion="rate") for n, each in enumerate(rows[:6])]
    )
    done = review(
        tmp_path, "l", "", "l CARD LOST", "l ra", "l card", "Card lost", "l crad", "crad", "l nothing", "", "s"
    )
    assert done.status == 0, done.err
    labels = [decision.after["label"] for decision in queue.log() if decision.kind == "edit"]
    assert labels == ["rate", "Card lost", "rate", "Card lost", "crad"]
    assert "'card' is no label of the training rows; near: card arrival, Card lost" in done.err
    assert queue.log()[-1].kind == "skip"


def test_an_unclear_command_shows_the_keys_and_decides_nothing(queue: Queue, tmp_path: Path):
    done = review(tmp_path, "keep", "x", "", "?", "t", "", "l", "", "o", "/", "/nowhere")
    assert done.status == 0
    assert queue.log() == []
    for said in ("only this one", "no text given", "no label given", "has no twins", "nothing has 'nowhere'"):
        assert said in done.err


def test_search_finds_decided_rows_too(queue: Queue, tmp_path: Path):
    queue.decide([Answer(ROWS[1].id, "keep", "bo")])
    done = review(tmp_path, "/到账", "d", "/calc", "k", "q")
    assert "bo decided at" in done.err
    assert deeds(queue)[1:] == [(TEXTS[1], "drop"), (TEXTS[2], "keep")]


def test_twins_are_settled_by_one_answer(reclean: Reclean, tmp_path: Path):
    rows = [row("lost my card", "lost", 1), row("I lost my card", "arrival", 2), row("lost card", "arrival", 3)]
    names = [each.source for each in rows] + ["train.jsonl:77"]
    twins = [tuple(name for name in names if name != each.source) for each in rows]
    doubts = [doubt(e, "near_duplicates", 0.9 - n / 9, twins=twins[n]) for n, e in enumerate(rows)]
    queue = reclean(rows, doubts)
    done = review(tmp_path, "n", "o the right one")
    assert "settles 3 rows" in done.err and "train.jsonl:77" in done.err
    assert deeds(queue) == [("lost my card", "keep"), ("I lost my card", "drop"), ("lost card", "drop")]
    assert queue.items() == []
    assert "2 of 3 twins dropped" in done.err


def test_an_answer_of_several_lines_is_edited_on_one(reclean: Reclean, tmp_path: Path):
    talk = row("", None, messages=(Message("user", "why?"), Message("assistant", "because\nso")))
    queue = reclean([talk], [doubt(talk)])
    done = review(tmp_path, "v", "b", "how?", "so⏎it is")
    assert dict(queue.log()[0].after) == {"text": "how?", "label": "so\nit is"}
    assert "assistant" in done.err


def test_brackets_in_rows_are_shown_as_they_are(reclean: Reclean, tmp_path: Path):
    odd = row("[bold]x[/bold] [/]", "[red]")
    reclean([odd], [doubt(odd)])
    assert "[bold]x[/bold] [/]" in review(tmp_path, "n", "v", "q").err


def test_who_is_second_is_told_and_overruns_nobody(queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    read, first = walk._read, queue.items()[0].row

    def meanwhile(prompt: str) -> str:
        line = read(prompt)
        if not queue.log():
            queue.decide([Answer(first, "drop", "bo"), Answer(queue.items()[2].row, "keep", "bo")])
        return line

    monkeypatch.setattr(walk, "_read", meanwhile)
    done = review(tmp_path, "k", "k", "k", "k")
    assert "bo decided this row meanwhile: drop" in done.err
    assert [(d.reviewer, d.kind) for d in queue.log()] == [("bo", "drop"), ("bo", "keep")] + [("ann", "keep")] * 3
    assert queue.item(first).decision.kind == "drop"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--stage", "nope"), "No row waits because of 'nope'. Allowed: outliers."),
        (("--export", "a.csv", "--import", "b.csv"), "One thing at a time. Got --export and --import."),
        (("--export", "a.xls"), "Unknown format of a.xls."),
        (("--import", "nowhere.csv"), "nowhere.csv cannot be read."),
    ],
)
def test_errors_are_one_paragraph(queue: Queue, tmp_path: Path, options: tuple[str, ...], says: str):
    assert says in review(tmp_path, options=options).paragraph()


def test_a_run_that_is_not_there(tmp_path: Path):
    assert "There is no run 'r'" in review(tmp_path).paragraph()


def test_files_go_out_and_come_back_by_the_command(queue: Queue, tmp_path: Path):
    out = review(tmp_path, options=("--export", "q.csv", "--limit", "2"))
    assert out.out == "2 rows -> q.csv\n"
    text = (tmp_path / "q.csv").read_text("utf-8-sig").replace(",card,,,", ",card,,drop,", 1)
    (tmp_path / "q.csv").write_text(text, "utf-8")
    done = review(tmp_path, options=("--import", "q.csv", "--reviewer", "安"))
    assert done.out == "q.csv: 1 decision written (drop 1), 0 unchanged, 1 without a decision, 0 conflicts\n"
    assert queue.log()[0].reviewer == "安"
    figures = review(tmp_path, options=("--json",)).json()
    assert (figures["waiting"], figures["decided_by_reviewer"]) == (4, {"安": {"drop": 1}})
    again = review(tmp_path, options=("--import", "q.csv", "--json")).json()
    assert (again["written"], again["unchanged"]) == (0, 1)
    assert review(tmp_path, options=("--stats",)).out.startswith("waiting  4 of 5 rows\n")


def test_the_login_name_stands_in_where_no_reviewer_is_named(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LOGNAME", "lin")
    review(tmp_path, "k", options=())
    assert queue.log()[0].reviewer == "lin"


# -- a process of its own ------------------------------------------------------------------------------------------


def start(folder: Path, stdin: int, *, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE):
    command = [sys.executable, "-c", MAIN, "review", "r", "--reviewer", "ann"]
    return subprocess.Popen(command, cwd=folder, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_ctrl_c_loses_nothing(queue: Queue, tmp_path: Path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child inherits an ignored Ctrl-C
    try:
        process = start(tmp_path, subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        process.stdin.write(b"k\nd\n")
        process.stdin.flush()
        try:
            until(lambda: len(queue.log()) == 2)
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert err.decode().rstrip().endswith("stopped; 2 decisions made, all saved")
    assert "Traceback" not in err.decode()
    assert deeds(queue) == [(TEXTS[0], "keep"), (TEXTS[1], "drop")]


def test_a_terminal_offers_the_text_to_edit_and_completes_labels(queue: Queue, tmp_path: Path):
    outside, inside = pty.openpty()
    with start(tmp_path, inside, stdout=inside, stderr=inside) as process:
        os.close(inside)
        screen = b""

        def see(words: str, after: bytes) -> None:
            """Type, and read what the terminal shows until it has these words."""
            nonlocal screen
            screen = b""
            os.write(outside, after)
            end = time.monotonic() + 30
            while words.encode() not in screen:
                assert time.monotonic() < end, screen.decode()
                if select.select([outside], [], [], 0.1)[0]:
                    screen += os.read(outside, 4096)

        try:
            see("quit q", b"")
            see("text: where is my card", b"t\n")
            see("2 of 5", b" please\n")
            see("label: ", b"l\n")
            see("3 of 5", b"ca\t\n")
            see("made, all saved", b"q\n")
            assert process.wait(30) == 0
        finally:
            process.kill()
            os.close(outside)
    assert [dict(decision.after) for decision in queue.log()] == [
        {"text": "where is my card please"},
        {"label": "card"},
    ]


def test_json_of_the_figures_is_json(queue: Queue, tmp_path: Path):
    done = review(tmp_path, options=("--stats", "--json"))
    assert json.loads(done.out)["rows"] == 5
