"""Offline vLLM: token ids in, arrays out, one engine for the life of a run."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Engine
from pipeline.embed.model import Model
from pipeline.errors import MissingExtra, Terminal
from pipeline.types import Vectors

log = logging.getLogger(__name__)

# This process's engines: those in use, and those that go when the last of them does.
_open: set[int] = set()
_closing: list[Any] = []

# A batch wide enough to fill a GPU's arithmetic units; a CPU is full at a window or a few thousand tokens.
_GPU_BATCHED_TOKENS = 32_768
_CPU_BATCHED_TOKENS = 4_096
_CPU_SEQUENCES = 64


class VllmEmbedder:
    """An engine process on this machine's GPU or CPU, started by the constructor (tens of seconds).

    Raises MissingExtra without vLLM, Terminal with the engine's own words if it does not start.
    """

    def __init__(self, model: Model, engine: Engine) -> None:
        self.dimensions = model.dimensions
        started = time.monotonic()
        # Before torch is imported to look at the hardware: its libraries read some of it as they load.
        _prepare_environment(likely_device(engine))
        self.settings = engine_settings(model, engine)
        self.device = self.settings.pop("device")
        _prepare_environment(self.device)  # if the guess was wrong
        log.info("starting the engine: %s", self.settings)
        with _hushed() as last_words:
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
                raise Terminal(
                    f"the engine did not start for {model.name}: {reason[0]}; its last words: {last_words()}"
                ) from error
        _open.add(id(self))
        cut = model.dimensions if model.dimensions != model.native_dimensions else None
        self._parameters = PoolingParams(task="embed", dimensions=cut)
        #: How long the engine took to start, in seconds.
        self.start_seconds = time.monotonic() - started

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        """One vector a row, in order: float32, shape (len(token_ids), dimensions). Raises Terminal if it dies."""
        vectors = np.empty((len(token_ids), self.dimensions), np.float32)
        if not len(token_ids):
            return vectors
        # Neighbours of a like length leave a batch no ragged tail; the longest first, so that none is left for the end.
        order = sorted(range(len(token_ids)), key=lambda row: -len(token_ids[row]))
        prompts = [{"prompt_token_ids": list(token_ids[row])} for row in order]
        try:
            outputs = self.llm.encode(prompts, self._parameters, pooling_task="embed", use_tqdm=False)
        except Exception as error:  # the engine's errors have no common type
            raise Terminal(f"the engine stopped while embedding {len(prompts)} chunks: {error}") from error
        for row, output in zip(order, outputs, strict=True):
            vectors[row] = output.outputs.data.numpy()
        if self.device == "cpu":
            _trim_heap()
        return vectors

    def close(self) -> None:
        """Stop the engine process and free the device. Idempotent."""
        llm = self.__dict__.pop("llm", None)
        if llm is None:
            return
        # Engines inside one process share its process group, which the first shutdown would take from the others.
        _open.discard(id(self))
        _closing.append(llm)
        if not _open:
            while _closing:
                _closing.pop().llm_engine.engine_core.shutdown()


def start_engine(model: Model, engine: Engine) -> VllmEmbedder:
    """The one place where an engine is started for a corpus; raises what `VllmEmbedder` does."""
    return VllmEmbedder(model, engine)


@contextmanager
def _hushed() -> Iterator[Callable[[], str]]:
    """Keeps what the engine and its processes print to themselves; gives a way to read the end of it.

    With CORPUSVEC_ENGINE_LOG set, it goes to that file; else to one that is gone when the process is.
    """
    path = os.environ.get("CORPUSVEC_ENGINE_LOG")
    log_file = Path(path).open("ab+") if path else tempfile.TemporaryFile()  # noqa: SIM115 - outlives the block
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = os.dup(1), os.dup(2)

    def last_words() -> str:
        log_file.seek(0, os.SEEK_END)
        log_file.seek(max(0, log_file.tell() - 2_000))
        lines = log_file.read().decode(errors="replace").split("\n")
        return " | ".join(line.strip() for line in lines if line.strip())[-600:] or "none"

    try:
        os.dup2(log_file.fileno(), 1)
        os.dup2(log_file.fileno(), 2)
        with warnings.catch_warnings():  # of the engine's own code, which nobody here can heed
            warnings.simplefilter("ignore")
            yield last_words
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number, copy in enumerate(kept, start=1):
            os.dup2(copy, number)
            os.close(copy)
        log_file.close()


def engine_settings(model: Model, engine: Engine) -> dict[str, Any]:
    """The keyword arguments of `vllm.LLM` for this model on this hardware, and `device`.

    `max_num_batched_tokens` is never below the window: a pooling prompt that is split into chunks can hang the engine
    or come out wrong (vllm-project/vllm#29496, #48901). Prefix caching is off: documents share no prefixes worth it.
    """
    device = engine.device if engine.device != "auto" else _detect_device()
    gpu = device == "cuda"
    batched = engine.max_num_batched_tokens or (_GPU_BATCHED_TOKENS if gpu else _CPU_BATCHED_TOKENS)
    settings: dict[str, Any] = {
        "device": device,
        "model": str(model.path),
        "runner": "pooling",
        "convert": "embed",
        "dtype": model.dtype,
        "max_model_len": model.window,
        "max_num_batched_tokens": max(batched, model.window),
        "max_num_seqs": engine.max_num_seqs or (256 if gpu else _CPU_SEQUENCES),
        "enable_prefix_caching": False,
        "enforce_eager": not (gpu if engine.compile is None else engine.compile),
        "disable_log_stats": True,
    }
    if gpu:
        settings["gpu_memory_utilization"] = engine.gpu_memory_utilization or 0.9
    if model.dimensions != model.native_dimensions:
        settings["hf_overrides"] = {"is_matryoshka": True, "matryoshka_dimensions": [model.dimensions]}
    return settings


def _trim_heap() -> None:
    """Give freed memory back to the system (glibc only; elsewhere nothing happens).

    A batch of another shape each step leaves the heap in pieces: without this, 10,000 small texts took the process
    from 0.8 to 1.3 GiB, all of it free.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def likely_device(engine: Engine) -> str:
    """ "cuda" or "cpu", without importing torch to be sure."""
    if engine.device != "auto":
        return engine.device
    return "cuda" if Path("/proc/driver/nvidia/version").exists() else "cpu"


def _detect_device() -> str:
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("embedding", "cpu' or 'gpu") from error
    return "cuda" if torch.cuda.is_available() else "cpu"


def _prepare_environment(device: str) -> None:
    """What vLLM reads from the environment only; whatever the user has set stays."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # A forked engine inherits a CUDA that it cannot use, whenever anything here has looked at the GPU before.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    if device == "cpu":
        cores = sorted(os.sched_getaffinity(0))
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, cores)))
        # The engine in this process: on the cores it shares with us, a process of its own only costs (start: 13 s, not
        # 35 s, on two cores), and no GPU needs feeding while Python is busy.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        # Every length of a batch makes a primitive of its own; a thousand of them, the default, hold 0.3 GiB for ever.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
        # GiB; a pooling engine keeps no cache between steps but must reserve one window.
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
