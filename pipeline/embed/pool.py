"""Engines side by side, one process each, behind one `embed` that many threads may call.

    callers → WorkQueue → Attendant (a thread an engine) ⇄ shared memory ⇄ worker process (the engine)

An attendant keeps a few parcels on its engine's hands, so that the engine never waits for us; a silent or dead engine
is replaced, and what it died over is narrowed down to the text that kills it (`watchdog.py`). No text is refused before
the engine has embedded another, be it one that is made up for that: until then the engine may be to blame.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.config import Engine
from pipeline.embed.arena import Shape
from pipeline.embed.attendant import Attendant
from pipeline.embed.gate import LEAST_COSINE, unfit
from pipeline.embed.model import Model
from pipeline.embed.process import log_files
from pipeline.embed.protocol import Ready
from pipeline.embed.settings import batched_tokens, longest_input, places
from pipeline.embed.work import Job, Row, WorkQueue
from pipeline.errors import CorpusvecError, Poisoned, Terminal
from pipeline.types import TokenIds, Vectors

log = logging.getLogger(__name__)

# Parcels on an engine's hands: one it computes, one it has ready, and time for us to bring another.
_SLOTS = 4
# Texts a parcel: more would be shorter than a sentence each.
_ROWS = 512
# How many batches an engine the queue sorts by length at a time.
_WINDOW_BATCHES = 16


class Pool:
    """An `Embedder` over every visible GPU, or the CPU. `engine_class` is `module:name` of a StreamingEngine.

    Returns once the first engine runs; the others join when they do. Raises Terminal, with their last words, if none
    starts. `gated` is False for vectors that are meant to mean nothing (made-up weights): they need not be sound.
    """

    def __init__(self, model: Model, engine: Engine, engine_class: str, gated: bool = True) -> None:
        started = time.monotonic()
        self.dimensions = model.dimensions
        self._longest = longest_input(model, engine)
        self._name = model.name
        tokens = batched_tokens(model, engine)
        self._changed = threading.Condition()
        self._closing = False
        self._gated = gated
        self._ready: list[Ready] = []
        #: What a person should know of the engines: restarts, smaller batches, lost devices.
        self.warnings: list[str] = []
        self._reasons: list[str] = []
        at = places(engine)
        logs = log_files(len(at))
        self._queue = WorkQueue(_WINDOW_BATCHES * tokens * len(at))
        self._queue.share_among(len(at))
        shape = Shape(_SLOTS, _ROWS, tokens, model.dimensions)
        # An engine measures how much memory its GPU has left as it starts: two at once would each count the other's.
        one_by_one = {gpu: threading.Lock() for gpu in at}
        starting = [threading.Lock() if place == "cpu" else one_by_one[place] for place in at]
        self._attendants = [
            Attendant(self, self._queue, model, engine, engine_class, shape, place, lock, log_file, gated)
            for place, lock, log_file in zip(at, starting, logs, strict=True)
        ]
        self._alive = len(self._attendants)
        for attendant in self._attendants:
            attendant.start()
        try:
            self.wait(1)
        except BaseException:
            self.close()
            raise
        first = self._ready[0]
        self.device = first.device
        self.settings: Mapping[str, Any] = first.settings
        self.versions: Mapping[str, str] = first.versions
        #: How long it took until the first engine ran, in seconds.
        self.start_seconds = time.monotonic() - started

    @property
    def engines(self) -> int:
        """How many engines there are, those included that are being started (again)."""
        return self._alive

    def wait(self, engines: int | None = None) -> None:
        """Until so many engines run (all of those there are, by default). Raises Terminal if none is left."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alive or len(self._ready) >= min(engines or 99, self._alive))
            if not self._alive:
                raise self._end()

    def embed(self, token_ids: Sequence[TokenIds]) -> Vectors:
        """One vector a row, in order: float32, shape (len(token_ids), dimensions). Thread-safe.

        Raises Poisoned if some rows cannot be embedded, with the vectors of the others; Terminal if no engine is left.
        """
        job = Job(len(token_ids), self.dimensions)
        rows = []
        for index, ids in enumerate(token_ids):
            if (reason := unfit(len(ids), self._longest)) is None:
                rows.append(Row(job, index, np.asarray(ids, np.int32)))
            else:
                job.faults[index] = reason
                job.left -= 1
        if rows:
            self._queue.submit(job, rows)
            try:
                job.settled.wait()
            finally:
                job.abandoned = True  # for an interrupt that ends the waiting: nobody wants the rest
        if job.error is not None:
            raise job.error
        if job.faults:
            raise Poisoned(job.faults, job.vectors)
        return job.vectors

    def close(self) -> None:
        """Stop every engine and free the devices. Idempotent."""
        self._closing = True
        self._queue.end(Terminal("the engines were stopped while there was something left to embed"))
        for attendant in self._attendants:
            attendant.stopping.set()
        for attendant in self._attendants:
            attendant.join()

    def joined(self, ready: Ready, again: bool) -> str:
        """An attendant's engine runs, `again` if it is not its first. Why it must not be used, "" if it may.

        A corpus's vectors come from all engines, and are compared with each other: they must be of one kind.
        """
        with self._changed:
            cosine = _cosine(self._ready[0].vector, ready.vector) if self._ready and self._gated else 1.0
            if not cosine >= LEAST_COSINE:
                return (
                    f"its vectors are of another kind than those of the engine that ran first: the same text comes out "
                    f"with cosine {cosine:.5f} to it, below {LEAST_COSINE}; are the devices and their drivers the same?"
                )
            if not again:
                self._ready.append(ready)
                self._changed.notify_all()
            return ""

    def warn(self, text: str) -> None:
        """Something happened that a person should know of."""
        log.warning("%s", text)
        self.warnings.append(text)

    def lost(self, place: str, reason: str) -> None:
        """An attendant has given its engine up; the others go on."""
        with self._changed:
            self._alive -= 1
            self._reasons.append(reason)
            self._queue.share_among(self._alive)
            if self._alive and not self._closing:
                self.warn(f"the engine on {_in_words(place)} is lost, the others go on: {reason}")
            if not self._alive:
                self._queue.end(self._end())
            self._changed.notify_all()

    def _end(self) -> CorpusvecError:
        reason = self._reasons[0] if self._reasons else "none was started"
        if not self._ready:
            return Terminal(f"the engine did not start for {self._name}: {reason}")
        return Terminal(f"the engine stopped while embedding: {reason}")


def _cosine(one: Vectors, other: Vectors) -> float:
    if one.shape != other.shape:
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # one that is no vector is like no other
        return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def _in_words(place: str) -> str:
    return "the CPU" if place == "cpu" else f"GPU {place}"
