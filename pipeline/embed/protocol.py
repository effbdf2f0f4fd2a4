"""What an engine's owner and the process that it lives in say to each other, and what they call an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Engine
from pipeline.embed.arena import Shape
from pipeline.embed.memory import Memory
from pipeline.embed.model import Model
from pipeline.types import Vectors

#: Tokens that every model has: of a text that nothing is wrong with.
PROBE = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Start:
    """To the worker, first: which engine (`module:name`), for what, and how the memory is laid out."""

    engine: str
    model: Model
    settings: Engine
    shape: Shape


@dataclass(frozen=True, slots=True)
class Ready:
    """From the worker: the engine runs, and has embedded the probe; `vector` is what came out."""

    device: str
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    vector: Vectors


@dataclass(frozen=True, slots=True)
class Parcel:
    """To the worker: `rows` texts are in `slot`. None instead of a parcel: no more will come."""

    slot: int
    rows: int


@dataclass(frozen=True, slots=True)
class Finished:
    """From the worker: each row of `slot` has its vector, or stands in `refused` with the reason."""

    slot: int
    refused: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """From the worker, last: the engine is of no more use. `memory`: whether it ran out of that."""

    reason: str
    memory: Memory


class StreamingEngine(Protocol):
    """What runs in a worker. `numbers` name texts, and are used again once a text is finished."""

    dimensions: int
    device: str
    settings: Mapping[str, Any]

    @property
    def versions(self) -> Mapping[str, str]:
        """What its vectors are computed by."""

    def add(self, number: int, ids: NDArray[np.int32]) -> None:
        """Queue a text. Raises Rejected if it can never be embedded."""

    def step(self) -> list[tuple[int, Vectors]]:
        """Compute for a while; the numbers and vectors of the texts that are finished."""

    def close(self) -> None:
        """Free the device."""
