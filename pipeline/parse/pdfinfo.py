"""What a PDF says about itself: its information dictionary, and its XMP packet, which PDFium does not show."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from pipeline.parse.decode import join_halves

_DATE = re.compile(r"D?:?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:(Z)|([+-]\d\d)'?(\d\d)?)?")
_TOOL = re.compile(r"\AMicrosoft (?:Office )?(?:Word|PowerPoint|Excel) - ", re.I)
_FILE = re.compile(r"\S+\.(?:docx?|pptx?|xlsx?|dvi|tex|indd|qxd|pdf|rtf|odt|ps|fm|pmd|txt|html?)", re.I)

_CATALOG = re.compile(rb"/Type\s*/Catalog\b")
_REFERENCE = re.compile(rb"/Metadata\s+(\d+)\s+(\d+)\s+R")
_METADATA = re.compile(rb"/Type\s*/Metadata\b")
_STREAM = re.compile(rb">>\s*stream\r?\n")
_PACKET = re.compile(rb"<(\w+):RDF\b.*?</\1:RDF>", re.S)
_OF_IMAGE = re.compile(rb"xmlns:(?:tiff|exif|photoshop)=")
_MOST_PACKETS = 50
_LARGEST_PACKET = 1 << 20
_NEAR = 4096  # bytes between the names in a dictionary and its stream

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_PDF = "{http://ns.adobe.com/pdf/1.3/}"
_XMP = "{http://ns.adobe.com/xap/1.0/}"
_NAMES = {
    f"{_DC}title": "title", f"{_DC}creator": "author", f"{_DC}description": "subject", f"{_DC}subject": "keywords",
    f"{_PDF}Keywords": "keywords", f"{_DC}language": "language", f"{_DC}publisher": "publisher",
    f"{_DC}rights": "rights", f"{_XMP}CreateDate": "created", f"{_XMP}ModifyDate": "modified",
}  # fmt: skip


def described(data: bytes, information: Mapping[str, str], language: str) -> tuple[str, dict[str, Any]]:
    """Title and metadata of a PDF, as its information dictionary has them, else its XMP packet.

    The name of a file is no title. Dates are ISO 8601.
    """
    xmp = _xmp(data)
    titles = _TOOL.sub("", information.get("Title", "").strip()), xmp.pop("title", "")
    title = next((title for title in titles if title and not _FILE.fullmatch(title)), "")
    created, modified = _iso(xmp.pop("created", "")), _iso(xmp.pop("modified", ""))
    metadata = {
        **xmp,
        **{
            key: value
            for key in ("author", "subject", "keywords")
            if (value := information.get(key.title(), "").strip())
        },
        "created": _date(information.get("CreationDate", "")) or created,
        "modified": _date(information.get("ModDate", "")) or modified,
    }
    if language:
        metadata["language"] = language
    return title, metadata


def _date(text: str) -> str | None:
    """A PDF date as ISO 8601; None if it is none."""
    found = _DATE.match(text.strip())
    if not found:
        return None
    year, month, day, hour, minute, second, utc, hours, minutes = found.groups()
    zone = "+00:00" if utc else f"{hours}:{minutes or '00'}" if hours else ""
    return _iso(f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}{zone}")


def _iso(text: str) -> str | None:
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return None


def _xmp(data: bytes) -> dict[str, str]:
    """What the document's XMP packet says; {} if there is none that can be read."""
    for packet in _packets(data):
        found = _read(packet)
        if found:
            return found
    return {}


def _packets(data: bytes) -> Iterator[bytes]:
    """The packet that the catalog names; else, since images have theirs too, the last that is none of those."""
    for catalog in islice(_CATALOG.finditer(data), _MOST_PACKETS):
        start = data.rfind(b"obj", 0, catalog.start())
        named = _REFERENCE.search(data, start, data.find(b"endobj", start) % (len(data) + 1))
        if named:
            at = data.rfind(b"\n%b %b obj" % named.groups()) + 1 or data.rfind(b"\r%b %b obj" % named.groups()) + 1
            if at and (stream := _STREAM.search(data, at, at + _NEAR)):
                yield from _packet(data, stream.end())
    streams = list(islice(_METADATA.finditer(data), _MOST_PACKETS))
    for metadata in reversed(streams):
        if stream := _STREAM.search(data, metadata.end(), metadata.end() + _NEAR):
            yield from (packet for packet in _packet(data, stream.end()) if not _OF_IMAGE.search(packet))


def _packet(data: bytes, start: int) -> Iterator[bytes]:
    """The packet in the stream that starts here, deflated or not."""
    text = data[start : start + _LARGEST_PACKET]
    try:
        text = zlib.decompressobj().decompress(text, _LARGEST_PACKET)
    except zlib.error:
        text = text[: text.find(b"endstream")]
    if packet := _PACKET.search(text):
        yield packet.group()


def _read(packet: bytes) -> dict[str, str]:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    root = etree.fromstring(join_halves(packet), parser)
    said: dict[str, str] = {}
    for description in () if root is None else root.iterchildren():
        values = dict(description.attrib)
        for element in description.iterchildren(etree.Element):
            items = [(item.text or "").strip() for item in element.iter(f"{_RDF}li")]
            several = element.find(f"{_RDF}Alt") is None  # else they are one text in several languages
            values[element.tag] = ", ".join(filter(None, items if several else items[:1])) or element.text or ""
        for tag, name in _NAMES.items():
            if value := " ".join(values.get(tag, "").split()):
                said.setdefault(name, value)
    return said
