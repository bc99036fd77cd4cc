"""A teacher behind an OpenAI-compatible endpoint: retries, pace, and a cache on disk, so that asking can go on.

    question --cache?--> POST {base_url}/chat/completions --retry, pace--> answer --> cache

What was answered once is never asked again: the cache is keyed by model, sampling, messages and number of the copy.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import os
import re
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneloop.augment.settings import Teacher
from tuneloop.disk import explain_os_error, sha256_json
from tuneloop.errors import ModelError, RecipeError
from tuneloop.terminal import progress

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that another try may not meet."""
LONGEST_PAUSE = 60.0
"""Seconds between two tries at most, also where the endpoint asks for more."""
IN_A_ROW = 8
"""Questions that may fail one after the other before the rest is not asked: the endpoint is down, not the question."""


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
        fault: Why there is none.
    """

    text: str
    fault: str = ""


class _Refused(Exception):
    """Another try is of no use; the message says why."""


class _Failed(Exception):
    """Another try may do; `pause` is what the endpoint asks for, in seconds."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


class Cache:
    """Answers by key, in a SQLite file that survives a kill (journal DELETE, synchronous FULL).

    Args:
        path: The file; made when missing.

    Raises:
        RunError: if it cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._data.execute("pragma journal_mode=delete")
            self._data.execute("pragma synchronous=full")
            self._data.execute("create table if not exists answers (key text primary key, answer text not null)")

    def get(self, key: str) -> str | None:
        """The answer, or None."""
        with self._told(), self._lock:
            found = self._data.execute("select answer from answers where key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def put(self, key: str, answer: str) -> None:
        """Keep an answer; the first one stays."""
        with self._told(), self._lock:
            self._data.execute("insert or ignore into answers values (?, ?)", (key, answer))

    def close(self) -> None:
        """Close the file."""
        self._data.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            fault = error if isinstance(error, OSError) else OSError(0, str(error))
            raise explain_os_error(fault, self._path) from error


class Endpoint:
    """A teacher, and what it answered so far.

    Args:
        teacher: Where it is, and how it is asked.
        cache: Where answers are kept.
        sleep: Waits for so many seconds (a test's own does not).

    Raises:
        RecipeError: if the key's environment variable is not set.
    """

    def __init__(self, teacher: Teacher, cache: Cache, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._teacher, self._cache, self._sleep = teacher, cache, sleep
        self._key = os.environ.get(teacher.api_key_env, "") if teacher.api_key_env else ""
        if teacher.api_key_env and not self._key:
            raise RecipeError(
                f"augment.teacher: the environment variable {teacher.api_key_env} is not set",
                fix=f"export {teacher.api_key_env}=..., or leave api_key_env out where the endpoint wants no key",
            )
        self._url = teacher.base_url.rstrip("/") + "/chat/completions"
        self._pace, self._next = threading.Lock(), 0.0
        self._failed = 0

    def ask(self, questions: Sequence[Question], title: str = "") -> list[Answer]:
        """The answers, in the questions' order; a question that fails has a fault, and the others are asked.

        Args:
            questions: What to ask; those that the cache answers are not sent.
            title: Of the progress bar; "" shows none.

        Raises:
            ModelError: if the endpoint refuses all (wrong key, model or address), or is down: `IN_A_ROW` questions
                failed one after the other. What was answered is kept.
        """
        self._failed = 0
        executor = ThreadPoolExecutor(self._teacher.workers)
        try:
            with progress(title, len(questions), unit="rows") as bar:
                found: list[Answer] = []
                for answer in executor.map(self._answer, questions):
                    found.append(answer)
                    bar.advance()
                return found
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _answer(self, question: Question) -> Answer:
        key = self._cache_key(question)
        kept = self._cache.get(key)
        if kept is not None:
            return Answer(kept)
        if self._failed >= IN_A_ROW:
            raise self._down("it failed before")
        try:
            text = self._tried(question)
        except _Refused as error:
            raise self._down(str(error)) from None
        except _Failed as error:
            self._failed += 1
            if self._failed >= IN_A_ROW:
                raise self._down(str(error)) from None
            return Answer("", str(error))
        self._failed = 0
        self._cache.put(key, text)
        return Answer(text)

    def _down(self, why: str) -> ModelError:
        return ModelError(
            f"The teacher at {self._teacher.base_url} does not answer", got=why,
            allowed="an OpenAI-compatible endpoint with /chat/completions",
            fix="Check augment.teacher (base_url, model, api_key_env) and run again: what was answered is kept",
        )  # fmt: skip

    def _cache_key(self, question: Question) -> str:
        teacher = self._teacher
        asked = [question.system, question.user, question.copy]
        return sha256_json([teacher.model, teacher.temperature, teacher.max_tokens, *asked])

    def _tried(self, question: Question) -> str:
        """The answer, after as many tries as are allowed."""
        last = _Failed("it was not asked")
        for attempt in range(self._teacher.retries + 1):
            if attempt:
                pause = last.pause if last.pause is not None else 2.0 ** (attempt - 1)
                self._sleep(min(pause, LONGEST_PAUSE))
            self._wait_for_turn()
            try:
                return self._sent(question)
            except _Failed as error:
                last = error
        raise last

    def _wait_for_turn(self) -> None:
        """Keep to requests_per_minute, over all workers."""
        if self._teacher.requests_per_minute is None:
            return
        with self._pace:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + 60.0 / self._teacher.requests_per_minute
        if turn > now:
            self._sleep(turn - now)

    def _sent(self, question: Question) -> str:
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
            with urllib.request.urlopen(request, timeout=teacher.timeout) as response:
                return _content(json.load(response))
        except urllib.error.HTTPError as error:
            told = error.read(500).decode(errors="replace").strip()
            why = f"HTTP {error.code} {error.reason}: {told}".strip(": ")
            if error.code in PASSING:
                raise _Failed(why, _asked_pause(error.headers.get("Retry-After"))) from None
            if error.code in (400, 413, 422):  # this text is refused (too long, filtered), the next may not be
                raise _Failed(why, 0.0) from None
            raise _Refused(why) from None
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            raise _Failed(f"{type(error).__name__}: {error}") from None


def _content(reply: Any) -> str:
    """The answer's text of a reply."""
    try:
        choice = reply["choices"][0]
        text = choice["message"]["content"] or ""
    except (KeyError, IndexError, TypeError):
        raise _Failed(f"a reply without choices[0].message.content: {str(reply)[:200]}") from None
    if not isinstance(text, str) or choice.get("finish_reason") == "length":
        raise _Failed("the answer was cut off (finish_reason: length)", 0.0)
    return without_reasoning(text)


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
