"""Documents inside of Office's: files that were dropped into a text, a slide or a sheet."""

from __future__ import annotations

import posixpath
import struct
from collections.abc import Iterable

from pipeline.errors import Rejected
from pipeline.parse import sniff
from pipeline.parse.decode import decode
from pipeline.parse.media import READERS
from pipeline.parse.ole import SIGNATURE, open_compound
from pipeline.parse.opc import Package
from pipeline.parse.takings import Takings
from pipeline.types import Member

# Where a program keeps a file as it is, and where Office does with a file of any kind, behind its names.
_AS_IT_IS = ("Package", "CONTENTS")
_NATIVE = "\x01Ole10Native"


def take_embedded(package: Package, names: Iterable[str], uri: str) -> tuple[list[Member], list[str]]:
    """The files that the parts `names` embed, and a warning if there are objects that are no files.

    The data behind charts is not among them: it belongs to these.
    """
    takings = Takings(uri)
    seen: set[str] = set()
    objects = 0
    for name in names:
        for kind, target, external in package.relations(name).values():
            if kind not in ("package", "oleObject") or external or target in seen:
                continue
            seen.add(target)
            try:
                data = package.part(target)
            except Rejected as reason:
                takings.refuse(posixpath.basename(target), str(reason))
                continue
            if data is None:
                continue
            found = _file_of(posixpath.basename(target), data)
            if found is None:
                objects += 1
            else:
                takings.take(*found)
    warnings = takings.warnings()
    if objects:
        warnings.append(f"objects of other programs lie in it ({objects:,}), which are not read but for their pictures")
    return takings.members, warnings


def _file_of(name: str, data: bytes) -> tuple[str, bytes] | None:
    """Name and bytes of an embedded file; None if it is an object that only its program knows."""
    if not data.startswith(SIGNATURE):
        return name, data
    try:
        with open_compound(data) as compound:
            for stream in _AS_IT_IS:
                if compound.exists(stream):
                    return _named(name, compound.openstream(stream).read())
            if compound.exists(_NATIVE):
                return _native(compound.openstream(_NATIVE).read())
    except (OSError, struct.error, ValueError):
        return None
    return None if sniff.by_first_bytes(data) == sniff.OLE else (name, data)


def _named(name: str, data: bytes) -> tuple[str, bytes] | None:
    known = READERS.get(sniff.by_first_bytes(data) or "")
    return (f"{posixpath.splitext(name)[0]}.{known.extensions[0]}", data) if known else None


def _native(stream: bytes) -> tuple[str, bytes]:
    """A file behind its name, its path, and the path of a copy ([MS-OLEDS] 2.3.6 and what Windows writes there)."""
    name, at = _text(stream, 6)
    _, at = _text(stream, at)
    length = struct.unpack_from("<I", stream, at + 4)[0]
    at += 8 + length
    size = struct.unpack_from("<I", stream, at)[0]
    return name or "object", stream[at + 4 : at + 4 + size]


def _text(stream: bytes, at: int) -> tuple[str, int]:
    end = stream.index(b"\0", at)
    return decode(stream[at:end])[0], end + 1
