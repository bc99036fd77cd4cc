"""Rows, and a teacher on the loopback address: what the tests of augmentation are made of."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tuneloop.records import Message, Row, content_id
from tuneloop.sections import Teacher

Reply = tuple[int, Any, dict[str, str]]
"""(status, JSON body or raw text, headers)."""


def labelled(text: str, label: str = "greeting") -> Row:
    """A classification row with its own id."""
    row = Row(id="", source="f.jsonl:1", text=text, label=label)
    return replace(row, id=content_id(row))


def talk(*turns: tuple[str, str]) -> Row:
    """A generation row of (role, content) turns."""
    row = Row(id="", source="f.jsonl:1", messages=tuple(Message(role, content) for role, content in turns))
    return replace(row, id=content_id(row))


def said(text: str, finish: str = "stop") -> Reply:
    """A good reply that says `text`, of 10 tokens asked and 5 answered."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return 200, {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}, {}


@dataclass
class Fake:
    """A teacher of the test's own.

    Attributes:
        url: Its base_url.
        answer: (what was asked, number of the request) -> reply.
        asked: Every request's body, with its headers under "headers".
    """

    url: str = ""
    answer: Callable[[dict[str, Any], int], Reply] = lambda body, number: said("an answer")
    asked: list[dict[str, Any]] = field(default_factory=list)

    def settings(self, **changes: Any) -> Teacher:
        """How to reach it."""
        return Teacher(**({"base_url": self.url, "model": "m", "timeout": 5.0, "retries": 2, "workers": 2} | changes))

    @property
    def texts(self) -> list[str]:
        """The user's part of every request."""
        return [body["messages"][1]["content"] for body in self.asked]


@contextlib.contextmanager
def listening() -> Iterator[Fake]:
    """A server on the loopback address that answers as the test says."""
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.asked.append(body | {"headers": dict(self.headers), "path": self.path})
            status, reply, headers = fake.answer(fake.asked[-1], len(fake.asked))
            data = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):  # the one that asked may be gone
                self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            """Silence."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()


def make_masked(folder: Path, sentences: Sequence[str], kinds: Sequence[Sequence[str]]) -> Path:
    """A tiny masked BERT in `folder`, trained here to name words of a sentence's kind at its masks.

    Args:
        folder: Made when missing.
        sentences: Lower-case texts; a word of a kind stands in each.
        kinds: Words that stand for each other; Chinese ones are hidden character by character.
    """
    import torch
    from transformers import BertConfig, BertForMaskedLM

    words = _word_pieces(sentences, kinds)
    known = words.convert_tokens_to_ids([piece for kind in kinds for word in kind for piece in _pieces(word)])
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=48, pad_token_id=0,
    )  # fmt: skip
    model = BertForMaskedLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    draw = torch.Generator().manual_seed(1)
    for _ in range(120):
        chosen = [sentences[place] for place in torch.randint(len(sentences), (16,), generator=draw)]
        batch = words(chosen, chosen, return_tensors="pt", padding=True, return_token_type_ids=True)
        ids, second = batch["input_ids"], batch["token_type_ids"] == 1
        of_a_kind = torch.isin(ids, torch.tensor(known))
        hide = second & of_a_kind & (torch.rand(ids.shape, generator=draw) < 0.7)
        # The unmasked half is shown with its kinds' words hidden too, so that the model learns kinds, not copying.
        shown = ids.masked_fill(hide | (~second & of_a_kind), words.mask_token_id)
        if not hide.any():
            continue
        loss = model(**(batch | {"input_ids": shown}), labels=ids.masked_fill(~hide, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def _pieces(word: str) -> list[str]:
    return [word] if word.isascii() else list(word)


def _word_pieces(sentences: Sequence[str], kinds: Sequence[Sequence[str]]) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    found = [piece for text in [*sentences, *(word for kind in kinds for word in kind)] for word in text.split()
             for piece in _pieces(word)]  # fmt: skip
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(found)]
    made = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=48,
    )  # fmt: skip
