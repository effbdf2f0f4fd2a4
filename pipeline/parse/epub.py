"""EPUB books: HTML pages in a zip archive, and a file that says in which order they are read."""

from __future__ import annotations

import io
import posixpath
import zipfile
from typing import Any
from urllib.parse import unquote

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.parse.html import add_html
from pipeline.types import Parsed

_DC = "{http://purl.org/dc/elements/1.1/}"


def parse(data: bytes, uri: str) -> Parsed:
    """The chapters in reading order; one that is missing is a warning. Raises Rejected if damaged or locked."""
    builder = Builder()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            if "META-INF/encryption.xml" in package.namelist() and "META-INF/rights.xml" in package.namelist():
                raise Rejected("the book is locked by its publisher (DRM)")
            rootfile = _xml(package.read("META-INF/container.xml")).find(".//{*}rootfile").get("full-path")
            book = _xml(package.read(rootfile))
            paths = {item.get("id"): item.get("href") for item in book.iterfind("{*}manifest/{*}item")}
            for reference in book.iterfind("{*}spine/{*}itemref"):
                href = unquote(paths.get(reference.get("idref")) or "")
                path = posixpath.normpath(posixpath.join(posixpath.dirname(rootfile), href))
                try:
                    add_html(builder, builder.decode(package.read(path)))
                except KeyError:
                    builder.warn(f"the chapter {href or reference.get('idref')} is missing")
    except (zipfile.BadZipFile, KeyError, AttributeError, ValueError) as error:
        raise Rejected("the book is damaged: its list of chapters cannot be found") from error
    said = {name: "".join(book.itertext(f"{_DC}{name}")).strip() for name in ("title", "creator", "language", "date")}
    metadata = {"author": said["creator"], "language": said["language"], "created": said["date"]}
    return builder.build("application/epub+zip", said["title"], metadata)


def _xml(data: bytes) -> Any:
    from lxml import etree

    return etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, recover=True))
