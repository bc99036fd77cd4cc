"""Both languages say everything, with the same gaps to fill."""

import re

import pytest

from tuneloop.report.row_words import ROW_WORDS
from tuneloop.report.words import WORDS

GAP = re.compile(r"\{(\w+)\}")
TABLES = {"words": WORDS, "row_words": ROW_WORDS}
KEYS = [(name, key) for name, table in TABLES.items() for key in table["en"]]


@pytest.mark.parametrize("name", TABLES)
def test_the_languages_have_the_same_keys(name: str):
    table = TABLES[name]
    assert set(table) == {"en", "zh"}
    assert len(table["en"]) > 80
    assert set(table["en"]) == set(table["zh"])


def test_no_key_stands_in_two_tables():
    assert set(WORDS["en"]) & set(ROW_WORDS["en"]) == set()


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_a_sentence_has_the_same_gaps_in_both(name: str, key: str):
    table = TABLES[name]
    assert set(GAP.findall(table["en"][key])) == set(GAP.findall(table["zh"][key]))
    assert table["zh"][key]


@pytest.mark.parametrize("name", TABLES)
def test_english_holds_no_chinese_and_chinese_is_written_in_chinese(name: str):
    han = re.compile(r"[\u4e00-\u9fff]")
    assert not [key for key, text in TABLES[name]["en"].items() if han.search(text)]
    latin = [key for key, text in TABLES[name]["zh"].items() if not han.search(text)]
    assert set(latin) <= {"html_lang", "bleu", "rouge_l", "p_value", "by_plain", "was_in"}
