"""The ledger's rows: what is recorded of a document once something has become of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.index import Change
from pipeline.ledger import DELETED, LOADED, LOADING, REJECTED, Listed, hash_metadata
from pipeline.prepare import Refused
from pipeline.recipe import Fingerprints
from pipeline.search import count_words
from pipeline.types import document_id

Row = dict[str, Any]

# What a row says of the version that the store holds, whatever has become of a newer one.
_HELD = ("version_id", "parse", "chunk", "embed", "chunks", "tokens", "words", "forced_at")


_NOTHING: Row = {"version_id": "", "chunks": 0, "tokens": 0, "words": 0}


@dataclass(frozen=True, slots=True)
class Entries:
    """Makes the rows of one run. A row without `metadata` leaves them as they were (`Ledger.append` sees to it)."""

    run_id: str
    fingerprints: Fingerprints
    forced_since: datetime | None

    def touched(self, listed: Listed) -> Row:
        """The same bytes under another time."""
        return {**(listed.previous or {}), **self._looked_at(listed)}

    def loaded(self, change: Change) -> Row:
        """The collection holds this version, and nothing else of the document."""
        one = change.one
        looked_at = {**self._looked_at(one.listed), "status": LOADED, "content_hash": one.content_hash}
        return {**looked_at, **self._held(change)}

    def loading(self, change: Change) -> Row:
        """Points of a document that the collection did not hold are about to be written: whatever happens, they are
        known to be there, so that they go if the document does."""
        return {**(change.one.listed.previous or _NOTHING), **self._looked_at(change.one.listed),
                "status": LOADING, "recipe": ""}  # fmt: skip

    def _held(self, change: Change) -> Row:
        one, words = change.one, change.one.words
        if words is None:
            words = sum(count_words(draft.lexical_text) for draft in change.drafts)
        return {
            "version_id": one.version_id,
            "parse": self.fingerprints.parse,
            "chunk": self.fingerprints.chunk,
            "embed": self.fingerprints.embed,
            "metadata": json.dumps(dict(one.listed.item.metadata), sort_keys=True, ensure_ascii=False),
            "chunks": len(change.drafts),
            "tokens": sum(row["tokens"] for row in one.chunks),
            "words": words,
            "forced_at": self.forced_since or (one.listed.previous or {}).get("forced_at"),
        }

    def rejected(self, listed: Listed, refused: Refused, older: Change | None = None) -> Row:
        """It cannot be used. What the store holds of it stays (`older`, as it is now): an older version beats none."""
        previous = listed.previous or _NOTHING
        held = {name: previous.get(name) for name in _HELD} if older is None else self._held(older)
        return {
            **self._looked_at(listed),
            **held,
            "status": REJECTED,
            "content_hash": refused.content_hash,
            "stage": refused.stage,
            "reason": str(refused),
            "tries": (previous.get("tries") or 0) + 1,
        }

    def deleted(self, row: Mapping[str, Any]) -> Row:
        """It is no longer listed, and the collection holds nothing of it."""
        empty = {"version_id": "", "chunks": 0, "tokens": 0, "words": 0, "metadata": None, "metadata_hash": ""}
        return {**row, **empty, "status": DELETED, "run_id": self.run_id, "at": datetime.now(UTC)}

    def _looked_at(self, listed: Listed) -> Row:
        item = listed.item
        return {
            "document_id": document_id(item.uri),
            "uri": item.uri,
            "source": listed.source,
            "parent": listed.parent,
            "size": item.size,
            "mtime": item.mtime,
            "etag": item.version,
            "metadata_hash": hash_metadata(item.metadata),
            "recipe": self.fingerprints.whole,
            "run_id": self.run_id,
            "at": datetime.now(UTC),
        }
