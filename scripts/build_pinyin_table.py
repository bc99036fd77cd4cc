"""Make src/tuneloop/augment/tables/pinyin.txt: `python scripts/build_pinyin_table.py PYPINYIN`, a folder or the wheel.

One line a syllable (without its tone): the common characters that are read so first of all, the most frequent first.
Only those of the first level of GB 2312, the 3,755 of everyday writing: jieba counts traditional and rare ones too.
Readings are pypinyin's (pinyin_dict.json, MIT; PYPINYIN-LICENSE.txt), frequencies those of jieba's dictionary.
"""

from __future__ import annotations

import argparse
import json
import unicodedata
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

from tuneloop.augment.words import jieba_tokenizer
from tuneloop.disk import write_text

TABLE = Path(__file__).parents[1] / "src" / "tuneloop" / "augment" / "tables" / "pinyin.txt"
OPPOSITES = frozenset("卖")
"""Characters of the reading of their opposite (买), of which a slip would make it."""
COMMON = 3000
"""Characters, the most frequent ones; the others are no likely slip of an input method."""


def everyday(sign: str) -> bool:
    """Whether a character is of the first level of GB 2312."""
    return b"\xb0\xa1" <= sign.encode("gb2312", "replace") < b"\xd8"


def toneless(reading: str) -> str:
    """A reading without its tone mark: zhōng -> zhong; ü stays."""
    marks = unicodedata.normalize("NFD", reading)
    plain = "".join(sign for sign in marks if not unicodedata.combining(sign) or sign == "\u0308")
    return unicodedata.normalize("NFC", plain)


def read_readings(source: Path) -> dict[str, str]:
    """Character -> its first reading, toneless."""
    name = "pypinyin/pinyin_dict.json"
    if source.is_dir():
        text = (source / name).read_text(encoding="utf-8")
    else:
        with zipfile.ZipFile(source) as wheel:
            text = wheel.read(name).decode()
    return {chr(int(code)): toneless(readings.split(",")[0]) for code, readings in json.loads(text).items()}


def build(readings: dict[str, str]) -> list[str]:
    """The table's lines."""
    tokenizer = jieba_tokenizer()
    tokenizer.initialize()
    counts: Counter[str] = Counter()
    for word, count in tokenizer.FREQ.items():
        for sign in word:
            if "\u4e00" <= sign <= "\u9fff":
                counts[sign] += count
    groups: dict[str, list[str]] = defaultdict(list)
    for sign, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:COMMON]:
        if sign in readings and everyday(sign) and sign not in OPPOSITES:
            groups[readings[sign]].append(sign)
    return [f"{syllable}\t{''.join(signs)}" for syllable, signs in sorted(groups.items()) if len(signs) > 1]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pypinyin", type=Path, help="the wheel, or the folder that holds pypinyin/")
    lines = build(read_readings(parser.parse_args().pypinyin))
    head = "# Made from pypinyin's readings (MIT, PYPINYIN-LICENSE.txt); syllable, then characters that are read so.\n"
    write_text(TABLE, head + "\n".join(lines) + "\n")
    print(f"{TABLE}: {len(lines)} syllables, {sum(len(line.split(chr(9))[1]) for line in lines)} characters")


if __name__ == "__main__":
    main()
