"""Batched greedy answers against transformers' own generate, a prompt at a time and without padding."""

import pytest
import torch
from tests.tiny_models import byte_level_tokenizer
from tests.tiny_training import DECODERS, lora_settings, small, stir

from tuneloop.errors import ShapeError
from tuneloop.infer.generate import generate, stop_tokens
from tuneloop.model.adapt import METHODS

TOKENIZER = byte_level_tokenizer()
PROMPTS = [[9, 50, 33], [100, 7, 8, 9, 200, 301, 77, 5], [42], [60, 61, 62, 63, 64], [9, 50, 33], [300] * 12]


def model_of(architecture: str):
    model = small(architecture, len(TOKENIZER))
    stir(model, 0.1)  # untied from its start, where a model repeats its last token
    model.config.use_cache = False  # as load_model leaves it
    model.generation_config.eos_token_id = TOKENIZER.eos_token_id
    model.generation_config.bos_token_id = TOKENIZER.bos_token_id
    return model


@torch.no_grad()
def plain(model, prompt: list[int], budget: int, stops: list[int]) -> list[int]:
    """New tokens by argmax over full forward passes: no cache, no padding."""
    ids = list(prompt)
    for _ in range(budget):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] in stops:
            break
    return ids[len(prompt) :]


@pytest.fixture(scope="module")
def free():
    """(architecture) -> (model, each prompt's 12 greedy tokens, none of which stops)."""
    kept = {}

    def get(architecture):
        if architecture not in kept:
            model = model_of(architecture)
            kept[architecture] = model, [plain(model, prompt, 12, []) for prompt in PROMPTS]
        return kept[architecture]

    return get


@pytest.mark.parametrize("batch_size", [1, 2, 6])
@pytest.mark.parametrize("architecture", DECODERS)
def test_answers_are_those_of_one_prompt_at_a_time(free, architecture, batch_size, monkeypatch):
    model, wanted = free(architecture)
    early, late = wanted[1][3], wanted[3][6]  # tokens that stop one answer or another before the budget
    monkeypatch.setattr(model.generation_config, "eos_token_id", [early, late])
    stops = stop_tokens(model, TOKENIZER)
    assert stops == sorted({early, late, TOKENIZER.eos_token_id})
    found = generate(model, TOKENIZER, PROMPTS, max_new_tokens=12, batch_size=batch_size)
    assert len(found) == len(PROMPTS)
    for prompt, answer in zip(PROMPTS, found, strict=True):
        new = plain(model, prompt, 12, stops)
        stopped = new[-1] in stops
        assert (answer.tokens, answer.stopped) == (len(new), stopped)
        assert answer.text == TOKENIZER.decode(new[:-1] if stopped else new, skip_special_tokens=True)
        whole = model.generate(
            input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=12,
            do_sample=False, eos_token_id=stops, pad_token_id=TOKENIZER.pad_token_id,
        )  # fmt: skip
        assert whole[0, len(prompt) :].tolist() == new
        assert answer.seconds > 0
    lengths = {answer.tokens for answer in found}
    assert len(lengths) > 1 and any(a.stopped for a in found), "answers that stop early, or nothing is tested"
    assert found[0].text == found[4].text and len({answer.text for answer in found}) > 3


def test_the_budget_ends_an_answer_that_does_not_stop(free):
    model, _ = free("llama")
    for answer in generate(model, TOKENIZER, PROMPTS, max_new_tokens=2, batch_size=3):
        assert answer.tokens == 2 and not answer.stopped


def test_nothing_is_computed_behind_any_of_the_stop_tokens(free, monkeypatch):
    model, wanted = free("llama")
    stop = next(place for place in range(3, 12) if wanted[1][place] not in wanted[1][:place])
    passes = []
    for others in ([], [0, 387]):  # alone, and between others
        monkeypatch.setattr(model.generation_config, "eos_token_id", [wanted[1][stop], *others])
        hook = model.model.register_forward_pre_hook(lambda *_: passes.append(1))
        (answer,) = generate(model, TOKENIZER, [PROMPTS[1]], max_new_tokens=12)
        hook.remove()
        assert answer.tokens == stop + 1 and answer.stopped
    assert len(passes) == 2 * (stop + 1)


def test_the_cache_is_used_though_training_switched_it_off(free):
    model, _ = free("llama")
    fed = []
    hook = model.model.register_forward_pre_hook(lambda m, a, k: fed.append(k["input_ids"].shape[1]), with_kwargs=True)
    generate(model, TOKENIZER, [PROMPTS[1]], max_new_tokens=5)
    hook.remove()
    assert fed == [8, 1, 1, 1, 1]


def test_a_models_own_sampling_settings_do_not_count(free, monkeypatch):
    """The R1 distills ask for temperature 0.6 and top_p 0.95; scores are greedy."""
    model, _ = free("llama")
    wanted = [answer.text for answer in generate(model, TOKENIZER, PROMPTS, max_new_tokens=6)]
    for name, value in {"do_sample": True, "temperature": 5.0, "top_p": 0.9, "top_k": 3}.items():
        monkeypatch.setattr(model.generation_config, name, value)
    assert [answer.text for answer in generate(model, TOKENIZER, PROMPTS, max_new_tokens=6)] == wanted


def test_a_model_under_an_adapter_answers_with_it():
    model = METHODS["lora"](model_of("llama"), adapt=lora_settings(), seed=0).model.eval()
    before = [answer.text for answer in generate(model, TOKENIZER, PROMPTS, max_new_tokens=6)]
    stir(model, 0.2)
    after = [answer.text for answer in generate(model, TOKENIZER, PROMPTS, max_new_tokens=6)]
    assert after != before
    assert after == [TOKENIZER.decode(plain(model, p, 6, []), skip_special_tokens=True) for p in PROMPTS]


def test_stop_tokens_are_the_templates_the_tokenizers_and_the_models():
    model = small("llama", len(TOKENIZER))
    model.generation_config.eos_token_id = [5, 6]
    assert stop_tokens(model, TOKENIZER) == sorted({5, 6, TOKENIZER.eos_token_id})
    model.generation_config.eos_token_id = None
    assert stop_tokens(model, TOKENIZER) == [TOKENIZER.eos_token_id]
    other = byte_level_tokenizer()
    other.eos_token = "<|endoftext|>"  # the turn still ends with <|im_end|>
    assert set(stop_tokens(model, other)) == set(other.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"]))


def test_a_prompt_without_tokens_is_refused(free):
    with pytest.raises(ShapeError, match="without tokens"):
        generate(free("llama")[0], TOKENIZER, [[1, 2], []], max_new_tokens=2)
    assert generate(free("llama")[0], TOKENIZER, [], max_new_tokens=2) == []
