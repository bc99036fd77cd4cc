"""Every system on every set, interleaved, each in a process of its own; what stands in raw.jsonl is not run again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.near_duplicates.environments import packages_of, python_of
from benchmarks.near_duplicates.inputs import Pair, Texts, pairs_of, true_pairs, write_texts
from benchmarks.near_duplicates.process import Job, write_job
from benchmarks.near_duplicates.systems import joined
from benchmarks.session import Session
from benchmarks.train_speed.environments import ROOT, NotInstallable
from benchmarks.train_speed.raw import Record
from tuneloop.disk import sha256_file, sha256_json
from tuneloop.stations import machine_facts
from tuneloop.terminal import say

SPEED = {"tuneloop": 1.0, "rensa": 1.0, "rensa_rho": 1.0, "datasketch": 0.1, "text_dedup": 0.1}
"""Systems whose speed is measured -> the share of the texts that they get; the slow ones are extrapolated linearly."""
QUALITY = ("tuneloop", "datasketch", "data_juicer")
RECALL = 0.98
SECONDS_AT_MOST = 3600


class Failed(Exception):
    """A process that gave no result; the text is the end of what it said."""


@dataclass(frozen=True)
class Point:
    """One run of a round.

    Attributes:
        kind: "speed" or "quality".
        data: Name of the set.
        system: A key of SYSTEMS.
        threshold: Jaccard.
        first: Texts of the set that it gets.
    """

    kind: str
    data: str
    system: str
    threshold: float
    first: int


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        speed: The set for speed and memory.
        quality: The sets for quality.
        thresholds: For quality.
        threshold: For speed.
        systems: Only these.
        repeats: Rounds of the speed runs.
        work: Folder of texts and processes.
        raw: The records.
        command: What the user typed.
    """

    speed: Texts
    quality: Sequence[Texts]
    thresholds: Sequence[float]
    threshold: float
    systems: Sequence[str]
    repeats: int
    work: Path
    raw: Path
    command: str


class Bench(Session):
    """One session of measuring.

    Args:
        plan: What to measure.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.raw)
        self.plan = plan
        self.sets = {given.name: given for given in (plan.speed, *plan.quality)}
        self.files = {name: write_texts(plan.work / "texts", given) for name, given in self.sets.items()}
        self.sha256 = {name: sha256_file(path) for name, path in self.files.items()}
        files = sorted((ROOT / "src" / "tuneloop" / "rows" / "near").glob("*.py"))
        self.code = {file.name: sha256_file(file) for file in files}
        self.truths: dict[tuple[str, float], set[Pair]] = {}

    def points(self, turn: int) -> list[Point]:
        """The runs of a round; quality is a matter of the first one."""
        plan = self.plan
        found = [
            Point("speed", plan.speed.name, system, plan.threshold, int(share * len(plan.speed.texts)))
            for system, share in SPEED.items()
        ]
        if turn == 0:
            found += [
                Point("quality", given.name, system, threshold, 0)
                for given in plan.quality for threshold in plan.thresholds for system in QUALITY
            ]  # fmt: skip
        return [point for point in found if point.system in plan.systems]

    def key(self, point: Point, turn: int) -> str:
        """Hash of all that decides what a run finds and how fast."""
        code = self.code if point.system == "tuneloop" else packages_of(point.system)
        return sha256_json([asdict(point), turn, self.sha256[point.data], code])

    def records(self) -> list[Record]:
        """The records in force of this plan, whatever session made them."""
        wanted = {self.key(point, turn) for turn in range(self.plan.repeats) for point in self.points(turn)}
        return self.in_force(wanted)

    def run(self) -> list[str]:
        """Run all that does not stand yet; gives what went wrong."""
        for turn in range(self.plan.repeats):
            for point in self.points(turn):
                if not self.stands(self.key(point, turn)):
                    self._measure(point, turn)
        return self.new_faults

    def _measure(self, point: Point, turn: int) -> None:
        name = f"{point.kind}, {point.data}, {point.system}, Jaccard {point.threshold}, round {turn + 1}"
        say(f"{name} ...")
        record: Record = {
            "key": self.key(point, turn), "session": self.session, **asdict(point), "round": turn,
            "machine": machine_facts(), "command": self.plan.command, "sha256": self.sha256[point.data],
        }  # fmt: skip
        try:
            result = self._process(point)
            clusters = result.pop("clusters", None)
            if clusters is not None:
                result["in_clusters"], result["clusters"] = sum(map(len, clusters)), len(clusters)
                record["quality"] = self._quality(point, clusters)
            record["result"] = result
            told = faults(point, record)
        except NotInstallable as reason:
            record["absent"], told = f"not installable: {reason}", []
        except Failed as reason:
            told = [f"failed: {reason}"]
        if told:
            record["withdrawn"] = "; ".join(told)
        self.keep(name, record)

    def _quality(self, point: Point, clusters: Sequence[Sequence[int]]) -> dict[str, Any]:
        """How the clusters fare: against the pairs of the truth, and on the planted twins above the threshold."""
        given, found = self.sets[point.data], dict[str, Any]()
        if point.kind == "quality" and not given.planted:
            found |= pair_figures(set(pairs_of(clusters)), self._truth(given, point.threshold))
        cluster_of = {place: number for number, members in enumerate(clusters) for place in members}
        size = point.first or len(given.texts)
        planted = [one for one in given.planted if one[1] < size and one[2] >= point.threshold]
        if planted:
            together = sum(cluster_of.get(a, -1) == cluster_of.get(b, -2) for a, b, _ in planted)
            found |= {"planted": len(planted), "planted_found": together}
        return found

    def _truth(self, given: Texts, threshold: float) -> set[Pair]:
        if given.truth:
            return set(given.truth)
        key = given.name, threshold
        if key not in self.truths:
            self.truths[key] = set(pairs_of(joined(true_pairs(given.texts, threshold))))  # closed, as everyone's are
        return self.truths[key]

    def _process(self, point: Point) -> dict[str, Any]:
        """Run a system and give its result.

        Raises:
            NotInstallable: if it cannot be had.
            Failed: if it ended without a result.
        """
        python, folder = python_of(point.system), (self.plan.work / "process").resolve()
        shutil.rmtree(folder, ignore_errors=True)
        texts = str(self.files[point.data].resolve())
        path = write_job(Job(point.system, texts, point.first, point.threshold, str(folder)))
        # Its folder is where it writes what it wants to keep; nobody reaches for a network.
        variables = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "HOME": str(folder), "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(folder), "TOKENIZERS_PARALLELISM": "false",
        }  # fmt: skip
        try:
            done = subprocess.run(
                [str(python), "-m", "benchmarks.near_duplicates.process", str(path)], cwd=folder, env=variables,
                capture_output=True, text=True, timeout=SECONDS_AT_MOST, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Failed(f"no end after {SECONDS_AT_MOST} s") from None
        told = folder / "result.json"
        if done.returncode or not told.is_file():
            raise Failed(f"exit {done.returncode}: {' / '.join(done.stderr.strip().splitlines()[-3:])[-400:]}")
        result: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
        shutil.rmtree(folder)
        return result


def pair_figures(found: set[Pair], truth: set[Pair]) -> dict[str, float]:
    """Precision, recall and F1 over pairs, in 0 to 1; an empty side counts as all right.

    Args:
        found: Pairs (left, right), left < right, that a system puts together.
        truth: Those that belong together.
    """
    both = len(found & truth)
    precision = both / len(found) if found else 1.0
    recall = both / len(truth) if truth else 1.0
    f1 = 2 * precision * recall / (precision + recall) if both else 0.0
    return {"precision": precision, "recall": recall, "f1": f1, "pairs": len(found), "true_pairs": len(truth)}


def faults(point: Point, record: Mapping[str, Any]) -> list[str]:
    """Why a run says nothing: texts that got lost, or, of ours, planted twins that were not found."""
    told, result, quality = [], record["result"], record.get("quality", {})
    if point.first and result["texts"] != point.first:
        told.append(f"{result['texts']} texts were read, asked {point.first}")
    if point.system == "tuneloop" and quality.get("planted"):
        recall = quality["planted_found"] / quality["planted"]
        if recall < RECALL:
            told.append(f"found {recall:.1%} of the planted twins above the threshold, asked {RECALL:.0%}")
    return told
