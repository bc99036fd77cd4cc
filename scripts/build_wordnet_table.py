"""Make src/tuneloop/augment/tables/wordnet.txt.gz from WordNet 3.0: `python scripts/build_wordnet_table.py FOLDER`.

FOLDER holds WordNet's own files (data.*, index.*, *.exc, cntlist.rev), as Debian's package wordnet-base has them in
/usr/share/wordnet. The same FOLDER gives the same bytes.

The table has one line each, tab-separated:

    n  payment  34  ...           part of speech (n v a r), word, how often it was tagged in SemCor, its synonyms
    =v went     go                an irregular form: part of speech, form, word
    +  credit   card rating       two-word expressions: first word, second words

A word's synonyms are those of its most frequent sense, and only words whose own most frequent sense it is: a rare
sense on either side is what changes a text's meaning.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
from collections import defaultdict
from pathlib import Path

from tuneloop.disk import atomic_path

TABLE = Path(__file__).parents[1] / "src" / "tuneloop" / "augment" / "tables" / "wordnet.txt.gz"
PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
SS_TYPES = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
PLAIN = re.compile(r"[a-z]{2,}")
DOMINANT = 0.5
"""Share of a word's tagged uses, in one part of speech, that its most frequent sense must have."""
USUAL = 0.1
"""How often a synonym must be used for each use of the word: a rare one is odd in its place (person, mortal)."""

Key = tuple[str, str]  # (part of speech, word)
Synset = tuple[str, int]  # (part of speech, offset)


def read_counts(folder: Path) -> dict[Key, dict[int, int]]:
    """(part, word) -> sense number -> how often SemCor tags it (cntlist.rev)."""
    counts: dict[Key, dict[int, int]] = defaultdict(dict)
    for line in (folder / "cntlist.rev").read_text(encoding="utf-8").splitlines():
        sense, number, count = line.split()
        word, _, rest = sense.partition("%")
        counts[SS_TYPES[rest[0]], word][int(number)] = int(count)
    return counts


def read_senses(folder: Path) -> dict[Key, list[Synset]]:
    """(part, word) -> its synsets, the most frequent sense first (index.*)."""
    senses: dict[Key, list[Synset]] = {}
    for part, name in PARTS.items():
        for line in (folder / f"index.{name}").read_text(encoding="utf-8").splitlines():
            if not line.startswith(" "):
                fields = line.split()
                senses[part, fields[0]] = [(part, int(offset)) for offset in fields[-int(fields[2]) :]]
    return senses


def read_synsets(folder: Path) -> dict[Synset, list[str]]:
    """Synset -> its words; none where its usage is marked (slang, slurs, obscenity), or it is an instance (a name)."""
    synsets: dict[Synset, list[str]] = {}
    for part, name in PARTS.items():
        for line in (folder / f"data.{name}").read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):
                continue
            fields = line.partition(" | ")[0].split()
            count = int(fields[3], 16)
            words = [word for word in fields[4 : 4 + 2 * count : 2] if "(" not in word]  # (a), (p): place is fixed
            pointers = fields[5 + 2 * count :: 4]
            synsets[part, int(fields[0])] = [] if {";u", "@i"} & set(pointers) else words
    return synsets


def synonyms_of(
    key: Key, senses: dict[Key, list[Synset]], synsets: dict[Synset, list[str]], counts: dict[Key, dict[int, int]]
) -> list[str]:
    """The words that may stand for `key`, the most frequent first."""
    part, word = key
    tagged = counts.get(key, {})
    total = sum(tagged.values())
    if total and tagged.get(1, 0) < DOMINANT * total:
        return []
    first = senses[key][0]
    found = []
    for other in synsets[first]:
        theirs = counts.get((part, other), {})
        total_theirs = sum(theirs.values())
        plain = PLAIN.fullmatch(other) and other != word
        if (
            plain
            and senses[part, other][0] == first
            and theirs.get(1, 0) >= max(1, DOMINANT * total_theirs, USUAL * total)
        ):
            found.append((-theirs[1], other))
    return [other for _, other in sorted(found)]


def build(folder: Path) -> list[str]:
    """The table's lines."""
    counts, senses, synsets = read_counts(folder), read_senses(folder), read_synsets(folder)
    lines, words = [], set()
    for key in sorted(senses):
        part, word = key
        if not PLAIN.fullmatch(word):
            continue
        total = sum(counts.get(key, {}).values())
        found = synonyms_of(key, senses, synsets, counts)
        if total or found:
            lines.append("\t".join([part, word, str(total), " ".join(found)]).rstrip("\t"))
            words |= {word, *found}
    known = {line.split("\t")[1] for line in lines}
    for part in "nva":
        for line in sorted((folder / f"{PARTS[part]}.exc").read_text(encoding="utf-8").splitlines()):
            form, *bases = line.split()
            lines += [f"={part}\t{form}\t{base}" for base in bases if base in known and form.isascii()]
    pairs: dict[str, list[str]] = defaultdict(list)
    for _, expression in sorted(senses):
        first, _, second = expression.partition("_")
        if PLAIN.fullmatch(first) and PLAIN.fullmatch(second) and {first, second} <= words:
            pairs[first].append(second)
    lines += [f"+\t{first}\t{' '.join(dict.fromkeys(seconds))}" for first, seconds in sorted(pairs.items())]
    return lines


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where WordNet's files lie")
    lines = build(parser.parse_args().folder)
    head = "# Made from WordNet 3.0, Copyright 2006 by Princeton University; WORDNET-LICENSE.txt holds its licence.\n"
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as file:
        file.write((head + "\n".join(lines) + "\n").encode())
    with atomic_path(TABLE) as temporary:
        temporary.write_bytes(packed.getvalue())
    with_synonyms = sum(line.count("\t") == 3 for line in lines)
    print(f"{TABLE}: {len(lines):,} lines, {with_synonyms:,} words with synonyms, {len(packed.getvalue()):,} bytes")


if __name__ == "__main__":
    main()
