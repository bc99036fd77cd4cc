"""Answers of many prompts at once, each beginning and ending when it does: continuous batching, greedy.

    submit(prompt) -> waiting -> a free slot -> tokens, one a pass -> done: a stop token or the budget; the slot is free

Each `step` is one pass of the network: over the prompts of newcomers where there is room for one, else over the last
token of every answer on its way. A newcomer that begins as a text in some slot does (a shared system prompt, the turns
so far) takes that part's keys and values from there instead of computing them again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from tuneloop.errors import ShapeError
from tuneloop.memory import available_memory
from tuneloop.model.decode import CachedDecoder, Prompt, why_not_decode
from tuneloop.terminal import say

SLOTS = 64
"""Answers at once: products of 64 rows run at full speed, so that with more of them a pass only takes longer."""
CACHE_BYTES = 2**30
"""Keys and values take at most this, and at most a quarter of the free memory."""
TOKENS = 512
"""New tokens of a pass over prompts; a longer prompt goes alone."""
SHARED = 16
"""Tokens from which on a common beginning is copied rather than computed."""


@dataclass(eq=False)
class Request:
    """A prompt and its answer so far.

    Attributes:
        prompt: Token ids, at least one.
        max_new_tokens: Budget of the answer, at least one.
        stops: Tokens that end it.
        tokens: The answer's tokens, the stop token included; they grow while the engine steps.
        stopped: Whether it ended by itself, not by the budget.
        seconds: Its share of the passes that it took part in: their time by the tokens that they computed.
    """

    prompt: list[int]
    max_new_tokens: int
    stops: frozenset[int]
    tokens: list[int] = field(default_factory=list)
    stopped: bool = False
    seconds: float = 0.0

    @property
    def done(self) -> bool:
        """Whether the answer is whole."""
        return self.stopped or len(self.tokens) >= self.max_new_tokens

    @property
    def most(self) -> int:
        """Tokens that its slot may have to hold: the last one is answered and never read."""
        return len(self.prompt) + self.max_new_tokens - 1


class Engine:
    """A queue of requests over one decoder. Not for several threads at once.

    A request is begun in its turn, in the lowest free slot, once all answers on their way, it included, could run to
    their budgets within the decoder's limit of memory; where nothing else is on its way it is begun in any case.

    Args:
        decoder: Computes; its weights are those of the moment it was made.
        slots: Answers at once at most.
    """

    def __init__(self, decoder: CachedDecoder, *, slots: int = SLOTS) -> None:
        self._decoder, self._slots = decoder, slots
        self._waiting: deque[Request] = deque()
        self._active: dict[int, Request] = {}
        self._texts: list[list[int]] = []  # by slot: the tokens whose keys and values lie there, also of ended answers

    @property
    def busy(self) -> bool:
        """Whether any request waits or is on its way."""
        return bool(self._waiting or self._active)

    @property
    def active(self) -> list[Request]:
        """The answers on their way, by slot."""
        return [self._active[slot] for slot in sorted(self._active)]

    def submit(self, prompt: Sequence[int], *, max_new_tokens: int, stops: frozenset[int] = frozenset()) -> Request:
        """Queue a prompt.

        Raises:
            ShapeError: if it has no tokens, or none are asked for.
        """
        if not prompt:
            raise ShapeError("generate: a prompt without tokens")
        if max_new_tokens < 1:
            raise ShapeError("generate: max_new_tokens must be at least 1", got=str(max_new_tokens))
        request = Request(list(prompt), max_new_tokens, stops)
        self._waiting.append(request)
        return request

    def cancel(self, request: Request) -> None:
        """Forget a request; one that is done, or not known, is passed over."""
        if request in self._waiting:
            self._waiting.remove(request)
        self._active = {slot: other for slot, other in self._active.items() if other is not request}

    def forget(self) -> None:
        """Let newcomers find nothing of ended answers: each prompt is then computed whole, as a first one is."""
        self._texts = [text if slot in self._active else [] for slot, text in enumerate(self._texts)]

    def step(self) -> list[Request]:
        """One pass of the network; nothing where nothing waits.

        Returns:
            The requests that it ended.
        """
        began = time.monotonic()
        if newcomers := self._admit():
            prompts = list(newcomers)
            logits = self._decoder.read(prompts)
            taken = {prompt.slot: len(prompt.tokens) for prompt in prompts}
        elif self._active:
            slots = sorted(self._active)
            lengths = [len(self._texts[slot]) for slot in slots]
            self._make_room(self._active)
            last = [self._active[slot].tokens[-1] for slot in slots]
            logits = self._decoder.extend(slots, last, lengths)
            for slot, token in zip(slots, last, strict=True):
                self._texts[slot].append(token)
            taken = dict.fromkeys(slots, 1)
        else:
            return []
        return self._take(logits, taken, began)

    def _take(self, logits: Tensor, taken: dict[int, int], began: float) -> list[Request]:
        """Give each slot of a pass its next token, and let go of those that are done."""
        new = logits.argmax(1).tolist()
        share = (time.monotonic() - began) / sum(taken.values())
        ended = []
        for (slot, computed), token in zip(taken.items(), new, strict=True):
            request = self._active[slot]
            request.tokens.append(token)
            request.stopped = token in request.stops
            request.seconds += share * computed
            if request.done:
                ended.append(self._active.pop(slot))
        return ended

    def _admit(self) -> list[Prompt]:
        """Give waiting requests slots, as many as one pass takes, and say what is to be read."""
        prompts: list[Prompt] = []
        computed = 0
        while self._waiting and len(self._active) < self._slots:
            request = self._waiting[0]
            slot = next(place for place in range(self._slots) if place not in self._active)
            every = self._active | {slot: request}
            if self._active and not self._decoder.kept.fits(max(every) + 1, _most(every)):
                break
            self._make_room(every)
            source, start = self._beginning(request.prompt, slot)
            computed += len(request.prompt) - start
            if prompts and computed > TOKENS:
                break
            self._active[slot] = self._waiting.popleft()
            self._texts[slot] = list(request.prompt)
            prompts.append(Prompt(slot, request.prompt[start:], start, source))
        return prompts

    def _make_room(self, every: dict[int, Request]) -> None:
        """Have room in these slots for what is read of their requests and one token more, and grow with foresight."""
        kept = self._decoder.kept
        count = max(every) + 1
        needed = max(len(request.prompt) + len(request.tokens) for request in every.values())
        kept.make_room(count, needed, most=(min(self._slots, len(self._active) + len(self._waiting)), _most(every)))
        self._texts += [[] for _ in range(kept.slots - len(self._texts))]
        del self._texts[kept.slots :]  # the cache may have given up the last ones

    def _beginning(self, prompt: list[int], slot: int) -> tuple[int, int]:
        """The slot that begins with the most of the prompt's tokens but its last, and how many; (slot, 0): too few."""
        found = [(_shared(text, prompt[:-1]), place) for place, text in enumerate(self._texts)]
        shared, source = max(found, key=lambda pair: (pair[0], pair[1] == slot), default=(0, slot))
        return (source, shared) if shared >= SHARED else (slot, 0)


def _most(every: dict[int, Request]) -> int:
    return max(request.most for request in every.values())


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens both begin with."""
    most = min(len(first), len(second))
    return next((place for place in range(most) if first[place] != second[place]), most)


def choose_engine(model: PreTrainedModel | PeftModel, *, fast: bool) -> Engine | None:
    """An engine where it is wanted and applies; else None, said aloud with the reason: transformers answers then.

    Args:
        model: In eval mode, on its device.
        fast: The recipe's model.fast_path.
    """
    if reason := why_not_decode(model) if fast else "model.fast_path is false":
        say(f"answering: on the plain path (transformers' generate): {reason}")
        return None
    free = available_memory()
    return Engine(CachedDecoder(model, limit=CACHE_BYTES if free is None else min(CACHE_BYTES, free // 4)))
