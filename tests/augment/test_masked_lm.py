"""A tiny BERT, trained here on two kinds of words, replaces each by one of its own kind, and nothing else."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest
from tests.augment.made import make_masked
from transformers import AutoModelForMaskedLM, AutoTokenizer

from tuneloop.augment.cache import Cache
from tuneloop.augment.draws import generator
from tuneloop.augment.masked_lm import FillMask, MaskedModel, Remembered, masked_lm
from tuneloop.augment.words import protect
from tuneloop.model.load import load_masked
from tuneloop.model.source import Source

THINGS, MOODS = ["card", "bill", "ticket"], ["glad", "sad", "angry"]
CHINESE = ["手机", "电脑"]


def sentences() -> list[str]:
    english = [f"i lost my {thing} and feel so {mood} today" for thing, mood in itertools.product(THINGS, MOODS)]
    return english + [f"我的{word}坏了" for word in CHINESE for _ in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT, trained to name the words of a sentence's kind at its masks."""
    return make_masked(tmp_path_factory.mktemp("bert"), [*sentences(), "a an"], [THINGS, MOODS, CHINESE])


@pytest.fixture(scope="module")
def fill(folder: Path) -> MaskedModel:
    """It, loaded as a user's model is."""
    loaded = load_masked(Source("tiny", folder, "folder", "", ""))
    return MaskedModel(loaded.model, loaded.tokenizer, top_k=6, batch_size=4)


def changed(fill: FillMask, texts: list[str], labels: tuple[str, ...] = (), **options: float) -> list[str]:
    randoms = [generator(0, 0, str(place), "masked_lm") for place in range(len(texts))]
    settings = {"rate": 1.0, "least_probability": 0.05} | options
    return masked_lm(texts, randoms, fill, protected=[protect([*labels, "lost feel today"])] * len(texts), **settings)


def test_negations_numbers_and_names_are_never_hidden():
    seen: set[str] = set()

    def fill(texts: list[str], hidden: list[list[tuple[int, int, str]]]) -> list[list[list[tuple[str, float]]]]:
        seen.update(word for spans in hidden for *_, word in spans)
        return [[] for _ in texts]

    for epoch in range(40):
        masked_lm(
            ["请告诉王小明卡里余额不足五百元"], [generator(0, epoch, "r", "m")], fill, rate=1.0, least_probability=0.1
        )
    assert seen == {"告诉"}


def test_a_word_becomes_another_of_its_kind(fill: MaskedModel):
    before = [text for text in sentences() if text.isascii()]
    after = changed(fill, before)
    for old, new in zip(before, after, strict=True):
        was, now = old.split(), new.split()
        assert [w for w in now if w not in THINGS + MOODS] == [w for w in was if w not in THINGS + MOODS]
        assert now[3] in THINGS and now[7] in MOODS and now[3] != was[3] and now[7] != was[7]


def test_label_words_are_neither_masked_nor_put_in(fill: MaskedModel):
    before = [text for text in sentences() if text.isascii()]
    for old, new in zip(before, changed(fill, before, ("lost_card", "sad")), strict=True):
        assert ("card" in new) == ("card" in old) and (" sad " in new) == (" sad " in old)


def test_case_is_kept_and_stop_words_stay(fill: MaskedModel):
    (after,) = changed(fill, ["I LOST MY CARD AND FEEL SO SAD TODAY"])
    assert after.isupper() and after.split()[:3] == ["I", "LOST", "MY"] and after.split()[3] in {"BILL", "TICKET"}


def test_chinese_words_of_as_many_characters(fill: MaskedModel):
    assert changed(fill, ["我的手机坏了"])[0] in {"我的电脑坏了", "我的电机坏了"}  # 手脑 is no word


def test_unlikely_words_are_not_used_and_a_rate_of_nothing_changes_nothing(fill: MaskedModel):
    text = "i lost my card and feel so sad today"
    assert changed(fill, [text], least_probability=0.99) == [text]
    assert changed(fill, [text], rate=0.0) == [text]


def test_a_batch_gives_what_each_text_gives_alone(fill: MaskedModel):
    texts = sentences()
    randoms = [generator(0, 0, str(place), "m") for place in range(len(texts))]
    alone = [
        masked_lm([text], [generator(0, 0, str(place), "m")], fill, rate=0.3, least_probability=0.01)[0]
        for place, text in enumerate(texts)
    ]
    assert masked_lm(texts, randoms, fill, rate=0.3, least_probability=0.01) == alone
    assert alone != texts


def test_guesses_are_the_whole_models_at_the_masks(fill: MaskedModel, folder: Path):
    plain = AutoModelForMaskedLM.from_pretrained(folder).eval()
    words = AutoTokenizer.from_pretrained(folder)
    texts, hidden = ["i lost my card today", "我的手机坏了"], [[(10, 14, "card")], [(2, 4, "手机")]]
    for text, masked, found in zip(
        texts, ["i lost my [MASK] today", "我的[MASK][MASK]坏了"], fill(texts, hidden), strict=True
    ):
        batch = words(text, masked, return_tensors="pt", return_token_type_ids=True)
        logits = plain(**batch).logits[0][batch["input_ids"][0] == words.mask_token_id]
        for guesses, row in zip(found, logits.softmax(-1), strict=True):
            assert [p for _, p in guesses] == pytest.approx(row.topk(6).values.tolist(), abs=1e-5)
            assert guesses[0][0] == words.convert_ids_to_tokens(int(row.argmax()))


def test_a_mask_of_the_users_own_is_left_alone(fill: MaskedModel):
    text = "i lost my [MASK] and my card today"
    assert changed(fill, [text, "i lost my card today"])[0] == text


def test_a_text_too_long_for_the_model_stays(fill: MaskedModel):
    long = " ".join(["i lost my card today"] * 10)
    assert changed(fill, [long, "i lost my card today"])[0] == long


class Counting:
    """A FillMask that guesses one word; Ctrl-C comes in its call `stops`."""

    def __init__(self, stops: int = 0):
        self.texts, self.calls, self.stops = [], 0, stops

    def __call__(self, texts, hidden):
        self.calls += 1
        if self.calls == self.stops:
            raise KeyboardInterrupt
        self.texts += texts
        return [[[("bill", 0.5 + len(text) / 1000)] for _ in spans] for text, spans in zip(texts, hidden, strict=True)]


def test_what_was_guessed_before_ctrl_c_is_not_guessed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tuneloop.augment.masked_lm.TEXTS_AT_ONCE", 2)
    texts = [f"my {'abcde'[place]}card" for place in range(5)]
    hidden = [[(3, 8, text[3:])] for text in texts]
    with contextlib.closing(Cache(tmp_path / "masked_lm.sqlite")) as cache:
        cut, rest, none = Counting(stops=3), Counting(), Counting()
        with pytest.raises(KeyboardInterrupt):
            Remembered(lambda: cut, cache, key="k")(texts, hidden)
        found = Remembered(lambda: rest, cache, key="k")(texts, hidden)
        assert (cut.texts, rest.texts) == (texts[:4], texts[4:])
        assert found == Counting()(texts, hidden)
        assert Remembered(pytest.fail, cache, key="k")([*texts, "nothing"], [*hidden, []]) == [*found, []]
        Remembered(lambda: none, cache, key="another model")(texts[:1], hidden[:1])
        Remembered(lambda: none, cache, key="k")(texts[:1], [[(0, 2, "my")]])
        assert none.texts == texts[:1] * 2


def test_remembered_guesses_are_the_models_own(fill: MaskedModel, tmp_path: Path):
    before = sentences()
    with contextlib.closing(Cache(tmp_path / "masked_lm.sqlite")) as cache:
        for load in (lambda: fill, pytest.fail):
            assert changed(Remembered(load, cache, key="k"), before) == changed(fill, before)
