"""Whether the stage of relevance finds rows of other sets, by 20 example rows, by a description, or by itself.

    benchmarks/dirt, off-topic rows only -> relevance of each row -> AUC, share dropped and reviewed at the defaults
    clean sets                           -> the same              -> share of their rows lost at the defaults

`python -m benchmarks.relevance` measures, seeds 0 to 2; what was chosen was chosen on other mixtures. `--short` proves
in seconds, on made-up rows and with counted words for an encoder, that it works.
"""
