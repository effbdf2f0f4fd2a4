"""OpenDocument texts, spreadsheets and presentations: one XML file in a zip archive."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.types import Parsed

_OASIS = "{urn:oasis:names:tc:opendocument:xmlns:%s:1.0}"
_TEXT, _TABLE, _OFFICE, _DRAW = (_OASIS % name for name in ("text", "table", "office", "drawing"))
_DC = "{http://purl.org/dc/elements/1.1/}"
_META = _OASIS % "meta"
_BLOCKS = (f"{_TEXT}p", f"{_TEXT}h")
# Deleted text, comments and notes (which come after their paragraph).
_UNREAD = (f"{_TEXT}tracked-changes", f"{_OFFICE}annotation", f"{_TEXT}note", f"{_TEXT}ruby-text")
# A row or cell may be said to be repeated to the edge of the sheet.
_MOST_REPEATED = 64


def text(data: bytes, uri: str) -> Parsed:
    """Headings with their level, paragraphs, list items, tables and notes. Raises Rejected if damaged or encrypted."""
    return _parse(data, "text")


def spreadsheet(data: bytes, uri: str) -> Parsed:
    """Sheets, as pages: the sheet's name as a heading, then its rows."""
    return _parse(data, "spreadsheet")


def presentation(data: bytes, uri: str) -> Parsed:
    """Slides, as pages, with their notes."""
    return _parse(data, "presentation")


def _parse(data: bytes, kind: str) -> Parsed:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, huge_tree=True)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            names = package.namelist()
            if "META-INF/manifest.xml" in names and b"encryption-data" in package.read("META-INF/manifest.xml"):
                raise Rejected("encrypted: a password is needed")
            content = etree.fromstring(package.read("content.xml"), parser)
            meta = etree.fromstring(package.read("meta.xml"), parser) if "meta.xml" in names else None
    except (zipfile.BadZipFile, KeyError, etree.XMLSyntaxError) as error:
        raise Rejected("the OpenDocument file is damaged: its content cannot be found") from error
    builder = Builder()
    for body in content.iter(f"{_OFFICE}{kind}"):
        _add(builder, body, kind)
    found = {} if meta is None else {element.tag: (element.text or "").strip() for element in meta.iter()}
    return builder.build(
        f"application/vnd.oasis.opendocument.{kind}",
        found.get(f"{_DC}title", ""),
        {
            "author": found.get(f"{_META}initial-creator") or found.get(f"{_DC}creator"),
            "subject": found.get(f"{_DC}subject"),
            "language": found.get(f"{_DC}language"),
            "created": found.get(f"{_META}creation-date"),
            "modified": found.get(f"{_DC}date"),
        },
    )


def _add(builder: Builder, container: Any, kind: str, depth: int = 0, page: int | None = None) -> None:
    """Append the blocks of `container`; `depth` is that of the list around them."""
    for element in container.iterchildren():
        if element.tag in _UNREAD:
            continue
        if element.tag in _BLOCKS:
            _add_paragraph(builder, element, depth, page)
        elif element.tag == f"{_TABLE}table":
            if kind == "spreadsheet":
                page = (page or 0) + 1
                builder.add("heading", element.get(f"{_TABLE}name", ""), level=1, page=page)
            builder.add_table((list(_cells(row)) for row in element.iter(f"{_TABLE}table-row")), page=page)
        elif element.tag == f"{_DRAW}page":
            page = (page or 0) + 1
            _add(builder, element, kind, depth, page)
        else:
            _add(builder, element, kind, depth + (element.tag == f"{_TEXT}list"), page)


def _add_paragraph(builder: Builder, element: Any, depth: int, page: int | None) -> None:
    if element.tag == f"{_TEXT}h":
        level = element.get(f"{_TEXT}outline-level", "1")
        builder.add("heading", _flat(element), level=int(level) if level.isdecimal() else 1, page=page)
    else:
        builder.add("list_item" if depth else "paragraph", _flat(element), level=depth, page=page)
    for note in element.iter(f"{_TEXT}note-body"):
        builder.add("footnote", "\n".join(map(_flat, note.iter(*_BLOCKS))), page=page)


def _cells(row: Any) -> Iterator[str]:
    for cell in row.iterchildren(f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
        repeated = cell.get(f"{_TABLE}number-columns-repeated", "1")
        value = " ".join(map(_flat, cell.iter(*_BLOCKS)))
        yield from [value] * min(_MOST_REPEATED, int(repeated) if repeated.isdecimal() else 1)


def _flat(element: Any) -> str:
    """The text of a paragraph: spaces, tabs and line breaks are elements here."""
    parts = [element.text or ""]
    for child in element.iterchildren():
        if child.tag == f"{_TEXT}s":
            count = child.get(f"{_TEXT}c", "1")
            parts.append(" " * min(_MOST_REPEATED, int(count) if count.isdecimal() else 1))
        elif child.tag == f"{_TEXT}tab":
            parts.append("\t")
        elif child.tag == f"{_TEXT}line-break":
            parts.append("\n")
        elif child.tag not in _UNREAD:
            parts.append(_flat(child))
        parts.append(child.tail or "")
    return "".join(parts)
