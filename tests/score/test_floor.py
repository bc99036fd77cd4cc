"""The rivals: small sets with known answers, and the published floor where the real set lies."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from tuneloop.errors import DataError, ShapeError
from tuneloop.score.floor import (
    choose_regularisation,
    fit_encoder,
    fit_floor,
    fit_nearest_embedding,
    fit_nearest_text,
    is_chinese,
)

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "public"
BANKING77 = Path(os.environ.get("TUNELOOP_DATA", BESIDE)) / "banking77"
TEXTS = [
    "my card is lost",
    "card stolen",
    "I lost my bank card",
    "raise my limit",
    "a higher limit please",
    "the limit is low",
]
LABELS = ["card"] * 3 + ["limit"] * 3


def test_floor_learns_and_is_sure_in_0_to_1():
    answers = fit_floor(TEXTS, LABELS)(["where is my lost card", "limit increase", ""])
    assert answers.texts[:2] == ["card", "limit"]
    assert all(0.0 <= sure <= 1.0 for sure in answers.confidences)
    assert answers.confidences[0] > 0.5


def test_floor_of_many_classes_gives_one_text_for_one_text():
    floor = fit_floor([*TEXTS, "open an account", "new account"], [*LABELS, "account", "account"])
    single = floor("please open my account")
    assert single.texts == ["account"]
    assert single == floor(["please open my account"])


@pytest.mark.parametrize(
    ("texts", "chinese"),
    [(["银行卡丢了"], True), (["my card"], False), (["12 + 3", ""], False), (["我的 card 丢了"], True)],
)
def test_chinese_is_told_by_its_share_of_characters(texts, chinese):
    assert is_chinese(texts) is chinese


def test_chinese_floor_reads_characters_where_words_have_no_spaces():
    texts = ["我的银行卡丢了", "银行卡被偷了", "卡丢失怎么办", "提高信用额度", "额度太低了", "我想要更高的额度"]
    answers = fit_floor(texts, LABELS)(["卡不见了丢了", "额度能不能提高"])
    assert answers.texts == ["card", "limit"]


def test_nearest_row_answers_with_its_own_text():
    nearest = fit_nearest_text(TEXTS, [f"answer {i}" for i in range(6)])
    answers = nearest(["card stolen", "unrelated zebra quux"])
    assert answers.texts[0] == "answer 1"
    assert answers.confidences[0] == pytest.approx(1.0)
    assert answers.confidences[1] < 0.3


def test_nearest_embedding_goes_in_blocks(monkeypatch):
    monkeypatch.setattr("tuneloop.score.floor.ROWS_AT_ONCE", 3)
    known = np.eye(8, dtype=np.float32)
    answers = fit_nearest_embedding(known, [str(i) for i in range(8)])(known[::-1])
    assert answers.texts == [str(i) for i in range(7, -1, -1)]
    assert answers.confidences == [1.0] * 8


def embeddings(rows, seed):
    generator = np.random.default_rng(seed)
    classes = generator.integers(0, 3, size=rows)
    points = np.eye(3, 16)[classes] + generator.normal(0, 0.35, size=(rows, 16))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), [f"c{i}" for i in classes]


def test_encoder_row_learns_and_its_confidence_is_a_probability():
    (known, labels), (held, held_labels) = embeddings(300, 1), embeddings(200, 2)
    c = choose_regularisation(known, labels, held, held_labels)
    answers = fit_encoder(known, labels, c=c)(held)
    right = np.mean([a == b for a, b in zip(answers.texts, held_labels, strict=True)])
    assert right > 0.8
    assert abs(np.mean(answers.confidences) - right) < 0.1
    assert fit_encoder(known, labels, c=c)(held[0]).texts == answers.texts[:1]


def test_regularisation_is_chosen_by_the_held_out_rows(monkeypatch):
    (known, labels), (held, held_labels) = embeddings(60, 3), embeddings(60, 4)
    monkeypatch.setattr("tuneloop.score.floor.REGULARISATION", (1e-9, 10.0))
    skewed = [*labels[:50], *["c0"] * 10]
    assert choose_regularisation(known, skewed, held, held_labels) == 10.0


@pytest.mark.parametrize("labels", [["card"] * 6, []])
def test_one_class_is_an_error(labels):
    with pytest.raises((DataError, ShapeError)):
        fit_floor(TEXTS, labels)


def test_rows_without_words_are_an_error():
    with pytest.raises(DataError):
        fit_floor(["", " "], ["a", "b"])
    with pytest.raises(DataError):
        fit_nearest_text([], [])
    with pytest.raises(DataError):
        fit_nearest_embedding(np.zeros((0, 4), np.float32), [])
    with pytest.raises(ShapeError):
        fit_nearest_embedding(np.zeros((2, 4), np.float32), ["a"])


@pytest.mark.skipif(not BANKING77.is_dir(), reason=f"no banking77 in {BANKING77} (set TUNELOOP_DATA)")
def test_floor_reaches_its_published_figure_on_banking77():
    train, test = (
        list(csv.DictReader((BANKING77 / f"{name}.csv").read_text(encoding="utf-8").splitlines()))
        for name in ("train", "test")
    )
    assert (len(train), len(test)) == (10_003, 3_080)
    floor = fit_floor([row["text"] for row in train], [row["category"] for row in train])
    said = floor([row["text"] for row in test]).texts
    right = sum(text == row["category"] for text, row in zip(said, test, strict=True))
    assert right / len(test) == pytest.approx(0.9117, abs=0.001)
