"""Build the shipped customer-service set: clean rows -> train.jsonl with planted faults, test.jsonl, planted.json.

    scripts/customer_service/rows.jsonl        994 clean rows, written by hand, 14 intents
    scripts/customer_service/near_twins.jsonl   30 of them with a word changed (key near_of: the original's text)
    scripts/customer_service/off_topic.jsonl    25 rows that belong to no intent, with the label an export gave them
        |   no random numbers: every choice and place follows from sha256(SEED, purpose, text), so that
        v   editing one row moves no other, and the same input gives the same bytes on every machine
    src/tuneloop/templates/customer_service/{train.jsonl, test.jsonl, planted.json}

planted.json is a list, in the order of the lines of train.jsonl, one entry a fault:

    kind     exact_duplicate | near_duplicate | broken_json | mojibake | html_remains | label_spelling | empty_field
             | off_topic | leak
    how      the form of the fault, e.g. "trailing comma"
    line     its line in train.jsonl, 1-based
    of       `file:line` of the row that it repeats, or null
    before   the clean row (of a repeat: the row that it repeats), or null where none was meant (off topic)
    expect   what the recipe `customer_service` does with it: "dropped" | "repaired" | "dropped, or the row that it
             repeats" (of near twins the better one stays) | "dropped or to review". A row without a label is
             of use to the recipe `customer_service_replies`, which reads text and reply alone.

Run: python scripts/build_customer_service.py [--out FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 42  # fixed before any model or floor had been scored on the test split
TEST_ROWS = 20  # of each intent
HERE = Path(__file__).parent
SOURCE = HERE / "customer_service"
TARGET = HERE.parent / "src" / "tuneloop" / "templates" / "customer_service"

EITHER = "dropped, or the row that it repeats"

Record = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What planted.json says of a line, but for the line numbers."""

    kind: str
    how: str
    before: Record | None
    expect: str


@dataclass(frozen=True)
class Line:
    """One line of train.jsonl: where it stands (a fraction of the file), how it reads, its fault."""

    place: float
    raw: str
    text: str  # of the clean row that it holds; "" for an added line, which no other line may repeat
    fault: Fault | None = None


def read(path: Path) -> list[Record]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def dump(row: Record) -> str:
    """One row as the export writes it."""
    return json.dumps(row, ensure_ascii=False)


def fraction(purpose: str, text: str) -> float:
    """A number in [0, 1) that follows from the seed, a purpose and a text."""
    return int(hashlib.sha256(f"{SEED}|{purpose}|{text}".encode()).hexdigest()[:12], 16) / 16**12


def drawn(rows: Iterable[Record], purpose: str) -> list[Record]:
    """The rows in the order that `purpose` draws them."""
    return sorted(rows, key=lambda row: fraction(purpose, row["text"]))


def split(rows: list[Record], pinned: set[str]) -> tuple[list[Record], list[Record]]:
    """Training and test rows: 20 test rows an intent, 20 of the 70 Chinese rows among all 280.

    A row that has a near twin in training (`pinned`) is never a test row.
    """
    by_label: dict[str, list[Record]] = defaultdict(list)
    for row in rows:
        by_label[row["label"]].append(row)
    test: list[Record] = []
    for place, label in enumerate(sorted(by_label)):
        free = drawn((row for row in by_label[label] if row["text"] not in pinned), "test")
        chinese = 2 if place % 7 in (0, 2, 4) else 1
        test += [row for row in free if row["lang"] == "zh"][:chinese]
        test += [row for row in free if row["lang"] == "en"][: TEST_ROWS - chinese]
    chosen = {row["text"] for row in test}
    return [row for row in rows if row["text"] not in chosen], drawn(test, "order of the test rows")


# --- the faults ------------------------------------------------------------------------------------------------


def repeat_case(text: str) -> str:
    """The text shouted."""
    return text.upper()


def repeat_space(text: str) -> str:
    """The text with the white space of a careless paste."""
    first, _, rest = text.partition(" ")
    return f" {first}  {rest} \t"


def repeat_width(text: str) -> str:
    """The text with the full-width digits and punctuation of a Chinese keyboard."""
    return "".join(chr(ord(letter) + 0xFEE0) if letter in ",?!:;0123456789" else letter for letter in text)


REPEATS: dict[str, tuple[int, Callable[[str], str]]] = {
    "identical": (10, str),
    "letter case": (5, repeat_case),
    "white space": (5, repeat_space),
    "full-width signs": (4, repeat_width),
}

BREAKS: dict[str, tuple[int, Callable[[Record], str]]] = {
    "trailing comma": (4, lambda row: dump(row)[:-1] + ",}"),
    "single quotes": (4, lambda row: str(row)),  # what Python's print writes
    "unquoted key": (3, lambda row: dump(row).replace('"label":', "label:")),
    "stray comment": (3, lambda row: dump(row).replace('"reply":', '/* checked by hand */ "reply":')),
    "cut in the closing brackets": (2, lambda row: dump(row)[:-2]),  # the last quote and brace are gone
    "cut deep in the text": (4, lambda row: dump(row)[: len('{"text": "') + len(row["text"]) // 2]),
}

EMPTIES: dict[str, tuple[int, Callable[[Record], Record]]] = {
    "empty text": (3, lambda row: {**row, "text": ""}),
    "blank text": (1, lambda row: {**row, "text": "   "}),
    "empty label": (3, lambda row: {**row, "label": ""}),
    "null label": (1, lambda row: {**row, "label": None}),
    "no text": (2, lambda row: {key: value for key, value in row.items() if key != "text"}),
    "no label": (2, lambda row: {key: value for key, value in row.items() if key != "label"}),
}

LEAKS: dict[str, tuple[int, Callable[[str], str]]] = {
    "identical": (3, str),
    "letter case": (1, repeat_case),
    "white space": (1, repeat_space),
}

REMAINS: dict[str, tuple[int, Callable[[str], str]]] = {
    "entities": (2, lambda text: text.replace("'", "&#39;")),
    "paragraph tags": (2, lambda text: f"<p>{text}</p>"),
    "spaces that do not break": (2, lambda text: text.replace(" ", "&nbsp;", 1)),
}

SPELLINGS: dict[str, tuple[int, Callable[[str], str]]] = {
    "capitals": (2, str.upper),
    "hyphens": (2, lambda label: label.replace("_", "-")),
    "words and a colon": (2, lambda label: label.replace("_", " ").capitalize() + ":"),
}

VALIDATION = 0.1  # of the recipe, whose split hashes as `fraction` does

GARBLED = {"curly quotes": 5, "dash": 2, "accent": 3, "Chinese": 5}


def sign(row: Record) -> str:
    """Which of the signs that mojibake spoils stand in the row's text; "" for none."""
    if row["lang"] == "zh":
        return "Chinese"
    if any(letter.isalpha() and not letter.isascii() for letter in row["text"]):
        return "accent"
    if "\u2013" in row["text"]:
        return "dash"
    return "curly quotes" if any(letter in "\u2018\u2019\u201c\u201d" for letter in row["text"]) else ""


def garble(text: str, encoding: str) -> str:
    """UTF-8 bytes read as latin-1, or as cp1252 the way browsers do (its five holes are control characters)."""
    raw = text.encode()
    if encoding == "latin-1":
        return raw.decode("latin-1")
    holes = {0x81, 0x8D, 0x8F, 0x90, 0x9D}
    return "".join(chr(byte) if byte in holes else bytes([byte]).decode("cp1252") for byte in raw)


def in_place(rows: list[Record], taken: set[str]) -> list[Line]:
    """Training rows that are themselves spoilt: broken JSON, mojibake, empty fields; adds their texts to `taken`."""
    lines: list[Line] = []

    def spoil(row: Record, kind: str, how: str, raw: str, expect: str) -> None:
        taken.add(row["text"])
        lines.append(Line(fraction("place", row["text"]), raw, row["text"], Fault(kind, how, row, expect)))

    def free(purpose: str) -> list[Record]:
        return drawn((row for row in rows if row["text"] not in taken), purpose)

    for what, count in GARBLED.items():
        for number, row in enumerate([row for row in free("mojibake") if sign(row) == what][:count]):
            encoding = ("cp1252", "latin-1")[number % 2]
            bad = {key: garble(value, encoding) for key, value in row.items()}
            spoil(row, "mojibake", f"{what}, UTF-8 read as {encoding}", dump(bad), "repaired")
    for how, (count, broken) in BREAKS.items():
        expect = "dropped" if how == "cut deep in the text" else "repaired"
        for row in free("broken_json")[:count]:
            spoil(row, "broken_json", how, broken(row), expect)
    for how, (count, emptied) in EMPTIES.items():
        for row in free("empty_field")[:count]:
            spoil(row, "empty_field", how, dump(emptied(row)), "dropped")
    return lines


def falls_in_train(text: str) -> bool:
    """Whether the recipe trains on a row with this text."""
    return fraction("validation", text) >= VALIDATION


def in_place_later(rows: list[Record], taken: set[str]) -> list[Line]:
    """Training rows with HTML remains or another spelling of their label; none that another line needs whole (`taken`).

    Spoilt or mended they fall on the training side, so that a model learns the same from the set with and without them.
    """
    lines: list[Line] = []
    taken = set(taken)

    def spoil(kind: str, key: str, ways: dict[str, tuple[int, Callable[[str], str]]]) -> None:
        for how, (count, changed) in ways.items():
            free = [row for row in drawn(rows, kind) if row["text"] not in taken and changed(row[key]) != row[key]]
            pairs = [(row, {**row, key: changed(row[key])}) for row in free]
            trained = [(row, bad) for row, bad in pairs if all(falls_in_train(one["text"]) for one in (row, bad))]
            for row, bad in trained[:count]:
                taken.add(row["text"])
                fault = Fault(kind, how, row, "repaired")
                lines.append(Line(fraction("place", row["text"]), dump(bad), row["text"], fault))

    spoil("html_remains", "text", REMAINS)
    spoil("label_spelling", "label", SPELLINGS)
    return lines


def repeats(rows: list[Record], near: list[Record], taken: set[str]) -> list[Line]:
    """Lines that say again what an unspoilt training row says; each stands behind its original."""
    lines: list[Line] = []

    def again(original: Record, row: Record, kind: str, how: str, expect: str) -> None:
        first = fraction("place", original["text"])
        place = first + (1 - first) * (0.001 + 0.999 * fraction(kind, original["text"]))
        lines.append(Line(place, dump(row), "", Fault(kind, how, original, expect)))

    by_text = {row["text"]: row for row in rows}
    for twin in near:
        row = {key: value for key, value in twin.items() if key != "near_of"}
        again(by_text[twin["near_of"]], row, "near_duplicate", "a word changed", EITHER)
    used = set(taken)
    for how, (count, changed) in REPEATS.items():
        fits = [row for row in drawn(rows, "exact_duplicate") if row["text"] not in used]
        if how != "identical":  # the change must show, and Chinese has no case and few spaces
            fits = [row for row in fits if row["lang"] == "en" and changed(row["text"]) != row["text"]]
        for row in fits[:count]:
            used.add(row["text"])
            again(row, {**row, "text": changed(row["text"])}, "exact_duplicate", how, "dropped")
    return lines


def strangers(test: list[Record], off_topic: list[Record]) -> list[Line]:
    """Lines that no training row stands behind: leaked test rows and off-topic rows."""
    lines: list[Line] = []
    pool = drawn((row for row in test if row["lang"] == "en"), "leak")
    for how, (count, changed) in LEAKS.items():
        for row in pool[:count]:
            fault = Fault("leak", how, row, "dropped")
            place = fraction("leak's place", row["text"])
            lines.append(Line(place, dump({**row, "text": changed(row["text"])}), "", fault))
        pool = pool[count:]
    for row in off_topic:
        fault = Fault("off_topic", "wrong label", None, "dropped or to review")
        lines.append(Line(fraction("place", row["text"]), dump(row), "", fault))
    return lines


def listed(lines: list[Line], test: list[Record]) -> list[Record]:
    """The entries of planted.json."""
    where = {line.text: f"train.jsonl:{number}" for number, line in enumerate(lines, 1) if line.text}
    where |= {row["text"]: f"test.jsonl:{number}" for number, row in enumerate(test, 1)}
    entries: list[Record] = []
    for number, line in enumerate(lines, 1):
        if (fault := line.fault) is not None:
            of = where[fault.before["text"]] if fault.before and not line.text else None
            entry = {"kind": fault.kind, "how": fault.how, "line": number, "of": of}
            entries.append({**entry, "before": fault.before, "expect": fault.expect})
    return entries


def build(source: Path = SOURCE) -> dict[str, str]:
    """The three files, name -> content."""
    rows, near, off_topic = (read(source / f"{name}.jsonl") for name in ("rows", "near_twins", "off_topic"))
    pinned = {twin["near_of"] for twin in near}
    train, test = split(rows, pinned)
    taken = set(pinned)  # an original must stay whole
    lines = in_place(train, taken)
    spoilt = taken - pinned
    added = repeats(train, near, spoilt) + strangers(test, off_topic)
    repeated = {line.fault.before["text"] for line in added if line.fault and line.fault.before}
    later = in_place_later(train, taken | repeated)
    spoilt |= {line.text for line in later}
    whole = [row for row in train if row["text"] not in spoilt]
    lines += later + added + [Line(fraction("place", row["text"]), dump(row), row["text"]) for row in whole]
    lines.sort(key=lambda line: line.place)
    planted = listed(lines, test)
    return {
        "train.jsonl": "".join(line.raw + "\n" for line in lines),
        "test.jsonl": "".join(dump(row) + "\n" for row in test),
        "planted.json": "[\n" + ",\n".join(dump(entry) for entry in planted) + "\n]\n",
    }


def main() -> None:
    """Write the three files and say how many rows and faults they hold."""
    parser = argparse.ArgumentParser(description="Build the shipped customer-service set.")
    parser.add_argument("--out", type=Path, default=TARGET, help="folder to write to")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for name, content in build().items():
        (out / name).write_bytes(content.encode())  # bytes: the same line ends on every system
        print(f"{out / name}: {content.count(chr(10))} lines")


if __name__ == "__main__":
    main()
