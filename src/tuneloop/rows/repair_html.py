"""HTML remains in texts: `Tom &amp; I<br>waited` -> `Tom & I`, and `waited` on a line of its own.

    entities (&amp; &#39; &nbsp;)   -> their signs        layout tags (<br> <p> <div ...> <b>)  -> line ends, or nothing
    comments, script and style blocks -> nothing          <a href="http...">words</a>           -> words (http...)

A tag is taken for one only by its name (BLOCK, INLINE), written as HTML writes it, and closed, or with attributes, or
beside a tag that is. Never touched:
- what is no such tag: `a < b`, `List<int>`, <EMAIL>, <a@b.de>, <think>, <answer>, tool tags, <|im_end|>, <image>;
- what carries meaning: sub and sup (x<sup>2</sup>), tables, forms, code and pre;
- texts that are about HTML or code, or hold it on purpose: rows of which any text names HTML, XML and the like, has a
  code fence, looks like code, is a whole page, has a table, scripts an attribute, or has over MOST_KINDS kinds of tags;
- escaped tags (&lt;br&gt;): whoever wrote them meant them to be seen;
- a set's questions, or its answers, where over MOST_ROWS of them have such remains: then the held-out rows, which are
  never repaired, and the rows that the model will meet, have them too;
- labels, and the other columns of a row.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from tuneloop.records import Repair, Row
from tuneloop.rows.stage import Item, Known, mend_texts

STAGE = "repair_html"
MOST_KINDS = 8
MOST_ROWS = 0.5
FEWEST_ROWS = 20
"""Rows below which no share of them tells what is usual in the set."""

BLOCK = ("br", "hr", "p", "div", "ul", "ol", "li", "dl", "dt", "dd", "h[1-6]", "blockquote", "center")
INLINE = ("a", "b", "strong", "i", "em", "u", "font", "span", "small", "big", "strike", "nobr", "wbr", "img", "o:p")
ALONE = ("br", "hr", "wbr")
"""Tags that are never closed."""
LAZY = ("p", "li", "dt", "dd")
"""Tags that are often left open: taken for tags where another one is."""

_ATTRIBUTES = r"(?:\s+[A-Za-z_:][\w:.-]*\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>=]+))+"
_TAG = re.compile(
    rf"<(?P<close>/)?(?P<name>{'|'.join((*BLOCK, *INLINE))})(?P<attributes>{_ATTRIBUTES})?\s*(?P<empty>/)?>",
    re.IGNORECASE,
)
_BLOCK = re.compile("|".join(BLOCK))
_LINK = re.compile(rf"<a(?P<attributes>{_ATTRIBUTES})\s*>(?P<words>[^<]*)</a\s*>", re.IGNORECASE)
_HREF = re.compile(r"\bhref\s*=\s*[\"']?(?P<link>https?://[^\s\"'<>]+)", re.IGNORECASE)
_SCRIPT = re.compile(r"<(?P<name>script|style)\b[^<>]*>", re.IGNORECASE)
_COMMENT = re.compile(r"<(?P<name>!--)")

_NAMES = (
    "amp lt gt quot apos nbsp ensp emsp thinsp shy zwj zwnj hellip ndash mdash lsquo rsquo sbquo ldquo rdquo bdquo "
    "laquo raquo bull middot copy reg trade times divide deg plusmn euro pound yen cent sect para frac12 frac14 "
    "frac34 micro iexcl iquest agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave "
    "iacute icirc iuml ntilde ograve oacute ocirc otilde ouml oslash ugrave uacute ucirc uuml yacute yuml szlig oelig"
)
_ENTITY = re.compile(rf"&(?:#[0-9]{{1,7}}|#[xX][0-9a-fA-F]{{1,6}}|{'|'.join(_NAMES.split())});", re.IGNORECASE)
_SIGN = re.compile(r"<[A-Za-z/!]|&(?:#|[A-Za-z])")
"""A text without one of these has no remains. It spares the time of looking closer."""
_SPECIAL = re.compile(r"<\s*/?\s*(?:think|answer|tool|function|system|user|assistant|s\b)|</|<\|", re.IGNORECASE)

_ABOUT = re.compile(
    r"(?<![./A-Za-z0-9])(?:x?html5?|xml|css|javascript|jsx|markdown|regex|dom|markup|svg|xss|php|source code"
    r"|urlencode|entity|entities|escap(?:e|es|ed|ing)|unescape)(?![A-Za-z0-9])|网页|源码|源代码|转义|前端"
    r"|<[^<>]{1,20}>[`'\"”]?\s*(?:tags?|elements?|标签|元素)|(?:\btags?|\belements?|标签|元素)\s*[`'\"“]?<[A-Za-z/]",
    re.IGNORECASE,
)
_PAGE = re.compile(
    r"<(?:!doctype|\?|/?(?:html|head|body|table|thead|tbody|tr|td|th|pre|code|form|input|button|select|textarea|svg"
    r"|canvas|math|iframe|nav|header|footer|main|section|article)\b)|<[^<>]*\bon[a-z]+\s*=|javascript:|\bclassName=",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"```|~~~|`[^`\n]{0,200}[<&][^`\n]{0,200}`|^[ \t]*(?:#include\b|def \w+\(|import [\w.]+;?$|from [\w.]+ import )"
    r"|\bfunction\s*\w*\(|\bstd::|=>|\bSELECT\b[^\n]{1,300}\bFROM\b|[;{}][ \t]*$|^[ \t]*\|.*\|[ \t]*$",
    re.MULTILINE,
)
_BREAK, _ITEM = "\ue006", "\ue007"  # for private use: they stand in no text


def repair_html(items: Sequence[Item], known: Known) -> tuple[list[Item], list[Repair]]:
    """Turn HTML remains into plain text, in questions and answers apart, each where remains are the exception."""
    places = [place for place, item in enumerate(items) if isinstance(item, Row) and _marked(item)]

    def mend(text: str, kind: str) -> str:
        side = "answered" if kind in ("assistant", "chosen", "rejected") else "asked"
        return text if kind == "meta" or side in known.html else plain_text(text)

    done = list(items)
    mended, repairs = mend_texts([items[place] for place in places], STAGE, mend)
    for place, item in zip(places, mended, strict=True):
        done[place] = item
    return done, repairs


def remains(row: Row) -> bool:
    """Whether a text of a row has HTML remains that the repair would take out, were it a training row."""
    return _marked(row) and any(plain_text(text) != text for _, text in _texts(row))


def _marked(row: Row) -> bool:
    """Whether a row has signs of HTML, and is not about it."""
    texts = [text for _, text in _texts(row)]
    return any(map(_SIGN.search, texts)) and not any(map(is_about_html, texts))


def _texts(row: Row) -> list[tuple[str, str]]:
    """(side, text) of all that a row says."""
    turns = [("answered" if turn.role == "assistant" else "asked", turn.content) for turn in row.messages]
    return [("asked", row.text), *turns, ("answered", row.chosen or ""), ("answered", row.rejected or "")]


class Usual:
    """Counts how many rows write in HTML what they ask, and what they answer."""

    def __init__(self) -> None:
        self._told, self._marked = Counter[str](), Counter[str]()

    def add(self, row: Row) -> None:
        """Count one more row."""
        said = [(side, text) for side, text in _texts(row) if text]
        self._told.update({side for side, _ in said})
        self._marked.update({side for side, text in said if plain_text(text) != text})

    @property
    def sides(self) -> frozenset[str]:
        """The sides that most rows write in HTML."""
        enough = [side for side, told in self._told.items() if told >= FEWEST_ROWS]
        return frozenset(side for side in enough if self._marked[side] > MOST_ROWS * self._told[side])


def is_about_html(text: str) -> bool:
    """Whether a text speaks of HTML or code, or is code: then what looks like remains is what it says."""
    bare = _ENTITY.sub("", _without_blocks(_without_blocks(text, _SCRIPT, ""), _COMMENT, ""))
    return bool(_ABOUT.search(bare) or _PAGE.search(bare) or _CODE.search(bare))


def plain_text(text: str) -> str:
    """A text without HTML remains; the same object if it has none, or is to be left alone.

    What the repair leaves has nothing more to repair; where it would, as in `<<b>br>`, the text is left alone.
    """
    after = _plain(text)
    return text if after == text or _plain(after) != after else after


def _plain(text: str) -> str:
    if not _SIGN.search(text) or _BREAK in text or _ITEM in text or is_about_html(text):
        return text
    after = _without_tags(text)
    plain = _without_entities(after)
    for tags in (_TAG, _SPECIAL):  # escaped ones were meant to be seen
        if len(tags.findall(plain)) > len(tags.findall(after)):
            return text
    return text if is_about_html(plain) else plain


# -- entities -------------------------------------------------------------------------------------------------


def _without_entities(text: str) -> str:
    for _ in range(9):  # &amp;#38;nbsp;
        after = _ENTITY.sub(_sign, re.sub(r"&(?:amp;)+", "&amp;", text))
        if after == text:
            break
        text = after
    return text


def _sign(entity: re.Match[str]) -> str:
    """What an entity stands for: a plain space for the one that does not break, nothing for a control character."""
    sign = html.unescape(entity[0])
    sign = html.unescape(entity[0].lower()) if sign == entity[0] else sign  # &NBSP;, but &Eacute; as it is
    if sign == "\u00a0":
        return " "
    return "" if sign in ("", "\u00ad", "\ufffd") or (sign < " " and sign not in "\t\n") else sign


# -- tags -----------------------------------------------------------------------------------------------------


def _without_tags(text: str) -> str:
    if len({tag["name"].lower() for tag in _TAG.finditer(text)}) > MOST_KINDS:
        return text
    bare = _without_blocks(text, _COMMENT, "")
    outside = _without_blocks(bare, _SCRIPT, _BREAK)
    bare = outside if _TAG.search(outside) else bare  # a script by itself is what the text is about
    bare = _LINK.sub(_link, bare)
    takes = _takes(list(_TAG.finditer(bare)))
    if bare == text and not any(takes.values()):
        return text
    return _on_lines(_TAG.sub(lambda tag: _laid_out(tag) if takes[tag.start()] else tag[0], bare))


def _without_blocks(text: str, opening: re.Pattern[str], mark: str) -> str:
    """The text with comments, or scripts and styles, from their beginning to their end, replaced by a mark."""

    def parts() -> Iterator[str]:
        at, lower = 0, text.lower()
        for found in opening.finditer(text):
            if found.start() < at:  # inside the one before
                continue
            ending = "-->" if found["name"] == "!--" else f"</{found['name'].lower()}"
            end = lower.find(ending, found.end())
            end = lower.find(">", end) if end >= 0 else -1
            if end < 0:  # and so is every later one
                break
            yield text[at : found.start()] + mark
            at = end + 1
        yield text[at:]

    return "".join(parts()) if opening.search(text) and len(text.lower()) == len(text) else text


def _takes(found: Sequence[re.Match[str]]) -> dict[int, bool]:
    """Where each tag starts -> whether it is one: closed, with attributes, alone by nature, or beside one that is."""
    closed = {tag["name"].lower() for tag in found if tag["close"]}

    def sure(tag: re.Match[str]) -> bool:
        name = tag["name"].lower()
        if name == "img":  # without attributes it is a placeholder
            return bool(tag["attributes"])
        return bool(tag["close"] or tag["attributes"] or tag["empty"]) or name in ALONE or name in closed

    any_sure = any(map(sure, found)) or sum(tag["name"].lower() in LAZY for tag in found) > 1
    return {tag.start(): sure(tag) or (any_sure and tag["name"].lower() in LAZY) for tag in found}


def _laid_out(tag: re.Match[str]) -> str:
    name = tag["name"].lower()
    if name == "li" and not tag["close"]:
        return _ITEM
    return _BREAK if _BLOCK.fullmatch(name) else ""


def _on_lines(text: str) -> str:
    """Line ends for the marks, one for several in a row, none at the ends of the text; `- ` before an item."""
    lines: list[str] = []
    mark = ""
    parts = re.split(f"([{_BREAK}{_ITEM}])", text)
    for place, part in enumerate(parts):
        if place % 2:
            mark = part if part == _ITEM or not mark else mark
        elif part.strip() or len(parts) == 1:
            part = part if place == 0 else part.lstrip()
            part = part if place == len(parts) - 1 else part.rstrip()
            lines.append(f"- {part}" if mark == _ITEM else part)
            mark = ""
    return "\n".join(lines)


def _link(found: re.Match[str]) -> str:
    """A link's words, and where it leads if they do not say it."""
    link, words = _HREF.search(found["attributes"]), found["words"]
    if link is None or link["link"].rstrip("/") in words:
        return words
    return f"{words} ({link['link']})" if words.strip() else link["link"]
