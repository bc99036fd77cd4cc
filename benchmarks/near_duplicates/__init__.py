"""Near duplicates: speed, memory and quality of tuneloop beside rensa, datasketch, text-dedup and data-juicer.

    made texts with planted twins -+-> process.py, a system of systems.py in an environment of its own -+-> raw.jsonl
    early childhood, sms_spam     -+                                                                     `-> table.md

`python -m benchmarks.near_duplicates` measures; `--short` proves in a minute that it works. The quality sets are read
from TUNELOOP_DATA and left out, said aloud, where it is not there.
"""
