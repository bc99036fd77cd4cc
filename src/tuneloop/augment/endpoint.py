"""A teacher behind an OpenAI-compatible endpoint: retries, pace, and a cache on disk, so that asking can go on.

    question --cache?--> POST {base_url}/chat/completions --retry, pace--> answer --> cache

What was answered once is never asked again: the cache is keyed by model, sampling, messages and number of the copy.
The key of the endpoint comes from an environment variable. It is sent, and is written nowhere: not into the cache,
not into a message, and no redirect takes it to another address.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import os
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tuneloop.augment.cache import Cache
from tuneloop.disk import sha256_json
from tuneloop.errors import ModelError, RecipeError
from tuneloop.sections import Teacher
from tuneloop.terminal import progress

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that another try may not meet."""
LONGEST_PAUSE = 60.0
"""Seconds between two tries at most, also where the endpoint asks for more."""
IN_A_ROW = 8
"""Questions that may fail one after the other before the rest is not asked: the endpoint is down, not the question."""
LARGEST_REPLY = 8 << 20
"""Bytes of a reply that are read."""


@dataclass(frozen=True)
class Question:
    """What the teacher is asked.

    Attributes:
        system: The instruction.
        user: The text.
        copy: 0 for the first answer to it; another number asks for another answer.
    """

    system: str
    user: str
    copy: int = 0


@dataclass(frozen=True)
class Answer:
    """What came of a question.

    Attributes:
        text: The answer, its reasoning left out; "" where there is none.
        fault: Why there is none, in a few words that questions of the same fate share.
    """

    text: str
    fault: str = ""


@dataclass
class Tally:
    """What asking came to. Tokens are those that the endpoint told.

    Attributes:
        questions: Different questions.
        known: Those of them that were answered before.
        prompt_tokens: Tokens of all answered questions, whenever they were asked.
        completion_tokens: Tokens of all answers.
        prompt_tokens_now: Tokens of the questions that this process sent, unanswered ones too where they were told.
        completion_tokens_now: Tokens of what came back.
        untold: Answers whose tokens the endpoint did not tell.
        unanswered: Fault -> questions that have no answer, and may have one another time.
        told: What the endpoint last said about a fault.
    """

    questions: int = 0
    known: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_now: int = 0
    completion_tokens_now: int = 0
    untold: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    told: str = ""


@dataclass(frozen=True)
class _Kept:
    """An answer as the cache holds it; tokens are None where the endpoint did not tell them."""

    text: str
    fault: str
    prompt_tokens: int | None
    completion_tokens: int | None


class _Refused(Exception):
    """Another try is of no use, for any question; the message says why."""


class _Failed(Exception):
    """There is no answer: `again` says whether another try may do, `pause` what the endpoint asks for, in seconds."""

    def __init__(self, why: str, told: str = "", *, again: bool = True, pause: float | None = None) -> None:
        super().__init__(why)
        self.told, self.again, self.pause = told, again, pause


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """urllib would send the key along to wherever a redirect points."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        """None: the redirect is an error."""


class Endpoint:
    """A teacher, and what it answered so far.

    Args:
        teacher: Where it is, and how it is asked.
        cache: Where answers are kept.
        sleep: Waits for so many seconds; None: until Ctrl-C at most.

    Attributes:
        tally: What asking came to so far.

    Raises:
        RecipeError: if the key's environment variable is not set.
    """

    tally: Tally

    def __init__(self, teacher: Teacher, cache: Cache, *, sleep: Callable[[float], object] | None = None) -> None:
        self.tally = Tally()
        self._teacher, self._cache, self._key = teacher, cache, read_key(teacher)
        self._url = teacher.base_url.rstrip("/") + "/chat/completions"
        self._open = urllib.request.build_opener(_NoRedirect).open
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._sleep = sleep or self._stopped.wait
        self._failed, self._answers, self._next = 0, False, 0.0

    def ask(self, questions: Sequence[Question], title: str = "") -> list[Answer]:
        """The answers, in the questions' order; a question that fails has a fault, and the others are asked.

        Once `IN_A_ROW` questions have failed one after the other the endpoint is down: nothing more is asked of it.

        Args:
            questions: What to ask; those that the cache answers, or that stand there twice, are not sent.
            title: Of the progress bar; "" shows none.

        Raises:
            ModelError: if the endpoint refuses all: wrong key, model or address. What was answered is kept.
        """
        unique = list(dict.fromkeys(questions))
        kept = {question: _kept(self._cache, self._teacher, question) for question in unique}
        found = {question: self._count(answer) for question, answer in kept.items() if answer is not None}
        missing = [question for question in unique if question not in found]
        self.tally.questions += len(unique)
        self.tally.known += len(found)
        if not missing:
            return [found[question] for question in questions]
        self._answers = self._answers or bool(found)
        self._stopped.clear()
        executor = ThreadPoolExecutor(self._teacher.workers)
        try:
            with progress(title, len(missing), unit="answers") as bar:
                for question, answer in zip(missing, executor.map(self._answer, missing), strict=True):
                    found[question] = answer
                    lost = sum(self.tally.unanswered.values())
                    bar.advance(note=f"{lost} unanswered" if lost else "")
        finally:
            self._stopped.set()  # after Ctrl-C nobody waits for another try; an answer under way is still kept
            executor.shutdown(wait=True, cancel_futures=True)
        return [found[question] for question in questions]

    def _count(self, kept: _Kept) -> Answer:
        with self._lock:
            self.tally.prompt_tokens += kept.prompt_tokens or 0
            self.tally.completion_tokens += kept.completion_tokens or 0
            self.tally.untold += kept.prompt_tokens is None
        return Answer(kept.text, kept.fault)

    def _answer(self, question: Question) -> Answer:
        if self._failed >= IN_A_ROW:
            return self._unanswered(f"not asked after {IN_A_ROW} failures in a row")
        try:
            kept = self._tried(question)
        except _Refused as error:
            raise ModelError(
                f"The teacher at {self._teacher.base_url} refuses to answer", got=str(error),
                allowed="an OpenAI-compatible endpoint with /chat/completions",
                fix="Check teacher (base_url, model, api_key_env) and run again: what was answered is kept",
            ) from None  # fmt: skip
        except _Failed as error:
            # Where others are answered, a text that is refused says nothing about the next one.
            self._failed += error.again or not self._answers
            return self._unanswered(str(error), error.told)
        self._failed, self._answers = 0, True
        self._cache.put({_cache_key(self._teacher, question): json.dumps(list(asdict(kept).values()))})
        return self._count(kept)

    def _unanswered(self, fault: str, told: str = "") -> Answer:
        with self._lock:
            self.tally.unanswered[fault] += 1
            self.tally.told = told or self.tally.told
        return Answer("", fault)

    def _redacted(self, text: str) -> str:
        """A text without the key: some endpoints repeat it in what they say."""
        return text.replace(self._key, "***") if self._key else text

    def _tried(self, question: Question) -> _Kept:
        """The answer, after as many tries as are allowed."""
        last = _Failed("it was not asked")
        for attempt in range(self._teacher.retries + 1):
            if attempt:
                pause = last.pause if last.pause is not None else 2.0 ** (attempt - 1)
                self._sleep(min(pause, LONGEST_PAUSE))
            self._wait_for_turn()
            if self._stopped.is_set():
                raise last
            try:
                return self._sent(question)
            except _Failed as error:
                last = error
                if not last.again:
                    break
        raise last

    def _wait_for_turn(self) -> None:
        """Keep to requests_per_minute, over all workers."""
        if self._teacher.requests_per_minute is None:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + 60.0 / self._teacher.requests_per_minute
        if turn > now:
            self._sleep(turn - now)

    def _sent(self, question: Question) -> _Kept:
        """One request; the answer without its reasoning."""
        teacher = self._teacher
        body = {
            "model": teacher.model, "temperature": teacher.temperature, "max_tokens": teacher.max_tokens,
            "messages": [{"role": "system", "content": question.system}, {"role": "user", "content": question.user}],
        }  # fmt: skip
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        try:
            with self._open(request, timeout=teacher.timeout) as response:
                reply = json.loads(response.read(LARGEST_REPLY))
        except urllib.error.HTTPError as error:
            raise self._http_fault(error) from None
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise _Failed(_network_fault(error)) from None
        except (ValueError, RecursionError):
            raise _Failed("a reply that is no JSON") from None
        asked, answered = _usage(reply)
        with self._lock:
            self.tally.prompt_tokens_now += asked or 0
            self.tally.completion_tokens_now += answered or 0
        text, fault = _content(reply)
        if self._key and self._key in text:
            raise _Failed("an answer that holds the key", again=False)
        return _Kept(text, fault, asked, answered)

    def _http_fault(self, error: urllib.error.HTTPError) -> _Failed | _Refused:
        why, told = f"HTTP {error.code}", ""
        with contextlib.suppress(OSError, http.client.HTTPException):  # it may hang up in the middle of its words
            told = self._redacted(error.read(500).decode(errors="replace").strip())
        if error.code in PASSING:
            return _Failed(why, told, pause=_asked_pause(error.headers.get("Retry-After")))
        if error.code in (400, 413, 422):  # this text is refused (too long, filtered), the next may not be
            return _Failed(why, told, again=False)
        return _Refused(f"{why}: {told}".removesuffix(": "))


def read_key(teacher: Teacher) -> str:
    """The key of the endpoint; "" where it wants none.

    Raises:
        RecipeError: if the environment variable is not set, or holds what no key is made of.
    """
    name = teacher.api_key_env
    key = os.environ.get(name, "").strip() if name else ""
    if name and not key:
        raise RecipeError(
            f"teacher.api_key_env: the environment variable {name} is not set",
            fix=f"export {name}=..., or leave api_key_env out where the endpoint wants no key",
        )
    if not re.fullmatch(r"[\x21-\x7e]*", key):
        raise RecipeError(
            f"teacher.api_key_env: the environment variable {name} holds no key",
            got="blanks, line breaks or signs that are not ASCII in it", fix="Export the key alone",
        )  # fmt: skip
    return key


def check_endpoint(teacher: Teacher) -> None:
    """Refuse, before anything heavy is done, an endpoint whose key is not there or where nobody listens.

    Raises:
        RecipeError: as `read_key`.
        ModelError: if its address cannot be connected to. Nothing is asked: only a question shows the rest.
    """
    read_key(teacher)
    parts = urlsplit(teacher.base_url)
    if urllib.request.getproxies().get(parts.scheme) and not urllib.request.proxy_bypass(str(parts.hostname)):
        return  # only the proxy can tell
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((str(parts.hostname), port), timeout=min(teacher.timeout, 10.0)).close()
    except (OSError, UnicodeError) as error:
        raise ModelError(
            f"Nobody listens at {teacher.base_url}, the teacher's address", got=_network_fault(error),
            fix="Start it, or correct teacher.base_url; what it answered before is kept",
        ) from None  # fmt: skip


def kept_answer(cache: Cache, teacher: Teacher, question: Question) -> Answer | None:
    """What a teacher answered before; None where it was not asked, or did not answer."""
    kept = _kept(cache, teacher, question)
    return None if kept is None else Answer(kept.text, kept.fault)


def _kept(cache: Cache, teacher: Teacher, question: Question) -> _Kept | None:
    kept = cache.get(_cache_key(teacher, question))
    return None if kept is None else _Kept(*json.loads(kept))


def _cache_key(teacher: Teacher, question: Question) -> str:
    """Where the endpoint is, and how it is asked, changes no answer."""
    asked = [question.system, question.user, question.copy]
    return sha256_json([teacher.model, teacher.temperature, teacher.max_tokens, *asked])


def _network_fault(error: Exception) -> str:
    """What went wrong on the way, in the words that every question of that fate shares."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return "timed out"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"no trusted certificate: {reason.verify_message}"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return type(error).__name__ if reason is error else f"{type(error).__name__}: {reason}"


def _usage(reply: Any) -> tuple[int | None, int | None]:
    """(tokens of the question, tokens of the answer); None where the reply does not tell."""
    told = reply.get("usage") if isinstance(reply, dict) else None
    counts = [told.get(name) if isinstance(told, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    asked, answered = (count if isinstance(count, int) and count >= 0 else None for count in counts)
    return asked, answered


def _content(reply: Any) -> tuple[str, str]:
    """(the answer's text, why it cannot be used) of a reply: one of them is ""."""
    try:
        choice = reply["choices"][0]
        message = choice["message"]
        text, refused, finish = message["content"], message.get("refusal"), choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _Failed("a reply without choices[0].message.content") from None
    if refused or finish == "content_filter":
        return "", "refused"
    if finish == "length":
        return "", "cut off at max_tokens"
    if text is not None and not isinstance(text, str):
        raise _Failed("a reply without choices[0].message.content")
    text = without_reasoning(text or "")
    return text, "" if text else "empty"


def without_reasoning(text: str) -> str:
    """An answer without its `<think>` part; "" where that never closes."""
    if "</think>" in text:
        return text.rpartition("</think>")[2].strip()
    return re.split("<think>", text)[0].strip()


def _asked_pause(header: str | None) -> float | None:
    """The seconds that Retry-After asks for: a number, or a date."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
