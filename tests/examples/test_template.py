"""Our rendering against the official templates, and what is trained in it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tuneloop.errors import DataError, ModelError
from tuneloop.examples.template import Template, template_of
from tuneloop.examples.think import EMPTY_BLOCK
from tuneloop.records import Message

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
THINKS = ("keep", "strip", "empty")
WITH = "<think>\nwhy\n</think>\n\nyes"
TALKS = [
    [("user", "q"), ("assistant", "a")],
    [("system", "s"), ("user", "问题"), ("assistant", "答案")],
    [("system", "s1"), ("system", "s2"), ("user", "q"), ("assistant", " a\n")],
    [("user", "q"), ("assistant", "a"), ("user", "q2"), ("system", "late"), ("user", "q3"), ("assistant", "b")],
    [("user", ""), ("assistant", "")],
    [("user", "q"), ("assistant", WITH), ("user", "q2"), ("assistant", "b")],
    [("assistant", "hello"), ("user", "q"), ("user", "again"), ("assistant", "b"), ("assistant", "c")],
]


# Like Qwen3: reasoning of every assistant turn dropped ...
DROPS = (
    "message['content'] +",
    "(message['content'].split('</think>')[-1].lstrip('\\n') if message['role'] == 'assistant'"
    " else message['content']) +",
)
# ... and a block of its own before the last answer.
BLOCK = (
    "message['role'] + '\\n' +",
    "message['role'] + '\\n' +"
    " ('<think>\\n\\n</think>\\n\\n' if loop.last and message['role'] == 'assistant' else '') +",
)


def talk(*turns: tuple[str, str]) -> list[Message]:
    return [Message(role, content) for role, content in turns]  # type: ignore[arg-type]


def official(tokenizer: Any, messages: list[Message], generation: bool) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    return str(tokenizer.apply_chat_template(turns, add_generation_prompt=generation, tokenize=False))


def joined(template: Template, messages: list[Message], think: str) -> str:
    return "".join(part.text for part in template.segments(messages, think))


def trained(template: Template, messages: list[Message], think: str) -> list[str]:
    """The trained text, one string a turn."""
    runs = itertools.groupby(template.segments(messages, think), key=lambda part: part.trained)
    return ["".join(part.text for part in run) for does, run in runs if does]


@pytest.mark.parametrize("turns", TALKS)
def test_r1_is_the_official_text_apart_from_reasoning(r1: Any, turns: list[tuple[str, str]]) -> None:
    template, messages = template_of(r1), talk(*turns)
    assert template.kind == "r1"
    for size in range(1, len(messages) + 1):
        for generation in (False, True):
            assert template.render(messages[:size], generation) == official(r1, messages[:size], generation)
    prompt = official(r1, messages[:-1], True)
    assert template.prompt(messages) == prompt
    assert messages[-2].role == "assistant" or template.prompt(messages[:-1]) == prompt
    whole = official(r1, messages, False)
    before, _, answer = whole.rpartition("<｜Assistant｜>")
    closing = "\n</think>\n\n" if template.opens_think else ""
    assert prompt == before + "<｜Assistant｜>" + template.opener
    assert joined(template, messages, "keep") == prompt + closing + answer


def test_both_revisions_are_told_apart(deepseek: Any, r1: Any) -> None:
    template = template_of(r1)
    assert template.opens_think == official(r1, talk(("user", "q")), True).endswith("<think>\n")
    assert template.opener in ("", "<think>\n")
    assert (template.eos, template.end, template.tail) == (EOS, EOS, "")
    assert len(template.hash) == 16 and int(template.hash, 16) >= 0
    assert template_of(r1).hash == template.hash
    same_text = r1.chat_template == deepseek.chat_template
    assert (template.hash == template_of(deepseek).hash) == same_text


def test_think_modes_of_r1(r1: Any) -> None:
    template = template_of(r1)
    opens = template.opens_think
    ask = BOS + "<｜User｜>q<｜Assistant｜>" + ("<think>\n" if opens else "")
    plain, reasoned = talk(("user", "q"), ("assistant", "yes")), talk(("user", "q"), ("assistant", WITH))
    close = "\n</think>\n\n"
    shut = ask + (close if opens else EMPTY_BLOCK)

    assert trained(template, reasoned, "keep") == [("why\n</think>\n\nyes" if opens else WITH) + EOS]
    assert trained(template, plain, "keep") == [(close if opens else "") + "yes" + EOS]
    assert trained(template, reasoned, "strip") == trained(template, plain, "strip") == trained(template, plain, "keep")
    assert trained(template, plain, "empty") == ["yes" + EOS]
    assert trained(template, reasoned, "empty") == trained(template, reasoned, "keep")
    assert joined(template, plain, "empty") == shut + "yes" + EOS
    assert template.prompt(plain, "empty") == shut
    for think in THINKS:
        assert template.opened_by_prompt(think) == (opens and think != "empty")
        for messages in (plain, reasoned):
            assert joined(template, messages, think).startswith(ask)
    assert "why" not in joined(template, reasoned, "strip")
    if opens:
        assert trained(template, talk(("user", "q"), ("assistant", "\n " + WITH)), "keep") == trained(
            template, reasoned, "keep"
        )
    empty = talk(("user", "q"), ("assistant", EMPTY_BLOCK + "yes"))
    assert trained(template, empty, "empty") == ["yes" + EOS]


def test_an_answer_that_lacks_its_opening_tag_gets_the_one_that_inference_sees(r1: Any) -> None:
    template = template_of(r1)
    text = joined(template, talk(("user", "q"), ("assistant", "why</think>yes")), "keep")
    assert text == BOS + "<｜User｜>q<｜Assistant｜><think>\nwhy</think>yes" + EOS


@pytest.mark.parametrize("think", THINKS)
def test_reasoning_that_never_closes_teaches_no_end(r1: Any, think: str) -> None:
    template, messages = template_of(r1), talk(("user", "q"), ("assistant", "<think>\nwhy, and"))
    parts = template.segments(messages, think)
    assert all(EOS not in part.text for part in parts)
    said = "why, and" if template.opens_think else "<think>\nwhy, and"
    assert trained(template, messages, think) == ([] if think == "strip" else [said])


def test_earlier_turns_are_trained_where_the_context_holds_them_as_generated(r1: Any) -> None:
    template = template_of(r1)
    lost = talk(("user", "q"), ("assistant", WITH), ("user", "q2"), ("assistant", "b"))
    kept = talk(("user", "q"), ("assistant", "a"), ("user", "q2"), ("assistant", "b"))
    close = "\n</think>\n\n" if template.opens_think else ""
    last = close + "b" + EOS
    assert trained(template, lost, "keep") == [last]
    assert trained(template, kept, "keep") == ([last] if template.opens_think else ["a" + EOS, last])
    assert "why" not in joined(template, lost, "keep"), "official contexts drop earlier reasoning"


def test_r1_refuses_tool_turns_and_a_missing_answer(r1: Any) -> None:
    template = template_of(r1)
    with pytest.raises(DataError, match="tool"):
        template.segments(talk(("user", "q"), ("tool", "42"), ("assistant", "a")), "keep")
    with pytest.raises(DataError, match="no answer"):
        template.segments(talk(("user", "q")), "keep")
    with pytest.raises(DataError, match="no answer"):
        template.segments([], "keep")


def test_chatml_trains_every_assistant_turn(chatml: Any) -> None:
    template = template_of(chatml)
    assert (template.kind, template.eos, template.tail, template.opens_think) == ("own", "<|im_end|>", "\n", False)
    messages = talk(("user", "q"), ("assistant", WITH), ("tool", "42"), ("user", "q2"), ("assistant", " b"))
    assert joined(template, messages, "keep") == official(chatml, messages, False)
    assert trained(template, messages, "keep") == [WITH + "<|im_end|>", " b<|im_end|>"]
    assert trained(template, messages, "strip") == ["yes<|im_end|>", " b<|im_end|>"]
    assert template.prompt(messages) == official(chatml, messages[:-1], True)
    assert template.prompt(messages, "empty") == template.prompt(messages) + EMPTY_BLOCK
    assert trained(template, messages, "empty") == [WITH + "<|im_end|>", " b<|im_end|>"]


def test_a_template_that_drops_reasoning_trains_the_last_turn_with_it(chatml: Any, with_template: Any) -> None:
    tokenizer = with_template(chatml, chatml.chat_template.replace(*DROPS))
    template = template_of(tokenizer)
    messages = talk(("user", "q"), ("assistant", WITH), ("user", "q2"), ("assistant", WITH))
    assert WITH not in official(tokenizer, messages, False), "the trap itself"
    assert trained(template, messages, "keep") == [WITH + "<|im_end|>"]
    assert joined(template, messages, "keep").count("why") == 1
    assert joined(template, messages, "strip") == official(tokenizer, messages, False)
    assert trained(template, messages, "strip") == ["yes<|im_end|>"] * 2


@pytest.mark.parametrize("opener", ["", "<think>\\n"])
def test_a_template_that_adds_a_block_of_its_own(chatml: Any, opener: str, with_template: Any) -> None:
    source = chatml.chat_template.replace(*DROPS).replace(*BLOCK)
    source = source.replace("assistant\\n' }}{% endif %}", f"assistant\\n{opener}' }}}}{{% endif %}}")
    template = template_of(with_template(chatml, source))
    assert template.opens_think == bool(opener) and template.lead == ""
    text = joined(template, talk(("user", "q"), ("assistant", WITH)), "keep")
    assert text == f"<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n{WITH}<|im_end|>\n"
    text = joined(template, talk(("user", "q"), ("assistant", "yes")), "empty")
    assert text == f"<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n{EMPTY_BLOCK}yes<|im_end|>\n"


def test_templates_that_trim_or_have_no_generation_prompt(chatml: Any, with_template: Any) -> None:
    trimming = (
        chatml.chat_template.replace("message['content']", "message['content'] | trim")
        .replace("'\\n' +", "'\\n' ~")
        .replace("| trim +", "| trim ~")
    )
    tokenizer = with_template(chatml, trimming)
    messages = talk(("user", " q "), ("assistant", " a "), ("user", "r"), ("assistant", "\nb\n"))
    template = template_of(tokenizer)
    assert template.trims and joined(template, messages, "keep") == official(tokenizer, messages, False)
    assert trained(template, messages, "keep") == ["a<|im_end|>", "b<|im_end|>"]

    tokenizer = with_template(chatml, chatml.chat_template.partition("{% if add_generation_prompt %}")[0])
    template = template_of(tokenizer)
    assert joined(template, messages, "keep") == official(tokenizer, messages, False)
    assert trained(template, messages, "keep")[-1] == "<|im_start|>assistant\n\nb\n<|im_end|>", (
        "inference must write it"
    )
    assert template.prompt(messages, "empty").endswith("<|im_start|>assistant\n" + EMPTY_BLOCK)


def test_the_end_of_a_turn_is_found_whatever_eos_is_called(chatml: Any, with_template: Any) -> None:
    base = with_template(chatml, chatml.chat_template)
    base.eos_token = "<|bos|>"  # like a Qwen base model: EOS is another token than the end of a turn
    try:
        assert template_of(base).eos == "<|im_end|>"
        endless = with_template(base, chatml.chat_template.replace("<|im_end|>", ""))
        template = template_of(endless)
        assert trained(template, talk(("user", "q"), ("assistant", "a")), "keep") == ["a<|bos|>"]
        base.eos_token = None
        endless = with_template(base, chatml.chat_template.replace("<|im_end|>", ""))
        with pytest.raises(ModelError, match="never stop"):
            template_of(endless)
    finally:
        chatml.eos_token = "<|im_end|>"


def test_without_a_chat_template_there_is_a_plain_one(chatml: Any, distill: Any, with_template: Any) -> None:
    messages = talk(("system", "s"), ("user", "q"), ("assistant", "a"))
    expected = "System:\ns\n\nUser:\nq\n\nAssistant:\na"
    plain = with_template(chatml, None)
    assert joined(template_of(plain), messages, "keep") == expected + "<|im_end|>\n\n"
    assert trained(template_of(plain), messages, "keep") == ["a<|im_end|>"]
    assert joined(template_of(with_template(distill, None)), messages, "keep") == BOS + expected + EOS + "\n\n"


def test_a_bos_that_the_tokenizer_only_names_is_not_written(chatml: Any, with_template: Any) -> None:
    named = with_template(chatml, None)
    named.bos_token = "<|bos|>"
    try:
        assert template_of(named).prompt(talk(("user", "q"))) == "User:\nq\n\nAssistant:\n"
    finally:
        named.bos_token = None


def test_hostile_and_broken_templates_are_model_errors(chatml: Any, with_template: Any) -> None:
    escape = "{{ ''.__class__.__mro__[1].__subclasses__() }}" + chatml.chat_template
    for source in (escape, "{% for %}", "constant", "{{ raise_exception('no') }}"):
        with pytest.raises(ModelError):
            template_of(with_template(chatml, source))
    with pytest.raises(ModelError, match="too long"):
        template_of(with_template(chatml, chatml.chat_template + "{#" + "x" * 300_000 + "#}"))


def test_markers_alone_do_not_make_it_r1(deepseek: Any, with_template: Any) -> None:
    source = deepseek.chat_template.replace(
        "'<｜User｜>' + message['content']", "'<｜User｜>' + message['content'] + ' '"
    )
    assert source != deepseek.chat_template
    other = with_template(deepseek, source)
    template = template_of(other)
    messages = talk(("user", "q"), ("assistant", WITH))
    assert template.kind == "own"
    assert joined(template, messages, "keep") == BOS + "<｜User｜>q <｜Assistant｜>" + WITH + EOS


def test_a_conversation_that_the_template_refuses_is_a_data_error(chatml: Any, with_template: Any) -> None:
    strict = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        + chatml.chat_template
    )
    template = template_of(with_template(chatml, strict))
    with pytest.raises(DataError, match="no system role"):
        template.prompt(talk(("system", "s"), ("user", "q")))
