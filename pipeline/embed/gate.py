"""What a text must be to be embedded, and a vector before it may reach Parquet."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Vectors

#: How far from 1 the length of a normalized vector may be: engines normalize in float32, or in bfloat16 (8 bits).
NORM_TOLERANCE = 1e-2

#: A vector is constant if its numbers differ by less than this part of their root mean square, which is the vector's
#: length by the root of its dimensions: two units in the last place of bfloat16, the coarsest that engines compute in.
#: Numbers whose mean is 0 differ by twice it at least (Popoviciu's inequality), so no sound vector comes near.
CONSTANT_TOLERANCE = 2**-6

#: The least cosine between two vectors of one text that are of one recipe. bf16 on different chips and kernels stays
#: above.
LEAST_COSINE = 0.999

# How many vectors a gate remembers, to know one again: an engine that mixes texts up does so soon after another.
_REMEMBERED = 65_536


class Gate:
    """What a run lets through: vectors that are sound, and that no other text was given. Thread-safe."""

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions
        self._seen: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()

    def faults(self, keys: Sequence[str], vectors: Vectors) -> dict[int, str]:
        """Row → why it must not be stored; rows that are fine are absent. `keys` name the rows' texts.

        Of two texts with the same vector neither is let through, unless the first of them has been long ago.
        """
        found = faults(vectors, self._dimensions)
        # To the last bit: the vectors of texts that differ may be as near as they like (a page and its next edition).
        names: dict[bytes, int] = {}
        with self._lock:
            for row, key in enumerate(keys):
                if row in found:
                    continue
                name = hashlib.blake2b(vectors[row].tobytes(), digest_size=12).digest()
                first = self._seen.setdefault(name, key)
                self._seen.move_to_end(name)
                if first != key:
                    found[row] = "the engine gave it the very vector of another text"
                    if name in names:
                        found[names[name]] = found[row]
                names.setdefault(name, row)
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return found


def unfit(tokens: int, longest: int) -> str | None:
    """Why a text of so many tokens is not embedded where `longest` are taken; None if it is."""
    if not tokens:
        return "the text has no tokens: there is nothing to embed"
    if tokens > longest:
        return f"the text has {tokens} tokens; the engine takes {longest}, and nothing is cut off silently"
    return None


def faults(vectors: Vectors, dimensions: int) -> dict[int, str]:
    """Row → why it is no vector of the model's; rows that are fine are absent. `vectors` is float32, shape (n, d)."""
    if vectors.ndim != 2 or vectors.shape[1] != dimensions:
        fault = f"the engine gave shape {vectors.shape[1:]} instead of ({dimensions},)"
        return dict.fromkeys(range(len(vectors)), fault)
    found: dict[int, str] = {}
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    with np.errstate(invalid="ignore", over="ignore"):
        norms = np.linalg.norm(vectors, axis=1)
        constant = np.ptp(vectors, axis=1) <= CONSTANT_TOLERANCE * norms / np.sqrt(dimensions)
    if dimensions == 1:
        constant[:] = False
    for row in np.flatnonzero(~finite | ~(np.abs(norms - 1) <= NORM_TOLERANCE) | constant):
        if not finite[row]:
            found[int(row)] = "the engine gave a vector with NaN or infinity"
        elif abs(norms[row] - 1) > NORM_TOLERANCE:
            found[int(row)] = f"the engine gave a vector of length {norms[row]:.4f} instead of 1"
        else:
            found[int(row)] = "the engine gave a constant vector"
    return found
