"""Label scores of an untuned language model, several rows in one forward pass.

    [prompt with the label list]                    computed once, kept as keys and values     P tokens
    [row 1, padded | trie of labels]  +             rows of like length go through at once     B x (R + S)
    [row 2, padded | trie of labels]  +
    -> states (B, S + 1, D) of the rows' last tokens and the trie's nodes -> logits, a slice of the vocabulary at a time
    -> log-likelihoods of the trie's edges (B, E) -> means over each label's tokens (B, C)

Each node sees the prompt, its row and the nodes above it, at the position it would have in its label alone, so the
scores are those of scoring every label by itself (tests/infer/test_choices.py), at a fraction of the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tuneloop.errors import DataError
from tuneloop.examples.batch import tokens_at_once
from tuneloop.examples.encode import encode_prompt
from tuneloop.examples.template import Template
from tuneloop.infer.prefix import Prefix
from tuneloop.infer.trie import Trie, make_trie
from tuneloop.model.heads import body
from tuneloop.records import Message
from tuneloop.terminal import progress

INSTRUCTION = "Classify the message. Answer with exactly one of these labels and nothing else:\n{labels}\n\nMessage: "
VOCABULARY_AT_ONCE = 1024  # columns of logits held at once, for every scored state of a batch

Ask = Callable[[Sequence[str], str], str]
"""`(labels, text) -> what the user says`; what stands before the text is the same for every text."""


def choice_prompt(labels: Sequence[str], text: str) -> str:
    """The fixed prompt: the labels first, the row's text last."""
    return INSTRUCTION.format(labels="\n".join(labels)) + text


class ChoiceScorer:
    """Scores every label for every row.

    Args:
        model: A causal language model, in eval mode.
        tokenizer: Its tokenizer.
        template: Its chat template.
        labels: The user's own strings.
        max_length: Tokens of a row's text that are read, as the tuned model reads them; None: all.
        ask: Writes the prompt.

    Raises:
        DataError: if a label has no tokens.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        labels: Sequence[str],
        *,
        max_length: int | None = None,
        ask: Ask = choice_prompt,
    ) -> None:
        self.max_length, self.ask = max_length, ask
        self.model, self.tokenizer, self.template, self.labels = model, tokenizer, template, list(labels)
        tokens = [tokenizer(label, add_special_tokens=False)["input_ids"] for label in labels]
        if not all(tokens):
            raise DataError(
                "A label has no tokens and cannot be scored", got=repr(labels[[bool(t) for t in tokens].index(False)])
            )
        self.device = next(model.parameters()).device
        self.max_tokens = tokens_at_once(self.device)  # of a batch: rows, padding and labels
        self.trie = make_trie(tokens)
        self.start = self._shared_start()
        self.prefix = Prefix(model, self.start)

    def _shared_start(self) -> list[int]:
        """The tokens that prompts begin with, but one: the token before the text may merge with its first letters."""
        first, second = self._prompt("a"), self._prompt("Zebra 9")
        same = next((i for i, (x, y) in enumerate(zip(first, second, strict=False)) if x != y), len(first) - 1)
        return first[: max(1, same - 1)]

    def _prompt(self, text: str) -> list[int]:
        message = Message("user", self.ask(self.labels, text))
        # R1 opens <think> by itself; the label is scored as the answer after an empty thought.
        think = "empty" if self.template.kind == "r1" else "keep"
        return encode_prompt([message], self.tokenizer, self.template, think=think, max_length=1 << 20)

    def _cut(self, text: str) -> str:
        """The text up to the last token that is read."""
        if self.max_length is None:
            return text
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return text if len(found) <= self.max_length else text[: found[self.max_length - 1][1]]

    def score(self, text: str) -> np.ndarray:
        """Mean log-likelihood a token of each label, (C,) float64, nats."""
        row: np.ndarray = self.score_all([text])[0]
        return row

    def score_all(self, texts: Sequence[str], *, title: str = "") -> np.ndarray:
        """`score` of each text, (N, C) float64, in their order; `title` is that of the progress bar, "" shows none."""
        scores = np.zeros((len(texts), len(self.labels)))
        with progress(title, len(texts)) as bar:
            for places, found in self.batches(texts):
                scores[places] = found
                bar.advance(len(places))
        return scores

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], np.ndarray]]:
        """Score batch by batch, the longest rows first: the places of B texts, and their (B, C) scores.

        A text whose first letters change the tokens before it is scored behind its own whole prompt.
        """
        shared: list[tuple[int, list[int]]] = []
        alone: list[tuple[int, list[int]]] = []
        past = len(self.start)
        for place, text in enumerate(texts):
            prompt = self._prompt(self._cut(text))
            if prompt[:past] == self.start and len(prompt) > past:
                shared.append((place, prompt[past:]))
            else:
                alone.append((place, prompt))
        for prefix, rows in ((self.prefix, shared), (None, alone)):
            for batch in self._fill(rows):
                yield [place for place, _ in batch], self._scores([row for _, row in batch], prefix)

    def _fill(self, rows: list[tuple[int, list[int]]]) -> Iterator[list[tuple[int, list[int]]]]:
        """Rows of like length, as many as `max_tokens` allows; a longer one alone."""
        waiting = sorted(rows, key=lambda row: -len(row[1]))
        while waiting:
            count = max(1, self.max_tokens // (len(waiting[0][1]) + len(self.trie)))
            yield waiting[:count]
            waiting = waiting[count:]

    def _scores(self, rows: Sequence[Sequence[int]], prefix: Prefix | None) -> np.ndarray:
        """(B, C) scores of rows behind a prefix, or of whole prompts."""
        with torch.inference_mode():
            logs = edge_logs(self._states(rows, prefix), self.model.get_output_embeddings(), self.trie)
        scores: np.ndarray = self.trie.label_means(logs.cpu()).numpy()
        return scores

    def _states(self, rows: Sequence[Sequence[int]], prefix: Prefix | None) -> Tensor:
        """The states that predict: each row's last token, then the nodes behind it, (B, S + 1, D)."""
        lengths = torch.tensor([len(row) for row in rows])  # (B,)
        longest, past = int(lengths.max()), 0 if prefix is None else len(self.start)
        ids = torch.zeros(len(rows), longest + len(self.trie), dtype=torch.long)  # (B, R + S)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
        ids[:, longest:] = self.trie.inputs
        positions = past + torch.arange(longest).expand(len(rows), -1)
        positions = torch.cat([positions, past + lengths[:, None] + self.trie.depth], 1)
        states: Tensor = body(self.model)(
            input_ids=ids.to(self.device), position_ids=positions.to(self.device),
            attention_mask=row_mask(lengths, self.trie, past).to(self.device),
            past_key_values=prefix, use_cache=prefix is not None,
        ).last_hidden_state  # fmt: skip
        last = states[torch.arange(len(rows)), lengths - 1]  # (B, D)
        return torch.cat([last[:, None], states[:, longest:]], 1)


def row_mask(lengths: Tensor, trie: Trie, past: int) -> Tensor:
    """What tokens of padded rows and the nodes behind them see.

    Args:
        lengths: (B,) int64 tokens of each row; R is the longest.
        trie: S nodes.
        past: P, tokens before the rows, seen by all.

    Returns:
        (B, 1, R + S, P + R + S) bool, True where attention is allowed. Padding sees its row and is seen by no token.
    """
    count, longest = len(lengths), int(lengths.max())
    mask = torch.zeros(count, longest + len(trie), past + longest + len(trie), dtype=torch.bool)
    mask[:, :, :past] = True
    mask[:, :longest, past : past + longest] = torch.ones(longest, longest, dtype=torch.bool).tril()
    mask[:, longest:, past : past + longest] = (torch.arange(longest) < lengths[:, None])[:, None]
    mask[:, longest:, past + longest :] = trie.mask
    return mask[:, None]


def edge_logs(states: Tensor, head: nn.Module, trie: Trie) -> Tensor:
    """Log-likelihoods of the trie's edges, without ever holding all logits of a batch.

    Args:
        states: (B, S + 1, D) of the rows' last tokens and the nodes.
        head: The output embedding: linear, without bias, as all architectures that are loaded have it.
        trie: S nodes and E edges.

    Returns:
        (B, E) float32, nats.
    """
    weight = cast(Tensor, head.weight)  # (V, D)
    flat, source = states.flatten(0, 1), trie.source.to(states.device)
    total = flat.new_full((len(flat),), -torch.inf, dtype=torch.float32)  # log of the sum of exp(logits), so far
    found = flat.new_empty((len(states), len(source)), dtype=torch.float32)
    for start in range(0, len(weight), VOCABULARY_AT_ONCE):
        logits = nn.functional.linear(flat, weight[start : start + VOCABULARY_AT_ONCE]).float()  # (B (S + 1), v)
        here = (trie.target // VOCABULARY_AT_ONCE == start // VOCABULARY_AT_ONCE).nonzero().squeeze(1)  # edges
        found[:, here] = logits.unflatten(0, states.shape[:2])[:, trie.source[here], trie.target[here] - start]
        top = logits.amax(1)
        # In place: a new buffer of this size costs more than the sum itself.
        total = torch.logaddexp(total, logits.sub_(top[:, None]).exp_().sum(1).log_().add_(top))
    return found - total.view(states.shape[:2])[:, source]


def choose(scorer: ChoiceScorer, texts: Sequence[str], *, title: str = "untuned model") -> tuple[list[str], np.ndarray]:
    """The best label of each text, and the softmax of the labels' mean log-likelihoods as its confidence.

    Returns:
        The labels, and (N,) float64 confidences in [0, 1] (not calibrated).
    """
    scores = scorer.score_all(texts, title=title)
    shares = np.exp(scores - scores.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    best = scores.argmax(1)
    return [scorer.labels[i] for i in best], shares[np.arange(len(texts)), best]
