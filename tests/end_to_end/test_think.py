"""What `run`, `predict` and `chat` feed to a model is the prompt that it was trained behind, for each data.think."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.workbench import (
    PLACES,
    answer_rows,
    read_json,
    tuneloop,
    write_answers,
    write_jsonl,
    write_recipe,
)
from tests.tiny_models import CHATML, make_tiny
from transformers import AutoTokenizer

from tuneloop import prediction
from tuneloop.examples.encode import encode_generation, encode_prompt
from tuneloop.examples.template import template_of
from tuneloop.prediction import Chat
from tuneloop.records import Message, Row
from tuneloop.runs import RunFolder
from tuneloop.score import contenders

Prompts = list[list[int]]
OPENED = CHATML.replace("<|im_start|>assistant\\n' }}", "<|im_start|>assistant\\n<think>\\n' }}")
ENDS = {
    ("plain", "keep"): "<|im_start|>assistant\n",
    ("plain", "strip"): "<|im_start|>assistant\n",
    ("plain", "empty"): "<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ("opened", "keep"): "<|im_start|>assistant\n<think>\n",
    ("opened", "strip"): "<|im_start|>assistant\n<think>\n",
    ("opened", "empty"): "<|im_start|>assistant\n<think>\n\n</think>\n\n",
}


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> Prompts:
    """Every prompt that a model is asked to go on from, in order."""
    seen: Prompts = []
    for module in (prediction, contenders):
        real = module.generate

        def generate(model: Any, tokenizer: Any, prompts: Prompts, *, real: Any = real, **options: Any) -> Any:
            seen.extend(list(map(int, prompt)) for prompt in prompts)
            return real(model, tokenizer, prompts, **options)

        monkeypatch.setattr(module, "generate", generate)
    return seen


@pytest.fixture(params=ENDS, ids="-".join)
def told(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, str]:
    """A folder with rows and a recipe over a template, the value of data.think, and how its prompts end."""
    template, think = request.param
    base = make_tiny("llama", tmp_path / "base")
    if template == "opened":
        assert OPENED != CHATML
        (base / "chat_template.jinja").write_text(OPENED, encoding="utf-8")
    write_answers(tmp_path)
    write_recipe(tmp_path, "generation", base, data__think=think, data__max_length=128, evaluate__untuned_rows=6)
    return tmp_path, think, ENDS[request.param]


def expected(tokenizer: Any, think: str) -> Callable[[list[Message]], list[int]]:
    return lambda turns: encode_prompt(turns, tokenizer, template_of(tokenizer), think=think, max_length=128)


def test_every_verb_asks_with_the_prompt_of_training(told: tuple[Path, str, str], fed: Prompts):
    folder, think, end = told
    assert tuneloop("run", "recipe.yaml", folder=folder).status == 0
    tokenizer = AutoTokenizer.from_pretrained(folder / "runs/r/model")
    prompt = expected(tokenizer, think)
    tested = [[Message("user", row["prompt"])] for row in answer_rows(PLACES[10:])]
    assert read_json(folder / "runs/r/model/args.json")["think"] == think
    assert sorted(fed[:6]) == sorted(fed[6:]) == sorted(prompt(turns) for turns in tested)  # untuned, then tuned
    assert all(tokenizer.decode(ids).endswith(end) for ids in fed)

    fed.clear()
    assert tuneloop("evaluate", "r", folder=folder).status == 0
    assert sorted(fed[:6]) == sorted(fed[6:]) == sorted(prompt(turns) for turns in tested)

    fed.clear()
    texts = ["where is the transfer", "the rate of rome?"]
    write_jsonl(folder / "new.jsonl", [{"prompt": text} for text in texts])
    assert tuneloop("predict", "r", "new.jsonl", folder=folder).status == 0
    assert fed == [prompt([Message("user", text)]) for text in texts]

    fed.clear()
    said = tuneloop("chat", "r", "--max-new-tokens", 4, folder=folder, stdin=f"{texts[0]}\n/reset\n{texts[1]}\n")
    assert said.status == 0
    assert fed == [prompt([Message("user", text)]) for text in texts]

    # And the training example of such a row is this prompt, untrained, with the answer behind it.
    row = Row(id="r", source="s:1", messages=(Message("user", texts[0]), Message("assistant", "your card: rome")))
    (example,) = encode_generation([row], tokenizer, template_of(tokenizer), max_length=128, think=think)
    behind = next(place for place, label in enumerate(example.labels) if label != -100)
    assert example.input_ids[:behind] == fed[0]


def test_a_second_turn_is_asked_behind_the_first(told: tuple[Path, str, str], fed: Prompts):
    folder, think, end = told
    assert tuneloop("train", "recipe.yaml", folder=folder).status == 0
    talk = Chat(RunFolder(folder / "runs/r"))
    prompt = expected(talk.tuned.tokenizer, think)
    list(talk.say("where is the transfer", max_new_tokens=4))
    before = list(talk.turns)
    assert [turn.role for turn in before] == ["user", "assistant"]
    list(talk.say("and the rate of rome?", max_new_tokens=4))
    assert fed[1:] == [prompt([*before, Message("user", "and the rate of rome?")])]
    assert talk.tuned.tokenizer.decode(fed[1]).endswith(end)
