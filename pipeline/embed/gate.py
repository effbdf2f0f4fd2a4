"""What a vector must be before it may reach Parquet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Vectors

#: How far from 1 the length of a normalized vector may be: engines normalize in float32, or in bfloat16 (8 bits).
NORM_TOLERANCE = 1e-2


def faults(vectors: Vectors, dimensions: int) -> dict[int, str]:
    """Row → why it must not be stored; rows that are fine are absent. `vectors` is float32, shape (n, d)."""
    if vectors.ndim != 2 or vectors.shape[1] != dimensions:
        fault = f"the engine gave shape {vectors.shape[1:]} instead of ({dimensions},)"
        return dict.fromkeys(range(len(vectors)), fault)
    found: dict[int, str] = {}
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=1))
    with np.errstate(invalid="ignore", over="ignore"):
        norms = np.linalg.norm(vectors, axis=1)
        spread = np.ptp(vectors, axis=1) if dimensions > 1 else np.ones(len(vectors))
    for row in range(len(vectors)):
        if not finite[row]:
            found[row] = "the engine gave a vector with NaN or infinity"
        elif abs(norms[row] - 1) > NORM_TOLERANCE:
            found[row] = f"the engine gave a vector of length {norms[row]:.4f} instead of 1"
        elif spread[row] == 0:
            found[row] = "the engine gave a constant vector"
    return found
