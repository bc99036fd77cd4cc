"""Training speed of tuneloop and its peers on one CPU, with the same tokens, start and steps for everyone.

    data sets -> one token file each  -+
    model -> start weights of adapters -+-> job.json -> a process for each system, in its own environment -> result.json
    rows.py: who, with which settings  -+                                                                       |
                                                   guards.py, floor.py -> raw.jsonl -> table.md, speed.svg  <---+

`make bench-train` measures everything; `python -m benchmarks.train_speed --short` proves in minutes that it works.
tokens.py, job.py, start.py, watch.py and systems/ run in the peers' environments too, where there is no tuneloop.
"""
