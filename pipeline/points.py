"""Rows of Parquet → points of a vector database: the one place that says what a payload holds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline import chunk as chunking
from pipeline.checkpoint import Table
from pipeline.types import Metadata, Point, Vectors

Row = Mapping[str, Any]

_NO_VECTOR = np.empty(0, np.float32)


def make_drafts(document: Row, chunks: Sequence[Row], source: str, metadata: Metadata) -> list[Point]:
    """A document's points, still without vectors (shape (0,)), from its row and its chunks' rows.

    A payload's metadata are what the parser found of the document, then what is known of the chunk itself (where it
    stands, when its events were), and then `metadata`, what the source and the settings say; the last one wins. What is
    counted over the whole of a log (`log`) stays out: it changes with every line, and would change every point.
    """
    found = json.loads(document["metadata"])
    found.pop("log", None)
    return [
        Point(
            record_id=row["record_id"],
            vector=_NO_VECTOR,
            lexical_text=chunking.engine_text("", row["context"], row["text"]),
            payload={
                "document_id": document["document_id"],
                "uri": document["uri"],
                "source": source,
                "title": document["title"],
                "section": chunking.SEPARATOR.join(row["section"]),
                "page": row["page"],
                "page_to": row["page_to"],
                "position": row["position"],
                "media_type": document["media_type"],
                "text": row["text"],
                "metadata": {**found, **json.loads(row["details"] or "{}"), **metadata},
            },
        )
        for row in chunks
    ]


def find_vectors(vectors: Table, keys: Sequence[str]) -> dict[str, Vectors]:
    """The vectors of embedding keys; a key that Parquet does not have is absent."""
    found = vectors.lookup(list(dict.fromkeys(keys)))  # all at once: a look-up opens parts
    if not found.num_rows:
        return {}
    column = found.column("vector").combine_chunks()
    rows = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)
    return dict(zip(found.column("embedding_key").to_pylist(), rows, strict=True))


def with_vectors(drafts: Sequence[Point], vectors: Sequence[Vectors]) -> Iterator[Point]:
    """The drafts, each with its vector."""
    for draft, vector in zip(drafts, vectors, strict=True):
        yield Point(draft.record_id, vector, draft.lexical_text, draft.payload)


def same(one: Any, other: Any) -> bool:
    """Whether two payloads (or parts of them) are equal; numbers to 12 digits, since stores round the last ones."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12) or (math.isnan(one) and math.isnan(other))
    return type(one) is type(other) and bool(one == other)
