"""The nouns every other module speaks in. Imports nothing of ours."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Namespaces of our deterministic ids (uuid5): fixed for ever, since every id in every index derives from them.
_DOCUMENTS = uuid.UUID("8f4c1c52-4f5e-5d0a-9c7e-0d6a4b1f2e31")
_VERSIONS = uuid.UUID("c1a6f4de-90b7-5a2e-b3f1-4d1f6e8a7c20")
_RECORDS = uuid.UUID("2b7d9f06-6a83-5c14-8e2f-7f0c93d1a5b8")

Metadata = Mapping[str, Any]
Vectors = NDArray[np.float32]
#: The tokens of one text.
TokenIds = Sequence[int] | NDArray[np.uint32]


def document_id(uri: str) -> str:
    """The identity of the document at `uri`: a uuid5, the same on every machine and every night."""
    return _uuid5(_DOCUMENTS, uri)


def version_id(document: str, content_hash: str) -> str:
    """The identity of one version of a document, by the hash of its bytes (uuid5)."""
    return _uuid5(_VERSIONS, f"{document}\n{content_hash}")


def record_id(document: str, content_hash: str, occurrence: int) -> str:
    """The identity of one point: the `occurrence`-th chunk with this content in this document (uuid5)."""
    return _uuid5(_RECORDS, f"{document}\n{content_hash}\n{occurrence}")


def _uuid5(namespace: uuid.UUID, name: str) -> str:
    """`str(uuid.uuid5(namespace, name))` (RFC 9562, section 5.5), in half of its time: every chunk needs one."""
    digest = bytearray(hashlib.sha1(namespace.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    digits = digest.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that a source lists, before anyone has read it.

    `size` is in bytes and `mtime` in seconds since the epoch; `version` is an ETag or an object version. Whatever a
    source does not know is None. `content` is set by sources whose listing already holds the bytes (rows of a table).
    """

    uri: str
    size: int | None = None
    mtime: float | None = None
    version: str | None = None
    media_type: str | None = None
    metadata: Metadata = field(default_factory=dict)
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Block:
    """A structural piece of a document: `text[start:end]`, offsets in characters (Python `str` indices).

    `kind` is one of heading, paragraph, list_item, table, code, log, caption, footnote. `level` is a heading's depth
    (1 is the outermost) or a list item's nesting; 0 elsewhere. `page` counts from 1 and is None where the format has
    no pages. `box` is where it stands on its page as that is shown: left, bottom, right, top in points from the lower
    left corner; None where a format does not say. `details` (JSON-serialisable) is what else is known of it: of a log's
    events their `time_from` and `time_to` (ISO 8601, UTC), `levels`, `templates`, `events` (how many), `line_from` and
    `line_to`; a block that `begins` something is where a chunk best begins.
    """

    kind: str
    start: int
    end: int
    level: int = 0
    page: int | None = None
    box: tuple[float, float, float, float] | None = None
    details: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    """A document inside a document: a file in an archive, an attachment of a message.

    `name` is its place in there, with "/" between folders; unique among its siblings. `refused` is why it could not be
    taken out ("" if it could): it is then listed and rejected with that reason, and has no `data`.
    """

    name: str
    data: bytes = field(repr=False)
    media_type: str | None = None
    mtime: float | None = None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a parser makes of some bytes: text, and the blocks that cover every non-blank character of it, in order.

    `title` is "" where the content names none. `metadata` is JSON-serialisable. `warnings` name what could not be
    read of an otherwise readable document (a broken page, say). `members` are the documents inside; one that has some
    may have no text of its own. `language` is an ISO 639-1 code, "" if nobody can tell.
    """

    text: str
    blocks: Sequence[Block]
    media_type: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    warnings: Sequence[str] = ()
    members: Sequence[Member] = ()
    language: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document and where it came from. `content_hash` is the sha256 of the source's bytes, in hex."""

    document_id: str
    uri: str
    content_hash: str
    media_type: str
    title: str
    text: str
    blocks: Sequence[Block]
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a document small enough for the model: `text == document.text[start:end]`.

    `context` is the heading path the model (and BM25) sees before the text, "" if none. `token_ids` is exactly what
    the engine gets: context, text and special tokens. `section` is the heading path at the chunk's start. `details` is
    what `Outline.details` knows of the stretch.
    """

    record_id: str
    document_id: str
    position: int
    start: int
    end: int
    text: str
    context: str
    section: Sequence[str]
    page: int | None
    page_to: int | None
    content_hash: str
    token_ids: Sequence[int]
    details: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """One row of a vector database: id (uuid), dense vector (float32, shape (dimensions,)), BM25 text and payload.

    `payload` is JSON-serialisable and has the keys of `PAYLOAD_FIELDS`.
    """

    record_id: str
    vector: Vectors
    lexical_text: str
    payload: Mapping[str, Any]


#: Every payload has these keys, in every store. `metadata` is a nested object; the rest are scalars or None.
PAYLOAD_FIELDS = (
    "document_id", "uri", "source", "title", "section", "page", "page_to", "position", "media_type",
    "text", "metadata",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of a filter: payload field (or `metadata.KEY`), operator (=, !=, <, <=, >, >=) and value."""

    field: str
    operator: str
    value: str | float | bool


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """What a collection is made for. `recipe` is the fingerprint of whatever decides its vectors and words.

    `description` says the same in words (model, dimensions, …), for people and for error messages. `language` steers
    BM25's stemming and stop words; `average_length` is the corpus's mean text length in words, for BM25.
    """

    recipe: str
    dimensions: int
    description: Mapping[str, Any]
    language: str = "english"
    average_length: float = 256.0


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result. `score` is a cosine similarity (dense), a BM25 score, or a reciprocal-rank sum (hybrid)."""

    score: float
    record_id: str
    document_id: str
    uri: str
    title: str
    section: str
    page: int | None
    text: str
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Rejection:
    """An input that could not be used, and why: `stage` is read, parse, chunk, embed or load."""

    uri: str
    stage: str
    reason: str
