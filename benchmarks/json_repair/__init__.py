"""Whether broken JSON lines come back as the rows that they were: `tuneloop clean` beside other readers of broken JSON.

    broken   2,000 rows of a set, each broken by one operator of benchmarks/dirt, among the set's other rows, whole
    deep     as many lines cut anywhere before their last value is whole: what survives, and whether it is told
    suite    every file of json_test_suite, alone and as a line among whole rows: crashes, seconds, valid ones touched

`python -m benchmarks.json_repair` measures (seeds 0 to 2); `--short` proves in seconds, on made-up rows, that it works.
"""
