"""Workers side by side, each given one request at a time; whoever is lost is replaced."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Generic, Protocol, TypeVar

from pipeline.errors import CorpusvecError, Rejected, Stopped
from pipeline.workers.worker import Lost, Worker

log = logging.getLogger(__name__)

#: More feed no engine faster: one process hands on what they make.
_MOST = 16

Request = TypeVar("Request")
Answer = TypeVar("Answer")
_Request = TypeVar("_Request", contravariant=True)


class Work(Protocol[_Request, Answer]):
    """Where requests are handed in: a `Pool`, or `Inline` without one."""

    def submit(self, request: _Request, stopping: threading.Event | None = None) -> Future[Answer]:
        """The answer to come. Waits while many others do. The future raises Rejected, Terminal or Stopped."""

    def close(self) -> None:
        """End what is going on, and all processes. Idempotent."""


class Inline(Generic[Request, Answer]):
    """The work done at once, in this process, with no limits."""

    def __init__(self, work: Callable[[Request], Answer]) -> None:
        self._work = work

    def submit(self, request: Request, stopping: threading.Event | None = None) -> Future[Answer]:
        """The answer, done."""
        future: Future[Answer] = Future()
        try:
            future.set_result(self._work(request))
        except CorpusvecError as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """There is nothing to close."""


class Pool(Generic[Request, Answer]):
    """At most `workers` processes, started as they are needed. Thread-safe.

    A request over `seconds` or `megabytes`, or whose process dies, is Rejected and its process replaced. Memory is
    resident memory, watched from outside: a limit of address space (RLIMIT_AS) would count what libraries only
    reserve, and fail in whatever line of C is next. What may be the fault of an earlier request (a crash, memory) is
    tried once more in a fresh process, so that nobody is blamed for another; a process that stays large is replaced.
    """

    def __init__(
        self, start: Callable[[], Callable[[Request], Answer]], workers: int, seconds: float, megabytes: int
    ) -> None:
        self._start, self._seconds, self._megabytes = start, seconds, megabytes
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="worker")
        #: Requests that wait are held in memory: two for each worker keep it busy.
        self._room = threading.Semaphore(2 * workers)
        self._idle: list[Worker] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._lifeline = os.pipe()
        self._end = weakref.finalize(self, _end, self._idle, self._lifeline)

    def submit(self, request: Request, stopping: threading.Event | None = None) -> Future[Answer]:
        """The answer to come; waits while two requests a worker are under way.

        The future raises Rejected, what the work raised, Terminal if no worker starts, and Stopped soon after
        `stopping` is set or the pool closed.
        """
        stopping = stopping or threading.Event()
        while not self._room.acquire(timeout=0.1):
            self._go_on(stopping)
        try:
            future = self._threads.submit(self._run, request, stopping)
        except BaseException as error:
            self._room.release()
            if self._closing.is_set():
                raise Stopped("the pool of workers is closed") from error
            raise
        future.add_done_callback(lambda _: self._room.release())
        return future

    def close(self) -> None:
        """End every process, whatever it is doing. Idempotent."""
        self._closing.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._end()

    def _run(self, request: Request, stopping: threading.Event) -> Answer:
        check = partial(self._go_on, stopping)
        check()
        worker = self._take(check)
        try:
            try:
                answer: Answer = worker.ask(request, check)
            except Lost as lost:
                if not (lost.doubtful and worker.served):
                    raise
                log.info("tried again in a fresh process: %s", lost)
                worker = self._fresh(check)
                answer = worker.ask(request, check)
        except Lost as lost:
            raise Rejected(str(lost)) from lost
        except CorpusvecError:
            self._give(worker)
            raise
        self._give(worker)
        return answer

    def _go_on(self, stopping: threading.Event) -> None:
        if self._closing.is_set() or stopping.is_set():
            raise Stopped("the run was asked to end")

    def _take(self, check: Callable[[], None]) -> Worker:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._fresh(check)

    def _fresh(self, check: Callable[[], None]) -> Worker:
        return Worker(self._start, self._seconds, self._megabytes, self._lifeline[0], check)

    def _give(self, worker: Worker) -> None:
        if worker.dead or worker.is_fat():
            worker.kill()
            return
        with self._lock:
            self._idle.append(worker)


def _end(idle: list[Worker], lifeline: tuple[int, int]) -> None:
    while idle:
        idle.pop().kill()
    for descriptor in lifeline:
        os.close(descriptor)


def default_workers(device: str) -> int:
    """How many workers this machine is for: every core where the engine is idle while they work (`cpu`).

    On a GPU ("cuda") all but two, which this process and the engine's need.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MOST, cores if device == "cpu" else cores - 2))
