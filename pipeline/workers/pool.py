"""Workers side by side, each given one request at a time; whoever is lost is replaced."""

from __future__ import annotations

import heapq
import logging
import os
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

from pipeline.errors import CorpusvecError, Rejected, Stopped
from pipeline.workers.cores import cores
from pipeline.workers.scratch import Scratch
from pipeline.workers.worker import Lost, Reply, Worker

log = logging.getLogger(__name__)

#: What lists of processes show.
PURPOSE = "corpusvec: parse"
#: More feed no engine faster: one process hands on what they make.
_MOST = 16
#: So much waits in memory, and then whoever hands in more.
_QUEUED, _QUEUED_BYTES = 1024, 64 * 2**20
#: So many requests, so large in all, go to a process together, and are then done within so many seconds or one by one.
_TOGETHER, _TOGETHER_BYTES, _TOGETHER_SECONDS = 32, 128 * 2**10, 10.0
#: A process that had nothing to do for so long is ended: between two nights it would only hold memory.
_REST_SECONDS = 60.0
_NEVER = threading.Event()

Request = TypeVar("Request")
Answer = TypeVar("Answer")
_Request = TypeVar("_Request", contravariant=True)


class Work(Protocol[_Request, Answer]):
    """Where requests are handed in: a `Pool`, or `Inline` without one."""

    def submit(self, request: _Request, stopping: threading.Event | None = None, turn: int = 0) -> Future[Answer]:
        """The answer to come. Waits while many others do. The future raises Rejected, Terminal or Stopped.

        Of what waits, the lowest `turn` is done first.
        """

    def close(self) -> None:
        """End what is going on, and all processes. Idempotent."""


class Inline(Generic[Request, Answer]):
    """The work done at once, in this process, with no limits."""

    def __init__(self, work: Callable[[Request], Answer]) -> None:
        self._work = work

    def submit(self, request: Request, stopping: threading.Event | None = None, turn: int = 0) -> Future[Answer]:
        """The answer, done."""
        future: Future[Answer] = Future()
        try:
            future.set_result(self._work(request))
        except CorpusvecError as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """There is nothing to close."""


@dataclass(slots=True)
class _Job:
    """A request on its way, pickled."""

    request: bytes
    stopping: threading.Event
    future: Future[Any]
    turn: int
    number: int  # in order of arrival
    alone: bool = False  # it was among several that failed

    def __lt__(self, other: _Job) -> bool:
        return (self.turn, self.number) < (other.turn, other.number)


class Pool(Generic[Request, Answer]):
    """At most `workers` processes, started as they are needed, each with a thread of ours that waits for it.

    A request over `seconds` or `megabytes`, or whose process dies, is Rejected and its process replaced. Memory is
    resident memory, watched from outside: a limit of address space (RLIMIT_AS) would count what libraries only
    reserve, and fail in whatever line of C is next. Small requests that wait go to a process together, since a switch
    of threads takes longer than they do. What may be the fault of another request (a crash, memory, whatever happens
    to several together) is tried once more, alone and in a fresh process; one that stays large is replaced.
    """

    def __init__(
        self, start: Callable[[], Callable[[Request], Answer]], workers: int, seconds: float, megabytes: int
    ) -> None:
        self._start, self._workers, self._seconds, self._megabytes = start, workers, seconds, megabytes
        self._queue: list[_Job] = []  # a heap
        self._queued: Counter[int] = Counter()  # how many of each turn
        self._waiting: list[int] = []  # the turns of those who wait for room in it
        self._numbers = count()
        self._bytes = 0  # of requests in the queue
        self._free = 0  # threads without a request
        self._threads: list[threading.Thread] = []
        self._closed = False
        lock = threading.Lock()
        self._work, self._room = threading.Condition(lock), threading.Condition(lock)
        #: Ends in every worker when this process does.
        self._lifeline = os.pipe()
        self._scratch = Scratch()

    def submit(self, request: Request, stopping: threading.Event | None = None, turn: int = 0) -> Future[Answer]:
        """The answer to come; waits while much else does. The lowest `turn` is first, both to be let in and to be done:
        if all that several callers want were done side by side, each would have to wait for the whole of it.

        The future raises Rejected, what the work raised, Terminal if no worker starts, and Stopped soon after
        `stopping` is set or the pool closed.
        """
        data = pickle.dumps(request, pickle.HIGHEST_PROTOCOL)
        job = _Job(data, stopping or _NEVER, Future(), turn, next(self._numbers))
        job.future.set_running_or_notify_cancel()  # from here on only we end it
        with self._work:
            self._waiting.append(turn)
            try:
                while self._bytes > _QUEUED_BYTES or len(self._queue) > _QUEUED or turn > min(self._waiting):
                    self._go_on(job.stopping)
                    self._room.wait(0.1)
                self._go_on(job.stopping)
            finally:
                self._waiting.remove(turn)
            self._enqueue(job)
        return job.future

    def close(self) -> None:
        """End every process, whatever it is doing. Idempotent."""
        with self._work:
            if self._closed:
                return
            self._closed = True
            self._work.notify_all()
        for thread in self._threads:
            thread.join()
        for job in self._queue:
            job.future.set_exception(Stopped("the run was asked to end"))
        for descriptor in self._lifeline:
            os.close(descriptor)
        self._scratch.close()

    def _enqueue(self, job: _Job) -> None:
        """Have somebody do it. Whoever calls has the lock."""
        heapq.heappush(self._queue, job)
        self._queued[job.turn] += 1
        self._bytes += len(job.request)
        if self._free < len(self._queue) and len(self._threads) < self._workers and not self._closed:
            self._free += 1
            name = f"worker-{len(self._threads)}"
            self._threads.append(threading.Thread(target=self._serve, name=name, daemon=True))
            self._threads[-1].start()
        self._work.notify()

    def _serve(self) -> None:
        worker: Worker | None = None
        while (jobs := self._next()) is not None:
            if not jobs and worker is not None:
                worker.kill()
                worker = None
            if len(jobs) > 1:
                worker = self._together(jobs, worker)
            elif jobs:
                worker = self._alone(jobs[0], worker)
            if worker is not None and worker.is_fat():
                worker.kill()
                worker = None
        if worker is not None:
            worker.kill()

    def _next(self) -> list[_Job] | None:
        """What to do next: one request, or small ones of one turn that wait; nothing for long; None once closed."""
        with self._work:
            # Another thread may have taken what this one was woken for: then it goes on waiting.
            if not self._work.wait_for(lambda: self._queue or self._closed, _REST_SECONDS):
                return []
            if self._closed:
                return None
            jobs = [heapq.heappop(self._queue)]
            most = min(_TOGETHER, -(-self._queued[jobs[0].turn] // self._workers))
            size = len(jobs[0].request)
            while self._queue and len(jobs) < most and _may_join(self._queue[0], jobs[0]):
                size += len(self._queue[0].request)
                if size > _TOGETHER_BYTES:
                    break
                jobs.append(heapq.heappop(self._queue))
            self._queued[jobs[0].turn] -= len(jobs)
            self._queued += Counter()  # drops what is zero
            self._bytes -= sum(len(job.request) for job in jobs)
            self._free -= 1
            self._room.notify_all()
        return jobs

    def _together(self, jobs: Sequence[_Job], worker: Worker | None) -> Worker | None:
        """Ask for several; if that fails, whoever has time asks for them one by one."""
        check = partial(self._go_on, jobs[0].stopping)
        try:
            worker = worker or self._fresh(check)
            replies = worker.ask([job.request for job in jobs], min(self._seconds, _TOGETHER_SECONDS), check)
        except Exception as error:  # whatever it is, each of them meets it again, or it was another's
            log.debug("%d requests one by one, after: %s", len(jobs), error)
            with self._work:
                self._free += 1
                for job in jobs:
                    job.alone = True
                    self._enqueue(job)
            return None
        self._done()
        for job, reply in zip(jobs, replies, strict=True):
            _settle(job, reply)
        return worker

    def _alone(self, job: _Job, worker: Worker | None) -> Worker | None:
        """Ask for one."""
        check = partial(self._go_on, job.stopping)
        try:
            while True:
                worker = worker or self._fresh(check)
                try:
                    reply = worker.ask([job.request], self._seconds, check)[0]
                    self._done()
                    _settle(job, reply)
                    return worker
                except Lost as lost:
                    if not (lost.doubtful and worker.served):
                        raise Rejected(str(lost)) from lost
                    log.info("tried again in a fresh process: %s", lost)
                    worker = None
        except Exception as error:
            self._done()
            job.future.set_exception(error)
        return None

    def _done(self) -> None:
        """Called before an answer is told: whoever asks again at once shall find this thread free."""
        with self._work:
            self._free += 1

    def _go_on(self, stopping: threading.Event) -> None:
        if self._closed or stopping.is_set():
            raise Stopped("the run was asked to end")

    def _fresh(self, check: Callable[[], None]) -> Worker:
        check()
        return Worker(
            self._start, self._seconds, self._megabytes, self._lifeline[0], self._scratch.path, check,
            PURPOSE, "parse_workers = 0",
        )  # fmt: skip


def _may_join(job: _Job, first: _Job) -> bool:
    return job.turn == first.turn and job.stopping is first.stopping and not (job.alone or first.alone)


def _settle(job: _Job, reply: Reply) -> None:
    sound, answer = reply
    if sound:
        job.future.set_result(answer)
    else:
        job.future.set_exception(answer)


def default_workers(device: str) -> int:
    """How many workers this machine is for: every core where the engine is idle while they work (`cpu`).

    On a GPU ("cuda") all but two, which this process and the engine's need.
    """
    return max(1, min(_MOST, cores() if device == "cpu" else cores() - 2))
