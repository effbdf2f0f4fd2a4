"""Listed items → documents and chunks: read, parse and chunk, each only where Parquet does not have it yet."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline import chunk as chunking
from pipeline.checkpoint import Checkpoints, Table
from pipeline.embed.tokenizer import token_hash
from pipeline.errors import Rejected
from pipeline.ledger import LOADED, Listed, Renewal, hash_bytes, hash_metadata, is_forced, same_bytes
from pipeline.parse import parse
from pipeline.ports import Source, Tokenizer
from pipeline.recipe import ResolvedRecipe
from pipeline.report import Report
from pipeline.types import Block, Document, Item, document_id

_VERSIONS = uuid.UUID("c1a6f4de-90b7-5a2e-b3f1-4d1f6e8a7c20")

Row = dict[str, Any]


@dataclass(slots=True)
class Prepared:
    """A document version: its row, and its chunks' rows. `token_ids` holds what was tokenized just now, by row.

    With `refused` it is the older version that the collection holds of a document whose newer one cannot be used: it
    stays, under the recipe and the metadata of today.
    """

    listed: Listed
    document_id: str
    version_id: str
    content_hash: str
    document: Row
    chunks: list[Row]
    token_ids: Sequence[Sequence[int]] | None = None
    refused: Refused | None = None


class Refused(Exception):
    """A document is rejected: at which stage, why (the text), and the hash of what was looked at, "" if unread."""

    def __init__(self, stage: str, reason: str, content_hash: str = "") -> None:
        super().__init__(reason)
        self.stage = stage
        self.content_hash = content_hash


@dataclass(slots=True)
class Preparation:
    """What became of some listed items: in == prepared + untouched + refused.

    `documents` and `chunks` are the rows that Parquet does not have yet.
    """

    prepared: list[Prepared] = field(default_factory=list)
    untouched: list[Listed] = field(default_factory=list)
    refused: list[tuple[Listed, Refused]] = field(default_factory=list)
    documents: list[Row] = field(default_factory=list)
    chunks: list[Row] = field(default_factory=list)

    @property
    def text_bytes(self) -> int:
        """The size of the new chunks' texts, in UTF-8."""
        return sum(len(row["text"].encode()) for row in self.chunks)


class Preparer:
    """The stages before the engine, for one recipe. Thread-safe."""

    def __init__(
        self,
        sources: Sequence[Source],
        recipe: ResolvedRecipe,
        tokenizer: Tokenizer,
        checkpoints: Checkpoints,
        max_document_bytes: int,
        renewal: Renewal,
    ) -> None:
        self._documents = table_of_documents(checkpoints, recipe)
        self._chunks = table_of_chunks(checkpoints, recipe)
        self._sources = {source.name: source for source in sources}
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._max_bytes = max_document_bytes
        self._renewal = renewal

    def prepare(self, batch: Sequence[Listed], report: Report) -> Preparation:
        """Every item's document and chunks; writes nothing. Raises Transient if a source does not answer."""
        result = Preparation()
        parsed: dict[str, Row] = {}
        versions: list[tuple[Listed, str, str, Refused | None]] = []
        for listed in batch:
            try:
                content_hash, data = self._look(listed, report)
                if self._only_touched(listed, content_hash):
                    result.untouched.append(listed)
                    continue
                version = version_id(document_id(listed.item.uri), content_hash)
                if data is not None and self._documents.missing([version]):
                    with report.timed("parse"):
                        parsed[version] = _parse(listed.item, version, content_hash, data)
                versions.append((listed, version, content_hash, None))
            except Refused as error:
                versions.append((listed, self._older(listed), error.content_hash, error))
        with report.timed("checkpoint"):
            known = [version for _, version, _, _ in versions if version and version not in parsed]
            stored = _by_version(self._documents, known)
            chunked = _by_version(self._chunks, [version for _, version, _, _ in versions if version])
        for listed, version, content_hash, refused in versions:
            if not version:
                assert refused is not None
                result.refused.append((listed, refused))
                continue
            document = parsed.get(version) or stored[version][-1]
            if refused is None:
                report.warnings += [(listed.item.uri, warning) for warning in document["warnings"]]
            one = Prepared(
                listed, document["document_id"], version, content_hash, document, chunked.get(version, []),
                refused=refused,
            )  # fmt: skip
            try:
                if not one.chunks:
                    with report.timed("chunk"):
                        self._chunk(one)
                result.prepared.append(one)
            except Rejected as rejected:
                result.refused.append((listed, refused or Refused("chunk", str(rejected), content_hash)))
        result.documents = list(parsed.values())
        result.chunks = [row for one in result.prepared if one.token_ids is not None for row in one.chunks]
        return result

    def _older(self, listed: Listed) -> str:
        """The version that the collection holds, if Parquet has its text; otherwise ""."""
        held = str(listed.previous["version_id"]) if listed.previous is not None else ""
        return held if held and not self._documents.missing([held]) else ""

    def commit(self, preparation: Preparation, report: Report) -> None:
        """Put what is new into Parquet."""
        with report.timed("checkpoint"):
            self._documents.append(preparation.documents)
            self._chunks.append(preparation.chunks)
        report.bytes_written += preparation.text_bytes

    def token_ids(self, one: Prepared, number: int) -> Sequence[int]:
        """What the engine gets for chunk `number`: exactly what was counted when it was cut."""
        if one.token_ids is not None:
            return one.token_ids[number]
        row = one.chunks[number]
        return self._tokenizer.encode(chunking.engine_text(self._recipe.rules.prompt, row["context"], row["text"])).ids

    def _look(self, listed: Listed, report: Report) -> tuple[str, bytes | None]:
        """The content's hash, and its bytes unless the listing and Parquet together make reading needless."""
        item, known = listed.item, listed.known
        if known is not None and known["content_hash"] and same_bytes(item, known):
            content_hash = str(known["content_hash"])
            if not self._documents.missing([version_id(document_id(item.uri), content_hash)]):
                return content_hash, None
        with report.timed("read"):
            data = self._read(listed)
        report.bytes_read += len(data)
        return hash_bytes(data), data

    def _only_touched(self, listed: Listed, content_hash: str) -> bool:
        """Whether nothing but the time of its file has changed."""
        row = listed.previous
        return (
            row is not None
            and row["status"] == LOADED
            and row["content_hash"] == content_hash
            and row["recipe"] == self._recipe.fingerprints.whole
            and row["metadata_hash"] == hash_metadata(listed.item.metadata)
            and not is_forced(row, self._renewal)
        )

    def _read(self, listed: Listed) -> bytes:
        item = listed.item
        if item.size is not None and item.size > self._max_bytes:
            raise Refused("read", f"it has {item.size:,} bytes; max_document_bytes allows {self._max_bytes:,}")
        if item.content is not None:
            return item.content
        try:
            return self._sources[listed.source].read(item)
        except Rejected as rejected:
            raise Refused("read", str(rejected)) from rejected

    def _chunk(self, one: Prepared) -> None:
        chunks = chunking.chunk_document(as_document(one.document), self._tokenizer, self._recipe.rules)
        one.token_ids = [chunk.token_ids for chunk in chunks]
        one.chunks = [
            {
                "version_id": one.version_id,
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
                "content_hash": chunk.content_hash,
                "tokens": len(chunk.token_ids),
                "token_hash": token_hash(chunk.token_ids),
            }
            for chunk in chunks
        ]


def table_of_documents(checkpoints: Checkpoints, recipe: ResolvedRecipe) -> Table:
    """The parsed documents that this recipe makes and reuses."""
    name = recipe.fingerprints.parse
    return checkpoints.documents(name, {"stage": "parse", "fingerprint": name})


def table_of_chunks(checkpoints: Checkpoints, recipe: ResolvedRecipe) -> Table:
    """The chunks that this recipe makes and reuses."""
    stamp = {"stage": "chunk", "fingerprint": recipe.fingerprints.chunk, **recipe.description}
    return checkpoints.chunks(recipe.fingerprints.chunk, stamp)


def version_id(document: str, content_hash: str) -> str:
    """The identity of one version of a document (uuid5)."""
    return str(uuid.uuid5(_VERSIONS, f"{document}\n{content_hash}"))


def title_of(uri: str) -> str:
    """The last resort for a title: the name of the file, or of the row."""
    parts = urlsplit(uri)
    return unquote(parts.fragment or parts.path.rstrip("/").rsplit("/", 1)[-1]) or uri


def as_document(row: Mapping[str, Any]) -> Document:
    """A row of the documents table as a Document."""
    return Document(
        document_id=row["document_id"],
        uri=row["uri"],
        content_hash=row["content_hash"],
        media_type=row["media_type"],
        title=row["title"],
        text=row["text"],
        blocks=[Block(**block) for block in row["blocks"]],
        metadata=json.loads(row["metadata"]),
    )


def _parse(item: Item, version: str, content_hash: str, data: bytes) -> Row:
    try:
        parsed = parse(data, item.uri, item.media_type)
    except Rejected as rejected:
        raise Refused("parse", str(rejected), content_hash) from rejected
    return {
        "version_id": version,
        "document_id": document_id(item.uri),
        "uri": item.uri,
        "content_hash": content_hash,
        "media_type": parsed.media_type,
        "title": parsed.title or title_of(item.uri),
        "text": parsed.text,
        "blocks": [
            {"kind": block.kind, "start": block.start, "end": block.end, "level": block.level, "page": block.page}
            for block in parsed.blocks
        ],
        "metadata": json.dumps(dict(parsed.metadata), ensure_ascii=False, default=str),
        "warnings": list(parsed.warnings),
        "parsed_at": datetime.now(UTC),
    }


def _by_version(table: Table, versions: Sequence[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in table.lookup(versions).to_pylist():
        found.setdefault(row["version_id"], []).append(row)
    return found
