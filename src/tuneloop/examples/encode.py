"""Rows -> token ids with labels. No padding here, no tensors.

    Row --Template.segments--> [text, trained?] --tokenizer, a segment at a time--> Example (T ids, T labels)

Segments are tokenised apart, so that the prompt's tokens in training are those of inference
whatever the answer starts with, and the mask follows the segments: it never looks at token
values (pad may be the same token as EOS).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuneloop.errors import DataError
from tuneloop.examples.template import Segment, Template, plain_text
from tuneloop.records import Message, Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of a token that is not trained (torch's cross-entropy ignores it)
BLOCK = 1024  # texts that the tokenizer gets at once: enough to keep all cores busy


@dataclass(frozen=True, slots=True)
class Example:
    """One row as tokens.

    Attributes:
        row_id: The row's id.
        input_ids: (T,) token ids.
        labels: (T,) `input_ids` where trained, else -100; not shifted. All -100 for classification.
        target: Index of the class; -1: unknown or none.
        weight: How much the row counts in the loss.
        truncated: The answer is not whole: cut at max_length, or its reasoning was never closed.
        length: Tokens before the cut at max_length.
        answers: Trained answers that end in the row; 0 for plain text, for classification, and where reasoning
            never closes.
        whole: Those of them whose end the cut at max_length left.
    """

    row_id: str
    input_ids: list[int]
    labels: list[int]
    target: int = -1
    weight: float = 1.0
    truncated: bool = False
    length: int = 0
    answers: int = 0
    whole: int = 0


def encode_classification(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, labels: list[str], *, max_length: int
) -> list[Example]:
    """Raw texts with the tokenizer's own special tokens ([CLS] and [SEP], or BOS, if it adds them).

    Longer texts lose their end; special tokens behind it ([SEP]) stay. A text without a single
    token becomes one EOS, so that there is a state to pool.

    Args:
        rows: Rows with a text; a row with messages gives its last question.
        tokenizer: The model's.
        labels: The class names; the position is the class index. A label that is not among them gives -1.
        max_length: Tokens a row, special ones counted.

    Raises:
        DataError: if a row has several labels.
    """
    index = {label: place for place, label in enumerate(labels)}
    several = next((row for row in rows if isinstance(row.label, tuple) and len(row.label) != 1), None)
    if several is not None:
        raise DataError(
            f"{several.source}: the row has several labels", got=repr(several.label), allowed="one label a row",
            fix="Keep one label a row",
        )  # fmt: skip
    tokenized = _tokens([row.question for row in rows], tokenizer, special=True)
    behind = _tokens_behind(tokenizer)
    examples: list[Example] = []
    for row, whole in zip(rows, tokenized, strict=True):
        ids = whole or [_filler(tokenizer)]
        length = len(ids)
        if length > max_length:
            ids = ids[: max_length - behind] + ids[length - behind :]
        label = row.label[0] if isinstance(row.label, tuple) else row.label
        target = -1 if label is None else index.get(label, -1)
        none = [IGNORED] * len(ids)
        examples.append(Example(row.id, ids, none, target, row.weight, truncated=length > max_length, length=length))
    return examples


def encode_generation(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, template: Template, *, max_length: int, think: str
) -> list[Example]:
    """Conversations as prompt and trained answer, by `Template.segments`; a row of plain text is trained whole.

    The end of a row is cut at max_length: the answer then has no EOS to learn and the example is
    `truncated`. A prompt that fills max_length leaves no trained token; `check_trained` counts such rows.

    Args:
        rows: Rows whose messages end with the assistant's answer, or with only a text.
        tokenizer: The model's.
        template: What `template_of(tokenizer)` gave.
        max_length: Tokens a row.
        think: One of keep, strip, empty.

    Raises:
        DataError: naming the row, if its conversation cannot be written.
    """
    written = [_written(row, tokenizer, template, think) for row in rows]
    texts = list(dict.fromkeys(part.text for parts in written for part in parts))
    ids_of = dict(zip(texts, _tokens(texts, tokenizer, special=False), strict=True))
    examples: list[Example] = []
    for row, parts in zip(rows, written, strict=True):
        ids: list[int] = []
        labels: list[int] = []
        ends: list[int] = []
        for part in parts:
            tokens = ids_of[part.text]
            ids += tokens
            labels += tokens if part.trained else [IGNORED] * len(tokens)
            if row.messages and part.trained and part.text.endswith(template.eos):
                ends.append(len(ids))
        whole = parts[-1].trained and parts[-1].text.endswith(template.eos) and len(ids) <= max_length
        examples.append(
            Example(
                row.id, ids[:max_length], labels[:max_length], -1, row.weight, truncated=not whole, length=len(ids),
                answers=len(ends), whole=sum(end <= max_length for end in ends),
            )
        )  # fmt: skip
    return examples


def encode_prompt(
    messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, template: Template, *, think: str, max_length: int
) -> list[int]:
    """The tokens that the model continues: those of the untrained part of the training example.

    With `think="empty"` they are those of rows whose answer has no reasoning; rows with reasoning
    are trained behind the prompt of `keep`.

    Args:
        messages: The conversation; a last assistant message is the answer to be generated and left out.
        tokenizer: The model's.
        template: What `template_of(tokenizer)` gave.
        think: One of keep, strip, empty.
        max_length: Tokens at most; a longer prompt loses its start.

    Raises:
        DataError: if the template refuses the conversation.
    """
    texts = [part.text for part in template.prompt_segments(messages, think)]
    ids = [token for tokens in _tokens(texts, tokenizer, special=False) for token in tokens]
    return ids[max(0, len(ids) - max_length) :]


def check_trained(examples: Sequence[Example], task: str) -> dict[str, Any]:
    """Count what the examples teach, and refuse if it is nothing.

    Args:
        examples: The training examples.
        task: "classification" or "generation".

    Returns:
        rows, tokens, `length` (p50, p95, max in tokens, before the cut), `truncated` (rows cut at
        max_length), `untrained` (ids of rows that teach nothing: no known label, or no trained
        token; leave them out). For generation also trained_tokens, trained_share (of all tokens),
        `unclosed` (rows whose reasoning never closes, trained without an end of turn) and `answers`: the
        rows with an end of turn to learn, those that lose one to the cut, and the length that keeps all.

    Raises:
        DataError: if no row teaches anything, or the cut at max_length leaves no answer its end (plain text has
            none to lose); it names max_length and the lengths where the cut is the cause.
    """
    if not examples:
        raise DataError("There are no rows to train on", fix="Check data.train and data.where")
    lengths = sorted(example.length for example in examples)
    cut = [example for example in examples if example.length > len(example.input_ids)]
    tokens = sum(len(example.input_ids) for example in examples)
    # The first token of a row has nothing before it to be predicted from.
    trained = [sum(label != IGNORED for label in example.labels[1:]) for example in examples]
    if task == "classification":
        teaches = [example.target >= 0 for example in examples]
    else:
        teaches = [count > 0 for count in trained]
    report: dict[str, Any] = {
        "rows": len(examples),
        "tokens": tokens,
        "length": {"p50": _rank(lengths, 0.5), "p95": _rank(lengths, 0.95), "max": lengths[-1]},
        "truncated": len(cut),
        "untrained": [e.row_id for e, does in zip(examples, teaches, strict=True) if not does],
    }
    if task != "classification":
        unclosed = sum(e.truncated and e.length <= len(e.input_ids) for e in examples)
        report |= {"trained_tokens": sum(trained), "trained_share": sum(trained) / max(tokens, 1), "unclosed": unclosed}
        report["answers"] = _answers(examples)
    if not any(teaches):
        raise _nothing(report, cut, task)
    if any(e.answers for e in examples) and not any(e.whole for e in examples):
        raise _no_end(report, len(cut[0].input_ids))
    return report


def cut_warning(report: dict[str, Any], max_length: int) -> str:
    """What the cut at max_length does to the rows that `check_trained` reported on, in words; "" where it cuts none."""
    answers = report.get("answers", {"rows": 0, "cut": 0})
    if answers["cut"] * 2 > answers["rows"]:
        return (
            f"{answers['cut']} of {answers['rows']} rows ({answers['cut'] / answers['rows']:.0%}) lose the end of an "
            f"answer to data.max_length = {max_length}, so the model will seldom learn to stop: "
            f"data.max_length = {answers['kept_by']} keeps them all"
        )
    return f"{report['truncated']} rows are cut at data.max_length" if report["truncated"] else ""


def _answers(examples: Sequence[Example]) -> dict[str, int]:
    """Rows with an answer to end, rows that lose one, and the max_length that keeps all."""
    ending = [example for example in examples if example.answers]
    lost = sum(example.whole < example.answers for example in ending)
    return {"rows": len(ending), "cut": lost, "kept_by": max((e.length for e in ending), default=0)}


def _no_end(report: dict[str, Any], limit: int) -> DataError:
    """Why no row teaches how an answer ends."""
    length, answers = report["length"], report["answers"]
    return DataError(
        f"data.max_length = {limit} cuts the end off every answer ({answers['cut']} of {answers['rows']} rows): "
        "the model would never learn to stop",
        got=f"rows of {length['p50']} tokens (p50) and {length['p95']} tokens (p95), prompt and answer together",
        fix=f"Raise data.max_length ({answers['kept_by']} keeps them all), or shorten the prompts",
    )


def _nothing(report: dict[str, Any], cut: list[Example], task: str) -> DataError:
    """Why no row teaches anything."""
    if task == "classification":
        return DataError(
            "No training row has a known label", got=f"{report['rows']} rows without one",
            fix="Check data.columns.label",
        )  # fmt: skip
    if cut:
        length, limit = report["length"], len(cut[0].input_ids)
        return DataError(
            f"data.max_length = {limit} cuts away every answer: no token is left to train on",
            got=f"rows of {length['p50']} tokens (p50) and {length['p95']} tokens (p95), prompt and answer together",
            fix="Raise data.max_length, or shorten the prompts",
        )
    return DataError(
        "No row has a token to train on", got=f"{report['rows']} rows whose answers are empty",
        fix="Check data.columns; with data.think: strip, reasoning that never closes leaves no answer",
    )  # fmt: skip


def _written(row: Row, tokenizer: PreTrainedTokenizerBase, template: Template, think: str) -> list[Segment]:
    """A row's segments, without what stands behind the last trained one: nothing is learnt from it."""
    try:
        if row.text and not row.messages:
            parts = plain_text(row.text, template, tokenizer)
        else:
            parts = template.segments(row.messages, think)
    except DataError as error:
        raise DataError(f"{row.source}: {error.what}", got=error.got, allowed=error.allowed, fix=error.fix) from None
    last = max((place for place, part in enumerate(parts) if part.trained), default=len(parts) - 1)
    return parts[: last + 1]


def _tokens(texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, *, special: bool) -> list[list[int]]:
    """Token ids of each text; rendered text carries its own special tokens, so none are added to it.

    A block of texts at a time: a tokenizer keeps offsets and words beside the ids of a call, ten times their room.
    A token of many texts is one int: CPython makes a new one of 28 bytes for each, which is more than its place.
    """
    ids: list[list[int]] = []
    same: dict[int, int] = {}
    every = list(texts)
    for start in range(0, len(every), BLOCK):
        whole = [_encodable(text) for text in every[start : start + BLOCK]]
        found = tokenizer(
            whole, add_special_tokens=special, truncation=False, return_attention_mask=False, verbose=False
        )  # fmt: skip
        ids += [[same.setdefault(token, token) for token in text] for text in found["input_ids"]]
    return ids


def _encodable(text: str) -> str:
    """Half a surrogate pair (a broken emoji escape in JSON) becomes U+FFFD; tokenizers refuse it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _tokens_behind(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many special tokens the tokenizer puts behind a text (1 for BERT's [SEP])."""
    mask: list[int] = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    return next((place for place, special in enumerate(reversed(mask)) if not special), 0)


def _filler(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token of an empty text."""
    token = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.pad_token_id
    return int(token or 0)


def _rank(ordered: list[int], share: float) -> int:
    """The nearest-rank percentile of sorted numbers."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
