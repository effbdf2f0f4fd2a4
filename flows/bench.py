"""The pipeline's speed beside the bare engine's: the same chunks, in the same run, turn by turn."""

from __future__ import annotations

import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from flows.corpus import Corpus
from pipeline.config import Engine, Recipe, Settings
from pipeline.doctor.memory import engines_with_room
from pipeline.embed.model import Model, load_model
from pipeline.embed.pool import Pool
from pipeline.embed.settings import for_work, likely_device, places
from pipeline.embed.shapes import PEAK_FLOPS, REACHED_FLOPS, SHAPES, dummy_model, made_up_words
from pipeline.embed.tokenizer import token_hash
from pipeline.embed.vllm import VllmEmbedder, open_dummy, start_dummies, start_engine
from pipeline.ingest import vectors_of
from pipeline.types import TokenIds, Vectors
from pipeline.workers.family import descendants

# Made-up documents are sentences of everyday words: a tokenizer takes them as it takes prose.
_WORDS = (
    "the of and to in is that it was for on are with as at be this from or by one had not but what all were when we "
    "there can an your which their said if do will each about how up out them then she many some so these would other "
    "into has more her two like him see time could no make than first been its who now people my made over did down "
    "only way find use may water long little very after words called just where most know get through back much go "
    "good new write our used me man too any day same right look think also around another came come work three word "
    "must because does part even place well such here take why things help put years different away again off went "
    "old number great tell men say small every found still between name should home big give air line set own under "
    "read last never us left end along while might next sound below saw something thought both few those always "
    "looked show large often together asked house world going want school important until form food keep children "
    "feet land side without boy once animals life enough took sometimes four head above kind began almost live page "
    "got earth need far hand high year mother light parts country father let night following picture being study "
    "second eyes soon times story boys since white days ever paper hard near sentence better best across during today "
    "however sure means knew try told young miles sun ways thing whole hear example heard several change answer room "
    "sea against top turned learn point city play toward five using himself usually pressure wing boundary layer flow"
).split()

# Two engines are on the device at once, the bare one and the pipeline's, of which one computes.
_SHARED_MEMORY = 0.45
# Before the clock starts, an eighth as many documents, of so many at most: every shape is compiled, and every process
# up. A run starts them once, parsers in a second or two and then an engine in ten and more.
_MOST_WARMING = 1_000
# Texts of a dummy model's documents: about six chunks each, so that few chunks are a short remainder.
_CHUNKS_A_DOCUMENT = 6


def measure(
    settings: Settings, sources: Sequence[str], documents: int, rounds: int, shape: str | None = None,
    tokens_per_chunk: int | None = None, gpus: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Tokens/s of bare `LLM.embed`, of the pool of engines, and of the whole pipeline (files → Parquet and index).

    Each round embeds every chunk once each way, taking turns at going first; figures are medians over rounds, ratios
    the medians of the rounds' ratios. Engines and the run's other processes start before the clock does, and take
    other documents. The bare engine is one, on one device, whatever `gpus` is. With a `shape` (of
    `pipeline.embed.shapes.SHAPES`) the weights are made up, and the share of the arithmetic roof is given for an H200:
    `Shape.flops` a second over 989 TFLOP/s (the data sheet's dense bf16) and over 790 (the largest products' own
    speed), a GPU.
    """
    recipe = Recipe.model_validate({**settings.recipe.model_dump(), "chunk_tokens": tokens_per_chunk}) if (
        tokens_per_chunk
    ) else settings.recipe  # fmt: skip
    changed = {"gpus": gpus} if gpus else {}
    device = likely_device(settings.engine)
    if device == "cuda" and settings.engine.gpu_memory_utilization is None:
        changed["gpu_memory_utilization"] = _SHARED_MEMORY
    model = dummy_model(shape, recipe.quantization) if shape else load_model(recipe)
    engine = settings.engine.model_copy(update=changed)
    # What a large run gets, however few documents the clock sees.
    engine = for_work(engine, math.inf, engines_with_room(model, engine))
    settings = settings.model_copy(update={"recipe": recipe, "engine": engine})
    with tempfile.TemporaryDirectory(prefix="corpusvec-bench-") as scratch:
        folder = Path(scratch)
        words = (_CHUNKS_A_DOCUMENT * (tokens_per_chunk or 512),) * 2 if shape else (60, 240)
        vocabulary = made_up_words(50_000) if shape else _WORDS
        make_documents(folder / "warming-up", -(-min(documents, _MOST_WARMING) // 8), words, 1, vocabulary)
        if not sources:
            make_documents(folder / "documents", documents, words, 0, vocabulary)
            sources = [str(folder / "documents")]
        # The pool first: its processes would inherit what the bare engine sets in this one's environment.
        pool = (start_dummies if shape else start_engine)(model, engine)
        bare: VllmEmbedder | None = None
        try:
            pool.wait()
            # As vLLM itself chooses for a pooling model on this device, whatever is better.
            plain = {
                "engines_per_gpu": 1, "cpu_engines": 1, "core_process": device == "cuda", "async_scheduling": False,
            }  # fmt: skip
            bare = (open_dummy if shape else VllmEmbedder)(model, engine.model_copy(update=plain))
            return _measure(settings, sources, rounds, folder, model, bare, pool, shape)
        finally:
            pool.close()
            if bare:
                bare.close()


def _measure(
    settings: Settings, sources: Sequence[str], rounds: int, folder: Path, model: Model, bare: VllmEmbedder, pool: Pool,
    shape: str | None,
) -> dict[str, Any]:  # fmt: skip
    embedder = _Witness(pool, distinct=shape is not None)

    def open_corpus(name: str) -> Corpus:
        corpus = Corpus(_in(settings, folder / name), embedder=embedder)
        corpus.model = model
        # The model's weights are hashed once a process: part of its start, like the engine's.
        _ = corpus.recipe
        return corpus

    ids: list[TokenIds] = []
    prompts: list[dict[str, list[int]]] = []
    turns: dict[str, Callable[[], Any]] = {
        "engine": lambda: bare.llm.embed(prompts, use_tqdm=False),
        "pool": lambda: pool.embed(ids),
    }
    seconds: dict[str, list[float]] = {"pipeline": [], **{name: [] for name in turns}}
    idle: dict[str, list[float]] = {name: [] for name in seconds}
    stages: dict[str, float] = {}
    cores: dict[str, float] = {}
    for number in range(rounds):
        for name in seconds if number % 2 == 0 else reversed(seconds):
            with open_corpus(f"round-{number}") if name == "pipeline" else nullcontext() as corpus:
                if corpus:
                    corpus.ingest(str(folder / "warming-up"))
                    if not ids:
                        bare.llm.embed(_prompts(embedder.given), use_tqdm=False)
                    embedder.given.clear()
                with IdleMeter(settings.engine) as meter, HostMeter() as host:
                    started = time.perf_counter()
                    result = corpus.ingest(*sources) if corpus else turns[name]()
                    seconds[name].append(time.perf_counter() - started)
                idle[name] += meter.share
                if corpus:
                    if not ids:  # what it embedded is what the others are given
                        ids.extend(_stored(embedder.given, corpus))
                        prompts.extend(_prompts(ids))
                    assert result.embedded_tokens == sum(map(len, ids)), "the pipeline embeds what the bare engine does"
                    report, cores = result, host.cores
                    stages = {stage: round(value, 2) for stage, value in result.seconds.items()}
            print(f"{name}: {sum(map(len, ids)) / seconds[name][-1]:,.0f} tokens/s", file=sys.stderr, flush=True)
    tokens = sum(map(len, ids))
    speeds = {name: [tokens / value for value in each] for name, each in seconds.items()}

    def ratio(name: str) -> float:
        return round(statistics.median(a / b for a, b in zip(speeds[name], speeds["engine"], strict=True)), 4)

    result = {
        **{f"{name}_tokens_per_second": round(statistics.median(each), 1) for name, each in speeds.items()},
        "ratio": ratio("pipeline"),
        "pool_ratio": ratio("pool"),
        "rounds": rounds,
        "documents": report.documents["new"],
        "chunks": len(ids),
        "tokens": tokens,
        "tokens_per_chunk": round(tokens / len(ids), 1),
        "model": model.name,
        "dtype": pool.settings["dtype"],
        "device": pool.device,
        "engines": pool.engines,
        "engine_start_seconds": round(pool.start_seconds, 1),
        "engine": dict(pool.settings),
        "versions": dict(pool.versions),
        "stage_seconds": stages,
        "host_cores": cores,
        "gpu_idle_share": {name: round(statistics.mean(each), 4) for name, each in idle.items() if each},
        **{f"{name}_each": [round(value, 1) for value in each] for name, each in speeds.items()},
        "warnings": list(pool.warnings),
    }
    if shape:
        flops = SHAPES[shape].flops([len(row) for row in ids])
        gpus = max(pool.engines // settings.engine.engines_per_gpu, 1)
        for name, each in seconds.items():
            reached = flops / statistics.median(each) / (1 if name == "engine" else gpus)
            shares = {
                "of_989_tflops": round(reached / PEAK_FLOPS, 4),
                "of_790_tflops": round(reached / REACHED_FLOPS, 4),
            }
            result.setdefault("roof_share", {})[name] = shares
    return result


class _Witness:
    """The pool, and what it was `given`.

    A dummy model's vectors are told apart: its weights give all texts nearly the same, which no gate lets through.
    """

    def __init__(self, pool: Pool, distinct: bool) -> None:
        self.dimensions = pool.dimensions
        self.given: list[TokenIds] = []
        self._pool, self._distinct = pool, distinct

    def embed(self, token_ids: Sequence[TokenIds]) -> Vectors:
        """As the pool's; `distinct`, with something of the text's own in the first places."""
        self.given += token_ids
        vectors = self._pool.embed(token_ids)
        if not self._distinct:
            return vectors
        vectors = np.nan_to_num(vectors)
        seeds = np.array([zlib.crc32(np.asarray(ids, np.int32).tobytes()) for ids in token_ids], np.float64)
        for place in range(min(8, self.dimensions)):
            vectors[:, place] += np.sin(seeds * (place + 1) * 0.618)
        normalized: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return normalized

    def close(self) -> None:
        """The pool is closed by whoever opened it."""


#: What stands in the command line of a process → what it is busy with.
_ROLES = {b"corpusvec: parse": "parsing", b"corpusvec: store": "storing", b"corpusvec: parquet": "writing",
          b"pipeline.embed.worker": "engines"}  # fmt: skip


class HostMeter:
    """How many of the host's cores were busy, on average: with coordinating, parsing, storing, writing Parquet, and
    feeding engines.

    Processor time of each process over the clock; where there is no /proc, only that of coordinating. Processes that
    ended meanwhile are counted as parsers: nothing else starts and ends during a run.
    """

    def __enter__(self) -> HostMeter:
        self._started, self._before = time.perf_counter(), _processor_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        spent = _processor_seconds()
        spent.subtract(self._before)
        clock = time.perf_counter() - self._started
        self.cores = {role: round(seconds / clock, 2) for role, seconds in spent.items()}


def _processor_seconds() -> Counter[str]:
    times = os.times()
    spent = Counter[str](
        {"coordinating": times.user + times.system, "parsing": times.children_user + times.children_system}
    )
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            for mark, role in _ROLES.items():
                if mark in command:
                    spent[role] += sum(map(_seconds_of, (pid, *descendants(pid))))
    return spent


def _seconds_of(pid: int) -> float:
    """Processor time of a process."""
    with suppress(OSError):
        # Behind the name, which may hold spaces: user and system time are the 12th and 13th, in ticks.
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return 0.0


class IdleMeter:
    """The part of the time in which no kernel ran on `engine`'s GPUs, as `nvidia-smi` samples it; nothing without it.

    What other GPUs of the host do, or do not, is none of ours.
    """

    def __init__(self, engine: Engine) -> None:
        self._gpus = ",".join(dict.fromkeys(places(engine)))

    def __enter__(self) -> IdleMeter:
        self._busy: list[float] = []
        self._process: subprocess.Popen[str] | None = None
        with suppress(OSError):
            command = ["nvidia-smi", f"--id={self._gpus}", "--query-gpu=utilization.gpu",
                       "--format=csv,noheader,nounits", "-lms", "200"]  # fmt: skip
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    @property
    def share(self) -> list[float]:
        """One figure, 0 to 1, or none."""
        return [1 - statistics.mean(self._busy) / 100] if any(self._busy) else []

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(ValueError):
                self._busy.append(float(line))


def make_documents(
    folder: Path, count: int, words: tuple[int, int] = (60, 240), seed: int = 0, vocabulary: Sequence[str] = _WORDS
) -> None:
    """`count` text files of made-up prose; the same seed makes the same bytes."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        left = chance.randint(*words)
        sentences = []
        while left > 0:
            length = min(left, chance.randint(6, 22))
            sentences.append(" ".join(chance.choices(vocabulary, k=length)).capitalize() + ".")
            left -= length
        (folder / f"{number:06}.txt").write_text(" ".join(sentences), encoding="utf-8")


def _prompts(texts: Sequence[TokenIds]) -> list[dict[str, list[int]]]:
    return [{"prompt_token_ids": np.asarray(ids).tolist()} for ids in texts]


def _stored(given: Sequence[TokenIds], corpus: Corpus) -> list[TokenIds]:
    """Those of the texts whose vectors the corpus has: the canary's are not among them."""
    found = {corpus.recipe.model.embedding_key(token_hash(ids)): ids for ids in given}
    for key in vectors_of(corpus.checkpoints, corpus.recipe).missing(list(found)):
        del found[key]
    return list(found.values())


def _in(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(update={"data": str(folder), "store": f"edge:{folder / 'index'}"})
