"""Keys, 16 bytes each and never a Python object each: where their rows are, and sets of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: Uuids or 32 hex digits as 16 bytes each: dtype S16, which sorts and compares as the bytes do.
Keys = NDArray[np.bytes_]

# Of each key: part, first row, rows.
Places = NDArray[np.int32]

NO_KEYS: Keys = np.empty(0, "S16")

_NO_KEY = "a key is a uuid or 32 hex digits"

_DIGITS = np.full(256, 255, np.uint8)
_DIGITS[np.frombuffer(b"0123456789abcdefABCDEF", np.uint8)] = [*range(16), *range(10, 16)]

# So few keys are decoded one by one: Arrow takes longer to begin.
_FEW = 64

# Keys are decoded so many at a time: bounds what decoding takes beside the keys themselves.
_BATCH = 262_144


def pack(keys: Sequence[str] | pa.Array | pa.ChunkedArray) -> Keys:
    """Uuids or 32 hex digits as keys, in order. Raises ValueError if one is neither."""
    if isinstance(keys, pa.ChunkedArray):
        return np.concatenate([NO_KEYS, *(pack(chunk) for chunk in keys.chunks)])
    if not isinstance(keys, pa.Array) and len(keys) <= _FEW:
        return np.frombuffer(b"".join(map(_decode_one, keys)), "S16")
    column = keys if isinstance(keys, pa.Array) else pa.array(list(keys), pa.string())
    packed = np.empty(len(column), "S16")
    for first in range(0, len(column), _BATCH):
        packed[first : first + _BATCH] = _decode(column.slice(first, _BATCH))
    return packed


def _decode_one(key: str) -> bytes:
    digits = key.replace("-", "")
    try:
        packed = bytes.fromhex(digits)
    except ValueError:
        packed = b""
    if len(packed) != 16 or len(digits) != 32:
        raise ValueError(_NO_KEY)
    return packed


def _decode(column: pa.Array) -> Keys:
    try:
        hexadecimal = pc.replace_substring(column, "-", "").cast(pa.binary()).cast(pa.binary(32))
    except pa.ArrowInvalid as error:
        raise ValueError(_NO_KEY) from error
    data = np.frombuffer(hexadecimal.buffers()[1], np.uint8, 32 * len(column), 32 * hexadecimal.offset)
    digits = _DIGITS[data]
    if hexadecimal.null_count or digits.max(initial=0) > 15:
        raise ValueError(_NO_KEY)
    packed: Keys = (digits[0::2] << 4 | digits[1::2]).view("S16")
    return packed


def unpack(keys: Keys) -> list[str]:
    """Keys as 32 hex digits each."""
    digits = keys.tobytes().hex()
    return [digits[first : first + 32] for first in range(0, len(digits), 32)]


def unite(keys: Iterable[Keys]) -> Keys:
    """The set of all `keys`: sorted, each once."""
    return np.unique(np.concatenate([NO_KEYS, *map(np.unique, keys)]))


def among(keys: Keys, these: Keys) -> NDArray[np.bool_]:
    """Of each key, whether it is in the set `these` (sorted)."""
    if not len(these):
        return np.zeros(len(keys), bool)
    found: NDArray[np.bool_] = these[np.minimum(np.searchsorted(these, keys), len(these) - 1)] == keys
    return found


class KeyIndex:
    """Key → (part, first row, rows), what was added last winning. 28 bytes a key, three times that while it grows."""

    def __init__(self) -> None:
        # Sorted arrays, each less than half as long as the one before it, and newer: so adding costs a logarithm.
        self._levels: list[tuple[Keys, Places]] = []

    def add(self, keys: Sequence[str] | pa.ChunkedArray, part: int) -> None:
        """Add the key column of a part's rows; those of one key are adjacent."""
        self.add_packed(pack(keys), part)

    def add_packed(self, keys: Keys, part: int) -> None:
        """The same, of keys that are packed already."""
        if not len(keys):
            return
        first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        counts = np.diff(first, append=len(keys))
        places = np.stack([np.full(len(first), part), first, counts], axis=1).astype(np.int32)
        self._levels.append(_newest(keys[first], places))
        while len(self._levels) > 1 and len(self._levels[-2][0]) <= 2 * len(self._levels[-1][0]):
            self._merge_last()

    def find(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Shape (len(keys), 3): part, first row, rows; -1 where there is none."""
        wanted = pack(keys)
        result = np.full((len(wanted), 3), -1, np.int64)
        for known, places in self._levels:
            at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
            found = known[at] == wanted
            result[found] = places[at[found]]
        return result

    def entries(self) -> tuple[Keys, Places]:
        """Every key, sorted, and the place of each: shape (keys, 3)."""
        while len(self._levels) > 1:
            self._merge_last()
        return self._levels[0] if self._levels else (NO_KEYS, np.empty((0, 3), np.int32))

    def __len__(self) -> int:
        return len(self.entries()[0])

    def _merge_last(self) -> None:
        (old, old_places), (new, new_places) = self._levels[-2:]
        self._levels[-2:] = [_newest(np.concatenate([old, new]), np.concatenate([old_places, new_places]))]


def _newest(keys: Keys, places: Places) -> tuple[Keys, Places]:
    """Sorted by key; of equal keys, the last."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    last = np.concatenate([keys[1:] != keys[:-1], [True]])
    return keys[last], places[order[last]]
