"""Both languages say everything, with the same gaps to fill."""

import re

import pytest

from tuneloop.report.words import WORDS

GAP = re.compile(r"\{(\w+)\}")


def test_the_languages_have_the_same_keys():
    assert set(WORDS) == {"en", "zh"}
    assert len(WORDS["en"]) > 100
    assert set(WORDS["en"]) == set(WORDS["zh"])


@pytest.mark.parametrize("key", WORDS["en"])
def test_a_sentence_has_the_same_gaps_in_both(key):
    assert set(GAP.findall(WORDS["en"][key])) == set(GAP.findall(WORDS["zh"][key]))
    assert WORDS["zh"][key]


def test_english_holds_no_chinese_and_chinese_is_written_in_chinese():
    han = re.compile(r"[\u4e00-\u9fff]")
    assert not [key for key, text in WORDS["en"].items() if han.search(text)]
    latin = [key for key, text in WORDS["zh"].items() if not han.search(text)]
    assert set(latin) <= {"html_lang", "bleu", "rouge_l", "p_value", "by_plain"}
