"""Greedy answers of many prompts: length-sorted, left-padded batches on the KV cache, the input's order kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.generation.streamers import BaseStreamer

from tuneloop.errors import ShapeError
from tuneloop.examples.template import template_of
from tuneloop.model.heads import base_model
from tuneloop.terminal import progress


@dataclass(frozen=True)
class Generated:
    """One answer.

    Attributes:
        text: The new text, special tokens removed (think tags are ordinary text and stay).
        tokens: New tokens, the stop token included.
        stopped: Whether it ended by itself, not by the budget.
        seconds: Its share of the batch's time.
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
    batch_size: int = 16,
    title: str = "",
    streamer: BaseStreamer | None = None,
) -> list[Generated]:
    """Greedy answers to `prompts`.

    Args:
        model: A causal language model in eval mode.
        tokenizer: Its tokenizer; its padding token fills the left.
        prompts: Token ids, each at least one.
        max_new_tokens: Budget of each answer.
        batch_size: Prompts answered at once.
        title: Of the progress bar; "" shows none.
        streamer: Receives the tokens as they come; for one prompt only.

    Returns:
        One Generated a prompt, in their order.
    """
    results: list[Generated | None] = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    stops = stop_tokens(model, tokenizer)
    with progress(title, len(prompts), unit="tokens") as bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            answers = _one_batch(model, tokenizer, [prompts[i] for i in chosen], max_new_tokens, stops, streamer)
            for index, answer in zip(chosen, answers, strict=True):
                results[index] = answer
            bar.advance(len(chosen), measure=sum(answer.tokens for answer in answers))
    return [answer for answer in results if answer is not None]


def _one_batch(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_new_tokens: int,
    stops: list[int],
    streamer: BaseStreamer | None,
) -> list[Generated]:
    if not all(prompts):
        raise ShapeError("generate: a prompt without tokens")
    device = next(model.parameters()).device
    width = max(len(prompt) for prompt in prompts)
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)  # (B, width)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    began = time.monotonic()
    make: Callable[..., torch.Tensor] = cast(Any, model).generate
    with torch.inference_mode():
        output = make(
            input_ids=ids, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1,
            temperature=None, top_p=None, top_k=None, repetition_penalty=1.0, eos_token_id=stops, pad_token_id=pad,
            streamer=streamer,
        )  # fmt: skip
    seconds = (time.monotonic() - began) / len(prompts)
    answers = []
    for row in output[:, width:].tolist():
        end = next((i for i, token in enumerate(row) if token in stops), None)
        new = row if end is None else row[: end + 1]
        text = str(tokenizer.decode(new if end is None else new[:-1], skip_special_tokens=True))
        answers.append(Generated(text, len(new), end is not None, seconds))
    return answers
