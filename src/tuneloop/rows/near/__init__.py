"""Near duplicates among texts: MinHash bands propose pairs, the true Jaccard of their shingles decides.

    texts (N) --same.py--> distinct texts --shingles.py--> hashed character n-grams, a batch at a time
        --minhash.py--> band keys (B, N) uint32 and sketches --candidates.py--> pairs that share a band
        --jaccard.py--> pairs whose true Jaccard is at least the threshold --clusters.py--> clusters

`near_duplicates(texts, threshold)` is the whole of it; `jaccards` gives the exact similarity of any pairs.
"""

from tuneloop.rows.near.clusters import LOWEST_THRESHOLD, NearDuplicates, near_duplicates
from tuneloop.rows.near.jaccard import jaccards
from tuneloop.rows.near.shingles import CJK_LENGTH, LENGTH, Shingles, shingles

__all__ = [
    "CJK_LENGTH",
    "LENGTH",
    "LOWEST_THRESHOLD",
    "NearDuplicates",
    "Shingles",
    "jaccards",
    "near_duplicates",
    "shingles",
]
