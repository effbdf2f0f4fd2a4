"""What a collection holds of each document, and what a listing says about it: new, changed, unchanged, deleted."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.checkpoint import LEDGER, KeyIndex, Table
from pipeline.errors import Terminal
from pipeline.ports import Source, VectorStore
from pipeline.types import Item, document_id

LOADED, REJECTED, DELETED = "loaded", "rejected", "deleted"

# Listed items are looked up together: one by one costs more than everything else on a quiet night.
_BATCH = 512

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """A listed item beside its newest ledger row, None if there never was one.

    `settled` means that the row already says all there is to say: nothing has to be looked at.
    """

    item: Item
    source: str
    previous: Row | None
    settled: bool


class Ledger:
    """The current rows of a ledger table, in memory as Arrow (about 200 bytes a document)."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows = pa.concat_tables([LEDGER.empty_table(), *(part.cast(LEDGER) for part in table.current())])
        self._index = KeyIndex()
        self._index.add(self._rows.column("document_id"), 0)
        self._seen = np.zeros(self._rows.num_rows, bool)
        self._seen_new: set[str] = set()

    def compare(self, source: Source, recipe: str, overlapping: bool = False) -> Iterator[Listed]:
        """Everything `source` lists, each with its row. `overlapping` drops what an earlier source listed too."""
        items = iter(source.list())
        while batch := list(islice(items, _BATCH)):
            ids = [document_id(item.uri) for item in batch]
            positions = self._index.find(ids)[:, 1]
            known = [int(position) for position in positions if position >= 0]
            rows = iter(self._rows.take(pa.array(known, pa.int64())).to_pylist())
            for item, identity, position in zip(batch, ids, positions, strict=True):
                previous = next(rows) if position >= 0 else None
                if not self._first_sight(identity, int(position), overlapping):
                    continue
                yield Listed(item, source.name, previous, is_settled(item, previous, recipe))

    def _first_sight(self, identity: str, position: int, overlapping: bool) -> bool:
        if position >= 0:
            first = not self._seen[position]
            self._seen[position] = True
            return bool(first)
        if overlapping:
            first = identity not in self._seen_new
            self._seen_new.add(identity)
            return first
        return True

    def deleted(self, sources: Sequence[Source], max_fraction: float) -> list[Row]:
        """The rows of documents that `sources` cover and no longer list; call it once every listing has ended.

        Raises Terminal if they are more than `max_fraction` of what a source covers.
        """
        gone: dict[str, Row] = {}
        for source in sources:
            covered = 0
            missing: list[Row] = []
            for place, row in self._held():
                if source.covers(row["uri"]):
                    covered += 1
                    missing += [] if self._seen[place] else [row]
            if missing and len(missing) > max_fraction * covered:
                raise Terminal(
                    f"{len(missing)} of the {covered} documents of {source.name} are gone, above the limit of "
                    f"{max_fraction:.0%}: nothing was deleted; if they are meant to be gone, run it again with "
                    "--max-delete-fraction 1"
                )
            gone.update((row["document_id"], row) for row in missing)
        return list(gone.values())

    def _held(self) -> Iterator[tuple[int, Row]]:
        place = 0
        for batch in self._rows.to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                if row["status"] != DELETED:
                    yield place, row
                place += 1

    def average_length(self) -> float:
        """Mean words a chunk over everything the collection holds now (read back from the table); 1 if it is empty."""
        words = chunks = 0
        for part in self._table.current(["chunks", "words"]):
            chunks += pc.sum(part.column("chunks")).as_py() or 0
            words += pc.sum(part.column("words")).as_py() or 0
        return max(1.0, words / chunks) if chunks else 1.0

    def append(self, rows: Iterable[Row]) -> None:
        """Record new states, as one part."""
        self._table.append(list(rows))


def is_settled(item: Item, previous: Row | None, recipe: str) -> bool:
    """Whether nothing has to be read: same recipe, and same bytes as far as size and time, version or hash tell."""
    if previous is None or previous["status"] == DELETED or previous["recipe"] != recipe:
        return False
    return same_bytes(item, previous)


def same_bytes(item: Item, previous: Row) -> bool:
    """Whether the listing itself shows that the content is what `previous` saw."""
    if item.content is not None:
        return bool(previous["content_hash"] == hash_bytes(item.content))
    if item.version is not None:
        return bool(previous["etag"] == item.version)
    return item.mtime is not None and previous["mtime"] == item.mtime and previous["size"] == item.size


def hash_bytes(data: bytes) -> str:
    """The content hash: sha256, in hex."""
    return hashlib.sha256(data).hexdigest()


def ledger_name(store: VectorStore, root: str) -> str:
    """The folder of a collection's ledger: readable, and one for each store and collection.

    A local store is named by where it lies beside the checkpoints: project and all may move, and be run from anywhere.
    """
    kind, _, place = store.url.partition(":")
    if "//" not in place and "://" not in root:
        place = os.path.relpath(place, root)
    readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{kind}-{place}").strip("-")[-60:]
    return f"{store.collection}@{readable}-{hash_bytes(f'{kind}:{place}'.encode())[:8]}"
