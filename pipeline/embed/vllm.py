"""Offline vLLM in this process: token ids in, arrays out, requests streamed into a step loop that never runs dry."""

from __future__ import annotations

import ctypes
import importlib.metadata
import logging
import os
import platform
import re
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Engine
from pipeline.embed.model import Model
from pipeline.embed.pool import Pool
from pipeline.embed.settings import driver_version, engine_settings, environment, likely_device
from pipeline.errors import MissingExtra, Rejected, Terminal
from pipeline.types import TokenIds, Vectors

log = logging.getLogger(__name__)

# This process's engines: those in use, and those that go when the last of them does.
_open: set[int] = set()
_closing: list[Any] = []

# Done after each step, it took 7 to 10 % of the processor time: what is given back is asked for again at once.
_TRIM_SECONDS = 30.0


class VllmEmbedder:
    """vLLM on this process's device, started by the constructor (tens of seconds).

    `add` and `step` stream, for one thread; `embed` does both, for one batch and one caller at a time. Raises
    MissingExtra without vLLM, Terminal if the engine does not start.
    """

    def __init__(self, model: Model, engine: Engine, **more: Any) -> None:
        self.dimensions = model.dimensions
        self._pending = 0
        self._lock = threading.Lock()
        self._trimmed = started = time.monotonic()
        # Before torch is imported to look at the hardware: its libraries read some of it as they load.
        os.environ.update(environment(model, engine, likely_device(engine)))
        self.settings = {**engine_settings(model, engine), **more}
        self.device = self.settings.pop("device")
        os.environ.update(environment(model, engine, self.device))  # if the guess was wrong
        log.info("starting the engine: %s", self.settings)
        with warnings.catch_warnings():  # of the engine's own code, which nobody here can heed
            warnings.simplefilter("ignore")
            try:
                from vllm import LLM
                from vllm.pooling_params import PoolingParams
            except ImportError as error:
                raise MissingExtra("embedding", "cpu' or 'gpu") from error
            try:
                #: The bare `vllm.LLM`, for measuring against.
                self.llm = LLM(**self.settings)
            except Exception as error:  # whatever stops an engine, nothing here can mend it
                reason = str(error).strip().splitlines() or [type(error).__name__]
                raise Terminal(f"vLLM cannot run {model.name}: {reason[0]}") from error
        _open.add(id(self))
        cut = model.dimensions if model.dimensions != model.native_dimensions else None
        self._parameters = PoolingParams(task="embed", dimensions=cut)
        #: How long the engine took to start, in seconds.
        self.start_seconds = time.monotonic() - started

    @property
    def versions(self) -> dict[str, str]:
        """What the vectors are computed by: libraries, driver and device; and how: dtype and graph."""
        from vllm.platforms import current_platform

        libraries = {name: _version(name) for name in ("vllm", "torch", "transformers")}
        device = current_platform.get_device_name() if self.device == "cuda" else _cpu_name()
        driver = driver_version() if self.device == "cuda" else ""
        graph = "as it stands" if self.settings["enforce_eager"] else "compiled"
        found = {**libraries, "device": device or self.device, "driver": driver}
        return {**found, "dtype": self.settings["dtype"], "graph": graph}

    def add(self, number: int, ids: NDArray[np.int32]) -> None:
        """Queue a text under a number of the caller's. Raises Rejected if the engine refuses it."""
        prompt = {"type": "token", "prompt_token_ids": ids.tolist()}
        try:
            self.llm.llm_engine.add_request(str(number), prompt, self._parameters)
        except ValueError as error:
            raise Rejected(f"the engine refused a text of {len(ids)} tokens: {error}") from error
        self._pending += 1

    def step(self) -> list[tuple[int, Vectors]]:
        """Compute until something is finished or a batch is done: (number, vector) of each that is."""
        if not self._pending:
            return []
        finished = []
        for output in self.llm.llm_engine.step():
            if output.finished:
                # The engine may put something of its own behind the number that it was given.
                number = int(output.request_id.partition("-")[0])
                finished.append((number, output.outputs.data.float().numpy()))
        self._pending -= len(finished)
        if self.device == "cpu" and time.monotonic() - self._trimmed > _TRIM_SECONDS:
            _trim_heap()
            self._trimmed = time.monotonic()
        return finished

    def embed(self, token_ids: Sequence[TokenIds]) -> Vectors:
        """One vector a row, in order: float32, shape (len(token_ids), dimensions). Raises Terminal if it dies."""
        with self._lock:
            return self._embed(token_ids)

    def _embed(self, token_ids: Sequence[TokenIds]) -> Vectors:
        vectors = np.empty((len(token_ids), self.dimensions), np.float32)
        # Neighbours of a like length leave a batch no ragged tail; the longest first, so that none is left for the end.
        try:
            for row in sorted(range(len(token_ids)), key=lambda row: -len(token_ids[row])):
                self.add(row, np.asarray(token_ids[row], np.int32))
            while self._pending:
                for row, vector in self.step():
                    vectors[row] = vector
        except Exception as error:  # the engine's errors have no common type
            while self._pending and isinstance(error, Rejected):
                self.step()
            raise Terminal(f"the engine stopped while embedding {len(token_ids)} chunks: {error}") from error
        return vectors

    def wait(self) -> None:
        """Nothing to wait for: an engine is up once it is made. For whoever has one in the place of a pool."""

    def close(self) -> None:
        """Stop the engine and free the device. Idempotent."""
        llm = self.__dict__.pop("llm", None)
        if llm is None:
            return
        # Engines inside one process share its process group, which the first shutdown would take from the others.
        _open.discard(id(self))
        _closing.append(llm)
        if not _open:
            while _closing:
                _closing.pop().llm_engine.engine_core.shutdown()


def start_engine(model: Model, engine: Engine) -> Pool:
    """The one place where engines are started for a corpus, each in a process of its own; raises what `Pool` does."""
    return Pool(model, engine, f"{__name__}:VllmEmbedder")


def open_dummy(model: Model, engine: Engine) -> VllmEmbedder:
    """An engine on made-up weights (`pipeline.embed.shapes`): the true cost of vectors that mean nothing."""
    return VllmEmbedder(model, engine, load_format="dummy")


def start_dummies(model: Model, engine: Engine) -> Pool:
    """`start_engine` on made-up weights."""
    return Pool(model, engine, f"{__name__}:open_dummy", gated=False)


def _trim_heap() -> None:
    """Give freed memory back to the system (glibc only; elsewhere nothing happens).

    A batch of another shape each step leaves the heap in pieces: without this, 2,500 texts took the process from 1.2
    to 2 GiB, all of it free; half a minute adds half a GiB.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _version(package: str) -> str:
    for name in (package, f"{package}-cpu"):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return ""


def _cpu_name() -> str:
    with suppress(OSError):
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        if found:
            return found[1]
    return platform.machine()
