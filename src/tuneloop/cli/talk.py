"""`tuneloop chat`: a conversation in the terminal."""

from __future__ import annotations

import sys

from tuneloop.prediction import Chat
from tuneloop.runs import open_run
from tuneloop.terminal import out, say


def talk(run: str, *, max_new_tokens: int) -> None:
    """Read a line, answer it, until /exit, Ctrl-D or Ctrl-C.

    Args:
        run: The run, by name or path.
        max_new_tokens: Budget of an answer.
    """
    say("loading ...")
    chat = Chat(open_run(run))
    say("type a message; /reset forgets the turns, /exit ends")
    prompt = "> " if sys.stdin.isatty() else ""  # piped questions leave only the answers on stdout
    while True:
        try:
            text = input(prompt).strip()
        except EOFError:
            return
        if text in ("/exit", "/quit"):
            return
        if text == "/reset":
            chat.reset()
            say("forgotten")
            continue
        if not text:
            continue
        for piece in chat.say(text, max_new_tokens=max_new_tokens):
            out.print(piece, end="", markup=False, soft_wrap=True)
        out.print("")
