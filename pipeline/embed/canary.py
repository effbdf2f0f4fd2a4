"""A few fixed texts, whose vectors are stored with the first of a recipe and looked at again before every run.

What a recipe does not name (the engine's version, a driver, a chip) changes vectors all the same. Distances between
old and new ones would then mean nothing, and nothing else would show it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.checkpoint import Checkpoints, Table
from pipeline.embed.gate import LEAST_COSINE, faults
from pipeline.embed.model import Model
from pipeline.embed.tokenizer import token_hash
from pipeline.errors import Poisoned, Terminal
from pipeline.ports import Embedder, Tokenizer
from pipeline.types import Vectors

TEXTS = (
    "The backup generator is tested every first Monday, under load, for half an hour.",
    "Die Pumpe wird jede Nacht geprüft; der Druck der Leitung wird aufgeschrieben.",
    "日本語の文章と、한국어 문장, and a little English in between.",
    "def area(radius): return 3.14159 * radius ** 2  # square metres",
    "2026-01-31T04:12:09Z WARN worker-7 connection refused, retrying in 5 s (attempt 3 of 10)",
    "What is the notice period for a lease that began before 1 July?",
    "| part | price | stock |\n| --- | --- | --- |\n| valve, 12 mm | 4.20 | 118 |\n| seal | 0.35 | 0 |",
    "boundary layer flow over a heated wing at moderate angles of attack, " * 8,
)


@dataclass(frozen=True, slots=True)
class _Made:
    """The texts' vectors of now, float32, shape (texts, dimensions): what they are stored under, and what made them."""

    keys: list[str]
    vectors: Vectors
    versions: Mapping[str, str]


class Canary:
    """The canary of one model under one root. An embedder that names no versions (`versions`) is not watched."""

    def __init__(self, checkpoints: Checkpoints, model: Model, tokenizer: Tokenizer) -> None:
        self._checkpoints, self._model, self._tokenizer = checkpoints, model, tokenizer

    @property
    def exists(self) -> bool:
        """Whether this recipe has vectors of before."""
        return self._table().count_rows() > 0

    def check(self, embedder: Embedder) -> None:
        """Embed the texts: store them if they are the recipe's first, else compare. Raises Terminal if they differ."""
        if (made := self._embed(embedder)) is not None and self._compare(made) is None:
            self._store(made)

    def compare(self, embedder: Embedder) -> float | None:
        """The least cosine between what is stored and what the embedder gives now; None if there is nothing to compare.

        Stores nothing. Raises what `check` does.
        """
        made = self._embed(embedder) if self.exists else None
        return None if made is None else self._compare(made)

    def _table(self) -> Table:
        return self._checkpoints.canary(self._model.fingerprint)

    def _embed(self, embedder: Embedder) -> _Made | None:
        versions: Mapping[str, str] | None = getattr(embedder, "versions", None)
        if versions is None:
            return None
        # Without the prompt of documents: vectors of one engine do not depend on what is put before a text, and those
        # of another prompt are in the same table.
        ids = [self._tokenizer.encode(text).ids for text in TEXTS]
        ids = [row for row in ids if len(row) <= self._model.window]
        try:
            vectors = embedder.embed(ids)
            wrong = faults(vectors, self._model.dimensions)
        except Poisoned as refused:
            wrong = dict(refused.faults)
        if wrong:
            raise Terminal(
                f"the engine cannot be trusted: of {len(ids)} texts that are always the same, {len(wrong)} came out "
                f"wrong ({next(iter(wrong.values()))}). Nothing was embedded; try another engine version or dtype"
            )
        return _Made([self._model.embedding_key(token_hash(row)) for row in ids], vectors, versions)

    def _compare(self, made: _Made) -> float | None:
        stored = {row["embedding_key"]: row for row in self._table().lookup(made.keys).to_pylist()}
        if not stored:
            return None
        known = [row for row, key in enumerate(made.keys) if key in stored]
        old = np.array([stored[made.keys[row]]["vector"] for row in known], np.float32)
        cosines = (old * made.vectors[known]).sum(axis=1)
        if cosines.min() < LEAST_COSINE:
            before = stored[made.keys[known[int(cosines.argmin())]]]
            raise Terminal(_changed(float(cosines.min()), before, made.versions, self._model))
        return float(cosines.min())

    def _store(self, made: _Made) -> None:
        count, dimensions = made.vectors.shape
        flat = pa.array(made.vectors.reshape(-1), pa.float32())
        now = pa.array([datetime.now(UTC)] * count, pa.timestamp("us", tz="UTC"))
        said = json.dumps(dict(made.versions), sort_keys=True)
        offsets = pa.array(np.arange(count + 1, dtype=np.int32) * dimensions)
        self._table().append(
            pa.table(
                {
                    "embedding_key": made.keys,
                    "vector": pa.ListArray.from_arrays(offsets, flat),
                    "versions": [said] * count,
                    "at": now,
                }
            )
        )


def _changed(cosine: float, before: Mapping[str, Any], now: Mapping[str, str], model: Model) -> str:
    """What to tell: how far apart, what is different today, and what can be done."""
    then: dict[str, str] = json.loads(before["versions"])
    different = [
        f"{name} was {then.get(name) or 'unknown'} and is {now.get(name) or 'unknown'}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
    cause = "; ".join(different) or (
        "library, driver and device are the same, so it is the model: its files, or how the engine reads them"
    )
    return (
        f"the engine no longer makes the vectors that are stored for {model.name}: a text embedded on "
        f"{before['at']:%Y-%m-%d} comes out with cosine {cosine:.5f}, below {LEAST_COSINE}. Different since then: "
        f"{cause}. Nothing was embedded. Go back to what it was, or embed everything anew under another data root"
    )
