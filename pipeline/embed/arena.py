"""Memory that two processes share: token ids go in, vectors come out, and nothing is copied through a pipe.

It has no name in the file system, so that nothing is left behind, however its owners end.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Vectors

Number = TypeVar("Number", bound=np.generic)

#: What a row's flag says of it.
WAITING, DONE, REFUSED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Shape:
    """`slots` parcels, each of at most `rows` texts and `tokens` tokens, with vectors of `dimensions`."""

    slots: int
    rows: int
    tokens: int
    dimensions: int

    @property
    def slot_bytes(self) -> int:
        """Of one slot: token ids, lengths and vectors take 4 bytes a number, flags one, up to a multiple of 64."""
        size = 4 * (self.tokens + self.rows + self.rows * self.dimensions) + self.rows
        return -(-size // 64) * 64


class Arena:
    """The slots, as arrays. Without a descriptor, new memory, zeroed; with one, another process's."""

    def __init__(self, shape: Shape, descriptor: int | None = None) -> None:
        self.shape = shape
        size = shape.slots * shape.slot_bytes
        if descriptor is None:
            descriptor = _anonymous()
            os.ftruncate(descriptor, size)
        #: To be handed to the other process.
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, size)

    def lengths(self, slot: int) -> NDArray[np.int32]:
        """How many tokens each row has: int32, shape (rows,)."""
        return self._array(slot, 0, self.shape.rows, np.int32)

    def tokens(self, slot: int) -> NDArray[np.int32]:
        """The rows' token ids one after the other: int32, shape (tokens,)."""
        return self._array(slot, 4 * self.shape.rows, self.shape.tokens, np.int32)

    def vectors(self, slot: int) -> Vectors:
        """float32, shape (rows, dimensions)."""
        rows, dimensions = self.shape.rows, self.shape.dimensions
        return self._array(slot, 4 * (rows + self.shape.tokens), rows * dimensions, np.float32).reshape(rows, -1)

    def flags(self, slot: int) -> NDArray[np.uint8]:
        """WAITING, DONE or REFUSED: uint8, shape (rows,). A row's vector is written before its flag."""
        behind = 4 * (self.shape.rows + self.shape.tokens + self.shape.rows * self.shape.dimensions)
        return self._array(slot, behind, self.shape.rows, np.uint8)

    def close(self) -> None:
        """Let go of it; the memory goes with its last owner."""
        os.close(self.descriptor)

    def _array(self, slot: int, offset: int, count: int, dtype: type[Number]) -> NDArray[Number]:
        return np.frombuffer(self._memory, dtype, count, slot * self.shape.slot_bytes + offset)


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("corpusvec-vectors", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # where the system has no nameless memory
        return os.dup(file.fileno())
