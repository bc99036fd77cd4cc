"""Words replaced by what a masked language model reads in their place.

    text -> "[CLS] text [SEP] text with [MASK]s [SEP]" -> likely words at the masks -> one of them drawn

The unmasked text stands in front, so that the model names words near the hidden one and not merely words that fit
(Qiang et al. 2020, "LSBert", arXiv:2006.14939, section 3.1). A word that is label, name, number, stop word or negation
is never masked, and never put in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, cast

from tuneloop.augment.cache import Cache
from tuneloop.augment.draws import rounded, some_of
from tuneloop.augment.synonyms import edited, takes_an
from tuneloop.augment.words import (
    NOTHING,
    STOP_WORDS,
    Protected,
    Word,
    in_case_of,
    is_chinese,
    is_negation,
    is_number,
    jieba_tokenizer,
    stays,
    words,
)
from tuneloop.disk import sha256_json
from tuneloop.terminal import progress

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Guess = tuple[str, float]
"""A token and its probability."""
FillMask = Callable[[Sequence[str], Sequence[Sequence[Word]]], list[list[list[Guess]]]]
"""(N texts, the words to hide in each) -> for each text, for each mask in order, guesses, the likeliest first.

A Chinese word has a mask a character, any other word one mask. Where a text is longer than the model reads, its list
holds fewer guesses than there are masks.
"""
TEXTS_AT_ONCE = 256
"""Texts between two writes of their guesses."""


def masked_lm(
    texts: Sequence[str], randoms: Sequence[Random], fill: FillMask, *, rate: float, least_probability: float,
    protected: Sequence[Protected] = (),
) -> list[str]:  # fmt: skip
    """Each text with about `rate` of its words replaced; itself where none may be.

    Args:
        texts: N texts, English or Chinese.
        randoms: N generators.
        fill: The masked model.
        rate: Share of the words, 0 to 1, of all words of a text; rounded at random.
        least_probability: Guesses below it are not used.
        protected: N sets of words that stay, and that are put in nowhere; () for none.
    """
    guards = list(protected) or [NOTHING] * len(texts)
    hidden = [_hidden(text, random, rate, guard) for text, random, guard in zip(texts, randoms, guards, strict=True)]
    guesses = fill(texts, hidden)
    made: list[str] = []
    for text, random, spans, found, guard in zip(texts, randoms, hidden, guesses, guards, strict=True):
        edits: list[tuple[tuple[int, int], str]] = []
        place = 0
        for start, end, word in spans:
            size = len(word) if is_chinese(word) else 1
            masks, place = found[place : place + size], place + size
            choices = _choices(text, (start, end, word), masks, least_probability, guard)
            if choices:
                edits.append(((start, end), in_case_of(word, _drawn(random, choices))))
        made.append(edited(text, edits))
    return made


def _hidden(text: str, random: Random, rate: float, guard: Protected) -> list[Word]:
    """The words to hide, in their order; no two beside each other, for each is read by what stands beside it."""
    found = words(text)
    usable = [
        place
        for place, (_, _, word) in enumerate(found)
        if len(word) > 1 and word.lower() not in STOP_WORDS and word.isalpha() and not stays(text, found, place, guard)
    ]
    chosen: list[int] = []
    wanted = rounded(random, rate * len(found))
    for place in some_of(random, usable, len(usable)):
        if len(chosen) == wanted:
            break
        if not {place - 1, place + 1} & set(chosen):
            chosen.append(place)
    return [found[place] for place in sorted(chosen)]


def _choices(
    text: str, word: Word, masks: Sequence[Sequence[Guess]], least: float, guard: Protected
) -> list[Guess]:  # fmt: skip
    """What may stand for a word, with its probability."""
    start, _, old = word
    if is_chinese(old):
        return _chinese_choices(old, masks, least, guard)
    if len(masks) != 1:
        return []
    article = text[:start].lower().split()[-1:]
    fitting = []
    for token, probability in masks[0]:
        low = token.lower()
        if probability < least or not low.isalpha() or len(low) < 2 or is_chinese(low) or low == old.lower():
            continue
        if low in STOP_WORDS or is_negation(low) or is_number(low) or low in guard or low.isascii() != old.isascii():
            continue
        if article in (["a"], ["an"]) and takes_an(low) != (article == ["an"]):
            continue
        fitting.append((low, probability))
    return fitting


def _chinese_choices(
    old: str, masks: Sequence[Sequence[Guess]], least: float, guard: Protected
) -> list[Guess]:  # fmt: skip
    """Words of as many characters that jieba knows, put together from the guesses of each character."""
    if len(masks) != len(old):
        return []
    made: list[Guess] = [("", 1.0)]
    for guesses in masks:
        kept = [(sign, p) for sign, p in guesses if len(sign) == 1 and is_chinese(sign)]
        made = [(word + sign, q * p) for word, q in made for sign, p in kept]
        made = sorted(made, key=lambda guess: -guess[1])[:100]
    known = jieba_tokenizer()
    known.initialize()
    return [
        (word, p)
        for word, p in made
        if p >= least ** len(old) and word != old and known.FREQ.get(word) and word not in guard
        and word not in STOP_WORDS and not is_negation(word) and not is_number(word)
    ]  # fmt: skip


def _drawn(random: Random, choices: Sequence[Guess]) -> str:
    """One of the choices, each as likely as the model finds it."""
    left = random.random() * sum(probability for _, probability in choices)
    for word, probability in choices:
        left -= probability
        if left <= 0:
            return word
    return choices[-1][0]


class Remembered:
    """A FillMask that looks into a cache first, and loads the model for the first text that is not there.

    A guess hangs on model, text and hidden words alone, so that other settings find it again; what was guessed before
    Ctrl-C is kept.

    Args:
        load: Gives the masked model.
        cache: Where guesses are kept.
        key: What they hang on besides text and words: the model, and how many of its guesses are taken.
        title: Of the progress bar; "" shows none.
    """

    def __init__(self, load: Callable[[], FillMask], cache: Cache, *, key: str, title: str = "") -> None:
        self._load, self._cache, self._key, self._title = load, cache, key, title
        self._model: FillMask | None = None

    def __call__(self, texts: Sequence[str], hidden: Sequence[Sequence[Word]]) -> list[list[list[Guess]]]:
        """See FillMask."""
        keys = [sha256_json([self._key, text, spans]) for text, spans in zip(texts, hidden, strict=True)]
        kept = {key: value for key in dict.fromkeys(keys) if (value := self._cache.get(key)) is not None}
        missing = [place for place, key in enumerate(keys) if hidden[place] and key not in kept]
        if missing:
            self._model = self._model or self._load()
            with progress(self._title, len(missing), unit="texts") as bar:
                for first in range(0, len(missing), TEXTS_AT_ONCE):
                    places = missing[first : first + TEXTS_AT_ONCE]
                    made = self._model([texts[place] for place in places], [hidden[place] for place in places])
                    new = {keys[place]: json.dumps(guesses) for place, guesses in zip(places, made, strict=True)}
                    self._cache.put(new)
                    kept |= new
                    bar.advance(len(places))
        return [[[(token, p) for token, p in mask] for mask in json.loads(kept.get(key, "[]"))] for key in keys]


class MaskedModel:
    """A masked BERT as a FillMask, on the GPU where there is one.

    Args:
        model: (B, T) token ids -> logits (B, T, V), in eval mode.
        tokenizer: Its own, a fast one with a mask token.
        top_k: Guesses a mask.
        batch_size: Texts that go through it at once, of like length.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, top_k: int = 10, batch_size: int = 32
    ) -> None:
        import torch

        self.top_k, self.batch_size = top_k, batch_size
        self._model, self._tokenizer = cast(Any, model), cast(Any, tokenizer)
        self._model.to("cuda" if torch.cuda.is_available() else "cpu")
        self._longest = int(self._model.config.max_position_embeddings)

    def __call__(self, texts: Sequence[str], hidden: Sequence[Sequence[Word]]) -> list[list[list[Guess]]]:
        """See FillMask."""
        import torch

        encoded = [self._encode(text, spans) for text, spans in zip(texts, hidden, strict=True)]
        found: list[list[list[Guess]]] = [[] for _ in texts]
        wanted = [
            place
            for place, text in enumerate(texts)
            if hidden[place]
            and len(encoded[place][0]) <= self._longest
            and self._tokenizer.mask_token not in text  # a mask of the user's own would stand among ours
        ]
        wanted.sort(key=lambda place: len(encoded[place][0]))
        with torch.inference_mode():
            for first in range(0, len(wanted), self.batch_size):
                places = wanted[first : first + self.batch_size]
                for place, guesses in zip(places, self._guess([encoded[place] for place in places]), strict=True):
                    found[place] = guesses
        return found

    def _encode(self, text: str, spans: Sequence[Word]) -> tuple[list[int], list[int]]:
        """(T,) token ids of the text and the masked text, and their types."""
        mask = self._tokenizer.mask_token
        masked = edited(text, [((s, e), mask * (len(word) if is_chinese(word) else 1)) for s, e, word in spans])
        encoded = self._tokenizer(text, masked, return_token_type_ids=True, truncation=False, verbose=False)
        return encoded["input_ids"], encoded["token_type_ids"]

    def _guess(self, batch: Sequence[tuple[list[int], list[int]]]) -> list[list[list[Guess]]]:
        import torch

        longest = max(len(ids) for ids, _ in batch)
        device = self._model.device
        pad = self._tokenizer.pad_token_id or 0

        def padded(rows: Sequence[list[int]], fill: int) -> Tensor:
            return torch.tensor([row + [fill] * (longest - len(row)) for row in rows], device=device)

        ids = padded([ids for ids, _ in batch], pad)  # (B, T)
        inputs = {"input_ids": ids, "attention_mask": padded([[1] * len(row) for row, _ in batch], 0)}
        inputs["token_type_ids"] = padded([types for _, types in batch], 0)
        hidden = ids == self._tokenizer.mask_token_id  # (B, T)
        states = self._model.bert(**inputs).last_hidden_state  # (B, T, D)
        chances = self._model.cls(states[hidden]).float().softmax(-1)  # (M, V): the vocabulary at the masks alone
        likely, tokens = chances.topk(min(self.top_k, chances.shape[-1]))  # (M, k)
        masks = iter(
            [(self._whole(token), chance) for token, chance in zip(ids_, ps, strict=True)]
            for ids_, ps in zip(tokens.tolist(), likely.tolist(), strict=True)
        )
        return [[next(masks) for _ in range(count)] for count in hidden.sum(1).tolist()]

    def _whole(self, token: int) -> str:
        """A token as the word that it is; "" for half a word and for special tokens."""
        if token in self._tokenizer.all_special_ids:
            return ""
        written = str(self._tokenizer.convert_ids_to_tokens(token))
        if written.startswith("##"):
            return ""
        if written[:1] in ("\u0120", "\u2581"):  # how byte-level BPE and SentencePiece write a blank before a word
            return written[1:]
        return written
