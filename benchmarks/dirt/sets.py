"""The sets that are made dirty, as records with a text and a label, and the other sets that strangers come from.

${TUNELOOP_DATA}/<set> -> [{"text": ..., "label": ...}], in file order, the same text and label once
"""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import tuneloop
from tuneloop.disk import sha256_json
from tuneloop.errors import DataError

Record = dict[str, str]
SHIPPED = "customer_service"
"""The one set that needs no TUNELOOP_DATA."""


def _jsonl(file: str, text: str, label: str) -> Callable[[Path], list[Record]]:
    def read(folder: Path) -> list[Record]:
        lines = (folder / file).read_text(encoding="utf-8").split("\n")  # texts hold other line ends
        rows = [json.loads(line) for line in lines if line.strip()]
        return [{"text": str(row[text]), "label": str(row[label])} for row in rows]

    return read


def _banking77(folder: Path) -> list[Record]:
    with open(folder / "train.csv", encoding="utf-8", newline="") as file:
        return [{"text": row["text"], "label": row["category"]} for row in csv.DictReader(file)]


def _shipped(_: Path) -> list[Record]:
    """The cleaned training rows of the shipped example, less those that are off topic; some are Chinese."""
    from tuneloop.recipe import load_recipe
    from tuneloop.rows.prepare import prepare_rows

    recipe = Path(tuneloop.__file__).parent / "templates" / SHIPPED / "recipe.yaml"
    rows = prepare_rows(load_recipe(recipe, ["clean.relevance=off", "clean.outliers=off"]), recipe.parent).clean
    planted = json.loads((recipe.parent / "planted.json").read_text(encoding="utf-8"))
    strangers = {f"train.jsonl:{fault['line']}" for fault in planted if fault["kind"] == "off_topic"}
    return [{"text": row.text, "label": str(row.label)} for row in rows if row.source not in strangers]


def shipped_sha256(name: str) -> str:
    """Hash of the rows of the shipped example, which follow its files and its cleaning; "" for any other set."""
    return sha256_json(_shipped(Path())) if name == SHIPPED else ""


SETS: dict[str, tuple[str, Callable[[Path], list[Record]]]] = {
    "banking77": ("en", _banking77),
    "medquad_nih": ("en", _jsonl("medquad.jsonl", "question", "qtype")),
    "snips": ("en", _jsonl("train.jsonl", "text", "intent")),
    "sms_spam": ("en", _jsonl("sms_spam.jsonl", "text", "label")),
    "financial_phrasebank": ("en", _jsonl("phrasebank_50agree.jsonl", "text", "label")),
    SHIPPED: ("en", _shipped),
    "smp2019_nlu": ("zh", _jsonl("train.jsonl", "text", "domain")),
    "fewclue_tnews": ("zh", _jsonl("test_public.json", "sentence", "label_desc")),
    "fincuge_finfe": ("zh", _jsonl("train.jsonl", "text", "label")),
    "zh_medical_dialogue_im": ("zh", _jsonl("qa.jsonl", "title", "department")),
}
"""Name -> language, and its reader. medquad's text is the question: one row in five asks what another row asks."""

STRANGERS = {
    "en": ("sms_spam", "medquad_nih", "financial_phrasebank", "snips"),
    "zh": ("fewclue_tnews", "fincuge_finfe", "zh_medical_dialogue_im", "smp2019_nlu"),
}
"""Where off-topic rows come from; the first three that are not the set itself."""


def read_set(name: str) -> list[Record]:
    """The rows of a set: the same text with the same label once, so that all duplicates are planted ones.

    Raises:
        DataError: if the set is unknown, or TUNELOOP_DATA does not hold it.
    """
    if name not in SETS:
        raise DataError(f"No such set: {name}", allowed=", ".join(SETS))
    root = os.environ.get("TUNELOOP_DATA", "")
    folder = Path(root) / name
    if name != SHIPPED and not (root and folder.is_dir()):
        raise DataError(
            f"The dirt is planted in the set {name}, and TUNELOOP_DATA does not hold it", got=repr(root),
            fix="TUNELOOP_DATA=/folder/of/the/sets python -m benchmarks.dirt ...",
        )  # fmt: skip
    return distinct(SETS[name][1](folder))


def distinct(rows: list[Record]) -> list[Record]:
    """The first of all rows with the same text and label; rows without text are left out."""
    return list({(row["text"].strip(), row["label"]): row for row in reversed(rows) if row["text"].strip()}.values())[
        ::-1
    ]


def strangers(name: str) -> dict[str, list[str]]:
    """Other set -> its texts, for off-topic rows of the same language."""
    others = [other for other in STRANGERS[language(name)] if other != name][:3]
    return {other: [row["text"] for row in read_set(other)] for other in others}


def language(name: str) -> str:
    """ "en" or "zh"."""
    return "en" if name == "made_up" else SETS[name][0]


SUBJECTS = {
    "card": "card|new card|bank card|plastic|credit card|replacement",
    "rate": "exchange rate|rate|conversion|rate for euros|rate abroad|currency price",
    "fee": "fee|charge|extra cost|cash fee|monthly fee|commission",
    "pin": "pin|code|secret number|pin code|four digits|password",
}
STARTS = [
    "where is my {}",
    "why is the {} so strange",
    "I have a question about the {}",
    "what happened to my {}",
    "the {} is wrong",
    "can you check the {}",
    "how do I change the {}",
    "tell me more about a {}",
    "is there a problem with my {}",
    "I do not understand this {}",
    "who can help me with the {}",
    "my {} does not look right",
    "when will the {} be ready",
]
OPENERS = ("", "", "", "hello", "hi there", "good morning", "excuse me", "please help", "sorry to ask again")
TAILS = (
    "", "", "please", "today", "again", "for my account", "in the app", "and I need help", "since last week",
    "at the bank", "when I travel", "thank you", "as soon as possible", "on my phone", "before the weekend",
)  # fmt: skip


def made_up(count: int, seed: int = 0) -> list[Record]:
    """Rows of a little bank of four labels, for the short form: all different."""
    chance, rows = random.Random(f"{seed}:made up"), dict[str, Record]()
    while len(rows) < count:
        label = list(SUBJECTS)[len(rows) % len(SUBJECTS)]
        middle = chance.choice(STARTS).format(chance.choice(SUBJECTS[label].split("|")))
        parts = [chance.choice(OPENERS), middle, chance.choice(TAILS), chance.choice(TAILS)]
        text = " ".join(part for part in parts if part)
        rows.setdefault(text, {"text": text, "label": label})
    return list(rows.values())
