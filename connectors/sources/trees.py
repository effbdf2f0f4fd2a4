"""What every source of files has in common: a walk in a stable order, URIs below a root, and what a glob covers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from connectors.sources.globs import Pattern
from pipeline.errors import Rejected
from pipeline.types import Item, Metadata

#: What a folder stands for: everything below it.
EVERYTHING = ("**",)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a folder's listing says of one name in it. `identity` tells folders apart, where links can make loops."""

    name: str
    is_folder: bool
    size: int | None = None
    mtime: float | None = None
    version: str | None = None
    identity: Hashable = None
    metadata: Metadata | None = None


class Tree(ABC):
    """The files below a root that a glob matches, in the order of their names, folder by folder.

    A file's URI is `root_uri`, the encoded names on the way to it, each behind a '/', and `suffix`. Without a pattern
    the root is itself the one file. What starts with '.' is hidden and skipped, unless the pattern spells the dot out.
    A link to a folder is followed unless it leads back to a folder that it lies in. One folder at a time is held in
    memory, the tree never is.
    """

    def __init__(self, name: str, root_uri: str, pattern: Sequence[str] | None, suffix: str = "") -> None:
        self.name = name
        self._root_uri = root_uri
        self._suffix = suffix
        self._pattern = None if pattern is None else Pattern(pattern)

    def list(self) -> Iterator[Item]:
        """Every file that matches. Raises SourceError naming the folder that cannot be listed."""
        root = self._look()
        if self._pattern is None:
            yield self._item((), root)
            return
        top: tuple[str, ...] = ()
        above: tuple[Hashable, ...] = (root.identity,)
        walk = [(top, self._pattern.start, above, iter(self._entries(top)))]
        while walk:
            folder, state, ancestors, entries = walk[-1]
            entry = next(entries, None)
            if entry is None:
                walk.pop()
                continue
            names = (*folder, entry.name)
            after = self._pattern.step(state, entry.name)
            if not entry.is_folder:
                if self._pattern.accepts(after):
                    yield self._item(names, entry)
            elif after and (entry.identity is None or entry.identity not in ancestors):
                walk.append((names, after, (*ancestors, entry.identity), iter(self._entries(names))))

    def covers(self, uri: str) -> bool:
        """Whether the file at `uri` is the root, or below it and matched; it need not exist (any more)."""
        names = self._names(uri)
        if self._pattern is None or not names:
            return names == [] and self._pattern is None
        return self._pattern.matches(names)

    def _uri(self, names: Sequence[str]) -> str:
        return "/".join([self._root_uri, *map(self._encode, names)]) + self._suffix

    def _item(self, names: Sequence[str], entry: Entry) -> Item:
        return Item(self._uri(names), entry.size, entry.mtime, entry.version, metadata=entry.metadata or {})

    def _names(self, uri: str) -> Sequence[str] | None:
        """The names below the root that `uri` spells, None if it is not one of our URIs, spelt as we do."""
        if not (uri.startswith(self._root_uri) and uri.endswith(self._suffix)):
            return None
        below = uri[len(self._root_uri) : len(uri) - len(self._suffix)]
        names = [self._decode(name) for name in below.split("/")[1:]]
        return names if self._uri(names) == uri and all(names) else None

    @abstractmethod
    def read(self, item: Item, limit: int | None = None) -> bytes:
        """The file's bytes. Raises Rejected (gone, unreadable, no regular file, over `limit` bytes) or Transient."""

    @abstractmethod
    def open(self, item: Item) -> BinaryIO:
        """The file's bytes as a stream. Raises as `read` does, and whatever the stream itself does later on."""

    @staticmethod
    def _too_large(item: Item, limit: int) -> Rejected:
        # Its listing said less, or nothing: what it said is judged before anything is read.
        return Rejected(f"{item.uri} has more than the {limit:,} bytes that max_document_bytes allows")

    @abstractmethod
    def _look(self) -> Entry:
        """The root itself. Raises SourceError if it has gone."""

    @abstractmethod
    def _entries(self, names: Sequence[str]) -> Iterator[Entry]:
        """What is in a folder, in the order of names. Raises SourceError."""

    @abstractmethod
    def _encode(self, name: str) -> str: ...

    @abstractmethod
    def _decode(self, name: str) -> str: ...
