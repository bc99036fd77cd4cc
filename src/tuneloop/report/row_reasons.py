"""Reasons and warnings of the stages in Chinese: they write English, which the tables and the command line keep.

"says the same as rows.jsonl:3" --in_chinese--> "与 rows.jsonl:3 内容相同"
"""

from __future__ import annotations

import re
from functools import cache
from string import Formatter

from tuneloop.report.words import Language

REASONS: dict[str, str] = {
    # Rows that cannot be read, and their lines
    "incomplete: cut off in {column}; whole: {columns}": "不完整：在 {column} 处被截断；完整的列：{columns}",
    "incomplete: cut off in {column}": "不完整：在 {column} 处被截断",
    "incomplete: cut off behind {column}": "不完整：在 {column} 之后被截断",
    "incomplete: cut off before its first value": "不完整：在第一个值之前就被截断",
    "broken JSON, too long to repair (over {n} characters)": "JSON 损坏，过长而不作修复（超过 {n} 个字符）",
    "broken JSON that cannot be repaired": "JSON 损坏，无法修复",
    "several objects on one line": "一行里有多个对象",
    # Duplicates and leaks
    "says the same as {source}": "与 {source} 内容相同",
    "near duplicate of {source} (Jaccard {jaccard})": "与 {source} 近似重复（Jaccard {jaccard}）",
    "its text also stands in {split} ({source})": "同一文本也在{split}中（{source}）",
    "its group ({column}) also stands in {split}": "同组样本（{column}）也在{split}中",
    "nearly the same stands in {split} ({source}; Jaccard {jaccard})": (
        "{split}中有几乎相同的文本（{source}，Jaccard {jaccard}）"
    ),
    # Relevance, people
    "not of the task (relevance {score}, dropped below {line})": "与任务无关（相关度 {score}，低于 {line} 即剔除）",
    "may not be of the task": "可能与任务无关",
    "dropped by {name}: {comment}": "由 {name} 剔除：{comment}",
    "dropped by {name}": "由 {name} 剔除",
    # Doubts
    "nearly the same text under another label: {others}": "几乎相同的文本有另一个标签：{others}",
    "holds personal data or a secret, masked: {kinds}": "含个人信息或密钥，已遮盖：{kinds}",
    "an answer opens <think> and never closes it: it seems cut off, and has no answer": (
        "回答打开了 <think> 却没有关闭：像是被截断，没有答案"
    ),
    "nothing stands behind the reasoning of an answer": "思考过程之后没有答案",
    "a wrong encoding took signs that cannot be brought back: write what stood there, or drop the row": (
        "编码错误使部分字符丢失且无法恢复：请补写原文，或剔除该样本"
    ),
    "label {label} is unlikely, {other} fits better": "标签 {label} 可疑，{other} 更合适",
    "label {label} ({n} rows) may be a slip of {other} ({m} rows)": (
        "标签 {label}（{n} 条）可能是 {other}（{m} 条）的笔误"
    ),
    "written in {script} letters, the set in {most} ones": "用{script}书写，而数据集多用{most}",
    "reads like {language}, the set is in {usual}": "像是{language}，而数据集是{usual}",
    "wording unlike the rest of the set": "用词与其余样本不像",
    "signs and scripts unlike the rest of the set": "符号和文字与其余样本不像",
    "very long: {n} characters, {m} are usual in this set": "过长：{n} 个字符，这个数据集一般为 {m} 个",
    "very short: {n} characters, {m} are usual in this set": "过短：{n} 个字符，这个数据集一般为 {m} 个",
    # A column at fault: the widest patterns, so the last ones
    "{field} is empty after the repair": "{field} 修复后为空",
    "{field} is empty": "{field} 为空",
    "{field} is blank": "{field} 只有空白",
    "{field} is null": "{field} 为 null",
    "{field} is an empty list": "{field} 是空列表",
    "{field} is missing": "缺少 {field}",
    "{field}: expected {expected}": "{field}：应为{expected}",
    "expected {expected}": "应为{expected}",
}
"""English -> Chinese, with places in braces."""

WARNINGS: dict[str, str] = {
    "{rows} of {split} cannot be read; left out, not repaired; the first: {bad}": (
        "{split}中有 {rows} 条无法读取，已排除，不作修复；第一条：{bad}"
    ),
    "{rows} of train {were} dropped, since {they} also {stand} in validation or test ({m} nearly)": (
        "剔除 {rows} 条训练样本：它们也出现在验证集或测试集中（其中 {m} 条近似）"
    ),
    "{rows} of train {were} dropped, since {they} also {stand} in validation or test": (
        "剔除 {rows} 条训练样本：它们也出现在验证集或测试集中"
    ),
    "{split}: {bad}": "{split}：{bad}",
    "{n} texts stand in both validation and test": "{n} 个文本同时出现在验证集和测试集中",
    "conflicting labels: {n} texts of train stand there under more than one label (kept)": (
        "标签矛盾：训练集中有 {n} 个文本带有不止一个标签（已保留）"
    ),
    "{n} of {m} training rows are labelled false, and are learnt like the others; "
    "if false means a bad answer, set data.where: {{label: true}}": (
        "{m} 条训练样本中有 {n} 条标为 false，与其余样本一样参与训练；"
        "如果 false 表示回答不好，请设置 data.where: {{label: true}}"
    ),
    "{n} training rows open <think> and never close it: their reasoning seems cut off": (
        "{n} 条训练样本打开了 <think> 却没有关闭：思考过程像是被截断"
    ),
    "{n} of {m} {split} rows have a label that the training rows lack, and count as wrong: {listed}": (
        "{split} {m} 条中有 {n} 条的标签在训练集中没有，一律算错：{listed}"
    ),
    "{n} {split} rows have another name for a column, and are read by it": "{split}中有 {n} 条用了别的列名，已照此读取",
    "{n} {split} labels are written otherwise in training, and read so: {pairs}": (
        "{split}中有 {n} 个标签与训练集写法不同，按训练集的写法读取：{pairs}"
    ),
    "{split} rows with HTML remains, which are taken out of training rows alone: {n}": (
        "{split}中有 {n} 条带有 HTML 残留；只有训练样本会去除它们"
    ),
    "{split} rows with personal data, which is masked in training rows alone: {n}": (
        "{split}中有 {n} 条含个人信息；只有训练样本会遮盖"
    ),
    "{n} of {m} classes have one training row, too few to learn from; slips? {shown}": (
        "{m} 个类别中有 {n} 个只有一条训练样本，不足以学习，可能是笔误：{shown}"
    ),
    "label_errors: the words of these rows say little about their labels (rows that left a row out give {share} of the "
    "labels): about {found} of wrong labels are found, the plainest": (
        "label_errors：这些样本的文字与标签关系不大（由其余样本只能推出 {share} 的标签）："
        "大约只能找出 {found} 的错误标签，即最明显的那些"
    ),
    "label_errors: these rows hold no words to judge labels by; no row is judged": (
        "label_errors：这些样本中没有可用来判断标签的词；不判断任何样本"
    ),
    "outliers: {n} rows are in scripts that too few others have to tell noise from them; none waits": (
        "outliers：{n} 条样本所用的文字在数据集中太少，无法判断是否为噪声，均不待审核"
    ),
    "relevance: {encoder} cannot read {n} of {m} training rows; they stay, unjudged. To judge them too, set "
    "clean.relevance.encoder to one that reads their language, e.g. {other_encoder}": (
        "relevance：{encoder} 读不懂 {m} 条训练样本中的 {n} 条；它们不作判断，予以保留。"
        "要判断它们，请把 clean.relevance.encoder 设为能读该语言的编码器，例如 {other_encoder}"
    ),
    "relevance: {n} rows are too few to be judged, wanted {m}": "relevance：只有 {n} 条，不足 {m} 条，无法判断",
    "relevance: {encoder} does not read {language}, the language of the texts that strangers are told by; "
    "no row is judged": "relevance：{encoder} 读不懂{language}，而用来辨认无关样本的文本是{language}；不判断任何样本",
    "relevance: to {encoder} these rows look hardly more like each other than like texts about anything; "
    "no row is judged": "relevance：对 {encoder} 来说，这些样本彼此之间并不比与任意文本更相近；不判断任何样本",
}  # fmt: skip
"""The same for the warnings of a cleaning."""

PARTS: dict[str, dict[str, str]] = {
    "split": {"train": "训练集", "validation": "验证集", "test": "测试集"},
    "script": {
        "latin": "拉丁字母", "cjk": "汉字或假名", "cyrillic": "西里尔字母", "arabic": "阿拉伯字母", "greek": "希腊字母",
        "hebrew": "希伯来字母", "devanagari": "天城文", "thai": "泰文", "hangul": "韩文", "other": "其他文字",
    },
    "language": {
        "English": "英语", "French": "法语", "German": "德语", "Spanish": "西班牙语", "Italian": "意大利语",
        "Portuguese": "葡萄牙语", "Dutch": "荷兰语", "Chinese": "中文",
    },
    "rows": {"{n} row": "{n}", "{n} rows": "{n}"},
    "others": {
        "{source} is labelled {label} and {others}": "{source} 标为 {label}，{others}",
        "{source} is labelled {label}": "{source} 标为 {label}",
        "{n} more differ": "另有 {n} 条不同",
    },
    "pairs": {
        "{label} as {other} ({n}), {pairs}": "{label} 读作 {other}（{n}），{pairs}",
        "{label} as {other} ({n})": "{label} 读作 {other}（{n}）",
    },
    "bad": {
        "{source}, {label}: got {got}, expected {expected}. {fix}": "{source} 的 {label} 实际为 {got}，应为{expected}",
        "{source}: got {got}, expected {expected}. {fix}": "{source} 实际为 {got}，应为{expected}",
    },
    "expected": {
        "one JSON object a line": "每行一个 JSON 对象",
        "a JSON object with named columns": "带列名的 JSON 对象",
        "a flat object": "嵌套不深的对象",
        "each key once": "每个键只出现一次的对象",
        "UTF-8 text": "UTF-8 文本",
        "a CSV row": "一行合法的 CSV",
        "{n} fields, as in the header": "与表头一致的 {n} 个字段",
        "text that is not empty": "非空文本",
        "valid Unicode": "合法的 Unicode",
        "a label": "标签",
        "one label a row": "每条样本一个标签",
        "a list of turns": "发言列表",
        "a label, or a list of labels": "标签或标签列表",
        "the column {label}, not {other}": "列名 {label}，而不是 {other}",
        "a question": "提问",
        "a user's turn to classify": "要分类的用户发言",
        "an assistant's turn at the end": "以助手的发言结尾",
        "a prompt column, or turns before the answer": "提示列，或回答之前的发言",
        "a list of [question, answer] pairs": "[提问, 回答] 的列表",
        "a list of turns with role and content (or from and value)": (
            "发言列表，每条含 role 和 content（或 from 和 value）"
        ),
        "a turn with role and content (or from and value)": "含 role 和 content（或 from 和 value）的发言",
        "one of the roles {roles} (or {others_roles})": "以下角色之一：{roles}（或 {others_roles}）",
        "parts of the kinds text and reasoning": "text 和 reasoning 两种内容",
        "a path, or a list of paths": "路径或路径列表",
        "a weight, a number of at least 0": "权重，即不小于 0 的数",
        "{rule}": " {rule}",
    },
}  # fmt: skip
"""What may stand in a place, by its name; `expected` ends with a rule of data.where, which is the user's own."""
SAME_AS = {"most": "script", "usual": "language"}

_SHAPES = {name: r"[\d,]+" for name in ("n", "m")} | {"share": r"\d+%", "found": r"\d+%"}
_SHAPES |= {name: r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""" for name in ("label", "other")}
_SHAPES |= {"rule": r"[^ ]+ = .*", "were": "was|were", "they": "it|they", "stand": "stands|stand"}
"""What a place looks like; any text otherwise. Labels are in quotes, as Python writes them."""


def in_language(text: str, language: Language) -> str:
    """A reason or a warning in the language of a page.

    Args:
        text: As a stage wrote it.
        language: Of the page.
    """
    return in_chinese(text) if language == "zh" else text


def in_chinese(text: str) -> str:
    """A reason or a warning in Chinese; as it is where no pattern fits.

    Args:
        text: As a stage wrote it.
    """
    return _translated(text, REASONS) or _translated(text, WARNINGS) or text


def _translated(text: str, patterns: dict[str, str]) -> str | None:
    for english, chinese in patterns.items():
        found = _pattern(english).fullmatch(text)
        if found is None:
            continue
        places = {name: _place(name, value) for name, value in found.groupdict().items()}
        if None not in places.values():
            return chinese.format(**places)
    return None


def _place(name: str, value: str) -> str | None:
    """What stands in a place, in Chinese where it is one of our words; None where it should be one and is not."""
    parts = PARTS.get(SAME_AS.get(name, name))
    return value if parts is None else _translated(value, parts)


@cache
def _pattern(english: str) -> re.Pattern[str]:
    parts = []
    for words, name, _, _ in Formatter().parse(english):
        parts.append(re.escape(words))
        if name is not None:
            parts.append(f"(?P<{name}>{_SHAPES.get(name, '.+?')})")
    return re.compile("".join(parts), re.DOTALL)
