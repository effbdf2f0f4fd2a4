"""Milvus by its client: Lite (`milvus:PATH.db`, in this process) or a server (`milvus:URL`), told apart by its version.

Every payload field is a field of its own, `metadata` is JSON, and BM25 is a function of the schema over `lexical_text`:
the server tokenizes, and derives the average length itself. Lite's analyzer knows no stemmers (it takes their settings
and ignores them), so it gets none. Lite also takes true for 1 in a filter on metadata, where a server tells them apart.

The stamp is a property of the collection. The token of a server comes from the environment variable MILVUS_TOKEN.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from connectors.stores._common import (
    HIT_FIELDS,
    INDEXED,
    INTEGERS,
    STAMP,
    absent,
    batched,
    patched,
    ranked,
    settle,
    to_hit,
    to_stamp,
)
from connectors.stores._milvus import ID, NOT_LOADED, literal, to_error, to_expression
from pipeline.errors import CorpusvecError, MissingExtra, Terminal, Transient
from pipeline.types import PAYLOAD_FIELDS, CollectionSpec, Condition, Hit, Point, Vectors

DENSE, BM25, LEXICAL = "dense", "bm25", "lexical_text"
_PROPERTY = f"{STAMP}.stamp"
_VARCHAR_BYTES = 65_535
# A request may have 64 MB, an answer as well: batches are cut by the bytes of their texts and vectors.
_BATCH_BYTES = 16 << 20
_BATCH = 500
_PAGE = 200
_CONNECT_SECONDS = 10.0
_SECONDS = 60.0
# How many stores of this process have each Lite file open: the last one to close it stops its server.
_open_files: Counter[str] = Counter()
_open_files_lock = threading.Lock()


class MilvusStore:
    """A collection of a Milvus server or of Milvus Lite; see the module."""

    #: A payload's text must leave room for the headings that BM25 sees before it: both are fields of 65,535 bytes.
    max_text_bytes: int | None = 60_000
    parallel = False

    def __init__(self, url: str, address: str, collection: str) -> None:
        try:
            import pymilvus

            if address.endswith(".db"):
                import milvus_lite  # noqa: F401
        except ImportError as error:
            raise MissingExtra("Milvus as the store", "milvus") from error
        # Both log every error with its traceback before they raise it; what we raise instead is enough.
        for name in ("pymilvus", "milvus_lite"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.url = url
        self.collection = collection
        self._vendor: Any = pymilvus
        self._file = str(Path(address).expanduser().resolve()) if address.endswith(".db") else None
        self._address = self._file or address
        self._client: Any = None
        self._lite = False
        self._spec: CollectionSpec | None = None

    def open(self, spec: CollectionSpec | None = None) -> CollectionSpec | None:
        """Connect; make the collection if a spec is given and there is none; load it for searching."""
        if spec is None and self._file and not Path(self._file).exists():
            return None
        with self._errors():
            if self._client is None:
                self._client = self._connect()
            self._lite = self._client.get_server_version(timeout=_SECONDS).startswith("milvus_lite")
            if not self._client.has_collection(self.collection, timeout=_SECONDS):
                if spec is None:
                    return None
                self._create(spec)
            properties = self._client.describe_collection(self.collection, timeout=_SECONDS)["properties"]
            found = settle(properties.get(_PROPERTY), spec, self.url, self.collection)
            self._index()
            self._load()
        self._spec = found
        return found

    def upsert(self, points: Sequence[Point]) -> None:
        """Write or overwrite; searches are strongly consistent, so they see it."""
        rows: list[dict[str, Any]] = []
        size = 0
        # A server that gets an id twice in one request may keep both.
        for point in {point.record_id: point for point in points}.values():
            text = len(point.lexical_text.encode())
            if text > _VARCHAR_BYTES:
                raise Terminal(
                    f"Milvus takes texts of {_VARCHAR_BYTES:,} bytes, and BM25's text of {point.record_id} "
                    f"({point.payload['uri']}) has {text:,}: use smaller chunks or another store"
                )
            if len(rows) == _BATCH or size > _BATCH_BYTES:
                self._call("upsert", data=rows)
                rows, size = [], 0
            rows.append({ID: point.record_id, DENSE: point.vector, LEXICAL: point.lexical_text, **point.payload})
            size += 2 * text + point.vector.nbytes
        if rows:
            self._call("upsert", data=rows)

    def patch(self, points: Sequence[Point]) -> None:
        """Overwrite the payloads of points that exist.

        Whole points are read and written again: only servers since 2.6.2 can change a part, and do it that way too.
        """
        for batch in patched(points, _PAGE, lambda ids: self.fetch(ids, vectors=True)):
            self.upsert(batch)

    def fetch(self, record_ids: Sequence[str], vectors: bool = False) -> list[Point]:
        """The points that exist among these ids."""
        fields = _fields(vectors)
        return [
            _to_point(row)
            for ids in batched(record_ids, _PAGE)
            for row in self._call("query", ids=ids, output_fields=fields)
        ]

    def ids_of(self, document_ids: Sequence[str]) -> Mapping[str, set[str]]:
        """The record ids held of each document."""
        held: dict[str, set[str]] = {}
        for some in batched(document_ids, _PAGE):
            names = ", ".join(map(literal, some))
            for row in self._pages([ID, "document_id"], 5_000, f"document_id in [{names}]"):
                held.setdefault(row["document_id"], set()).add(row[ID])
        return held

    def delete(self, record_ids: Sequence[str]) -> None:
        """Remove points by id."""
        for batch in batched(record_ids, _BATCH):
            self._call("delete", ids=batch)

    def count(self, conditions: Sequence[Condition] = ()) -> int:
        """The exact number of points that meet the conditions."""
        return int(self._call("query", filter=to_expression(conditions), output_fields=["count(*)"])[0]["count(*)"])

    def search_dense(self, vector: Vectors, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        """The `k` nearest by cosine."""
        return self._search(vector, DENSE, k, conditions)

    def search_bm25(self, text: str, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        """The `k` best by BM25."""
        return self._search(text, BM25, k, conditions)

    def scroll(self, vectors: bool = False) -> Iterator[Point]:
        """Every point once, in order of id."""
        return map(_to_point, self._pages(_fields(vectors), _PAGE))

    def set_average_length(self, words: float) -> None:
        """Do nothing: Milvus derives the average length from its own statistics, at the time of a search."""

    def flush(self) -> None:
        """Put what was written on the disk itself, in Lite; a process that is killed loses nothing in any case.

        A server has it in its log already, and refuses to be asked for more than once in ten seconds.
        """
        if self._lite or self._client is None:
            self._call("flush")

    def close(self) -> None:
        """Release the connection; the last store of this process on a Lite file gives the file up as well."""
        if self._client is None:
            return
        client, self._client, self._spec = self._client, None, None
        client.close()
        if self._file:
            self._give_up_file()

    def _connect(self) -> Any:
        token = os.environ.get("MILVUS_TOKEN", "")
        if self._file:
            Path(self._file).parent.mkdir(parents=True, exist_ok=True)
            with _open_files_lock:
                _open_files[self._file] += 1
        try:
            return self._vendor.MilvusClient(
                self._address, token=token, timeout=_CONNECT_SECONDS, dedicated=True, grpc_options=_channel()
            )
        except BaseException:
            if self._file:
                self._give_up_file()
            raise

    def _give_up_file(self) -> None:
        from milvus_lite.server_manager import server_manager_instance

        assert self._file is not None
        with _open_files_lock:
            _open_files[self._file] -= 1
            if not _open_files[self._file]:
                server_manager_instance.release_server(self._file)

    def _create(self, spec: CollectionSpec) -> None:
        types = self._vendor.DataType
        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(ID, types.VARCHAR, is_primary=True, max_length=36)
        schema.add_field(DENSE, types.FLOAT_VECTOR, dim=spec.dimensions)
        analyzer = {"tokenizer": "standard"} if self._lite else _analyzer(spec.language)
        schema.add_field(
            LEXICAL, types.VARCHAR, max_length=_VARCHAR_BYTES, enable_analyzer=True, analyzer_params=analyzer
        )
        schema.add_field(BM25, types.SPARSE_FLOAT_VECTOR)
        for field in PAYLOAD_FIELDS:
            if field == "metadata":
                schema.add_field(field, types.JSON)
            elif field in INTEGERS:
                schema.add_field(field, types.INT64, nullable=True)
            else:
                schema.add_field(field, types.VARCHAR, max_length=_VARCHAR_BYTES, nullable=True)
        schema.add_function(self._vendor.Function(BM25, self._vendor.FunctionType.BM25, [LEXICAL], [BM25]))
        self._client.create_collection(
            self.collection,
            schema=schema,
            consistency_level="Strong",
            properties={_PROPERTY: to_stamp(spec)},
            timeout=_SECONDS,
        )

    def _index(self) -> None:
        """Make the indexes that are not there: all of them in a new collection, else those that a killed maker owes.

        Without those of its vectors, a collection cannot be loaded, not even for reading.
        """
        kinds = {
            DENSE: {"index_type": "AUTOINDEX", "metric_type": "COSINE"},
            BM25: {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "BM25"},
            **{field: {"index_type": "INVERTED"} for field in INDEXED},
        }
        there = self._client.list_indexes(self.collection, timeout=_SECONDS)
        indexes = self._client.prepare_index_params()
        for field, kind in kinds.items():
            if field not in there:
                indexes.add_index(field, index_name=field, **kind)
        if len(indexes):
            # No need to wait, the client's half a second for each: they are empty, and loading waits for them.
            self._client.create_index(self.collection, indexes, timeout=_SECONDS, sync=False)

    def _load(self) -> None:
        """Have it in memory, which searching and even reading need.

        Lite writes its indexes in place, beside the points: killed while it does, it has half of one, which it refuses
        to read for ever after. They are made of the points alone, so they are made again.
        """
        try:
            self._client.load_collection(self.collection, timeout=_SECONDS)
        except self._vendor.MilvusException as error:
            if not self._lite or isinstance(to_error(error, self.url, self.collection), Transient):
                raise
            # It drops all of them when asked for one.
            while fields := self._client.list_indexes(self.collection, timeout=_SECONDS):
                self._client.drop_index(self.collection, fields[0], timeout=_SECONDS)
            self._index()
            self._client.load_collection(self.collection, timeout=_SECONDS)

    def _search(self, query: Any, using: str, k: int, conditions: Sequence[Condition]) -> list[Hit]:
        where = to_expression(conditions)

        def ask(limit: int) -> list[Hit]:
            [found] = self._call(
                "search", data=[query], anns_field=using, limit=limit, filter=where, output_fields=list(HIT_FIELDS)
            )
            # BM25 has no negative scores; Lite gives them as distances, with the sign turned.
            sign = abs if using == BM25 else float
            return [to_hit(sign(hit["distance"]), hit[ID], hit["entity"]) for hit in found]

        return ranked(k, ask)

    def _pages(self, fields: list[str], size: int, where: str = "") -> Iterator[dict[str, Any]]:
        pages = self._call("query_iterator", filter=where, output_fields=fields, batch_size=size)
        try:
            while True:
                with self._errors():
                    page = pages.next()
                if not page:
                    return
                yield from page
        finally:
            pages.close()

    def _call(self, verb: str, **arguments: Any) -> Any:
        if self._client is None or self._spec is None:
            raise absent(self.url, self.collection)
        call = partial(getattr(self._client, verb), collection_name=self.collection, timeout=_SECONDS, **arguments)
        with self._errors():
            try:
                return call()
            except self._vendor.MilvusException as error:
                if error.code != NOT_LOADED:
                    raise
                # A Lite server that was started again has its collections, but none of them in memory.
                self._load()
                return call()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except CorpusvecError:
            raise
        except self._vendor.exceptions.ConnectionConfigException as error:
            if self._file:
                raise Transient(
                    f"Milvus Lite cannot open {self._file}: another process may have it, and it serves one at a time. "
                    f"Wait for it, stop it, or use a server"
                ) from error
            raise Terminal(f"'{self.url}' is no address of a Milvus server: correct --store ({error})") from error
        except Exception as error:
            raise to_error(error, self.url, self.collection) from error


def _channel() -> dict[str, Any]:
    """How to talk to a server: with a deadline for the calls to which the client gives none, which would wait for ever,
    and with connections of our own, so that one to a server that was away is tried anew when asked for, instead of
    after a pause that grows to two minutes."""
    # gRPC ends these one to two seconds early: it rounds the time at which a process began.
    late = {"methodConfig": [{"name": [{}], "timeout": f"{_SECONDS + 2:.3f}s"}]}
    return {"grpc.service_config": json.dumps(late), "grpc.use_local_subchannel_pool": 1}


def _analyzer(language: str) -> dict[str, Any]:
    if language in ("english", "chinese"):
        return {"type": language}  # built in
    stop = {"type": "stop", "stop_words": [f"_{language}_"]}
    return {"tokenizer": "standard", "filter": ["lowercase", {"type": "stemmer", "language": language}, stop]}


def _fields(vectors: bool) -> list[str]:
    return [ID, LEXICAL, *PAYLOAD_FIELDS, *([DENSE] if vectors else [])]


def _to_point(row: Mapping[str, Any]) -> Point:
    payload = {field: row[field] for field in PAYLOAD_FIELDS}
    return Point(row[ID], np.asarray(row.get(DENSE, ()), dtype=np.float32), row[LEXICAL], payload)
