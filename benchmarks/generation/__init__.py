"""Speed of greedy answers: tuneloop's engine beside transformers' generate with its best batch, one model, one CPU.

    GSM8K questions -> prompts.json -+
    systems.py: who, with which batch and cache -+-> a process each, round after round -> tokens, seconds, peak memory
                                                          run.py, ties.py: the same tokens -> raw.jsonl, table.md  <---+

`make bench-generate` measures all; `python -m benchmarks.generation --short` proves in seconds that it works.
"""
