"""Label scores of an untuned language model, in one forward pass a row.

    [prompt with the label list]  computed once, kept as KV cache        P tokens
    [the row's text and the turn's end | label 1 | label 2 | ...]        R + sum of label tokens

The labels stand side by side behind the row as branches of a tree: each sees the prompt, the row and
itself, at the positions it would have alone, so the scores are those of scoring every label by itself
(tests/infer/test_choices.py), at a fraction of the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from tuneloop.errors import DataError
from tuneloop.examples.encode import encode_prompt
from tuneloop.examples.template import Template
from tuneloop.model.heads import body
from tuneloop.records import Message
from tuneloop.terminal import progress

INSTRUCTION = "Classify the message. Answer with exactly one of these labels and nothing else:\n{labels}\n\nMessage: "


def choice_prompt(labels: Sequence[str], text: str) -> str:
    """The fixed prompt: the labels first, the row's text last."""
    return INSTRUCTION.format(labels="\n".join(labels)) + text


@dataclass(frozen=True)
class Branches:
    """The labels as branches behind a row.

    Attributes:
        inputs: (S,) token ids that are fed: every label without its last token, end to end.
        depth: (S,) how many label tokens stand before each, within its label.
        mask: (S, S) bool, True where a branch token sees another.
        source: For each scored token, the position whose state predicts it: -1 the row's last token, else in `inputs`.
        target: The scored tokens.
        owner: The label each scored token belongs to.
    """

    inputs: Tensor
    depth: Tensor
    mask: Tensor
    source: Tensor
    target: Tensor
    owner: Tensor


def make_branches(labels: Sequence[Sequence[int]]) -> Branches:
    """Lay token sequences side by side; each must hold at least one token."""
    inputs: list[int] = []
    depth, branch, source, target, owner = [], [], [], [], []
    for index, tokens in enumerate(labels):
        for k, token in enumerate(tokens):
            source.append(-1 if k == 0 else len(inputs) - 1)
            target.append(token)
            owner.append(index)
            if k < len(tokens) - 1:
                inputs.append(token)
                depth.append(k)
                branch.append(index)
    which, level = torch.tensor(branch, dtype=torch.long), torch.tensor(depth, dtype=torch.long)
    mask = (which[:, None] == which[None, :]) & (level[:, None] >= level[None, :])
    return Branches(
        torch.tensor(inputs, dtype=torch.long),
        level,
        mask,
        torch.tensor(source),
        torch.tensor(target),
        torch.tensor(owner),
    )


class ChoiceScorer:
    """Scores every label for every row.

    Args:
        model: A causal language model, in eval mode.
        tokenizer: Its tokenizer.
        template: Its chat template.
        labels: The user's own strings.
        max_length: Tokens of a row's text that are read, as the tuned model reads them; None: all.

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
    ) -> None:
        self.max_length = max_length
        self.model, self.tokenizer, self.template, self.labels = model, tokenizer, template, list(labels)
        tokens = [tokenizer(label, add_special_tokens=False)["input_ids"] for label in labels]
        if not all(tokens):
            raise DataError(
                "A label has no tokens and cannot be scored", got=repr(labels[[bool(t) for t in tokens].index(False)])
            )
        self.device = next(model.parameters()).device
        self.branches = make_branches(tokens)
        self.lengths = np.array([len(t) for t in tokens])
        first, second = self._prompt("a"), self._prompt("Zebra 9")
        same = next(i for i, (x, y) in enumerate(zip(first, second, strict=False)) if x != y)
        # One token less: the token before the text may merge with the text's first letters.
        self.prefix = first[: max(1, same - 1)]
        self.cache = DynamicCache(config=model.config)
        with torch.inference_mode():
            body(model)(
                input_ids=torch.tensor([self.prefix], device=self.device), past_key_values=self.cache, use_cache=True
            )

    def _prompt(self, text: str) -> list[int]:
        message = Message("user", choice_prompt(self.labels, text))
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
        prompt = self._prompt(self._cut(text))
        past = len(self.prefix)
        if prompt[:past] != self.prefix:
            raise DataError(
                "The text changes the tokens before it, so the shared prompt cannot be used", got=repr(text[:80])
            )
        row = torch.tensor(prompt[past:], dtype=torch.long)
        tree = self.branches
        count, side = len(row), len(tree.inputs)
        ids = torch.cat([row, tree.inputs])[None].to(self.device)
        positions = torch.cat([torch.arange(past, past + count), past + count + tree.depth])[None].to(self.device)
        mask = torch.zeros(count + side, past + count + side, dtype=torch.bool)
        mask[:, :past] = True
        mask[:count, past : past + count] = torch.ones(count, count, dtype=torch.bool).tril()
        mask[count:, past : past + count] = True
        mask[count:, past + count :] = tree.mask
        with torch.inference_mode():
            states = body(self.model)(
                input_ids=ids, position_ids=positions, attention_mask=mask[None, None].to(self.device),
                past_key_values=self.cache, use_cache=True,
            ).last_hidden_state[0]  # fmt: skip
            self.cache.crop(-(count + side))  # negative: tokens to remove, in every version
            wanted = torch.where(tree.source < 0, count - 1, count + tree.source)
            return self._label_means(states, wanted)

    def _label_means(self, states: Tensor, wanted: Tensor) -> np.ndarray:
        head = self.model.get_output_embeddings()
        places, back = wanted.unique(return_inverse=True)  # labels share the row's last state
        logs = torch.empty(len(wanted), dtype=torch.float32)
        for start in range(0, len(places), 256):
            logits = head(states[places[start : start + 256].to(states.device)]).float().cpu()  # (n, V)
            here = (back >= start) & (back < start + 256)
            local = back[here] - start
            logs[here] = logits[local, self.branches.target[here]] - logits.logsumexp(-1)[local]
        sums = np.zeros(len(self.labels))
        np.add.at(sums, self.branches.owner.numpy(), logs.double().numpy())
        means: np.ndarray = sums / self.lengths
        return means


def choose(scorer: ChoiceScorer, texts: Sequence[str], *, title: str = "untuned model") -> tuple[list[str], np.ndarray]:
    """The best label of each text, and the softmax of the labels' mean log-likelihoods as its confidence.

    Returns:
        The labels, and (N,) float64 confidences in [0, 1] (not calibrated).
    """
    scores = np.zeros((len(texts), len(scorer.labels)))
    with progress(title, len(texts)) as bar:
        for index, text in enumerate(texts):
            scores[index] = scorer.score(text)
            bar.advance()
    shares = np.exp(scores - scores.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    best = scores.argmax(1)
    return [scorer.labels[i] for i in best], shares[np.arange(len(texts)), best]
