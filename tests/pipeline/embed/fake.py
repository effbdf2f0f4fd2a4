"""An engine for fault injection, run by a real worker in a real process: texts say what goes wrong over them."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Engine
from pipeline.embed.model import Model
from pipeline.embed.settings import batched_tokens
from pipeline.errors import Rejected, Terminal
from pipeline.types import Vectors

DIMENSIONS = 16
WINDOW = 64
#: `module:name`, as a worker is told it.
FAKE = f"{__name__}:FakeEngine"

#: Token ids at which something happens: when the text is added, before its batch is computed, or after half of that.
FAULTS = ("hang", "exit", "kill", "raise", "memory", "shape", "nan", "refuse", "stutter", "mute")
MOMENTS = ("add", "step", "half")
_FIRST = 1_000
#: Long enough for a busy machine; where an engine does hang, short enough for a test.
SILENCE, SHORT_SILENCE = 30.0, 0.7


def fault(what: str, moment: str = "step") -> int:
    """The token that makes this happen at that moment."""
    return _FIRST + len(FAULTS) * MOMENTS.index(moment) + FAULTS.index(what)


def fake_model(folder: Path) -> Model:
    """A model that `FakeEngine` takes for one; `folder` is where it leaves its traces, and finds its orders."""
    return Model(folder, "fake", "fake", WINDOW, DIMENSIONS, DIMENSIONS, "float32", "", "")


def vector_of(ids: NDArray[np.int32] | list[int]) -> Vectors:
    """What the engine gives for a text: a unit vector that depends on every token."""
    digest = hashlib.sha256(np.asarray(ids, "<i4").tobytes()).digest()
    vector = np.random.default_rng(list(digest)).standard_normal(DIMENSIONS).astype(np.float32)
    return vector / np.linalg.norm(vector)


def texts(count: int, seed: int = 0) -> list[list[int]]:
    """Different texts of mixed lengths, with nothing wrong with them."""
    chance = np.random.default_rng(seed)
    return [
        [seed, number, *chance.integers(1, 900, chance.integers(1, WINDOW - 2)).tolist()] for number in range(count)
    ]


def expect(ids: Sequence[list[int]]) -> Vectors:
    """What a sound engine gives."""
    return np.stack([vector_of(row) for row in ids])


def starts(folder: Path) -> list[list[str]]:
    """Of each engine that was started: its place, its process, and how many texts it takes at a time."""
    return [line.split() for line in (folder / "starts").read_text().splitlines()]


def embedded(folder: Path) -> list[str]:
    """The texts that engines finished, but for the probe each starts with."""
    return [line for line in (folder / "embedded").read_text().splitlines() if line != "1 2 3"]


class FakeEngine:
    """Batches of up to `max_num_seqs` texts. Every start is a line in the folder's file `starts`.

    A file `start-KIND` in the folder makes a start go wrong; one called `once-KIND` makes the next step do so, once.
    `room` has the most tokens a batch that an engine can start with; `speed`, how many it does in a second; `longest`,
    the longest text that does not end it; `nan` makes every vector NaN; `strange-PLACE`, another kind of vectors there;
    `slow-PLACE`, how many seconds a start takes there.
    """

    device = "cpu"
    versions = {"vllm": "0", "device": "none"}  # noqa: RUF012 - as the protocol has it

    def __init__(self, model: Model, settings: Engine) -> None:
        self.dimensions = DIMENSIONS
        self.settings = {"max_num_seqs": settings.max_num_seqs or 8}
        self._batch = settings.max_num_seqs or 8
        self._folder = model.path
        self._waiting: list[tuple[int, NDArray[np.int32]]] = []
        with (self._folder / "starts").open("a") as file:
            file.write(f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'cpu')} {os.getpid()} {self._batch}\n")
        if batched_tokens(model, settings) > (self._number("room") or math.inf):
            happen("memory")
        place = os.environ.get("CUDA_VISIBLE_DEVICES", "cpu")
        self._strange = (self._folder / f"strange-{place}").exists()
        time.sleep(self._number(f"slow-{place}"))
        for kind in FAULTS:
            if (self._folder / f"start-{kind}").exists() or (self._folder / f"start-{kind}-{place}").exists():
                happen(kind)

    def add(self, number: int, ids: NDArray[np.int32]) -> None:
        """Queue a copy."""
        self._look(ids, "add")
        self._waiting.append((number, ids.copy()))

    def step(self) -> list[tuple[int, Vectors]]:
        """One batch, unless something in it says otherwise."""
        for kind in FAULTS:
            order = self._folder / f"once-{kind}"
            if len(self._waiting) > 1 and order.exists():
                order.unlink()
                happen(kind)
        batch, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        for _, ids in batch:
            if fault("memory") in ids and len(batch) <= 2:
                continue  # that much fits
            self._look(ids, "step")
            if len(ids) > (self._number("longest") or math.inf):
                happen("exit")
        if speed := self._number("speed"):
            time.sleep(sum(len(ids) for _, ids in batch) / speed)
        finished = [(number, self._vector(ids)) for number, ids in batch]
        if any(fault(kind, "half") in ids for kind in FAULTS for _, ids in batch):
            done, self._waiting = finished[: len(finished) // 2], batch[len(finished) // 2 :] + self._waiting
            if not done:
                for _, ids in batch:
                    self._look(ids, "half")
                done, self._waiting = finished, []
            finished = done
        with (self._folder / "embedded").open("a") as file:
            file.writelines(f"{' '.join(map(str, ids))}\n" for _, ids in batch[: len(finished)])
        return finished

    def close(self) -> None:
        """There is nothing to free."""

    def _vector(self, ids: NDArray[np.int32]) -> Vectors:
        if fault("nan") in ids or (self._folder / "nan").exists():
            return np.full(DIMENSIONS, np.nan, np.float32)
        vector = np.roll(vector_of(ids), 1) if self._strange else vector_of(ids)
        return vector[: -1 if fault("shape") in ids else None]

    def _number(self, name: str) -> float:
        file = self._folder / name
        return float(file.read_text()) if file.exists() else 0.0

    def _look(self, ids: NDArray[np.int32], moment: str) -> None:
        for kind in ("hang", "exit", "kill", "raise", "memory", "refuse", "stutter", "mute"):
            if fault(kind, moment) in ids:
                happen(kind)


def happen(kind: str) -> None:
    """Let it go wrong."""
    if kind != "mute":
        print(f"about to {kind}", file=sys.stderr, flush=True)
    match kind:
        case "hang":
            time.sleep(3_600)
        case "exit" | "mute":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise RuntimeError("the chip is on fire")
        case "memory":
            run_out(
                *os.environ.get("FAKE_MEMORY", "raised:CUDA out of memory. Tried to allocate 2.00 GiB").split(":", 1)
            )
        case "refuse":
            raise Rejected("the engine does not like it")
        case "stutter":  # half a message to its owner, and no more
            os.write(int(sys.argv[1]), b"\x00\x00\x01\x00half")
            time.sleep(3_600)


def run_out(how: str, words: str) -> None:
    """Of memory, as engines do."""
    match how:
        case "raised":
            raise RuntimeError(words)
        case "wrapped":
            try:
                raise RuntimeError(words)
            except RuntimeError as error:
                raise Terminal("vLLM cannot run it: see above") from error
        case "meanwhile":
            try:
                raise RuntimeError(words)
            except RuntimeError:
                raise ValueError("nothing to clean up")  # noqa: B904 - as it happens to others
        case "apart":  # in a process of its own, which only prints it
            print(f"{words}" + 300 * "\na line of another trace", file=sys.stderr, flush=True)
            raise RuntimeError("EngineCore encountered an issue. See stack trace (above) for the root cause.")
        case "aborted":
            print(words, file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGABRT)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
