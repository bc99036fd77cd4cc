"""Conversations whose turns are out of order, so that a chat template would refuse them or join them silently.

    user, system, assistant          -> system, user, assistant         only where it is the only system turn
    user, user, assistant            -> user (both, a line each), assistant
    user, assistant, assistant       -> user, assistant (both)          unless the second one thinks, too
    user, assistant, user            -> user, assistant                 the question without an answer is cut off

Kept as it is: a greeting of the assistant before the first question (R1, Qwen, Llama and the plain format write it),
several system turns (R1 revisions differ in what they do), and every conversation with a tool, whose order is its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tuneloop.records import BadRow, Message, Repair, Row
from tuneloop.rows.formats import LAST_TURN
from tuneloop.rows.layout import Layout
from tuneloop.rows.stage import Item, Known
from tuneloop.rows.values import Fault, as_message

STAGE = "repair_roles"


def repair_roles(items: Sequence[Item], known: Known) -> tuple[list[Item], list[Repair]]:
    """Put turns in order, in rows and in those bad rows whose last turn is a question without an answer."""
    done: list[Item] = []
    repairs: list[Repair] = []
    for item in items:
        found, before = item, ""
        if isinstance(item, BadRow):
            found = answered(item, known.parse)
            before = _turns(item)
        if isinstance(found, Row):
            messages = in_order(found.messages, preference=found.chosen is not None)
            before = before or _written(found.messages)
            if messages != found.messages or found is not item:
                found = found.through(STAGE, messages=messages)
                repairs.append(Repair(found.id, found.source, STAGE, "messages", before, _written(messages)))
        done.append(found)
    return done, repairs


def in_order(messages: tuple[Message, ...], *, preference: bool = False) -> tuple[Message, ...]:
    """The turns in the order that chat templates expect; the same object where they stand so.

    Args:
        messages: A conversation.
        preference: The last turn is the preferred answer, which must stay as it is.
    """
    roles = [turn.role for turn in messages]
    if "tool" in roles:
        return messages
    turns = list(messages)
    if roles.count("system") == 1 and roles[0] != "system":
        turns.insert(0, turns.pop(roles.index("system")))
    last = len(turns) - 1
    joined: list[Message] = []
    for place, turn in enumerate(turns):
        fixed = preference and place == last
        if joined and joined[-1].role == turn.role and not fixed and _joinable(joined[-1], turn):
            joined[-1] = Message(turn.role, f"{joined[-1].content}\n{turn.content}")
        else:
            joined.append(turn)
    return messages if joined == list(messages) else tuple(joined)


def _joinable(first: Message, second: Message) -> bool:
    """Two questions; two answers, if the second brings no reasoning, which would make the first a part of it."""
    return first.role == "user" or (first.role == "assistant" and "think>" not in second.content)


def answered(bad: BadRow, parse: Layout) -> Row | BadRow:
    """A conversation without the questions at its end that nobody answers; the bad row where that does not mend it.

    Args:
        bad: A row that could not be read.
        parse: How the set is read.
    """
    record, turns = _record(bad)
    if not turns or bad.field not in (parse.columns.get("messages"), parse.columns.get("conversations")):
        return bad
    try:
        roles = [as_message(turn, bad.field).role for turn in turns]
    except Fault:
        return bad
    end = len(roles)
    while end and roles[end - 1] in ("user", "system"):
        end -= 1
    rules = [turn for turn, role in zip(turns[end:], roles[end:], strict=True) if role == "system"]
    if "user" not in roles[:end] or "tool" in roles or (rules and roles.count("system") > 1):
        return bad
    found = parse(record | {bad.field: rules + turns[:end]}, bad.source)
    return found if isinstance(found, Row) else bad


def _record(bad: BadRow) -> tuple[dict[str, Any], list[Any]]:
    """The row as JSON and its turns; none where it is no JSON, or fails for another reason."""
    if bad.expected != LAST_TURN:
        return {}, []
    try:
        record = json.loads(bad.raw)
        turns = record[bad.field]
        turns = json.loads(turns) if isinstance(turns, str) else turns
    except (ValueError, RecursionError, TypeError, KeyError):
        return {}, []
    return (record, turns) if isinstance(turns, list) else ({}, [])


def _turns(bad: BadRow) -> str:
    return json.dumps(_record(bad)[1], ensure_ascii=False)


def _written(messages: Sequence[Message]) -> str:
    return json.dumps([{"role": turn.role, "content": turn.content} for turn in messages], ensure_ascii=False)
