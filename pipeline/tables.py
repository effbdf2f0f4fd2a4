"""The tables: their columns, and how a batch of rows is brought to them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from pipeline.types import Vectors

BLOCK = pa.struct(
    [
        pa.field("kind", pa.string()),
        pa.field("start", pa.int64()),
        pa.field("end", pa.int64()),
        pa.field("level", pa.int16()),
        pa.field("page", pa.int32()),
        pa.field("box", pa.list_(pa.float32())),  # left, bottom, right, top in points; null where a format has none
        pa.field("details", pa.string()),  # JSON; null if there are none
    ]
)
MEMBER = pa.struct(
    [
        pa.field("uri", pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field("media_type", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("mtime", pa.float64()),
        pa.field("refused", pa.string()),  # why it could not be taken out, "" if it could
    ]
)
DOCUMENTS = pa.schema(
    [
        ("version_id", pa.string()),
        ("document_id", pa.string()),
        ("uri", pa.string()),
        ("content_hash", pa.string()),
        ("media_type", pa.string()),
        ("title", pa.string()),
        ("text", pa.large_string()),
        ("blocks", pa.list_(BLOCK)),
        ("metadata", pa.string()),  # JSON
        ("warnings", pa.list_(pa.string())),
        ("members", pa.list_(MEMBER)),  # the documents inside, which have rows of their own
        ("parsed_at", pa.timestamp("us", tz="UTC")),
    ]
)
CHUNKS = pa.schema(
    [
        ("version_id", pa.string()),
        ("record_id", pa.string()),
        ("document_id", pa.string()),
        ("position", pa.int32()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("text", pa.large_string()),
        ("context", pa.string()),
        ("section", pa.list_(pa.string())),
        ("page", pa.int32()),
        ("page_to", pa.int32()),
        ("details", pa.string()),  # JSON; null if there are none
        ("content_hash", pa.string()),
        ("tokens", pa.int32()),
        ("token_hash", pa.string()),
    ]
)
LEDGER = pa.schema(
    [
        ("document_id", pa.string()),
        ("uri", pa.string()),
        ("source", pa.string()),
        ("parent", pa.string()),  # the document that it is inside of; null if a source lists it
        ("status", pa.string()),  # loaded, loading, rejected or deleted
        # What was last looked at: the listing's words, the bytes, and the recipe as a whole.
        ("size", pa.int64()),
        ("mtime", pa.float64()),
        ("etag", pa.string()),
        ("content_hash", pa.string()),
        ("recipe", pa.string()),
        # What the store holds: nothing if `version_id` is "". The three fingerprints name the tables that it came from.
        ("version_id", pa.string()),
        ("parse", pa.string()),
        ("chunk", pa.string()),
        ("embed", pa.string()),
        ("metadata", pa.string()),  # JSON: what the source and the settings say of it, over what the parser found
        ("metadata_hash", pa.string()),
        ("chunks", pa.int32()),
        ("tokens", pa.int64()),
        ("words", pa.int64()),
        # Of a rejection, which leaves an older version that the store holds where it is.
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("tries", pa.int32()),
        ("run_id", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("forced_at", pa.timestamp("us", tz="UTC")),  # when the backfill began that last embedded it by force
    ]
)
RUNS = pa.schema(
    [
        ("run_id", pa.string()),
        ("kind", pa.string()),  # ingest, backfill, …
        ("parameters", pa.string()),  # JSON: what, beside its sources, a backfill goes on by
        ("store", pa.string()),
        ("collection", pa.string()),
        ("sources", pa.list_(pa.string())),
        ("status", pa.string()),  # running, completed, or "failed: …"
        ("started_at", pa.timestamp("us", tz="UTC")),
        ("finished_at", pa.timestamp("us", tz="UTC")),
        ("report", pa.string()),  # JSON
    ]
)


#: A ledger row that says this of its document stands for nothing, except that older rows of it are no longer true.
TOMBSTONE = ("status", "deleted")


def vectors_schema(dimensions: int | None) -> pa.Schema:
    """`embedding_key` (32 hex digits) and `vector` (float32, of fixed length where that is known)."""
    return pa.schema([("embedding_key", pa.string()), ("vector", pa.list_(pa.float32(), dimensions or -1))])


def vectors_table(keys: Sequence[str], vectors: Vectors) -> pa.Table:
    """Rows of the vectors table, without a Python float in sight."""
    flat = pa.array(vectors.reshape(-1), pa.float32())
    return pa.table({"embedding_key": keys, "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})


def conform(table: pa.Table, schema: pa.Schema, rows: int) -> pa.Table:
    """`table` with exactly the columns of `schema`: nulls for one that it lacks, since it was written before that was.

    `rows` is its length, which a table of no columns does not know.
    """
    there = set(table.column_names)
    columns = [
        table.column(field.name).cast(field.type) if field.name in there else pa.nulls(rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
