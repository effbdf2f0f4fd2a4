"""Rows as documents: what a table's source has in common, and JSON Lines.

A row's content is canonical JSON, `{"text": …, "title": …}`, of media type `ROW`. Its other columns are metadata,
so that a change of those alone leaves the content as it is; its version changes with either. Whatever is not a row with
a text keeps its place in the listing, so that the parser rejects it and the report shows it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast
from urllib.parse import quote

from connectors.sources.trees import Tree
from pipeline.errors import Rejected, SourceError, Transient
from pipeline.parse.builder import Builder
from pipeline.types import Item, Metadata

ROW = "application/vnd.corpusvec.row+json"
#: A longer line (bytes) is listed and rejected, not read: somewhere a line break is missing.
MAX_LINE = 256 * 2**20
# Deeper than this, what is nested becomes words: no database takes any depth, and the shallowest takes 127 levels.
_DEEPEST = 32
# What databases hold exactly.
_INTEGERS = range(-(2**63), 2**64)
_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Row:
    """A row on its way to being an Item: its `fragment` within the source's URI, and where it stands, in words."""

    fragment: str
    where: str
    size: int
    content: bytes | None
    metadata: Metadata = field(default_factory=dict)


def make_row(value: Mapping[str, Any], where: str, text: str = "text", title: str = "title") -> Row:
    """The row in a mapping of columns; every column but `text` and `title` is metadata.

    An object in a column `metadata` is spread among the others, unless that would overwrite one. The fragment is the
    `_id` or `id` column (text or an integer), percent-encoded, or `where` ("line 3" gives `line=3`). Numbers that JSON
    lacks (NaN, infinity) become null; integers over 64 bits, what is nested too deep and other foreign values words.
    Of the metadata, empty values are left out.
    """
    rest = {name: column for name, column in value.items() if name not in (text, title)}
    inner = rest.get("metadata")
    if isinstance(inner, Mapping) and not inner.keys() & (rest.keys() - {"metadata"}):
        del rest["metadata"]
        rest.update(inner)
    content = _canonical(_plain({"text": value.get(text), "title": value.get(title) or ""}))
    metadata = Builder().build(ROW, metadata=_plain(rest)).metadata  # cleaned as those that a parser finds
    ids = (value.get(name) for name in ("_id", "id"))
    found = next((str(i) for i in ids if isinstance(i, str | int) and not isinstance(i, bool) and i != ""), None)
    fragment = _by_place(where) if found is None else quote(found, "", errors="surrogatepass")
    return Row(fragment, where, len(content), content, metadata)


def _by_place(where: str) -> str:
    """The fragment of a row without an id. An id's '=' is percent-encoded, so none can be mistaken for it."""
    return where.replace(" ", "=")


def _plain(value: Any, levels: int = _DEEPEST) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if value in _INTEGERS else str(value)
    if isinstance(value, Mapping) and levels:
        return {_encodable(str(key)): _plain(inner, levels - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple) and levels:
        return [_plain(inner, levels - 1) for inner in value]
    isoformat = getattr(value, "isoformat", None)
    return str(isoformat()) if isoformat else f"<{type(value).__name__}>"


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _canonical(value: Any) -> bytes:
    return _CANONICAL.encode(value).encode("utf-8", "surrogatepass")


def items(uri: str, rows: Callable[[], Iterator[Row]]) -> Iterator[Item]:
    """The rows of `uri` as Items, streaming. Raises SourceError naming both rows if two have the same id.

    Remembers a hash of each id, some 70 bytes a row; `rows` is called again only to find the first of two equal ones.
    """
    seen: set[int] = set()
    for row in rows():
        key = hash(row.fragment)
        if key in seen:
            first = next(other for other in rows() if other.fragment == row.fragment)
            if first.where != row.where:
                raise SourceError(f"two rows of {uri} have the id {row.fragment}: {first.where} and {row.where}")
        seen.add(key)
        yield Item(f"{uri}#{row.fragment}", row.size, None, _version(row), ROW, row.metadata, row.content)


def _version(row: Row) -> str | None:
    if row.content is None:
        return None
    return hashlib.blake2b(row.content + _canonical(row.metadata), digest_size=16).hexdigest()


def read_row(item: Item) -> bytes:
    """The content that the listing gave a row. Raises Rejected if it was too long to be held."""
    if item.content is None:
        raise Rejected(f"{item.uri} is a line of {item.size} bytes, over the {MAX_LINE} that one may have")
    return item.content


class JsonLines:
    """The lines of JSON Lines files, compressed ones (.gz, .bz2, .xz, .zst) included.

    A row without an id goes by its line number, from 1. Blank lines are nothing.
    """

    def __init__(self, files: Tree) -> None:
        self._files = files
        self.name = f"jsonl:{files.name}"

    def list(self) -> Iterator[Item]:
        """Every row, file by file, in order. Raises SourceError if a file cannot be read to its end."""
        for file in self._files.list():
            yield from items(file.uri, lambda file=file: self._rows(file))  # type: ignore[misc]

    def read(self, item: Item, limit: int | None = None) -> bytes:
        """The row. Raises Rejected."""
        return read_row(item)

    def covers(self, uri: str) -> bool:
        """Whether `uri` is a row of one of the files; neither need exist (any more)."""
        file, _, fragment = uri.rpartition("#")
        return fragment != "" and self._files.covers(file)

    def _rows(self, file: Item) -> Iterator[Row]:
        number = 0
        try:
            with self._files.open(file) as raw, _decompressed(raw, file.uri) as stream:
                while line := stream.readline(MAX_LINE + 1):
                    number += 1
                    where = f"line {number}"
                    if len(line) > MAX_LINE and not line.endswith(b"\n"):
                        size = len(line)
                        while line and not line.endswith(b"\n"):
                            line = stream.readline(2**20)
                            size += len(line)
                        yield Row(_by_place(where), where, size, None)
                    elif line.strip():
                        yield _parse(line, where)
        except (Rejected, Transient) as error:
            raise SourceError(f"cannot list the rows of {file.uri}: {error}") from error
        except SourceError:
            raise
        except Exception as error:  # whatever a decompressor or a driver raises
            raise SourceError(f"{file.uri} cannot be read after line {number}: {error}") from error


def _parse(line: bytes, where: str) -> Row:
    try:
        value = json.loads(line)
        if isinstance(value, dict):
            return make_row(value, where)
    except (ValueError, RecursionError):
        pass
    # Not ours to drop: the parser rejects it with the reason.
    return Row(_by_place(where), where, len(line), line)


def _decompressed(stream: BinaryIO, uri: str) -> BinaryIO:
    from fsspec.compression import compr
    from fsspec.utils import infer_compression

    kind = infer_compression(uri)
    return stream if kind is None else cast(BinaryIO, compr[kind](stream, mode="rb"))
