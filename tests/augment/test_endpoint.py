"""The teacher: cached, paced, tried again; down means stop, one bad question does not."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.augment.made import Fake, listening, said

from tuneloop.augment.cache import Cache
from tuneloop.augment.endpoint import (
    IN_A_ROW,
    Answer,
    Endpoint,
    Question,
    check_endpoint,
    kept_answer,
    read_key,
    without_reasoning,
)
from tuneloop.errors import ModelError, RecipeError, RunError

ONE = [Question("be brief", "hello")]
KEY = "sk-hunter2"
NOT_ASKED = f"not asked after {IN_A_ROW} failures in a row"


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every cache of a test is closed behind it."""
    opened: list[Cache] = []
    begin = Cache.__init__

    def remember(cache: Cache, path: Path) -> None:
        begin(cache, path)
        opened.append(cache)

    monkeypatch.setattr(Cache, "__init__", remember)
    yield
    for cache in opened:
        cache.close()


def made(teacher: Fake, folder: Path, **changes: object) -> tuple[Endpoint, list[float]]:
    slept: list[float] = []
    endpoint = Endpoint(teacher.settings(**changes), Cache(folder / "cache.sqlite"), sleep=slept.append)
    return endpoint, slept


def test_what_is_asked(teacher: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TEACHER_KEY", "secret")
    endpoint, _ = made(teacher, tmp_path, api_key_env="TEACHER_KEY", temperature=0.3, max_tokens=7)
    assert [answer.text for answer in endpoint.ask(ONE)] == ["an answer"]
    (asked,) = teacher.asked
    assert asked["path"] == "/v1/chat/completions" and asked["headers"]["Authorization"] == "Bearer secret"
    assert asked["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("m", 0.3, 7)
    assert b"secret" not in (tmp_path / "cache.sqlite").read_bytes()


def test_a_key_that_is_not_set_is_told(teacher: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    with pytest.raises(RecipeError, match="TEACHER_KEY is not set"):
        made(teacher, tmp_path, api_key_env="TEACHER_KEY")


def test_answers_come_in_order_and_are_asked_once(teacher: Fake, tmp_path: Path):
    def answer(body: dict, number: int) -> tuple:
        del number
        time.sleep(0.02 if body["messages"][1]["content"] == "0" else 0)
        return said("to " + body["messages"][1]["content"])

    teacher.answer = answer
    questions = [Question("s", str(place)) for place in range(6)]
    endpoint, _ = made(teacher, tmp_path, workers=3)
    expected = [f"to {place}" for place in range(6)]
    assert [a.text for a in endpoint.ask(questions)] == expected
    again, _ = made(teacher, tmp_path)
    assert [a.text for a in again.ask(questions)] == expected and len(teacher.asked) == 6
    assert again.ask([Question("s", "0", copy=1)])[0].text == "to 0" and len(teacher.asked) == 7
    for number, change in enumerate(({"model": "n"}, {"temperature": 0.1}, {"max_tokens": 99})):
        made(teacher, tmp_path, **change)[0].ask(questions[:1])
        assert len(teacher.asked) == 8 + number
    made(teacher, tmp_path, timeout=9.0, retries=0, workers=1, max_missing=1.0)[0].ask(questions)
    assert len(teacher.asked) == 10


def test_a_question_that_stands_there_twice_is_asked_once(teacher: Fake, tmp_path: Path):
    endpoint, _ = made(teacher, tmp_path)
    assert [a.text for a in endpoint.ask(ONE * 5)] == ["an answer"] * 5 and len(teacher.asked) == 1


def test_what_asking_came_to(teacher: Fake, tmp_path: Path):
    def answer(body: dict, number: int) -> tuple:
        status, reply, headers = said("yes")
        text = body["messages"][1]["content"]
        if text == "untold":
            del reply["usage"]
        return (500, "broken", {}) if text == "lost" else (status, reply, headers)

    teacher.answer = answer
    first, _ = made(teacher, tmp_path)
    first.ask([Question("s", text) for text in ("a", "b", "lost", "untold")])
    assert (first.tally.questions, first.tally.known, first.tally.untold) == (4, 0, 1)
    assert (first.tally.prompt_tokens, first.tally.completion_tokens) == (20, 10)
    assert (first.tally.prompt_tokens_now, first.tally.completion_tokens_now) == (20, 10)
    assert first.tally.unanswered == {"HTTP 500": 1}
    second, _ = made(teacher, tmp_path)
    second.ask([Question("s", text) for text in ("a", "b", "c", "untold")])
    assert (second.tally.questions, second.tally.known, second.tally.untold) == (4, 3, 1)
    assert (second.tally.prompt_tokens, second.tally.prompt_tokens_now) == (30, 10)


def test_a_passing_fault_is_tried_again_after_a_pause(teacher: Fake, tmp_path: Path):
    replies = [(503, "busy", {}), (429, "slow down", {"Retry-After": "7"}), said("at last")]
    teacher.answer = lambda body, number: replies[number - 1]
    endpoint, slept = made(teacher, tmp_path)
    assert endpoint.ask(ONE)[0].text == "at last"
    assert slept == [1.0, 7.0]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((400, "too long", {}), "HTTP 400"), ((200, "no json", {}), "a reply that is no JSON"),
        ((200, "[" * 100_000, {}), "a reply that is no JSON"), ((200, b"\xff\xfe{".decode("latin1"), {}), "no JSON"),
        ((200, {"choices": []}, {}), "choices"), ((200, {"choices": ["x"]}, {}), "choices"), ((200, [], {}), "choices"),
        ((200, {"choices": [{"message": {"content": [1]}}]}, {}), "choices"), ((500, "broken", {}), "HTTP 500"),
    ],
)  # fmt: skip
def test_one_question_that_fails_has_a_fault_and_the_others_are_answered(
    teacher: Fake, tmp_path: Path, reply: tuple, says: str
):
    teacher.answer = lambda body, number: reply if body["messages"][1]["content"] == "bad" else said("good")
    endpoint, _ = made(teacher, tmp_path)
    answers = endpoint.ask([Question("s", text) for text in ("a", "bad", "b")])
    assert [a.text for a in answers] == ["good", "", "good"] and says in answers[1].fault
    assert len(teacher.asked) == 2 + (1 if "400" in says else 3)  # the very same text would be refused again
    teacher.answer = lambda body, number: said("now")
    assert [a.text for a in endpoint.ask([Question("s", "bad")])] == ["now"]  # a failure is not cached


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (said("half an", "length"), "cut off at max_tokens"), (said(""), "empty"), (said("<think>hm"), "empty"),
        (said("", "content_filter"), "refused"),
        ((200, {"choices": [{"message": {"content": None, "refusal": "I can't"}}]}, {}), "refused"),
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_used_was_paid_for_and_is_not_asked_again(
    teacher: Fake, tmp_path: Path, reply: tuple, says: str
):
    teacher.answer = lambda body, number: reply
    questions = [Question("s", str(place)) for place in range(2 * IN_A_ROW)]  # it answers: it is not down
    for _ in range(2):
        endpoint, _ = made(teacher, tmp_path)
        assert endpoint.ask(questions) == [Answer("", says)] * len(questions)
        assert len(teacher.asked) == len(questions) and not endpoint.tally.unanswered
    assert kept_answer(Cache(tmp_path / "cache.sqlite"), teacher.settings(), questions[0]) == Answer("", says)
    assert kept_answer(Cache(tmp_path / "cache.sqlite"), teacher.settings(), ONE[0]) is None


def test_a_refusal_stops_all(teacher: Fake, tmp_path: Path):
    teacher.answer = lambda body, number: (401, "wrong key", {})
    endpoint, slept = made(teacher, tmp_path, workers=1)
    with pytest.raises(ModelError, match=r"HTTP 401.*what was answered is kept"):
        endpoint.ask([Question("s", str(place)) for place in range(50)])
    assert len(teacher.asked) <= 2 and slept == []


def test_an_endpoint_that_is_down_is_not_asked_for_every_row(teacher: Fake, tmp_path: Path):
    teacher.answer = lambda body, number: (502, "down", {})
    endpoint, _ = made(teacher, tmp_path, workers=1, retries=0)
    answers = endpoint.ask([Question("s", str(place)) for place in range(50)])
    endpoint.ask([Question("s", f"later {place}") for place in range(50)])  # what is down stays down
    assert len(teacher.asked) == IN_A_ROW and not any(answer.text for answer in answers)
    assert endpoint.tally.unanswered == {"HTTP 502": IN_A_ROW, NOT_ASKED: 100 - IN_A_ROW}
    assert endpoint.tally.told == "down"


def test_texts_that_are_refused_are_no_sign_of_it_where_others_are_answered(teacher: Fake, tmp_path: Path):
    teacher.answer = lambda body, number: (400, "filtered", {}) if "bad" in str(body) else said("good")
    endpoint, _ = made(teacher, tmp_path, workers=1)
    bad = [Question("s", f"bad {place}") for place in range(2 * IN_A_ROW)]
    answers = endpoint.ask([*bad, *ONE])
    assert answers[-1].fault == NOT_ASKED  # nothing was answered so far: the settings may be wrong
    asked = len(teacher.asked)
    for number in range(1, 3):
        again, _ = made(teacher, tmp_path, workers=1)
        answers = again.ask([*ONE, *bad] if number == 1 else [*bad, *ONE])
        assert answers.count(Answer("", "HTTP 400")) == len(bad) and Answer("good") in answers
        assert len(teacher.asked) == asked + number * len(bad) + 1


def test_nobody_listens(tmp_path: Path):
    endpoint, slept = made(Fake("http://127.0.0.1:9/v1"), tmp_path, workers=1, retries=1)
    answers = endpoint.ask([Question("s", str(place)) for place in range(20)])
    assert [answer.fault for answer in answers] == ["Connection refused"] * IN_A_ROW + [NOT_ASKED] * (20 - IN_A_ROW)
    assert slept == [1.0] * IN_A_ROW


def test_requests_keep_the_pace(teacher: Fake, tmp_path: Path):
    endpoint, slept = made(teacher, tmp_path, requests_per_minute=60, workers=1)
    endpoint.ask([Question("s", str(place)) for place in range(4)])
    assert len(slept) == 3 and 5.0 < sum(slept) <= 6.0  # one a second: waits of about 1, 2 and 3 s that were not slept


def test_a_timeout_is_a_fault(teacher: Fake, tmp_path: Path):
    def slow(body: dict, number: int) -> tuple:
        time.sleep(0.5)
        return said("late")

    teacher.answer = slow
    endpoint, _ = made(teacher, tmp_path, timeout=0.05, retries=0)
    assert "timed out" in endpoint.ask(ONE)[0].fault


@pytest.mark.parametrize(
    ("text", "left"),
    [("<think>hm</think>\n\nyes", "yes"), ("yes", "yes"), ("<think>hm", ""), ("hm</think> yes ", "yes")],
)
def test_reasoning_is_no_part_of_an_answer(text: str, left: str):
    assert without_reasoning(text) == left


# -- the key --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [f"{KEY}\n", f" {KEY} "])
def test_blanks_around_a_key_are_none_of_it(teacher: Fake, monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("TEACHER_KEY", value)
    assert read_key(teacher.settings(api_key_env="TEACHER_KEY")) == KEY


@pytest.mark.parametrize("value", [f"{KEY}\nX-Other: 1", f"my {KEY}", f"{KEY}é"])
def test_what_is_no_key_is_told_and_not_repeated(teacher: Fake, monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("TEACHER_KEY", value)
    with pytest.raises(RecipeError, match="holds no key") as told:
        read_key(teacher.settings(api_key_env="TEACHER_KEY"))
    assert KEY not in str(told.value)


@pytest.mark.parametrize("status", [400, 401, 429, 200])
def test_an_endpoint_that_repeats_the_key_gives_it_to_nobody(
    teacher: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
):
    monkeypatch.setenv("TEACHER_KEY", KEY)
    teacher.answer = lambda body, number: said(f"you sent {KEY}") if status == 200 else (status, f"you sent {KEY}", {})
    endpoint, _ = made(teacher, tmp_path, api_key_env="TEACHER_KEY", retries=0)
    if status == 401:
        with pytest.raises(ModelError, match=r"refuses to answer. Got HTTP 401: you sent \*\*\*"):
            endpoint.ask(ONE)
    else:
        told = {200: "an answer that holds the key"}.get(status, f"HTTP {status}")
        assert endpoint.ask(ONE) == [Answer("", told)]
        assert endpoint.tally.told == ("" if status == 200 else "you sent ***")
    assert KEY not in str(endpoint.tally) and KEY.encode() not in (tmp_path / "cache.sqlite").read_bytes()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_takes_the_key_to_another_address(
    teacher: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
):
    monkeypatch.setenv("TEACHER_KEY", KEY)
    with listening() as other:
        teacher.answer = lambda body, number: (status, "", {"Location": f"{other.url}/chat/completions"})
        endpoint, _ = made(teacher, tmp_path, api_key_env="TEACHER_KEY")
        with pytest.raises(ModelError, match=f"HTTP {status}"):
            endpoint.ask(ONE)
        assert not other.asked


# -- before, and in the middle ---------------------------------------------------------------------------------


def test_who_does_not_listen_is_found_out_before_a_question(teacher: Fake, monkeypatch: pytest.MonkeyPatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    check_endpoint(teacher.settings())
    assert not teacher.asked
    for url in ("http://127.0.0.1:9/v1", "http://a..b/v1"):
        with pytest.raises(ModelError, match=f"Nobody listens at {url}"):
            check_endpoint(Fake(url).settings())
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    check_endpoint(Fake("http://teacher.invalid/v1").settings())  # only the proxy knows


def test_ctrl_c_waits_for_no_other_try_and_keeps_what_is_under_way(teacher: Fake, tmp_path: Path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    under_way = threading.Event()

    def answer(body: dict, number: int) -> tuple:
        if body["messages"][1]["content"] == "busy":
            return 503, "", {"Retry-After": "10"}
        under_way.set()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        return said("late, and paid for")

    teacher.answer = answer
    cache = Cache(tmp_path / "cache.sqlite")
    questions = [Question("s", "busy"), Question("s", "slow"), *(Question("s", str(place)) for place in range(20))]
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            Endpoint(teacher.settings(), cache).ask(questions)
    finally:
        signal.signal(signal.SIGINT, before)
    assert under_way.is_set() and time.monotonic() - began < 5
    while kept_answer(cache, teacher.settings(), questions[1]) is None and time.monotonic() - began < 5:
        time.sleep(
            0.02
        )  # a Ctrl-C while its thread was starting: the executor does not know it, the process waits for it
    assert kept_answer(cache, teacher.settings(), questions[1]) == Answer("late, and paid for")
    assert len(teacher.asked) < 5


def test_a_cache_that_is_broken_is_told(tmp_path: Path):
    (tmp_path / "cache.sqlite").write_bytes(b"this is no database, and long enough to be taken for one" * 20)
    with pytest.raises(RunError, match=r"cache\.sqlite cannot be used.*remove it"):
        Cache(tmp_path / "cache.sqlite")


def test_all_or_none_of_what_is_put_is_kept_and_the_first_stays(tmp_path: Path):
    cache = Cache(tmp_path / "cache.sqlite")
    cache.put({"a": "1", "b": "2"})
    with pytest.raises(RunError):
        cache.put({"c": "3", "d": object()})  # type: ignore[dict-item]
    cache.put({"a": "other"})
    assert [cache.get(key) for key in "abcd"] == ["1", "2", None, None]
