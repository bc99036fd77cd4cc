"""Dirt with a known answer: clean rows and a seed in, dirty lines and the list of what was planted where out.

    added       exact 5 %, near 5 %, off_topic 5 %, noise 5 %            rates are shares of the clean rows
    in place    broken_json 5 %, mojibake 3 %, flipped 5 %               no row has two of these

`python -m benchmarks.dirt --set banking77 --seed 0 --out FOLDER` writes rows.jsonl (what a cleaner reads),
planted.jsonl (a line for each fault: which line, what, how, and what stood there before), clean.jsonl and dirt.json.
"""
