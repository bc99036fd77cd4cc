"""Label scores through the shared prompt and the trie of labels, against scoring each label by itself."""

import unicodedata

import numpy as np
import pytest
import torch
from tests.tiny_models import CHATML, MAKERS
from tests.tiny_training import DECODERS
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedTokenizerFast

from tuneloop.errors import DataError
from tuneloop.examples.encode import encode_prompt
from tuneloop.examples.template import template_of
from tuneloop.infer.choices import VOCABULARY_AT_ONCE, ChoiceScorer, choice_prompt, choose, edge_logs, row_mask
from tuneloop.infer.trie import make_trie
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


def by_itself(model, tokenizer, text: str, labels=LABELS, ask=choice_prompt) -> np.ndarray:
    """Each label's mean log-likelihood by a plain forward pass over prompt and label."""
    template = template_of(tokenizer)
    think = "empty" if template.kind == "r1" else "keep"
    prompt = encode_prompt(
        [Message("user", ask(labels, text))], tokenizer, template, think=think, max_length=100_000
    )  # fmt: skip
    scores = []
    for label in labels:
        tokens = tokenizer(label, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        scores.append(float(logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None]).mean()))
    return np.array(scores)


def passes(model) -> tuple[list[tuple[int, int]], object]:
    """The shapes (B, T) of what goes through the blocks from now on, and the hook that sees them."""
    fed: list[tuple[int, int]] = []
    see = lambda module, given, named: fed.append(tuple(named["input_ids"].shape))  # noqa: E731
    return fed, model.model.register_forward_pre_hook(see, with_kwargs=True)


@pytest.mark.parametrize("architecture", DECODERS)
def test_scores_are_those_of_each_label_by_itself(made, architecture):
    model, tokenizer, scorer = made(architecture)
    tokens = [tokenizer(label, add_special_tokens=False)["input_ids"] for label in LABELS]
    assert min(map(len, tokens)) == 1 < max(map(len, tokens)), "labels of one token and of several"
    assert tokens[2][: len(tokens[1])] == tokens[1], "a label that another one begins with"
    assert len(scorer.trie) < sum(len(one) - 1 for one in tokens), "labels that share nodes"
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
def test_rows_that_go_through_together_get_the_scores_of_rows_alone(made, monkeypatch, architecture):
    """Unlike lengths in one batch, padded to the longest; batches of several sizes; in the order of the texts."""
    model, tokenizer, scorer = made(architecture)
    texts = [*TEXTS[:5], " ".join(["the card was declined and the transfer did not arrive"] * 3), *TEXTS[9:]]
    alone = np.stack([scorer.score(text) for text in texts])
    assert np.abs(alone[5] - by_itself(model, tokenizer, texts[5])).max() < 1e-4
    gaps = np.abs(alone[:, None] - alone[None]).max(2)
    assert gaps[~np.eye(len(texts), dtype=bool)].min() > 1e-3, "no two rows score alike, or their order is not tested"
    longest = max(len(scorer._prompt(text)) for text in texts) - len(scorer.start) + len(scorer.trie)
    for max_tokens, most in ((1, 1), (3 * longest, 3), (100 * longest, len(texts))):
        monkeypatch.setattr(scorer, "max_tokens", max_tokens)
        fed, hook = passes(model)
        found = scorer.score_all(texts)
        hook.remove()
        assert np.abs(found - alone).max() < 2e-5, max_tokens
        assert fed[0] == (most, longest) and sum(rows for rows, _ in fed) == len(texts)
        assert max_tokens == 1 or all(rows * width <= max_tokens for rows, width in fed)
        assert [width for _, width in fed] == sorted((width for _, width in fed), reverse=True)


@pytest.mark.parametrize("architecture", DECODERS)
def test_the_shared_prompt_is_computed_once_and_stays_as_it_was(made, architecture):
    model, _, scorer = made(architecture)
    before = [(layer.keys.clone(), layer.values.clone()) for layer in scorer.prefix.layers]
    first = scorer.score(TEXTS[0])
    fed, hook = passes(model)
    for text in TEXTS * 2:
        scorer.score(text)
    hook.remove()
    assert scorer.prefix.get_seq_length() == len(scorer.start) == before[0][0].shape[2]
    for layer, (keys, values) in zip(scorer.prefix.layers, before, strict=True):
        assert torch.equal(layer.keys, keys) and torch.equal(layer.values, values)
    assert np.array_equal(scorer.score(TEXTS[0]), first)
    assert len(fed) == 2 * len(TEXTS), "one pass a row"
    assert len(scorer.start) > 20, "the list of labels is not computed again"
    assert max(width for _, width in fed) < len(scorer.start) + 60


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and merges over the ends of words: a colon, a space and an `m` are one token."""
    alphabet = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {piece: place for place, piece in enumerate([*alphabet, "Ġm", ":Ġm"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("Ġ", "m"), (":", "Ġm")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )  # fmt: skip
    made.chat_template = CHATML
    return made


def test_a_text_that_changes_the_prompt_before_it_is_scored_behind_its_own():
    """No row may stop the scoring: it comes after hours of training."""
    model, _ = MAKERS["llama"](None)
    tokenizer = merging_tokenizer()
    scorer = ChoiceScorer(model, tokenizer, template_of(tokenizer), LABELS[:5])
    texts = ["your card", "my card", "a card", "my own PIN"]
    odd = [scorer._prompt(text)[: len(scorer.start)] != scorer.start for text in texts]
    assert odd == [False, True, False, True]
    fed, hook = passes(model)
    scorer.max_tokens = 10_000
    found = scorer.score_all(texts)
    hook.remove()
    widths = [len(scorer._prompt("your card")) - len(scorer.start), len(scorer._prompt("my own PIN"))]
    assert fed == [(2, width + len(scorer.trie)) for width in widths]
    for text, scores in zip(texts, found, strict=True):
        wanted = by_itself(model, tokenizer, text, LABELS[:5])
        assert np.abs(scores - wanted).max() < 1e-4 and np.abs(scorer.score(text) - wanted).max() < 1e-4, text
    chosen, _ = choose(scorer, texts)
    assert chosen == [LABELS[place] for place in found.argmax(1)]


@pytest.mark.parametrize("ask", [lambda labels, text: f"{text} What is it?", lambda labels, text: "always the same"])
def test_a_prompt_of_ones_own(made, ask):
    model, tokenizer, _ = made("llama")
    scorer = ChoiceScorer(model, tokenizer, template_of(tokenizer), LABELS, ask=ask)
    for text in TEXTS[:3]:
        assert np.abs(scorer.score(text) - by_itself(model, tokenizer, text, ask=ask)).max() < 1e-4


# -- the trie ---------------------------------------------------------------------------------------------------


def test_a_trie_by_hand():
    trie = make_trie([[5], [7, 8, 9], [7, 8], [7, 4], [7, 8, 6, 1], [7, 8]])
    assert trie.inputs.tolist() == [7, 8, 6]  # whatever another token follows in some label
    assert trie.depth.tolist() == [0, 1, 2]
    assert trie.mask.int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert trie.target.tolist() == [5, 7, 8, 9, 4, 6, 1]
    assert trie.source.tolist() == [0, 0, 1, 2, 1, 2, 3]
    assert trie.paths == ((0,), (1, 2, 3), (1, 2), (1, 4), (1, 2, 5, 6), (1, 2))
    means = trie.label_means(torch.tensor([[-1.0, -2, -4, -6, -8, -1, -1], [0.0, 0, 0, 0, 0, 0, -4]]))
    assert means.tolist() == [[-1, -4, -3, -5, -2, -3], [0, 0, 0, 0, -1, 0]]


def test_branches_do_not_see_each_other():
    trie = make_trie([[7, 8, 9], [7, 6, 9], [5, 8, 9]])
    assert trie.inputs.tolist() == [7, 8, 6, 5, 8]
    assert trie.mask.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 1, 1],
    ]


def test_what_rows_and_nodes_see_by_hand():
    trie = make_trie([[7, 8], [5, 8]])
    first, second = row_mask(torch.tensor([1, 2]), trie, 1)[:, 0].int().tolist()
    assert second == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 0, 1]]  # prompt, row of 2, nodes
    assert first == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [1, 1, 0, 0, 1]]  # its second place is padding


def test_labels_of_the_same_tokens_score_the_same(made):
    """The R1 tokenizer composes letters and accents, so two labels that look alike are the same tokens."""
    model, tokenizer, _ = made("qwen2")
    labels = ["cafés", unicodedata.normalize("NFD", "cafés"), "café", "card", "card"]
    composed = tokenizer(labels[0])["input_ids"] == tokenizer(labels[1])["input_ids"]
    found = ChoiceScorer(model, tokenizer, template_of(tokenizer), labels).score("the card")
    assert np.abs(found - by_itself(model, tokenizer, "the card", labels)).max() < 1e-4
    assert found[3] == found[4] and (found[0] == found[1] or not composed)


def test_labels_of_one_token_only(made):
    model, tokenizer, _ = made("llama")
    scorer = ChoiceScorer(model, tokenizer, template_of(tokenizer), ["a", "b", "c"])
    assert len(scorer.trie) == 0 and len(scorer.trie.target) == 3
    found = scorer.score_all(["the card", "a"])
    for text, scores in zip(["the card", "a"], found, strict=True):
        assert np.abs(scores - by_itself(model, tokenizer, text, ["a", "b", "c"])).max() < 1e-4


def test_many_labels(made):
    model, tokenizer, _ = made("llama")
    labels = [f"label {i} {i * 7}" for i in range(120)]
    scorer = ChoiceScorer(model, tokenizer, template_of(tokenizer), labels)
    fed = sum(len(tokenizer(label, add_special_tokens=False)["input_ids"]) - 1 for label in labels)
    assert 300 < len(scorer.trie) < 0.75 * fed
    found = scorer.score("the card")
    some = [0, 60, 99, 119]
    wanted = by_itself(
        model, tokenizer, "the card", [labels[i] for i in some], lambda _, text: choice_prompt(labels, text)
    )
    assert np.abs(found[some] - wanted).max() < 1e-4


class Largest(TorchDispatchMode):
    """Sees the largest tensor that is made."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.numel = max(self.numel, made.numel())
        return made


def test_edges_of_every_slice_of_the_vocabulary_without_ever_all_logits():
    words = 3 * VOCABULARY_AT_ONCE + 17
    labels = [[7, token, 3] for token in range(5, words, 100)] + [[words - 1], [0]]
    trie = make_trie(labels)
    generator = torch.Generator().manual_seed(0)
    states = 2 * torch.randn(3, len(trie) + 1, 8, generator=generator)
    head = torch.nn.Linear(8, words, bias=False)
    torch.nn.init.normal_(head.weight, std=3.0, generator=generator)
    with torch.no_grad(), Largest() as largest:
        found = edge_logs(states, head, trie)
    with torch.no_grad():
        logs = head(states).log_softmax(-1)  # (3, S + 1, V)
    for edge, (source, target) in enumerate(zip(trie.source.tolist(), trie.target.tolist(), strict=True)):
        assert torch.allclose(found[:, edge], logs[:, source, target], atol=1e-4, rtol=1e-5)
    assert len(set((trie.target // VOCABULARY_AT_ONCE).tolist())) == 4
    assert largest.numel <= 3 * (len(trie) + 1) * VOCABULARY_AT_ONCE


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
    assert np.abs(short.score_all(["a card", text]) - [scorer.score("a card"), scorer.score(cut)]).max() < 2e-5


def test_a_label_without_tokens_is_refused(made):
    model, tokenizer, _ = made("llama")
    with pytest.raises(DataError, match=r"no tokens.*''"):
        ChoiceScorer(model, tokenizer, template_of(tokenizer), ["a", ""])
