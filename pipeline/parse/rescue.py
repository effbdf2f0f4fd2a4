"""A PDF that lost its end, or its table of contents: the pages that are still there, as a file that can be opened."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from itertools import pairwise

_OBJECT = re.compile(rb"(?<!\d)(\d{1,9})\s+\d{1,5}\s+obj\b")
_STREAM = re.compile(rb"stream\r?\n")
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")
_PACKED = re.compile(rb"/Type\s*/ObjStm(?![A-Za-z])")
_FIRST = re.compile(rb"/First\s+(\d{1,9})")
_KIDS = re.compile(rb"/Kids\s*\[([^\]]*)\]")
_REFERENCE = re.compile(rb"(\d{1,9})\s+\d+\s+R")
_LARGEST = 64 << 20  # bytes that packed objects may take


def rescued(data: bytes) -> bytes | None:
    """`data` with the pages found in it listed anew; None if there are none, or if they are encrypted."""
    if b"/Encrypt" in data:
        return None
    objects = dict(_objects(data))
    pages = [number for number, body in objects.items() if _PAGE.search(_STREAM.split(body, 1)[0])]
    if not pages:
        return None
    listed = [int(kid) for body in objects.values() for kids in _KIDS.findall(body) for kid in _REFERENCE.findall(kids)]
    place = {number: at for at, number in reversed([*enumerate(listed)])}
    pages.sort(key=lambda number: place.get(number, len(listed)))
    tree, catalog = max(objects) + 1, max(objects) + 2
    objects |= {
        tree: b"<</Type/Pages/Count %d/Kids[%b]>>" % (len(pages), b" ".join(b"%d 0 R" % number for number in pages)),
        catalog: b"<</Type/Catalog/Pages %d 0 R>>" % tree,
    }
    return _written(objects, catalog)


def _objects(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of every object, those packed into streams too; of one number the last is the newest."""
    found = list(_OBJECT.finditer(data))
    ends = [*(match.start() for match in found[1:]), len(data)]
    budget = _LARGEST
    for match, end in zip(found, ends, strict=False):
        body = data[match.end() : end]
        stream = _STREAM.search(body)
        if stream and _PACKED.search(body, 0, stream.start()):
            unpacked = _unpacked(body[stream.end() :], budget)
            budget -= len(unpacked)
            first = _FIRST.search(body, 0, stream.start())
            yield from _packed(unpacked, int(first[1]) if first else 0)
        else:
            closed = body.rfind(b"endobj")
            yield int(match[1]), body if closed < 0 else body[:closed]


def _unpacked(stream: bytes, budget: int) -> bytes:
    """What is in a deflated stream, as far as it goes."""
    inflate = zlib.decompressobj()
    parts: list[bytes] = []
    try:
        for at in range(0, len(stream), 4096):
            parts.append(inflate.decompress(stream[at : at + 4096], max(1, budget - sum(map(len, parts)))))
    except zlib.error:
        pass  # what came before is whole
    return b"".join(parts)


def _packed(unpacked: bytes, first: int) -> Iterator[tuple[int, bytes]]:
    numbers = [int(word) for word in unpacked[:first].split() if word.isdigit()]
    places = [*numbers[1::2], len(unpacked) - first]
    for number, (start, end) in zip(numbers[::2], pairwise(places), strict=False):
        yield number, unpacked[first + start : first + end]


def _written(objects: Mapping[int, bytes], catalog: int) -> bytes:
    parts = [b"%PDF-1.7\n"]
    places: dict[int, int] = {}
    length = len(parts[0])
    for number, body in objects.items():
        parts.append(b"%d 0 obj%b\nendobj\n" % (number, body if body[:1].isspace() else b"\n" + body))
        places[number] = length
        length += len(parts[-1])
    entries = b"".join(b"%d 1\n%010d 00000 n \n" % (number, place) for number, place in sorted(places.items()))
    end = b"xref\n0 1\n0000000000 65535 f \n%btrailer\n<</Size %d/Root %d 0 R>>\nstartxref\n%d\n%%%%EOF\n"
    return b"".join(parts) + end % (entries, catalog + 1, catalog, length)
