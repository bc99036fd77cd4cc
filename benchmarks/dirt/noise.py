"""Rows that teach nothing: gibberish, the wrong language, remains of a template.

A third of each. Whole rows are made up, but for scrambled rows and rows with holes, which start from a clean one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from benchmarks.dirt.edits import HAN, joined, words_of
from benchmarks.dirt.sentences import SENTENCES, sentences
from tuneloop.errors import DataError

Maker = Callable[[Sequence[str], str, random.Random], str]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
KEY_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
SYMBOLS = "!@#$%^&*()_+-=~`|\\/<>?;:[]{}0123456789"
HEX = "0123456789abcdef"

# -- gibberish ------------------------------------------------------------------------------------------------


def mashed_keys(texts: Sequence[str], language: str, chance: random.Random) -> str:
    """Runs of neighbouring keys, as a hand on a keyboard makes them."""

    def word() -> str:
        keys = chance.choice(KEY_ROWS)
        place = chance.randrange(len(keys))
        steps = [chance.choice((-2, -1, 1, 2)) for _ in range(chance.randint(2, 9))]
        signs = [keys[place]]
        for step in steps:
            place = min(max(place + step, 0), len(keys) - 1)
            signs.append(keys[place])
        return "".join(signs)

    return " ".join(word() for _ in range(chance.randint(1, 6)))


def random_letters(texts: Sequence[str], language: str, chance: random.Random) -> str:
    """Letters by chance: Latin words of them, or common Chinese characters in a Chinese set."""
    if language == "zh":
        return "".join(_common_character(chance) for _ in range(chance.randint(4, 14)))
    return " ".join(
        "".join(chance.choice(LETTERS) for _ in range(chance.randint(2, 10))) for _ in range(chance.randint(2, 9))
    )


def symbols(texts: Sequence[str], language: str, chance: random.Random) -> str:
    """Signs and digits, or a hex string."""
    signs = HEX if chance.random() < 0.4 else SYMBOLS
    return "".join(chance.choice(signs) for _ in range(chance.randint(6, 32)))


def scrambled(texts: Sequence[str], language: str, chance: random.Random) -> str:
    """The letters of a clean row in another order, its blanks where they were."""
    text = chance.choice([one for one in (chance.choice(texts) for _ in range(30)) if len(one) >= 6] or list(texts))
    letters = [sign for sign in text if sign != " "]
    chance.shuffle(letters)
    left = iter(letters)
    return "".join(" " if sign == " " else next(left) for sign in text)


def _common_character(chance: random.Random) -> str:
    """One of the 3755 characters of level 1 of GB 2312, rows 16 to 55, each as likely as the next."""
    place = chance.randrange(3755)
    return bytes([0xB0 + place // 94, 0xA1 + place % 94]).decode("gb2312")


# -- the wrong language ---------------------------------------------------------------------------------------


def wrong_language(texts: Sequence[str], language: str, chance: random.Random) -> str:
    """One or two sentences of a language that is not the set's."""
    other = chance.choice([name for name in SENTENCES if name != language])
    return " ".join(chance.sample(sentences(other), chance.choice((1, 1, 2))))


# -- remains of a template ------------------------------------------------------------------------------------

NAMES = {
    "en": "first_name|customer|product|order_id|date|company|amount|question|city|title|user.email|slot_1|intent|state",
    "zh": "姓名|客户|产品|订单号|日期|公司|金额|问题|城市|标题|槽位1|意图|状态|user_name",
}
HOLES = ("{{{}}}", "{{{{{}}}}}", "${{{}}}", "[{}]", "<{}>", "%({})s", "__{}__")
TEMPLATES = {
    "en": (
        "Dear {}, thank you for contacting {}.", "Hello {}, your order {} has been {}.", "[INSERT {} HERE]", "{}",
        "{} {}",
        "<p>{}</p>", "Lorem ipsum dolor sit amet, consectetur adipiscing elit {}", "TODO: write an example for {}",
        "Example {n}: <your text here>", "{{% if user %}}{}{{% endif %}}", "Untitled document {n}",
        "Click here to edit the text of section {n}", 'div class="row-{n}">{}</div>',
        "Copyright {n} {}. All rights reserved.",
        "Unsubscribe | View in browser | {}", "### Instruction: {} ### Response: {}", "&nbsp;&nbsp;{}&nbsp;",
        "null,null,{n}",
        "Placeholder text for row {n}", "Q{n}: {} A{n}: {}", "undefined is not a function (line {n})",
        "Regards, {} | Sent from {}", "column_{n};column_{n}b;{}", "test test test {n}",
    ),
    "zh": (
        "尊敬的{}，感谢您联系{}。", "您好{}，您的订单{}已{}。", "【请在此处填写{}】", "{}", "{}{}", "<p>{}</p>",
        "示例{n}：此处输入文本",
        "待补充：{}", "模板{n}：{}", "点击此处编辑第{n}段文字", '<div class="row-{n}">{}</div>', "版权所有 © {n} {}",
        "{}：____ {}：____", "测试数据{n}", "这是第{n}条占位文本", "### 指令：{} ### 回答：{}", "null,null,{n}",
        "未命名文档{n}",
        "&nbsp;&nbsp;{}&nbsp;", "undefined {n}", "问题{n}：{} 答案{n}：{}", "第{n}列;{};{}",
    ),
}  # fmt: skip


def left_template(texts: Sequence[str], language: str, chance: random.Random) -> str:
    """A whole template that nobody filled in."""
    template = chance.choice(TEMPLATES[language])
    holes = template.replace("{{%", "").count("{}")
    return template.format(*(_hole(language, chance) for _ in range(holes)), n=chance.randint(1, 2000))


def with_holes(texts: Sequence[str], language: str, chance: random.Random) -> str:
    """A clean row with a third to two thirds of its words replaced by unfilled places."""
    text = chance.choice(texts)
    words = words_of(text)
    count = max(1, round(len(words) * chance.uniform(0.33, 0.67)))
    for place in chance.sample(range(len(words)), count):
        words[place] = _hole(language, chance)
    return joined(words, text if HAN.search(text) else " ")


def _hole(language: str, chance: random.Random) -> str:
    return chance.choice(HOLES).format(chance.choice(NAMES[language].split("|")))


NOISE: dict[str, tuple[Maker, ...]] = {
    "gibberish": (mashed_keys, random_letters, symbols, scrambled),
    "wrong_language": (wrong_language,),
    "template": (left_template, with_holes),
}
"""Kind -> its makers, each as likely as the next."""


def noise_rows(texts: Sequence[str], language: str, count: int, chance: random.Random) -> list[tuple[str, str]]:
    """`count` different noise texts, each with its kind and maker, e.g. "gibberish/symbols".

    Args:
        texts: The clean texts of the set.
        language: The set's: "en" or "zh".
        count: How many.
        chance: The source of chance.

    Raises:
        DataError: if so many different ones cannot be made.
    """
    found: dict[str, str] = {}
    taken = set(texts)
    for _ in range(1000 * count):
        if len(found) == count:
            return list(found.items())
        kind = list(NOISE)[len(found) % len(NOISE)]
        maker = chance.choice(NOISE[kind])
        text = maker(texts, language, chance)
        if text not in taken and text.strip():
            taken.add(text)
            found[text] = f"{kind}/{maker.__name__}"
    if len(found) < count:
        raise DataError("Too few different rows of noise can be made up", got=str(len(found)), allowed=str(count))
    return list(found.items())
