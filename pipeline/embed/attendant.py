"""Who looks after one engine: a thread that starts it, keeps it fed, listens for its silence and replaces it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.config import Engine
from pipeline.embed.arena import Shape
from pipeline.embed.model import Model
from pipeline.embed.process import EngineProcess
from pipeline.embed.protocol import Failed, Finished, Ready, Start
from pipeline.embed.settings import likely_device, smaller
from pipeline.embed.watchdog import Suspects, Watchdog
from pipeline.embed.work import Row, WorkQueue
from pipeline.errors import Terminal
from pipeline.types import Vectors

if TYPE_CHECKING:
    from pipeline.embed.pool import Pool

log = logging.getLogger(__name__)

# Loading weights from a slow disk and compiling a large model take minutes; nothing takes longer than this.
_START_SECONDS = 1_800.0
# Starts in a row that may fail before a device is given up; an engine that never ran gets one.
_START_TRIES = 3
# Between them: what a dead engine held of the device is not free at once.
_START_PAUSE = 5.0
# How long an attendant waits at most before it looks whether there is something new to hand over.
_LOOK_SECONDS = 0.01
_IDLE_SECONDS = 0.5
# Texts refused in a row, with not one embedded in between, before it is the engine that is to blame.
_MOST_REFUSED = 16


class Attendant(threading.Thread):
    """Owns the engine at one place (`pipeline.embed.settings.places`)."""

    def __init__(
        self, pool: Pool, queue: WorkQueue, model: Model, engine: Engine, engine_class: str, shape: Shape, place: str,
        starting: threading.Lock,
    ) -> None:  # fmt: skip
        super().__init__(name=f"engine-{place}", daemon=True)
        #: Set it, and the engine is closed soon.
        self.stopping = threading.Event()
        self.place = place
        self._starting = starting
        self._pool, self._queue, self._shape = pool, queue, shape
        self._model, self._settings, self._engine_class = model, engine, engine_class
        self._process: EngineProcess | None = None
        self._watchdog = Watchdog(engine.silence_seconds, likely_device(engine))
        self._suspects = Suspects()
        self._ran = False
        self._refused = 0
        #: Slot → the rows that are in it.
        self._held: dict[int, list[Row]] = {}
        self._free: list[int] = []
        #: What is left to hand over of the suspects that it is given at the moment.
        self._group: deque[Row] = deque()
        self._isolated = False
        self._heard = 0.0
        self._clear_hands()

    def run(self) -> None:
        """Until it is stopped, or its device is lost."""
        reason = "it was stopped"
        try:
            while not self.stopping.is_set():
                if self._process is None:
                    self._start_engine()
                self._hand_over()
                self._listen()
        except Terminal as error:
            reason = str(error)
        except Exception as error:  # a mistake of ours: whoever waits must not wait for ever
            log.exception("the attendant of the engine on %s failed", self.place)
            reason = f"{type(error).__name__}: {error}"
        finally:
            if self._process is not None:
                self._process.close()
            rows = [row for parcel in self._held.values() for row in parcel] + [*self._group, *self._suspects.release()]
            self._queue.put_back(rows)
            self._pool.lost(self.place, reason)

    def _start_engine(self) -> None:
        """Raises Terminal if it cannot be started."""
        reason = "it was stopped"
        for number in range(_START_TRIES if self._ran else 1):
            with self._starting:
                if self.stopping.wait(_START_PAUSE if number else 0):
                    break
                start = Start(self._engine_class, self._model, self._settings, self._shape)
                process = EngineProcess(start, self.place)
                reason = self._await_ready(process)
            if not reason:
                self._process, self._ran = process, True
                return
        raise Terminal(reason)

    def _await_ready(self, process: EngineProcess) -> str:
        deadline, said = time.monotonic() + _START_SECONDS, None
        reason = f"it did not answer within {_START_SECONDS:.0f} seconds"
        try:
            while said is None and time.monotonic() < deadline and not self.stopping.is_set():
                said = process.listen(_IDLE_SECONDS)
        except EOFError:
            reason = ""
        if isinstance(said, Ready):
            log.info("the engine on %s runs: %s", self.place, dict(said.settings))
            if not self._ran:
                self._pool.joined(said)
            return ""
        if isinstance(said, Failed):
            reason = said.reason
        ended = process.kill()
        words = process.last_words()
        process.forget()
        return f"{reason or f'its process {ended}'}; its last words: {words}"

    # -- while it runs -------------------------------------------------------------------------------------------

    def _hand_over(self) -> None:
        """Fill the free slots. Suspects are embedded with nothing beside them."""
        assert self._process is not None
        if not self._held and not self._group and self._suspects:
            self._group = deque(self._suspects.next_group())
            self._isolated = True
        while self._free:
            if self._isolated:
                rows = self._next_of_group()
            else:
                rows = self._queue.take(self._shape.tokens, self._shape.rows, 0 if self._held else _IDLE_SECONDS)
            if not rows:
                return
            slot = self._free.pop()
            if not self._held:
                self._heard = time.monotonic()
            self._held[slot] = rows
            try:
                self._process.give(slot, [row.ids for row in rows])
            except OSError:
                return  # it is dead: the next listening tells

    def _next_of_group(self) -> list[Row]:
        rows: list[Row] = []
        room = self._shape.tokens
        while self._group and len(rows) < self._shape.rows and len(self._group[0]) <= room:
            room -= len(self._group[0])
            rows.append(self._group.popleft())
        return rows

    def _listen(self) -> None:
        assert self._process is not None
        if not self._held:
            self._isolated = False
            return
        left = self._heard + self._watchdog.patience(self._in_flight()) - time.monotonic()
        try:
            said = self._process.listen(max(0.0, min(left, _LOOK_SECONDS if self._free else _IDLE_SECONDS)))
        except EOFError:
            self._replace("died", memory=False)
            return
        if isinstance(said, Finished):
            self._receive(said)
        elif isinstance(said, Failed):
            self._replace(f"failed ({said.reason})", said.memory)
        elif left <= 0:
            silent = time.monotonic() - self._heard
            self._replace(f"hung: it was silent for {silent:.1f} seconds over {self._in_flight()} tokens", memory=False)

    def _receive(self, finished: Finished) -> None:
        now = time.monotonic()
        rows = self._held.pop(finished.slot)
        self._watchdog.observe(sum(map(len, rows)), now - self._heard)
        self._heard = now
        assert self._process is not None
        done = [row for row in range(len(rows)) if row not in finished.refused]
        self._deliver(self._process.vectors(finished.slot), rows, done)
        self._queue.settle([], [(rows[row], reason) for row, reason in finished.refused.items()])
        self._free.append(finished.slot)

    def _deliver(self, vectors: Vectors, rows: Sequence[Row], done: Sequence[int]) -> None:
        self._queue.settle([(rows[row], vectors[row]) for row in done])
        if done:
            self._refused = 0

    def _in_flight(self) -> int:
        return sum(len(row) for rows in self._held.values() for row in rows)

    # -- when it does not ----------------------------------------------------------------------------------------

    def _replace(self, what: str, memory: bool) -> None:
        """The engine is of no more use: keep what it finished, find out what it died of, and have another started."""
        assert self._process is not None
        process, self._process = self._process, None
        ended = process.kill()
        words = process.last_words()
        unfinished: list[Row] = []
        for slot, rows in self._held.items():
            done = process.finished(slot, len(rows))
            self._deliver(process.vectors(slot), rows, done)
            unfinished += [row for number, row in enumerate(rows) if number not in set(done)]
        process.forget()
        rest = list(self._group)
        self._clear_hands()
        self._pool.warn(
            f"the engine on {self.place} {what} with {len(unfinished)} texts on its hands (its process {ended}): "
            f"started again; its last words: {words}"
        )
        if memory and (settings := smaller(self._settings, self._model)) is not None:
            # Nobody's fault: the same texts once more, fewer at a time.
            self._settings = settings
            self._suspects.delay([*unfinished, *rest])
            return
        self._suspects.delay(rest)
        unfinished = [row for row in unfinished if not row.job.abandoned]
        if unfinished and (poison := self._suspects.accuse(unfinished)) is not None:
            self._refuse(poison, f"the engine {what} over this text alone, twice; its last words: {words}")

    def _refuse(self, row: Row, reason: str) -> None:
        self._refused += 1
        self._queue.settle([], [(row, reason)])
        if self._refused >= _MOST_REFUSED:
            raise Terminal(f"it failed at {self._refused} texts in a row and embedded none; at the last, {reason}")

    def _clear_hands(self) -> None:
        self._held.clear()
        self._free = list(range(self._shape.slots))
        self._group.clear()
        self._isolated = False
