from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tuneloop.records import Message, Row
from tuneloop.rows import texts
from tuneloop.rows.texts import blocks_of, row_text


def test_all_that_a_row_says_is_read():
    talk = (Message("user", "a"), Message("assistant", "b"))
    assert row_text(Row(id="", source="", messages=talk, chosen="c", rejected="d")) == "a\nb\nc\nd"
    assert row_text(Row(id="", source="", text="t", messages=talk)) == "t"
    assert row_text(Row(id="", source="")) == ""


@given(st.lists(st.text(max_size=9), max_size=30), st.integers(1, 7), st.integers(1, 20))
def test_blocks_hold_every_text_once_in_order_within_both_limits(given_: list[str], rows: int, characters: int):
    before = texts.ROWS_AT_ONCE, texts.CHARACTERS_AT_ONCE
    texts.ROWS_AT_ONCE, texts.CHARACTERS_AT_ONCE = rows, characters
    try:
        blocks = list(blocks_of(iter(given_)))
    finally:
        texts.ROWS_AT_ONCE, texts.CHARACTERS_AT_ONCE = before
    assert [text for block in blocks for text in block] == given_
    for block in blocks:
        assert 1 <= len(block) <= rows and (len(block) == 1 or sum(map(len, block)) <= characters)
