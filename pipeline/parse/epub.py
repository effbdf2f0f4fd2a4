"""EPUB books: HTML pages in a zip archive, and a file that says in which order they are read."""

from __future__ import annotations

import posixpath
from typing import Any
from urllib.parse import unquote, urldefrag

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.parse.html import add_html
from pipeline.parse.opc import Package
from pipeline.types import Parsed

_DC = "{http://purl.org/dc/elements/1.1/}"
_PAGES = (None, "application/xhtml+xml", "text/html", "application/xml", "text/xml")


def parse(data: bytes, uri: str) -> Parsed:
    """The chapters in reading order; one that is missing is a warning. Raises Rejected if damaged or locked."""
    package = Package(data, "book")
    if package.part("META-INF/encryption.xml") and package.part("META-INF/rights.xml"):
        raise Rejected("the book is locked by its publisher (DRM)")
    container = package.xml("META-INF/container.xml")
    rootfile = None if container is None else container.find(".//{*}rootfile")
    main = "" if rootfile is None else rootfile.get("full-path") or ""
    book = package.xml(main)
    if book is None:
        raise Rejected("the book is damaged: its list of chapters cannot be found")
    builder = Builder()
    files = {item.get("id"): item for item in book.iterfind("{*}manifest/{*}item")}
    for reference in book.iterfind("{*}spine/{*}itemref"):
        _add_chapter(builder, package, main, files.get(reference.get("idref")), reference.get("idref") or "")
    said = {name: _said(book, name) for name in ("title", "creator", "language", "date", "subject", "publisher")}
    first = {name: next(iter(found), "") for name, found in said.items()}
    metadata = {
        "author": ", ".join(said["creator"]),
        "subject": ", ".join(said["subject"]),
        "language": first["language"],
        "created": first["date"],
        "publisher": first["publisher"],
    }
    for warning in package.warnings():
        builder.warn(warning)
    return builder.build("application/epub+zip", first["title"], metadata)


def _add_chapter(builder: Builder, package: Package, main: str, file: Any, name: str) -> None:
    href = "" if file is None else unquote(urldefrag(file.get("href") or "")[0])
    if file is not None and file.get("media-type") not in _PAGES:
        return  # a picture that fills a page
    data = package.part(posixpath.normpath(posixpath.join(posixpath.dirname(main), href))) if href else None
    if data is None:
        builder.warn(f"the chapter {href or name} is missing or damaged")
    else:
        add_html(builder, builder.decode(data))


def _said(book: Any, name: str) -> list[str]:
    said = ("".join(element.itertext()).strip() for element in book.iterfind(f"{{*}}metadata//{_DC}{name}"))
    return list(dict.fromkeys(filter(None, said)))
