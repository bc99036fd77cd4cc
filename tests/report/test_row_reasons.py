"""Reasons in Chinese: every one that a stage can write, as its own code says it, and none that is half English."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tuneloop
from tuneloop.report import row_reasons
from tuneloop.report.row_reasons import PARTS, REASONS, WARNINGS, in_chinese
from tuneloop.rows.language import LITTLE_WORDS
from tuneloop.rows.prepare import SPLITS
from tuneloop.rows.script import SCRIPTS

ROWS = Path(tuneloop.__file__).parent / "rows"
PLACES = {"Dropped": 2, "Doubt": 3, "dropped_row": 2, "dropped": 0, "tell": 0, "Fault": 2, "BadRow": 3}
"""Function -> which of its arguments is a reason, a warning, or what was expected."""
SAMPLES = {
    "split": ["test"], "held_out.split(twin)": ["test"], "held_out.split(other)": ["test"], "groups[value]": ["test"],
    "name": ["test"], "told": ["'7' as '7' (7), '7' as '7' (7)"],
    "shown": ["'7', '7'"], "named": ["a:1 is labelled '7' and a:2 is labelled '7'"], "READS_MANY": ["7"],
    "theirs": ["latin"], "script": ["cjk"], "other": ["French"], "language": ["English"], "bad.field": ["label"],
    "bad.expected": ["a label"], "bad.got": ["empty", "blank", "null", "an empty list"],
    "_shown(bad[0], recipe)": [
        "a:3, 'label': got null, expected a label. Mend it", "a:4: got 7, expected a CSV row. Mend it",
    ],
}  # fmt: skip
"""What stands in a place of a reason that takes only some words; in all others stands 7."""
OPAQUE = {
    "files.py: expected",
    "layout.py: fault.expected",
    "layout.py: rule",
    "repair_json.py: reason",
    "stage.py: reason",
}
"""Arguments that are none of these but are handed on; `rule` is the user's own data.where."""
NEVER = re.compile("cut off b.*; whole")
"""Parts of a reason that its code does not put together."""
NO_ENGLISH = re.compile(
    r"JSON|HTML|CSV|UTF|Unicode|Jaccard|clean\.relevance\.encoder|data\.where|think|label_errors|outliers|relevance"
    r"|role|content|from|value|text|reasoning|system|user|assistant|tool|human|gpt|observation|function_call|null"
    r"|label|true|false"
)
"""Names that stay."""


class Reader:
    """Reads from a module which texts an expression may be."""

    def __init__(self, path: Path) -> None:
        self.name, self.tree = path.name, ast.parse(path.read_text("utf-8"))
        self.functions = {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)}
        self.module = importlib.import_module(f"tuneloop.rows.{path.stem}")

    def sites(self) -> Iterator[tuple[ast.expr, ast.FunctionDef, bool]]:
        """(argument, the function that it stands in, whether it says what was expected)."""
        for function in self.functions.values():
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                name = ast.unparse(call.func).rpartition(".")[2]
                if name == "append" and ast.unparse(call.func) in (
                    "warnings.append", "found.warnings.append", "said.append",
                ):  # fmt: skip
                    yield call.args[0], function, False
                elif name in PLACES and len(call.args) > PLACES[name]:
                    argument = call.args[PLACES[name]]
                    if not any(isinstance(one, ast.Starred) for one in call.args):
                        yield argument, function, name in ("Fault", "BadRow")

    def texts(self, node: ast.expr | None, function: ast.FunctionDef) -> list[str]:
        """All texts that an expression may be; [] where that cannot be told."""
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) else []
        if isinstance(node, ast.IfExp):
            return self.texts(node.body, function) + self.texts(node.orelse, function)
        if isinstance(node, ast.BinOp):
            pair = self.texts(node.left, function), self.texts(node.right, function)
            return [one + other for one, other in itertools.product(*pair)]
        if isinstance(node, ast.JoinedStr):
            parts = [self.part(value, function) for value in node.values]
            return ["".join(chosen) for chosen in itertools.product(*parts)]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self.functions:
            return self.returned(node.func.id, None)
        return self.named(node.id, function) if isinstance(node, ast.Name) else []

    def part(self, node: ast.expr, function: ast.FunctionDef) -> list[str]:
        if not isinstance(node, ast.FormattedValue):
            return self.texts(node, function)
        shown = ast.unparse(node.value)
        if node.conversion == ord("r"):
            return ["'7'"]
        if node.format_spec is not None and ast.unparse(node.format_spec).endswith("%'"):
            return ["7%"]
        return SAMPLES.get(shown) or self.texts(node.value, function) or ["7"]

    def returned(self, name: str, place: int | None) -> list[str]:
        function, found = self.functions[name], list[str]()
        for node in ast.walk(function):
            if isinstance(node, ast.Return) and node.value is not None:
                several = isinstance(node.value, ast.Tuple)
                value = node.value.elts[place] if several and place is not None else node.value
                found += [text for text in self.texts(value, function) if text]
        return found

    def named(self, name: str, function: ast.FunctionDef) -> list[str]:
        found: list[str] = []
        for node in ast.walk(function):
            if not isinstance(node, ast.Assign):
                continue
            target, value = node.targets[0], node.value
            if isinstance(target, ast.Name) and target.id == name:
                found += self.texts(value, function)
            elif isinstance(target, ast.Tuple):
                names = [one.id if isinstance(one, ast.Name) else "" for one in target.elts]
                if name in names and isinstance(value, ast.Tuple):
                    found += self.texts(value.elts[names.index(name)], function)
                elif name in names and isinstance(value, ast.Call) and ast.unparse(value.func) in self.functions:
                    found += self.returned(ast.unparse(value.func), names.index(name))
        constant = vars(self.module).get(name)
        return found or ([constant] if isinstance(constant, str) else [])


def written() -> tuple[set[str], set[str], set[str]]:
    """(reasons and warnings, what was expected, what could not be read) of all that the stages write."""
    reasons, expected, opaque = set[str](), set[str](), set[str]()
    for path in sorted(ROWS.rglob("*.py")):
        if path.parent != ROWS or path.stem == "__init__":
            continue
        reader = Reader(path)
        for argument, function, of_columns in reader.sites():
            texts = [text for text in reader.texts(argument, function) if text and not NEVER.search(text)]
            if not texts:
                opaque.add(f"{path.name}: {ast.unparse(argument)}")
            (expected if of_columns else reasons).update(texts)
        if path.stem == "files":  # (got, expected, fix)
            expected.update(reader.returned("fault", 1))
    return reasons, expected, opaque


REASONS_WRITTEN, EXPECTED, UNREAD = written()


def test_what_the_stages_write_is_found() -> None:
    assert len(REASONS_WRITTEN) > 45 and len(EXPECTED) > 20
    assert UNREAD == OPAQUE


@pytest.mark.parametrize("text", sorted(REASONS_WRITTEN))
def test_every_reason_of_a_stage_has_chinese(text: str) -> None:
    told = in_chinese(text)
    assert told != text and not re.search("[A-Za-z]{2,}", NO_ENGLISH.sub("", told)), f"row_reasons.py lacks {text!r}"


@pytest.mark.parametrize("text", sorted(EXPECTED))
def test_everything_expected_has_chinese(text: str) -> None:
    for reason in (f"label: expected {text}", f"expected {text}", f"train: a:1: got null, expected {text}. Mend it"):
        told = in_chinese(reason)
        assert "应为" in told and not re.search("[A-Za-z]{2,}", NO_ENGLISH.sub("", told)), text


def test_every_pattern_is_of_a_stage() -> None:
    used = (
        REASONS_WRITTEN | {f"expected {text}" for text in EXPECTED} | {"train: a:1: got 7, expected a label. Mend it"}
    )
    patterns = {english: row_reasons._pattern(english) for english in REASONS | WARNINGS}
    left = [english for english, pattern in patterns.items() if not any(map(pattern.fullmatch, used))]
    assert left == ["dropped by {name}: {comment}", "dropped by {name}"]  # a person's


def test_words_in_reasons_have_chinese() -> None:
    assert set(PARTS["split"]) == set(SPLITS)
    assert set(PARTS["script"]) == {*SCRIPTS, "other"}
    assert set(PARTS["language"]) == {*LITTLE_WORDS, "Chinese"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dropped by 王芳", "由 王芳 剔除"),
        ("dropped by ann: 广告: 假", "由 ann 剔除：广告: 假"),
        (
            "nearly the same text under another label: a:1 is labelled 'x and y' and b:2 is labelled \"it's\" "
            "and 3 more differ",
            "几乎相同的文本有另一个标签：a:1 标为 'x and y'，b:2 标为 \"it's\"，另有 3 条不同",
        ),
        ("incomplete: cut off in 'text'; whole: id, label", "不完整：在 'text' 处被截断；完整的列：id, label"),
        ("train: a:7, 'label': got null, expected a label. Fill it in", "训练集：a:7 的 'label' 实际为 null，应为标签"),
        ("expected label = card", "应为 label = card"),
        ("a plugin's own words", "a plugin's own words"),
        ("written in klingon letters, the set in latin ones", "written in klingon letters, the set in latin ones"),
        ("3 test labels are written otherwise in training, and read so: 'A' as 'a' (2), 'B' as 'b' (1)",
         "测试集中有 3 个标签与训练集写法不同，按训练集的写法读取：'A' 读作 'a'（2），'B' 读作 'b'（1）"),
    ],
)  # fmt: skip
def test_reasons_are_told_in_chinese(text: str, told: str) -> None:
    assert in_chinese(text) == told
