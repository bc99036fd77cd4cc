"""The file: what was decided is there after a kill and after a re-clean, whoever else decides at the same time."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.review.conftest import ROWS, Reclean, clean_again, doubt, row

from tuneloop.disk import atomic_folder
from tuneloop.errors import DataError, RunError
from tuneloop.review import store
from tuneloop.review.log import Decision
from tuneloop.review.queue import Answer, Outcome, Queue
from tuneloop.review.store import load_decisions

MANY = [row(f"text {n}", line=n) for n in range(30)]


def keep(item_row: str, who: str = "ann", **parts: object) -> Answer:
    return Answer(item_row, "keep", who, **parts)


def results(outcomes: list[Outcome]) -> list[str]:
    return [outcome.result for outcome in outcomes]


# -- what is in the file -------------------------------------------------------------------------------------------


def test_the_file_stands_where_the_design_says_and_keeps_no_journal(queue: Queue):
    queue.decide([keep(ROWS[0].id)])
    assert sorted(path.name for path in queue.data.iterdir()) == ["report.json", "review.sqlite"]
    with sqlite3.connect(queue.data / "review.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_many_rows_that_wait_are_ranked_in_their_number_not_its_square():
    rows = [row(f"text {n}", line=n) for n in range(20_000)]
    doubts = [doubt(each, twins=(rows[n - 1].source,)) for n, each in enumerate(rows)]
    began = time.process_time()  # the square of 20,000 takes 12 s and more, their number half a second
    ranked = store._ranked(store._look(rows, {each.id for each in rows}), {each.row: [(0.5, each)] for each in doubts})
    assert len(ranked) == 20_000 and time.process_time() - began < 4
    assert {settles for _, _, settles in ranked.values()} == {2}


def test_every_write_is_synced(queue: Queue):
    with store.transaction(queue.data, write=True) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.in_transaction


@pytest.mark.parametrize("change", ["UPDATE decisions SET reviewer = 'eve'", "DELETE FROM decisions"])
def test_a_record_is_never_changed_or_removed(queue: Queue, change: str):
    queue.decide([keep(ROWS[0].id)])
    with pytest.raises(RunError, match="a decision is never"), store.transaction(queue.data, write=True) as connection:
        connection.execute(change)
    assert [decision.reviewer for decision in queue.log()] == ["ann"]


def test_a_record_says_who_when_and_what_before_and_after(queue: Queue):
    queue.decide([Answer(ROWS[1].id, "edit", "安", {"text": "转账到账了", "label": "card"}, "读错了")])
    (decision,) = queue.log()
    assert (decision.number, decision.row, decision.kind, decision.reviewer) == (1, ROWS[1].id, "edit", "安")
    assert dict(decision.before) == {"text": "转账没有到账", "label": "转账"}
    assert dict(decision.after) == {"text": "转账到账了", "label": "card"}
    assert decision.comment == "读错了"
    assert decision.time.endswith("+00:00") and len(decision.time) == 25


def test_a_set_without_doubts_has_no_queue(reclean: Reclean):
    queue = reclean(ROWS, [])
    assert not (queue.data / "review.sqlite").exists()
    assert (queue.items(), queue.log(), queue.labels(), load_decisions(queue.data)) == ([], [], {}, [])
    assert queue.summary()["waiting"] == 0
    assert not (queue.data.parent / ".review.lock").exists()


def test_half_a_surrogate_pair_does_no_harm(reclean: Reclean):
    odd = row("a\ud800b", "x\udfff")
    queue = reclean([odd], [doubt(odd)])
    queue.decide([Answer(odd.id, "edit", "ann", {"text": "c\ud800"}, "\ud800")])
    assert queue.items(decided=True)[0].text == "a\ud800b"
    assert queue.log()[0].after == {"text": "c\ud800"}


def test_a_file_that_is_no_queue_is_said_to_be_none(queue: Queue):
    (queue.data / "review.sqlite").write_bytes(b"not a database, but long enough to be read as one" * 20)
    with pytest.raises(RunError, match=r"review.sqlite cannot be used.*not a database.*Restore it"):
        queue.items()


def test_a_queue_of_another_version_is_refused(queue: Queue):
    connection = sqlite3.connect(queue.data / "review.sqlite")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(RunError, match=r"another version of tuneloop. Got schema 9. Allowed: 1"):
        queue.log()


# -- a re-clean ----------------------------------------------------------------------------------------------------


def test_decisions_survive_a_re_clean_and_find_their_content_again(queue: Queue, reclean: Reclean):
    queue.decide([keep(ROWS[0].id), Answer(ROWS[1].id, "drop", "bo", {}, "twice")])
    before = queue.log()
    moved = [row(each.text, each.label, 100 + n) for n, each in enumerate(ROWS)]
    changed = row("where is my card?", "card", 100)
    again = reclean([changed, *moved[1:]], [doubt(changed), doubt(moved[1]), doubt(moved[2])])
    assert again.log() == before
    assert [item.text for item in again.items()] == ["where is my card?", ROWS[2].text]
    assert [item.decision.deed for item in again.items(decided=True)[2:]] == ["drop"]
    assert again.item(ROWS[1].id).sources == ("train.jsonl:101",)


def test_the_log_survives_a_clean_that_doubts_nothing(queue: Queue, reclean: Reclean):
    queue.decide([keep(ROWS[0].id)])
    log = queue.log()
    for _ in range(2):
        queue = reclean(ROWS, [])
    assert queue.log() == log == load_decisions(queue.data)
    (item,) = queue.items(decided=True)  # it can be seen and taken back
    assert item.row == ROWS[0].id and not item.waits and not item.doubts
    assert queue.undo("ann").number == 1
    assert queue.items() == []  # and nothing waits without a doubt


def test_a_re_clean_that_fails_leaves_the_queue_as_it_was(queue: Queue, reclean: Reclean):
    queue.decide([keep(ROWS[0].id)])
    log = queue.log()
    with pytest.raises(AttributeError):
        reclean(ROWS, [doubt(ROWS[0]), None])
    assert queue.log() == log


def test_a_broken_queue_stops_the_re_clean_and_not_the_other_way_round(queue: Queue, reclean: Reclean):
    broken = b"gone" * 1000
    (queue.data / "review.sqlite").write_bytes(broken)
    with pytest.raises(RunError, match="cannot be used"):
        reclean(ROWS, [doubt(ROWS[0])])
    assert (queue.data / "review.sqlite").read_bytes() == broken


def test_a_decision_waits_while_the_folder_is_replaced_and_is_not_lost(queue: Queue):
    done: list[Outcome] = []
    late = threading.Thread(target=lambda: done.extend(queue.decide([keep(ROWS[0].id)])))
    with store.held(queue.data), atomic_folder(queue.data) as folder:
        store.write_queue(folder, ROWS, [doubt(each) for each in ROWS[:5]], older=queue.data)
        late.start()
        time.sleep(0.2)
        assert done == []
    late.join(10)
    assert results(done) == ["written"]
    assert [decision.row for decision in queue.log()] == [ROWS[0].id]


def test_a_step_sees_all_that_was_decided_before_it(queue: Queue):
    """Between reading the row and writing the decision nobody else gets in."""
    done: list[Outcome] = []
    late = threading.Thread(target=lambda: done.extend(queue.decide([Answer(ROWS[0].id, "drop", "bo", seen=0)])))
    with store.transaction(queue.data, write=True) as connection:
        assert store.read_log(connection) == []
        late.start()
        time.sleep(0.2)
        first = Decision(0, ROWS[0].id, "keep", "ann", "2026-01-01T00:00:00+00:00", {}, {})
        assert store.add_decision(connection, first).number == 1
    late.join(10)
    assert [(outcome.result, outcome.decision.reviewer) for outcome in done] == [("conflict", "ann")]


def test_who_waits_too_long_is_told_what_for(queue: Queue, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "PATIENCE", 0.1)
    with store.held(queue.data), pytest.raises(RunError, match=r"busy.*cleans the rows again"):
        queue.decide([keep(ROWS[0].id)])
    with store.transaction(queue.data, write=True), pytest.raises(RunError, match=r"locked.*Another process"):
        queue.decide([keep(ROWS[0].id)])


# -- several processes ---------------------------------------------------------------------------------------------


def _decide_all(data: str, who: str, start: str) -> None:
    """One reviewer's process: answers every row as it was shown at the start, and writes down what became of it."""
    queue = Queue(Path(data))
    items = queue.items()
    Path(f"{start}.{who}").touch()
    while not Path(start).exists():
        time.sleep(0.005)
    found = [queue.decide([Answer(i.row, "drop" if who == "bo" else "keep", who, seen=i.seen)])[0] for i in items]
    told = [[o.row, o.result, o.decision.reviewer if o.decision else ""] for o in found]
    Path(f"{start}.{who}.json").write_text(json.dumps(told))


@pytest.mark.parametrize("recleans", [0, 6])
def test_two_processes_at_once_lose_nothing(tmp_path: Path, recleans: int):
    doubts = [doubt(each) for each in MANY]
    queue = clean_again(tmp_path, MANY, doubts)
    start, context = tmp_path / "start", multiprocessing.get_context("spawn")
    people = ["ann", "bo"]
    processes = [context.Process(target=_decide_all, args=(str(queue.data), who, str(start))) for who in people]
    for process in processes:
        process.start()
    while not all(Path(f"{start}.{who}").exists() for who in people):
        time.sleep(0.01)
    start.touch()
    for _ in range(recleans):
        clean_again(tmp_path, MANY, doubts)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    told = {who: json.loads(Path(f"{start}.{who}.json").read_text()) for who in people}
    log = queue.log()
    assert [decision.number for decision in log] == list(range(1, len(MANY) + 1))
    holder = {decision.row: decision.reviewer for decision in log}
    assert set(holder) == {each.id for each in MANY}
    for who, outcomes in told.items():
        for row_id, result, standing in outcomes:
            assert (result == "written") == (holder[row_id] == who)  # what was said to be written is in the log
            assert standing == holder[row_id]  # and who came second is told who was first
            assert result in ("written", "conflict")


KILLED = """
import os, signal, sys
from pathlib import Path
from tuneloop.review import store
from tuneloop.review.log import Decision
from tuneloop.review.queue import Answer, Queue
queue = Queue(Path(sys.argv[1]))
first, second = (item.row for item in queue.items()[:2])
queue.decide([Answer(first, "keep", "ann")])
add = store.add_decision
def killed(connection, decision):
    add(connection, decision)
    connection.execute("UPDATE items SET place = place + 1")
    connection.execute("PRAGMA cache_size = 1")  # pages go to the file before the commit: a journal is left hot
    connection.execute("CREATE TABLE big AS SELECT zeroblob(4000000)")
    os.kill(os.getpid(), signal.SIGKILL)
import tuneloop.review.queue
tuneloop.review.queue.add_decision = killed
queue.decide([Answer(second, "keep", "ann")])
"""


def test_a_kill_in_the_middle_loses_only_what_was_not_written(queue: Queue):
    first, second = (item.row for item in queue.items()[:2])
    ended = subprocess.run([sys.executable, "-c", KILLED, str(queue.data)], timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert (queue.data / "review.sqlite-journal").exists()
    assert [decision.row for decision in queue.log()] == [first]
    assert results(queue.decide([keep(second, who="bo")])) == ["written"]
    assert sorted(os.listdir(queue.data)) == ["report.json", "review.sqlite"]


def test_a_re_clean_after_a_kill_rolls_back_first(queue: Queue, reclean: Reclean):
    first = queue.items()[0].row
    subprocess.run([sys.executable, "-c", KILLED, str(queue.data)], timeout=60)
    again = reclean(ROWS, [doubt(each) for each in ROWS[:5]])
    assert [decision.row for decision in again.log()] == [first]


# -- one step ------------------------------------------------------------------------------------------------------


def test_answers_of_one_step_are_written_together_or_not_at_all(queue: Queue, monkeypatch: pytest.MonkeyPatch):
    rows = [item.row for item in queue.items()]
    made = 0

    def full(connection: sqlite3.Connection, decision: object) -> object:
        nonlocal made
        made += 1
        if made == 3:
            raise sqlite3.OperationalError("database or disk is full")
        return store.add_decision(connection, decision)

    monkeypatch.setattr("tuneloop.review.queue.add_decision", full)
    with pytest.raises(RunError, match="disk is full"):
        queue.decide([keep(each) for each in rows])
    assert queue.log() == []


def test_the_second_decision_on_a_row_is_told_of_the_first(queue: Queue):
    shown = queue.items()[0]
    queue.decide([Answer(shown.row, "drop", "bo", seen=shown.seen)])
    (late,) = queue.decide([keep(shown.row, seen=shown.seen)])
    assert (late.result, late.decision.reviewer, late.decision.kind) == ("conflict", "bo", "drop")
    (same,) = queue.decide([Answer(shown.row, "drop", "ann", seen=shown.seen)])
    assert same.result == "unchanged"
    (meant,) = queue.decide([keep(shown.row, seen=late.decision.number)])  # seen, and decided otherwise
    assert meant.result == "written"
    assert Counter(d.kind for d in queue.log()) == {"drop": 1, "keep": 1}


def test_who_decides_on_what_was_undone_meanwhile_is_told(queue: Queue):
    (first,) = queue.decide([keep(ROWS[0].id)])
    queue.undo("ann")
    (late,) = queue.decide([Answer(ROWS[0].id, "drop", "bo", seen=first.decision.number)])
    assert (late.result, late.decision) == ("conflict", None)


def test_undo_takes_back_ones_own_newest_and_nobody_elses(queue: Queue):
    queue.decide([keep(ROWS[0].id), keep(ROWS[1].id), keep(ROWS[2].id, who="bo")])
    assert queue.undo("ann").row == ROWS[1].id
    assert queue.undo("ann").row == ROWS[0].id
    assert queue.undo("ann") is None
    assert [item.row for item in queue.items(decided=True) if not item.waits] == [ROWS[2].id]


def test_an_edit_that_changes_nothing_is_a_keep(queue: Queue):
    (found,) = queue.decide([Answer(ROWS[0].id, "edit", "ann", {"text": ROWS[0].text, "label": "card"})])
    assert (found.decision.kind, dict(found.decision.after)) == ("keep", {})


@pytest.mark.parametrize(
    ("after", "says"),
    [
        ({"text": "  "}, "new text of .* is blank"),
        ({"label": ""}, "new label of .* cannot be used"),
        ({"label": ["a"]}, "new label of .* cannot be used"),
        ({"source": "x"}, "cannot be changed like that"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(queue: Queue, after: dict[str, object], says: str):
    with pytest.raises(DataError, match=says):
        queue.decide([Answer(ROWS[0].id, "edit", "ann", after)])
    assert queue.log() == []


def test_the_figures_add_up(queue: Queue):
    queue.decide([keep(ROWS[0].id), Answer(ROWS[1].id, "edit", "bo", {"label": "card"})])
    queue.decide([Answer(ROWS[2].id, "skip", "bo"), keep(ROWS[3].id)])
    queue.undo("ann")
    found = queue.summary()
    assert (found["rows"], found["waiting"], found["skipped"], found["decided"]) == (5, 3, 1, 2)
    assert found["waiting_by_stage"] == {"outliers": 3}
    assert found["decided_by_reviewer"] == {"ann": {"keep": 1}, "bo": {"edit label": 1}}
    assert found["log"] == {"decisions": 4, "undone": 1}
    assert [item.row for item in queue.items()] == [ROWS[3].id, ROWS[4].id, ROWS[2].id]  # the skipped one last
