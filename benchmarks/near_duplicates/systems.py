"""The systems, each a function (texts, threshold, timed) -> Found; what only one of them needs is imported inside.

Everyone gets the same normalised texts, compares sets of 5 characters, and does all its work inside `timed()`: from
texts to what it says about them. This file runs in the peers' environments too, and imports no tuneloop but for ours.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Found = dict[str, Any]
"""`clusters`: positions that a system puts together, or `flagged`: how many texts it calls duplicates."""
Timed = Callable[[], contextlib.AbstractContextManager[None]]

LENGTH, PERMUTATIONS, BATCH = 5, 128, 20_000


def character_sets(texts: Iterable[str]) -> list[list[str]]:
    """The shingles of each text, as the peers take them."""
    last = LENGTH - 1
    return [[text[place : place + LENGTH] for place in range(max(len(text) - last, 1))] for text in texts]


def tuneloop(texts: Sequence[str], threshold: float, timed: Timed) -> Found:
    """Ours: every pair verified."""
    from tuneloop.rows.near import near_duplicates

    with timed():
        found = near_duplicates(texts, threshold)
    return {"clusters": found.clusters, "pairs": len(found.left)}


def rensa(texts: Sequence[str], threshold: float, timed: Timed) -> Found:
    """Bare rensa: R-MinHash of the full sets and its own LSH; no candidate is verified, no cluster made."""
    return _rensa(texts, threshold, timed, "digest_matrix_from_token_sets")


def rensa_rho(texts: Sequence[str], threshold: float, timed: Timed) -> Found:
    """Rensa's faster pipeline, which looks at a sample of the shingles."""
    return _rensa(texts, threshold, timed, "digest_matrix_from_token_sets_rho")


def _rensa(texts: Sequence[str], threshold: float, timed: Timed, way: str) -> Found:
    from rensa import RMinHash, RMinHashLSH

    bands = next(b for b in (8, 16, 32, 64) if 1 - (1 - threshold ** (PERMUTATIONS / b)) ** b >= 0.99)
    with timed():
        flags: list[bool] = []
        lsh = RMinHashLSH(threshold, PERMUTATIONS, bands)
        for start in range(0, len(texts), BATCH):
            matrix = getattr(RMinHash, way)(character_sets(texts[start : start + BATCH]), PERMUTATIONS, 42)
            flags += lsh.insert_matrix_and_query_duplicate_flags(matrix, start_key=start)
    return {"flagged": sum(flags), "bands": bands}


def datasketch(texts: Sequence[str], threshold: float, timed: Timed) -> Found:
    """datasketch: MinHash and MinHashLSH as its documentation has them; candidates are joined, none is verified."""
    from datasketch import MinHash, MinHashLSH

    with timed():
        lsh = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
        edges: list[tuple[int, int]] = []
        for start in range(0, len(texts), BATCH):
            sets = ([part.encode() for part in set(parts)] for parts in character_sets(texts[start : start + BATCH]))
            for place, sketch in enumerate(MinHash.generator(sets, num_perm=PERMUTATIONS), start):
                edges += [(other, place) for other in lsh.query(sketch)]
                lsh.insert(place, sketch)
        clusters = joined(edges)
    return {"clusters": clusters, "bands": lsh.b}


def text_dedup(texts: Sequence[str], threshold: float, timed: Timed) -> Found:
    """text-dedup's own command. It cuts at non-letters, so each character goes in as a letter behind a space."""
    import json

    from text_dedup.minhash import main

    letters = {character: chr(0x4E00 + place) for place, character in enumerate(sorted({*"".join(texts)}))}
    with tempfile.TemporaryDirectory() as folder:
        rows = (json.dumps({"text": " ".join(map(letters.__getitem__, text))}) for text in texts)
        Path(folder, "rows.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
        arguments = {
            "path": "json", "data_files": f"{folder}/rows.jsonl", "split": "train", "column": "text",
            "cache_dir": f"{folder}/cache", "output": f"{folder}/kept", "ngram": LENGTH, "min_length": 1,
            "num_perm": PERMUTATIONS, "threshold": threshold, "num_proc": os.cpu_count(),
        }  # fmt: skip
        with timed():
            main([f"--{name}={value}" for name, value in arguments.items()], standalone_mode=False)
        from datasets import load_from_disk

        kept = len(load_from_disk(f"{folder}/kept"))
    return {"flagged": len(texts) - kept}


def data_juicer(texts: Sequence[str], threshold: float, timed: Timed) -> Found:
    """data-juicer's document_minhash_deduplicator over characters, its other settings as they are."""
    from data_juicer.ops.deduplicator.document_minhash_deduplicator import DocumentMinhashDeduplicator
    from datasets import Dataset

    with timed():
        operator = DocumentMinhashDeduplicator(
            tokenization="character", window_size=LENGTH, jaccard_threshold=threshold
        )
        hashed = [operator.compute_hash({"text": text, "place": place}) for place, text in enumerate(texts)]
        _, twins = operator.process(Dataset.from_list(hashed), show_num=len(texts))
    edges = [(rows[0]["place"], row["place"]) for rows in twins.values() for row in rows[1:]]
    return {"clusters": joined(edges), "bands": operator.num_bands}


SYSTEMS: dict[str, Callable[[Sequence[str], float, Timed], Found]] = {
    "tuneloop": tuneloop,
    "rensa": rensa,
    "rensa_rho": rensa_rho,
    "datasketch": datasketch,
    "text_dedup": text_dedup,
    "data_juicer": data_juicer,
}


def joined(edges: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The positions that edges connect, each group rising."""
    parent: dict[int, int] = {}

    def root(place: int) -> int:
        while parent.setdefault(place, place) != place:
            place = parent[place]
        return place

    for one, other in edges:
        a, b = root(one), root(other)
        parent[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = defaultdict(list)
    for place in sorted(parent):
        groups[root(place)].append(place)
    return sorted(groups.values())
