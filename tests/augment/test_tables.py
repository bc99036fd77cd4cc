"""The tables: sound, small, and made by their scripts."""

from __future__ import annotations

import importlib.util
from importlib.resources import files
from pathlib import Path

import pytest

from tuneloop.augment.lexicon import Lexicon
from tuneloop.augment.tables import table_lines, word_list
from tuneloop.augment.words import NEGATIONS

SCRIPTS = Path(__file__).parents[2] / "scripts"


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_small_and_their_licences_lie_beside_them():
    folder = files("tuneloop.augment").joinpath("tables")
    sizes = {file.name: len(file.read_bytes()) for file in folder.iterdir()}
    assert sum(sizes.values()) < 1_500_000 and {"WORDNET-LICENSE.txt", "PYPINYIN-LICENSE.txt"} <= set(sizes)
    assert "Princeton University" in folder.joinpath("WORDNET-LICENSE.txt").read_text(encoding="utf-8")


def test_the_lexicon_holds_what_it_says(lexicon: Lexicon):
    assert sum(map(bool, lexicon.english.values())) > 1_500 and sum(map(bool, lexicon.chinese.values())) > 250
    assert len(lexicon.pairs) > 5_000
    for table in (lexicon.english, lexicon.chinese):
        for word, others in table.items():
            bare = word if isinstance(word, str) else word[1]
            assert bare not in others and not set(others) & NEGATIONS, word
    assert all(len(word) > 1 for word in lexicon.chinese)


def test_an_unknown_list_is_an_error():
    assert "not" in word_list("negations")
    with pytest.raises(KeyError):
        word_list("no_such_list")


def test_shape_and_pinyin_tables_hold_single_characters():
    assert all(
        len(line) > 1 and all("\u4e00" <= sign <= "\u9fff" for sign in line) for line in table_lines("shapes.txt")
    )
    assert all(len(line.split("\t")) == 2 for line in table_lines("pinyin.txt"))


def wordnet(folder: Path) -> Path:
    """WordNet's files of seven words: buy and purchase share their first sense; gain has another first sense."""
    (folder / "index.verb").write_text(
        "  1 licence\nbuy v 1 1 @ 1 1 00000100\npurchase v 1 1 @ 1 1 00000100\nobtain v 2 1 @ 2 1 00000200 00000100\n"
        "look_up v 1 1 @ 1 0 00000200\nlook v 1 1 @ 1 1 00000300\nup v 1 1 @ 1 0 00000400\nsee v 1 1 @ 1 1 00000300\n"
        "hoist v 1 1 @ 1 0 00000400\n",
        encoding="utf-8",
    )
    (folder / "data.verb").write_text(
        "  1 licence\n00000100 40 v 03 buy 0 purchase 0 obtain 1 001 @ 00000200 v 0000 | get by paying\n"
        "00000200 40 v 02 obtain 0 look_up 0 000 | get\n00000300 39 v 02 look 0 see 0 001 ;u 1 n 0000 | slang\n"
        "00000400 38 v 02 up 0 hoist 0 000 | raise\n",
        encoding="utf-8",
    )
    for part in ("noun", "adj", "adv"):
        (folder / f"index.{part}").write_text("  1 licence\n", encoding="utf-8")
        (folder / f"data.{part}").write_text("  1 licence\n", encoding="utf-8")
    for part in ("noun", "verb", "adj"):
        (folder / f"{part}.exc").write_text("bought buy\n" if part == "verb" else "", encoding="utf-8")
    counts = (
        "buy%2:40:00:: 1 9\npurchase%2:40:00:: 1 3\nobtain%2:40:00:: 1 5\nobtain%2:40:01:: 2 4\nlook%2:39:00:: 1 8\n"
    )
    (folder / "cntlist.rev").write_text(counts + "hoist%2:38:00:: 1 2\n", encoding="utf-8")
    return folder


def test_the_script_keeps_first_senses_on_both_sides(tmp_path: Path):
    lines = script("build_wordnet_table").build(wordnet(tmp_path))
    assert lines == [
        "v\tbuy\t9\tpurchase", "v\thoist\t2", "v\tlook\t8", "v\tobtain\t9", "v\tpurchase\t3\tbuy", "v\tup\t0\thoist",
        "=v\tbought\tbuy", "+\tlook\tup",
    ]  # fmt: skip


def test_pinyin_without_tones():
    toneless = script("build_pinyin_table").toneless
    assert [toneless(reading) for reading in ("zhōng", "lǜ", "ér", "de")] == ["zhong", "lü", "er", "de"]
