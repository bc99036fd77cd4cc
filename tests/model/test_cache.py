from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tuneloop.model.cache import build_cached, cache_root, cached_record, weights_sha256


def test_where_the_cache_stands(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNELOOP_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "own"
    monkeypatch.delenv("TUNELOOP_CACHE")
    assert cache_root() == tmp_path / "xdg" / "tuneloop"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the XDG rule: a relative path is ignored
    assert cache_root() == Path.home() / ".cache" / "tuneloop"


def build(folder):
    (folder / "model.safetensors").write_bytes(b"weights")
    return {"revision": "1"}


def test_builds_once_and_again_when_spoilt(tmp_path):
    calls = []

    def counted(folder):
        calls.append(1)
        return build(folder)

    place = tmp_path / "m"
    first = build_cached(place, counted)
    assert build_cached(place, counted) == first == cached_record(place) and len(calls) == 1
    assert first["sha256"] == weights_sha256(place)
    (place / "model.safetensors").write_bytes(b"weighty")  # same size, other bytes
    assert cached_record(place) is None
    assert build_cached(place, counted) == first and len(calls) == 2
    (place / "source.json").unlink()
    build_cached(place, counted)
    assert len(calls) == 3


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(folder):
        build(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_cached(tmp_path / "m", fail)
    assert [p.name for p in tmp_path.iterdir()] == [".m.lock"]
    build_cached(tmp_path / "m", build)


def test_two_at_once_build_once(tmp_path):
    calls, results = [], []

    def slow(folder):
        calls.append(1)
        time.sleep(0.2)
        return build(folder)

    threads = [threading.Thread(target=lambda: results.append(build_cached(tmp_path / "m", slow))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and len(results) == 3 and results[0] == results[1] == results[2]


def test_the_weights_hash_follows_names_and_bytes(tmp_path):
    assert weights_sha256(tmp_path) == ""
    (tmp_path / "a.safetensors").write_bytes(b"1")
    first = weights_sha256(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert weights_sha256(tmp_path) == first
    (tmp_path / "a.safetensors").write_bytes(b"22")
    assert weights_sha256(tmp_path) != first
