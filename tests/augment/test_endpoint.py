"""The teacher: cached, paced, tried again; down means stop, one bad question does not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.augment.made import Fake, said

from tuneloop.augment.endpoint import IN_A_ROW, Cache, Endpoint, Question, without_reasoning
from tuneloop.errors import ModelError, RecipeError

ONE = [Question("be brief", "hello")]


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
    other, _ = made(teacher, tmp_path, model="n")
    other.ask(questions[:1])
    assert len(teacher.asked) == 8


def test_a_passing_fault_is_tried_again_after_a_pause(teacher: Fake, tmp_path: Path):
    replies = [(503, "busy", {}), (429, "slow down", {"Retry-After": "7"}), said("at last")]
    teacher.answer = lambda body, number: replies[number - 1]
    endpoint, slept = made(teacher, tmp_path)
    assert endpoint.ask(ONE)[0].text == "at last"
    assert slept == [1.0, 7.0]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((400, "too long", {}), "HTTP 400"), ((200, "no json", {}), "JSONDecodeError"),
        ((200, {"choices": []}, {}), "choices"),
        (said("half an", "length"), "cut off"), ((500, "broken", {}), "HTTP 500"),
    ],
)  # fmt: skip
def test_one_question_that_fails_has_a_fault_and_the_others_are_answered(
    teacher: Fake, tmp_path: Path, reply: tuple, says: str
):
    teacher.answer = lambda body, number: reply if body["messages"][1]["content"] == "bad" else said("good")
    endpoint, _ = made(teacher, tmp_path)
    answers = endpoint.ask([Question("s", text) for text in ("a", "bad", "b")])
    assert [a.text for a in answers] == ["good", "", "good"] and says in answers[1].fault
    teacher.answer = lambda body, number: said("now")
    assert [a.text for a in endpoint.ask([Question("s", "bad")])] == ["now"]  # a failure is not cached


def test_a_refusal_stops_all(teacher: Fake, tmp_path: Path):
    teacher.answer = lambda body, number: (401, "wrong key", {})
    endpoint, slept = made(teacher, tmp_path, workers=1)
    with pytest.raises(ModelError, match=r"HTTP 401.*what was answered is kept"):
        endpoint.ask([Question("s", str(place)) for place in range(50)])
    assert len(teacher.asked) <= 2 and slept == []


def test_an_endpoint_that_is_down_is_not_asked_for_every_row(teacher: Fake, tmp_path: Path):
    teacher.answer = lambda body, number: (502, "down", {})
    endpoint, _ = made(teacher, tmp_path, workers=1, retries=0)
    with pytest.raises(ModelError, match="HTTP 502"):
        endpoint.ask([Question("s", str(place)) for place in range(500)])
    assert len(teacher.asked) == IN_A_ROW


def test_nobody_listens(tmp_path: Path):
    endpoint, slept = made(Fake("http://127.0.0.1:9/v1"), tmp_path, workers=1, retries=1)
    with pytest.raises(ModelError, match=r"http://127.0.0.1:9/v1 does not answer"):
        endpoint.ask([Question("s", str(place)) for place in range(20)])
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
