"""Whether a quantized model's vectors may stand in for the model's own: compared before the first one is stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pipeline.embed.gate import faults
from pipeline.errors import Poisoned, Terminal
from pipeline.evaluate import ndcg
from pipeline.ports import Embedder
from pipeline.types import TokenIds, Vectors

log = logging.getLogger(__name__)

#: What the vectors of a sample must show. MiniLM's, its matrices rounded to fp8 and back, have 0.996, 0.997 and 0.99 on
#: 264 Cranfield abstracts (docs/benchmarks.md); what falls below these is no rounding.
LEAST_COSINE, LEAST_MEAN_COSINE, LEAST_NDCG = 0.98, 0.99, 0.95

# So many texts of the first documents, and no more tokens than a GPU embeds in a few seconds.
_TEXTS, _TOKENS = 256, 262_144
_RANKED = 10


@dataclass(frozen=True, slots=True)
class Quality:
    """How near quantized vectors are to exact ones, over so many texts.

    `ndcg` is the mean nDCG@10 of each text's nearest others, where the ten nearest by exact vectors are what is right,
    with gains of 10 to 1.
    """

    texts: int
    least_cosine: float
    mean_cosine: float
    ndcg: float

    @property
    def suffices(self) -> bool:
        """Whether all three are above their least."""
        return self.least_cosine >= LEAST_COSINE and self.mean_cosine >= LEAST_MEAN_COSINE and self.ndcg >= LEAST_NDCG


class Trial:
    """A sample's vectors by the exact engine, to judge a quantized one by.

    `exact` is opened and closed here: a GPU has no room for both at once.
    """

    def __init__(self, exact: Callable[[], Embedder], texts: Sequence[TokenIds]) -> None:
        self._ids = _sample(texts)
        engine = exact()
        try:
            self._exact = _embed(engine, self._ids)
        finally:
            engine.close()

    def judge(self, quantized: Embedder) -> Quality:
        """Compare; raises Terminal if the quantized vectors are too far from the exact ones, or none at all."""
        vectors = _embed(quantized, self._ids)
        wrong = faults(vectors, quantized.dimensions).keys() | faults(self._exact, quantized.dimensions).keys()
        sound = [row for row in range(len(self._ids)) if row not in wrong]
        if not sound:
            raise Terminal(f"the quantized engine made no sound vector of {len(self._ids)} texts: {_LEAVE}")
        found = compare(self._exact[sound], vectors[sound])
        log.info("the quantized vectors beside the exact ones: %s", asdict(found))
        if not found.suffices:
            raise Terminal(
                f"the quantized vectors are too far from the model's own: over {found.texts} texts the cosine is "
                f"{found.least_cosine:.4f} at least (asked {LEAST_COSINE}) and {found.mean_cosine:.4f} on average "
                f"({LEAST_MEAN_COSINE}), nDCG@10 {found.ndcg:.3f} ({LEAST_NDCG}). Nothing was embedded: {_LEAVE}"
            )
        return found


_LEAVE = "leave recipe.quantization out"


def compare(exact: Vectors, quantized: Vectors) -> Quality:
    """Of the same texts, row by row: unit vectors, float32, shape (texts, dimensions)."""
    cosines = (exact * quantized).sum(axis=1)
    scores = []
    if len(exact) > 1:
        right, got = _neighbours(exact), _neighbours(quantized)
        for row in range(len(exact)):
            gains = {str(near): float(_RANKED - rank) for rank, near in enumerate(right[row])}
            scores.append(ndcg([str(near) for near in got[row]], gains, _RANKED))
    return Quality(len(exact), float(cosines.min()), float(cosines.mean()), float(np.mean(scores)) if scores else 1.0)


def _neighbours(vectors: Vectors) -> list[list[int]]:
    """The nearest other rows of each, nearest first."""
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -np.inf)
    order = np.argsort(-likeness, axis=1, kind="stable")
    return [[int(near) for near in row] for row in order[:, : min(_RANKED, len(vectors) - 1)]]


def _sample(texts: Sequence[TokenIds]) -> list[TokenIds]:
    """Texts from all over, as many as there is time for."""
    every = max(1, len(texts) // _TEXTS)
    taken: list[TokenIds] = []
    tokens = 0
    for ids in texts[::every][:_TEXTS]:
        if not taken or tokens + len(ids) <= _TOKENS:
            taken.append(ids)
            tokens += len(ids)
    return taken


def _embed(engine: Embedder, ids: Sequence[TokenIds]) -> Vectors:
    """Their vectors; what the engine refuses is NaN."""
    try:
        return engine.embed(ids)
    except Poisoned as poisoned:
        vectors: Vectors = poisoned.vectors
        vectors[list(poisoned.faults)] = np.nan
        return vectors
