"""The models of the matrix, each answering the same test rows: floor, encoder, untuned, tuned.

training rows + test rows  ->  Contender (answers, confidences, latency, throughput, memory)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tuneloop.errors import TuneloopError
from tuneloop.examples.batch import collate
from tuneloop.examples.encode import Example, encode_classification, encode_generation, encode_prompt
from tuneloop.examples.template import template_of
from tuneloop.infer.choices import ChoiceScorer, choice_prompt, choose
from tuneloop.infer.classify import class_probabilities
from tuneloop.infer.engine import choose_engine
from tuneloop.infer.generate import Generated, generate
from tuneloop.loss.total import generation_loss
from tuneloop.memory import peak_memory_mb, reset_peak_memory
from tuneloop.model.encoder import MINILM, UNREAD_ABOVE, load_encoder
from tuneloop.model.heads import Classifier
from tuneloop.model.saved import Tuned, reader_of, wants_fast_path
from tuneloop.records import Row
from tuneloop.score.floor import (
    Answers,
    Rival,
    choose_regularisation,
    fit_encoder,
    fit_floor,
    fit_nearest_embedding,
    fit_nearest_text,
)
from tuneloop.score.speed import query_seconds, throughput
from tuneloop.terminal import progress, say

TIMED = {"rival": 100, "classifier": 100, "choices": 20, "generation": 20}
TIMED_SECONDS = 60  # of generation at most: a slow model then has a median and no p95


@dataclass
class Contender:
    """What one model said to the test rows.

    Attributes:
        name: floor, encoder, untuned or tuned.
        rows: Which test rows it answered, as positions; a prefix of the test rows in the order of their ids.
        predicted: A label, or an answer, for each of them.
        backend: What ran it.
        confidences: In [0, 1], where it has them.
        latency: Milliseconds of single queries, for the first of the rows.
        facts: throughput, peak_memory_mb and more for scores.json.
        losses: Generation: summed nats and weight of every test row.
        opened_by_prompt: Generation: whether the prompt ended with an open <think>.
    """

    name: str
    rows: list[int]
    predicted: list[str]
    backend: str
    confidences: list[float] | None = None
    latency: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    losses: tuple[list[float], list[float]] | None = None
    opened_by_prompt: bool = False


@dataclass(frozen=True)
class Absent:
    """A model that was not asked: floor, encoder or untuned, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Exam:
    """What every contender is asked.

    Attributes:
        task: "classification" or "generation".
        train: The training rows that the tuned model learnt from.
        validation: The rows that choose settings.
        test: The test rows, in the order of their ids.
        labels: Class names; [] for generation.
        max_rows: Rows to answer at most.
        max_new_tokens: Budget of an answer.
        latency: Whether to time single queries.
    """

    task: str
    train: Sequence[Row]
    validation: Sequence[Row]
    test: Sequence[Row]
    labels: Sequence[str]
    max_rows: int
    max_new_tokens: int
    latency: bool


def answers_of(rows: Sequence[Row], task: str) -> list[str]:
    """What is expected of each row: its label, or its answer."""
    return [label_of(row) if task == "classification" else row.answer for row in rows]


def label_of(row: Row) -> str:
    """A row's one label as text."""
    return row.label[0] if isinstance(row.label, tuple) else row.label or ""


def _taught(rows: Sequence[Row], task: str) -> list[Row]:
    """Rows that say what is expected of them; plain-text rows do not."""
    return [row for row, answer in zip(rows, answers_of(rows, task), strict=True) if answer]


def floor_contender(exam: Exam) -> Contender:
    """TF-IDF + LinearSVC, or the nearest training row's answer; it learns on the validation rows too, it needs none."""
    known = _taught([*exam.train, *exam.validation], exam.task)
    texts, answers = [row.question for row in known], answers_of(known, exam.task)
    rival = fit_floor(texts, answers) if exam.task == "classification" else fit_nearest_text(texts, answers)
    asked = [row.question for row in exam.test[: exam.max_rows]]
    return _ask("floor", rival, asked, "scikit-learn", exam.latency)


def encoder_contender(exam: Exam) -> Contender | Absent:
    """Frozen sentence embeddings + logistic regression, or the nearest row; absent if it does not read the language."""
    try:
        encoder = load_encoder(MINILM)
    except TuneloopError as error:
        return Absent("encoder", str(error))
    train, validation = _taught(exam.train, exam.task), _taught(exam.validation, exam.task)
    texts = [row.question for row in train]
    unread = encoder.unread_share(texts)
    if unread > UNREAD_ABOVE:
        return Absent("encoder", f"{unread:.0%} of the training rows' tokens are unknown to {MINILM}")
    say("encoder: embedding the rows")
    known, answers = encoder.embed(texts), answers_of(train, exam.task)
    held, held_answers = encoder.embed([row.question for row in validation]), answers_of(validation, exam.task)
    both, both_answers = np.concatenate([known, held]), [*answers, *held_answers]
    if exam.task == "classification":
        c = choose_regularisation(known, answers, held, held_answers) if held_answers else 10.0
        rival = fit_encoder(both, both_answers, c=c)  # chosen on the validation rows, then learnt on all
    else:
        rival = fit_nearest_embedding(both, both_answers)
    asked = [row.question for row in exam.test[: exam.max_rows]]

    def answer(some: Any) -> Answers:
        return rival(encoder.embed([some] if isinstance(some, str) else some))

    return _ask("encoder", answer, asked, f"transformers {MINILM} + scikit-learn", exam.latency)


def _ask(name: str, rival: Rival, asked: Sequence[str], backend: str, latency: bool) -> Contender:
    own = reset_peak_memory()
    began = time.monotonic()
    said = rival(list(asked))
    facts = {"throughput": throughput(len(asked), time.monotonic() - began)} | _memory("cpu", own=own)
    timed = query_seconds(lambda i: rival(asked[i]), min(TIMED["rival"], len(asked))) if latency else []
    return Contender(
        name, list(range(len(asked))), said.texts, backend, said.confidences, [1000 * s for s in timed], facts
    )


def _memory(device: str, *, own: bool) -> dict[str, Any]:
    """The peak, or nothing where it could not be reset: it would be that of whatever ran before."""
    return {"peak_memory_mb": peak_memory_mb(device)} if own else {}


def untuned_contender(
    exam: Exam, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: int, args: dict[str, Any]
) -> Contender:
    """The base model before tuning: label likelihoods, or greedy answers."""
    count = min(rows, exam.max_rows, len(exam.test))
    if exam.task == "generation":
        return _generation("untuned", exam, model, tokenizer, args, count)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    own = reset_peak_memory(device)
    scorer = ChoiceScorer(model, tokenizer, template_of(tokenizer), exam.labels, max_length=args["max_length"])
    texts = [row.question for row in exam.test[:count]]
    began = time.monotonic()
    predicted, shares = choose(scorer, texts)
    facts = {
        "throughput": throughput(count, time.monotonic() - began), **_memory(device, own=own),
        "prompt": choice_prompt(exam.labels, "..."),
    }  # fmt: skip
    timed = (
        query_seconds(lambda i: scorer.score(texts[i]), min(TIMED["choices"], count), warmup=1) if exam.latency else []
    )
    return Contender(
        "untuned",
        list(range(count)),
        predicted,
        f"transformers, {device}",
        shares.tolist(),
        [1000 * s for s in timed],
        facts,
    )


def tuned_contender(exam: Exam, tuned: Tuned) -> Contender:
    """The run's model."""
    count = min(exam.max_rows, len(exam.test))
    if not isinstance(tuned.model, Classifier):
        return _generation("tuned", exam, tuned.model, tuned.tokenizer, tuned.args, count)
    device = next(tuned.model.parameters()).device.type
    own = reset_peak_memory(device)
    pad, model = tuned.tokenizer.pad_token_id, tuned.model
    encode: Callable[[Sequence[Row]], list[Example]] = lambda rows: encode_classification(  # noqa: E731
        rows, tuned.tokenizer, tuned.labels, max_length=tuned.args["max_length"]
    )
    examples = encode(exam.test[:count])
    began = time.monotonic()
    shares = class_probabilities(model, examples, pad, title="tuned model", reader=tuned.reader)
    seconds = time.monotonic() - began
    facts = {
        "throughput": throughput(count, seconds, tokens=sum(len(e.input_ids) for e in examples)),
        **_memory(device, own=own),
    }

    def query(i: int) -> Any:
        batch = collate(encode([exam.test[i]]), pad).to(model.head.weight.device)
        with torch.inference_mode():
            return int(model(batch.input_ids, batch.attention_mask, tuned.reader.read).argmax())

    timed = query_seconds(query, min(TIMED["classifier"], count)) if exam.latency else []
    predicted = [tuned.labels[i] for i in shares.argmax(1)]
    return Contender(
        "tuned", list(range(count)), predicted, f"transformers, {device}",
        shares.max(1).astype(float).tolist(), [1000 * s for s in timed], facts,
    )  # fmt: skip


def _generation(
    name: str, exam: Exam, model: nn.Module, tokenizer: PreTrainedTokenizerBase, args: dict[str, Any], count: int
) -> Contender:
    if not isinstance(model, PreTrainedModel | PeftModel):
        raise TypeError(f"{type(model).__name__} cannot generate")
    device = next(model.parameters()).device.type
    own = reset_peak_memory(device)
    template = template_of(tokenizer)
    prompts = [
        encode_prompt(row.messages, tokenizer, template, think=args["think"], max_length=args["max_length"])
        for row in exam.test[:count]
    ]
    answers: list[Generated] = []
    began = time.monotonic()
    engine = None
    if count:
        engine = choose_engine(model, fast=wants_fast_path(args))  # its copy of the weights counts: it is the batch's
        answers = generate(
            model, tokenizer, prompts, max_new_tokens=exam.max_new_tokens, engine=engine, title=f"{name} answers"
        )
    seconds = max(time.monotonic() - began, 1e-9)
    facts = _memory(device, own=own)
    if count:
        facts |= {
            "throughput": throughput(count, seconds, tokens=sum(a.tokens for a in answers)),
            "stopped_share": sum(a.stopped for a in answers) / count,
            "new_tokens": {"mean": sum(a.tokens for a in answers) / count, "budget": exam.max_new_tokens},
        }
    few = min(TIMED["generation"], count)
    brief = min(64, exam.max_new_tokens)

    def query(i: int) -> Any:
        if engine is not None:
            engine.forget()  # or the prompt would be found read
        return generate(model, tokenizer, [prompts[i]], max_new_tokens=brief, engine=engine)

    timed = query_seconds(query, few, warmup=1, at_most=TIMED_SECONDS) if exam.latency and few else []
    if timed:
        facts["latency_budget_tokens"] = brief
    found = Contender(
        name,
        list(range(count)),
        [a.text for a in answers],
        f"transformers, {device}" if engine is None else f"tuneloop engine, {device}",
        None,
        [1000 * s for s in timed],
        facts,
    )
    found.losses = _row_losses(name, exam, model, tokenizer, args)
    found.opened_by_prompt = template.opened_by_prompt(args["think"])
    return found


def _row_losses(
    name: str, exam: Exam, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, args: dict[str, Any]
) -> tuple[list[float], list[float]]:
    """Summed nats and trained tokens of every test row, one row at a time."""
    examples = encode_generation(
        exam.test, tokenizer, template_of(tokenizer), max_length=args["max_length"], think=args["think"]
    )
    device, read = next(model.parameters()).device, reader_of(model, args).read
    sums, weights = [], []
    with torch.inference_mode(), progress(f"{name} loss", len(examples)) as bar:
        for example in examples:
            found = generation_loss(model, collate([example], tokenizer.pad_token_id).to(device), read)
            sums.append(float(found.loss))
            weights.append(float(found.weight))
            bar.advance()
    return sums, weights
