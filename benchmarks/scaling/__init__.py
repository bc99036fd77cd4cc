"""Whether training takes the same time by its limit, whatever the length of documents and the number of rows.

    lengths.py: steps of about 4,096 tokens of made-up documents, one length a run  -> train_speed/systems/tuneloop.py
    rows.py:    1,000 to 100,000 short rows in a file -> read, clean, encode, a few steps of the loop
                           run.py: interleaved, the matrix products' rate before each -> raw.jsonl -> table.md

`make bench-scaling` measures all; `python -m benchmarks.scaling --short` proves in a minute that it works.
"""
