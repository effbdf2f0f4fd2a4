"""What a collection holds of each document, and what a listing says about it: new, changed, unchanged, deleted."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.checkpoint import LEDGER, KeyIndex, Table
from pipeline.config import fingerprint
from pipeline.errors import Terminal
from pipeline.keys import NO_KEYS, pack
from pipeline.members import Inside, Members, outer_uris
from pipeline.ports import Source, VectorStore
from pipeline.types import Item, Metadata, document_id

LOADED, LOADING, REJECTED, DELETED = "loaded", "loading", "rejected", "deleted"

# Listed items are looked up together: one by one costs more than everything else on a quiet night.
_BATCH = 512
# Rows that are read together, of what is no longer listed.
_GONE_AT_ONCE = 10_000

# What tells whether a document needs a look, and is held in memory; whole rows are read for those that do.
_CHECKED = (
    "status", "recipe", "stage", "reason", "size", "mtime", "etag", "content_hash", "metadata_hash", "forced_at",
    "parent",
)  # fmt: skip
_LOOKED_AT = ("size", "mtime", "etag", "content_hash")
# The few values that most rows share are held once.
_SHARED = frozenset({"status", "recipe", "stage", "reason", "metadata_hash", "parent"})
# The metadata themselves can be long, and only loading and auditing need them.
_WHOLE = tuple(name for name in LEDGER.names if name != "metadata")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """A listed item beside its newest ledger row, None if there never was one.

    `settled` means that the row already says all there is to say: nothing has to be looked at. `known` is a row that
    tells which bytes a listing like this one stood for: `previous`, or that of another collection of the same root.
    Both have the columns that decide this, until `Ledger.complete` reads the others.

    A document that is inside another is listed by that: `parent` is the other's id, `content_hash` that of its bytes,
    `fault` why it could not be taken out. `retry`: something inside of it was rejected, and is to be tried again.
    """

    item: Item
    source: str
    previous: Row | None
    settled: bool
    known: Row | None
    parent: str | None = None
    content_hash: str | None = None
    fault: str = ""
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Renewal:
    """What is looked at again although nothing says that it changed.

    `rejected`: whatever was rejected. `forced_since`: whatever no backfill has embedded by force since then.
    """

    rejected: bool = False
    forced_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """Documents that are no longer listed; `moved` of them are listed under another URI, with the same bytes."""

    rows: Sequence[Row]
    moved: int


class Ledger:
    """The current rows of a ledger table: in memory what decides whether a document needs a look (150 bytes each).

    `siblings` are the ledgers of other collections under the same root. They are read only if something is listed that
    this one does not know, so that a new model, in a new collection, need not read a source again.
    """

    def __init__(self, table: Table, siblings: Callable[[], Iterable[Table]] = tuple) -> None:
        self._table = table
        self._seen_new: set[str] = set()
        self._siblings = siblings
        self._elsewhere: tuple[KeyIndex, pa.Table] | None = None
        # Documents that were taken apart in this run: what is inside of the others is as it was.
        self._opened: set[str] = set()
        self._read()

    def _read(self) -> None:
        self._index, self._rows = _load([self._table], _CHECKED)
        self._seen = np.zeros(self._rows.num_rows, bool)
        self._members = Members(self._inside())

    def __len__(self) -> int:
        """How many documents it has rows of, deleted ones included."""
        return int(self._rows.num_rows)

    def compare(
        self, source: Source, recipe: str, overlapping: bool = False, renewal: Renewal | None = None
    ) -> Iterator[Listed]:
        """Everything `source` lists, each with its row. `overlapping` drops what an earlier source listed too."""
        renewal = renewal or Renewal()
        items = iter(source.list())
        while batch := list(islice(items, _BATCH)):
            ids = [document_id(item.uri) for item in batch]
            positions = self._index.find(ids)[:, 1]
            rows = _take(self._rows, positions)
            known = iter(self._known_elsewhere([i for i, at in zip(ids, positions, strict=True) if at < 0]))
            for item, identity, position, previous in zip(batch, ids, positions, rows, strict=True):
                elsewhere = next(known) if previous is None else None
                if self._first_sight(identity, int(position), overlapping):
                    retry = renewal.rejected and any(row["status"] == REJECTED for row in self.members(identity))
                    settled = not retry and is_settled(item, previous, recipe, renewal)
                    yield Listed(item, source.name, previous, settled, previous or elsewhere, retry=retry)

    def complete(self, listed: Sequence[Listed]) -> list[Listed]:
        """The same, their previous rows with every column but the metadata."""
        ids = [document_id(one.item.uri) for one in listed if one.previous is not None]
        if not ids:
            return list(listed)
        rows = {row["document_id"]: row for row in self._table.lookup(ids, _WHOLE).to_pylist()}
        return [
            replace(one, previous=row, known=row) if (row := rows.get(document_id(one.item.uri))) is not None else one
            for one in listed
        ]

    def members(self, document: str) -> list[Row]:
        """The newest rows of what is inside of a document, at any depth; most documents have none."""
        ids = self._members.of(document)
        rows: list[Row] = self._table.lookup(ids, _WHOLE).to_pylist() if ids else []
        return rows

    def open(self, listed: Listed, inside: Sequence[Inside], recipe: str, renewal: Renewal) -> list[Listed]:
        """What is inside of a document, each with its row, now that the document is taken apart."""
        parent = document_id(listed.item.uri)
        self._opened.add(parent)
        if not inside:
            return []
        positions = self._index.find([document_id(one.item.uri) for one in inside])[:, 1]
        self._seen[positions[positions >= 0]] = True
        found = []
        for one, row in zip(inside, _take(self._rows, positions), strict=True):
            same = row is not None and row["content_hash"] == one.content_hash
            settled = same and _is_done(one.item, row, recipe, renewal)
            found.append(Listed(one.item, listed.source, row, settled, row, parent, one.content_hash, one.fault))
        return found

    def _known_elsewhere(self, ids: Sequence[str]) -> Sequence[Row | None]:
        if not ids:
            return []
        if self._elsewhere is None:
            self._elsewhere = _load(self._siblings(), _LOOKED_AT)
        index, rows = self._elsewhere
        return _take(rows, index.find(ids)[:, 1])

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

    def gone(self, sources: Sequence[Source], arrived: Mapping[str, int], max_fraction: float) -> Gone:
        """The documents that `sources` cover and no longer list; call it once every listing has ended.

        `arrived` counts the content hashes of documents that are new: one that is gone with the same bytes has moved,
        and is not lost. Raises Terminal if more than `max_fraction` of what a source covers is lost.
        """
        gone: dict[str, Row] = {}
        left = Counter(arrived)
        moved = 0
        self._see_members()
        for source in sources:
            lost = 0
            for row in self._unlisted(source, gone):
                gone[row["document_id"]] = row
                if left[row["content_hash"]]:
                    left[row["content_hash"]] -= 1
                    moved += 1
                else:
                    lost += 1
            everything = self._held(np.ones(len(self), bool)) if lost else ()
            covered = sum(_covers(source, uri, inside) for _, uri, inside in everything)
            if lost > max_fraction * covered:
                raise Terminal(
                    f"{lost} of the {covered} documents of {source.name} are gone, above the limit of "
                    f"{max_fraction:.0%}: nothing was deleted; if they are meant to be gone, run it again with "
                    "--max-delete-fraction 1"
                )
        return Gone(list(gone.values()), moved)

    def _see_members(self) -> None:
        """What is inside of a document that is there, and that nobody had to take apart, is there as it was."""
        left = self._members.outermost
        while left:
            positions = self._index.find(left)[:, 1]
            there = [one for one, at in zip(left, positions, strict=True) if at >= 0 and self._seen[at]]
            left = []
            for document in there:
                if document in self._opened:
                    left += self._members.containers(document)
                else:
                    self._seen[self._index.find(self._members.of(document))[:, 1]] = True

    def _unlisted(self, source: Source, gone: Container[str]) -> Iterator[Row]:
        unseen = self._held(~self._seen)
        ids = [one for one, uri, inside in unseen if one not in gone and _covers(source, uri, inside)]
        for first in range(0, len(ids), _GONE_AT_ONCE):
            yield from self._table.lookup(ids[first : first + _GONE_AT_ONCE], _WHOLE).to_pylist()

    def _inside(self) -> Iterator[tuple[str, str]]:
        """Of each document that is inside of another, and there, its id and the other's."""
        if self._rows.column("parent").null_count < len(self):
            for part in self._table.current(["document_id", "parent", "status"]):
                there = part.filter(pc.field("parent").is_valid() & (pc.field("status") != DELETED))
                yield from zip(there.column(0).to_pylist(), there.column(1).to_pylist(), strict=True)

    def _held(self, wanted: NDArray[np.bool_]) -> Iterator[tuple[str, str, bool]]:
        """Document id, URI and whether it is inside another, of what was there when the run began.

        `wanted` says so of each row by its number.
        """
        wanted = wanted & pc.not_equal(self._rows.column("status"), DELETED).to_numpy()
        if not wanted.any():
            return
        for part in self._table.current(["document_id", "uri", "parent"]):
            ids = part.column(0).to_pylist()
            positions = self._index.find(ids)[:, 1]
            inside = part.column(2).is_valid().to_pylist()
            for identity, uri, within, position in zip(ids, part.column(1).to_pylist(), inside, positions, strict=True):
                if position >= 0 and wanted[position]:
                    yield identity, uri, within

    def average_length(self) -> float:
        """Mean words a chunk over everything the collection holds now (read back from the table); 1 if it is empty."""
        words = chunks = 0
        for part in self._table.current(["chunks", "words"]):
            chunks += pc.sum(part.column("chunks")).as_py() or 0
            words += pc.sum(part.column("words")).as_py() or 0
        return max(1.0, words / chunks) if chunks else 1.0

    def forget(self) -> None:
        """Record that the collection holds nothing of any document, so that every one is looked at and loaded again."""
        nothing = {"recipe": "", "version_id": "", "chunks": 0, "tokens": 0, "words": 0}
        for part in self._table.current():
            rows = part.filter(pc.field("status") != DELETED).to_pylist()
            self._table.append([{**row, **nothing} for row in rows])
        self._read()

    @property
    def holds(self) -> bool:
        """Whether the collection should hold anything."""
        return any(pc.any(pc.not_equal(part.column(0), "")).as_py() for part in self._table.current(["version_id"]))

    def append(self, rows: Iterable[Row]) -> None:
        """Record new states, as one part; a row that says nothing of `metadata` leaves them as they were."""
        rows = [dict(row) for row in rows]
        silent = [row["document_id"] for row in rows if "metadata" not in row]
        if silent:
            found = self._table.lookup(silent, ["document_id", "metadata"]).to_pylist()
            metadata = {row["document_id"]: row["metadata"] for row in found}
            rows = [{"metadata": metadata.get(row["document_id"]), **row} for row in rows]
        self._table.append(rows)

    def settle(self) -> None:
        """Keep what reading the ledger costs from growing with the number of past runs."""
        self._table.settle()


def _load(tables: Iterable[Table], columns: Sequence[str]) -> tuple[KeyIndex, pa.Table]:
    """These columns of the current rows of `tables`, and where the row of each document is."""
    keys = [NO_KEYS]
    pieces: dict[str, list[pa.Array]] = {name: [] for name in columns}
    for table in tables:
        for part in table.current(["document_id", *columns]):
            keys.append(pack(part.column(0)))
            for name, chunks in pieces.items():
                column = part.column(name)
                chunks += (column.dictionary_encode() if name in _SHARED else column).chunks
            pa.default_memory_pool().release_unused()  # Arrow keeps what it has freed, and it is more than what stays
    index = KeyIndex()
    index.add_packed(np.concatenate(keys), 0)
    whole = {}
    for name in columns:  # one after the other: putting a column together takes it twice
        kind = LEDGER.field(name).type
        column = pa.chunked_array(pieces.pop(name), pa.dictionary(pa.int32(), kind) if name in _SHARED else kind)
        whole[name] = (column.unify_dictionaries() if name in _SHARED else column).combine_chunks()
        del column
    return index, pa.table(whole)


def _take(rows: pa.Table, positions: NDArray[np.int64]) -> list[Row | None]:
    found = positions[positions >= 0]
    taken = iter(rows.take(pa.array(found)).to_pylist() if len(found) else [])
    return [next(taken) if position >= 0 else None for position in positions]


def _covers(source: Source, uri: str, inside: bool) -> bool:
    """Whether a source covers a document, or else the one that it is inside of."""
    return source.covers(uri) or (inside and any(map(source.covers, outer_uris(uri))))


def is_settled(item: Item, previous: Row | None, recipe: str, renewal: Renewal) -> bool:
    """Whether nothing has to be read: same recipe, same bytes as far as the listing tells, same metadata.

    What could not even be read is tried again each time: that costs little, and no listing shows when it would work.
    """
    return previous is not None and _is_done(item, previous, recipe, renewal) and same_bytes(item, previous)


def _is_done(item: Item, previous: Row | None, recipe: str, renewal: Renewal) -> bool:
    """The same but for the bytes."""
    if previous is None or previous["status"] == DELETED or previous["recipe"] != recipe:
        return False
    if previous["status"] == REJECTED and (renewal.rejected or previous["stage"] == "read"):
        return False
    return not is_forced(previous, renewal) and bool(previous["metadata_hash"] == hash_metadata(item.metadata))


def may_hold(row: Row) -> bool:
    """Whether the collection may hold points of a document."""
    return bool(row["version_id"]) or row["status"] == LOADING


def is_forced(previous: Row, renewal: Renewal) -> bool:
    """Whether the document is to be embedded again, and this backfill has not done so yet."""
    since, done = renewal.forced_since, previous["forced_at"]
    return since is not None and (done is None or done < since)


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


def hash_metadata(metadata: Metadata) -> str:
    """A short name for what a source and the settings say of a document; "" if that is nothing."""
    return fingerprint(dict(metadata)) if metadata else ""


def ledger_name(store: VectorStore, root: str) -> str:
    """The folder of a collection's ledger: readable, and one for each store and collection.

    A local store is named by where it lies beside the checkpoints: project and all may move, and be run from anywhere.
    """
    kind, _, place = store.url.partition(":")
    if "//" not in place and "://" not in root:
        place = os.path.relpath(place, root)
    readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{kind}-{place}").strip("-")[-60:]
    return f"{store.collection}@{readable}-{hash_bytes(f'{kind}:{place}'.encode())[:8]}"
