"""Whether stage 3 of the cleaning finds what was planted: noise by its score, flipped labels by their plausibility.

    benchmarks/dirt, noise only   -> the noise score    -> share of the noise, and of the clean rows, under 0.3
    benchmarks/dirt, flipped only -> plausibility    -> average precision beside cleanlab's, on the same probabilities

`python -m benchmarks.noise` measures (seeds 0 to 2; what was chosen was chosen on other sets, and on seed 101);
`python -m benchmarks.noise --short` proves in seconds, on made-up rows, that it works.
"""
