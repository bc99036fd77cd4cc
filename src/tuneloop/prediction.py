"""A run's model on new rows, and in conversation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from tuneloop.errors import DataError
from tuneloop.examples.encode import encode_classification, encode_prompt
from tuneloop.examples.template import template_of
from tuneloop.examples.think import split_think
from tuneloop.infer.classify import class_probabilities
from tuneloop.infer.engine import choose_engine
from tuneloop.infer.generate import generate
from tuneloop.model.heads import Classifier
from tuneloop.model.saved import Tuned, load_tuned, wants_fast_path
from tuneloop.records import Message, Row
from tuneloop.rows.read import read_questions
from tuneloop.runs import RunFolder


def load_run_model(folder: RunFolder) -> Tuned:
    """The run's tuned model.

    Raises:
        RunError: if it has none yet.
    """
    folder.require_model()
    return load_tuned(folder.model)


def predict_rows(folder: RunFolder, data: Path | str, *, limit: int | None = None) -> list[dict[str, Any]]:
    """Answer the rows of a file; labels and answers in it are not needed and not read.

    Args:
        folder: The run.
        data: File of rows with at least a text or messages; a .txt file is one text a line.
        limit: Only the first so many.

    Raises:
        DataError: if no row can be read.
    """
    recipe = folder.load_recipe()
    rows = read_questions(Path(data), columns=recipe.data.columns)[:limit]
    return answer_rows(load_run_model(folder), rows, max_new_tokens=recipe.evaluate.max_new_tokens)


def answer_rows(tuned: Tuned, rows: Sequence[Row], *, max_new_tokens: int) -> list[dict[str, Any]]:
    """One dict a row: id, source, text, predicted; and confidence, or thought and whether it stopped by itself."""
    heads: list[dict[str, Any]] = [{"id": row.id, "source": row.source, "text": row.question} for row in rows]
    if isinstance(tuned.model, Classifier):
        examples = encode_classification(rows, tuned.tokenizer, tuned.labels, max_length=tuned.args["max_length"])
        shares = class_probabilities(
            tuned.model, examples, tuned.tokenizer.pad_token_id, title="predicting", reader=tuned.reader
        )
        best = shares.argmax(1)
        return [
            head | {"predicted": tuned.labels[int(i)], "confidence": round(float(share[i]), 6)}
            for head, i, share in zip(heads, best, shares, strict=True)
        ]
    template = template_of(tuned.tokenizer)
    think = tuned.args["think"]
    prompts = [
        encode_prompt(
            row.messages or (Message("user", row.text),), tuned.tokenizer, template, think=think,
            max_length=tuned.args["max_length"],
        )
        for row in rows
    ]  # fmt: skip
    opened = template.opened_by_prompt(think)
    found = []
    network: Any = tuned.model
    engine = choose_engine(network, fast=wants_fast_path(tuned.args))
    answers = generate(
        network, tuned.tokenizer, prompts, max_new_tokens=max_new_tokens, engine=engine, title="answering"
    )
    for head, answer in zip(heads, answers, strict=True):
        thought = split_think(answer.text, opened_by_prompt=opened)
        found.append(head | {"predicted": thought.answer, "thought": thought.thought, "stopped": answer.stopped})
    return found


class Chat:
    """A conversation with a run's model; a generation model remembers the turns, without their reasoning."""

    def __init__(self, folder: RunFolder) -> None:
        self.recipe = folder.load_recipe()
        self.tuned = load_run_model(folder)
        if isinstance(self.tuned.model, Classifier):
            self.template = None
        else:
            self.template = template_of(self.tuned.tokenizer)
            network: Any = self.tuned.model
            self.engine = choose_engine(network, fast=wants_fast_path(self.tuned.args))
        self.turns: list[Message] = []
        self.worker: Thread | None = None

    def reset(self) -> None:
        """Forget the turns so far."""
        self.turns = []

    def say(self, text: str, *, max_new_tokens: int) -> Iterator[str]:
        """Answer one user message, piece by piece; a classifier answers with its label and confidence.

        Args:
            text: What the user says.
            max_new_tokens: Budget of the answer.
        """
        if not text.strip():
            raise DataError("There is nothing to answer", fix="Type a message")
        if self.template is None:
            row = Row(id="chat", source="chat:1", text=text)
            found = answer_rows(self.tuned, [row], max_new_tokens=max_new_tokens)[0]
            yield f"{found['predicted']}  ({found['confidence']:.1%})"
            return
        yield from self._stream(text, max_new_tokens)

    def _stream(self, text: str, max_new_tokens: int) -> Iterator[str]:
        from transformers import TextIteratorStreamer

        assert self.template is not None  # say() checked
        turns = [*self.turns, Message("user", text)]
        think = self.tuned.args["think"]
        prompt = encode_prompt(
            turns, self.tuned.tokenizer, self.template, think=think, max_length=self.tuned.args["max_length"]
        )
        streamer = TextIteratorStreamer(self.tuned.tokenizer, skip_prompt=True, skip_special_tokens=True)
        network: Any = self.tuned.model
        failed: list[Exception] = []

        def answer() -> None:
            try:
                generate(
                    network, self.tuned.tokenizer, [prompt], max_new_tokens=max_new_tokens, engine=self.engine,
                    streamer=streamer,
                )  # fmt: skip
            except Exception as error:
                failed.append(error)
                streamer.end()  # or the loop below would wait for ever

        if self.worker is not None:
            self.worker.join()  # an answer that nobody heard to its end: the engine is still at it
        self.worker = Thread(target=answer, daemon=True)
        self.worker.start()
        said = ""
        for piece in streamer:
            said += piece
            yield piece
        self.worker.join()
        if failed:
            raise failed[0]
        opened = self.template.opened_by_prompt(think)
        self.turns = [*turns, Message("assistant", split_think(said, opened_by_prompt=opened).answer)]
