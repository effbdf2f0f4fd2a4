"""A table of Parquet parts: appended to, looked up, read, merged and rewritten; `pipeline.checkpoint` says which."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import Terminal
from pipeline.keys import NO_KEYS, KeyIndex, Keys, Places, among, pack, unite
from pipeline.parts import DESCRIPTION, Gone, Part, list_parts, remove, remove_folder, sync_folder, write_part
from pipeline.writer import Writer

#: Parts are merged up to this size.
PART_BYTES = 128 * 2**20

Wanted = Callable[[Keys], NDArray[np.bool_]]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Extent:
    """A part: its size in bytes, how many rows it has, and the numbers of those that are wanted, sorted."""

    name: str
    size: int
    rows: int
    wanted: NDArray[np.int64]


class Table:
    """A table of Parquet parts with one key column of uuids or 32 hex digits. Thread-safe.

    The key index costs 28 bytes a key and is read from the key columns when first needed. When another process has
    merged parts underneath, it is read again. Whatever reads raises Terminal for a part that is broken, and whatever
    writes for a disk that is full or not writable.
    """

    def __init__(
        self, fs: Any, path: str, schema: pa.Schema, key: str, tombstone: tuple[str, str] | None = None,
        writer: Writer | None = None,
    ) -> None:  # fmt: skip
        self.path = path
        self.schema = schema
        self.key = key
        self._fs = fs
        self._description = b"{}"
        self._tombstone = tombstone
        self._writer = writer
        self._lock = threading.RLock()
        self._index: KeyIndex | None = None
        self._parts: list[str] = []

    def describe(self, schema: pa.Schema, description: Mapping[str, Any] | None) -> None:
        """Set the columns and, unless it is None, what new parts say of how they were made."""
        with self._lock:
            self.schema = schema
            if description is not None:
                self._description = json.dumps(dict(description), sort_keys=True).encode()

    def append(self, rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
        """Write `rows` as one part: wholly there when this returns, wholly absent if it does not. No rows, no part.

        Rows of one key must be adjacent.
        """
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=self.schema)
        if not table.num_rows:
            return
        keys = pack(table.column(self.key))
        with self._lock:
            parts = self.parts if self._index is None else self._parts
            # A clock that was set back must not make a new row look old.
            newest = int(instant(parts[-1])) if parts else 0
            name = _name(f"{max(time.time_ns(), newest + 1):020d}")
            if self._write(name, [table], self._description, self._writer) and self._index is not None:
                self._index.add_packed(keys, len(self._parts))
                self._parts.append(name)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` that no part has, in order, each once."""
        found, _ = self._patiently(lambda: self._find(keys))
        return list(dict.fromkeys(key for key, row in zip(keys, found, strict=True) if row[0] < 0))

    def lookup(self, keys: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """The current rows of `keys`, in the order of the keys; keys that no part has give no rows.

        Costs the row groups that hold them, one in memory at a time.
        """
        return self._patiently(lambda: self._lookup(keys, self._columns(columns)))

    def _lookup(self, keys: Sequence[str], schema: pa.Schema) -> pa.Table:
        found, parts = self._find(keys)
        found = found[found[:, 0] >= 0]
        # Part and row as one number: what is asked for twice is read once, and parts are read in their order.
        places = np.repeat(found[:, 0] << 32, found[:, 2]) | _numbers(found)
        unique, order = np.unique(places, return_inverse=True)
        pieces = [schema.empty_table()]
        for number in np.unique(unique >> 32):
            first, end = np.searchsorted(unique, [number << 32, (number + 1) << 32])
            with self._open(parts[number]) as part:
                pieces += part.read(schema, unique[first:end] - (number << 32))
        table = pa.concat_tables(pieces)
        return table if np.array_equal(order, np.arange(len(order))) else table.take(pa.array(order))

    def current(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The newest row (or run of rows) of every key, about a row group at a time, oldest part first.

        A run is never split between two tables. What is appended meanwhile is not seen.
        """
        schema = self._columns(columns)
        seen = NO_KEYS
        while True:
            keys, places, parts = self._patiently(self._entries)
            order = np.lexsort((places[:, 1], places[:, 0]))
            order = order[~among(keys[order], seen)]
            done = 0
            try:
                for number, name in enumerate(parts):
                    first, end = np.searchsorted(places[order, 0], [number, number + 1])
                    if first == end:
                        continue
                    own = places[order[first:end]]
                    with self._open(name) as part:
                        for table, runs in _whole_runs(part.read(schema, _numbers(own)), own[:, 2]):
                            done += runs
                            yield table
                return
            except Gone as gone:
                seen = unite([seen, keys[order[:done]]])
                self._look_again(gone)

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._patiently(self._entries)[0])

    @property
    def parts(self) -> list[str]:
        """The names of the parts, oldest first."""
        return list(self.sizes())

    def sizes(self) -> dict[str, int]:
        """The names of the parts, oldest first, and their sizes in bytes."""
        return list_parts(self._fs, self.path)

    def count_rows(self) -> int:
        """How many rows there are, older ones of a key included; read from the parts' footers."""
        return sum(self._patiently(lambda: [self._rows_of(name) for name in self.parts]))

    def _rows_of(self, name: str) -> int:
        with self._open(name) as part:
            return part.rows

    # -- Merging and rewriting: but for `settle`, nobody else may do so at the same time -----------------------------

    def settle(self) -> None:
        """Merge the newest parts where that is cheap, so that their number grows as the logarithm of the rows'.

        A part is merged with everything newer once that is at least half of it. So a row is written again only into
        something half as large again, and each part that is left is more than twice as large as all newer ones.
        Another process may do so as well, and may append: only what was read is removed.
        """
        # A part that is gone was merged by somebody else: there is nothing left to do here.
        with self._lock, contextlib.suppress(Gone):
            sizes = self.sizes()
            for run in _newest_runs(sizes):
                whole = len(run) == len(sizes)
                self.rewrite(self.survey() if whole else self._extents({name: sizes[name] for name in run}))

    def survey(self, wanted: Wanted | None = None) -> list[Extent]:
        """Every part, oldest first. Wanted is what is the newest of its key, whose key `wanted` is true of.

        A tombstone is not, provided that the parts are rewritten in this order: what it covered is gone before it is.
        """
        with self._lock:
            dead = self._tombstones()
            self._index = None  # there will be another one instead
            return self._extents(self.sizes(), lambda keys: (wanted or _all)(keys) & ~among(keys, dead))

    def read(
        self, name: str, columns: Sequence[str] | None = None, rows: NDArray[np.int64] | None = None
    ) -> Iterator[pa.Table]:
        """A part's rows, older ones of a key included, or those of these (sorted) numbers; a row group at a time."""
        with self._open(name) as part:
            yield from part.read(self._columns(columns), rows)

    def rewrite(self, extents: Sequence[Extent]) -> None:
        """Put one part with what is wanted of some adjacent parts in their place."""
        wanted = (table for extent in extents for table in self.read(extent.name, rows=extent.wanted))
        self.replace([extent.name for extent in extents], wanted)

    def replace(self, names: Sequence[str], tables: Iterable[pa.Table]) -> None:
        """Put one part with the rows of `tables` (none: no part) in the place of adjacent parts, oldest first.

        Killed at any point, the current view is as before or as after; doing it again ends it.
        """
        with self._lock:
            with self._open(names[-1]) as last:
                description = (last.schema.metadata or {}).get(DESCRIPTION, self._description)
            try:
                written = self._write(_name(instant(names[-1])), tables, description)
                for name in names:
                    remove(self._fs, f"{self.path}/{name}")
                sync_folder(self._fs, self.path)
                if not written:
                    remove_folder(self._fs, self.path)
            finally:
                self._index = None

    def drop(self) -> None:
        """Remove every part, oldest first, and the folder."""
        with self._lock:
            for name in self.parts:
                remove(self._fs, f"{self.path}/{name}")
            remove_folder(self._fs, self.path)
            self._index = None

    def _extents(self, sizes: Mapping[str, int], wanted: Wanted | None = None) -> list[Extent]:
        index, rows = self._index_of(list(sizes))
        keys, places = index.entries()
        places = places[(wanted or _all)(keys)]
        places = places[np.lexsort((places[:, 1], places[:, 0]))]
        bounds = np.searchsorted(places[:, 0], np.arange(len(sizes) + 1))
        return [
            Extent(name, size, rows[number], _numbers(places[bounds[number] : bounds[number + 1]]))
            for number, (name, size) in enumerate(sizes.items())
        ]

    def _tombstones(self) -> Keys:
        if self._tombstone is None:
            return NO_KEYS
        column, value = self._tombstone
        states = self.current([self.key, column])
        return unite(pack(state.filter(pc.field(column) == value).column(0)) for state in states)

    # -- What the verbs above share -----------------------------------------------------------------------------------

    def _find(self, keys: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
        with self._lock:
            return self._loaded().find(keys), list(self._parts)

    def _entries(self) -> tuple[Keys, Places, list[str]]:
        with self._lock:
            return (*self._loaded().entries(), list(self._parts))

    def _loaded(self) -> KeyIndex:
        if self._index is None:
            parts = self.parts
            self._index, _ = self._index_of(parts)
            self._parts = parts
        return self._index

    def _index_of(self, parts: Sequence[str]) -> tuple[KeyIndex, list[int]]:
        """Where the newest rows of keys are in `parts`, and how many rows each part has."""
        index = KeyIndex()
        rows: list[int] = []
        for number, name in enumerate(parts):
            with self._open(name) as part:
                columns = part.read(self._columns([self.key]))
                index.add_packed(np.concatenate([NO_KEYS, *(pack(table.column(0)) for table in columns)]), number)
                rows.append(part.rows)
        return index, rows

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """`attempt`, again if somebody has meanwhile put other parts in the place of those that we knew."""
        while True:
            try:
                return attempt()
            except Gone as gone:
                self._look_again(gone)

    def _look_again(self, gone: Gone) -> None:
        if gone.name in self.parts:
            raise Terminal(f"cannot read {self.path}/{gone.name}, though it is listed; restore it, or take it away")
        with self._lock:
            self._index = None

    def _columns(self, columns: Sequence[str] | None) -> pa.Schema:
        return self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])

    def _open(self, name: str) -> Part:
        return Part(self._fs, f"{self.path}/{name}")

    def _write(self, name: str, tables: Iterable[pa.Table], description: bytes, writer: Writer | None = None) -> bool:
        schema = self.schema.with_metadata({DESCRIPTION: description})
        return (writer or write_part)(self._fs, f"{self.path}/{name}", schema, tables)


def instant(name: str) -> str:
    """The time in a part's name, which its age is told by: 20 digits."""
    return name.split("-", 1)[0]


def _name(instant: str) -> str:
    return f"{instant}-{secrets.token_hex(4)}.parquet"


def _all(keys: Keys) -> NDArray[np.bool_]:
    return np.ones(len(keys), bool)


def _newest_runs(sizes: Mapping[str, int]) -> list[list[str]]:
    """The newest parts that are worth merging, in runs of at most PART_BYTES; those of one instant stay together."""
    names = list(sizes)
    first, newer = len(names), 0
    for number in reversed(range(len(names))):
        size = sizes[names[number]]
        if size >= PART_BYTES // 2:
            break  # large enough, and so is what is older
        if size <= 2 * newer or (newer and instant(names[number]) == instant(names[number + 1])):
            first = number
        newer += size
    runs: list[list[str]] = []
    total = 0
    for name in names[first:]:
        together = bool(runs) and instant(name) == instant(runs[-1][-1])
        if together or (runs and total + sizes[name] <= PART_BYTES):
            runs[-1].append(name)
            total += sizes[name]
        else:
            runs.append([name])
            total = sizes[name]
    return [run for run in runs if len(run) > 1]


def _numbers(places: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """The numbers of all rows at `places` (shape (n, 3): part, first row, rows), place by place."""
    counts = places[:, 2].astype(np.int64)
    before = np.cumsum(counts) - counts
    numbers: NDArray[np.int64] = np.arange(counts.sum()) + np.repeat(places[:, 1] - before, counts)
    return numbers


def _whole_runs(tables: Iterable[pa.Table], counts: NDArray[np.int32]) -> Iterator[tuple[pa.Table, int]]:
    """The same rows, no run split between two tables, and how many runs each has; `counts` are the runs' rows."""
    ends = np.cumsum(counts)
    held: list[pa.Table] = []
    rows = done = 0
    for table in tables:
        held.append(table)
        rows += table.num_rows
        complete = int(np.searchsorted(ends, rows, "right"))
        if complete > done:
            beyond = rows - int(ends[complete - 1])
            joined = pa.concat_tables(held)
            yield joined.slice(0, joined.num_rows - beyond), complete - done
            held, done = [joined.slice(joined.num_rows - beyond)], complete
