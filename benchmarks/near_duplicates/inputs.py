"""The texts: made ones with planted near twins for speed and recall, and two real sets with known duplicates."""

from __future__ import annotations

import csv
import json
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, combinations
from pathlib import Path

from tuneloop.rows.clean import normalised

Pair = tuple[int, int]
TWINS = 0.05
"""Share of the made texts that are twins of another one."""
SHINGLE = 5


@dataclass(frozen=True)
class Texts:
    """Texts to look through.

    Attributes:
        name: Of the set.
        texts: Normalised, without line ends.
        truth: Pairs that belong together, whatever a system is asked for; () where they follow from the threshold.
        planted: (left, right, Jaccard) of planted twins.
    """

    name: str
    texts: list[str]
    truth: tuple[Pair, ...] = ()
    planted: tuple[tuple[int, int, float], ...] = ()


def made(count: int, *, seed: int = 0, words: int = 13) -> Texts:
    """Sentences of made words, about 75 characters; every twentieth is a twin with one to three words changed.

    Args:
        count: Texts.
        seed: Another seed, other texts.
        words: Of a text.
    """
    chance = random.Random(seed)
    vocabulary = ["".join(chance.choices("etaoinshrdlucmfwypvbgk", k=chance.randint(2, 9))) for _ in range(30_000)]
    weights = list(accumulate(1 / (rank + 10) for rank in range(len(vocabulary))))
    twins = int(count * TWINS)
    texts = [" ".join(chance.choices(vocabulary, cum_weights=weights, k=words)) for _ in range(count - twins)]
    pairs = []
    for original in chance.sample(range(len(texts)), twins):
        changed = texts[original].split()
        for place in chance.sample(range(len(changed)), chance.randint(1, 3)):
            changed[place] = chance.choice(vocabulary)
        pairs.append((original, len(texts)))
        texts.append(" ".join(changed))
    order = list(range(count))
    chance.shuffle(order)
    place_of = {old: new for new, old in enumerate(order)}
    shuffled = [texts[old] for old in order]
    planted = [(min(a, b), max(a, b)) for a, b in ((place_of[one], place_of[two]) for one, two in pairs)]
    similar = [(a, b, jaccard(shuffled[a], shuffled[b])) for a, b in sorted(planted)]
    return Texts(f"made {count:,}", shuffled, planted=tuple(similar))


def quality_sets() -> list[Texts]:
    """The real sets that TUNELOOP_DATA holds."""
    root = Path(os.environ.get("TUNELOOP_DATA") or "nowhere")
    found = []
    if (root / "dedupe_early_childhood").is_dir():
        sites = early_childhood(root / "dedupe_early_childhood")
        found += [sites, replace(sites, name=f"{sites.name} by Jaccard", truth=())]
    if (root / "sms_spam").is_dir():
        found.append(sms_spam(root / "sms_spam"))
    return found


def early_childhood(folder: Path) -> Texts:
    """Records of Chicago's early childhood sites, name and address joined; the truth is their "True Id"."""
    path = folder / "messy_input_with_true_ids.csv"
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        rows = list(csv.DictReader(file))
    groups: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[row["True Id"]].append(place)
    texts = [normalised(f"{row['Site name']} {row['Address']}") for row in rows]
    return Texts("dedupe_early_childhood", texts, tuple(pairs_of(groups.values())))


def sms_spam(folder: Path) -> Texts:
    """Short messages, 403 of them exact duplicates; near ones are those whose true Jaccard says so."""
    lines = (folder / "sms_spam.jsonl").read_text(encoding="utf-8").splitlines()
    return Texts("sms_spam", [normalised(json.loads(line)["text"]) for line in lines])


def pairs_of(groups: Iterable[Sequence[int]]) -> list[Pair]:
    """Every pair of positions that stand in one group."""
    return [pair for members in groups for pair in combinations(sorted(members), 2)]


def shingle_set(text: str) -> frozenset[str]:
    """The 5-grams of a text in plain Python, as all systems are asked to compare them."""
    return frozenset(text[place : place + SHINGLE] for place in range(max(len(text) - SHINGLE + 1, 1)))


def jaccard(one: str, other: str) -> float:
    """The true Jaccard of two texts."""
    a, b = shingle_set(one), shingle_set(other)
    return len(a & b) / len(a | b)


def true_pairs(texts: Sequence[str], threshold: float) -> list[Pair]:
    """Every pair of texts with a true Jaccard of at least the threshold, by counting what each two share."""
    sets = list(map(shingle_set, texts))
    holders: dict[str, list[int]] = defaultdict(list)
    found = []
    for place, one in enumerate(sets):
        shared: dict[int, int] = defaultdict(int)
        for part in one:
            for other in holders[part]:
                shared[other] += 1
            holders[part].append(place)
        for other, both in shared.items():
            if both / (len(one) + len(sets[other]) - both) >= threshold:
                found.append((other, place))
    return found


def write_texts(folder: Path, given: Texts) -> Path:
    """Write a set as a file of lines."""
    path = folder / f"{given.name.replace(' ', '-').replace(',', '')}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(text + "\n" for text in given.texts), encoding="utf-8")
    return path
