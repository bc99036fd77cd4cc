"""Scoring every label of a set for every row: tuneloop against scoring each label by itself, one CPU, one model.

    banking77's test rows + 77 labels + a prompt -+-> ours: ChoiceScorer, all rows                   -+-> seconds a row
                                                  +-> alone: a forward pass for each label, few rows  +-> largest gap of
                                                  +-> batched: a row's labels in padded batches      -+   any two scores

`make bench-labels` measures; `python -m benchmarks.label_scoring --short` proves in seconds that it works.
"""
