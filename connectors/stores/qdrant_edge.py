"""Qdrant Edge: Qdrant's engine in this process, an index in local files, and the default store.

A collection is the folder PATH/COLLECTION: `shard/` is the engine's, `stamp.json` beside it says what it is for. The
folder is made under another name and renamed, so that one which exists is complete; what killed makers leave under
such names is swept away by the next one.

Durability: each write goes through the engine's write-ahead log before it returns, so that a killed process loses
nothing that was acknowledged; `flush` puts it on the disk itself, against a power cut. One process at a time: the
engine locks the log.

Search is exact (no HNSW graph): a scan of 40,000 vectors of 384 dimensions takes 4 ms on two cores, and a graph over
them 100 s to build. A corpus for which that scan becomes too slow has outgrown an embedded index: use a server.
"""

from __future__ import annotations

import os
import shutil
import uuid
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from connectors.stores._bm25 import MOST_LANGUAGES, Bm25, language_of
from connectors.stores._common import (
    INDEXED,
    INTEGERS,
    LANGUAGE,
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
from pipeline.errors import CorpusvecError, Terminal, Transient
from pipeline.types import CollectionSpec, Condition, Hit, Point, Vectors

_BATCH = 500
# The engine writes by mapping files into memory: on a full disk it does not fail, the process dies of a bus error.
_ROOM = 128 << 20
# Bigger than any shard: the only work left to the engine's optimizers is to clear away what was deleted.
_NEVER_KB = 1 << 40


def bm25(spec: CollectionSpec) -> Bm25:
    """The encoder, for whoever speaks Qdrant's language. Raises UsageError if it does not know that of the spec."""
    import qdrant_edge

    return Bm25(qdrant_edge, spec)


class Encoded(NamedTuple):
    """A point as the engine takes it: arrays (twice as fast as lists), and the payload as it is stored."""

    record_id: str
    dense: array[float]
    words: array[int]
    weights: array[float]
    payload: dict[str, Any]


class EdgeStore:
    """A collection in local files; see the module."""

    max_text_bytes: int | None = None
    parallel = False

    def __init__(self, url: str, path: str, collection: str) -> None:
        import qdrant_edge

        self.url = url
        self.collection = collection
        self._edge: Any = qdrant_edge
        self._home = Path(path).expanduser() / collection
        self._shard: Any = None
        self._opened = False
        self._use(None)

    def open(self, spec: CollectionSpec | None = None) -> CollectionSpec | None:
        """Read the collection's stamp, making it first if a spec is given and there is none.

        The engine loads it, into a good deal of memory, when it is first used: a night without changes never does.
        """
        stamp = self._home / "stamp.json"
        with self._errors():
            if spec is not None and not self._home.exists():
                self._create(spec)
            if not self._home.exists():
                return None
            text = stamp.read_text("utf-8") if stamp.exists() else None
            found = settle(text, spec, self.url, self.collection)
            if spec is not None:
                self._sweep()
        self._opened = True
        self._use(found)
        return found

    def upsert(self, points: Sequence[Point]) -> None:
        """Write or overwrite."""
        for batch in batched(points, _BATCH):
            self.write(self.encode(batch))

    def encode(self, points: Sequence[Point]) -> list[Encoded]:
        """What `write` takes; plain, and made without the collection's files, so that another process may do it."""
        found = []
        for point in points:
            words = self._words(point)
            sparse = (array("I", words.indices), array("f", words.values))
            found.append(Encoded(point.record_id, array("f", point.vector.tobytes()), *sparse, to_payload(point)))
        return found

    def write(self, rows: Sequence[Encoded]) -> None:
        """Write or overwrite what `encode` made."""
        edge = self._edge
        for batch in batched(rows, _BATCH):
            points = []
            for row in batch:
                vectors = {DENSE: row.dense}
                # Without a word there is no BM25 vector: an empty one would count as a text in the IDF.
                if row.words:
                    vectors[BM25] = edge.SparseVector(indices=row.words, values=row.weights)
                points.append(edge.Point(row.record_id, vectors, row.payload))
            self._update(edge.UpdateOperation.upsert_points(points))

    def patch(self, points: Sequence[Point]) -> None:
        """Overwrite the payloads of points that exist."""
        for batch in patched(points, _BATCH, self.fetch):
            for point in batch:
                self._update(self._edge.UpdateOperation.overwrite_payload([point.record_id], to_payload(point)))

    def fetch(self, record_ids: Sequence[str], vectors: bool = False) -> list[Point]:
        """The points that exist among these ids."""
        with self._errors():
            found = self._open_shard().retrieve(to_ids(record_ids), True, [DENSE] if vectors else False)
        return [to_point(record.id, record.payload, record.vector) for record in found]

    def ids_of(self, document_ids: Sequence[str]) -> Mapping[str, set[str]]:
        """The record ids held of each document."""
        held: dict[str, set[str]] = {}
        for some in batched(document_ids, _BATCH):
            for record in self._pages(filter=of_documents(self._edge, some), with_payload=[DOCUMENT]):
                held.setdefault(record.payload[DOCUMENT], set()).add(str(record.id))
        return held

    def delete(self, record_ids: Sequence[str]) -> None:
        """Remove points by id."""
        for batch in batched(record_ids, _BATCH):
            self._update(self._edge.UpdateOperation.delete_points(to_ids(batch)))

    def count(self, conditions: Sequence[Condition] = ()) -> int:
        """The exact number of points that meet the conditions."""
        request = self._edge.CountRequest(exact=True, filter=self._filter(conditions))
        with self._errors():
            return int(self._open_shard().count(request))

    def search_dense(self, vector: Vectors, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        """The `k` nearest by cosine."""
        return self._search(vector.tolist(), DENSE, k, conditions)

    def search_bm25(self, text: str, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        """The `k` best by BM25."""
        self._open_shard()
        words = self._bm25.query(text, self._languages())
        return self._search(words, BM25, k, conditions)

    def scroll(self, vectors: bool = False) -> Iterator[Point]:
        """Every point once, in order of id."""
        for record in self._pages(with_payload=True, with_vector=[DENSE] if vectors else False):
            yield to_point(record.id, record.payload, record.vector)

    def set_average_length(self, words: float) -> None:
        """Recompute the BM25 vectors for this average length; until all are done, the stamp says `under_way`."""
        self._open_shard()
        assert self._spec is not None
        spec = replace(self._spec, average_length=words)
        self._stamp(under_way(spec))
        for batch in batched(self.scroll(), _BATCH):
            changed = [
                self._edge.PointVectors(point.record_id, {BM25: words})
                for point in batch
                if (words := self._words(point)).indices
            ]
            self._update(self._edge.UpdateOperation.update_vectors(changed))
        with self._errors():
            self._shard.flush()
        self._stamp(spec)

    def flush(self) -> None:
        """Make what was written durable, and give back the room of deleted points once they are a fifth."""
        shard = self._open_shard()
        with self._errors():
            # It may write the whole of the shard anew, beside the old one.
            if shutil.disk_usage(self._home).free > _ROOM + _size(self._home):
                shard.optimize()
            shard.flush()

    def close(self) -> None:
        """Release the files."""
        self._opened = False
        if self._shard is not None:
            shard, self._shard = self._shard, None
            with self._errors():
                shard.close()

    def _create(self, spec: CollectionSpec) -> None:
        edge = self._edge
        bm25(spec)  # or raise
        self._home.parent.mkdir(parents=True, exist_ok=True)
        self._check_room(self._home.parent)
        draft = self._home.with_name(f".{self.collection}-{uuid.uuid4().hex}")
        shard_path = draft / "shard"
        shard_path.mkdir(parents=True)
        try:
            config = edge.EdgeConfig(
                vectors={DENSE: edge.EdgeVectorParams(size=spec.dimensions, distance=edge.Distance.Cosine)},
                sparse_vectors={BM25: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
                hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=_NEVER_KB),
                optimizers=edge.EdgeOptimizersConfig(indexing_threshold=_NEVER_KB),
            )
            shard = edge.EdgeShard.create(str(shard_path), config)
            for field in INDEXED:
                kind = edge.PayloadSchemaType.Integer if field in INTEGERS else edge.PayloadSchemaType.Keyword
                shard.update(edge.UpdateOperation.create_field_index(field, kind))
            shard.update(edge.UpdateOperation.create_field_index(LANGUAGE, edge.PayloadSchemaType.Keyword))
            shard.flush()
            shard.close()
            _write(draft / "stamp.json", to_stamp(spec))
            draft.rename(self._home)
            _sync(self._home.parent)
        except Exception:
            if not self._home.exists():
                raise
            # Another process made the collection first, and may have swept our draft away: theirs is as good.
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove the drafts of makers that were killed: once there is a collection, nobody needs one."""
        for draft in self._home.parent.glob(f".{self.collection}-{'[0-9a-f]' * 32}"):
            shutil.rmtree(draft, ignore_errors=True)

    def _stamp(self, spec: CollectionSpec) -> None:
        with self._errors():
            _write(self._home / "stamp.json", to_stamp(spec))
        self._use(spec)

    def _use(self, spec: CollectionSpec | None) -> None:
        self._spec = spec
        if spec is not None:
            self._bm25 = bm25(spec)

    def _languages(self) -> list[str]:
        """The languages of the collection's documents."""
        with self._errors():
            return [
                str(hit.value) for hit in self._open_shard().facet(self._edge.FacetRequest(LANGUAGE, MOST_LANGUAGES))
            ]

    def _words(self, point: Point) -> Any:
        return self._bm25.document(point.lexical_text, language_of(point))

    def _filter(self, conditions: Sequence[Condition]) -> Any:
        return to_filter(self._edge, self._edge.RangeFloat, conditions)

    def _search(self, query: Any, using: str, k: int, conditions: Sequence[Condition]) -> list[Hit]:
        edge, shard, where = self._edge, self._open_shard(), self._filter(conditions)

        def ask(limit: int) -> list[Hit]:
            nearest = edge.Query.Nearest(query, using=using)
            with self._errors():
                found = shard.query(edge.QueryRequest(limit=limit, query=nearest, filter=where, with_payload=True))
            return [to_hit(point.score, str(point.id), point.payload) for point in found]

        return ranked(k, ask)

    def _pages(self, **request: Any) -> Iterator[Any]:
        offset = None
        while True:
            with self._errors():
                page, offset = self._open_shard().scroll(
                    self._edge.ScrollRequest(offset=offset, limit=_BATCH, **request)
                )
            yield from page
            if offset is None:
                return

    def _update(self, operation: Any) -> None:
        shard = self._open_shard()
        self._check_room(self._home)
        with self._errors():
            shard.update(operation)

    def _check_room(self, folder: Path) -> None:
        free = shutil.disk_usage(folder).free
        if free < _ROOM:
            raise Terminal(
                f"The disk of {self.url} is full: it has {free >> 20} MiB left, and an embedded index needs "
                f"{_ROOM >> 20} to be written safely. Free some, and run it again"
            )

    def _open_shard(self) -> Any:
        if not self._opened:
            raise absent(self.url, self.collection)
        if self._shard is None:
            with self._errors():
                self._shard = self._edge.EdgeShard.load(str(self._home / "shard"))
        return self._shard

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except CorpusvecError:
            raise
        except Exception as error:
            # The engine raises bare `Exception`: its text is all there is to tell one from another.
            if "WouldBlock" in str(error):
                raise Transient(
                    f"The collection '{self.collection}' at {self.url} is in use by another process, and an embedded "
                    f"index serves one at a time: wait for it, stop it, or use a Qdrant server"
                ) from error
            raise Terminal(f"The collection '{self.collection}' at {self.url} failed: {error}") from error


def _size(folder: Path) -> int:
    """Bytes on the disk: the engine's files are mostly holes."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def _write(path: Path, text: str) -> None:
    """Put `text` into the file at `path`, all or nothing."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Make durable which files the folder at `path` has."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
