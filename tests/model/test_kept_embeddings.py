"""Embeddings are kept: what was read once is not read again, whatever stopped it, and the file does not grow."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuneloop.errors import RunError
from tuneloop.model import kept_embeddings
from tuneloop.model.encoder import Encoder, load_encoder
from tuneloop.model.kept_embeddings import KeptEmbeddings, encoder_sha256

TEXTS = ["the card was declined", "pay", "how do I reset my PIN?", "", "the card was declined", "lone \ud800 surrogate"]


class Counting:
    """An encoder that writes down what it reads, and may be broken off after some batches."""

    def __init__(self, encoder: Encoder, stop_after: int | None = None) -> None:
        self.inner, self.stop_after = encoder, stop_after
        self.width, self.source = encoder.width, encoder.source
        self.read: list[str] = []

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], np.ndarray]]:
        for number, (places, vectors) in enumerate(self.inner.batches(texts, batch_tokens=12)):
            if number == self.stop_after:
                raise KeyboardInterrupt
            self.read += [texts[place] for place in places]
            yield places, vectors


@pytest.fixture
def encoder(tiny: Any) -> Encoder:
    return load_encoder(str(tiny("bert")))


def kept(encoder: Encoder, file: Path, *, writes: bool = True, **options: Any) -> tuple[KeptEmbeddings, Counting]:
    counting = Counting(encoder, **options)
    return KeptEmbeddings(counting, file, writes=writes), counting  # type: ignore[arg-type]


def held(file: Path) -> int:
    connection = sqlite3.connect(file)
    found = connection.execute("SELECT count(*) FROM vectors").fetchone()[0]
    connection.close()
    return int(found)


def test_the_vectors_are_the_encoders_and_each_text_is_read_once(encoder: Encoder, tmp_path: Path):
    texts = TEXTS[:5]
    keeper, counting = kept(encoder, tmp_path / "e.sqlite")
    found = keeper.embed(texts)
    assert found.dtype == np.float32 and np.allclose(found, encoder.embed(texts), atol=1e-6)
    assert sorted(counting.read) == sorted(set(texts))
    again, none = kept(encoder, tmp_path / "e.sqlite")
    assert np.array_equal(again.embed(list(reversed(texts))), found[::-1]) and none.read == []


def test_no_texts(encoder: Encoder, tmp_path: Path):
    assert kept(encoder, tmp_path / "e.sqlite")[0].embed([]).shape == (0, 32)


def test_half_a_surrogate_pair_is_a_text_like_others(encoder: Encoder, tmp_path: Path):
    keys = {kept(encoder, tmp_path / "e.sqlite")[0]._key(text) for text in TEXTS}
    assert len(keys) == len(set(TEXTS))


def test_what_was_broken_off_goes_on_where_it_was(encoder: Encoder, tmp_path: Path):
    texts = [f"the card {word} was declined" for word in "abcdefgh"]
    keeper, begun = kept(encoder, tmp_path / "e.sqlite", stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        keeper.embed(texts)
    assert 0 < len(begun.read) < len(texts) and held(tmp_path / "e.sqlite") == len(begun.read)
    keeper, rest = kept(encoder, tmp_path / "e.sqlite")
    assert np.allclose(keeper.embed(texts), encoder.embed(texts), atol=1e-6)
    assert sorted(begun.read + rest.read) == texts


def test_only_the_newest_cleaning_is_kept(encoder: Encoder, tmp_path: Path):
    file = tmp_path / "e.sqlite"
    keeper, _ = kept(encoder, file)
    keeper.embed([f"the card {number}" for number in range(40)])
    keeper.forget_others()
    assert held(file) == 40
    size = file.stat().st_size
    keeper, counting = kept(encoder, file)
    keeper.embed(["the card 3"])
    keeper.embed(["pay"])
    keeper.forget_others()
    assert held(file) == 2 and counting.read == ["pay"] and file.stat().st_size < size


def test_another_encoder_finds_nothing_of_this_one(encoder: Encoder, tiny: Any, tmp_path: Path):
    folder = Path(shutil.copytree(tiny("bert"), tmp_path / "bert"))
    other = load_encoder(str(folder))
    assert encoder_sha256(other.source) == encoder_sha256(encoder.source)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    keys = {encoder_sha256(other.source), encoder_sha256(encoder.source)}
    keys.add(encoder_sha256(replace(encoder.source, sha256="0")))
    assert len(keys) == 3
    kept(encoder, tmp_path / "e.sqlite")[0].embed(TEXTS[:2])
    keeper, counting = kept(other, tmp_path / "e.sqlite")
    keeper.embed(TEXTS[:2])
    assert sorted(counting.read) == sorted(TEXTS[:2])


@pytest.mark.parametrize("fault", ["no database", "another schema", "half a vector"])
def test_a_file_that_cannot_be_used_is_made_anew(
    encoder: Encoder, tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "e.sqlite"
    kept(encoder, file)[0].embed(TEXTS[:2])
    if fault == "no database":
        file.write_bytes(b"this is no database, only some text" * 50)
    else:
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA user_version = 99" if "schema" in fault else "UPDATE vectors SET vector = x'00'")
        connection.commit()
        connection.close()
    keeper, counting = kept(encoder, file)
    assert np.allclose(keeper.embed(TEXTS[:2]), encoder.embed(TEXTS[:2]), atol=1e-6)
    assert len(counting.read) == 2 and held(file) == 2
    assert ("broken and made anew" in capsys.readouterr().err) is (fault == "no database")


def test_a_file_that_cannot_be_written_is_an_expected_error(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(RunError, match="cannot be kept"):
        kept(encoder, tmp_path / "none" / "e.sqlite")[0].embed(TEXTS[:1])

    def full(*_: Any) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    keeper, _ = kept(encoder, tmp_path / "e.sqlite")
    monkeypatch.setattr(keeper, "_keep", full)
    with pytest.raises(RunError, match=r"disk is full.*Free some space"):
        keeper.embed(TEXTS[:1])


def test_who_only_reads_takes_what_is_kept_and_changes_nothing(encoder: Encoder, tmp_path: Path):
    file = tmp_path / "e.sqlite"
    keeper, counting = kept(encoder, file, writes=False)
    keeper.embed(TEXTS[:3])
    keeper.forget_others()
    assert len(counting.read) == 3 and not file.exists()
    kept(encoder, file)[0].embed(TEXTS[:2])
    before = file.read_bytes()
    keeper, counting = kept(encoder, file, writes=False)
    assert np.allclose(keeper.embed(TEXTS[1:3]), encoder.embed(TEXTS[1:3]), atol=1e-6)
    keeper.forget_others()
    assert counting.read == [TEXTS[2]] and file.read_bytes() == before
    file.write_bytes(b"no database at all, but long enough to be looked at" * 40)
    assert kept(encoder, file, writes=False)[0].embed(TEXTS[:1]).shape == (1, 32)


def test_who_is_second_to_make_the_file_leaves_what_the_first_kept(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file, plain = tmp_path / "e.sqlite", kept_embeddings._transaction

    def late(connection: sqlite3.Connection) -> Any:
        monkeypatch.setattr(kept_embeddings, "_transaction", plain)
        kept(encoder, file)[0].embed(TEXTS[:2])  # between the look at the version and the lock
        return plain(connection)

    monkeypatch.setattr(kept_embeddings, "_transaction", late)
    kept(encoder, file)[0].embed(TEXTS[2:3])
    assert held(file) == 3


def test_another_way_of_pooling_is_another_vector(tiny: Any, tmp_path: Path):
    folder = shutil.copytree(tiny("bert"), tmp_path / "bert")
    keys = [encoder_sha256(load_encoder(str(folder)).source)]
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert encoder_sha256(load_encoder(str(folder)).source) not in keys


def test_the_bar_counts_what_is_read(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list[tuple[str, int | None]] = []
    real = kept_embeddings.progress

    def progress(title: str, total: int | None, **options: Any) -> Any:
        told.append((title, total))
        return real(title, total, **options)

    monkeypatch.setattr(kept_embeddings, "progress", progress)
    keeper, _ = kept(encoder, tmp_path / "e.sqlite")
    keeper.embed(TEXTS[:5])
    keeper.embed(TEXTS[:5])  # nothing is left to read, so no bar
    assert told == [("embedding rows", 4)]
