"""Erasure: documents leave the store and every file under the root. Rewritten, not hidden.

A document's vectors go unless another document has the same text: they are stored under a hash of that. What another
collection under the same root still holds stays until it is erased there too, and the receipt names that collection.

A database may keep the bytes of deleted points in its own files until it reuses the room (Edge's log does); no query
finds them, and dropping the collection and `corpusvec audit --repair` makes it anew without them.

Erasing takes nothing from a source: a document that is still listed comes back with the next ingest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.checkpoint import Checkpoints, Table
from pipeline.embed.model import embedding_key
from pipeline.errors import UsageError
from pipeline.keys import NO_KEYS, Keys, among, pack, unite, unpack
from pipeline.ledger import DELETED, ledger_name
from pipeline.members import INSIDE
from pipeline.ports import VectorStore
from pipeline.types import document_id

# Documents whose points are asked for at a time.
_BATCH = 256

#: What stands where a run's record named an erased document.
ERASED = "[erased]"


@dataclass(slots=True)
class Receipt:
    """What was removed: documents by URI, and rows by kind, older versions of them included.

    `vectors_shared` were kept, since other documents have the same texts. `elsewhere` are the ledgers of collections
    that still hold some of the documents: their points there, and what the collections share, are still there.
    `verified`: everything was read again, the store and every part, and nothing was found of what had to go.
    """

    uris: Sequence[str]
    points: int = 0
    ledger_rows: int = 0
    documents: int = 0
    chunks: int = 0
    vectors: int = 0
    vectors_shared: int = 0
    runs: int = 0
    parts: int = 0
    elsewhere: Sequence[str] = ()
    verified: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def erase(checkpoints: Checkpoints, store: VectorStore, uris: Sequence[str]) -> Receipt:
    """Erase the documents at `uris`, and those inside of them (`URI#…`, `URI!/…`). Nobody else may use the root then.

    Killed at any point, the same call ends it; a receipt counts what its own call did. Raises UsageError, and erases
    nothing, if nothing is known of one of `uris`; Terminal or Transient if it could not be ended.
    """
    return _Erasure(checkpoints, store, uris).run()


class _Erasure:
    """One erasure, step by step."""

    def __init__(self, checkpoints: Checkpoints, store: VectorStore, uris: Sequence[str]) -> None:
        self._checkpoints = checkpoints
        self._store = store
        self._uris = list(dict.fromkeys(uris))
        self._ledger = ledger_name(store, checkpoints.root)
        self._has_points = store.open() is not None
        named = self._find()
        self._named = named
        self._ids = unite([pack(list(named))])
        elsewhere = self._held_elsewhere()
        #: Those that no other collection holds: of them, everything goes.
        self._free = self._ids[~among(self._ids, unite(elsewhere.values()))]
        self._runs = _Redaction(self._uris, named)
        self._receipt = Receipt(sorted(named.values()), elsewhere=sorted(elsewhere))

    def run(self) -> Receipt:
        """Every step. The ledger comes last, since a call that goes on after a kill finds the documents by it."""
        receipt, checkpoints = self._receipt, self._checkpoints
        checkpoints.sweep()
        self._sign_off()
        self._remove_points()
        # Vectors come before chunks, since they are found by them.
        owned = self._remove_vectors()
        for table in checkpoints.tables("chunks").values():
            receipt.chunks += self._drop(table, "document_id", self._free)
        for table in checkpoints.tables("documents").values():
            receipt.documents += self._drop(table, "document_id", self._free)
        self._redact_runs()
        ledgers = checkpoints.tables("ledger")
        own = ledgers.pop(self._ledger)
        for table in ledgers.values():
            receipt.ledger_rows += self._drop(table, "document_id", self._free)
        receipt.ledger_rows += self._drop(own, "document_id", self._ids) - len(self._ids)
        receipt.verified = self._is_clean(owned)
        return receipt

    def _find(self) -> dict[str, str]:
        """The documents to erase, by id. Raises UsageError if there are none of one of the URIs."""
        found: dict[str, str] = {}
        for kind in ("ledger", "documents"):
            for table in self._checkpoints.tables(kind).values():
                for rows in _every_row(table, ["document_id", "uri"]):
                    uri = rows.column("uri")
                    same = pc.is_in(uri, pa.array(self._uris))
                    for whole in self._uris:
                        for inside in ("#", INSIDE):
                            same = pc.or_(same, pc.starts_with(uri, f"{whole}{inside}"))
                    found.update((row["document_id"], row["uri"]) for row in rows.filter(same).to_pylist())
        listed = set(found.values())
        rest = {document_id(uri): uri for uri in self._uris if uri not in listed}
        found.update({identity: uri for identity, uri in rest.items() if self._left_of(identity)})
        listed = set(found.values())
        if unknown := [uri for uri in self._uris if not any(is_of(other, [uri]) for other in listed)]:
            raise UsageError(
                f"nothing here is known of {', '.join(unknown)}, and nothing was erased; write a document as corpusvec "
                "search prints it, and leave out what is erased already"
            )
        return found

    def _left_of(self, identity: str) -> bool:
        """Whether points or chunks are left of a document that has neither a text nor an entry in a ledger."""
        if self._has_points and self._store.ids_of([identity]):
            return True
        key = pack([identity])
        return any(_count(table, "document_id", key) for table in self._checkpoints.tables("chunks").values())

    def _held_elsewhere(self) -> dict[str, Keys]:
        """Those documents that other collections hold points of, by the collection's ledger."""
        held: dict[str, Keys] = {}
        for name, table in self._checkpoints.tables("ledger").items():
            if name != self._ledger:
                found = [NO_KEYS]
                for rows in table.current(["document_id", "version_id"]):
                    ids = pack(rows.filter(pc.field("version_id") != "").column("document_id"))
                    found.append(ids[among(ids, self._ids)])
                if len(keys := unite(found)):
                    held[name] = keys
        return held

    def _sign_off(self) -> None:
        """Say in the ledger that the collection no longer holds them, in one part, which is the last to be removed.

        So the same call knows every one of its documents until the very end of an erasure, and between a kill and the
        call that goes on, nobody takes them for loaded.
        """
        empty = {"source": "", "recipe": "", "version_id": "", "chunks": 0, "tokens": 0, "words": 0}
        state = {**empty, "status": DELETED, "at": datetime.now(UTC)}
        rows = [{"document_id": identity, "uri": uri, **state} for identity, uri in self._named.items()]
        self._checkpoints.ledger(self._ledger).append(rows)

    def _remove_points(self) -> None:
        if not self._has_points:
            return
        for ids in self._batches():
            points = set().union(*self._store.ids_of(ids).values())
            self._store.delete(sorted(points))
            self._receipt.points += len(points)
        self._store.flush()

    def _batches(self) -> Iterator[list[str]]:
        ids = list(self._named)
        yield from (ids[first : first + _BATCH] for first in range(0, len(ids), _BATCH))

    def _remove_vectors(self) -> dict[str, Keys]:
        """Remove the vectors of texts that no other document has; returns their keys, by recipe."""
        owned = unite(_packed(rows, "token_hash", self._free, True) for rows in self._chunks())
        shared = unite(_common(_packed(rows, "token_hash", self._free, False), owned) for rows in self._chunks())
        owned = owned[~among(owned, shared)]
        keys: dict[str, Keys] = {}
        for recipe, table in self._checkpoints.tables("vectors").items():
            kept = [embedding_key(recipe, token_hash) for token_hash in unpack(shared)]
            self._receipt.vectors_shared += len(kept) - len(table.missing(kept))
            keys[recipe] = unite([pack([embedding_key(recipe, token_hash) for token_hash in unpack(owned)])])
            self._receipt.vectors += self._drop(table, "embedding_key", keys[recipe])
        return keys

    def _chunks(self) -> Iterator[pa.Table]:
        for table in self._checkpoints.tables("chunks").values():
            yield from _every_row(table, ["document_id", "token_hash"])

    def _redact_runs(self) -> None:
        table = self._checkpoints.runs()
        for name in table.parts:
            found = sum(len(self._runs.find(rows)) for rows in table.read(name))
            if found:
                table.replace([name], map(self._runs.apply, table.read(name)))
                self._receipt.runs += found
                self._receipt.parts += 1

    def _drop(self, table: Table, column: str, keys: Keys) -> int:
        """Rewrite every part that has rows of `keys`, without them; returns how many there were."""
        dropped = 0
        for name in table.parts:
            found = sum(int(among(pack(rows.column(0)), keys).sum()) for rows in table.read(name, [column]))
            if found:
                table.replace([name], (_without(rows, column, keys) for rows in table.read(name)))
                dropped += found
                self._receipt.parts += 1
        return dropped

    def _is_clean(self, vectors: Mapping[str, Keys]) -> bool:
        """Whether, read again, neither the store nor any part has anything of what had to go."""
        tables = self._checkpoints.tables
        left = sum(_count(table, "document_id", self._free) for table in tables("documents").values())
        left += sum(_count(table, "document_id", self._free) for table in tables("chunks").values())
        left += sum(_count(table, "embedding_key", vectors[name]) for name, table in tables("vectors").items())
        for name, table in tables("ledger").items():
            left += _count(table, "document_id", self._ids if name == self._ledger else self._free)
        left += sum(len(self._runs.find(rows)) for rows in _every_row(self._checkpoints.runs()))
        if self._has_points:
            left += sum(len(self._store.ids_of(ids)) for ids in self._batches())
        return left == 0


class _Redaction:
    """Takes the names of documents out of the record of runs: their entries, and their names in other sentences."""

    def __init__(self, uris: Sequence[str], named: Mapping[str, str]) -> None:
        self._uris = uris
        names = {*uris, *named.values(), *named}
        names |= {unquote(urlsplit(uri).path) for uri in uris if uri.startswith("file://") and "#" not in uri}
        spelt = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        # Not inside of a longer path, which names something else.
        self._pattern = re.compile(rf"(?<![\w/.%-])(?:{spelt})(?![\w/%-]|\.\w)(?:#[^\s\"',;)]*)?")

    def find(self, rows: pa.Table) -> list[int]:
        """The numbers of the rows that name one of the documents."""
        return [number for number, row in enumerate(rows.to_pylist()) if self._row(row) != row]

    def apply(self, rows: pa.Table) -> pa.Table:
        """The same rows without the names."""
        return pa.Table.from_pylist([self._row(row) for row in rows.to_pylist()], schema=rows.schema)

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: self._json(value) if name in ("report", "parameters") else self._value(value)
            for name, value in row.items()
        }

    def _json(self, text: str | None) -> Any:
        try:
            value = json.loads(text or "")
        except ValueError:
            return self._value(text)
        redacted = self._value(value)
        return text if redacted == value else json.dumps(redacted, ensure_ascii=False)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._pattern.sub(ERASED, value)
        if isinstance(value, list):
            return [self._value(one) for one in value if not (isinstance(one, dict) and self._is_entry(one))]
        if isinstance(value, dict):
            return {self._value(name): self._value(one) for name, one in value.items()}
        return value

    def _is_entry(self, entry: Mapping[str, Any]) -> bool:
        return isinstance(entry.get("uri"), str) and is_of(entry["uri"], self._uris)


def is_of(uri: str, wholes: Sequence[str]) -> bool:
    """Whether `uri` is one of `wholes`, or a document inside of one."""
    return any(uri == whole or uri.startswith((f"{whole}#", f"{whole}{INSIDE}")) for whole in wholes)


def _every_row(table: Table, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    for name in table.parts:
        yield from table.read(name, columns)


def _count(table: Table, column: str, keys: Keys) -> int:
    return sum(int(among(pack(rows.column(0)), keys).sum()) for rows in _every_row(table, [column]))


def _without(rows: pa.Table, column: str, keys: Keys) -> pa.Table:
    return rows.filter(pa.array(~among(pack(rows.column(column)), keys)))


def _packed(rows: pa.Table, column: str, documents: Keys, theirs: bool) -> Keys:
    """A column's keys, of the rows of `documents` or of the others."""
    mine = among(pack(rows.column("document_id")), documents)
    return pack(rows.column(column).filter(pa.array(mine if theirs else ~mine)))


def _common(keys: Keys, these: Keys) -> Keys:
    return np.unique(keys[among(keys, these)])
