"""Bringing a collection to the state that Parquet says: crash-safe replacement, deletion, BM25's average length."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence

from pipeline import chunk as chunking
from pipeline.checkpoint import Table
from pipeline.errors import Transient
from pipeline.ports import VectorStore
from pipeline.prepare import Prepared
from pipeline.recipe import ResolvedRecipe
from pipeline.report import Report
from pipeline.search import count_words
from pipeline.types import CollectionSpec, Point, Vectors

# BM25 weighs a text by its length over the corpus's mean; a mean this far off (relative) is worth correcting.
_LENGTH_DRIFT = 0.1


class Index:
    """One collection, opened for one recipe. Thread-safe: writers take turns. Raises RecipeMismatch when opened."""

    def __init__(self, store: VectorStore, recipe: ResolvedRecipe, vectors: Table) -> None:
        self._store = store
        self._recipe = recipe
        self._vectors = vectors
        self._writing = threading.Lock()
        self._spec = store.open()
        if self._spec is not None:
            self._spec = store.open(self._make_spec(self._spec.average_length))

    def points(self, prepared: Sequence[Prepared]) -> list[list[Point]]:
        """Each document's points, from its rows and the vectors in Parquet."""
        keys = [self._recipe.model.embedding_key(row["token_hash"]) for one in prepared for row in one.chunks]
        table = self._vectors.lookup(keys)  # all at once: a look-up reads whole parts
        vectors = iter(
            table.column("vector").combine_chunks().flatten().to_numpy().reshape(-1, self._recipe.model.dimensions)
        )
        return [self._points(one, vectors) for one in prepared]

    def _points(self, one: Prepared, vectors: Iterator[Vectors]) -> list[Point]:
        document = one.document
        metadata = json.loads(document["metadata"])
        return [
            Point(
                record_id=row["record_id"],
                vector=next(vectors),
                lexical_text=chunking.engine_text("", row["context"], row["text"]),
                payload={
                    "document_id": one.document_id,
                    "version_id": one.version_id,
                    "uri": document["uri"],
                    "source": one.listed.source,
                    "title": document["title"],
                    "section": chunking.SEPARATOR.join(row["section"]),
                    "page": row["page"],
                    "page_to": row["page_to"],
                    "position": row["position"],
                    "media_type": document["media_type"],
                    "text": row["text"],
                    "metadata": metadata,
                },
            )
            for row in one.chunks
        ]

    def fault(self, points: Sequence[Point]) -> str | None:
        """Why this store cannot hold these points, None if it can."""
        limit = self._store.max_text_bytes
        longest = max((len(point.lexical_text.encode()) for point in points), default=0)
        if limit is None or longest <= limit:
            return None
        return f"a chunk has {longest:,} bytes of text, and {self._store.url} holds {limit:,}: lower chunk_tokens"

    def replace(self, documents: Sequence[str], points: Sequence[Point], report: Report) -> None:
        """Make `points` the points of `documents`: write new, verify, remove stale, so that a reader always finds one.

        Raises Transient if the store does not answer, or does not hold what it was given.
        """
        with self._writing, report.timed("load"):
            if self._spec is None:
                words = [count_words(point.lexical_text) for point in points]
                self._spec = self._store.open(self._make_spec(max(1.0, sum(words) / max(1, len(words)))))
            self._store.upsert(points)
            there = set().union(*self._store.ids_of(documents).values())
            new = {point.record_id for point in points}
            if absent := new - there:
                raise Transient(f"{len(absent)} of {len(new)} points written to {self._store.url} are not there")
            stale = there - new
            self._store.delete(sorted(stale))
            self._store.flush()
        report.upserted += len(new)
        report.deleted += len(stale)

    def remove(self, documents: Sequence[str], report: Report) -> None:
        """Remove every point of `documents`."""
        if self._spec is None or not documents:
            return
        with self._writing, report.timed("load"):
            stale = set().union(*self._store.ids_of(documents).values())
            self._store.delete(sorted(stale))
            self._store.flush()
        report.deleted += len(stale)

    def tune(self, average_length: float, report: Report) -> None:
        """Tell the store the corpus's mean text length, in words, if it has moved."""
        if self._spec is None or abs(average_length / self._spec.average_length - 1) <= _LENGTH_DRIFT:
            return
        with self._writing, report.timed("load"):
            self._store.set_average_length(average_length)
            self._store.flush()
            self._spec = self._make_spec(average_length)

    def _make_spec(self, average_length: float) -> CollectionSpec:
        return CollectionSpec(
            recipe=self._recipe.fingerprints.collection,
            dimensions=self._recipe.model.dimensions,
            description=self._recipe.description,
            language=self._recipe.language,
            average_length=average_length,
        )
