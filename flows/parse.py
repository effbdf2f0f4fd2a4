"""What the parser sees of a file, for `corpusvec parse`: nothing is stored, and only chunks need a tokenizer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import Any, Self
from urllib.parse import quote

from connectors.sources.files import open_files
from pipeline.chunk import ChunkRules, chunk_document
from pipeline.config import Limits
from pipeline.documents import title_of
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.errors import Rejected, UsageError
from pipeline.members import INSIDE, member_uri
from pipeline.outline import Outline
from pipeline.parse import parse
from pipeline.parse.log import MEDIA_TYPE as LOG
from pipeline.parse.log import events_of
from pipeline.ports import Tokenizer
from pipeline.types import Chunk, Document, Item, Parsed, document_id
from pipeline.workers import Inline, Pool, Work

STDIN = "-"

_NAMES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class View:
    """A file as it is parsed. `rejected` is why it could not be, "" if it could; then `document` has its text.

    `events` are a log's, `chunks` None unless they were asked for.
    """

    name: str
    uri: str
    rejected: str = ""
    parsed: Parsed | None = None
    document: Document | None = None
    events: Sequence[Mapping[str, Any]] = ()
    chunks: Sequence[Chunk] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that `corpusvec parse --help` describes."""
        head = {"file": self.name, "uri": self.uri}
        if self.parsed is None or self.document is None:
            return {**head, "rejected": self.rejected}
        parsed, outline = self.parsed, Outline(self.document)
        found = {
            **head,
            "media_type": parsed.media_type,
            "title": parsed.title,
            "language": parsed.language,
            "metadata": dict(parsed.metadata),
            "warnings": list(parsed.warnings),
            "blocks": [
                {
                    "kind": block.kind,
                    "level": block.level,
                    "page": block.page,
                    "box": list(block.box) if block.box else None,
                    "heading_path": list(outline.context(block.start)),
                    "start": block.start,
                    "end": block.end,
                    "text": parsed.text[block.start : block.end],
                    "details": dict(block.details),
                }
                for block in parsed.blocks
            ],
            "members": [
                {
                    "name": member.name,
                    "uri": member_uri(self.uri, member.name),
                    "bytes": len(member.data),
                    "media_type": member.media_type,
                    "mtime": member.mtime,
                    "refused": member.refused,
                }
                for member in parsed.members
            ],
        }
        if parsed.media_type == LOG:
            found["events"] = list(self.events)
        if self.chunks is not None:
            found["chunks"] = [_chunk_dict(chunk) for chunk in self.chunks]
        return found


@dataclass(frozen=True, slots=True)
class Sight:
    """What is to be looked at: the bytes at `uri`, called `name` by whoever asks."""

    name: str
    uri: str
    data: bytes = field(repr=False)
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class Eye:
    """How a worker is set up: the folder of the model whose tokenizer counts, and the rules, if chunks are wanted."""

    model: Path | None = None
    rules: ChunkRules | None = None

    def __call__(self) -> Callable[[Sight], View]:
        """What looks: a View, or Rejected is raised."""
        return partial(_look, tokenizer=ModelTokenizer(self.model) if self.model else None, rules=self.rules)


def open_viewer(limits: Limits, eye: Eye) -> Viewer:
    """One that looks as a run would parse: in a process of its own with its limits, unless the settings want none."""
    if limits.parse_workers == 0:
        return Viewer(limits.max_document_bytes, Inline(eye()))
    return Viewer(limits.max_document_bytes, Pool(eye, 1, limits.parse_seconds, limits.parse_memory_mb))


@dataclass(frozen=True, slots=True)
class Viewer:
    """Reads files, and has them looked at by `work`, which is closed with it."""

    max_bytes: int
    work: Work[Sight, View]
    _stdin: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.work.close()

    def view(self, name: str) -> View:
        """The file `name`, "-" for stdin; FILE!/NAME is what is called NAME inside of it. Raises UsageError."""
        file, inside = self._split(name)
        uri = "stdin" if file == STDIN else open_files(file).name
        try:
            sight = Sight(name, uri, self._read(file, uri))
            view = self.work.submit(sight).result()
            for number, wanted in enumerate(inside):
                around = INSIDE.join([file, *inside[:number]])
                members = {member.name: member for member in view.parsed.members} if view.parsed else {}
                member = members.get(wanted) or next((members[one] for one in members if quote(one) == wanted), None)
                if member is None:
                    raise UsageError(f"there is no {wanted!r} inside of {around}{_there_are(list(members))}")
                if member.refused:
                    raise Rejected(member.refused)
                uri = member_uri(uri, member.name)
                view = self.work.submit(Sight(name, uri, member.data, member.media_type)).result()
            return view
        except Rejected as rejected:
            return View(name, uri, str(rejected))

    def _split(self, name: str) -> tuple[str, list[str]]:
        """The file on disk, and the names inside of it, the outermost first."""
        parts = name.split(INSIDE)
        if INSIDE not in name or _exists(name):
            return name, []
        # A folder may well be called `what!`.
        for count in range(len(parts) - 1, 0, -1):
            file = INSIDE.join(parts[:count])
            if file == STDIN or (_exists(file) and not Path(file).is_dir()):
                return file, parts[count:]
        return parts[0], parts[1:]

    def _read(self, file: str, uri: str) -> bytes:
        if file == STDIN:
            if not self._stdin:
                self._stdin.append(sys.stdin.buffer.read())
            return self._stdin[0]
        if Path(file).is_dir():
            raise UsageError(f"{file} is a folder: name the files in it")
        return open_files(file).read(Item(uri), self.max_bytes)


def _look(sight: Sight, tokenizer: Tokenizer | None, rules: ChunkRules | None) -> View:
    parsed = parse(sight.data, sight.uri, sight.media_type)
    document = Document(
        document_id(sight.uri), sight.uri, "", parsed.media_type, parsed.title or title_of(sight.uri), parsed.text,
        parsed.blocks, parsed.metadata,
    )  # fmt: skip
    events = list(events_of(sight.data, sight.uri)) if parsed.media_type == LOG else []
    chunks = None if tokenizer is None or rules is None else chunk_document(document, tokenizer, rules)
    return View(sight.name, sight.uri, "", parsed, document, events, chunks)


def described(view: View) -> str:
    """A view to read: what the file is, then its events, chunks or blocks in order, then what is inside of it."""
    return "\n".join(_lines(view))


def _lines(view: View) -> Iterator[str]:
    yield view.name
    if view.parsed is None or view.document is None:
        yield f"  rejected   {view.rejected}"
        return
    parsed = view.parsed
    yield f"  kind       {parsed.media_type}" + (f", language {parsed.language}" if parsed.language else "")
    if parsed.title:
        yield f"  title      {parsed.title}"
    for key, value in parsed.metadata.items():
        yield f"  {key:10} {_short(value)}"
    for warning in parsed.warnings:
        yield f"  warning    {warning}"
    yield f"  holds      {len(parsed.text):,} characters in {len(parsed.blocks):,} blocks" + (
        f", {len(parsed.members):,} documents inside" if parsed.members else ""
    )
    if view.chunks is not None:
        for chunk in view.chunks:
            pages = chunk.page if chunk.page == chunk.page_to else f"{chunk.page}–{chunk.page_to}"
            yield _head(
                f"chunk {chunk.position}", f"{len(chunk.token_ids):,} tokens",
                f"page {pages}" if chunk.page is not None else "", " > ".join(chunk.section),
            )  # fmt: skip
            yield indent(chunk.text, "    ")
    elif parsed.media_type == LOG:
        yield ""
        yield from map(_event, view.events)
    else:
        outline = Outline(view.document)
        for number, block in enumerate(parsed.blocks):
            yield _head(
                f"{number} {block.kind}" + (f" {block.level}" if block.level else ""),
                f"page {block.page}" if block.page is not None else "",
                "box " + " ".join(f"{edge:g}" for edge in map(round, block.box)) if block.box else "",
                " > ".join(outline.context(block.start)),
            )
            yield indent(parsed.text[block.start : block.end], "    ")
    if parsed.members:
        yield ""
    for member in parsed.members:
        kind = f", {member.media_type}" if member.media_type else ""
        yield f"  inside     {view.name}{INSIDE}{member.name}  " + (
            f"refused: {member.refused}" if member.refused else f"({len(member.data):,} bytes{kind})"
        )


def _head(*parts: str) -> str:
    return "\n  " + " · ".join(filter(None, parts))


def _event(event: Mapping[str, Any]) -> str:
    first, last = event["line_from"], event["line_to"]
    lines = f"{first}" if first == last else f"{first}–{last}"
    said = (event["timestamp"], event["level"], event["component"], event["template"])
    return f"  {lines:>9}  " + " · ".join(str(part).replace("\n", " ") for part in said if part)


def _chunk_dict(chunk: Chunk) -> dict[str, Any]:
    return {
        "position": chunk.position,
        "tokens": len(chunk.token_ids),
        "section": list(chunk.section),
        "page": chunk.page,
        "page_to": chunk.page_to,
        "start": chunk.start,
        "end": chunk.end,
        "context": chunk.context,
        "text": chunk.text,
        "details": dict(chunk.details),
    }


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _there_are(names: Sequence[str]) -> str:
    if not names:
        return ": it holds no documents"
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return f": it holds {', '.join(names[:_NAMES_SHOWN])}{more}"


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:300]}…"
