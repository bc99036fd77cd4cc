"""One tree of errors; a message says what, got, allowed, fix in one paragraph."""

from __future__ import annotations

import re

import pytest

from tuneloop import errors
from tuneloop.errors import CheckFailed, DataError, TuneloopError


def kinds() -> list[type[TuneloopError]]:
    return [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, TuneloopError)]


def test_the_message_answers_four_questions_in_order():
    error = DataError("No rows.", got="an empty file.", allowed="JSONL, CSV", fix="Check the path.")
    assert str(error) == "No rows. Got an empty file. Allowed: JSONL, CSV. Check the path."
    assert (error.what, error.got, error.allowed, error.fix) == (
        "No rows.",
        "an empty file.",
        "JSONL, CSV",
        "Check the path.",
    )


def test_parts_that_are_not_given_leave_no_trace():
    assert str(DataError("No rows")) == "No rows."
    assert str(DataError("No rows", fix="Add some")) == "No rows. Add some."
    assert str(DataError("No rows", fix="Is the path right?")) == "No rows. Is the path right?"


@pytest.mark.parametrize("kind", kinds())
def test_exit_code_is_3_for_a_check_that_said_no_and_1_for_the_rest(kind: type[TuneloopError]):
    assert kind("x").exit_code == (3 if kind is CheckFailed else 1)


def test_the_drawn_tree_is_the_real_one():
    drawn = re.findall(r"^    [|`]-- (\w+)", errors.__doc__ or "", re.MULTILINE)
    assert drawn == [kind.__name__ for kind in kinds() if kind is not TuneloopError]
    assert all(kind.__bases__ == (TuneloopError,) for kind in kinds() if kind is not TuneloopError)
