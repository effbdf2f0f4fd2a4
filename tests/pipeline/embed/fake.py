"""An engine for fault injection, run by a real worker in a real process: texts say what goes wrong over them."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Engine
from pipeline.embed.model import Model
from pipeline.errors import Rejected
from pipeline.types import Vectors

DIMENSIONS = 16
WINDOW = 64
#: `module:name`, as a worker is told it.
FAKE = f"{__name__}:FakeEngine"

#: Token ids at which something happens: when the text is added, before its batch is computed, or after half of that.
FAULTS = ("hang", "exit", "kill", "raise", "memory", "shape", "nan", "refuse")
MOMENTS = ("add", "step", "half")
_FIRST = 1_000


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


class FakeEngine:
    """Batches of up to `max_num_seqs` texts. Every start is a line in the folder's file `starts`.

    A file `start-KIND` in the folder makes a start go wrong; one called `once-KIND` makes the next step do so, once.
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
            file.write(f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'cpu')} {os.getpid()}\n")
        place = os.environ.get("CUDA_VISIBLE_DEVICES", "cpu")
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
        if fault("nan") in ids:
            return np.full(DIMENSIONS, np.nan, np.float32)
        return vector_of(ids)[: -1 if fault("shape") in ids else None]

    def _look(self, ids: NDArray[np.int32], moment: str) -> None:
        for kind in ("hang", "exit", "kill", "raise", "memory", "refuse"):
            if fault(kind, moment) in ids:
                happen(kind)


def happen(kind: str) -> None:
    """Let it go wrong."""
    print(f"about to {kind}", file=sys.stderr, flush=True)
    match kind:
        case "hang":
            time.sleep(3_600)
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise RuntimeError("the chip is on fire")
        case "memory":
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        case "refuse":
            raise Rejected("the engine does not like it")
