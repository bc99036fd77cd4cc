"""Old file or new one, never half; a full disk says so; a folder has one writer."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tuneloop import disk
from tuneloop.errors import RunError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fsync of a file finds the disk full, as delayed allocation does."""

    def fail(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tuneloop.disk.os.fsync", fail)


def test_write_text_replaces_whole_and_leaves_no_temporary_file(tmp_path: Path):
    file = tmp_path / "deep" / "a.txt"
    disk.write_text(file, "old")
    disk.write_text(file, "新")
    assert file.read_bytes() == "新".encode()
    assert names(file.parent) == ["a.txt"]


def test_the_file_is_synced_before_the_rename_and_the_folder_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    events: list[str] = []
    sync, replace = os.fsync, os.replace

    def note_sync(handle: int) -> None:
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        sync(handle)

    def note_replace(a: Path, b: Path) -> None:
        events.append("rename")
        replace(a, b)

    monkeypatch.setattr("tuneloop.disk.os.fsync", note_sync)
    monkeypatch.setattr("tuneloop.disk.os.replace", note_replace)
    disk.write_text(tmp_path / "a.txt", "x")
    assert events == ["file", "rename", "folder"]


def test_a_full_disk_leaves_the_old_file_and_one_paragraph(tmp_path: Path, full_disk: None):
    file = tmp_path / "a.json"
    file.write_text("old")
    with pytest.raises(RunError) as caught:
        disk.write_json(file, {"new": 1})
    assert str(caught.value).startswith(f"The disk is full: could not write {file}")
    assert "\n" not in str(caught.value)
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_a_full_disk_leaves_the_old_folder(tmp_path: Path, full_disk: None):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("old")
    with pytest.raises(RunError, match="The disk is full"), disk.atomic_folder(folder) as new:
        (new / "weights").write_text("new")
    assert (folder / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_a_fault_inside_the_block_changes_nothing(tmp_path: Path):
    file, folder = tmp_path / "a", tmp_path / "b"
    file.write_text("old")
    with pytest.raises(KeyError), disk.atomic_path(file) as new:
        new.write_text("half")
        raise KeyError("x")
    with pytest.raises(KeyError), disk.atomic_folder(folder) as made:
        (made / "half").write_text("half")
        raise KeyError("x")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_atomic_folder_replaces_the_whole_folder(tmp_path: Path):
    folder = tmp_path / "model"
    for text, extra in (("one", "old-only"), ("two", "inner/new")):
        with disk.atomic_folder(folder) as new:
            (new / "weights").write_text(text)
            (new / extra).parent.mkdir(exist_ok=True)
            (new / extra).write_text("x")
    assert (folder / "weights").read_text() == "two"
    assert names(folder) == ["inner", "weights"]
    assert names(tmp_path) == ["model"]


def test_a_failed_last_rename_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("old")
    replace = os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(source).suffix == ".tmp":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    monkeypatch.setattr("tuneloop.disk.os.replace", fail)
    with pytest.raises(RunError, match="Could not write"), disk.atomic_folder(folder) as new:
        (new / "weights").write_text("new")
    assert (folder / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EACCES, "is writable"),
        (errno.EROFS, "read-only"),
    ],
)
def test_each_os_error_has_its_own_advice(number: int, says: str):
    assert says in str(disk.explain_os_error(OSError(number, os.strerror(number)), Path("x")))


def test_a_parent_that_is_a_file_is_an_expected_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Could not write"):
        disk.write_text(tmp_path / "file" / "a.txt", "x")


def test_json_goes_round_and_refuses_nan(tmp_path: Path):
    file = tmp_path / "a.json"
    disk.write_json(file, {"名": [1, 2.5, None]})
    assert disk.read_json(file) == {"名": [1, 2.5, None]}
    assert "名" in file.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="not JSON compliant"):
        disk.write_json(file, {"x": float("nan")})
    assert disk.read_json(file) == {"名": [1, 2.5, None]}


def test_reading_a_missing_or_broken_json_is_an_expected_error(tmp_path: Path):
    with pytest.raises(RunError, match="does not exist"):
        disk.read_json(tmp_path / "none.json")
    for broken in (b'{"a": ', b"\xff\xfe"):
        (tmp_path / "broken.json").write_bytes(broken)
        with pytest.raises(RunError, match="cannot be read"):
            disk.read_json(tmp_path / "broken.json")


def test_sha256_of_files_and_values(tmp_path: Path):
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, example 1
    assert disk.sha256_file(tmp_path / "abc") == known
    assert disk.sha256_json({"a": 1, "b": 2}) == disk.sha256_json({"b": 2, "a": 1})
    assert disk.sha256_json({"a": 1}) != disk.sha256_json({"a": "1"})


HOLD = """
import sys
from pathlib import Path
from tuneloop.disk import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_by_name_and_a_killed_one_leaves_no_lock(tmp_path: Path):
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with (
                pytest.raises(
                    RunError, match=rf"written by another process\. Got a lock held by process {other.pid}\."
                ),
                disk.exclusive(folder),
            ):
                pass
        finally:
            other.kill()
            other.wait(timeout=30)
    with disk.exclusive(folder):
        assert (folder / ".lock").read_text() == str(os.getpid())


def test_the_lock_holds_between_threads_and_is_free_after_the_block(tmp_path: Path):
    refused: list[str] = []

    def try_it() -> None:
        try:
            with disk.exclusive(tmp_path):
                pass
        except RunError as error:
            refused.append(str(error))

    with disk.exclusive(tmp_path):
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert len(refused) == 1
    try_it()
    assert len(refused) == 1


def test_written_json_is_what_other_tools_read(tmp_path: Path):
    disk.write_json(tmp_path / "a.json", {"x": 1})
    assert (tmp_path / "a.json").read_text() == '{\n  "x": 1\n}\n'
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}


def test_ctrl_c_between_the_two_renames_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "model"
    with disk.atomic_folder(folder) as temporary:
        (temporary / "a").write_text("old")
    real, done = os.replace, []

    def replace(source: Path, target: Path) -> None:
        done.append(target)
        if len(done) == 2:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt), disk.atomic_folder(folder) as temporary:
        (temporary / "a").write_text("new")
    assert (folder / "a").read_text() == "old"
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_failed_write_that_a_library_tells_in_its_own_words_is_an_expected_error(tmp_path: Path, number: int):
    told = f"parquet: underlying IO error: {os.strerror(number)} (os error {number})"  # polars and safetensors do so
    with pytest.raises(RunError, match=rf"\(errno {number}\)"), disk.atomic_path(tmp_path / "a"):
        raise ValueError(told)
    with pytest.raises(RunError, match=rf"\(errno {number}\)"), disk.atomic_folder(tmp_path / "b"):
        raise ValueError(told)
    with pytest.raises(ValueError, match="a fault of ours"), disk.atomic_path(tmp_path / "a"):
        raise ValueError("a fault of ours")
    assert names(tmp_path) == []
