"""Label scores through the shared prompt and the tree of labels, against scoring each label by itself."""

import numpy as np
import pytest
import torch
from tests.tiny_models import MAKERS
from tests.tiny_training import DECODERS

from tuneloop.errors import DataError
from tuneloop.examples.encode import encode_prompt
from tuneloop.examples.template import template_of
from tuneloop.infer.choices import ChoiceScorer, choice_prompt, choose, make_branches
from tuneloop.records import Message

LABELS = ["a", "card_arrival", "card_arrival_late", "card", "exchange rate", "你好", "account", "Zebra 9"]
TEXTS = [
    "my card was declined", "Zebra 10", "a", "did the transfer arrive? It is slow.", "你好，我的卡丢了怎么办？",
    "\n\nlines before", "  spaces before", "://odd", "’quoted’", "9 lives", ".", "é accent", "\u0301combining", "😀",
]  # fmt: skip


@pytest.fixture(scope="module")
def made():
    """architecture -> (model, tokenizer, scorer); DeepSeek-V3 and Qwen2 under the real R1 tokenizers."""
    kept = {}

    def get(architecture):
        if architecture not in kept:
            model, tokenizer = MAKERS[architecture](None)
            model.config.use_cache = False  # as load_model leaves it
            kept[architecture] = model, tokenizer, ChoiceScorer(model, tokenizer, template_of(tokenizer), LABELS)
        return kept[architecture]

    return get


def by_itself(model, tokenizer, text: str) -> np.ndarray:
    """Each label's mean log-likelihood by a plain forward pass over prompt and label."""
    template = template_of(tokenizer)
    think = "empty" if template.kind == "r1" else "keep"
    ask = [Message("user", choice_prompt(LABELS, text))]
    prompt = encode_prompt(ask, tokenizer, template, think=think, max_length=100_000)
    scores = []
    for label in LABELS:
        tokens = tokenizer(label, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        scores.append(float(logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None]).mean()))
    return np.array(scores)


@pytest.mark.parametrize("architecture", DECODERS)
def test_scores_are_those_of_each_label_by_itself(made, architecture):
    model, tokenizer, scorer = made(architecture)
    lengths = scorer.lengths.tolist()
    assert min(lengths) == 1 < max(lengths), "labels of one token and of several"
    starts = [
        tokenizer(label, add_special_tokens=False)["input_ids"][0] for label in ("card_arrival", "card_arrival_late")
    ]
    assert starts[0] == starts[1], "labels that share their start"
    for text in TEXTS[:5]:
        wanted = by_itself(model, tokenizer, text)
        assert np.abs(scorer.score(text) - wanted).max() < 1e-4, text
        assert wanted.std() > 0.05, "scores that differ, or nothing is tested"


def test_a_text_that_starts_oddly_is_scored_like_any_other(made):
    model, tokenizer, scorer = made("llama")
    for text in TEXTS:
        assert np.abs(scorer.score(text) - by_itself(model, tokenizer, text)).max() < 1e-4, repr(text)
    for architecture in ("qwen2", "deepseek_v3"):
        for text in TEXTS:
            assert np.isfinite(made(architecture)[2].score(text)).all(), (architecture, text)


@pytest.mark.parametrize("architecture", DECODERS)
def test_the_shared_prompt_is_computed_once_and_stays_as_it_was(made, architecture):
    model, _, scorer = made(architecture)
    before = [(layer.keys.clone(), layer.values.clone()) for layer in scorer.cache.layers]
    first = scorer.score(TEXTS[0])
    fed = []
    hook = model.model.register_forward_pre_hook(lambda m, a, k: fed.append(k["input_ids"].shape[1]), with_kwargs=True)
    for text in TEXTS * 2:
        scorer.score(text)
    hook.remove()
    assert scorer.cache.get_seq_length() == len(scorer.prefix) == before[0][0].shape[2]
    for layer, (keys, values) in zip(scorer.cache.layers, before, strict=True):
        assert torch.equal(layer.keys, keys) and torch.equal(layer.values, values)
    assert np.array_equal(scorer.score(TEXTS[0]), first)
    assert len(fed) == 2 * len(TEXTS), "one pass a row"
    assert len(scorer.prefix) > 20, "the list of labels is not computed again"
    assert max(fed) < len(scorer.prefix) + 60


def test_branches_by_hand():
    tree = make_branches([[5], [7, 8, 9], [7, 8]])
    assert tree.inputs.tolist() == [7, 8, 7]  # every label without its last token
    assert tree.depth.tolist() == [0, 1, 0]
    assert tree.mask.int().tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert tree.target.tolist() == [5, 7, 8, 9, 7, 8]
    assert tree.source.tolist() == [-1, -1, 0, 1, -1, 2]
    assert tree.owner.tolist() == [0, 1, 1, 1, 2, 2]


def test_labels_of_one_token_only(made):
    model, tokenizer, _ = made("llama")
    scorer = ChoiceScorer(model, tokenizer, template_of(tokenizer), ["a", "b", "c"])
    assert scorer.lengths.tolist() == [1, 1, 1] and len(scorer.branches.inputs) == 0
    found = scorer.score("the card")
    ask = [Message("user", choice_prompt(["a", "b", "c"], "the card"))]
    prompt = encode_prompt(ask, tokenizer, template_of(tokenizer), think="keep", max_length=9999)
    with torch.no_grad():
        logs = model(input_ids=torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    assert found == pytest.approx([float(logs[tokenizer.convert_tokens_to_ids(label)]) for label in "abc"], abs=1e-4)


def test_more_labels_than_one_chunk_of_logits(made):
    model, tokenizer, _ = made("llama")
    labels = [f"label {i} {i * 7}" for i in range(120)]
    scorer = ChoiceScorer(model, tokenizer, template_of(tokenizer), labels)
    assert len(scorer.branches.inputs) > 300  # chunks hold 256
    found = scorer.score("the card")
    ask = [Message("user", choice_prompt(labels, "the card"))]
    prompt = encode_prompt(ask, tokenizer, template_of(tokenizer), think="keep", max_length=99_999)
    for index in (0, 60, 119):
        tokens = tokenizer(labels[index], add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        wanted = float(logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None]).mean())
        assert found[index] == pytest.approx(wanted, abs=1e-4)


def test_choose_gives_the_best_label_and_its_share(made):
    _, _, scorer = made("llama")
    chosen, shares = choose(scorer, TEXTS[:4])
    for text, label, share in zip(TEXTS[:4], chosen, shares, strict=True):
        scores = scorer.score(text)
        assert label == LABELS[int(scores.argmax())]
        assert share == pytest.approx(np.exp(scores.max()) / np.exp(scores).sum())
    assert len(set(np.round(shares, 6))) > 1


@pytest.mark.parametrize("architecture", DECODERS)
def test_a_long_text_is_read_as_far_as_the_tuned_model_reads_it(made, architecture):
    model, tokenizer, scorer = made(architecture)
    short = ChoiceScorer(model, tokenizer, template_of(tokenizer), LABELS, max_length=6)
    text = "the card 你好 was declined again and again"
    cut = short._cut(text)
    assert text.startswith(cut) and len(tokenizer(cut, add_special_tokens=False)["input_ids"]) == 6
    assert np.array_equal(short.score(text), scorer.score(cut))
    assert np.abs(short.score(text) - scorer.score(text)).max() > 1e-3
    assert np.array_equal(short.score("a card"), scorer.score("a card"))


def test_a_label_without_tokens_is_refused(made):
    model, tokenizer, _ = made("llama")
    with pytest.raises(DataError, match=r"no tokens.*''"):
        ChoiceScorer(model, tokenizer, template_of(tokenizer), ["a", ""])
