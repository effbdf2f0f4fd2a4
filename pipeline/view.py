"""The current view: what a collection holds, read from Parquet alone; chunks beside their vectors."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pipeline import chunk as chunking
from pipeline.checkpoint import Checkpoints
from pipeline.ingest import vectors_of
from pipeline.ledger import ledger_name
from pipeline.ports import VectorStore
from pipeline.prepare import table_of_chunks, table_of_documents
from pipeline.recipe import ResolvedRecipe

# Documents joined at a time: bounds memory, and the number of times a part is opened.
_BATCH = 1_000


def joined(checkpoints: Checkpoints, store: VectorStore, recipe: ResolvedRecipe) -> Iterator[pa.Table]:
    """Tables of record_id, document_id, uri, title, section, page, position, text and vector, in ledger order."""
    vectors = vectors_of(checkpoints, recipe)
    documents, chunks = table_of_documents(checkpoints, recipe), table_of_chunks(checkpoints, recipe)
    for part in checkpoints.ledger(ledger_name(store, checkpoints.root)).current(["version_id"]):
        versions = [version for version in part.column("version_id").to_pylist() if version]
        for first in range(0, len(versions), _BATCH):
            batch = versions[first : first + _BATCH]
            named = documents.lookup(batch, ["version_id", "uri", "title"]).to_pylist()
            names = {row["version_id"]: row for row in named}
            rows = chunks.lookup(batch).to_pylist()
            found = vectors.lookup([recipe.model.embedding_key(row["token_hash"]) for row in rows])
            yield pa.table(
                {
                    "record_id": [row["record_id"] for row in rows],
                    "document_id": [row["document_id"] for row in rows],
                    "uri": [names[row["version_id"]]["uri"] for row in rows],
                    "title": [names[row["version_id"]]["title"] for row in rows],
                    "section": [chunking.SEPARATOR.join(row["section"]) for row in rows],
                    "page": pa.array([row["page"] for row in rows], pa.int32()),
                    "position": pa.array([row["position"] for row in rows], pa.int32()),
                    "text": pa.array([row["text"] for row in rows], pa.large_string()),
                    "vector": found.column("vector"),
                }
            )
