"""A tiny BERT, trained here on two kinds of words, replaces each by one of its own kind, and nothing else."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from tuneloop.augment.draws import generator
from tuneloop.augment.masked_lm import MaskedModel, masked_lm
from tuneloop.augment.words import protect
from tuneloop.errors import ModelError

THINGS, MOODS = ["card", "bill", "ticket"], ["glad", "sad", "angry"]
CHINESE = ["手机", "电脑"]


def tokenizer() -> PreTrainedTokenizerFast:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "i", "lost", "my", "and", "feel", "so", "today", "a", "an"]
    pieces += [*THINGS, *MOODS, *dict.fromkeys("".join(CHINESE) + "我的坏了")]
    made = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=48,
    )  # fmt: skip


def sentences() -> list[str]:
    english = [f"i lost my {thing} and feel so {mood} today" for thing, mood in itertools.product(THINGS, MOODS)]
    return english + [f"我的{word}坏了" for word in CHINESE for _ in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT, trained to name the words of a sentence's kind at its masks."""
    place = tmp_path_factory.mktemp("bert")
    words = tokenizer()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=48, pad_token_id=0,
    )  # fmt: skip
    model = BertForMaskedLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    draw = torch.Generator().manual_seed(1)
    texts = sentences()
    for _ in range(120):
        chosen = [texts[place] for place in torch.randint(len(texts), (16,), generator=draw)]
        batch = words(chosen, chosen, return_tensors="pt", padding=True, return_token_type_ids=True)
        ids = batch["input_ids"]
        hide = (batch["token_type_ids"] == 1) & (ids > 13) & (torch.rand(ids.shape, generator=draw) < 0.7)
        labels = ids.masked_fill(~hide, -100)
        # The unmasked half is shown with its kinds' words hidden too, so that the model learns kinds, not copying.
        shown = ids.masked_fill(hide | ((batch["token_type_ids"] == 0) & (ids > 13)), 4)
        if not hide.any():
            continue
        loss = model(**(batch | {"input_ids": shown}), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().save_pretrained(place)
    words.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def fill(folder: Path) -> MaskedModel:
    """It, loaded as a user's model is."""
    return MaskedModel(folder, top_k=6, batch_size=4)


def changed(fill: MaskedModel, texts: list[str], labels: tuple[str, ...] = (), **options: float) -> list[str]:
    randoms = [generator(0, 0, str(place), "masked_lm") for place in range(len(texts))]
    settings = {"rate": 1.0, "least_probability": 0.05} | options
    return masked_lm(texts, randoms, fill, protected=[protect([*labels, "lost feel today"])] * len(texts), **settings)


def test_a_word_becomes_another_of_its_kind(fill: MaskedModel):
    before = [text for text in sentences() if text.isascii()]
    after = changed(fill, before)
    for old, new in zip(before, after, strict=True):
        was, now = old.split(), new.split()
        assert [w for w in now if w not in THINGS + MOODS] == [w for w in was if w not in THINGS + MOODS]
        assert now[3] in THINGS and now[7] in MOODS and now[3] != was[3] and now[7] != was[7]


def test_label_words_are_neither_masked_nor_put_in(fill: MaskedModel):
    before = [text for text in sentences() if text.isascii()]
    for old, new in zip(before, changed(fill, before, ("lost_card", "sad")), strict=True):
        assert ("card" in new) == ("card" in old) and (" sad " in new) == (" sad " in old)


def test_case_is_kept_and_stop_words_stay(fill: MaskedModel):
    (after,) = changed(fill, ["I LOST MY CARD AND FEEL SO SAD TODAY"])
    assert after.isupper() and after.split()[:3] == ["I", "LOST", "MY"] and after.split()[3] in {"BILL", "TICKET"}


def test_chinese_words_of_as_many_characters(fill: MaskedModel):
    assert changed(fill, ["我的手机坏了"])[0] in {"我的电脑坏了", "我的电机坏了"}  # 手脑 is no word


def test_unlikely_words_are_not_used_and_a_rate_of_nothing_changes_nothing(fill: MaskedModel):
    text = "i lost my card and feel so sad today"
    assert changed(fill, [text], least_probability=0.99) == [text]
    assert changed(fill, [text], rate=0.0) == [text]


def test_a_batch_gives_what_each_text_gives_alone(fill: MaskedModel):
    texts = sentences()
    randoms = [generator(0, 0, str(place), "m") for place in range(len(texts))]
    alone = [
        masked_lm([text], [generator(0, 0, str(place), "m")], fill, rate=0.3, least_probability=0.01)[0]
        for place, text in enumerate(texts)
    ]
    assert masked_lm(texts, randoms, fill, rate=0.3, least_probability=0.01) == alone
    assert alone != texts


def test_a_text_too_long_for_the_model_stays(fill: MaskedModel):
    long = " ".join(["i lost my card today"] * 10)
    assert changed(fill, [long, "i lost my card today"])[0] == long


def test_a_model_that_is_none_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="cannot be loaded") as told:
        MaskedModel(tmp_path)
    assert "augment.masked_lm.name_or_path" in str(told.value)
