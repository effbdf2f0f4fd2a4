"""The current view: what a collection should hold, from Parquet alone; what a notebook reads, and an audit compares."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.checkpoint import Checkpoints
from pipeline.embed.model import embedding_key
from pipeline.ledger import ledger_name
from pipeline.points import find_vectors, make_drafts
from pipeline.ports import VectorStore
from pipeline.types import Point, Vectors

Row = Mapping[str, Any]

# Documents looked up at a time: bounds memory, and the number of times a part is opened.
_BATCH = 500

#: The ledger's columns that say what a collection holds of a document, and whence.
HOLDING = (
    "document_id", "uri", "source", "status", "recipe", "version_id", "parse", "chunk", "embed", "metadata", "chunks",
)  # fmt: skip


@dataclass(slots=True)
class Holding:
    """What the collection should hold of one document: `drafts`, points without vectors, and `vectors` by record id.

    `lost` says what of it Parquet does not have any more; "" if it is whole.
    """

    entry: Row
    document: Row = field(default_factory=dict)
    chunks: Sequence[Row] = ()
    drafts: Sequence[Point] = ()
    vectors: Mapping[str, Vectors] = field(default_factory=dict)
    lost: str = ""


def holdings(checkpoints: Checkpoints, store: VectorStore) -> Iterator[list[Holding]]:
    """Everything that a store's collection should hold, some documents at a time, in the order of the ledger."""
    for part in checkpoints.ledger(ledger_name(store, checkpoints.root)).current(HOLDING):
        entries = [entry for entry in part.to_pylist() if entry["version_id"]]
        for first in range(0, len(entries), _BATCH):
            yield find(checkpoints, entries[first : first + _BATCH])


def find(checkpoints: Checkpoints, entries: Sequence[Row]) -> list[Holding]:
    """What ledger rows (the columns of HOLDING) stand for, in order."""
    found = {entry["document_id"]: Holding(entry) for entry in entries}
    groups: dict[tuple[str, str, str], list[Holding]] = defaultdict(list)
    for holding in found.values():
        entry = holding.entry
        groups[entry["parse"], entry["chunk"], entry["embed"]].append(holding)
    for (parse, chunk, embed), group in groups.items():
        _fill(checkpoints, parse, chunk, embed, group)
    return list(found.values())


def _fill(checkpoints: Checkpoints, parse: str, chunk: str, embed: str, group: Sequence[Holding]) -> None:
    versions = [holding.entry["version_id"] for holding in group]
    documents = {row["version_id"]: row for row in checkpoints.documents(parse).lookup(
        versions, ["version_id", "document_id", "uri", "media_type", "title", "metadata"]).to_pylist()}  # fmt: skip
    chunks: dict[str, list[Row]] = defaultdict(list)
    for row in checkpoints.chunks(chunk).lookup(versions).to_pylist():
        chunks[row["version_id"]].append(row)
    keys = {row["token_hash"]: embedding_key(embed, row["token_hash"]) for rows in chunks.values() for row in rows}
    vectors = find_vectors(checkpoints.vectors(embed), list(keys.values()))
    for holding in group:
        entry = holding.entry
        version = entry["version_id"]
        holding.document, holding.chunks = documents.get(version, {}), chunks.get(version, [])
        if not holding.document:
            holding.lost = "its text"
            continue
        metadata = json.loads(entry["metadata"] or "{}")
        holding.drafts = make_drafts(holding.document, holding.chunks, entry["source"], metadata)
        holding.vectors = {
            row["record_id"]: vectors[keys[row["token_hash"]]]
            for row in holding.chunks
            if keys[row["token_hash"]] in vectors
        }
        if len(holding.chunks) != entry["chunks"]:
            holding.lost = "its chunks"
        elif len(holding.vectors) != len(holding.chunks):
            holding.lost = "vectors of its chunks"


def joined(checkpoints: Checkpoints, store: VectorStore) -> Iterator[pa.Table]:
    """Tables of record_id, document_id, uri, title, section, page, position, text and vector, in ledger order."""
    for batch in holdings(checkpoints, store):
        drafts = [(draft, holding.vectors) for holding in batch if not holding.lost for draft in holding.drafts]
        if not drafts:
            continue
        payloads = [draft.payload for draft, _ in drafts]
        vectors = [vectors[draft.record_id] for draft, vectors in drafts]
        columns: dict[str, Any] = {"record_id": [draft.record_id for draft, _ in drafts]}
        for name in ("document_id", "uri", "title", "section"):
            columns[name] = [payload[name] for payload in payloads]
        for name in ("page", "position"):
            columns[name] = pa.array([payload[name] for payload in payloads], pa.int32())
        columns["text"] = pa.array([payload["text"] for payload in payloads], pa.large_string())
        flat = pa.array(np.concatenate(vectors), pa.float32())
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, len(vectors[0]))
        yield pa.table(columns)
