"""Who looks after one engine: a thread that starts it, keeps it fed, listens for its silence and replaces it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config import Engine
from pipeline.embed.arena import Shape
from pipeline.embed.gate import faults
from pipeline.embed.memory import Memory
from pipeline.embed.model import Model
from pipeline.embed.process import EngineProcess
from pipeline.embed.protocol import PROBE, Failed, Finished, Ready, Start
from pipeline.embed.settings import batched_tokens, likely_device, smaller
from pipeline.embed.watchdog import Suspects, Watchdog
from pipeline.embed.work import Job, Row, WorkQueue
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
# Texts refused in a row, with not one embedded in between, before the engine must show that it is not to blame.
_MOST_REFUSED = 16
# What it did not start for.
_WANT = {Memory.YES: "for want of memory", Memory.PERHAPS: "perhaps for want of memory"}


class Attendant(threading.Thread):
    """Owns the engine at one place (`pipeline.embed.settings.places`)."""

    def __init__(
        self, pool: Pool, queue: WorkQueue, model: Model, engine: Engine, engine_class: str, shape: Shape, place: str,
        starting: threading.Lock, log_file: Path | None = None, gated: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(name=f"engine-{place}", daemon=True)
        #: Set it, and the engine is closed soon.
        self.stopping = threading.Event()
        self.place = place
        self._starting, self._log_file, self._gated = starting, log_file, gated
        self._pool, self._queue, self._shape = pool, queue, shape
        self._model, self._settings, self._engine_class = model, engine, engine_class
        #: Without the smaller batches that were only a guess.
        self._certain_settings = engine
        self._process: EngineProcess | None = None
        self._watchdog = Watchdog(engine.silence_seconds, likely_device(engine))
        self._suspects = Suspects()
        self._ran = False
        #: Refused, and not told yet: until the engine embeds another text, it may be the engine that is to blame.
        self._doubted: list[tuple[Row, str]] = []
        #: A text that nothing is wrong with, given to an engine that embeds no other.
        self._trial: Row | None = None
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
            try:
                if self._process is not None:
                    self._process.close()
            finally:
                rows = [row for parcel in self._held.values() for row in parcel]
                rows += [*self._group, *self._suspects.release(), *(row for row, _ in self._doubted)]
                self._queue.put_back(rows)
                self._pool.lost(self.place, reason)

    def _start_engine(self) -> None:
        """Raises Terminal if it cannot be started."""
        failed, failures, guessed = Failed("it was stopped", Memory.NO), 0, False
        while failures < (_START_TRIES if self._ran else 1):
            with self._starting:
                if self.stopping.wait(_START_PAUSE if failed.memory or failures else 0):
                    break
                start = Start(self._engine_class, self._model, self._settings, self._shape)
                process = EngineProcess(start, self.place, self._log_file)
                ended = self._await_ready(process)
            if ended is None:
                self._process, self._ran = process, True
                return
            failed, guess = ended, ended.memory is Memory.PERHAPS
            # The first time an engine is started again, what the dead one held of the device may not be free yet.
            if (failures or not self._ran) and not (guess and guessed) and self._start_smaller(failed):
                guessed = guessed or guess
            else:
                failures += 1
        reason = f"it cannot be started again: {failed.reason}" if self._ran else failed.reason
        if failed.memory is Memory.YES:
            reason += f"; it ran out of memory with {self._batches()}, the least: free some, or lower max_model_len"
        raise Terminal(reason)

    def _start_smaller(self, failed: Failed) -> bool:
        """Whether there are settings to start with that need less memory; they are chosen.

        An engine measures its largest batch as it starts: fewer texts of as many tokens would not help it.
        """
        settings = smaller(self._settings, self._model) if failed.memory else None
        if settings is None or self._tokens_of(settings) >= self._tokens_of(self._settings):
            return False
        self._settings = settings
        if failed.memory is Memory.YES:
            self._certain_settings = settings
        self._pool.warn(
            f"the engine on {self.place} did not start, {_WANT[failed.memory]}: started again with {self._batches()}; "
            f"what it said: {failed.reason}"
        )
        return True

    def _await_ready(self, process: EngineProcess) -> Failed | None:
        """Why it does not start; None if it runs."""
        deadline, said = time.monotonic() + _START_SECONDS, None
        reason = f"it did not answer within {_START_SECONDS:.0f} seconds"
        try:
            while said is None and time.monotonic() < deadline and not self.stopping.is_set():
                said = process.listen(_IDLE_SECONDS)
        except EOFError:
            reason = ""
        if isinstance(said, Ready):
            log.info("the engine on %s runs: %s", self.place, dict(said.settings))
            if not (strange := self._pool.joined(said, again=self._ran)):
                return None
            said = Failed(strange, Memory.NO)
        end = process.kill()
        process.forget()
        memory = end.memory
        if isinstance(said, Failed):
            reason, memory = said.reason, max(said.memory, memory)
        return Failed(f"{reason or f'its process {end.how}'}; its last words: {end.words}", memory)

    # -- while it runs -------------------------------------------------------------------------------------------

    def _hand_over(self) -> None:
        """Fill the free slots. Suspects are embedded with nothing beside them."""
        assert self._process is not None
        if len(self._doubted) >= _MOST_REFUSED:
            self._try(min(len(row) for row, _ in self._doubted))
        if self._suspects and not self._isolated:
            if self._held:
                return
            self._group = deque(self._suspects.next_group())
            self._isolated = True
        while self._free:
            rows = self._next_of_group() if self._isolated else self._next_of_queue()
            if not rows:
                return
            try:
                self._process.give(self._free[-1], [row.ids for row in rows])
            except OSError:  # it is dead, which the next listening tells; and not of these
                self._suspects.delay([*rows, *self._group])
                self._group.clear()
                return
            if not self._held:
                self._heard = time.monotonic()
            self._held[self._free.pop()] = rows

    def _next_of_queue(self) -> list[Row]:
        busy = bool(self._held or self._doubted)
        rows = self._queue.take(self._shape.tokens, self._shape.rows, 0 if busy else _IDLE_SECONDS)
        if not rows and not self._held and self._doubted:
            self._try(len(PROBE))
        return rows

    def _try(self, tokens: int) -> None:
        """Have a text of this length embedded that nothing is wrong with, before anything else."""
        if self._trial is None:
            self._trial = Row(Job(1, self._shape.dimensions), 0, np.resize(np.array(PROBE, np.int32), tokens))
            self._suspects.put_first([self._trial])

    def _next_of_group(self) -> list[Row]:
        rows: list[Row] = []
        room = self._shape.tokens
        while self._group and len(rows) < self._shape.rows and len(self._group[0]) <= room:
            room -= len(self._group[0])
            rows.append(self._group.popleft())
        return rows

    def _listen(self) -> None:
        assert self._process is not None
        seconds = left = 0.0  # an engine with nothing to do may die all the same, and no text is to blame
        if self._held:
            left = self._heard + self._watchdog.patience(self._in_flight()) - time.monotonic()
            seconds = max(0.0, min(left, _LOOK_SECONDS if self._free else _IDLE_SECONDS))
        else:
            self._isolated = False
        try:
            said = self._process.listen(seconds)
        except EOFError:
            self._replace("died")
            return
        if isinstance(said, Finished):
            self._receive(said)
        elif isinstance(said, Failed):
            self._replace(f"failed ({said.reason})", said.memory)
        elif self._held and left <= 0:
            silent = time.monotonic() - self._heard
            self._replace(f"hung: it was silent for {silent:.1f} seconds over {self._in_flight()} tokens")

    def _receive(self, finished: Finished) -> None:
        now = time.monotonic()
        rows = self._held.pop(finished.slot)
        self._watchdog.observe(sum(map(len, rows)), now - self._heard)
        self._heard = now
        assert self._process is not None
        done = [row for row in range(len(rows)) if row not in finished.refused]
        for row, reason in finished.refused.items():
            self._refuse(rows[row], reason)
        self._deliver(self._process.vectors(finished.slot), rows, done)
        self._free.append(finished.slot)

    def _deliver(self, vectors: Vectors, rows: Sequence[Row], done: Sequence[int]) -> None:
        """Hand over what is sound, and with it what was refused before: an engine that embeds is not to blame."""
        wrong = faults(vectors[done], self._shape.dimensions) if self._gated else {}
        for number, reason in wrong.items():
            self._refuse(rows[done[number]], reason)
        sound = [(rows[row], vectors[row]) for number, row in enumerate(done) if number not in wrong]
        if sound:
            self._queue.settle(sound, self._doubted)
            self._doubted, self._trial = [], None

    def _refuse(self, row: Row, reason: str) -> None:
        """It has no vector. Raises Terminal if nothing is wrong with it: then it is the engine that is to blame."""
        if row is not self._trial:
            self._doubted.append((row, reason))
            return
        raise Terminal(
            f"it embedded none of {len(self._doubted)} texts in a row (the last: {self._doubted[-1][1]}), nor one of "
            f"{len(row)} tokens that nothing is wrong with: {reason}"
        )

    def _in_flight(self) -> int:
        return sum(len(row) for rows in self._held.values() for row in rows)

    # -- when it does not ----------------------------------------------------------------------------------------

    def _replace(self, what: str, memory: Memory = Memory.NO) -> None:
        """The engine is of no more use: keep what it finished, find out what it died of, and have another started."""
        assert self._process is not None
        process, self._process = self._process, None
        end = process.kill()
        memory = max(memory, end.memory)
        unfinished: list[Row] = []
        try:
            for slot, rows in self._held.items():
                done = process.finished(slot, len(rows))
                self._deliver(process.vectors(slot), rows, done)
                unfinished += [row for number, row in enumerate(rows) if number not in set(done)]
        finally:
            process.forget()
        rest = list(self._group)
        self._clear_hands()
        smaller_ones = self._shrink(unfinished, memory)
        self._pool.warn(
            f"the engine on {self.place} {what} with {len(unfinished)} texts on its hands (its process {end.how}): "
            f"started again{f', with {self._batches()}' if smaller_ones else ''}; its last words: {end.words}"
        )
        if smaller_ones:
            # Nobody's fault: the same texts once more, fewer at a time.
            self._suspects.delay([*unfinished, *rest])
            return
        self._suspects.delay(rest)
        unfinished = [row for row in unfinished if not row.job.abandoned]
        if unfinished and (poison := self._suspects.accuse(unfinished)) is not None:
            if memory is Memory.PERHAPS:
                self._settings = self._certain_settings  # it was this text, and not the size of a batch
            told = f"the engine {what} over this text alone (its process {end.how})"
            told += f", the last of {poison.failures} that had it on their hands; its last words: {end.words}"
            self._refuse(poison, told)

    def _shrink(self, rows: Sequence[Row], memory: Memory) -> bool:
        """Whether smaller batches may help, which there are then. What is only a guess is tried once for each text."""
        if not memory or (memory is Memory.PERHAPS and all(row.spared for row in rows)):
            return False
        settings = smaller(self._settings, self._model)
        if settings is None:
            return False
        self._settings = settings
        if memory is Memory.YES:
            self._certain_settings = settings
        else:
            for row in rows:
                row.spared = True
        return True

    def _batches(self) -> str:
        texts = self._settings.max_num_seqs
        return f"batches of {self._tokens_of(self._settings)} tokens" + (f" and {texts} texts" if texts else "")

    def _tokens_of(self, settings: Engine) -> int:
        return batched_tokens(self._model, settings)

    def _clear_hands(self) -> None:
        self._held.clear()
        self._free = list(range(self._shape.slots))
        self._group.clear()
        self._isolated = False
