"""Text is escaped, markup is not, and nothing breaks the file's encoding."""

import pytest

from tuneloop.report.html import Html, folded, join, safe, tag


def test_text_is_escaped_in_children_and_attributes():
    made = tag("p", "<script>alert('x')</script> & more", title='"><script>')
    assert "<script>" not in made
    assert made == (
        "<p title=&quot;".replace("&quot;", '"') + "&quot;&gt;&lt;script&gt;" + '">'
        "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; more</p>"
    )


def test_markup_is_put_in_as_it_stands_and_none_is_nothing():
    assert tag("div", tag("b", "x"), None, "<") == "<div><b>x</b>&lt;</div>"
    assert join("a&", Html("<i></i>")) == "a&amp;<i></i>"
    assert isinstance(join("a"), Html)


def test_attributes_names_and_numbers():
    assert (
        tag("rect", class_="a", fill_opacity=0.123456, x=3.0, rx=None)
        == '<rect class="a" fill-opacity="0.12" x="3"></rect>'
    )


@pytest.mark.parametrize("text", ["\x00a", "a\x1b[31m", "\ud800", "\x9f"])
def test_what_html_cannot_hold_is_replaced(text):
    assert "\ufffd" in safe(text)
    safe(text).encode("utf-8")


def test_emoji_chinese_and_line_ends_stay():
    text = "卡 👩‍💻\n\tok"
    assert safe(text) == text


def test_folded_is_shut():
    assert folded("more", "<x>") == "<details><summary>more</summary>&lt;x&gt;</details>"
