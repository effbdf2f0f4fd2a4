"""The pipeline's speed beside the bare engine's: the same chunks, the same engine, one process, turn by turn."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.corpus import Corpus
from pipeline.config import Settings
from pipeline.embed.vllm import VllmEmbedder
from pipeline.ingest import vectors_of
from pipeline.prepare import table_of_chunks

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


def measure(settings: Settings, sources: Sequence[str], documents: int, rounds: int) -> dict[str, Any]:
    """Tokens/s of bare `LLM.embed` and of the whole pipeline (files → committed Parquet and index), and their ratio.

    Each round embeds every chunk twice, once each way, taking turns at going first; figures are medians over rounds,
    the ratio is the median of the rounds' ratios. The engine starts, and runs once to warm up, before the clock does.
    """
    with tempfile.TemporaryDirectory(prefix="corpusvec-bench-") as scratch:
        folder = Path(scratch)
        if not sources:
            make_documents(folder / "documents", documents)
            sources = [str(folder / "documents")]
        with Corpus(_in(settings, folder / "warm")) as warm:
            engine = warm.embedder
            assert isinstance(engine, VllmEmbedder)
            report = warm.ingest(*sources)
            ids = _token_ids(warm)
            bare, piped = [], []
            for number in range(rounds):
                turns = [lambda: bare.append(_bare(engine, ids)), lambda n=number: piped.append(
                    _piped(_in(settings, folder / f"round-{n}"), engine, sources))]  # fmt: skip
                for turn in turns if number % 2 == 0 else reversed(turns):
                    turn()
            return {
                "engine_tokens_per_second": round(statistics.median(bare), 1),
                "pipeline_tokens_per_second": round(statistics.median(piped), 1),
                "ratio": round(statistics.median(p / b for p, b in zip(piped, bare, strict=True)), 4),
                "rounds": rounds,
                "documents": report.documents["new"],
                "chunks": report.chunks,
                "tokens": report.tokens,
                "model": settings.recipe.model,
                "dtype": settings.recipe.dtype,
                "device": engine.device,
                "engine_start_seconds": round(engine.start_seconds, 1),
                "engine": engine.settings,
                "engine_each": [round(value, 1) for value in bare],
                "pipeline_each": [round(value, 1) for value in piped],
            }


def make_documents(folder: Path, count: int, words: tuple[int, int] = (60, 240), seed: int = 0) -> None:
    """`count` text files of made-up prose; the same seed makes the same bytes."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        left = chance.randint(*words)
        sentences = []
        while left > 0:
            length = min(left, chance.randint(6, 22))
            sentences.append(" ".join(chance.choices(_WORDS, k=length)).capitalize() + ".")
            left -= length
        (folder / f"{number:06}.txt").write_text(" ".join(sentences), encoding="utf-8")


def _bare(engine: VllmEmbedder, ids: Sequence[Sequence[int]]) -> float:
    prompts = [{"prompt_token_ids": list(row)} for row in ids]
    started = time.perf_counter()
    engine.llm.embed(prompts, use_tqdm=False)
    return sum(map(len, ids)) / (time.perf_counter() - started)


def _piped(settings: Settings, engine: VllmEmbedder, sources: Sequence[str]) -> float:
    with Corpus(settings, embedder=engine) as corpus:
        # The model's weights are hashed once a process: part of its start, like the engine's.
        _ = corpus.recipe
        started = time.perf_counter()
        report = corpus.ingest(*sources)
        return report.embedded_tokens / (time.perf_counter() - started)


def _token_ids(corpus: Corpus) -> list[Sequence[int]]:
    """What the engine got for the corpus: each different text once, as the pipeline embeds it."""
    unique: dict[str, Sequence[int]] = {}
    for part in table_of_chunks(corpus.checkpoints, corpus.recipe).current(["token_hash", "context", "text"]):
        for row in part.to_pylist():
            text = corpus.recipe.rules.prompt + (f"{row['context']}\n" if row["context"] else "") + row["text"]
            unique.setdefault(row["token_hash"], corpus.tokenizer.encode(text).ids)
    assert len(unique) == len(vectors_of(corpus.checkpoints, corpus.recipe))
    return list(unique.values())


def _in(settings: Settings, folder: Path) -> Settings:
    return settings.model_copy(update={"data": str(folder), "store": f"edge:{folder / 'index'}"})
