"""What every system answers: the model's folder, and prompts as token ids.

${TUNELOOP_DATA}/gsm8k_train -> questions behind the chat template     made-up tokens for the short form
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from benchmarks.train_speed.inputs import base_model, folder_of_data, tiny_model

MAX_LENGTH = 512


def prepare(folder: Path, *, rows: int, short: bool) -> tuple[Path, Path]:
    """Write the prompts and give the folder of the model and the path of the prompts, a JSON list of lists of ids.

    Args:
        folder: Where to.
        rows: How many.
        short: A tiny model and made-up tokens.

    Raises:
        DataError: if TUNELOOP_DATA does not hold the set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = tiny_model(folder / "tiny") if short else base_model()
    path = folder / "prompts.json"
    path.write_text(json.dumps(made_up(rows) if short else gsm8k(model, rows)), encoding="utf-8")
    return model, path


def gsm8k(model: Path, rows: int) -> list[list[int]]:
    """The first questions of the file, as a user's turn (Cobbe et al. 2021, arXiv:2110.14168)."""
    from tuneloop.examples.encode import encode_prompt
    from tuneloop.examples.template import template_of
    from tuneloop.model.load import load_tokenizer
    from tuneloop.model.source import resolve
    from tuneloop.records import Message

    tokenizer = load_tokenizer(resolve(str(model)))
    template = template_of(tokenizer)
    lines = (folder_of_data("gsm8k_train") / "train.jsonl").read_text(encoding="utf-8").splitlines()[:rows]
    turns = [(Message("user", json.loads(line)["question"]),) for line in lines]
    return [encode_prompt(turn, tokenizer, template, think="keep", max_length=MAX_LENGTH) for turn in turns]


def made_up(rows: int) -> list[list[int]]:
    """Random tokens of the tiny model, a common beginning before each."""
    made = random.Random(0)
    begin = [made.randrange(2, 200) for _ in range(20)]
    return [begin + [made.randrange(2, 200) for _ in range(made.randint(1, 30))] for _ in range(rows)]
