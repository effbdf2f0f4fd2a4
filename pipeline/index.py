"""Bringing a collection to the state that Parquet says: crash-safe replacement, deletion, BM25's average length."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from pipeline.checkpoint import Table
from pipeline.errors import Transient
from pipeline.points import find_vectors, make_drafts, same, with_vectors
from pipeline.ports import VectorStore
from pipeline.prepare import Prepared
from pipeline.recipe import ResolvedRecipe
from pipeline.report import Report
from pipeline.search import count_words
from pipeline.types import CollectionSpec, Point, Vectors

# BM25 weighs a text by its length over the corpus's mean; a mean this far off (relative) is worth correcting.
_LENGTH_DRIFT = 0.1


def language(point: Point) -> object:
    """What a point's metadata say of its language."""
    return point.payload["metadata"].get("language")


@dataclass(slots=True)
class Change:
    """What one document needs: points to write whole (with their embedding keys), payloads to patch, ids to remove.

    `drafts` are all its points, still without vectors; what is in none of the lists is in the store as it should be.
    """

    one: Prepared
    drafts: Sequence[Point]
    write: list[tuple[Point, str]] = field(default_factory=list)
    patch: list[Point] = field(default_factory=list)
    remove: set[str] = field(default_factory=set)


class Index:
    """One collection, opened for one recipe. Thread-safe. Raises RecipeMismatch when opened."""

    def __init__(self, store: VectorStore, recipe: ResolvedRecipe, vectors: Table) -> None:
        self._store = store
        self._recipe = recipe
        self._vectors = vectors
        self._turn: AbstractContextManager[Any] = nullcontext() if store.parallel else threading.Lock()
        self._making = threading.Lock()
        self._spec = store.open()
        if self._spec is not None:
            self._spec = store.open(self._make_spec(self._spec.average_length))

    @property
    def exists(self) -> bool:
        """Whether there is such a collection."""
        return self._spec is not None

    @property
    def untuned(self) -> bool:
        """Whether setting the average length was cut short."""
        return self._spec is not None and self._spec.average_length < 0

    def fault(self, one: Prepared) -> str | None:
        """Why this store cannot hold this document, None if it can."""
        limit = self._store.max_text_bytes
        if limit is None:
            return None
        longest = max((len(row["context"].encode()) + 1 + len(row["text"].encode()) for row in one.chunks), default=0)
        if longest > limit:
            return f"a chunk has {longest:,} bytes of text, and {self._store.url} holds {limit:,}: lower chunk_tokens"
        details = max((len((row["details"] or "").encode()) for row in one.chunks), default=0)
        said = len(one.document["metadata"].encode()) + len(json.dumps(dict(one.listed.item.metadata)).encode())
        said += details
        if said > limit:
            return f"its metadata have {said:,} bytes, and {self._store.url} holds {limit:,}: shorten them"
        return None

    def compare(self, prepared: Sequence[Prepared], rewrite: frozenset[str] = frozenset()) -> list[Change]:
        """What the collection lacks of these documents, holds otherwise, and holds too much; reads only.

        Documents in `rewrite` are written whole, whatever is there.
        """
        changes = [
            Change(one, make_drafts(one.document, one.chunks, one.listed.source, one.listed.item.metadata))
            for one in prepared
        ]
        with self._turn:
            held = {} if self._spec is None else self._store.ids_of([one.document_id for one in prepared])
            common = [
                draft.record_id
                for change in changes
                if change.one.document_id not in rewrite
                for draft in change.drafts
                if draft.record_id in held.get(change.one.document_id, ())
            ]
            there = {point.record_id: point for point in self._store.fetch(common)} if common else {}
        for change in changes:
            for draft, row in zip(change.drafts, change.one.chunks, strict=True):
                point = there.get(draft.record_id)
                # A store stems its words by their language, which a patch would leave as it was.
                if point is None or point.lexical_text != draft.lexical_text or language(point) != language(draft):
                    change.write.append((draft, self._recipe.model.embedding_key(row["token_hash"])))
                elif not same(point.payload, draft.payload):
                    change.patch.append(draft)
            change.remove = set(held.get(change.one.document_id, ())) - {draft.record_id for draft in change.drafts}
        return changes

    def apply(self, changes: Sequence[Change], made: Mapping[str, Vectors], report: Report) -> None:
        """Make the changes: write new, verify, remove stale, so that a reader always finds one or the other.

        Vectors are those `made` just now, by embedding key, and the others' come from Parquet. Raises Transient if the
        store does not answer, or does not hold what it was given.
        """
        changes = [change for change in changes if change.write or change.patch or change.remove]
        if not changes:
            return
        writes = [write for change in changes for write in change.write]
        vectors = {**made, **find_vectors(self._vectors, [key for _, key in writes if key not in made])}
        points = list(with_vectors([draft for draft, _ in writes], [vectors[key] for _, key in writes]))
        patches = [draft for change in changes for draft in change.patch]
        with self._turn, report.timed("load"):
            self._ensure(points)
            if points:
                self._store.upsert(points)
            if patches:
                self._store.patch(patches)
            there = set().union(*self._store.ids_of([change.one.document_id for change in changes]).values())
            expected = {draft.record_id for change in changes for draft in change.drafts}
            if absent := expected - there:
                raise Transient(f"{len(absent)} of {len(expected)} points written to {self._store.url} are not there")
            stale = there - expected
            if stale:
                self._store.delete(sorted(stale))
            self._store.flush()
        report.upserted += len(points)
        report.bytes_written += sum(point.vector.nbytes for point in points)
        report.patched += len(patches)
        report.deleted += len(stale)

    def remove(self, documents: Sequence[str], report: Report) -> None:
        """Remove every point of `documents`."""
        if self._spec is None or not documents:
            return
        with self._turn, report.timed("load"):
            stale = set().union(*self._store.ids_of(documents).values())
            self._store.delete(sorted(stale))
            self._store.flush()
        report.deleted += len(stale)

    def count(self, documents: Sequence[str]) -> int:
        """How many points the collection holds of `documents`."""
        if self._spec is None or not documents:
            return 0
        with self._turn:
            return sum(map(len, self._store.ids_of(documents).values()))

    def tune(self, average_length: float, report: Report) -> None:
        """Tell the store the corpus's mean text length, in words, if it has moved."""
        if self._spec is None or abs(average_length - self._spec.average_length) <= _LENGTH_DRIFT * average_length:
            return
        with self._turn, report.timed("load"):
            self._store.set_average_length(average_length)
            self._store.flush()
            self._spec = self._make_spec(average_length)

    def _ensure(self, points: Sequence[Point]) -> None:
        with self._making:
            if self._spec is not None:
                return
            words = [count_words(point.lexical_text) for point in points]
            self._spec = self._store.open(self._make_spec(max(1.0, sum(words) / max(1, len(words)))))

    def _make_spec(self, average_length: float) -> CollectionSpec:
        return CollectionSpec(
            recipe=self._recipe.fingerprints.collection,
            dimensions=self._recipe.model.dimensions,
            description=self._recipe.description,
            language=self._recipe.language,
            average_length=average_length,
        )
