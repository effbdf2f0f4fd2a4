"""One document's bytes → its row and its chunks' rows: all that is done to a document between reading and embedding.

Untrusted content is looked at here and nowhere else, so this is what runs in processes of its own (`pipeline.workers`):
what goes in and comes out is small, plain and picklable, and nothing heavy is imported.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from pipeline.chunk import ChunkRules, chunk_document, engine_text
from pipeline.embed.tokenizer import ModelTokenizer, token_hash
from pipeline.errors import CorpusvecError, Rejected
from pipeline.members import member_uri
from pipeline.parse import parse
from pipeline.parse.language import language_of
from pipeline.ports import Tokenizer
from pipeline.search import count_words
from pipeline.types import Block, Chunk, Document, Member, Metadata, Parsed, document_id

log = logging.getLogger(__name__)

# Enough of a sentence to have its language looked for.
_PROSE = "The lamp at the pier burns from dusk until the last ferry."

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Order:
    """One document version to be made: from `data`, its source's bytes, or from its `document` row if there is one."""

    uri: str
    version_id: str
    content_hash: str
    media_type: str | None = None
    data: bytes | None = field(default=None, repr=False)
    document: Row | None = field(default=None, repr=False)


@dataclass(slots=True)
class Made:
    """What became of an order: rows as the tables have them, and `token_ids`, those of all chunks end to end.

    `refused` is the stage (parse or chunk) at which it was rejected, and why; a document that could not be chunked has
    its row. `members` are the documents inside. `words` are those of all its chunks, as BM25 counts them. `seconds` are
    busy seconds a stage.
    """

    document: Row | None = None
    chunks: list[Row] = field(default_factory=list)
    token_ids: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    members: Sequence[Member] = ()
    words: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    refused: tuple[str, str] | None = None

    def ids_by_chunk(self) -> list[NDArray[np.uint32]]:
        """The token ids of each chunk; views, not copies."""
        ends = np.cumsum([row["tokens"] for row in self.chunks], dtype=np.int64)
        return np.split(self.token_ids, ends[:-1]) if self.chunks else []


@dataclass(frozen=True, slots=True)
class Maker:
    """How a worker is set up: the folder of the model whose tokenizer counts, and the rules of chunking."""

    model: Path
    rules: ChunkRules

    def __call__(self) -> Callable[[Order], Made]:
        """`make`, with everything loaded that every document needs, before the first one's time begins."""
        language_of(_PROSE)
        return partial(make, tokenizer=ModelTokenizer(self.model), rules=self.rules)


def make(order: Order, tokenizer: Tokenizer, rules: ChunkRules) -> Made:
    """Parse (unless that was done), chunk and tokenize. What cannot be used is `refused`; Transient may be raised."""
    made = Made(order.document)
    stage, started = "parse", time.perf_counter()
    try:
        if made.document is None:
            parsed = parse(order.data or b"", order.uri, order.media_type)
            made.document, made.members = document_row(order, parsed), parsed.members
            now = time.perf_counter()
            made.seconds[stage], started = now - started, now
        stage = "chunk"
        chunks = chunk_document(as_document(made.document), tokenizer, rules)
        made.chunks = [chunk_row(chunk, order.version_id) for chunk in chunks]
        made.words = sum(count_words(engine_text("", chunk.context, chunk.text)) for chunk in chunks)
        if chunks:
            made.token_ids = np.concatenate([np.asarray(chunk.token_ids, np.uint32) for chunk in chunks])
    except Rejected as rejected:
        made.refused = stage, str(rejected)
    except CorpusvecError:
        raise
    except Exception as error:  # a defect of ours, which is to cost this document only
        log.exception("%s: defect in stage %s", order.uri, stage)
        made.refused = stage, f"a defect of this program came to light: {type(error).__name__}: {error}"
    made.seconds[stage] = time.perf_counter() - started
    return made


def document_row(order: Order, parsed: Parsed) -> Row:
    """A row of the documents table."""
    return {
        "version_id": order.version_id,
        "document_id": document_id(order.uri),
        "uri": order.uri,
        "content_hash": order.content_hash,
        "media_type": parsed.media_type,
        "title": parsed.title or title_of(order.uri),
        "text": parsed.text,
        "blocks": [
            {
                "kind": block.kind,
                "start": block.start,
                "end": block.end,
                "level": block.level,
                "page": block.page,
                "box": [round(edge, 1) for edge in block.box] if block.box else None,
                "details": _json(block.details),
            }
            for block in parsed.blocks
        ],
        "metadata": json.dumps({**parsed.metadata, **_language(parsed)}, ensure_ascii=False, default=str),
        "warnings": list(parsed.warnings),
        "members": [_member_row(order.uri, member) for member in parsed.members],
        "parsed_at": datetime.now(UTC),
    }


def chunk_row(chunk: Chunk, version: str) -> Row:
    """A row of the chunks table."""
    return {
        "version_id": version,
        "record_id": chunk.record_id,
        "document_id": chunk.document_id,
        "position": chunk.position,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
        "context": chunk.context,
        "section": list(chunk.section),
        "page": chunk.page,
        "page_to": chunk.page_to,
        "details": _json(chunk.details),
        "content_hash": chunk.content_hash,
        "tokens": len(chunk.token_ids),
        "token_hash": token_hash(chunk.token_ids),
    }


def as_document(row: Mapping[str, Any]) -> Document:
    """A row of the documents table as a Document."""
    return Document(
        document_id=row["document_id"],
        uri=row["uri"],
        content_hash=row["content_hash"],
        media_type=row["media_type"],
        title=row["title"],
        text=row["text"],
        blocks=[_as_block(block) for block in row["blocks"]],
        metadata=json.loads(row["metadata"]),
    )


def _member_row(parent: str, member: Member) -> Row:
    return {
        "uri": member_uri(parent, member.name),
        "content_hash": hashlib.sha256(member.data).hexdigest(),
        "media_type": member.media_type,
        "size": len(member.data),
        "mtime": member.mtime,
        "refused": member.refused,
    }


def _as_block(row: Mapping[str, Any]) -> Block:
    box, details = row.get("box"), row.get("details")
    return Block(
        row["kind"], row["start"], row["end"], row["level"], row["page"],
        tuple(box) if box else None, json.loads(details) if details else {},
    )  # fmt: skip


def _json(details: Metadata) -> str | None:
    return json.dumps(dict(details), ensure_ascii=False) if details else None


def _language(parsed: Parsed) -> Metadata:
    return {"language": parsed.language} if parsed.language else {}


def title_of(uri: str) -> str:
    """The last resort for a title: the name of the file, or of the row."""
    parts = urlsplit(uri)
    return unquote(parts.fragment or parts.path.rstrip("/").rsplit("/", 1)[-1]) or uri
