"""Who does the work that can be cut into parts: this process, all cores, or a Ray cluster.

tasks --each(function)--> results in the order of the tasks, whoever did them and whenever they were done
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextvars import ContextVar
from typing import Any, Literal, TypeVar

from tuneloop.errors import RecipeError
from tuneloop.terminal import progress

Task = TypeVar("Task")
Result = TypeVar("Result")
EngineName = Literal["local", "ray"]
_most: ContextVar[int | None] = ContextVar("most", default=None)


class Engine(ABC):
    """Runs a function of a module on each of many tasks; function, tasks and results travel to other processes."""

    def each(self, function: Callable[[Task], Result], tasks: Sequence[Task], what: str) -> Iterator[Result]:
        """The results, in order.

        Args:
            function: At the top of a module; the same task always gives the same result.
            tasks: Small ones: they name what to read and where to write.
            what: Beside the progress bar; "" shows none.
        """
        with progress(what, len(tasks), unit="parts") as bar:
            for result in self.results(function, tasks):
                yield result
                bar.advance()

    @abstractmethod
    def results(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """The results, in order, and nothing on the screen."""


class Here(Engine):
    """This process, one task after the other."""

    def results(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See Engine."""
        return map(function, tasks)


class Cores(Engine):
    """As many processes as there are cores.

    Args:
        workers: Processes; None: as many as `threads` gives.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    def results(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See Engine. Few tasks are under way at a time; a Ctrl-C, which only this process hears, ends the workers."""
        workers = self.workers or threads()
        others = set(multiprocessing.active_children())
        # spawn: a fork of a process that has threads (numpy's, polars') may hang
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            waiting: deque[Future[Result]] = deque()
            try:
                for task in tasks:
                    with _sigint_blocked():  # this is where the pool starts a worker
                        waiting.append(pool.submit(function, task))
                    if len(waiting) > 2 * workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BaseException:
                for worker in set(multiprocessing.active_children()) - others:
                    worker.terminate()  # what a task writes is whole or not there
                raise


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Keep Ctrl-C back while the block runs; a process that is started in it never hears one.

    A terminal sends Ctrl-C to all processes at once, and one that still imports would print where it was.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Ray(Engine):
    """A Ray cluster, through Ray Data; its machines must all see the folder of the run under the same path."""

    def results(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """See Engine.

        Raises:
            RecipeError: if Ray is not installed.
        """
        try:
            import ray
            import ray.data
        except ImportError:
            raise RecipeError(
                "engine: ray needs Ray, which is not installed", fix='pip install "tuneloop[ray]", or set engine: local'
            ) from None
        if not ray.is_initialized():
            ray.init(include_dashboard=False, log_to_driver=False)
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        work = ray.data.from_items([{"number": number} for number in range(len(tasks))], override_num_blocks=len(tasks))
        for row in work.map(_Numbered(function, tasks)).iter_rows():
            yield row["result"]


class _Numbered:
    """Ray Data carries columns: the number of a task goes out, its result comes back."""

    def __init__(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> None:
        self.function, self.tasks = function, tasks

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"result": self.function(self.tasks[row["number"]])}


def engine_of(name: EngineName) -> Engine:
    """The engine that a recipe names."""
    return Ray() if name == "ray" else Cores()


def threads() -> int:
    """As many as the process may use cores, or as `at_most` allows."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(cores, _most.get() or cores)


@contextlib.contextmanager
def at_most(workers: int | None) -> Iterator[None]:
    """Inside, `threads` gives no more than this; each worker holds a block of rows, and memory may be bounded.

    Args:
        workers: At least 1; None bounds nothing.
    """
    before = _most.set(workers)
    try:
        yield
    finally:
        _most.reset(before)
