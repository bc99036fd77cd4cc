"""Reading and extending against full forward passes; runs of slots; room for keys and values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_training import VOCABULARY, small, stir

from tuneloop.model.decode import FILLED, CachedDecoder, Prompt, make_runs, why_not_decode
from tuneloop.model.kept import KeptKeys


@pytest.fixture(params=["llama", "qwen2"])
def model(request: pytest.FixtureRequest) -> Any:
    made = small(request.param)
    stir(made, 0.1)
    return made


def whole(model: Any, tokens: list[int]) -> torch.Tensor:
    """(V,) logits behind the last token, by the modules, without a cache."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([tokens])).logits[0, -1]


@pytest.mark.parametrize("packed", [True, False])
def test_logits_are_those_of_full_passes(model: Any, packed: bool):
    decoder = CachedDecoder(model, limit=2**30, packed=packed)
    texts = {
        slot: [(7 * slot + 5 * i) % VOCABULARY for i in range(length)] for slot, length in {0: 6, 1: 90, 3: 2}.items()
    }
    decoder.kept.make_room(4, 100, most=(4, 100))
    for tensor in (*decoder.kept.keys, *decoder.kept.values):
        tensor.fill_(50.0)  # as an older text leaves them, only worse
    found = decoder.read([Prompt(slot, text) for slot, text in texts.items()])
    for _ in range(5):
        wanted = torch.stack([whole(model, text) for text in texts.values()])
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
        lengths = [len(text) for text in texts.values()]
        tokens = [3, 4, 5]
        for text, token in zip(texts.values(), tokens, strict=True):
            text.append(token)
        found = decoder.extend(list(texts), tokens, lengths)


def test_a_prompt_can_begin_in_another_slot_even_of_the_same_pass(model: Any):
    decoder = CachedDecoder(model, limit=2**30, packed=True)
    decoder.kept.make_room(3, 40, most=(3, 40))
    first = [(11 * i) % VOCABULARY for i in range(30)]
    texts = [first, [*first[:20], 1, 2, 3], [*first[:20], 1, 9]]
    found = decoder.read([Prompt(0, texts[0]), Prompt(2, texts[1][20:], 20, 0), Prompt(1, texts[2][21:], 21, 2)])
    torch.testing.assert_close(found, torch.stack([whole(model, text) for text in texts]), rtol=1e-4, atol=1e-4)


def test_another_head_than_a_plain_one_is_refused(model: Any):
    assert why_not_decode(model) == ""
    model.lm_head = torch.nn.Sequential(model.lm_head)
    assert why_not_decode(model) == "its language head is a Sequential"


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 400)), min_size=1, max_size=70))
def test_runs_cover_all_slots_and_fill_up_little(drawn: list[tuple[int, int]]):
    slots, lengths, place = [], [], -1
    for step, length in drawn:
        place += step
        slots.append(place)
        lengths.append(length)
    runs = make_runs(slots, lengths)
    assert [slot for run in runs for slot in range(run.slots.start, run.slots.stop)] == slots
    assert [row for run in runs for row in range(run.rows.start, run.rows.stop)] == list(range(len(slots)))
    for run in runs:
        inside = lengths[run.rows]
        assert run.longest == max(inside)
        assert len(inside) * run.longest - sum(inside) <= FILLED
        shown = torch.zeros(len(inside), 1, 1, run.longest) if run.mask is None else run.mask
        assert (shown[:, 0, 0] == 0).sum(1).tolist() == inside
        assert bool(((shown == 0) | (shown == -torch.inf)).all())


def test_room_grows_by_doubling_within_what_is_needed_and_keeps_what_is_there():
    kept = KeptKeys(2, 1, 4, limit=10 * 40 * 64)
    assert kept.token_bytes == 64
    shapes = []
    for slots, tokens in ((1, 5), (1, 6), (2, 6), (3, 6), (3, 11), (3, 21), (3, 41), (9, 41), (2, 200)):
        kept.make_room(slots, tokens, most=(10, 200))
        shapes.append((kept.slots, kept.capacity))
        assert kept.slots >= slots and kept.capacity >= tokens
        assert kept.slots * kept.capacity <= 400 or (kept.slots, kept.capacity) == (slots, tokens)
        if len(shapes) == 1:
            kept.keys[1][0, 0, :5], kept.values[0][0, 0, 4] = 7.0, 3.0
        assert bool((kept.keys[1][0, 0, :5] == 7).all()) and bool((kept.values[0][0, 0, 4] == 3).all())
        assert not kept.keys[1][0, 0, 5:].any() and not kept.keys[0].any()
    assert shapes == [(1, 5), (1, 10), (2, 10), (4, 10), (4, 20), (4, 40), (4, 80), (9, 44), (2, 200)]
    kept = KeptKeys(2, 1, 4, limit=2**20)
    kept.make_room(1, 5, most=(1, 6))
    kept.make_room(1, 6, most=(1, 6))
    assert (kept.slots, kept.capacity) == (1, 6)


def test_copying_takes_the_first_tokens_of_one_layer():
    kept = KeptKeys(2, 1, 4, limit=2**20)
    kept.make_room(2, 5, most=(2, 5))
    for tensors in (kept.keys, kept.values):
        tensors[0][1] = 1.0
    kept.copy(0, 1, 0, 3)
    assert [kept.keys[0][0].sum(), kept.values[0][0].sum(), kept.keys[1].sum()] == [12, 12, 0]
