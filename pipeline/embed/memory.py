"""Whether an engine died for want of memory: from what it raised, what it printed, and how it ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum

# Each library has its own words: CUDA, cuBLAS, HIP, torch on a CPU, oneDNN, C++, the C library, numpy, and vLLM where
# the batch it tried at its start has left no room for anything else.
_SIGNS = re.compile(
    r"out ?of ?memory|MemoryError|ErrorMemoryAllocation|ALLOC_FAILED|bad_alloc|could not create a memory object"
    r"|(?:can't|cannot|could not|unable to|failed to) allocate (?:\w+ )?memory|not enough (?:\w+ )?memory"
    r"|no available memory",
    re.IGNORECASE,
)
# vLLM's core in a process of its own: whoever is told of its death is not told the reason.
_CORE = re.compile(r"engine ?core (?:encountered|initialization failed)", re.IGNORECASE)


class Memory(IntEnum):
    """Whether it was that. PERHAPS: something took the reason with it."""

    NO, PERHAPS, YES = range(3)


def in_words(text: str) -> Memory:
    """What a text says of it."""
    return Memory.YES if _SIGNS.search(text) else Memory.PERHAPS if _CORE.search(text) else Memory.NO


def in_error(error: BaseException) -> Memory:
    """What an error says of it, or one that it came from."""
    return max(in_words(f"{type(one).__name__}: {one}") for one in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            left += [one.__cause__, one.__context__]
