"""What holds is a view of the log: any sequence of decisions and undos equals a stack a row."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.review.conftest import clean_again, doubt, row

from tuneloop.review.log import Decision, decisions_key, in_force
from tuneloop.review.queue import Answer

ROWS = [row(f"text {n}", line=n) for n in range(3)]
PEOPLE = ["ann", "bo"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["keep", "edit", "drop", "skip", "undo"]), st.sampled_from(range(3)), st.sampled_from(PEOPLE)
    ),
    max_size=12,
)  # fmt: skip


@given(STEPS)
@settings(max_examples=40)
def test_any_sequence_of_decisions_and_undos_equals_a_stack_a_row(steps: list[tuple[str, int, str]]):
    stacks: dict[str, list[tuple[str, str, int]]] = {each.id: [] for each in ROWS}  # (kind, who, order)
    written = 0
    with tempfile.TemporaryDirectory() as folder:
        queue = clean_again(Path(folder), ROWS, [doubt(each) for each in ROWS])
        for order, (kind, place, who) in enumerate(steps, 1):
            if kind == "undo":
                mine = [(s[-1][2], r) for r, s in stacks.items() if s and s[-1][1] == who]
                undone = queue.undo(who)
                assert (undone is not None) == bool(mine)
                if mine:
                    stacks[max(mine)[1]].pop()
                    assert undone is not None and undone.row == max(mine)[1]
                    written += 1
                continue
            item = queue.item(ROWS[place].id)
            after = {"text": f"new {order}"} if kind == "edit" else {}
            (outcome,) = queue.decide([Answer(item.row, kind, who, after, seen=item.seen)])
            stack = stacks[item.row]
            settled = bool(stack) and stack[-1][0] != "skip"
            if (stack and stack[-1][0] == kind != "edit") or (kind == "skip" and settled):
                assert outcome.result == "unchanged"
            else:
                assert outcome.result == "written"
                stack.append((kind, who, order))
                written += 1
        expected = {r: s[-1][:2] for r, s in stacks.items() if s}
        assert {r: (d.kind, d.reviewer) for r, d in in_force(queue.log()).items()} == expected
        assert [d.number for d in queue.log()] == list(range(1, written + 1))  # nothing was changed or taken out
        waiting = {r for r, s in stacks.items() if not s or s[-1][0] == "skip"}
        assert {item.row for item in queue.items()} == waiting


def decision(number: int, kind: str, undoes: int = 0, row: str = "a", who: str = "ann") -> Decision:
    return Decision(number, row, kind, who, "t", {"text": "x", "label": None}, {}, undoes=undoes)


def test_an_undo_brings_back_what_held_before():
    log = [decision(1, "keep"), decision(2, "drop"), decision(3, "undo", 2)]
    assert in_force(log)["a"].number == 1
    assert in_force([*log, decision(4, "undo", 1)]) == {}


def test_the_key_changes_with_what_the_decisions_do_and_with_nothing_else():
    keep = [decision(1, "keep")]
    assert decisions_key([]) == decisions_key([decision(1, "skip")]) == ""
    assert decisions_key(keep) == decisions_key([decision(7, "keep", who="bo")]) != ""
    assert decisions_key(keep) != decisions_key([decision(1, "drop")])
    assert decisions_key([decision(1, "keep"), decision(2, "undo", 1)]) == ""
    two = [decision(1, "keep"), decision(2, "drop", row="b")]
    assert decisions_key(two) == decisions_key(list(reversed(two))) != decisions_key(keep)


def test_an_edit_is_told_by_what_it_changes():
    both = Decision(1, "a", "edit", "ann", "t", {}, {"label": "x", "text": "y"})
    assert both.deed == "edit text and label"
    assert Decision(1, "a", "edit", "ann", "t", {}, {"label": "x"}).deed == "edit label"
    assert decision(1, "drop").deed == "drop"
