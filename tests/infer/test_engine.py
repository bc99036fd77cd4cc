"""The engine's answers against transformers' generate, a prompt at a time; and when each begins, ends and waits."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from benchmarks.generation.ties import TIE, difference
from tests.tiny_models import byte_level_tokenizer
from tests.tiny_training import lora_settings, small, stir
from transformers import LlamaConfig, LlamaForCausalLM, TextIteratorStreamer
from transformers.generation.streamers import BaseStreamer

from tuneloop.errors import ShapeError
from tuneloop.infer.engine import SHARED, Engine, Request, choose_engine
from tuneloop.infer.generate import generate
from tuneloop.model.adapt import METHODS
from tuneloop.model.decode import CachedDecoder

TOKENIZER = byte_level_tokenizer()
LENGTHS = [3, 70, 1, 25, 140, 9, 9, 33, 2, 51, 18, 90, 4]


def prompts_of(lengths: Sequence[int] = LENGTHS) -> list[list[int]]:
    made = random.Random(3)
    return [[made.randrange(3, len(TOKENIZER)) for _ in range(length)] for length in lengths]


def untied_llama() -> Any:
    """One key head for all queries, an LM head of its own, a head width that is not hidden / heads."""
    config = LlamaConfig(
        vocab_size=len(TOKENIZER), hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=1, head_dim=16, tie_word_embeddings=False, initializer_range=0.2, mlp_bias=True,
        attention_bias=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    stir(model, 0.1)  # the biases too, which start at zero
    return model


def lora(architecture: str) -> Any:
    model = METHODS["lora"](small(architecture, len(TOKENIZER)), adapt=lora_settings(), seed=0).model.eval()
    stir(model, 0.2)
    return model


def tuned(architecture: str) -> Any:
    model = small(architecture, len(TOKENIZER))
    stir(model, 0.1)  # untied from its start, where a model repeats its last token
    return model


MODELS: dict[str, Callable[[], Any]] = {
    "llama, tied": lambda: tuned("llama"),
    "qwen2, biases, untied": lambda: tuned("qwen2"),
    "llama, one key head, untied": untied_llama,
    "llama, lora": lambda: lora("llama"),
    "qwen2, lora": lambda: lora("qwen2"),
}


def reference(model: Any, prompt: list[int], budget: int, stops: Sequence[int] = ()) -> list[int]:
    """transformers' greedy answer to one prompt, without padding."""
    with torch.inference_mode():
        whole = model.generate(
            input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=budget, do_sample=False, eos_token_id=list(stops) or None, use_cache=True,
            pad_token_id=TOKENIZER.pad_token_id,
        )  # fmt: skip
    return whole[0, len(prompt) :].tolist()


def engine_of(model: Any, *, slots: int = 64, limit: int = 2**30, packed: bool = True) -> Engine:
    return Engine(CachedDecoder(model, limit=limit, packed=packed), slots=slots)


def run(engine: Engine, requests: Sequence[Request]) -> None:
    for _ in range(2000):
        if not engine.busy:
            break
        engine.step()
    assert all(request.done for request in requests)


def check(model: Any, requests: Sequence[Request]) -> None:
    assert requests
    for request in requests:
        wanted = reference(model, request.prompt, request.max_new_tokens, sorted(request.stops))
        assert difference(model, request.prompt, request.tokens, wanted) == ""


@pytest.fixture(scope="module")
def llama() -> Any:
    return tuned("llama")


# -- the same tokens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "modules"])
@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_transformers(name: str, packed: bool):
    model = MODELS[name]()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    engine = engine_of(model, slots=5, packed=packed)
    made = random.Random(1)
    requests = [engine.submit(prompt, max_new_tokens=made.randint(1, 40)) for prompt in prompts_of()]
    run(engine, requests)
    check(model, requests)
    assert len({tuple(request.tokens[-8:]) for request in requests}) > 8, "answers that say nothing are tested"
    after = model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items()), "weights were changed"


def test_an_adapter_changes_answers():
    plain, adapted = small("llama", len(TOKENIZER)), lora("llama")
    prompt = prompts_of([20])[0]
    assert reference(plain, prompt, 12) != reference(adapted, prompt, 12)


def test_the_check_finds_another_token_and_passes_a_tie(llama: Any):
    prompt = prompts_of([12])[0]
    wanted = reference(llama, prompt, 6)
    assert difference(llama, prompt, wanted, wanted) == ""
    wrong = [*wanted[:3], (wanted[3] + 1) % 388, *wanted[4:]]
    assert "token 3 is" in difference(llama, prompt, wrong, wanted)
    assert "5 tokens" in difference(llama, prompt, wanted[:5], wanted)
    tied = small("llama", len(TOKENIZER))
    with torch.no_grad():
        ids = torch.tensor([[*prompt, *reference(tied, prompt, 3)]])
        top = int(tied(input_ids=ids).logits[0, -1].argmax())
        twin = (top + 1) % 388
        tied.lm_head.weight = torch.nn.Parameter(tied.lm_head.weight.clone())  # apart from the embedding
        tied.lm_head.weight[twin] = tied.lm_head.weight[top] * (1 + TIE / 1000)
    wanted = reference(tied, prompt, 4)
    assert wanted[3] in (top, twin)
    other = [*wanted[:3], top if wanted[3] == twin else twin]
    assert difference(tied, prompt, other, wanted) == ""


def test_stop_tokens_end_each_answer_at_its_own_time(llama: Any):
    prompts = prompts_of()
    free = [reference(llama, prompt, 24) for prompt in prompts]
    stops = frozenset({free[1][2], free[4][7], free[3][11]})
    engine = engine_of(llama, slots=4)
    requests = [engine.submit(prompt, max_new_tokens=24, stops=stops) for prompt in prompts]
    run(engine, requests)
    check(llama, requests)
    stopped = {len(request.tokens) for request in requests if request.stopped}
    assert len(stopped) >= 3 and not all(request.stopped for request in requests)
    assert all(request.stopped == (request.tokens[-1] in stops) for request in requests)


@pytest.mark.parametrize("count", [1, 3])
def test_a_budget_of_one_token(llama: Any, count: int):
    engine = engine_of(llama)
    requests = [engine.submit(prompt, max_new_tokens=1) for prompt in prompts_of()[:count]]
    assert engine.step() == requests and not engine.busy
    check(llama, requests)


def test_no_tokens_and_no_budget_are_refused(llama: Any):
    engine = engine_of(llama)
    with pytest.raises(ShapeError, match="without tokens"):
        engine.submit([], max_new_tokens=3)
    with pytest.raises(ShapeError, match="at least 1"):
        engine.submit([1], max_new_tokens=0)
    assert engine.step() == [] and not engine.busy


# -- neighbours ---------------------------------------------------------------------------------------------------


def spy(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[int], torch.Tensor]]:
    """(pass, its slots, its logits) of all that the engine computes."""
    seen: list[tuple[str, list[int], torch.Tensor]] = []
    decoder = engine._decoder
    read, extend = decoder.read, decoder.extend

    def reading(prompts: Any) -> torch.Tensor:
        seen.append(("read", [prompt.slot for prompt in prompts], read(prompts)))
        return seen[-1][2]

    def extending(slots: Any, *rest: Any) -> torch.Tensor:
        seen.append(("extend", list(slots), extend(slots, *rest)))
        return seen[-1][2]

    monkeypatch.setattr(decoder, "read", reading)
    monkeypatch.setattr(decoder, "extend", extending)
    return seen


def logits_of(seen: list[tuple[str, list[int], torch.Tensor]], slot: int) -> torch.Tensor:
    return torch.stack([logits[slots.index(slot)] for _, slots, logits in seen if slot in slots])


def test_a_slots_logits_do_not_depend_on_its_neighbours(llama: Any, monkeypatch: pytest.MonkeyPatch):
    prompts = prompts_of([30, 41, 12, 38])
    found = []
    for others in (
        prompts,
        [[(token + 7) % 388 for token in prompt] for prompt in prompts],
        prompts_of([90, 0, 3, 60]),
    ):
        engine = engine_of(llama)
        seen = spy(engine, monkeypatch)
        mixed = [prompts[1] if slot == 1 else others[slot] for slot in range(4)]
        run(engine, [engine.submit(prompt, max_new_tokens=15) for prompt in mixed])
        found.append(logits_of(seen, 1))
    assert found[0].shape == (15, 388)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-5)


def test_the_same_prompt_gets_the_same_answer_wherever_it_stands(llama: Any):
    asked = prompts_of([26])[0]
    engine = engine_of(llama, slots=3)
    requests = [engine.submit(prompt, max_new_tokens=20) for prompt in [asked, *prompts_of(), asked, asked[:9], asked]]
    run(engine, requests)
    check(llama, requests)
    assert requests[0].tokens == requests[-3].tokens == requests[-1].tokens


# -- continuous batching ------------------------------------------------------------------------------------------


def test_a_newcomer_begins_before_the_longest_answer_ends(llama: Any, monkeypatch: pytest.MonkeyPatch):
    engine = engine_of(llama, slots=2)
    seen = spy(engine, monkeypatch)
    long, brief, newcomer = (
        engine.submit(prompt, max_new_tokens=budget)
        for prompt, budget in zip(prompts_of([40, 60, 5]), [30, 4, 12], strict=True)
    )
    order = []
    while engine.busy:
        order += engine.step()
        assert len(engine.active) <= 2
    assert order == [brief, newcomer, long]
    assert [kind for kind, slots, _ in seen[:6]] == ["read", "extend", "extend", "extend", "read", "extend"]
    assert seen[4][1] == [1] and seen[5][1] == [0, 1], "it stands in the slot of the one that ended"
    check(llama, [long, brief, newcomer])


def test_newcomers_are_read_together_up_to_a_budget(llama: Any, monkeypatch: pytest.MonkeyPatch):
    engine = engine_of(llama)
    seen = spy(engine, monkeypatch)
    requests = [engine.submit(prompt, max_new_tokens=2) for prompt in prompts_of([600, 500, 12, 1, 300])]
    run(engine, requests)
    passes = [[kind, slots] for kind, slots, _ in seen]
    assert passes == [["read", [0]], ["read", [1, 2]], ["read", [3, 4]], ["extend", [0, 1, 2, 3, 4]]]
    check(llama, requests)


def test_slots_and_room_grow_while_answers_are_on_their_way(llama: Any):
    engine = engine_of(llama)
    first = engine.submit(prompts_of([5])[0], max_new_tokens=120)
    capacities = set()
    for _ in range(30):
        engine.step()
        capacities.add(engine._decoder.kept.capacity)
    rest = [engine.submit(prompt, max_new_tokens=60) for prompt in prompts_of([3, 200, 17])]
    while engine.busy:
        engine.step()
        capacities.add(engine._decoder.kept.capacity)
    assert len(capacities) >= 4, capacities
    check(llama, [first, *rest])


def test_a_request_waits_until_all_could_run_to_their_budgets(llama: Any):
    token = CachedDecoder(llama, limit=0, packed=False).kept.token_bytes
    engine = engine_of(llama, limit=3 * 64 * token)
    requests = [engine.submit(prompt, max_new_tokens=32) for prompt in prompts_of([32, 30, 20, 10, 33, 150, 12])]
    most = 0
    while engine.busy:
        engine.step()
        kept = engine._decoder.kept
        most = max(most, len(engine.active))
        alone = len(engine.active) <= 1
        assert alone or kept.slots * kept.capacity * token <= 3 * 64 * token
    assert most == 3
    check(llama, requests)  # also the one that is too long for the limit, which was begun alone


def test_a_cancelled_request_leaves_its_slot_to_another(llama: Any):
    engine = engine_of(llama, slots=1)
    first, second, third = (engine.submit(prompt, max_new_tokens=9) for prompt in prompts_of([20, 30, 8]))
    engine.step(), engine.step()
    engine.cancel(first), engine.cancel(second), engine.cancel(second)
    run(engine, [third])
    assert len(first.tokens) == 2 and not second.tokens
    check(llama, [third])


# -- common beginnings --------------------------------------------------------------------------------------------


def test_a_common_beginning_is_computed_once(llama: Any, monkeypatch: pytest.MonkeyPatch):
    begin = prompts_of([SHARED + 30])[0]
    engine = engine_of(llama, slots=3)
    fed: list[list[tuple[int, int]]] = []
    read = engine._decoder.read
    monkeypatch.setattr(
        engine._decoder, "read",
        lambda prompts: (fed.append([(p.start, len(p.tokens)) for p in prompts]), read(prompts))[1],
    )  # fmt: skip
    prompts = [begin + end for end in prompts_of([4, 9, 2, 7, 30])]
    prompts += [begin, [*begin[: SHARED - 2], 7, 8], [*begin[:-3], 9]]
    requests = [engine.submit(prompt, max_new_tokens=7 + index) for index, prompt in enumerate(prompts)]
    run(engine, requests)
    check(llama, requests)
    starts = [start for one in fed for start, _ in one]
    whole = len(begin)
    assert starts == [0, whole, whole, whole, whole, whole - 1, 0, whole - 3]
    engine.forget()
    again = engine.submit(prompts[0], max_new_tokens=2)
    run(engine, [again])
    assert fed[-1] == [(0, len(prompts[0]))]


def test_the_turns_so_far_are_not_read_again(llama: Any):
    engine = engine_of(llama)
    text = prompts_of([30])[0]
    for _ in range(3):
        request = engine.submit(text, max_new_tokens=10)
        run(engine, [request])
        check(llama, [request])
        text = [*request.prompt, *request.tokens, 5, 6, 7]
    slot, start = engine._beginning(text, 0)
    assert (slot, start) == (0, len(text) - 4), (
        "all but the last answered token, which was never read, and the new ones"
    )


def test_a_beginning_is_taken_before_its_slot_is_overwritten(llama: Any):
    first, second = prompts_of([40, 45])
    engine = engine_of(llama, slots=2)
    run(engine, [engine.submit(first, max_new_tokens=3), engine.submit(second, max_new_tokens=3)])
    # Newcomers whose beginnings lie crosswise: each takes the other's slot in one pass.
    requests = [engine.submit([*text[:35], 11, 12], max_new_tokens=12) for text in (second, first)]
    run(engine, requests)
    check(llama, requests)


# -- through generate ---------------------------------------------------------------------------------------------


def test_generate_answers_the_same_with_and_without_the_engine(llama: Any, monkeypatch: pytest.MonkeyPatch):
    prompts = prompts_of()
    stop = reference(llama, prompts[1], 8)[5]
    monkeypatch.setattr(llama.generation_config, "eos_token_id", stop)
    plain = generate(llama, TOKENIZER, prompts, max_new_tokens=16)
    engine = choose_engine(llama, fast=True)
    assert engine is not None
    for _ in range(2):  # it can be asked again
        found = generate(llama, TOKENIZER, prompts, max_new_tokens=16, engine=engine)
        assert [(a.text, a.tokens, a.stopped) for a in found] == [(a.text, a.tokens, a.stopped) for a in plain]
    assert any(a.stopped for a in found) and all(a.seconds > 0 for a in found)


def test_a_streamer_hears_what_it_hears_of_transformers(llama: Any):
    (prompt,) = prompts_of([14])
    heard = []
    for engine in (engine_of(llama), None):
        streamer = TextIteratorStreamer(TOKENIZER, skip_prompt=True, skip_special_tokens=True)
        (answer,) = generate(llama, TOKENIZER, [prompt], max_new_tokens=10, engine=engine, streamer=streamer)
        heard.append(list(streamer))
        assert "".join(heard[-1]) == answer.text
    assert heard[0] == heard[1] and len(heard[0]) > 1
    with pytest.raises(ShapeError, match="only one prompt"):
        generate(llama, TOKENIZER, [prompt, prompt], max_new_tokens=2, streamer=streamer)


def test_a_broken_off_answer_leaves_the_engine_idle(llama: Any):
    class Deaf(BaseStreamer):
        def put(self, value: torch.Tensor) -> None:
            if value.dim() == 1:
                raise RuntimeError("gone")

        def end(self) -> None: ...

    engine = engine_of(llama)
    (prompt,) = prompts_of([14])
    with pytest.raises(RuntimeError, match="gone"):
        generate(llama, TOKENIZER, [prompt], max_new_tokens=10, engine=engine, streamer=Deaf())
    assert not engine.busy


def test_seconds_are_shares_of_the_whole(llama: Any, monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]

    def tick() -> float:
        clock[0] += 1.0
        return clock[0]

    monkeypatch.setattr("tuneloop.infer.engine.time.monotonic", tick)
    engine = engine_of(llama)
    long, brief = (engine.submit(p, max_new_tokens=n) for p, n in zip(prompts_of([30, 10]), [5, 2], strict=True))
    run(engine, [long, brief])
    assert (long.seconds, brief.seconds) == pytest.approx((30 / 40 + 1 / 2 + 3, 10 / 40 + 1 / 2))


@pytest.mark.parametrize(
    ("architecture", "fast", "why"),
    [
        ("deepseek_v3", True, "its architecture is deepseek_v3; the engine knows"),
        ("llama", False, "model.fast_path is false"),
    ],
)
def test_where_it_does_not_apply_it_says_why(
    architecture: str, fast: bool, why: str, capsys: pytest.CaptureFixture[str]
):
    assert choose_engine(small(architecture), fast=fast) is None
    assert f"on the plain path (transformers' generate): {why}" in capsys.readouterr().err
    assert choose_engine(small("llama"), fast=True) is not None
    assert capsys.readouterr().err == ""


def test_other_weights_are_not_float32():
    assert choose_engine(small("llama").to(torch.bfloat16), fast=True) is None
