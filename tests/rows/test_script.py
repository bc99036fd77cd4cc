from __future__ import annotations

import pytest

from tuneloop.rows.script import letters_by_script, script_of, shape


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("hello", "latin"), ("Ｈｅｌｌｏ", "latin"), ("naïve", "latin"), ("你好", "cjk"), ("こんにちは", "cjk"),
        ("カタカナ", "cjk"), ("한국어", "hangul"), ("привет", "cyrillic"), ("مرحبا", "arabic"), ("γειά", "greek"),
        ("שלום", "hebrew"), ("नमस्ते", "devanagari"), ("สวัสดี", "thai"), ("ሰላም", "other"), ("12 + 3 = ?!", ""), ("", ""),
        ("打开 app", "cjk"), ("the word 好 means good", "latin"), ("\x00\ud800", ""),
    ],
)  # fmt: skip
def test_a_text_has_the_script_of_most_of_its_letters(text: str, script: str):
    assert script_of(text) == script


def test_a_chinese_character_weighs_three_letters():
    assert letters_by_script("ab 好1!") == {"latin": 2, "cjk": 3}


def test_a_shape_keeps_signs_and_length_and_forgets_letters():
    assert shape("Hi {name_1}!") == "aa {aaaa_0}!"
    assert shape("ab") == shape("XY") and shape("é") != shape("e") and shape("好") == shape("坏") != shape("б")
    assert shape("½٣") == "00"
    for text in ("Hello, 世界 № 5 ﷺ", "\U0001f600 ok"):
        assert len(shape(text)) == len(text)
