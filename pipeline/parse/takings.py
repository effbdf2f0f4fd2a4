"""Taking members out of a document: names that are safe, readable and unique, and how much is too much."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterable

from pipeline.errors import Rejected
from pipeline.members import DEEPEST, depth
from pipeline.parse.decode import decode
from pipeline.types import Member

MOST_MEMBERS = 10_000
#: What the members of one document may come to, in bytes.
MOST_BYTES = 1 << 30

_LONGEST_NAME = 500
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffd]")
_DRIVE = re.compile(r"\A[A-Za-z]:(?=[\\/])")
_HALF = re.compile("[\udc80-\udcff]")
# What code page 437 shows where the bytes were meant in another encoding.
_ODD_IN_CP437 = re.compile("[\u0370-\u03ff\u2200-\u259f\u2300-\u23ff⌐¬½¼«»░ªº¿ⁿ¢₧ƒ■°∙·√²±÷≈≥≤]")


def check_depth(uri: str) -> None:
    """Raises Rejected if what is at `uri` lies too deep inside other documents for its members to be taken out."""
    if depth(uri) >= DEEPEST:
        raise Rejected(f"it lies inside of {DEEPEST} others and holds more, deeper than documents do: it may be a trap")


class Names:
    """Gives each member of a document a name of its own."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}
        #: How many names led out of the document, and were made to lead into it.
        self.outside = 0

    def unique(self, name: str, otherwise: str = "unnamed") -> str:
        """`name` without what is unsafe, unreadable or ambiguous in it; numbered if there is one like it already."""
        clean = self._clean(name) or otherwise
        folder, file = posixpath.split(clean)
        # Of a name that starts with a dot, that dot begins no suffix.
        stem, suffix = posixpath.splitext(file)
        first = clean
        while clean in self._taken:
            self._numbers[first] = number = self._numbers.get(first, 1) + 1
            clean = posixpath.join(folder, f"{stem} ({number}){suffix}")
        self._taken.add(clean)
        return clean

    def _clean(self, name: str) -> str:
        name = unicodedata.normalize("NFC", _UNSAFE.sub("_", name))
        slashed = _DRIVE.sub("", name).replace("\\", "/")
        parts = [part.strip() for part in slashed.split("/")]
        if slashed.startswith("/") or slashed != name.replace("\\", "/") or ".." in parts:
            self.outside += 1
        # A folder that ends in "!" would look like a document with members.
        kept = [re.sub(r"!\Z", "_", part) for part in parts if part not in ("", ".", "..")]
        return "/".join(kept)[-_LONGEST_NAME:].lstrip("/")


def readable(names: Iterable[bytes]) -> list[str]:
    """Names whose encoding nobody wrote down: UTF-8 if that is what they are, else what fits all of them together."""
    names = list(names)
    together = b"\n".join(names)
    try:
        return together.decode("utf-8").split("\n") if names else []
    except UnicodeDecodeError:
        pass
    read: list[str] = []
    for name in names:
        try:
            read.append(name.decode("utf-8"))
            continue
        except UnicodeDecodeError:
            dos = name.decode("cp437")
        # DOS wrote names in code page 437 (or one that has the same letters); others wrote what they used for text.
        read.append(dos if not _ODD_IN_CP437.search(dos) else decode(name)[0])
    return read


def whole(name: str) -> bytes:
    """The bytes of a name that was read as UTF-8, with what is not UTF-8 kept aside."""
    return name.encode("utf-8", "surrogateescape") if _HALF.search(name) else name.encode("utf-8", "replace")


class Takings:
    """Members as they are taken out, within the bounds; what is beyond them is refused, each with its reason."""

    def __init__(self, uri: str) -> None:
        self.names = Names()
        self.members: list[Member] = []
        self._uri = uri
        self._left = MOST_BYTES

    @property
    def left(self) -> int:
        """How many bytes more may be taken out."""
        return self._left

    @property
    def full(self) -> bool:
        """Whether there are as many members as there may be."""
        return len(self.members) >= MOST_MEMBERS

    def take(self, name: str, data: bytes, media_type: str | None = None, mtime: float | None = None) -> None:
        """Keep a member."""
        try:
            check_depth(self._uri)
            if len(data) > self._left:
                raise Rejected(too_much())
        except Rejected as reason:
            self.refuse(name, str(reason), mtime)
        else:
            self._left -= len(data)
            self.members.append(Member(self.names.unique(name), data, media_type, mtime))

    def refuse(self, name: str, reason: str, mtime: float | None = None) -> None:
        """Keep why a member could not be taken out."""
        self.members.append(Member(self.names.unique(name), b"", None, mtime, refused=reason))

    def warnings(self) -> list[str]:
        """What is to be said of the members together."""
        count = self.names.outside
        if not count:
            return []
        return [f"names that lead out of it were made to lead into it: {count}"]


def too_much() -> str:
    """Why a member is refused that would make the whole too large."""
    return f"with it more than {MOST_BYTES >> 20:,} MiB would be unpacked: it may be a trap; if not, split the archive"
