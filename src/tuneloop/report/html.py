"""Markup that is escaped unless it is marked as safe: nothing that a user wrote can become a tag."""

from __future__ import annotations

import re
from html import escape

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Html(str):
    """Markup that is safe as it stands; every other text is escaped where it is put in."""

    __slots__ = ()


Child = str | Html | None
Value = str | int | float | None


def safe(child: Child) -> Html:
    """`child` as markup: escaped, unless it is markup already; None is nothing."""
    if isinstance(child, Html):
        return child
    return Html("" if child is None else escape(_printable(child), quote=True))


def join(*children: Child) -> Html:
    """The children one behind another."""
    return Html("".join(safe(child) for child in children))


def tag(name: str, *children: Child, **attributes: Value) -> Html:
    """An element.

    Args:
        name: Its tag.
        children: Texts (escaped) and markup.
        attributes: `class_` stands for class, other underscores for hyphens; None leaves one out. Floats are
            rounded to two decimals, which is enough for a drawing.
    """
    listed = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{safe(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{listed}>{join(*children)}</{name}>")


def folded(summary: Child, *children: Child, **attributes: Value) -> Html:
    """A block that is shut until the reader opens it."""
    return tag("details", tag("summary", summary), *children, **attributes)


def _short(value: Value) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _printable(text: str) -> str:
    """Control characters and lone surrogates, which HTML and UTF-8 refuse, as the replacement character."""
    return _UNPRINTABLE.sub("\ufffd", text)
