"""Qdrant by its client: a server, or the client's own local mode (`qdrant:local:PATH`, `qdrant::memory:`) for trials.

The layout is the one of `qdrant_edge`; the stamp is the collection's metadata, which servers have since 1.16. The key
of a server comes from the environment variable QDRANT_API_KEY.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from connectors.stores._bm25 import MOST_LANGUAGES, language_of
from connectors.stores._common import (
    INDEXED,
    INTEGERS,
    LANGUAGE,
    STAMP,
    absent,
    batched,
    patched,
    ranked,
    settle,
    to_hit,
    to_stamp,
    under_way,
)
from connectors.stores._qdrant import BM25, DENSE, DOCUMENT, of_documents, to_filter, to_ids, to_payload, to_point
from connectors.stores.qdrant_edge import bm25
from pipeline.errors import CorpusvecError, MissingExtra, Terminal, Transient
from pipeline.types import CollectionSpec, Condition, Hit, Point, Vectors

_BATCH = 128
_PAGE = 256
# Seconds for an answer: an upsert that waits for its index may take long, a server that is not there refuses at once.
_PATIENCE = 60
_BUSY = frozenset({408, 429})
_FORBIDDEN = frozenset({401, 403})


class QdrantStore:
    """A collection of a Qdrant server, or of the client's local mode."""

    max_text_bytes: int | None = None
    parallel = False

    def __init__(self, url: str, address: str, collection: str) -> None:
        try:
            import qdrant_client
            import qdrant_client.http.exceptions as failures
            from qdrant_client import models
            from qdrant_client.common.client_exceptions import QdrantException
        except ImportError as error:
            raise MissingExtra("A Qdrant server as the store", "qdrant") from error
        self.url = url
        self.collection = collection
        self._address = address
        self._local = address == ":memory:" or address.startswith("local:")
        self._vendor: Any = qdrant_client
        self._failures: Any = failures
        self._too_many: Any = QdrantException
        self._models: Any = models
        self._client: Any = None
        self._use(None)

    def open(self, spec: CollectionSpec | None = None) -> CollectionSpec | None:
        """Connect; make the collection if a spec is given and there is none."""
        path = Path(self._address.removeprefix("local:"))
        if spec is None and self._address.startswith("local:") and not path.exists():
            return None
        with self._errors():
            if self._client is None:
                self._client = self._connect()
            if not self._client.collection_exists(self.collection):
                if spec is None:
                    return None
                self._create(spec)
            stamp = (self._client.get_collection(self.collection).config.metadata or {}).get(STAMP)
            found = settle(stamp, spec, self.url, self.collection)
            if spec is not None and not self._local:
                self._index()
        self._use(found)
        return found

    def upsert(self, points: Sequence[Point]) -> None:
        """Write or overwrite, and wait until it is done."""
        for batch in batched(points, _BATCH):
            rows = [
                self._models.PointStruct(
                    id=point.record_id,
                    vector=self._vectors(point, point.vector),
                    payload=to_payload(point),
                )
                for point in batch
            ]
            self._call("upsert", points=rows, wait=True)

    def patch(self, points: Sequence[Point]) -> None:
        """Overwrite the payloads of points that exist, a batch of operations a request."""
        models = self._models
        for batch in patched(points, _BATCH, self.fetch):
            operations = [
                models.OverwritePayloadOperation(
                    overwrite_payload=models.SetPayload(payload=to_payload(point), points=[point.record_id])
                )
                for point in batch
            ]
            if operations:
                self._call("batch_update_points", update_operations=operations, wait=True)

    def fetch(self, record_ids: Sequence[str], vectors: bool = False) -> list[Point]:
        """The points that exist among these ids."""
        names = [DENSE] if vectors else False
        return [
            to_point(record.id, record.payload, record.vector)
            for ids in batched(record_ids, _PAGE)
            for record in self._call("retrieve", ids=to_ids(ids), with_payload=True, with_vectors=names)
        ]

    def ids_of(self, document_ids: Sequence[str]) -> Mapping[str, set[str]]:
        """The record ids held of each document."""
        held: dict[str, set[str]] = {}
        for some in batched(document_ids, _PAGE):
            where = of_documents(self._models, some)
            for record in self._pages(scroll_filter=where, with_payload=[DOCUMENT], with_vectors=False):
                held.setdefault(record.payload[DOCUMENT], set()).add(str(record.id))
        return held

    def delete(self, record_ids: Sequence[str]) -> None:
        """Remove points by id."""
        for batch in batched(record_ids, _PAGE):
            self._call("delete", points_selector=self._models.PointIdsList(points=to_ids(batch)), wait=True)

    def count(self, conditions: Sequence[Condition] = ()) -> int:
        """The exact number of points that meet the conditions."""
        return int(self._call("count", count_filter=self._filter(conditions), exact=True).count)

    def search_dense(self, vector: Vectors, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        """The `k` nearest by cosine."""
        return self._search(vector.tolist(), DENSE, k, conditions)

    def search_bm25(self, text: str, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        """The `k` best by BM25."""
        self._opened()
        words = self._bm25.query(text, self._languages())
        if not words.indices:
            return []
        return self._search(self._sparse(words), BM25, k, conditions)

    def scroll(self, vectors: bool = False) -> Iterator[Point]:
        """Every point once, in order of id."""
        for record in self._pages(with_payload=True, with_vectors=[DENSE] if vectors else False):
            yield to_point(record.id, record.payload, record.vector)

    def set_average_length(self, words: float) -> None:
        """Recompute the BM25 vectors for this average length; until all are done, the stamp says `under_way`."""
        self._opened()
        assert self._spec is not None
        spec = replace(self._spec, average_length=words)
        self._stamp(under_way(spec))
        for batch in batched(self.scroll(), _PAGE):
            changed = [
                self._models.PointVectors(id=point.record_id, vector=vectors)
                for point in batch
                if (vectors := self._vectors(point))
            ]
            if changed:
                self._call("update_vectors", points=changed, wait=True)
        self._stamp(spec)

    def flush(self) -> None:
        """Do nothing: every write has waited until the server had it in its write-ahead log and in the index."""

    def close(self) -> None:
        """Release the connection, or the files of local mode."""
        if self._client is not None:
            client, self._client = self._client, None
            client.close()

    def _connect(self) -> Any:
        if self._address == ":memory:":
            return self._vendor.QdrantClient(location=":memory:")
        if self._local:
            return self._vendor.QdrantClient(path=self._address.removeprefix("local:"))
        return self._vendor.QdrantClient(
            url=self._address,
            api_key=os.environ.get("QDRANT_API_KEY"),
            timeout=_PATIENCE,
            check_compatibility=False,  # a request and a warning of its own, before ours can say what is wrong
        )

    def _create(self, spec: CollectionSpec) -> None:
        bm25(spec)  # or raise
        models = self._models
        self._client.create_collection(
            self.collection,
            vectors_config={DENSE: models.VectorParams(size=spec.dimensions, distance=models.Distance.COSINE)},
            sparse_vectors_config={BM25: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            metadata={STAMP: to_stamp(spec)},
        )

    def _index(self) -> None:
        """Ask for the payload indexes, which are there already unless whoever made the collection was killed.

        Local mode has none, and warns of each.
        """
        kinds = self._models.PayloadSchemaType
        for field in INDEXED:
            kind = kinds.INTEGER if field in INTEGERS else kinds.KEYWORD
            self._client.create_payload_index(self.collection, field, kind, wait=True)
        self._client.create_payload_index(self.collection, LANGUAGE, kinds.KEYWORD, wait=True)

    def _stamp(self, spec: CollectionSpec) -> None:
        self._call("update_collection", metadata={STAMP: to_stamp(spec)})
        self._use(spec)

    def _use(self, spec: CollectionSpec | None) -> None:
        self._spec = spec
        if spec is not None:
            self._bm25 = bm25(spec)

    def _languages(self) -> list[str]:
        """The languages of the collection's documents."""
        return [str(hit.value) for hit in self._call("facet", key=LANGUAGE, limit=MOST_LANGUAGES).hits]

    def _sparse(self, words: Any) -> Any:
        return self._models.SparseVector(indices=words.indices, values=words.values)

    def _vectors(self, point: Point, dense: Vectors | None = None) -> dict[str, Any]:
        vectors: dict[str, Any] = {} if dense is None else {DENSE: dense.tolist()}
        words = self._bm25.document(point.lexical_text, language_of(point))
        # Without a word there is no BM25 vector: an empty one would count as a text in the IDF.
        if words.indices:
            vectors[BM25] = self._sparse(words)
        return vectors

    def _filter(self, conditions: Sequence[Condition]) -> Any:
        return to_filter(self._models, self._models.Range, conditions)

    def _search(self, query: Any, using: str, k: int, conditions: Sequence[Condition]) -> list[Hit]:
        where = self._filter(conditions)

        def ask(limit: int) -> list[Hit]:
            found = self._call(
                "query_points", query=query, using=using, query_filter=where, limit=limit, with_payload=True
            )
            return [to_hit(point.score, str(point.id), point.payload) for point in found.points]

        return ranked(k, ask)

    def _pages(self, **request: Any) -> Iterator[Any]:
        offset = None
        while True:
            page, offset = self._call("scroll", offset=offset, limit=_PAGE, **request)
            yield from page
            if offset is None:
                return

    def _opened(self) -> Any:
        if self._client is None or self._spec is None:
            raise absent(self.url, self.collection)
        return self._client

    def _call(self, verb: str, **arguments: Any) -> Any:
        client = self._opened()
        with self._errors():
            return getattr(client, verb)(collection_name=self.collection, **arguments)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except CorpusvecError:
            raise
        except self._failures.ResponseHandlingException as error:
            if isinstance(error.source, ValueError):
                raise self._foreign() from error
            raise Transient(
                f"No Qdrant server answers at {self.url}: start it or correct --store ({error.source})"
            ) from error
        except self._failures.UnexpectedResponse as error:
            status = error.status_code or 0
            text = " ".join(error.content.decode("utf-8", "replace").split())[:500]
            reason = f"Qdrant at {self.url} answered {status} for '{self.collection}': {text}"
            if status in _FORBIDDEN:
                reason = f"{reason}; set the server's key as QDRANT_API_KEY in the environment"
            if status >= 500 or status in _BUSY:
                raise Transient(reason) from error
            raise Terminal(reason) from error
        except self._too_many as error:
            # The client raises this, and no UnexpectedResponse, for a 429 that says how long to wait.
            raise Transient(f"Qdrant at {self.url} has too many requests for '{self.collection}': {error}") from error
        except json.JSONDecodeError as error:
            raise self._foreign() from error
        except Exception as error:
            # Local mode raises ValueError and RuntimeError; the latter for files that another process has locked.
            if "already accessed" in str(error):
                raise Transient(
                    f"{self.url} is in use by another process, and local mode serves one at a time: wait for it, stop "
                    f"it, or use a Qdrant server"
                ) from error
            raise Terminal(f"The collection '{self.collection}' at {self.url} failed: {error}") from error

    def _foreign(self) -> Terminal:
        return Terminal(f"What answers at {self.url} is no Qdrant server: correct --store")
