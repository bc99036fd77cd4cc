"""Tokens and masks: the prompt of training is the prompt of inference, and only answers are trained."""

from __future__ import annotations

from typing import Any

import pytest

from tuneloop.errors import DataError
from tuneloop.examples.encode import (
    IGNORED,
    Example,
    check_trained,
    cut_warning,
    encode_classification,
    encode_generation,
    encode_prompt,
)
from tuneloop.examples.template import template_of
from tuneloop.records import Message, Row

EOS = "<｜end▁of▁sentence｜>"
THINKS = ("keep", "strip", "empty")
WITH = "<think>\nwhy\n</think>\n\nyes"
ANSWERS = ["yes", "\nyes", "\n\nyes ", " 答案", WITH, "<think>\n\n</think>\n\nyes", "why</think>yes"]


def row(*turns: tuple[str, str], **columns: Any) -> Row:
    messages = tuple(Message(role, content) for role, content in turns)  # type: ignore[arg-type]
    return Row(**({"id": "r", "source": "f.jsonl:7", "messages": messages} | columns))


def encode(item: Row, tokenizer: Any, think: str = "keep", max_length: int = 512) -> Example:
    return encode_generation([item], tokenizer, template_of(tokenizer), max_length=max_length, think=think)[0]


def trained_text(example: Example, tokenizer: Any) -> str:
    return str(tokenizer.decode([token for token in example.labels if token != IGNORED]))


@pytest.mark.parametrize("think", THINKS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_the_prompt_of_training_is_the_prompt_of_inference_token_for_token(r1: Any, answer: str, think: str) -> None:
    template = template_of(r1)
    turns = row(("system", "s"), ("user", "q\n"), ("assistant", "a"), ("user", "q2"), ("assistant", answer))
    example = encode(turns, r1, think)
    reasons = "why" in answer
    prompt = encode_prompt(
        turns.messages[:-1], r1, template, think="keep" if reasons and think == "empty" else think, max_length=512
    )
    assert example.input_ids[: len(prompt)] == prompt
    assert all(label != IGNORED for label in example.labels[len(prompt) :]), "the whole answer is trained"
    assert example.labels[len(prompt) - 1] == IGNORED
    assert example.labels[-1] == r1.eos_token_id and not example.truncated
    assert r1.decode(prompt) == template.prompt(turns.messages, "keep" if reasons and think == "empty" else think)
    assert example.input_ids.count(r1.bos_token_id) == 1 and example.input_ids[0] == r1.bos_token_id


def test_chatml_prompts_hold_earlier_answers_as_they_were_generated(chatml: Any) -> None:
    template = template_of(chatml)
    # "\n" before "\n": one token when the text is tokenised whole, two when prompt and answer are apart.
    item = row(("user", "q"), ("assistant", "\na"), ("user", "r"), ("assistant", "\nb"))
    example = encode(item, chatml)
    prompt = encode_prompt(item.messages, chatml, template, think="keep", max_length=512)
    assert example.input_ids[: len(prompt)] == prompt
    first = encode_prompt(item.messages[:1], chatml, template, think="keep", max_length=512)
    assert prompt[: len(first)] == first
    assert trained_text(example, chatml) == "\na<|im_end|>\nb<|im_end|>"
    assert chatml(template.prompt(item.messages), add_special_tokens=False)["input_ids"] != prompt, "the trap itself"


def test_masks_follow_spans_though_pad_is_eos_and_eos_stands_in_the_prompt(chatml: Any) -> None:
    assert chatml.pad_token_id == chatml.eos_token_id
    example = encode(row(("user", "q"), ("assistant", "a")), chatml)
    places = [place for place, token in enumerate(example.input_ids) if token == chatml.eos_token_id]
    assert [example.labels[place] != IGNORED for place in places] == [False, True]
    assert places[-1] == len(example.labels) - 1, "nothing stands behind the last trained token"


def test_reasoning_is_trained_though_the_official_template_drops_it(r1: Any) -> None:
    example = encode(row(("user", "q"), ("assistant", WITH)), r1)
    assert "why\n</think>\n\nyes" + EOS in trained_text(example, r1)
    assert "why" not in trained_text(encode(row(("user", "q"), ("assistant", WITH)), r1, "strip"), r1)


def test_a_long_answer_loses_its_end_and_its_eos(chatml: Any) -> None:
    item = row(("user", "q"), ("assistant", "a" * 50))
    whole = encode(item, chatml)
    cut = encode(item, chatml, max_length=len(whole.input_ids) - 1)
    assert (whole.truncated, cut.truncated) == (False, True)
    assert cut.input_ids == whole.input_ids[:-1] and cut.length == len(whole.input_ids) == whole.length
    assert chatml.eos_token_id not in [label for label in cut.labels if label != IGNORED]


def test_rows_whose_prompt_fills_max_length_are_counted(chatml: Any) -> None:
    template = template_of(chatml)
    rows = [row(("user", "q" * 100), ("assistant", "a"), id="long"), row(("user", "q"), ("assistant", "a"), id="short")]
    examples = encode_generation(rows, chatml, template, max_length=64, think="keep")
    report = check_trained(examples, "generation")
    assert report["untrained"] == ["long"] and report["truncated"] == 1 and report["unclosed"] == 0
    assert report["trained_tokens"] == 2 and report["tokens"] == sum(len(e.input_ids) for e in examples)
    assert report["trained_share"] == pytest.approx(2 / report["tokens"])
    assert report["length"]["max"] == examples[0].length > 64
    with pytest.raises(DataError, match=rf"max_length = 64 .*{examples[0].length} tokens \(p50\).*\(p95\)"):
        check_trained(examples[:1], "generation")


def test_an_answer_counts_as_whole_when_its_end_is_left(chatml: Any) -> None:
    turns = row(("user", "q"), ("assistant", "a" * 9), ("user", "r"), ("assistant", "b" * 9))
    whole = encode(turns, chatml)
    ends = [place + 1 for place, label in enumerate(whole.labels) if label == chatml.eos_token_id]
    assert (whole.answers, whole.whole, len(ends)) == (2, 2, 2)
    found = [encode(turns, chatml, max_length=n).whole for n in (ends[0] - 1, ends[0], ends[1] - 1, ends[1])]
    assert found == [0, 1, 1, 2]
    unclosed, text = encode(row(("user", "q"), ("assistant", "<think>why")), chatml), encode(row(text="abc"), chatml)
    assert (unclosed.answers, text.answers) == (0, 0)


def test_a_cut_that_leaves_no_answer_its_end_is_refused(chatml: Any) -> None:
    items = [row(("user", "q"), ("assistant", "a" * 50)), row(("user", "q"), ("assistant", "b" * 30))]
    longest, limit = encode(items[0], chatml).length, encode(items[1], chatml).length - 1
    cut = [encode(item, chatml, max_length=limit) for item in items]
    assert all(any(label != IGNORED for label in example.labels) for example in cut), "there is text to train on"
    says = rf"max_length = {limit} cuts the end off every answer \(2 of 2 rows\).*{longest} keeps them all"
    with pytest.raises(DataError, match=says):
        check_trained(cut, "generation")
    one = [encode(item, chatml, max_length=limit + 1) for item in items]
    report = check_trained(one, "generation")
    assert report["answers"] == {"rows": 2, "cut": 1, "kept_by": longest}


def test_a_cut_of_text_is_no_lost_answer(chatml: Any) -> None:
    text = encode(row(text="abc" * 30), chatml, max_length=20)
    unclosed = encode(row(("user", "q"), ("assistant", "<think>" + "why" * 30)), chatml, max_length=40)
    report = check_trained([text, unclosed], "generation")
    assert report["truncated"] == 2 and report["answers"] == {"rows": 0, "cut": 0, "kept_by": 0}
    assert cut_warning(report, 40) == "2 rows are cut at data.max_length"


def test_the_warning_grows_with_the_share_that_is_cut(chatml: Any) -> None:
    items = [row(("user", "q"), ("assistant", "a" * n)) for n in (10, 20, 30, 40)]
    lengths = [encode(item, chatml).length for item in items]
    reports = [check_trained([encode(i, chatml, max_length=n) for i in items], "generation") for n in lengths]
    assert [report["answers"]["cut"] for report in reports] == [3, 2, 1, 0]
    loud = cut_warning(reports[0], lengths[0])
    assert loud.startswith(f"3 of 4 rows (75%) lose the end of an answer to data.max_length = {lengths[0]},")
    assert loud.endswith(f"data.max_length = {lengths[3]} keeps them all")
    assert [cut_warning(r, n) for r, n in zip(reports[1:], lengths[1:], strict=True)] == [
        "2 rows are cut at data.max_length", "1 rows are cut at data.max_length", "",
    ]  # fmt: skip


def test_nothing_to_train_is_refused(chatml: Any, bert: Any) -> None:
    with pytest.raises(DataError, match="no rows"):
        check_trained([], "generation")
    lost = encode(row(("user", "q"), ("assistant", "<think>why")), chatml, "strip")
    assert set(lost.labels) == {IGNORED} and lost.truncated
    with pytest.raises(DataError, match="strip"):
        check_trained([lost], "generation")
    unknown = encode_classification([row(text="a", label="z")], bert, ["x"], max_length=8)
    with pytest.raises(DataError, match="label"):
        check_trained(unknown, "classification")


def test_unclosed_reasoning_is_trained_without_eos_and_counted(chatml: Any) -> None:
    example = encode(row(("user", "q"), ("assistant", "<think>why")), chatml)
    assert trained_text(example, chatml) == "<think>why" and example.truncated
    assert check_trained([example], "generation")["unclosed"] == 1


def test_plain_text_is_trained_whole_behind_bos(distill: Any, chatml: Any, with_template: Any) -> None:
    example = encode(row(text="abc"), distill)
    assert example.input_ids[0] == distill.bos_token_id and example.labels[0] == IGNORED
    assert trained_text(example, distill) == "abc" + EOS
    assert trained_text(encode(row(text="abc"), chatml), chatml) == "abc<|im_end|>"
    bare = with_template(distill, None)
    assert encode(row(("user", "q"), ("assistant", "a")), bare).input_ids.count(distill.bos_token_id) == 1


def test_errors_name_the_row(chatml: Any) -> None:
    for item in (row(("user", "q")), row()):
        with pytest.raises(DataError, match=r"f\.jsonl:7: .*answer"):
            encode(item, chatml)


def test_half_an_emoji_does_not_stop_the_run(chatml: Any) -> None:
    example = encode(row(("user", "q\ud83d"), ("assistant", "a\ude00b")), chatml)
    assert trained_text(example, chatml) == "a\ufffdb<|im_end|>"


def test_a_long_prompt_loses_its_start(chatml: Any) -> None:
    template = template_of(chatml)
    messages = [Message("user", "q" * 100)]
    whole = encode_prompt(messages, chatml, template, think="keep", max_length=512)
    assert encode_prompt(messages, chatml, template, think="keep", max_length=20) == whole[-20:]


def test_classification_reads_raw_text_with_the_tokenizers_own_specials(bert: Any, distill: Any) -> None:
    rows = [
        row(text="a b", label="y", weight=2.0),
        row(text="a b c d e f g h", label=("x",)),
        row(text="a", label="new"),
    ]
    short, long, new = encode_classification(rows, bert, ["x", "y"], max_length=6)
    assert short.input_ids == [2, 4, 5, 3] and (short.target, short.weight, short.truncated) == (1, 2.0, False)
    assert long.input_ids == [2, 4, 5, 6, 7, 3], "cut at the end of the text, [SEP] kept"
    assert (long.target, long.truncated, long.length) == (0, True, 10)
    assert new.target == -1 and set(new.labels) == {IGNORED}
    report = check_trained([short, long, new], "classification")
    assert report["truncated"] == 1 and len(report["untrained"]) == 1 and "trained_tokens" not in report

    asked = encode_classification([row(("user", "hi"), ("assistant", "no"))], distill, ["x"], max_length=8)[0]
    assert asked.input_ids == [distill.bos_token_id, *distill("hi", add_special_tokens=False)["input_ids"]]
    assert asked.target == -1


def test_many_texts_go_by_blocks_and_a_token_of_many_rows_is_one_int(
    distill: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(text=f"{'é ' * number}word {number} 语言") for number in range(7)]
    whole = encode_classification(rows, distill, ["x"], max_length=64)
    monkeypatch.setattr("tuneloop.examples.encode.BLOCK", 3)
    blocks = encode_classification(rows, distill, ["x"], max_length=64)
    assert blocks == whole and len({tuple(one.input_ids) for one in blocks}) == 7
    for found in (whole, blocks):
        ids = [token for one in found for token in one.input_ids]
        assert len({id(token) for token in ids}) == len(set(ids)) and max(ids) > 256  # smaller ints are one anyway


def test_classification_of_an_empty_text_and_of_several_labels(chatml: Any) -> None:
    empty = encode_classification([row(text="", label="x")], chatml, ["x"], max_length=8)[0]
    assert empty.input_ids == [chatml.eos_token_id]
    with pytest.raises(DataError, match=r"f\.jsonl:7"):
        encode_classification([row(text="a", label=("x", "y"))], chatml, ["x", "y"], max_length=8)
    assert encode_classification([], chatml, ["x"], max_length=8) == []
