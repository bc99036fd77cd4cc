"""The near-duplicate benchmark: its short form, its truth, its figures, and what its guards see."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from benchmarks.near_duplicates import run
from benchmarks.near_duplicates.__main__ import main
from benchmarks.near_duplicates.inputs import Texts, jaccard, made, pairs_of, quality_sets, true_pairs
from benchmarks.near_duplicates.run import Bench, Failed, Plan, Point, faults, pair_figures
from benchmarks.near_duplicates.systems import SYSTEMS, character_sets, joined
from benchmarks.near_duplicates.table import table
from benchmarks.train_speed.environments import NotInstallable
from benchmarks.train_speed.raw import read_raw

POINT = Point("speed", "made 100", "tuneloop", 0.7, 100)


def record(system: str, seconds: float, first: int, **more: Any) -> dict[str, Any]:
    result = {"texts": first, "seconds": seconds, "peak_mb": 200.0, "before_mb": 100.0, "in_clusters": 10}
    return {
        "kind": "speed", "data": "made 1,000", "system": system, "threshold": 0.7, "first": first, "session": "s",
        "command": "c", "machine": {"cpu": "x", "cores": 2}, "result": result, "round": 0, **more,
    }  # fmt: skip


def test_made_texts_have_their_twins_and_stay_the_same() -> None:
    given = made(400, seed=3)
    assert given == made(400, seed=3) and given != made(400, seed=4)
    assert len(given.texts) == 400 and len(given.planted) == 20 and given.name == "made 400"
    for left, right, similar in given.planted:
        assert left < right and similar == jaccard(given.texts[left], given.texts[right]) and 0.3 < similar <= 1.0
    assert {(a, b) for a, b, similar in given.planted if similar >= 0.7} <= set(true_pairs(given.texts, 0.7))


def test_true_pairs_are_all_pairs() -> None:
    texts = [*made(60).texts[:40], "ab", "ab", "abc", "", ""]
    every = [(a, b) for b in range(len(texts)) for a in range(b) if jaccard(texts[a], texts[b]) >= 0.5]
    assert sorted(true_pairs(texts, 0.5)) == sorted(every) and (40, 41) in every and (43, 44) in every


def test_what_the_peers_compare_is_what_the_truth_compares() -> None:
    (sets,) = character_sets(["abcdefg"])
    assert sets == ["abcde", "bcdef", "cdefg"] and character_sets(["ab", ""]) == [["ab"], [""]]


def test_edges_are_joined() -> None:
    assert joined([(1, 2), (5, 4), (2, 3), (4, 9)]) == [[1, 2, 3], [4, 5, 9]] and joined([]) == []
    assert pairs_of([(1, 2, 3), (5, 4)]) == [(1, 2), (1, 3), (2, 3), (4, 5)]


def test_pair_figures() -> None:
    truth = {(0, 1), (0, 2), (1, 2), (3, 4)}
    told = pair_figures({(0, 1), (5, 6)}, truth)
    assert (told["precision"], told["recall"], told["f1"]) == (0.5, 0.25, pytest.approx(1 / 3))
    assert pair_figures(truth, truth)["f1"] == 1.0 and pair_figures({(7, 8)}, truth)["f1"] == 0.0


def test_lost_texts_and_missed_twins_are_seen() -> None:
    good = {"result": {"texts": 100}, "quality": {"planted": 100, "planted_found": 98}}
    assert faults(POINT, good) == []
    assert "99 texts were read" in faults(POINT, good | {"result": {"texts": 99}})[0]
    assert "97.0%" in faults(POINT, good | {"quality": {"planted": 100, "planted_found": 97}})[0]


def test_the_table_extrapolates_linearly_and_says_so() -> None:
    text = table([record("tuneloop", 2.0, 1000), record("datasketch", 3.0, 100)], [])
    assert "| datasketch | 100 | 3.00 [3.00, 3.00] | 30.0 (extrapolated) | 15.00x |" in text
    assert "| tuneloop | 1,000 | 2.00 [2.00, 2.00] | 2.0 | 1.00x |" in text


def test_a_peer_that_cannot_be_had_or_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(made(50), [], (0.7,), 0.7, ["rensa", "datasketch"], 1, tmp_path, tmp_path / "raw.jsonl", "c")
    bench = Bench(plan)

    def process(self: Bench, point: Point) -> dict[str, Any]:
        raise NotInstallable("no wheel") if point.system == "rensa" else Failed("exit 1")

    monkeypatch.setattr(Bench, "_process", process)
    (fault,) = bench.run()
    assert "datasketch" in fault and "exit 1" in fault
    records = read_raw(plan.raw)
    assert [("absent" in one, "withdrawn" in one) for one in records] == [(True, False), (False, True)]
    assert "rensa: not installable: no wheel" in table(bench.records(), [])


def test_every_measured_system_exists() -> None:
    assert len(SYSTEMS) == 6 and set(run.SPEED) | set(run.QUALITY) == set(SYSTEMS)
    spent = []

    @contextlib.contextmanager
    def timed():
        spent.append(1)
        yield

    found = SYSTEMS["tuneloop"](["a text of some words", "a text of some words"], 0.7, timed)
    assert found["clusters"] == [(0, 1)] and spent == [1]


def test_the_real_sets(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELOOP_DATA", str(shared_data))
    sites, by_jaccard, messages = quality_sets()
    assert by_jaccard.texts == sites.texts and not by_jaccard.truth
    assert len(sites.texts) == 3337 and len(sites.truth) > 3000 and len(messages.texts) == 5574
    assert len(messages.texts) - len(set(messages.texts)) >= 403
    assert not any("\n" in text for given in (sites, messages) for text in given.texts)


def test_the_short_form_runs_and_is_not_run_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--short", "--texts", "2000", "--results", str(tmp_path)]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    assert "| tuneloop | 2,000 |" in text and "| planted twins | 0.7 | tuneloop |" in text
    assert len(read_raw(tmp_path / "raw.jsonl")) == 2
    monkeypatch.setattr(Bench, "_process", lambda self, point: pytest.fail("ran again"))
    assert main(arguments) == 0


def test_texts_in_a_file_are_those_that_were_given(tmp_path: Path) -> None:
    plan = Plan(Texts("a b", ["x y", "", "我"]), [], (0.7,), 0.7, [], 1, tmp_path, tmp_path / "raw.jsonl", "c")
    (path,) = Bench(plan).files.values()
    assert path.read_text(encoding="utf-8") == "x y\n\n我\n"
