"""Label Studio's JSON: tasks with a prediction go out, annotated tasks come back.

    Item --> {"data": {id, text, ...}, "predictions": [...]} --Label Studio--> {..., "annotations": [...]} --> Line

Formats: "Basic Label Studio JSON format" with pre-annotations (https://labelstud.io/guide/predictions), and "Label
Studio JSON format of annotated tasks" (https://labelstud.io/guide/task_format), as of HumanSignal/label-studio
321ee1d9. An export of JSON-MIN or CSV from there has no annotations and is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from tuneloop.errors import DataError
from tuneloop.records import BadRow
from tuneloop.review.queue import Item
from tuneloop.review.sheet import Line, Read, record, utf8

SHOWN = ("id", "source", "stage", "reason", "text", "label", "suggestion")
"""The columns that a task's `data` carries there and back."""


def write_tasks(items: Sequence[Item], labels: Sequence[str]) -> str:
    """A JSON list of tasks; the prediction is the label that the row may have instead, or its own.

    A prediction's `score` is the row's worth, by which Label Studio can sort.

    Args:
        items: The rows.
        labels: The classes; not needed here: they stand in `labelling_config`.
    """
    return json.dumps([_task(item) for item in items], ensure_ascii=False, indent=1) + "\n"


def _task(item: Item) -> dict[str, Any]:
    shown = record(item)
    task: dict[str, Any] = {"data": {name: shown[name] for name in SHOWN}}
    if item.classes and item.label is not None:
        own = item.label if isinstance(item.label, list) else [item.label]
        chosen = [item.suggestion] if item.suggestion else own
        result = {
            "id": item.row, "from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": chosen}
        }  # fmt: skip
        task["predictions"] = [{"model_version": "tuneloop", "score": round(item.worth, 4), "result": [result]}]
    return task


def labelling_config(items: Sequence[Item], labels: Sequence[str]) -> str:
    """The labelling interface (XML) to paste into the project's settings, in which these tasks are shown and answered.

    Args:
        items: The rows.
        labels: The classes; none where rows have answers instead.
    """
    choice = "multiple" if any(isinstance(item.label, list) for item in items) else "single"
    lines = [
        "<View>",
        '  <Header value="$reason" size="5"/>',
        '  <Text name="text" value="$text"/>',
    ]
    if labels:
        lines.append(f'  <Choices name="label" toName="text" choice="{choice}" showInline="true">')
        lines += [f"    <Choice value={quoteattr(utf8(label))}/>" for label in labels]
        lines.append("  </Choices>")
    else:
        lines.append('  <TextArea name="new_label" toName="text" value="$label" rows="6" editable="true"/>')
    return "\n".join([
        *lines,
        '  <TextArea name="new_text" toName="text" value="$text" rows="4" editable="true"/>',
        '  <Choices name="decision" toName="text" choice="single"><Choice value="drop"/></Choices>',
        '  <TextArea name="comment" toName="text" placeholder="comment"/>',
        "</View>", "",
    ])  # fmt: skip


def read_tasks(text: str, name: str) -> Read:
    """A line for each annotation, the older ones first, and the tasks that cannot be read.

    Args:
        text: The file's content.
        name: How errors call it.

    Raises:
        DataError: if it is no JSON list of annotated tasks.
    """
    fix = "In Label Studio choose Export, then JSON (not JSON-MIN, not CSV)"
    try:
        tasks = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is no JSON", got=str(error), allowed="a list of annotated tasks", fix=fix) from None
    if not isinstance(tasks, list):
        raise DataError(f"{name} is no list of tasks", got=type(tasks).__name__, fix=fix)
    lines: list[Line] = []
    bad: list[BadRow] = []
    for number, task in enumerate(tasks, 1):
        source = f"{name}:task {number}"
        try:
            lines += _lines(task, source)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            got = f"{type(error).__name__}: {error}"
            bad.append(BadRow(source, "", got, "data and annotations", fix, json.dumps(task)[:1000]))
    return lines, bad


def _lines(task: dict[str, Any], source: str) -> Iterator[Line]:
    shown = {key: value for key, value in task["data"].items() if key in SHOWN}
    annotations = task["annotations"]
    if not isinstance(shown.get("id"), str):
        raise ValueError("data has no id: was the task made by `tuneloop review --export`?")
    for annotation in sorted(annotations, key=lambda entry: str(entry.get("created_at") or "")):
        values: dict[str, Any] = {} if not annotation.get("was_cancelled") else {"decision": "skip"}
        for result in annotation["result"] if not values else ():
            values |= _said(result["from_name"], result["type"], result["value"])
        if values.get("decision") in ("drop", "skip"):  # the label that stood there beforehand is no answer
            values = {key: value for key, value in values.items() if key in ("decision", "comment")}
        yield Line(source, shown | values, _annotator(annotation.get("completed_by")))


def _said(name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    """What one control of the labelling interface says, under the columns of a sheet."""
    if kind == "choices":
        chosen = [str(choice) for choice in value["choices"]]
        return {"decision": chosen[0]} if name == "decision" else {"new_label": chosen}
    if kind == "textarea":
        said = value["text"]
        text = said if isinstance(said, str) else said[-1] if said else ""  # a list: the last one submitted
        return {name if name in ("comment", "new_label") else "new_text": text} if text else {}
    return {}


def _annotator(who: Any) -> str:
    """The person behind `completed_by`: an address, or the user's number."""
    if isinstance(who, dict):
        return str(who.get("email") or who.get("username") or f"label-studio:{who.get('id')}")
    return "" if who is None else f"label-studio:{who}"
