"""The embed stage of a run: what Parquet lacks of several units' vectors, each embedded once, checked, and kept."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any, Protocol

import numpy as np

from pipeline.checkpoint import Table, vectors_table
from pipeline.embed.canary import Canary
from pipeline.embed.gate import Gate
from pipeline.embed.quality import Quality, Trial
from pipeline.errors import Poisoned, Terminal
from pipeline.ports import Embedder
from pipeline.report import Report
from pipeline.types import TokenIds, Vectors

# Parquet gets what the engine finished at least this often, so that a crash repeats little.
_FLUSH_TOKENS = 500_000
# The engine is given about this much at a time, so that a run that is told to stop does so within seconds …
_SLICE_SECONDS = 2.0
_FIRST_SLICE_TOKENS = 32_768
# … and the next ones while it is at work on one, so that it never waits for us. So many of a unit are held in memory.
_ENOUGH_SLICES = 2.5
_SLICES_IN_FLIGHT = 8
# So many vectors at once, of which not one is sound, are no fault of their texts.
_NO_COINCIDENCE = 16
# How soon a run that is told to stop does so while an engine is silent, in seconds.
_LOOK_SECONDS = 0.5


class Texts(Protocol):
    """What there is to embed, by embedding key."""

    def tokens(self, key: str) -> int:
        """How many tokens a text has."""

    def ids(self, key: str) -> TokenIds:
        """Its tokens."""


@dataclass(slots=True)
class Embedded:
    """What became of a unit's texts, by embedding key: why there is no vector; and the vectors, float32 and as long as
    the recipe's, that were made for it just now and are in Parquet. Those that were there before are in neither."""

    faults: dict[str, str] = field(default_factory=dict)
    vectors: dict[str, Vectors] = field(default_factory=dict)


@dataclass(slots=True)
class _Slice:
    keys: list[str]
    tokens: int
    vectors: Future[tuple[Vectors, dict[int, str]]]


class EmbedStage:
    """Shared by the units of a run, which may come in several threads. The engine is asked for with the first text.

    `go_on` raises if the run is to end. `exact` opens the same model unquantized, where `embedder` is quantized.
    """

    def __init__(
        self, table: Table, dimensions: int, embedder: Callable[[], Embedder], canary: Canary,
        go_on: Callable[[], None], exact: Callable[[], Embedder] | None = None,
    ) -> None:  # fmt: skip
        self._table = table
        self._open, self._exact = embedder, exact
        self._canary = canary
        self._go_on = go_on
        self._gate = Gate(dimensions)
        self._changed = threading.Condition()
        self._claimed: set[str] = set()
        self._faults: dict[str, str] = {}
        self._starting = threading.Lock()
        self._embedder: Embedder | None = None
        self._quality: Quality | None = None
        self._clock = _Clock()
        self._turns = _Turns(go_on)

    @property
    def warnings(self) -> list[str]:
        """What befell the engines."""
        return list(getattr(self._embedder, "warnings", ()))

    @property
    def engine(self) -> dict[str, Any]:
        """What computes the vectors of this run: settings, versions, how many engines, and what a trial of them showed;
        {} if nothing."""
        told: dict[str, Any] = {
            name: dict(getattr(self._embedder, name, None) or {}) for name in ("settings", "versions")
        }
        told["engines"] = getattr(self._embedder, "engines", 0)
        if self._quality is not None:
            told["quality"] = asdict(self._quality)
        return {name: value for name, value in told.items() if value}

    def run(self, keys: Sequence[str], again: frozenset[str], texts: Texts, report: Report) -> Embedded:
        """Put the vectors of `keys` into Parquet: those that it lacks, and those of `again` whatever it has.

        What another unit is embedding is not embedded twice, but waited for.
        """
        result = Embedded()
        rest, forced = dict.fromkeys(keys), set(again)
        while True:
            with self._changed:
                result.faults = {key: self._faults[key] for key in rest if key in self._faults}
                missing = (set(self._table.missing(list(rest))) | forced) - result.faults.keys()
                mine = missing - self._claimed
                if not missing:
                    return result
                if not mine:
                    self._changed.wait(1)
                    forced &= self._claimed  # whoever had them has embedded them
                self._claimed |= mine
            self._go_on()
            if mine:
                try:
                    result.vectors |= self._embed(mine, texts, report)
                finally:
                    with self._changed:
                        self._claimed -= mine
                        self._changed.notify_all()
                forced -= mine

    def _embed(self, keys: set[str], texts: Texts, report: Report) -> dict[str, Vectors]:
        embedder = self._started(report, lambda: [texts.ids(key) for key in sorted(keys)])
        # Alike lengths together leave a batch no ragged tail.
        rest = deque(sorted(keys, key=lambda key: (-texts.tokens(key), key)))
        made: dict[str, Vectors] = {}
        done: list[tuple[list[str], Vectors]] = []
        waiting = 0
        flights: deque[_Slice] = deque()
        turn = self._turns.next()
        pool = ThreadPoolExecutor(_SLICES_IN_FLIGHT, thread_name_prefix="embed")
        try:
            while rest or flights:
                self._go_on()
                while rest and len(flights) < _SLICES_IN_FLIGHT:
                    some = self._slice(rest, texts)
                    ids = [texts.ids(key) for key in some]
                    tokens = sum(map(len, ids))
                    self._turns.take(turn, tokens, _ENOUGH_SLICES * self._slice_tokens)
                    flights.append(_Slice(some, tokens, pool.submit(self._call, embedder, ids, tokens, report)))
                flight = flights.popleft()
                vectors, refused = self._result(flight)
                good = self._admit(flight.keys, vectors, refused)
                kept, sound = [flight.keys[row] for row in good], vectors[good].astype(np.float32, copy=False)
                done.append((kept, sound))
                made.update(zip(kept, sound, strict=True))
                lost = sum(texts.tokens(flight.keys[row]) for row in set(range(len(vectors))).difference(good))
                report.embedded += len(good)
                report.embedded_tokens += flight.tokens - lost
                report.reused -= len(flight.keys)
                waiting += flight.tokens
                if waiting >= _FLUSH_TOKENS:
                    self._keep(done, report)
                    waiting = 0
        finally:
            # Nobody waits for what is under way: a silent engine or server would hold up whoever stops the run.
            pool.shutdown(wait=False)
            # Whatever ends this, what the engine has done is done.
            self._keep(done, report)
        return made

    def _started(self, report: Report, texts: Callable[[], Sequence[TokenIds]]) -> Embedder:
        with self._starting:
            if self._embedder is None:
                trial = None
                with report.timed("engine_start"):
                    if self._exact is not None and not self._canary.exists:
                        trial = Trial(self._exact, texts())
                    embedder = self._open()
                if trial is not None:
                    self._quality = trial.judge(embedder)
                self._canary.check(embedder)
                self._embedder = embedder
            return self._embedder

    def _call(
        self, embedder: Embedder, ids: Sequence[TokenIds], tokens: int, report: Report
    ) -> tuple[Vectors, dict[int, str]]:
        try:
            with self._clock.running(tokens, report):
                return embedder.embed(ids), {}
        except Poisoned as poisoned:
            return poisoned.vectors, dict(poisoned.faults)
        finally:
            self._turns.give_back(tokens)

    def _result(self, flight: _Slice) -> tuple[Vectors, dict[int, str]]:
        while not wait([flight.vectors], _LOOK_SECONDS).done:
            self._go_on()
        return flight.vectors.result()

    @property
    def _slice_tokens(self) -> float:
        return max(self._clock.speed * _SLICE_SECONDS, _FIRST_SLICE_TOKENS)

    def _slice(self, rest: deque[str], texts: Texts) -> list[str]:
        limit = min(self._slice_tokens, _FLUSH_TOKENS)
        keys: list[str] = []
        total = 0
        while rest and total < limit:
            keys.append(rest.popleft())
            total += texts.tokens(keys[-1])
        return keys

    def _admit(self, keys: Sequence[str], vectors: Vectors, refused: dict[int, str]) -> list[int]:
        """The rows that may be stored; why the others may not is remembered. Raises Terminal if it is the engine."""
        unsound = self._gate.faults(keys, vectors)
        given = [row for row in range(len(keys)) if row not in refused]
        if len(given) >= _NO_COINCIDENCE and unsound.keys() >= set(given):
            raise Terminal(
                f"the engine cannot be trusted any more: of {len(given)} vectors not one is sound (the first: "
                f"{unsound[given[0]]}). None of them was stored; the same command goes on where it ended"
            )
        found = {**unsound, **refused}
        self._faults.update((keys[row], fault) for row, fault in found.items())
        return [row for row in range(len(keys)) if row not in found]

    def _keep(self, done: list[tuple[list[str], Vectors]], report: Report) -> None:
        """Put vectors into Parquet as one part."""
        if done:
            with report.timed("checkpoint"):
                keys = [key for some, _ in done for key in some]
                vectors = np.concatenate([vectors for _, vectors in done])
                self._table.append(vectors_table(keys, vectors))
                report.bytes_written += vectors.nbytes
            done.clear()


class _Turns:
    """Which unit hands the engine its next slice: the one that came first, while less than enough is under way.

    If all did so side by side they would end together, and be loaded together while the engine waits for others.
    """

    def __init__(self, go_on: Callable[[], None]) -> None:
        self._go_on = go_on
        self._changed = threading.Condition()
        self._numbers = count()
        self._waiting: list[int] = []
        self._tokens = 0

    def next(self) -> int:
        """A turn for who comes now."""
        return next(self._numbers)

    def take(self, turn: int, tokens: int, enough: float) -> None:
        """Wait until it is one's turn, and less than `enough` tokens are under way; `tokens` are, then."""
        with self._changed:
            self._waiting.append(turn)
            try:
                while self._tokens >= enough or turn > min(self._waiting):
                    self._changed.wait(_LOOK_SECONDS)
                    self._go_on()
                self._tokens += tokens
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()

    def give_back(self, tokens: int) -> None:
        """So many are under way no more."""
        with self._changed:
            self._tokens -= tokens
            self._changed.notify_all()


class _Clock:
    """How long the engine had something to do, however many units waited for it at once."""

    def __init__(self) -> None:
        self._tokens = 0
        self._lock = threading.Lock()
        self._running = 0
        self._since = 0.0
        self._total = 0.0

    @property
    def speed(self) -> float:
        """Tokens a second; 0 while nothing is known."""
        return self._tokens / self._total if self._total else 0.0

    @contextmanager
    def running(self, tokens: int, report: Report) -> Iterator[None]:
        """Counts the time inside, once, towards the report of whoever leaves, and the tokens that it was for."""
        with self._lock:
            if not self._running:
                self._since = time.perf_counter()
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                now = time.perf_counter()
                report.seconds["embed"] += now - self._since
                self._total += now - self._since
                self._tokens += tokens
                self._since = now
