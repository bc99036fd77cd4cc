"""Conversation -> text, in segments that are trained or not. One renderer for training and inference.

    messages --render--> context (untrained) + what the model says (trained) + end of turn (trained)

The prompt side is what the model's own chat template renders; for R1 and its distills by our own
renderer (official text, checked against the model's template when it is read). What the model
says is ours, because official templates drop the reasoning from assistant turns, and training
through them silently trains on none. Three words say what happens with reasoning:

    think   answer has reasoning           answer has none
    keep    trained as it stands           trained as it stands
    strip   removed; then as without       trained as it stands
    empty   as in keep (prompt of keep)    prompt + `<think>\\n\\n</think>\\n\\n`, untrained, then the answer

Where the template's generation prompt opens `<think>\\n` by itself (one R1 revision), every
prompt has it, in training and in inference, here and in any other server. There an answer is
trained without its own opening tag, and an answer without reasoning is trained as
`\\n</think>\\n\\nanswer`: the model learns to close at once what the prompt opened. `empty`
closes it in the prompt instead, so that closing at once is not learnt.

Which turns are trained: the last assistant turn, and every earlier one that stands in the context
exactly as it was generated. R1 templates drop earlier reasoning, so an earlier turn that had some
is context only: at inference nothing is ever generated from or into such a text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from jinja2.exceptions import TemplateError

from tuneloop.errors import DataError, ModelError
from tuneloop.examples.think import CLOSE, EMPTY_BLOCK, OPEN, split_think
from tuneloop.records import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RENDERER = "1"  # part of the hash: raise it when the same template would render other text
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
R1_EOS = "<｜end▁of▁sentence｜>"
MAX_TEMPLATE = 200_000  # characters; the longest known chat templates have about 20,000

# For a base model without a chat template: headings, one blank line, the tokenizer's EOS behind each answer.
PLAIN = (
    "{% set names = {'system': 'System', 'user': 'User', 'assistant': 'Assistant', 'tool': 'Tool'} %}"
    "{% for message in messages %}{{ names[message['role']] + ':\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)

Render = Callable[[Sequence[Message], bool], str]


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the text that is tokenised by itself; `trained` pieces are what the model learns to say."""

    text: str
    trained: bool


@dataclass(frozen=True)
class Template:
    """How one model's conversations are written; made by `template_of`.

    Attributes:
        kind: "r1": our own renderer of the R1 format; "own": the model's Jinja template, or the plain fallback.
        text: The Jinja source, as the tokenizer carries it (the fallback's where it has none).
        hash: 16 hex digits over `text` and the renderer's version; two runs with one hash render alike.
        eos: The token that ends a turn, as text; generation stops there.
        opener: What the generation prompt opens reasoning with: "<think>\\n", or "" if it does not.
        lead: What stands between the generation prompt and an answer and must be generated; nearly always "".
        end: What follows an answer up to and with `eos`; trained.
        tail: What follows `eos` in a finished turn; not trained.
        trims: The template trims white space around contents.
        render: (messages, with generation prompt) -> the official text.
    """

    kind: Literal["r1", "own"]
    text: str = field(repr=False)
    hash: str
    eos: str
    opener: str
    lead: str
    end: str
    tail: str
    trims: bool
    render: Render = field(repr=False, compare=False)

    @property
    def opens_think(self) -> bool:
        """Whether the generation prompt opens the reasoning."""
        return bool(self.opener)

    def opened_by_prompt(self, think: str) -> bool:
        """Whether generated text continues an open `<think>`: the second argument of `split_think`."""
        return self.opens_think and think != "empty"

    def segments(self, messages: Sequence[Message], think: str) -> list[Segment]:
        """The training text of a conversation that ends with the assistant's answer.

        Joined, it is the official text apart from reasoning. An answer whose reasoning never
        closes was cut off: its text is trained without an end of turn (with `strip`, nothing is
        left of it, and no segment is trained).

        Args:
            messages: The conversation; the last message is the assistant's.
            think: One of keep, strip, empty.

        Raises:
            DataError: if the conversation does not end with the assistant, or the template refuses it.
        """
        if not messages or messages[-1].role != "assistant":
            raise DataError(
                "A row has no answer to learn from",
                got=f"a conversation that ends with {messages[-1].role!r}" if messages else "no messages",
                allowed="conversations whose last message is the assistant's",
                fix="Give the row an answer, or use it for prediction only",
            )
        said = self._said(messages[-1].content, think)
        context = self._context(messages[:-1], think)
        context[-1] = Segment(context[-1].text + said.block, trained=False)
        if said.lost:
            return context
        if said.cut:
            return [*context, Segment(said.text, trained=True)]
        ending = [Segment(self.end, trained=True), Segment(self.tail, trained=False)]
        return [part for part in (*context, Segment(said.text, trained=True), *ending) if part.text]

    def prompt(self, messages: Sequence[Message], think: str = "keep") -> str:
        """The text that the model continues; see `prompt_segments`."""
        return "".join(part.text for part in self.prompt_segments(messages, think))

    def prompt_segments(self, messages: Sequence[Message], think: str = "keep") -> list[Segment]:
        """The prompt in the pieces in which training tokenises it, so that the tokens are the same.

        Args:
            messages: The conversation. A last assistant message is the answer to be generated: it is left out.
            think: One of keep, strip, empty (the empty block is appended, closed).

        Raises:
            DataError: if the template refuses the conversation.
        """
        turns = messages[:-1] if messages and messages[-1].role == "assistant" else messages
        parts = self._context(turns, think)
        block = self._said("", think).block
        return [*parts[:-1], Segment(parts[-1].text + block, trained=False)]

    def _context(self, turns: Sequence[Message], think: str) -> list[Segment]:
        """The text up to the answer, cut where earlier answers stand as they were generated; never empty."""
        if think == "strip":
            turns = [replace(t, content=split_think(t.content).answer) if t.role == "assistant" else t for t in turns]
        whole = self.render(turns, True)
        parts: list[Segment] = []
        done = 0
        for index, turn in enumerate(turns):
            if turn.role != "assistant":
                continue
            start = self.render(turns[:index], True)
            said = self._said(turn.content, think)
            generated = start + said.block + said.text + self.end
            if said.cut or not whole.startswith(generated):
                continue
            parts += [
                Segment(whole[done : len(start + said.block)], trained=False),
                Segment(said.text, trained=True),
                Segment(self.end, trained=True),
            ]
            done = len(generated)
        return [*(part for part in parts if part.text), Segment(whole[done:], trained=False)]

    def _said(self, content: str, think: str) -> _Said:
        """What the model generates when it gives the answer `content`."""
        content = content.strip() if self.trims else content
        thought = split_think(content)
        cut = thought.opened and not thought.closed
        if think == "strip":
            if cut:
                return _Said("", "", cut=True, lost=True)
            content = thought.answer
            thought = split_think(content)
        if think == "empty" and not thought.thought and not cut:
            return _Said(self.lead + EMPTY_BLOCK.removeprefix(self.opener), thought.answer)
        if self.opener and thought.thought is None:
            content = EMPTY_BLOCK.removeprefix(self.opener) + content
        elif self.opener:
            content = content.lstrip() if content.lstrip().startswith(OPEN) else content
            content = content.replace(OPEN, "", 1).removeprefix("\n" if self.opener.endswith("\n") else "")
        elif thought.closed and not thought.opened:
            # Written behind a prompt that opened the reasoning; this model's prompt does not.
            content = f"{OPEN}\n{content}"
        return _Said("", self.lead + content, cut=cut)


@dataclass(frozen=True, slots=True)
class _Said:
    """`block`: untrained end of the prompt; `text`: trained; `cut`: never finished; `lost`: nothing is left of it."""

    block: str
    text: str
    cut: bool = False
    lost: bool = False


def template_of(tokenizer: PreTrainedTokenizerBase) -> Template:
    """Read how the model writes conversations from its tokenizer.

    A tokenizer without a chat template gets `PLAIN`: headings `User:` and `Assistant:`, each answer
    followed by EOS (and the tokenizer's BOS in front, if it sets one).

    Raises:
        ModelError: if the template cannot be rendered, or does not show where an answer starts and ends.
    """
    try:
        source = tokenizer.get_chat_template() if tokenizer.chat_template else _bos(tokenizer, jinja=True) + PLAIN
    except ValueError as error:  # several named templates, none of them "default"
        raise ModelError("The tokenizer has no default chat template", got=str(error)) from None
    if len(source) > MAX_TEMPLATE:
        raise ModelError("The chat template is too long", got=f"{len(source)} characters", allowed=f"{MAX_TEMPLATE}")
    official = partial(_render_jinja, tokenizer, source)
    ours = _r1_renderer(official, tokenizer.bos_token or "") if USER in source and ASSISTANT in source else None
    try:
        return _probe("r1" if ours else "own", source, ours or official, tokenizer)
    except DataError as error:
        raise ModelError(
            "The model's chat template cannot write a question and an answer", got=error.got,
            fix="Use the tokenizer's chat template of the model's publisher, or remove it to get the plain one",
        ) from None  # fmt: skip


def _probe(kind: Literal["r1", "own"], source: str, render: Render, tokenizer: PreTrainedTokenizerBase) -> Template:
    """Find out from two small renderings where an answer starts and what ends it."""
    mark = "tuneloopanswer"
    ask = [Message("user", "question")]
    prompt = render(ask, True)
    before, found, after = render([*ask, Message("assistant", mark)], False).rpartition(mark)
    opener = prompt[prompt.rfind(OPEN) :] if prompt.rstrip().endswith(OPEN) else ""
    start = prompt.removesuffix(opener)
    if not found or not before.startswith(start):
        raise ModelError(
            "The model's chat template writes an answer elsewhere than behind its generation prompt",
            got=f"the prompt {prompt[-60:]!r} and the finished turn {before[-60:]!r}",
            fix="Repair the tokenizer's chat_template, or remove it to get the plain one",
        )
    lead = before[len(start) :]
    if OPEN in lead and not lead.replace(OPEN, "").replace(CLOSE, "").strip():
        lead = ""  # some templates (Qwen3) put an empty block before the last answer: reasoning is our part
    padded = render([*ask, Message("assistant", f" {mark} ")], False)
    end, eos = _ending(after, tokenizer)
    return Template(
        kind=kind,
        text=source,
        hash=hashlib.sha256(f"{RENDERER}\n{source}".encode("utf-8", "surrogatepass")).hexdigest()[:16],
        eos=eos,
        opener=opener,
        lead=lead,
        end=end,
        tail=after[len(end) :] if after.startswith(end) else after,
        trims=f" {mark} " not in padded,
        render=render,
    )


def _ending(after: str, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """What ends a turn, given all that follows an answer: (text up to and with the token, the token)."""
    eos = tokenizer.eos_token
    if eos and eos in after:
        return after[: after.index(eos) + len(eos)], eos
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    found = [(after.index(token), -len(token), token) for token in special if token and token in after]
    if found:
        place, _, token = min(found)
        return after[: place + len(token)], token
    if not eos:
        raise ModelError(
            "Nothing ends an answer: the tokenizer has no EOS token and its chat template writes no special token",
            fix="Set eos_token in tokenizer_config.json; without it the tuned model would never stop",
        )
    return eos, eos


def _bos(tokenizer: PreTrainedTokenizerBase, *, jinja: bool = False) -> str:
    """The BOS that the tokenizer itself puts before a text, or "" (a BOS that is only named does not count)."""
    bos = tokenizer.bos_token
    if not bos or tokenizer("a")["input_ids"][:1] != [tokenizer.bos_token_id]:
        return ""
    return "{{ bos_token }}" if jinja else bos


def plain_text(text: str, template: Template, tokenizer: PreTrainedTokenizerBase) -> list[Segment]:
    """Segments of a row that is only text: no chat format, all of it trained, then EOS."""
    parts = [Segment(_bos(tokenizer), False), Segment(text, True), Segment(template.eos, True)]
    return [part for part in parts if part.text]


def _render_jinja(
    tokenizer: PreTrainedTokenizerBase, source: str, messages: Sequence[Message], generation: bool
) -> str:
    """The model's own template, in transformers' sandbox (ImmutableSandboxedEnvironment)."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text = tokenizer.apply_chat_template(
            turns, chat_template=source, add_generation_prompt=generation, tokenize=False
        )
    except (TemplateError, TypeError, ValueError, KeyError, IndexError, ArithmeticError) as error:
        raise DataError(
            "The model's chat template refuses a conversation",
            got=f"{error} (roles: {', '.join(message.role for message in messages) or 'none'})",
            fix="Rows must have the roles and the order that the model knows; see its model card",
        ) from None
    return str(text)


def _r1_renderer(official: Render, bos: str) -> Render | None:
    """Our renderer of the R1 format, set to this revision; None if the template is not that format after all.

    Revisions differ in two places: several system messages (the last counts, or all are joined)
    and the generation prompt (with or without `<think>\\n`). Both are read off the template's own
    renderings, and then every part is compared, so that a template that merely uses the same
    markers is rendered by itself.

    Source: tokenizer_config.json of deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B and of DeepSeek-R1.
    """
    talk = [
        Message("system", "a"), Message("user", "b"), Message("assistant", "<think>c</think>\n\n d"),
        Message("user", " e\n"), Message("assistant", "f"), Message("system", "g"), Message("user", ""),
    ]  # fmt: skip
    cases = [(talk[:size], ask) for size in range(1, len(talk) + 1) for ask in (False, True)]
    try:
        opener = official(talk[1:2], True).rpartition(ASSISTANT)[2]
        joined = official(talk, False).startswith(f"{bos}a\n\ng{USER}")
        ours = partial(_render_r1, bos=bos, opener=opener, joined=joined)
        return ours if all(ours(*case) == official(*case) for case in cases) else None
    except DataError:
        return None


def _render_r1(messages: Sequence[Message], generation: bool, *, bos: str, opener: str, joined: bool) -> str:
    """The R1 format: system texts first, no line breaks, reasoning dropped from finished answers."""
    systems = [message.content for message in messages if message.role == "system"]
    text = bos + ("\n\n".join(systems) if joined else "".join(systems[-1:]))
    for message in messages:
        if message.role == "user":
            text += USER + message.content
        elif message.role == "assistant":
            text += ASSISTANT + message.content.split(CLOSE)[-1] + R1_EOS
        elif message.role == "tool":
            raise DataError(
                "The R1 format of this model cannot show a tool's output without the call before it",
                got="a message with the role 'tool'",
                allowed="system, user, assistant",
                fix="Write the tool's output into the user's message, or leave these rows out with data.where",
            )
    return text + (ASSISTANT + opener if generation else "")
