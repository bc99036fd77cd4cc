"""Greedy answers of many prompts, in their order: by our own engine where it applies, else by transformers' generate.

prompts, longest first -> engine: continuous batching, no padding (engine.py)        -> texts
                       -> transformers: left-padded batches, each until its last ends
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

from tuneloop.errors import ShapeError
from tuneloop.examples.template import template_of
from tuneloop.infer.engine import Engine, Request
from tuneloop.model.heads import base_model
from tuneloop.terminal import progress


@dataclass(frozen=True)
class Generated:
    """One answer.

    Attributes:
        text: The new text, special tokens removed (think tags are ordinary text and stay).
        tokens: New tokens, the stop token included.
        stopped: Whether it ended by itself, not by the budget.
        seconds: Its share of the time: those of all answers sum up to what the computing took. With the engine, its
            share of each pass by the tokens that it computed in it; else an equal part of its batch's time. It is no
            latency, which is the time of a prompt asked alone.
    """

    text: str
    tokens: int
    stopped: bool
    seconds: float


def stop_tokens(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer: the template's end of turn, the tokenizer's EOS, the generation config's."""
    stops = {tokenizer.convert_tokens_to_ids(template_of(tokenizer).eos)}
    found = base_model(model).generation_config
    configured = found.eos_token_id if found is not None else None
    for value in (tokenizer.eos_token_id, configured):
        if isinstance(value, int):
            stops.add(value)
        elif isinstance(value, list):
            stops.update(value)
    return sorted(stop for stop in stops if isinstance(stop, int))


def generate(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    engine: Engine | None = None,
    batch_size: int = 16,
    title: str = "",
    streamer: BaseStreamer | None = None,
) -> list[Generated]:
    """Greedy answers to `prompts`.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Its tokenizer.
        prompts: Token ids, each at least one.
        max_new_tokens: Budget of each answer.
        engine: Of `choose_engine` for this model, with nothing on its way; None: transformers' generate.
        batch_size: Prompts that transformers' generate answers at once.
        title: Of the progress bar; "" shows none.
        streamer: Receives the tokens as they come; for one prompt only.

    Returns:
        One Generated a prompt, in their order.

    Raises:
        ShapeError: if a prompt has no tokens, or several would be streamed.
    """
    if not all(prompts):
        raise ShapeError("generate: a prompt without tokens")
    if streamer is not None and len(prompts) != 1:
        raise ShapeError("generate: only one prompt can be streamed", got=str(len(prompts)))
    results: dict[int, Generated] = {}
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    longest_first = [prompts[i] for i in order]
    stops = stop_tokens(model, tokenizer)
    if engine is not None:
        found = _by_engine(engine, longest_first, max_new_tokens, stops, streamer)
    else:
        found = _by_transformers(
            model, longest_first, max_new_tokens, stops, streamer, (batch_size, tokenizer.pad_token_id)
        )
    with progress(title, len(prompts), unit="tokens") as bar:
        for place, new, seconds in found:
            stopped = new[-1] in stops
            text = str(tokenizer.decode(new[:-1] if stopped else new, skip_special_tokens=True))
            results[order[place]] = Generated(text, len(new), stopped, seconds)
            bar.advance(measure=len(new))
    return [results[i] for i in range(len(prompts))]


Answer = tuple[int, list[int], float]
"""The prompt's place, its new tokens up to the first stop token, and its seconds."""


def _by_engine(
    engine: Engine, prompts: Sequence[list[int]], budget: int, stops: Sequence[int], streamer: BaseStreamer | None
) -> Iterator[Answer]:
    requests = [engine.submit(prompt, max_new_tokens=budget, stops=frozenset(stops)) for prompt in prompts]
    places = {request: place for place, request in enumerate(requests)}
    told = 0
    if streamer is not None:
        streamer.put(torch.tensor([prompts[0]]))
    try:
        while places:
            ended = engine.step()
            if streamer is not None:
                told = _stream(streamer, requests[0], told)
            for request in ended:
                yield places.pop(request), request.tokens, request.seconds
    finally:  # also where nobody waits for the rest: the engine may be asked again
        for request in requests:
            engine.cancel(request)
    if streamer is not None:
        streamer.end()


def _stream(streamer: BaseStreamer, request: Request, told: int) -> int:
    for token in request.tokens[told:]:
        streamer.put(torch.tensor([token]))
    return len(request.tokens)


def _by_transformers(
    model: PreTrainedModel | PeftModel,
    prompts: Sequence[list[int]],
    budget: int,
    stops: list[int],
    streamer: BaseStreamer | None,
    batch: tuple[int, int],
) -> Iterator[Answer]:
    """By batches of `batch[0]` prompts, filled up on the left with token `batch[1]`."""
    size, pad = batch
    device = next(model.parameters()).device
    make: Callable[..., torch.Tensor] = cast(Any, model).generate
    for start in range(0, len(prompts), size):
        chosen = prompts[start : start + size]
        width = max(len(prompt) for prompt in chosen)
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in chosen], device=device)  # (B, width)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in chosen], device=device)
        began = time.monotonic()
        with torch.inference_mode():
            output = make(
                input_ids=ids, attention_mask=mask, max_new_tokens=budget, do_sample=False, num_beams=1,
                temperature=None, top_p=None, top_k=None, repetition_penalty=1.0, eos_token_id=stops, pad_token_id=pad,
                streamer=streamer,
            )  # fmt: skip
        seconds = (time.monotonic() - began) / len(chosen)
        for place, row in enumerate(output[:, width:].tolist(), start):
            end = next((i for i, token in enumerate(row) if token in stops), len(row))
            yield place, row[: end + 1], seconds
