"""Documents inside documents: what they are called, and which are inside of which.

A member (a file in an archive, an attachment) is a document like any other, with a row in the ledger and points of its
own, but it is listed by the document that it is inside of, its parent: it is there as long as that is, and looked at
only when that is taken apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote

from pipeline.types import Item

#: Stands between what a document is called and the name of one inside of it.
INSIDE = "!/"

#: How deep documents may lie inside each other; a trap goes on for ever.
DEEPEST = 4

#: Bytes that may come out of one document that a source lists, whatever lies inside of what.
MOST_INSIDE = 4 << 30


class Inside(NamedTuple):
    """What is inside of a document: an item, its bytes' hash, and why it could not be taken out ("" if it could)."""

    item: Item
    content_hash: str
    fault: str


def member_uri(parent: str, name: str) -> str:
    """What the document `name` inside of `parent` is called; a name has no "!", since that is percent-encoded."""
    return f"{parent}{INSIDE}{quote(name)}"


def outer_uris(uri: str) -> Iterator[str]:
    """What a member's parent, the parent's parent and so on are called, the nearest first."""
    while INSIDE in uri:
        uri = uri.rpartition(INSIDE)[0]
        yield uri


def depth(uri: str) -> int:
    """How many documents a document lies inside of, by its name."""
    return uri.count(INSIDE)


def trap(outer: str, size: int, room: list[int]) -> str:
    """Why `size` bytes from inside of the document `outer` must not be looked at, "" if they may.

    `room` holds how many bytes may still come out of the outermost one.
    """
    if depth(outer) >= DEEPEST:
        return f"it lies inside of {DEEPEST} others, deeper than documents do: it may be a trap"
    if size > room[0]:
        return f"with it, more than {MOST_INSIDE >> 30} GiB would come out of one document: unpack that yourself"
    room[0] -= size
    return ""


class Members:
    """Which documents are inside of which, by their ids; in memory, since few documents have any."""

    def __init__(self, inside: Iterable[tuple[str, str]] = ()) -> None:
        """Of (document, parent)."""
        self._of: dict[str, list[str]] = {}
        for document, parent in inside:
            self._of.setdefault(parent, []).append(document)
        contained = {document for documents in self._of.values() for document in documents}
        #: Documents that have something inside, and that are in no other.
        self.outermost = [parent for parent in self._of if parent not in contained]

    def of(self, document: str) -> list[str]:
        """What is inside of a document, at any depth."""
        found = list(self._of.get(document, ()))
        for container in self.containers(document):
            found += self.of(container)
        return found

    def containers(self, document: str) -> list[str]:
        """What is inside of a document and has something inside itself."""
        return [one for one in self._of.get(document, ()) if one in self._of]
