"""Work units side by side: one is parsed while another is embedded and a third is loaded. Knows no stage by name."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from pipeline.errors import Stopped, Transient

log = logging.getLogger(__name__)

#: Units listed before the first is worked on: enough to say how much there is to do, few enough to hold in memory.
LOOK_AHEAD = 32

#: Pauses before the second and later tries of what failed for a moment, in seconds: a database's restart fits in.
RETRY_PAUSES = (1.0, 4.0, 15.0, 60.0)

T = TypeVar("T")
R = TypeVar("R")


class Outcome(Protocol):
    """A result to come: a `concurrent.futures.Future`, or a scheduler's own."""

    def result(self) -> Any:
        """Wait for it; raise what the work raised."""


Submit = Callable[[Callable[[T], R], T], Outcome]


def run_all(
    work: Callable[[T], R],
    units: Iterable[T],
    in_flight: int,
    submit: Submit[T, R] | None = None,
    stopping: threading.Event | None = None,
) -> Iterator[R]:
    """The results of `work` over `units`, in order; at most `in_flight` units are held at a time.

    The listing runs LOOK_AHEAD units ahead, so that progress is a part of something. `submit` hands a unit to a
    scheduler with retries of its own; without one, threads here try again what is Transient.
    The first exception ends it, once the units in flight have ended; `stopping` is set so that they end soon. Closed
    before its end, it waits for those in flight.
    """
    stopping = stopping or threading.Event()
    if submit is not None:
        yield from _windowed(work, units, in_flight, submit, stopping)
        return
    if in_flight == 1:
        yield from (with_retries(work, unit, stopping) for unit in _ahead(units))
        return
    with ThreadPoolExecutor(in_flight, thread_name_prefix="unit") as pool:
        hand_over: Submit[T, R] = lambda work, unit: pool.submit(with_retries, work, unit, stopping)  # noqa: E731
        yield from _windowed(work, units, in_flight, hand_over, stopping)


def _windowed(
    work: Callable[[T], R], units: Iterable[T], in_flight: int, submit: Submit[T, R], stopping: threading.Event
) -> Iterator[R]:
    pending: deque[Outcome] = deque()
    try:
        for unit in _ahead(units):
            pending.append(submit(work, unit))
            if len(pending) >= in_flight:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BaseException as error:
        if not isinstance(error, GeneratorExit):  # that is somebody who wants no more units, and what is begun done
            stopping.set()
        others = [other for outcome in pending if (other := _error_of(outcome)) is not None]
        # The first exception is the one that is told; but that a unit was stopped is no reason, where another failed.
        if isinstance(error, Stopped):
            for other in others:
                if not isinstance(other, Stopped):
                    raise other from None
        raise


def _error_of(outcome: Outcome) -> BaseException | None:
    try:
        outcome.result()
    except BaseException as error:
        return error
    return None


def _ahead(units: Iterable[T]) -> Iterator[T]:
    listed: deque[T] = deque()
    for unit in units:
        listed.append(unit)
        if len(listed) > LOOK_AHEAD:
            yield listed.popleft()
    yield from listed


def with_retries(work: Callable[[T], R], unit: T, stopping: threading.Event | None = None) -> R:
    """`work(unit)`, again after each pause while it raises Transient; once `stopping` is set, not again."""
    stopping = stopping or threading.Event()
    for pause in RETRY_PAUSES:
        try:
            return work(unit)
        except Transient as error:
            log.warning("%s: trying again in %g s", error, pause)
            if stopping.wait(pause):
                raise
    return work(unit)
