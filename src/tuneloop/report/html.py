"""Markup that is escaped unless it is marked as safe: nothing that a user wrote can become a tag."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a page may do: look as its own style sheet says, nothing else."""
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


def document(title: str, language: str, *body: Child, key: str = "") -> str:
    """A whole page with the style sheet inside it: no script, no font, nothing from outside.

    Args:
        title: Of the window.
        language: As HTML names it.
        body: What it shows.
        key: Stands in the page's head, so that a page can be told from an older one; "": nothing does.
    """
    style = Html(files("tuneloop.report").joinpath("page.css").read_text(encoding="utf-8"))
    head = tag(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        Html('<meta name="color-scheme" content="light dark">'),
        Html(f'<meta name="generator" content="tuneloop {safe(key)}">') if key else None,
        tag("title", title),
        tag("style", style),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', *body), lang=language)}\n"


def _short(value: Value) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _printable(text: str) -> str:
    """Control characters and lone surrogates, which HTML and UTF-8 refuse, as the replacement character."""
    return _UNPRINTABLE.sub("\ufffd", text)
