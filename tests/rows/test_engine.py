"""Who does the work: what a Ctrl-C leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuneloop import row_station
from tuneloop.recipe import Recipe
from tuneloop.rows.room import Room
from tuneloop.runs import RunFolder

SLOW = """
import os, pathlib, time
pathlib.Path(__file__).with_name(f"{os.getpid()}.begun").touch()
time.sleep(0.7)  # as an import that takes its time

def work(number):
    time.sleep(60)
"""

MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind nohup
import slow
from tuneloop.rows.engine import Cores
try:
    list(Cores(2).results(slow.work, range(9)))
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("later", [0.0, 1.5], ids=["while workers import", "while they work"])
def test_ctrl_c_ends_the_workers_without_a_word(tmp_path: Path, later: float) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN], env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while len(begun := list(tmp_path.glob("*.begun"))) < 3 and time.monotonic() < until:  # the command, two workers
        time.sleep(0.01)
    time.sleep(later)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    try:
        told, complained = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (told, complained) == ("stopped\n", "")
    assert len(begun) == 3 and [path for path in begun if Path(f"/proc/{path.stem}").exists()] == []


@pytest.mark.parametrize("through_files", [True, False])
def test_a_stop_says_whether_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through_files: bool
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "rows.jsonl").write_text("{}\n")
    asked = Recipe.model_validate({
        "name": "r", "task": {"type": "classification"}, "model": {"name_or_path": "none"},
        "data": {"train": "rows.jsonl", "validation": 0.1, "test": 0.1},
    })  # fmt: skip
    monkeypatch.setattr(row_station, "prepare_rows", stopped)
    monkeypatch.setattr(row_station, "room_of", lambda *_: Room(tmp_path if through_files else None))
    with pytest.raises(KeyboardInterrupt) as caught:
        row_station.timed_prepare(asked, tmp_path, [], RunFolder(tmp_path), "")
    assert str(caught.value) == ("stopped; the same command goes on" if through_files else "")
