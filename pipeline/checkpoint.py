"""The corpus as Parquet: immutable parts, written atomically, and the current view over them.

    ROOT/documents/<parse fingerprint>/      one row a document version: text, blocks, metadata
    ROOT/chunks/<chunk fingerprint>/         one row a chunk; the rows of a document version are contiguous in a part
    ROOT/vectors/<embed fingerprint>/        one row an embedding key: content-addressed, shared by all collections
    ROOT/ledger/<collection>/                one row each time a document's state in a collection changed
    ROOT/runs/                               one row a finished run

A part's name sorts by time, and the newest row (or run of rows) of a key is the current one. A part that exists is
complete: on a local disk it is written beside its name, synced and renamed; on an object store it is one PUT. There
are no marker files and no second database. Every part carries its recipe in the file metadata and is readable as it
is by pandas, DuckDB and `datasets`.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from pipeline.errors import Terminal
from pipeline.types import Vectors

BLOCK = pa.struct(
    [
        pa.field("kind", pa.string()),
        pa.field("start", pa.int64()),
        pa.field("end", pa.int64()),
        pa.field("level", pa.int16()),
        pa.field("page", pa.int32()),
    ]
)
DOCUMENTS = pa.schema(
    [
        ("version_id", pa.string()),
        ("document_id", pa.string()),
        ("uri", pa.string()),
        ("content_hash", pa.string()),
        ("media_type", pa.string()),
        ("title", pa.string()),
        ("text", pa.large_string()),
        ("blocks", pa.list_(BLOCK)),
        ("metadata", pa.string()),  # JSON
        ("warnings", pa.list_(pa.string())),
        ("parsed_at", pa.timestamp("us", tz="UTC")),
    ]
)
CHUNKS = pa.schema(
    [
        ("version_id", pa.string()),
        ("record_id", pa.string()),
        ("document_id", pa.string()),
        ("position", pa.int32()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("text", pa.large_string()),
        ("context", pa.string()),
        ("section", pa.list_(pa.string())),
        ("page", pa.int32()),
        ("page_to", pa.int32()),
        ("content_hash", pa.string()),
        ("tokens", pa.int32()),
        ("token_hash", pa.string()),
    ]
)
LEDGER = pa.schema(
    [
        ("document_id", pa.string()),
        ("uri", pa.string()),
        ("source", pa.string()),
        ("status", pa.string()),  # loaded, rejected or deleted
        # What was last looked at: the listing's words, the bytes, and the recipe as a whole.
        ("size", pa.int64()),
        ("mtime", pa.float64()),
        ("etag", pa.string()),
        ("content_hash", pa.string()),
        ("recipe", pa.string()),
        # What the store holds: nothing if `version_id` is "". The three fingerprints name the tables that it came from.
        ("version_id", pa.string()),
        ("parse", pa.string()),
        ("chunk", pa.string()),
        ("embed", pa.string()),
        ("metadata", pa.string()),  # JSON: what the source and the settings say of it, over what the parser found
        ("metadata_hash", pa.string()),
        ("chunks", pa.int32()),
        ("tokens", pa.int64()),
        ("words", pa.int64()),
        # Of a rejection, which leaves an older version that the store holds where it is.
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("tries", pa.int32()),
        ("run_id", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("forced_at", pa.timestamp("us", tz="UTC")),  # when the backfill began that last embedded it by force
    ]
)
RUNS = pa.schema(
    [
        ("run_id", pa.string()),
        ("kind", pa.string()),  # ingest, backfill, …
        ("parameters", pa.string()),  # JSON: what, beside its sources, a backfill goes on by
        ("store", pa.string()),
        ("collection", pa.string()),
        ("sources", pa.list_(pa.string())),
        ("status", pa.string()),  # running, completed, or "failed: …"
        ("started_at", pa.timestamp("us", tz="UTC")),
        ("finished_at", pa.timestamp("us", tz="UTC")),
        ("report", pa.string()),  # JSON
    ]
)


def vectors_schema(dimensions: int) -> pa.Schema:
    """`embedding_key` (32 hex digits) and `vector` (float32, fixed length)."""
    return pa.schema([("embedding_key", pa.string()), ("vector", pa.list_(pa.float32(), dimensions))])


def vectors_table(keys: Sequence[str], vectors: Vectors) -> pa.Table:
    """Rows of the vectors table, without a Python float in sight."""
    flat = pa.array(vectors.reshape(-1), pa.float32())
    return pa.table({"embedding_key": keys, "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})


class Checkpoints:
    """The tables under one root: a folder or an fsspec URL. Opening one touches nothing."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._fs, self._path = fsspec.url_to_fs(root)
        self._tables: dict[str, Table] = {}
        self._lock = threading.Lock()

    def table(self, name: str, schema: pa.Schema, key: str, description: Mapping[str, Any] | None = None) -> Table:
        """The table in folder `name`; `description` goes into the metadata of the parts it writes."""
        with self._lock:
            if name not in self._tables:
                self._tables[name] = Table(self._fs, f"{self._path.rstrip('/')}/{name}", schema, key, description or {})
            return self._tables[name]

    def documents(self, recipe: str, description: Mapping[str, Any]) -> Table:
        """Parsed documents by version id."""
        return self.table(f"documents/{recipe}", DOCUMENTS, "version_id", description)

    def chunks(self, recipe: str, description: Mapping[str, Any]) -> Table:
        """Chunks by version id of their document."""
        return self.table(f"chunks/{recipe}", CHUNKS, "version_id", description)

    def vectors(self, recipe: str, dimensions: int, description: Mapping[str, Any]) -> Table:
        """Vectors by embedding key."""
        return self.table(f"vectors/{recipe}", vectors_schema(dimensions), "embedding_key", description)

    def ledger(self, collection: str) -> Table:
        """What a collection holds of each document, by document id. `collection` is a folder name."""
        return self.table(f"ledger/{collection}", LEDGER, "document_id")

    def runs(self) -> Table:
        """Finished runs by run id."""
        return self.table("runs", RUNS, "run_id")

    def count_vectors(self) -> int:
        """How many vectors there are, of every recipe; read from the parts' footers."""
        total = 0
        for path in self._fs.glob(f"{self._path.rstrip('/')}/vectors/*/*.parquet"):
            with self._fs.open(path, "rb") as file:
                total += pq.ParquetFile(file).metadata.num_rows
        return total


class Table:
    """An append-only table of Parquet parts with one key column of uuids or 32 hex digits. Thread-safe.

    The key index costs about 32 bytes a key and is read from the key columns when first needed.
    """

    def __init__(self, fs: Any, path: str, schema: pa.Schema, key: str, description: Mapping[str, Any]) -> None:
        self.path = path
        self.schema = schema.with_metadata({"corpusvec": json.dumps(dict(description), sort_keys=True)})
        self.key = key
        self._fs = fs
        self._lock = threading.RLock()
        self._index: KeyIndex | None = None
        self._parts: list[str] = []

    def append(self, rows: pa.Table | Sequence[Mapping[str, Any]]) -> None:
        """Write `rows` as one part: wholly there when this returns, wholly absent if it does not. No rows, no part.

        Rows of one key must be adjacent. Raises Terminal if the disk is full or not writable.
        """
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(list(rows), schema=self.schema)
        if table.num_rows == 0:
            return
        table = table.cast(self.schema)
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", use_dictionary=False, row_group_size=65_536)
        with self._lock:
            index = self._loaded()
            newest = int(self._parts[-1].split("-")[0]) if self._parts else 0
            # A clock that was set back must not make a new row look old.
            name = f"{max(time.time_ns(), newest + 1):020d}-{secrets.token_hex(4)}.parquet"
            write_atomically(self._fs, f"{self.path}/{name}", buffer.getvalue())
            self._parts.append(name)
            index.add(table.column(self.key), len(self._parts) - 1)

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` that no part has, in order, each once."""
        with self._lock:
            found = self._loaded().find(keys)
        return list(dict.fromkeys(key for key, row in zip(keys, found, strict=True) if row[0] < 0))

    def lookup(self, keys: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """The current rows of `keys`, in the order of the keys; keys that no part has give no rows."""
        with self._lock:
            found = self._loaded().find(keys)
            parts = list(self._parts)
        pieces: list[tuple[int, pa.Table]] = []
        for part in np.unique(found[:, 0]):
            if part < 0:
                continue
            wanted = np.flatnonzero(found[:, 0] == part)
            rows = self._read(parts[part], columns)
            pieces += [(int(i), rows.slice(int(found[i, 1]), int(found[i, 2]))) for i in wanted]
        pieces.sort(key=lambda piece: piece[0])
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        return pa.concat_tables([schema.empty_table(), *(piece for _, piece in pieces)])

    def current(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The newest row (or run of rows) of every key, a part at a time, oldest part first."""
        with self._lock:
            index = self._loaded()
            parts = list(self._parts)
            rows = index.rows()
        for part, name in enumerate(parts):
            of_part = rows[rows[:, 0] == part]
            if len(of_part):
                of_part = of_part[np.argsort(of_part[:, 1])]
                take = np.concatenate([np.arange(start, start + count) for _, start, count in of_part])
                yield self._read(name, columns).take(pa.array(take))

    def __len__(self) -> int:
        """How many keys there are."""
        with self._lock:
            return len(self._loaded())

    @property
    def parts(self) -> list[str]:
        """The names of the parts, oldest first."""
        with self._lock:
            self._loaded()
            return list(self._parts)

    def _loaded(self) -> KeyIndex:
        if self._index is None:
            index = KeyIndex()
            self._parts = list_parts(self._fs, self.path)
            for number, name in enumerate(self._parts):
                index.add(self._read(name, [self.key]).column(0), number)
            self._index = index
        return self._index

    def _read(self, name: str, columns: Sequence[str] | None) -> pa.Table:
        with self._fs.open(f"{self.path}/{name}", "rb") as file:
            return pq.read_table(file, columns=None if columns is None else list(columns))


class KeyIndex:
    """Key → (part, first row, rows), the newest part winning. 128-bit keys in sorted arrays, recent ones in a dict."""

    FOLD_AT = 500_000

    def __init__(self) -> None:
        self._high = np.empty(0, np.uint64)
        self._low = np.empty(0, np.uint64)
        self._rows = np.empty((0, 3), np.int64)
        self._recent: dict[bytes, tuple[int, int, int]] = {}

    def add(self, keys: pa.ChunkedArray, part: int) -> None:
        packed = _pack(keys.to_pylist())
        row = 0
        while row < len(packed):
            key, end = packed[row], row + 1
            while end < len(packed) and packed[end] == key:
                end += 1
            self._recent[key] = (part, row, end - row)
            row = end
        if len(self._recent) >= self.FOLD_AT:
            self._fold()

    def find(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Shape (len(keys), 3): part, first row, rows; -1 where there is none."""
        packed = _pack(keys)
        result = np.full((len(packed), 3), -1, np.int64)
        if len(self._high):
            high, low = _halves(packed)
            at = np.searchsorted(self._high, high)
            for i, (h, lo) in enumerate(zip(high, low, strict=True)):
                position = int(at[i])
                while position < len(self._high) and self._high[position] == h:
                    if self._low[position] == lo:
                        result[i] = self._rows[position]
                        break
                    position += 1
        for i, key in enumerate(packed):
            if (row := self._recent.get(key)) is not None:
                result[i] = row
        return result

    def rows(self) -> NDArray[np.int64]:
        self._fold()
        return self._rows

    def __len__(self) -> int:
        self._fold()
        return len(self._high)

    def _fold(self) -> None:
        if not self._recent:
            return
        high, low = _halves(list(self._recent))
        high = np.concatenate([self._high, high])
        low = np.concatenate([self._low, low])
        rows = np.concatenate([self._rows, np.array(list(self._recent.values()), np.int64)])
        order = np.lexsort((rows[:, 0], low, high))
        high, low, rows = high[order], low[order], rows[order]
        newest = np.ones(len(high), bool)
        newest[:-1] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        self._high, self._low, self._rows = high[newest], low[newest], rows[newest]
        self._recent = {}


def _pack(keys: Sequence[str]) -> list[bytes]:
    """Uuids or 32 hex digits as 16 bytes each."""
    data = bytes.fromhex("".join(keys).replace("-", ""))
    if len(data) != 16 * len(keys):
        raise ValueError("a key is a uuid or 32 hex digits")
    return [data[i : i + 16] for i in range(0, len(data), 16)]


def _halves(packed: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    pairs = np.frombuffer(b"".join(packed), dtype=">u8").reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0], pairs[:, 1]


def list_parts(fs: Any, path: str) -> list[str]:
    """The names of the parts in a folder, oldest first; none if there is no folder."""
    try:
        names = [entry.rsplit("/", 1)[-1] for entry in fs.ls(path, detail=False)]
    except FileNotFoundError:
        return []
    return sorted(name for name in names if name.endswith(".parquet"))


def write_atomically(fs: Any, path: str, data: bytes) -> None:
    """Make `path` hold `data`, or leave it as it was. Raises Terminal if it cannot be written."""
    try:
        if not isinstance(fs, LocalFileSystem):
            fs.pipe_file(path, data)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        # The rename itself is durable only once the folder is.
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Terminal(f"cannot write {path}: {error.strerror or error}; free the disk or correct 'data'") from error
