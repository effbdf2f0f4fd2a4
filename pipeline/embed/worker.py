"""The process that an engine lives in: reads parcels from shared memory, keeps the engine fed, writes vectors back.

Started as `python -m pipeline.embed.worker PIPE MEMORY` by `pipeline.embed.process`, which it does not outlive.
What is said over the pipe is in `protocol.py`.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np

from pipeline.config import Engine
from pipeline.embed.arena import DONE, REFUSED, Arena
from pipeline.embed.memory import in_error
from pipeline.embed.model import Model
from pipeline.embed.protocol import PROBE, Failed, Finished, Parcel, Ready, Start, StreamingEngine
from pipeline.errors import CorpusvecError, Rejected
from pipeline.types import Vectors


def main() -> None:
    """Serve until the pipe says so, or ends."""
    connection, descriptor = Connection(int(sys.argv[1])), int(sys.argv[2])
    # Whoever ends the run ends this; a terminal's Ctrl-C is for them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    try:
        start: Start = connection.recv()
        engine = _open(start)
        arena = Arena(start.shape, descriptor)
        vector = _probe(engine)
        connection.send(Ready(engine.device, dict(engine.settings), dict(engine.versions), vector))
        Worker(connection, arena, engine).serve()
        engine.close()
        os._exit(0)  # an interpreter with an engine in it takes its time to end, for nobody
    except EOFError:
        pass
    except Exception as error:  # whatever it is, it is this engine's end, and told
        text = str(error).strip() or type(error).__name__
        told = text if isinstance(error, CorpusvecError) else f"{type(error).__name__}: {text}"
        traceback.print_exc()  # before it is told, since the teller is killed
        connection.send(Failed(told.splitlines()[0][:500], in_error(error)))
        sys.exit(1)


class Worker:
    """Parcels in, vectors out. A row's number is its place in the arena."""

    def __init__(self, connection: Connection, arena: Arena, engine: StreamingEngine) -> None:
        self._connection, self._arena, self._engine = connection, arena, engine
        self._left: dict[int, int] = {}
        self._refused: dict[int, dict[int, str]] = {}

    def serve(self) -> None:
        """Take what is there, compute a step, and so on; wait only if there is nothing to compute."""
        while True:
            while not self._left or self._connection.poll():
                parcel: Parcel | None = self._connection.recv()
                if parcel is None:
                    return
                self._begin(parcel)
            for number, vector in self._engine.step():
                self._finish(number, vector)

    def _begin(self, parcel: Parcel) -> None:
        slot, rows = parcel.slot, parcel.rows
        self._left[slot], self._refused[slot] = rows, {}
        tokens = self._arena.tokens(slot)
        ends = np.cumsum(self._arena.lengths(slot)[:rows])
        for row in range(rows):
            first = ends[row - 1] if row else 0
            try:
                self._engine.add(slot * self._arena.shape.rows + row, tokens[first : ends[row]])
            except Rejected as rejected:
                self._settle(slot, row, str(rejected))

    def _finish(self, number: int, vector: Vectors) -> None:
        slot, row = divmod(number, self._arena.shape.rows)
        there = self._arena.vectors(slot)[row]
        if vector.shape != there.shape:
            self._settle(slot, row, f"the engine gave shape {vector.shape} instead of {there.shape}")
        else:
            there[:] = vector
            self._settle(slot, row)

    def _settle(self, slot: int, row: int, refused: str = "") -> None:
        if refused:
            self._refused[slot][row] = refused
        self._arena.flags(slot)[row] = REFUSED if refused else DONE
        self._left[slot] -= 1
        if not self._left[slot]:
            del self._left[slot]
            self._connection.send(Finished(slot, self._refused.pop(slot)))


def _open(start: Start) -> StreamingEngine:
    module, _, name = start.engine.partition(":")
    opened: Callable[[Model, Engine], StreamingEngine] = getattr(importlib.import_module(module), name)
    return opened(start.model, start.settings)


def _probe(engine: StreamingEngine) -> Vectors:
    """Embed one short text: an engine that cannot do that must not be given a document to blame for it."""
    engine.add(0, np.array(PROBE, np.int32))
    while not (finished := engine.step()):
        pass
    return finished[0][1]


def _die_with(parent: int) -> None:
    """Nobody reads what an orphan embeds, and its device is wanted: end it, and what it started."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
