"""Records -> Rows: which format a set has, told by its columns, and how each format becomes the canonical columns.

    record {"instruction": ..., "output": ...} --Layout (ours -> theirs)--> Row(messages=(user, assistant))

A new format is a function from the mapped fields to the parts of a Row, and one line in FORMATS.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tuneloop.errors import DataError, RecipeError
from tuneloop.records import BadRow, Message, Role, Row, content_id
from tuneloop.rows.files import plain, shorten

Where = Mapping[str, str | int | float | bool]

ALIASES: dict[str, tuple[str, ...]] = {
    "text": ("text", "sentence", "content"),
    "label": ("label", "labels", "category", "class"),
    "messages": ("messages",),
    "conversations": ("conversations", "conversation"),
    "prompt": ("prompt", "question", "query"),
    "completion": ("completion", "response", "answer"),
    "instruction": ("instruction",),
    "input": ("input",),
    "output": ("output",),
    "system": ("system",),
    "history": ("history",),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "images": ("images",),
    "audios": ("audios",),
    "time": ("time", "timestamp"),
    "weight": (),  # only where `columns` says so: a user's column `weight` may be kilograms
}
"""Our columns -> the names by which they are found, in order, where `columns` does not say."""

SYNONYMS = {"question": "prompt", "answer": "completion", "response": "completion"}
"""Other words for our columns that `columns` takes."""

ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
    "model": "assistant", "bot": "assistant", "chatgpt": "assistant", "function_call": "assistant", "tool": "tool",
    "observation": "tool", "function": "tool", "function_response": "tool",
}  # fmt: skip


class Fault(Exception):
    """A record that is no row, as (field, got, expected, fix): becomes a BadRow."""

    def __init__(self, field: str, got: str, expected: str, fix: str = "Mend or remove the row") -> None:
        super().__init__(field, got, expected, fix)
        self.field, self.got, self.expected, self.fix = field, got, expected, fix


@dataclass(frozen=True)
class Fields:
    """One record seen through a layout: our names in, values out."""

    record: Mapping[str, Any]
    columns: Mapping[str, str]

    def theirs(self, name: str) -> str:
        """Their name of our column."""
        return self.columns.get(name, name)

    def get(self, name: str) -> Any:
        """The value of our column, None if there is none."""
        return look_up(self.record, self.columns[name]) if name in self.columns else None

    def text(self, name: str) -> str:
        """A text that must be there and not be blank."""
        value = self.get(name)
        if value is None and not has(self.record, self.theirs(name)):
            raise Fault(self.theirs(name), "no such column", "text that is not empty", "Fill it in or remove the row")
        return as_text(value, self.theirs(name))

    def label(self) -> str | tuple[str, ...]:
        """The label that must be there."""
        if not has(self.record, self.theirs("label")):
            raise Fault(self.theirs("label"), "no such column", "a label", "Fill it in or remove the row")
        return as_label(self.get("label"), self.theirs("label"))

    def optional(self, name: str) -> str:
        """A text that may be missing, null or blank; then ""."""
        value = self.get(name)
        return "" if value is None or value == "" else as_text(value, self.theirs(name), blank=True)


@dataclass(frozen=True)
class Format:
    """One shape of rows.

    Attributes:
        needs: Our columns that must be there.
        tasks: The tasks that it can teach.
        build: Fields -> parts of a Row; raises Fault.
    """

    needs: tuple[str, ...]
    tasks: tuple[str, ...]
    build: Callable[[Fields], dict[str, Any]]


# -- values ---------------------------------------------------------------------------------------------------


def has(record: Any, path: str) -> bool:
    """Whether a record has a column, by its name or by a dotted path into nested objects and lists."""
    if not isinstance(record, Mapping):
        return False
    if path in record:
        return True
    return "." in path and look_up(record, path) is not None


def look_up(record: Any, path: str) -> Any:
    """The value of a column, by its name or by a dotted path (`meta.topic`, `turns.0.text`); None if there is none."""
    if isinstance(record, Mapping) and path in record:
        return record[path]
    if "." not in path:
        return None
    for part in path.split("."):
        if isinstance(record, Mapping):
            record = record.get(part)
        elif isinstance(record, list) and part.isdigit() and int(part) < len(record):
            record = record[int(part)]
        else:
            return None
    return record


def as_text(value: Any, name: str, *, blank: bool = False) -> str:
    """`value` as text that can be written as UTF-8; `blank` lets white space pass.

    Raises:
        Fault: naming the column `name`.
    """
    if not isinstance(value, str):
        raise Fault(name, f"{shorten(repr(value))} ({type(value).__name__})", "text that is not empty", "Write it as text")
    if not blank and not value.strip():
        raise Fault(name, "blank" if value else "empty", "text that is not empty", "Fill it in or remove the row")
    try:
        value.encode()
    except UnicodeEncodeError:
        fix = "Write the sign itself, or a whole pair of surrogates"
        raise Fault(name, f"half a surrogate pair in {shorten(value)}", "valid Unicode", fix) from None
    return value


def scalar_text(value: Any) -> str:
    """A label or a value of `where` as text: true, false, whole numbers without a point; "" for a missing one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    return "" if value is None else str(value)


def as_label(value: Any, name: str) -> str | tuple[str, ...]:
    """A label, or several, as text.

    Raises:
        Fault: naming the column `name`.
    """
    if isinstance(value, list | tuple):
        if not value:
            raise Fault(name, "an empty list", "a label", "Fill it in or remove the row")
        several = [as_label(item, name) for item in value]
        if not all(isinstance(item, str) for item in several):
            raise Fault(name, shorten(repr(value)), "a label, or a list of labels")
        return tuple(str(item) for item in several)
    if isinstance(value, dict):
        raise Fault(name, "an object", "a label, or a list of labels", "Name the field inside it, such as label.name")
    text = scalar_text(value).strip()
    if not text:
        got = "null" if value is None else "blank" if value else "empty"
        raise Fault(name, got, "a label", "Fill it in or remove the row")
    return as_text(text, name)


def as_messages(value: Any, name: str) -> list[Message]:
    """OpenAI or sharegpt turns, also as a JSON string (CSV); reasoning comes back as `<think>...</think>`.

    Raises:
        Fault: naming the column `name`.
    """
    expected = "a list of turns with role and content (or from and value)"
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Fault(name, shorten(value), expected) from None
    if not isinstance(value, list) or not value:
        raise Fault(name, "an empty list" if value == [] else shorten(repr(value)), expected)
    return [as_message(turn, name) for turn in value]


def as_message(turn: Any, name: str) -> Message:
    """One turn, of either spelling.

    Raises:
        Fault: naming the column `name`.
    """
    if not isinstance(turn, dict):
        raise Fault(name, shorten(repr(turn)), "a turn with role and content (or from and value)")
    role = turn.get("role", turn.get("from"))
    if not isinstance(role, str) or role.lower() not in ROLES:
        allowed = "one of the roles system, user, assistant, tool (or human, gpt, observation, function_call)"
        raise Fault(name, f"the role {role!r}", allowed, "Rename the role")
    content = turn.get("content", turn.get("value"))
    thought, answer = _parts(content, name)
    thought = thought or turn.get("reasoning_content") or turn.get("reasoning") or ""
    if thought:
        answer = f"<think>\n{as_text(thought, name).strip()}\n</think>\n\n{answer}"
    return Message(ROLES[role.lower()], as_text(answer, name))


def _parts(content: Any, name: str) -> tuple[str, str]:
    """(reasoning, text) of a turn's content, which is a text or a list of typed parts."""
    if not isinstance(content, list):
        return "", "" if content is None else as_text(content, name, blank=True)
    found = {"reasoning": "", "text": ""}
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in found:
            raise Fault(name, f"a part of the kind {kind!r}", "parts of the kinds text and reasoning")
        found[kind] += as_text(part.get("text", part.get("value", part.get("reasoning"))), name, blank=True)
    return found["reasoning"], found["text"]


def _paths(value: Any, name: str) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(values, list | tuple) or not all(isinstance(item, str) for item in values):
        raise Fault(name, shorten(repr(value)), "a path, or a list of paths")
    return tuple(as_text(item, name) for item in values)


# -- formats --------------------------------------------------------------------------------------------------


def _turns(name: str) -> Callable[[Fields], list[Message]]:
    def read(fields: Fields) -> list[Message]:
        messages = as_messages(fields.get(name), fields.theirs(name))
        system = fields.optional("system")
        return [Message("system", system), *messages] if system and messages[0].role != "system" else messages

    return read


def _prompt(*names: str) -> Callable[[Fields], list[Message]]:
    """The first of `names` as the question, behind `system` and `history`; `input` joins it on a new line."""

    def read(fields: Fields) -> list[Message]:
        name = next(name for name in names if name in fields.columns)
        value = fields.get(name)
        if isinstance(value, list):  # TRL writes prompts as turns, too
            return as_messages(value, fields.theirs(name))
        question, more, system = fields.text(name), fields.optional("input"), fields.optional("system")
        history = fields.get("history") or []
        turns = [Message("system", system)] if system else []
        pair = "a list of [question, answer] pairs"
        if isinstance(history, str):
            try:
                history = json.loads(history)
            except (ValueError, RecursionError):
                raise Fault(fields.theirs("history"), shorten(history), pair) from None
        for turn in history if isinstance(history, list) else [history]:
            if not isinstance(turn, list | tuple) or len(turn) != 2:
                raise Fault(fields.theirs("history"), shorten(repr(turn)), pair)
            asked, told = (as_text(said, fields.theirs("history")) for said in turn)
            turns += [Message("user", asked), Message("assistant", told)]
        return [*turns, Message("user", f"{question}\n{more}" if more.strip() else question)]

    return read


def _asked(fields: Fields) -> list[Message]:
    """The prompt of any format."""
    for name in ("messages", "conversations"):
        if name in fields.columns:
            return _turns(name)(fields)
    return _prompt("prompt", "instruction")(fields)


def _conversation(name: str) -> Callable[[Fields], dict[str, Any]]:
    def build(fields: Fields) -> dict[str, Any]:
        messages = _turns(name)(fields)
        if messages[-1].role != "assistant":
            fix = "End the conversation with the answer to learn"
            raise Fault(fields.theirs(name), f"a last turn of the {messages[-1].role}", "an assistant's turn at the end", fix)
        return {"messages": tuple(messages)}

    return build


def _answered(question: str, answer: str) -> Callable[[Fields], dict[str, Any]]:
    def build(fields: Fields) -> dict[str, Any]:
        prompt, told = _prompt(question)(fields), fields.get(answer)
        said = as_messages(told, fields.theirs(answer)) if isinstance(told, list) else []
        last = said or [Message("assistant", fields.text(answer))]
        if last[-1].role != "assistant":
            raise Fault(fields.theirs(answer), f"a last turn of the {last[-1].role}", "an assistant's turn at the end")
        return {"messages": (*prompt, *last)}

    return build


def _preference(fields: Fields) -> dict[str, Any]:
    """The prompt with the chosen answer as the one to learn, the rejected one beside it."""
    answers: dict[str, str] = {}
    before: list[Message] = []
    for name in ("rejected", "chosen"):
        value = fields.get(name)
        if isinstance(value, dict):
            value = [value]
        turns = as_messages(value, fields.theirs(name)) if isinstance(value, list) else []
        last = turns[-1] if turns else Message("assistant", fields.text(name))
        if last.role != "assistant":
            raise Fault(fields.theirs(name), f"a last turn of the {last.role}", "an assistant's turn at the end")
        answers[name], before = last.content, turns[:-1]
    asked = any(name in fields.columns for name in ("messages", "conversations", "prompt", "instruction"))
    prompt = before if before or not asked else _asked(fields)
    if not prompt:
        raise Fault(fields.theirs("chosen"), "an answer without a question", "a prompt column, or turns before the answer")
    return {"messages": (*prompt, Message("assistant", answers["chosen"])), **answers}


def _text(fields: Fields) -> dict[str, Any]:
    return {"text": fields.text("text")}


def _labelled_text(fields: Fields) -> dict[str, Any]:
    return {"text": fields.text("text"), "label": fields.label()}


def _labelled(name: str) -> Callable[[Fields], dict[str, Any]]:
    def build(fields: Fields) -> dict[str, Any]:
        turns = _asked(fields) if name == "prompt" else _turns(name)(fields)
        if not any(turn.role == "user" for turn in turns):
            raise Fault(fields.theirs(name), "no turn of the user", "a user's turn to classify")
        label = fields.label()
        return {"text": turns[0].content, "label": label} if len(turns) == 1 else {"messages": tuple(turns), "label": label}

    return build


CLASSES, ANSWERS = ("classification",), ("generation",)

FORMATS: dict[str, Format] = {
    "text + label": Format(("text", "label"), CLASSES, _labelled_text),
    "messages + label": Format(("messages", "label"), CLASSES, _labelled("messages")),
    "sharegpt + label": Format(("conversations", "label"), CLASSES, _labelled("conversations")),
    "question + label": Format(("prompt", "label"), CLASSES, _labelled("prompt")),
    "preference": Format(("chosen", "rejected"), ANSWERS, _preference),
    "messages": Format(("messages",), ANSWERS, _conversation("messages")),
    "sharegpt": Format(("conversations",), ANSWERS, _conversation("conversations")),
    "alpaca": Format(("instruction", "output"), ANSWERS, _answered("instruction", "output")),
    "prompt + completion": Format(("prompt", "completion"), ANSWERS, _answered("prompt", "completion")),
    "plain text": Format(("text",), ANSWERS, _text),
}
"""Every format, in the order in which they are looked for."""


def _any_question(fields: Fields) -> dict[str, Any]:
    """What a row asks, its answer left out: for rows that only need to be answered."""
    if "text" in fields.columns:
        return _text(fields)
    turns = _asked(fields)
    while turns and turns[-1].role == "assistant":
        turns.pop()
    if not turns:
        raise Fault("", "no turn of the user", "a question")
    return {"text": turns[0].content} if len(turns) == 1 and turns[0].role == "user" else {"messages": tuple(turns)}


_ASKING = {"text", "messages", "conversations", "prompt", "instruction"}

QUESTION = Format((), CLASSES + ANSWERS, _any_question)


# -- layout: a set's columns, decided once -----------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """How the records of one set become rows: called with (record, source) it gives a Row or a BadRow.

    Attributes:
        name: The format, as it is said aloud.
        shape: The format.
        columns: Ours -> theirs, for all of ours that the set has.
        where: Their column (or ours) -> the value that rows must have.
    """

    name: str
    shape: Format
    columns: Mapping[str, str]
    where: Where = field(default_factory=dict)

    def wanted(self, record: Mapping[str, Any]) -> bool:
        """Whether `where` lets a record in."""
        return all(_matches(look_up(record, self.theirs(name, record)), value) for name, value in self.where.items())

    def theirs(self, name: str, record: Mapping[str, Any]) -> str:
        """Their column that a recipe means by `name`: their own name first, else the one that ours stands for."""
        return name if has(record, name) else self.columns.get(SYNONYMS.get(name, name), name)

    def __call__(self, record: Any, source: str) -> Row | BadRow:
        """One record as a Row, or as a BadRow whose `raw` is the record as JSON."""
        try:
            if not isinstance(record, dict):
                raise Fault("", shorten(repr(record)), "a JSON object with named columns")
            if not self.wanted(record):
                rule = ", ".join(f"{name} = {scalar_text(value)}" for name, value in self.where.items())
                raise Fault("", "a row that data.where leaves out", rule, "It is left out on purpose")
            return self._row(Fields(record, self.columns), source)
        except Fault as fault:
            raw = json.dumps(record, ensure_ascii=True, default=str)
            return BadRow(source, fault.field, fault.got, fault.expected, fault.fix, raw)

    def _row(self, fields: Fields, source: str) -> Row:
        parts = self.shape.build(fields)
        if "label" in self.columns and "label" not in parts and fields.get("label") not in (None, "", []):
            parts["label"] = as_label(fields.get("label"), fields.theirs("label"))
        for name in ("images", "audios"):
            if name in self.columns:
                parts[name] = _paths(fields.get(name), fields.theirs(name))
        if fields.get("time") is not None:
            parts["time"] = as_text(str(plain(fields.get("time"))), fields.theirs("time"), blank=True)
        if "weight" in self.columns:
            parts["weight"] = _weight(fields.get("weight"), fields.theirs("weight"))
        used = set(self.columns.values())
        meta = {key: plain(value) for key, value in fields.record.items() if key not in used}
        row = Row(id="", source=source, meta=meta, **parts)
        return replace(row, id=content_id(row))


def _weight(value: Any, name: str) -> float:
    try:
        weight = 1.0 if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        weight = -1.0
    if not (math.isfinite(weight) and weight >= 0):
        raise Fault(name, shorten(repr(value)), "a weight, a number of at least 0")
    return weight


def _matches(found: Any, wanted: str | int | float | bool) -> bool:
    if isinstance(found, list):
        return any(_matches(item, wanted) for item in found)
    left, right = scalar_text(found), scalar_text(wanted)
    return left.lower() == right.lower() if isinstance(wanted, bool) else left == right


def find_layout(
    records: Iterable[Mapping[str, Any]], *, task: str, columns: Mapping[str, str], where: Where, name: str
) -> Layout:
    """Tell the format of a set by all its column names.

    Args:
        records: The set's records.
        task: classification, generation, or question (rows that only need to be answered).
        columns: Ours -> theirs, from the recipe.
        where: From the recipe; its columns must be there.
        name: How errors call the set.

    Raises:
        RecipeError: if `columns` names something that is not a column of ours.
        DataError: if a named column is not there, or no format fits.
    """
    keys: dict[str, None] = {}
    sample: Mapping[str, Any] = {}
    for record in records:
        keys.update(dict.fromkeys(record))
        sample = sample or record
    found = list(keys)
    known = _named(columns, found, sample, name, lenient=task == "question")
    explicit = set(known)
    taken = set(known.values())
    for ours, names in ALIASES.items():
        if ours in known:
            continue
        free = [key for key in found if key not in taken]
        lower = {key.lower(): key for key in reversed(free)}
        theirs = next((n for n in names if n in free), None) or next((lower[n] for n in names if n in lower), None)
        if theirs is not None:
            known[ours] = theirs
    for key in where:
        if key not in keys and not has(sample, key) and SYNONYMS.get(key, key) not in known:
            raise _no_column("data.where", key, found, name)
    if task != "question":
        return _best(known, explicit, found, task, where, name)
    asking = (explicit & _ASKING) or _ASKING
    used = {ours: theirs for ours, theirs in known.items() if ours in asking or ours in ("system", "history", "input")}
    if not used.keys() & _ASKING:
        raise DataError(
            f"{name} has no column with a question or a text", got=f"the columns {', '.join(found[:40])}",
            allowed=", ".join(sorted(_ASKING)), fix="Name the column in data.columns, e.g. {text: question}",
        )  # fmt: skip
    return Layout("question", QUESTION, used, where)


def _named(
    columns: Mapping[str, str], found: list[str], sample: Mapping[str, Any], name: str, *, lenient: bool
) -> dict[str, str]:
    """The mapping that the recipe gives, checked; `lenient` drops what is not there (rows to answer have no answers)."""
    known: dict[str, str] = {}
    for word, theirs in columns.items():
        ours = SYNONYMS.get(word, word)
        if ours not in ALIASES:
            near = difflib.get_close_matches(word, ALIASES, n=1)
            raise RecipeError(
                f"data.columns: {word!r} is none of our columns", allowed=", ".join(ALIASES),
                fix=f"Did you mean {near[0]!r}? It is written ours: yours" if near else "It is written ours: yours",
            )  # fmt: skip
        if theirs in found or has(sample, theirs):
            known[ours] = theirs
        elif not lenient:
            raise _no_column("data.columns", theirs, found, name)
    return known


def _no_column(key: str, column: str, found: list[str], name: str) -> DataError:
    near = difflib.get_close_matches(column, found, n=1, cutoff=0.5)
    return DataError(
        f"{key} names the column {column!r}, which {name} does not have",
        got=f"the columns {', '.join(found[:40])}",
        fix=f"Did you mean {near[0]!r}?" if near else "Name one of these columns",
    )


def _best(
    known: dict[str, str], explicit: set[str], found: list[str], task: str, where: Where, name: str
) -> Layout:
    """The format that uses the most columns that the recipe names, else the first that fits."""
    fitting = [key for key, shape in FORMATS.items() if task in shape.tasks and set(shape.needs) <= set(known)]
    if task == "generation" and "label" in known and fitting == ["plain text"] and "text" not in explicit:
        raise DataError(
            f"The rows of {name} have a text and a label, and a generation task trains on neither as an answer",
            got=f"the columns {', '.join(found[:40])}",
            fix="Set task: {type: classification}, or say which column is the answer: data.columns: "
            f"{{prompt: {known['text']}, completion: ...}}",
        )
    if not fitting:
        needs = " | ".join(dict.fromkeys(" + ".join(s.needs) for s in FORMATS.values() if task in s.tasks))
        raise DataError(
            f"The columns of {name} fit no format of a {task} task",
            got=f"the columns {', '.join(found[:40])}", allowed=needs,
            fix="Say which column is which in data.columns, e.g. "
            + ("{text: question, label: topic}" if task == "classification" else "{prompt: question, completion: reply}"),
        )  # fmt: skip
    best = max(fitting, key=lambda key: len(explicit & set(FORMATS[key].needs)))
    used = {ours: known[ours] for ours in known if ours in _used_by(FORMATS[best])}
    said = f"{best}: {' + '.join(known[ours] for ours in FORMATS[best].needs)}"
    plain_name = best if all(known[ours] == ours for ours in FORMATS[best].needs) else said
    return Layout(plain_name, FORMATS[best], used, where)


def _used_by(shape: Format) -> set[str]:
    """Our columns that a format reads; others stay in the row's meta."""
    needs = set(shape.needs)
    used = needs | {"images", "audios", "time", "weight", "label"}
    if "label" in needs or needs == {"text"}:
        used -= {"label"} - needs
    if needs & {"instruction", "prompt", "messages", "conversations", "chosen"}:
        used.add("system")
    if needs & {"instruction", "prompt"}:
        used |= {"input", "history"} if "instruction" in needs else {"history"}
    if "chosen" in needs:
        used |= {"messages", "conversations", "prompt", "instruction", "input", "history"}
    return used
