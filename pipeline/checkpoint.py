"""The corpus as Parquet: immutable parts, written atomically, and the current view over them.

    ROOT/documents/<parse fingerprint>/      one row a document version: text, blocks, metadata
    ROOT/chunks/<chunk fingerprint>/         one row a chunk; the rows of a document version are contiguous in a part
    ROOT/vectors/<embed fingerprint>/        one row an embedding key: content-addressed, shared by all collections
    ROOT/canary/<embed fingerprint>/         one row a text that is always the same: its vector, and what computed it
    ROOT/ledger/<collection>/                one row each time a document's state in a collection changed
    ROOT/runs/                               one row each time a run's state changed

A part's name sorts by time, and the newest row (or run of rows) of a key is the current one. A part that exists is
complete: on a local disk it is written beside its name, synced and renamed; on an object store it is one PUT. There
are no marker files and no second database. Every part carries its recipe in the file metadata and is readable as it
is by pandas, DuckDB and `datasets`.

Parts are merged and rewritten by putting one new part in the place of adjacent old ones. It takes the time of the last
of them, so that it is as old as they were; it is written first, and they are removed after, oldest first, so that no
row that was out of date is uncovered. Killed in between, both are there and say the same.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import fsspec
import pyarrow as pa

from pipeline.keys import KeyIndex
from pipeline.parts import Gone, Part, list_folders, list_leftovers, list_parts, remove
from pipeline.table import Table
from pipeline.tables import CANARY, CHUNKS, DOCUMENTS, LEDGER, RUNS, TOMBSTONE, vectors_schema, vectors_table
from pipeline.writer import Writer

__all__ = ["CHUNKS", "DOCUMENTS", "KINDS", "LEDGER", "RUNS", "Checkpoints", "KeyIndex", "Table", "vectors_table"]

#: The folders that hold one table a recipe, or one a collection.
KINDS = ("documents", "chunks", "vectors", "ledger")


class Checkpoints:
    """The tables under one root: a folder or an fsspec URL. Opening one touches nothing.

    `writer` writes what runs append to them, but for the few rows that every run has; it ends with `close`.
    """

    def __init__(self, root: str, writer: Writer | None = None) -> None:
        self.root = root
        self._writer = writer
        self._fs, path = fsspec.url_to_fs(root)
        self._path = path.rstrip("/")
        self._tables: dict[str, Table] = {}
        self._dimensions: dict[str, int | None] = {}
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Read anew what others may have written, from the next use of a table on; tables had before are as they were.

        Where somebody else writes as well, this is for whoever has just got the lock.
        """
        with self._lock:
            self._tables, self._dimensions = {}, {}

    def close(self) -> None:
        """End the process that writes, if there is one; whoever writes again has another. Idempotent."""
        if self._writer is not None:
            self._writer.close()

    def table(
        self,
        name: str,
        schema: pa.Schema,
        key: str,
        description: Mapping[str, Any] | None = None,
        tombstone: tuple[str, str] | None = None,
    ) -> Table:
        """The table in folder `name`; `description` goes into the metadata of the parts it writes.

        A row whose column `tombstone[0]` is `tombstone[1]` only says that older rows of its key are no longer true.
        """
        with self._lock:
            if name not in self._tables:
                writer = self._writer if name.split("/")[0] in KINDS else None
                self._tables[name] = Table(self._fs, f"{self._path}/{name}", schema, key, tombstone, writer)
            self._tables[name].describe(schema, description)
            return self._tables[name]

    def documents(self, recipe: str, description: Mapping[str, Any] | None = None) -> Table:
        """Parsed documents by version id. Here and below, whoever writes gives a description."""
        return self.table(f"documents/{recipe}", DOCUMENTS, "version_id", description)

    def chunks(self, recipe: str, description: Mapping[str, Any] | None = None) -> Table:
        """Chunks by version id of their document."""
        return self.table(f"chunks/{recipe}", CHUNKS, "version_id", description)

    def vectors(
        self, recipe: str, dimensions: int | None = None, description: Mapping[str, Any] | None = None
    ) -> Table:
        """Vectors by embedding key. Whoever only reads need not say how long they are."""
        name = f"vectors/{recipe}"
        self._dimensions[name] = dimensions or self._dimensions.get(name) or self._stored_dimensions(name)
        return self.table(name, vectors_schema(self._dimensions[name]), "embedding_key", description)

    def _stored_dimensions(self, name: str) -> int | None:
        while parts := list(list_parts(self._fs, f"{self._path}/{name}")):
            with contextlib.suppress(Gone), Part(self._fs, f"{self._path}/{name}/{parts[-1]}") as part:
                return int(part.schema.field("vector").type.list_size)
        return None

    def canary(self, recipe: str) -> Table:
        """The vectors that an engine for this recipe must give again, by embedding key."""
        return self.table(f"canary/{recipe}", CANARY, "embedding_key")

    def ledger(self, collection: str) -> Table:
        """What a collection holds of each document, by document id. `collection` is a folder name."""
        return self.table(f"ledger/{collection}", LEDGER, "document_id", tombstone=TOMBSTONE)

    def runs(self) -> Table:
        """Runs by run id."""
        return self.table("runs", RUNS, "run_id")

    def tables(self, kind: str) -> dict[str, Table]:
        """The tables of a kind (one of KINDS) that have parts, by recipe or collection."""
        opened: Mapping[str, Callable[[str], Table]] = {
            "documents": self.documents, "chunks": self.chunks, "vectors": self.vectors, "ledger": self.ledger,
        }  # fmt: skip
        names = list_folders(self._fs, f"{self._path}/{kind}")
        return {name: opened[kind](name) for name in names if list_parts(self._fs, f"{self._path}/{kind}/{name}")}

    def ledgers(self) -> list[str]:
        """The names of the collections that have a ledger."""
        return list(self.tables("ledger"))

    def all_tables(self) -> dict[str, Table]:
        """Every table that has parts, by its folder under the root."""
        found = {f"{kind}/{name}": table for kind in KINDS for name, table in self.tables(kind).items()}
        return {**found, "runs": self.runs()} if self.runs().parts else found

    def leftovers(self) -> dict[str, int]:
        """What writers that were killed have left: paths, and their sizes in bytes."""
        folders = [f"{kind}/{name}" for kind in KINDS for name in list_folders(self._fs, f"{self._path}/{kind}")]
        return {
            f"{self._path}/{folder}/{name}": size
            for folder in (*folders, "runs")
            for name, size in list_leftovers(self._fs, f"{self._path}/{folder}").items()
        }

    def sweep(self) -> int:
        """Remove the leftovers; returns how many bytes. Nobody may be writing."""
        leftovers = self.leftovers()
        for path in leftovers:
            remove(self._fs, path)
        return sum(leftovers.values())

    def count_vectors(self) -> int:
        """How many vectors there are, of every recipe; read from the parts' footers."""
        return sum(table.count_rows() for table in self.tables("vectors").values())
