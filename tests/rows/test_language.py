from __future__ import annotations

import pytest
from benchmarks.dirt.sentences import SENTENCES, sentences

from tuneloop.records import Row
from tuneloop.rows.language import LITTLE_WORDS, language_doubts, little_words


def rows(*texts: str) -> list[Row]:
    return [Row(id=str(place), source=f"a:{place}", text=text) for place, text in enumerate(texts)]


ENGLISH = sentences("en")
NAMES = {"fr": "French", "de": "German", "es": "Spanish", "it": "Italian"}


@pytest.mark.parametrize(("text", "script"), [("打开汽车之家的设置", "cjk"), ("где моя карта", "cyrillic")])
def test_another_script_is_doubted(text: str, script: str):
    (found,) = language_doubts(rows(*ENGLISH, text))
    assert (found.row, found.stage, found.score) == ("20", "language", 0.0)
    assert found.reason == f"written in {script} letters, the set in latin ones"


def test_an_english_row_in_a_chinese_set_is_doubted_and_a_foreign_name_is_not():
    others = ("打开qq", "播放 yesterday once more 这首歌好吗", "OK")
    found = language_doubts(rows(*sentences("zh"), "where is my card", *others))
    assert [one.row for one in found] == ["20"]


@pytest.mark.parametrize("language", NAMES)
def test_another_language_of_the_same_script_is_doubted_mostly(language: str):
    foreign = sentences(language)
    found = language_doubts(rows(*ENGLISH * 3, *foreign))
    assert all(int(one.row) >= 3 * len(ENGLISH) for one in found), "an English row was doubted"
    assert len(found) >= 0.5 * len(foreign)
    assert sum(NAMES[language] in one.reason for one in found) >= 0.8 * len(found)
    assert all(0 <= one.score < 0.5 for one in found)


def test_a_set_in_three_languages_has_none_to_differ_from():
    assert language_doubts(rows(*ENGLISH, *sentences("fr"), *sentences("es"))) == []


def test_a_loanword_is_no_other_language():
    assert language_doubts(rows(*ENGLISH, "the carte blanche of the maitre de maison is not what I want")) == []


def test_nothing_to_go_by_is_no_doubt():
    assert language_doubts([]) == []
    assert language_doubts(rows("12345", "???", "")) == []


def test_little_words_are_counted_once_each():
    assert little_words("The cat and THE dog and the bird")["English"] == 2
    assert len(LITTLE_WORDS) == 7 and all(len(words) >= 20 for words in LITTLE_WORDS.values())
    assert set(SENTENCES) >= set(NAMES)
