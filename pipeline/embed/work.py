"""What is waiting to be embedded: texts of many callers in one queue, handed out by token count, longest first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CorpusvecError
from pipeline.types import Vectors


class Job:
    """One caller's texts, and what has become of them. `vectors` has NaN where there is none (yet)."""

    def __init__(self, count: int, dimensions: int) -> None:
        self.vectors: Vectors = np.full((count, dimensions), np.nan, np.float32)
        #: Row → why it was refused.
        self.faults: dict[int, str] = {}
        #: Set if the rest of it will never be done.
        self.error: CorpusvecError | None = None
        self.left = count
        self.settled = threading.Event()
        #: Nobody waits for it any more.
        self.abandoned = False


@dataclass(slots=True)
class Row:
    """A text to embed: row `index` of `job`."""

    job: Job
    index: int
    ids: NDArray[np.int32]
    #: How many engines died with it on their hands.
    failures: int = 0
    #: An engine that died over it may have run out of memory, and smaller batches were tried before it was accused.
    spared: bool = False

    def __len__(self) -> int:
        return len(self.ids)


class WorkQueue:
    """Rows of every caller, oldest first but for their lengths. Thread-safe.

    Within a window of `window` tokens the longest go first: neighbours of a like length leave a batch no ragged tail,
    and nothing waits longer than a window for being short. Whoever has room takes; so no engine waits while another
    has a heap, and towards the end the parcels get smaller, for all to end together.
    """

    def __init__(self, window: int) -> None:
        self._window_tokens = window
        self._arrived: deque[Row] = deque()
        self._window: list[Row] = []
        self._tokens = 0
        self._takers = 1
        self._changed = threading.Condition()
        self._error: CorpusvecError | None = None

    def submit(self, job: Job, rows: Iterable[Row]) -> None:
        """Queue a job's rows. Raises what `end` was given."""
        with self._changed:
            if self._error is not None:
                raise self._error
            for row in rows:
                self._arrived.append(row)
                self._tokens += len(row)
            self._changed.notify_all()

    def put_back(self, rows: Sequence[Row]) -> None:
        """Rows that were taken and not embedded go to the front."""
        with self._changed:
            self._window += rows
            self._window.sort(key=len)
            self._tokens += sum(map(len, rows))
            if self._error is not None:
                self._drop(self._error)
            self._changed.notify_all()

    def take(self, tokens: int, rows: int, wait: float = 0.0) -> list[Row]:
        """Up to so many tokens and rows, longest first; waits so many seconds for the first of them."""
        with self._changed:
            if not self._tokens and wait:
                self._changed.wait(wait)
            # An engine alone has nobody to end together with, and is slower with less.
            share = tokens if self._takers == 1 else max(self._tokens // (2 * self._takers), tokens // 8)
            room = min(tokens, share)
            taken: list[Row] = []
            while len(taken) < rows and self._refill():
                longest = self._window[-1]
                if taken and len(longest) > room:
                    break
                self._window.pop()
                self._tokens -= len(longest)
                if not longest.job.abandoned:
                    taken.append(longest)
                    room -= len(longest)
            return taken

    def share_among(self, takers: int) -> None:
        """How many engines take from it."""
        self._takers = max(takers, 1)

    def settle(self, done: Sequence[tuple[Row, Vectors]], faults: Sequence[tuple[Row, str]] = ()) -> None:
        """Hand rows' vectors, or why there are none, to those who wait for them."""
        with self._changed:
            for row, vector in done:
                row.job.vectors[row.index] = vector
                self._count(row)
            for row, reason in faults:
                row.job.faults[row.index] = reason
                self._count(row)

    def end(self, error: CorpusvecError) -> None:
        """Nothing more will be embedded: whoever waits, or comes, gets the error."""
        with self._changed:
            self._error = self._error or error
            self._drop(self._error)
            self._changed.notify_all()

    def _refill(self) -> bool:
        if not self._window:
            total = 0
            while self._arrived and total < self._window_tokens:
                row = self._arrived.popleft()
                total += len(row)
                self._window.append(row)
            self._window.sort(key=len)
        return bool(self._window)

    def _count(self, row: Row) -> None:
        row.job.left -= 1
        if not row.job.left:
            row.job.settled.set()

    def _drop(self, error: CorpusvecError) -> None:
        for row in (*self._window, *self._arrived):
            row.job.error = row.job.error or error
            row.job.settled.set()
        self._window.clear()
        self._arrived.clear()
        self._tokens = 0
