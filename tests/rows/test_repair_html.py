"""HTML remains become text; texts that only look so, or are about HTML or code, are never touched."""

from __future__ import annotations

import csv
import html
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.rows.conftest import CleanThese, after

from tuneloop.records import Row
from tuneloop.rows.personal_data import RULES
from tuneloop.rows.repair_html import FEWEST_ROWS, plain_text, remains

MENDED = {
    "Tom &amp; Jerry": "Tom & Jerry",
    "it&#39;s &quot;mine&quot; &#x27;too&#X27;": "it's \"mine\" 'too'",
    "a&nbsp;b": "a b",
    "1 &lt; 2 &gt; 0": "1 < 2 > 0",
    "caf&eacute; &Eacute;t&eacute; 5&nbsp;&euro;": "café Été 5 €",
    "R&amp;amp;D": "R&D",
    "wait&hellip; what&#8217;s up&mdash;now": "wait… what’s up—now",
    "no&#0;thing&#7;": "nothing",
    "价格&nbsp;100&yen;&amp;包邮": "价格 100¥&包邮",
    "see http://x.org/?a=1&amp;b=2": "see http://x.org/?a=1&b=2",
    "first<br>second<br/>third<BR />fourth": "first\nsecond\nthird\nfourth",
    "<p>Hello</p>\n<p>World</p>": "Hello\nWorld",
    "<div class=\"a b\" style='x:y'>Where is <span>my</span> order?</div>": "Where is my order?",
    "one<p>two<p>three": "one\ntwo\nthree",
    "<ul><li>red</li><li>blue</li></ul>": "- red\n- blue",
    "I want<ul>\n  <li>tea\n  <li>milk</ul>please": "I want\n- tea\n- milk\nplease",
    "<b>bold</b> and <i>slanted</i>": "bold and slanted",
    "我的快递<br>还没到</p>": "我的快递\n还没到",
    'go <a href="https://x.org/a">here</a>': "go here (https://x.org/a)",
    'go <a href="https://x.org/">https://x.org</a>': "go https://x.org",
    "mail <a href='mailto:me@x.org'>me</a>": "mail me",
    "text<!-- a note <b> --> goes on": "text goes on",
    "<style>p { color: red; }</style><p>Hello</p><script type='x'>alert(1);</script>": "Hello",
    '<img src="a.png"/>What is this?<br>': "What is this?",
    "<font color=red>sale</font>": "sale",
    "<h2>Title</h2>text": "Title\ntext",
    "a<br> <br>\n<br>b": "a\nb",
}


@pytest.mark.parametrize("text", MENDED)
def test_remains_become_text(cleaned: CleanThese, text: str) -> None:
    found = cleaned({"text": text, "label": "x", "reply": "<br>&amp;"})
    assert after(found) == [(MENDED[text], "x")]
    row = found.kept[1]
    assert row.lineage == ("repair_html",) and dict(row.meta) == {"reply": "<br>&amp;"}, "other columns stay"
    assert [(r.row, r.stage, r.field, r.before, r.after) for r in found.repairs] == [
        (row.id, "repair_html", "text", text, MENDED[text])
    ]
    assert plain_text(MENDED[text]) == MENDED[text], "mended twice is mended once"


LEFT_ALONE = [
    # no tags
    "a < b and b > c", "x<y>z", "if a<b and b>c then a<c", "List<int> and Map<String, List<b>>", "vector<p> v", "1<i<n",
    "write to <a@b.de> or <b.c@d.org>", "call <PHONE>, mail <EMAIL>", "<id> air conditioner <num> faults",
    "I <3 you", "<<48/2=24>>24 clips", "a<-b", "-> <- => <=", "p<0.05", "<|im_start|>user<|im_end|>", "<s>[INST] hi",
    "<think>\nwhy\n</think>\n\nanswer", "<answer>5</answer>", "<tool_call>{}</tool_call>", "<image>\nwhat is it?",
    "<img>a.jpg</img> what is it", "<name>Anna</name><title>Dr</title>", "<document>text</document>", "<b",
    "AT&T, R&D, Q&A; fish & chips;", "x = &y; p = &sum;", "a&b;c", "&nosuch;", "&amp", "10 &lt 20",
    # meaning
    "x<sup>2</sup> + H<sub>2</sub>O", "a <b> c",
    # about HTML, or code
    "How do I write &amp; in HTML?", "what does the <br> tag do", "the tag <b> makes <b>bold</b> text",
    "网页里 <br> 怎么换行", "用HTML写<b>粗体</b>", "标签 <p> 和 </p>", "escape it as &lt;", "an XML file with <p>a</p>",
    "```\n<p>x</p>\n```", "use `<br>` and `&nbsp;` here", "for (i = 0; i &lt; 9; i++) {\n  x<br>\n}",
    "<!DOCTYPE html><html><body><p>x</p></body></html>", "<table><tr><td>1</td></tr></table>",
    "<form action='x'><p>a</p></form>", "<p onclick='x()'>a</p>", "<script>alert(1)</script>",
    "<a href='javascript:alert(1)'>x</a>", "| a<br>b | c |\n| d | e |", "SELECT a FROM t WHERE a &lt; 5<br>",
    "<?xml version='1.0'?><p>x</p>", "<pre>a<br>b</pre>", "if (a &amp;&amp; b) {", "const f = (x) => x &lt; 3",
    "<h1>a</h1><h2>b</h2><ul><li>c</li></ul><ol></ol><b>d</b><i>e</i><em>f</em><u>g</u><span>h</span>",
    # escaped tags were meant to be seen
    "write &lt;br&gt; for a new line", "&lt;p&gt;hello&lt;/p&gt;", "&#60;b&#62;x", "&amp;lt;br&amp;gt;",
    "&lt;think&gt; is what it says", "&lt;|im_end|&gt;",
    "& lt;strong&gt;letters&lt;/strong&gt ; the postbag", "a &lt;/x&gt; b",
]  # fmt: skip


@pytest.mark.parametrize("text", [*LEFT_ALONE, *(f"call <{rule.kind}> now" for rule in RULES.values())])
def test_what_only_looks_like_remains_is_never_touched(cleaned: CleanThese, text: str) -> None:
    assert plain_text(text) is text
    found = cleaned({"text": text, "label": "x"})
    assert after(found) == [(text, "x")] and found.repairs == []


def test_a_row_about_code_is_left_alone_whichever_text_says_so(cleaned: CleanThese) -> None:
    first = {"prompt": "p", "completion": "a"}
    for answer in ("```c\nint x;\n```", "That is an HTML entity.", "#include <x.h>"):
        found = cleaned({"prompt": "what is this: a &amp; b<br>", "completion": answer}, task="generation", first=first)
        assert found.repairs == []
    found = cleaned({"prompt": "a &amp; b<br>", "completion": "<p>so</p>"}, task="generation", first=first)
    assert [(r.field, r.after) for r in found.repairs] == [("messages.0", "a & b"), ("messages.1", "so")]


def test_both_answers_of_a_preference_row_are_mended_alike(cleaned: CleanThese) -> None:
    first = {"prompt": "p", "chosen": "a", "rejected": "b"}
    found = cleaned({"prompt": "p", "chosen": "x<br>y", "rejected": "&lt; 3"}, task="generation", first=first)
    row = found.kept[1]
    assert (row.chosen, row.answer, row.rejected) == ("x\ny", "x\ny", "< 3")


def test_a_text_of_tags_alone_is_dropped(cleaned: CleanThese) -> None:
    found = cleaned({"text": "<p>&nbsp;</p><br>", "label": "x"})
    assert [(d.stage, d.reason) for d in found.dropped] == [("repair_html", "text is empty after the repair")]


def test_what_is_usual_in_a_set_is_no_remain(cleaned: CleanThese) -> None:
    marked = [{"text": f"number {n}<br>please", "label": "x"} for n in range(FEWEST_ROWS)]
    plain = [{"text": f"plain {n}", "label": "x"} for n in range(FEWEST_ROWS)]
    assert cleaned(*marked, *plain[:-2]).repairs == [], "20 of 39"
    assert len(cleaned(*marked, *plain).repairs) == FEWEST_ROWS, "20 of 41"
    assert len(cleaned(*marked[:-2]).repairs) == FEWEST_ROWS - 2, "too few rows to say what is usual"


def test_questions_are_judged_apart_from_answers(cleaned: CleanThese) -> None:
    rows = [
        {"prompt": f"question {n}" + "<br>" * (n == 3), "completion": f"<p>{n}</p>"} for n in range(FEWEST_ROWS + 1)
    ]
    found = cleaned(*rows, task="generation", first={"prompt": "p", "completion": "a"})
    assert [repair.field for repair in found.repairs] == ["messages.0"]


def test_remains_of_a_row() -> None:
    def row(text: str) -> Row:
        return Row(id="", source="", text=text)

    assert remains(row("a<br>b")) and remains(row("&amp;"))
    assert not remains(row("a < b")) and not remains(row("<br> in HTML"))


PIECES = [
    "<p>", "</p>", "<br>", "<b>", "</b>", "<a href='http://x'>", "</a>", "&amp;", "amp;", "&lt;", "&gt;", "lt;", "#60;",
    "<!--", "-->", "<script>", "</script>", "<img src=x>", " ", "\n", "x", "<", ">", "br>", "&nbsp;", "'", "<li>",
]  # fmt: skip


def test_mended_twice_is_mended_once_whatever_the_text() -> None:
    chance = random.Random(7)
    changed = 0
    for _ in range(4000):
        text = "".join(chance.choices(PIECES, k=chance.randint(1, 14)))
        once = plain_text(text)
        changed += once != text
        assert plain_text(once) == once, text
    assert changed > 1000


HOSTILE: list[Any] = [
    "<!--" * 50_000, "<script>" * 25_000, "<p " * 60_000, "<p" + " " * 200_000, "<a href=x " * 20_000, "&amp;" * 40_000,
    "&" + "amp;" * 50_000, "<br>" + " " * 200_000 + "x", "\n" * 200_000 + "<br>", "`<" * 100_000, "`" + "<" * 100_000,
    "{ " * 100_000 + "<br>",
    "<b" + " a=b" * 50_000, "SELECT " * 30_000 + "<br>", "<!--" * 40_000 + "-->", "<li>" * 50_000, "tag <" * 40_000,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_takes_long(text: str) -> None:
    began = time.monotonic()
    plain_text(text)
    assert time.monotonic() - began < 5


# -- real sets ------------------------------------------------------------------------------------------------

SETS = {
    "banking77/train.csv": ("text", 10_003), "snips/train.jsonl": ("text", 13_784),
    "smp2019_nlu/train.jsonl": ("text", 2_049),
    "fincuge_finfe/train.jsonl": ("text", 16_157), "gsm8k_train/train.jsonl": ("answer", 7_473),
    "math_train_answers/train.jsonl": ("problem", 7_474), "maintie_gold/gold.jsonl": ("text", 1_076),
    "r1_traces/traces.jsonl": ("response", 510), "medquad_nih/medquad.jsonl": ("answer", 4_607),
    "zh_sas_ads/train.jsonl": ("answer", 1_107), "fincuge_finnl/train.jsonl": ("text", 7_071),
}  # fmt: skip
"""Sets without HTML remains, many with angle brackets: placeholders, mathematics, reasoning, code."""

GUARDED = {"math_train_answers/train.jsonl": 0.85, "r1_traces/traces.jsonl": 0.7}
"""Sets where more is left alone: lines of LaTeX end as code does, and escaped <think> was meant to be seen."""

PLANTED: dict[str, Callable[[str], str]] = {
    "escaped": lambda text: html.escape(text), "numbers": lambda text: text.replace("'", "&#39;").replace(",", "&#44;"),
    "no break": lambda text: text.replace(" ", "&nbsp;"), "paragraph": lambda text: f"<p>{text}</p>",
    "lines": lambda text: text.replace(". ", ".<br>") + "<br/>",
    "style": lambda text: f'<div class="m" style="x:y">{text}</div>',
    "bold": lambda text: re.sub(r"^(\w+)", r"<b>\1</b>", text), "comment": lambda text: f"{text}<!-- checked -->",
    "word": lambda text: f"<o:p>{text}</o:p><font color=red></font>", "list": lambda text: f"{text}<ul></ul>",
}  # fmt: skip


def texts_of(path: Path, column: str) -> list[str]:
    if path.suffix == ".csv":
        with open(path, encoding="utf-8", newline="") as file:
            return [row[column] for row in csv.DictReader(file)]
    return [str(json.loads(line)[column]) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


@pytest.mark.parametrize("name", SETS)
def test_no_clean_real_text_is_touched_and_what_is_planted_is_taken_out(shared_data: Path, name: str) -> None:
    column, count = SETS[name]
    texts = texts_of(shared_data / name, column)
    assert len(texts) == count
    assert [text for text in texts if plain_text(text) != text] == []
    planted = restored = 0
    for place, text in enumerate(texts[:500]):
        for how in list(PLANTED)[place % 2 :: 2]:
            dirty = PLANTED[how](text)
            if dirty != text:
                planted += 1
                restored += plain_text(dirty).split() == text.split()
    assert planted > 1000 and restored >= GUARDED.get(name, 0.95) * planted, (planted, restored)
