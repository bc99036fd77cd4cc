"""The queue in the terminal: one row after the other; what is decided is saved at once.

Screens go to stderr. Where stdin is no terminal the same commands are read from it, one a line, so that a session can
be piped in.
"""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from tuneloop.errors import DataError
from tuneloop.review.content import label_from, label_text
from tuneloop.review.log import Kind
from tuneloop.review.queue import Answer, Item, Outcome, Queue, Twin
from tuneloop.terminal import counted, err, say

BREAK = "⏎"
"""Stands for a line break where a text of several lines is edited on one."""

SHORT = 1200
"""Characters of a text that a screen shows; `v` shows all."""

KEYS = "keep k, text t, label l, both b, drop d, skip s, undo u, search /, more ?, quit q"

HELP = """\
k [comment]     keep: train on the row as it is
t [new text]    fix the text; without a text it asks for one
l [new label]   fix the label, or the answer; Enter alone takes the suggestion, a unique beginning is enough
b               fix both
d [comment]     drop: never train on it
o [comment]     only this one: keep it, and drop its twins that wait
s [comment]     skip: it comes again at the end
u               undo: take back your last decision
/words          search in texts, labels, reasons and sources, decided rows too
n               its twins, and rows of the queue that look like it
v               all its columns
q               quit; everything is saved already
"""


class _Quit(Exception):
    """The reviewer has had enough, or the piped commands are at their end."""


def walk_queue(queue: Queue, *, reviewer: str, stage: str = "", limit: int | None = None) -> None:
    """Show the rows that wait, one by one, and write what is said about them.

    Args:
        queue: The run's queue.
        reviewer: Who decides.
        stage: Only the rows that this stage doubts.
        limit: Only so many.

    Raises:
        KeyboardInterrupt: on Ctrl-C, with the words that the command ends with; every decision before it is saved.
    """
    items = queue.items(stage)[:limit]
    if not items:
        say("nothing waits for a decision")
        return
    walk = _Walk(queue, reviewer, items)
    with _completion(list(queue.labels())):
        try:
            walk.through()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; {walk.told()}") from None
    say(walk.told())


@dataclass
class _Walk:
    """One reviewer's way through the queue."""

    queue: Queue
    reviewer: str
    items: Sequence[Item]
    place: int = 0
    made: dict[int, str] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    wanted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.order = [item.row for item in self.items]
        self.labels = self.queue.labels()

    def told(self) -> str:
        """How many rows were decided here and are still, and how many were only passed over."""
        decided = set(self.made.values())
        skipped = len(self.skipped - decided)
        told = f", {counted(skipped, 'row')} skipped" if skipped else ""
        return f"{counted(len(decided), 'decision')} made{told}, all saved"

    def noted(self, *outcomes: Outcome) -> int:
        """Remember which of these were written, and give how many."""
        written = [outcome.decision for outcome in outcomes if outcome.result == "written" and outcome.decision]
        self.made |= {decision.number: decision.row for decision in written if decision.settles}
        self.skipped |= {decision.row for decision in written if not decision.settles}
        return len(written)

    def through(self) -> None:
        with contextlib.suppress(_Quit):
            while self.place < len(self.order):
                row = self.order[self.place]
                item = self.queue.item(row)
                if item is None:
                    say(f"row {row} is no longer in the queue: the rows were cleaned again")
                elif item.waits or row in self.wanted:
                    self.wanted.discard(row)
                    err.print(_screen(item, self.place + 1, len(self.order)))
                    while not self.answered(item):
                        pass
                    continue
                elif item.decision and item.decision.reviewer != self.reviewer:
                    say(f"{item.sources[0]}: {_holding(item)}")
                self.place += 1

    def answered(self, item: Item) -> bool:
        """Read one command and do it; False asks again about the same row."""
        command = _read("> ").strip()
        key, rest = command[:1].lower(), command[1:].strip()
        if key != "/" and command[1:2] not in ("", " "):
            key = "?"
        if key in ("k", "d", "s"):
            kinds: dict[str, Kind] = {"k": "keep", "d": "drop", "s": "skip"}
            return self.decide(item, kinds[key], {}, rest)
        if key in ("t", "l", "b"):
            return self.edit(item, key, rest)
        if key == "o":
            return self.only(item, rest)
        if key == "u":
            return self.undo()
        if key == "/":
            return self.search(rest)
        if key in ("n", "v"):
            err.print(self.neighbours(item) if key == "n" else _columns(item))
        elif key == "q":
            raise _Quit
        else:
            err.print(Text(HELP if key in ("?", "h") else KEYS, style="dim"))
        return False

    # -- what the commands do ---------------------------------------------------------------------------------

    def decide(self, item: Item, kind: Kind, after: dict[str, Any], comment: str) -> bool:
        answer = Answer(item.row, kind, self.reviewer, after, comment, item.seen)
        try:
            (outcome,) = self.queue.decide([answer])
        except DataError as error:
            err.print(Text(str(error), style="red"))
            return False
        return self.reported(outcome)

    def reported(self, outcome: Outcome) -> bool:
        self.place += 1
        if outcome.result == "written" and outcome.decision:
            self.noted(outcome)
            err.print(Text(f"{outcome.decision.deed}", style="green"))
        elif outcome.result == "conflict":
            holds = outcome.decision
            told = f"{holds.reviewer} decided this row meanwhile: {holds.deed}" if holds else "it was undone meanwhile"
            err.print(Text(f"not written: {told}. Search for it (/) to decide otherwise", style="yellow"))
        elif outcome.result == "gone":
            say("the row is no longer in the queue: the rows were cleaned again")
        return True

    def edit(self, item: Item, key: str, given: str) -> bool:
        after: dict[str, Any] = {}
        if key in ("t", "b"):
            text = _one_line(given) if given and key == "t" else _edit_line("text: ", item.text)
            if not text:
                return _again("no text given: nothing was changed")
            after["text"] = _several_lines(text, item.text)
        if key in ("l", "b"):
            label = self.label(item, given if key == "l" else "")
            if label is None:
                return False
            after["label"] = label
        return self.decide(item, "edit", after, "")

    def label(self, item: Item, given: str) -> str | list[str] | None:
        """A label that was typed, chosen or suggested; None if there is none."""
        if item.label is None:
            say("the row has no label")
            return None
        if not item.classes:
            own = label_text(item.label)
            said = _several_lines(given or _edit_line("answer: ", own), own)
            return said or None
        near = _near(item, self.labels)
        if not given:
            err.print(Text.assemble(("labels  ", "dim"), ", ".join(near)))
            given = _read(f"label [{item.suggestion}]: " if item.suggestion else "label: ").strip() or item.suggestion
        if not given:
            say("no label given: nothing was changed")
            return None
        try:
            meant = label_from(given, item.label)
        except DataError as error:
            say(str(error))
            return None
        names = [self.known(name) for name in (meant if isinstance(meant, list) else [meant])]
        if any(name is None for name in names):
            return None
        found = [name for name in names if name is not None]
        return found if isinstance(meant, list) else found[0]

    def known(self, typed: str) -> str | None:
        """The class that was meant; a new one must be typed twice."""
        if typed in self.labels:
            return typed
        same = [name for name in self.labels if name.casefold() == typed.casefold()]
        found = same or [name for name in self.labels if name.casefold().startswith(typed.casefold())]
        if len(found) == 1:
            return found[0]
        near = found[:8] or difflib.get_close_matches(typed, self.labels, n=5, cutoff=0.5)
        say(f"{typed!r} is no label of the training rows" + (f"; near: {', '.join(near)}" if near else ""))
        again = _read("type it again if it is a new one, or another: ").strip()
        return typed if again == typed else self.known(again) if again else None

    def only(self, item: Item, comment: str) -> bool:
        if not item.twins:
            return _again("the row has no twins")
        twins = [found for twin in item.twins if twin.row and (found := self.queue.item(twin.row)) and found.waits]
        answers = [Answer(item.row, "keep", self.reviewer, {}, comment, item.seen)]
        dropped = {twin.row: twin for twin in twins if twin.row != item.row}
        answers += [
            Answer(row, "drop", self.reviewer, {}, f"twin of {item.sources[0]}", twin.seen)
            for row, twin in dropped.items()
        ]
        outcomes = self.queue.decide(answers)
        say(f"{self.noted(*outcomes[1:])} of {counted(len(item.twins), 'twin')} dropped")
        return self.reported(outcomes[0])

    def undo(self) -> bool:
        undone = self.queue.undo(self.reviewer)
        if undone is None:
            return _again(f"{self.reviewer} has made no decision that could be undone")
        self.made.pop(undone.number, None)
        self.skipped.discard(undone.row)
        say(f"undone: {undone.deed}")
        if undone.row in self.order:
            self.place -= self.order.index(undone.row) < self.place
            self.order.remove(undone.row)
        self.order.insert(self.place, undone.row)
        self.wanted.add(undone.row)
        return True

    def search(self, words: str) -> bool:
        found = [item.row for item in self.queue.items(decided=True) if item.has(words)] if words else []
        if not found:
            return _again(f"nothing has {words!r}" if words else "type / and the words to look for")
        say(f"{counted(len(found), 'row')} with {words!r}, then on with the queue")
        self.order = self.order[: self.place] + found + [r for r in self.order[self.place :] if r not in found]
        self.wanted |= set(found)
        return True

    def neighbours(self, item: Item) -> Text:
        others = [other for other in self.queue.items(decided=True) if other.row != item.row]
        own = _grams(item.text)
        scored = sorted(((_alike(own, other.text), other) for other in others), key=lambda pair: -pair[0])
        page = Text().append("twins\n" if item.twins else "no twins\n", style="dim")
        for twin in item.twins:
            page.append_text(_twin_line(twin, SHORT))
        page.append("like it in the queue\n", style="dim")
        for share, other in scored[:5]:
            if share >= 0.2:
                twin = Twin(other.sources[0], other.row, other.text, label_text(other.label))
                page.append_text(_twin_line(twin, SHORT, "like it"))
        return page


# -- screens --------------------------------------------------------------------------------------------------


def _screen(item: Item, place: int, total: int) -> Text:
    """Everything that is needed to decide, on as few lines as it takes."""
    page = Text("\n")
    page.append(f"{place} of {total}", style="bold")
    settles = f"   settles {item.settles} rows" if item.settles > 1 else ""
    page.append(f"   {', '.join(item.sources)}   worth {item.worth:.2f}{settles}\n", style="dim")
    for doubt in item.doubts:
        page.append(f"{doubt.stage}  ", style="yellow")
        page.append(f"{doubt.reason}  ").append(f"({doubt.score:.3g})\n", style="dim")
    page.append("text    ", style="dim").append(f"{_shortened(item.text, SHORT)}\n")
    if item.label is not None:
        page.append("label   " if item.classes else "answer  ", style="dim")
        page.append(_shortened(label_text(item.label), SHORT), style="cyan")
        page.append(f"  -> {item.suggestion}" if item.suggestion else "", style="bold green").append("\n")
    for twin in item.twins[:3]:
        page.append_text(_twin_line(twin, 160))
    if len(item.twins) > 3:
        page.append(f"        and {len(item.twins) - 3} more twins (n)\n", style="dim")
    if item.decision:
        page.append(f"{_holding(item)}\n", style="magenta")
    return page.append(KEYS, style="dim")


def _holding(item: Item) -> str:
    holds = item.decision
    if holds is None:
        return "not decided"
    return f"{holds.reviewer} decided at {holds.time}: {holds.deed}" + (f" ({holds.comment})" if holds.comment else "")


def _twin_line(twin: Twin, length: int, word: str = "twin") -> Text:
    line = Text().append(f"{word:<8}{twin.source}", style="dim")
    text = _shortened(twin.text, length) if twin.text else "(not among the training rows)"
    return line.append(f"  {twin.label}", style="cyan").append(f"  {text}\n")


def _columns(item: Item) -> Text:
    page = Text()
    for name, value in item.columns.items():
        if name == "messages":
            for turn in value:
                page.append(f"{turn['role']:<10}", style="dim").append(f"{turn['content']}\n")
        else:
            page.append(f"{name:<10}", style="dim").append(f"{value}\n")
    return page


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}... ({len(text) - length:,} characters more: v)"


def _near(item: Item, labels: dict[str, int]) -> list[str]:
    """The labels that are likely meant: suggested, of twins, the row's own, the most frequent."""
    own = item.label if isinstance(item.label, list) else [item.label or ""]
    suggested = [doubt.suggestion for doubt in item.doubts]
    likely = [*suggested, *(twin.label for twin in item.twins), *own, *labels]
    return list(dict.fromkeys(name for name in likely if name))[:8]


def _grams(text: str) -> set[str]:
    return {text[n : n + 3] for n in range(max(len(text) - 2, 1))}


def _alike(own: set[str], other: str) -> float:
    """Jaccard similarity of the texts' 3-grams."""
    grams = _grams(other)
    return len(own & grams) / max(len(own | grams), 1)


def _again(why: str) -> bool:
    say(why)
    return False


# -- reading --------------------------------------------------------------------------------------------------


def _at_terminal() -> bool:
    """Whether a person types: a prompt then goes to stdout, where the line is edited."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _read(prompt: str) -> str:
    """One line of what the reviewer says.

    Raises:
        _Quit: at the end of the input.
    """
    if _at_terminal():
        try:
            return input(prompt)
        except EOFError:
            raise _Quit from None
    line = sys.stdin.readline()
    if not line:
        raise _Quit
    return line.rstrip("\r\n")


def _edit_line(prompt: str, text: str) -> str:
    """A line that begins as `text` where the terminal can do that; line breaks are shown as one sign."""
    if not _at_terminal():
        return _read(prompt)
    import readline

    readline.set_startup_hook(lambda: readline.insert_text(_one_line(text)))
    try:
        return _read(prompt)
    finally:
        readline.set_startup_hook(None)


def _one_line(text: str) -> str:
    return text.replace("\n", BREAK)


def _several_lines(text: str, before: str) -> str:
    """A line as the text that it stands for; a sign that stood in the text itself stays one."""
    return text if BREAK in before else text.replace(BREAK, "\n")


@contextlib.contextmanager
def _completion(labels: list[str]) -> Iterator[None]:
    """Let Tab complete labels while the block runs, where there is a terminal."""
    if not _at_terminal():
        yield
        return
    import readline

    before = readline.get_completer(), readline.get_completer_delims()

    def complete(typed: str, number: int) -> str | None:
        fitting = [label for label in labels if label.casefold().startswith(typed.casefold())]
        return fitting[number] if number < len(fitting) else None

    readline.set_completer(complete)
    readline.set_completer_delims("")  # a label is completed as a whole, spaces and all
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        readline.set_completer(before[0])
        readline.set_completer_delims(before[1])
