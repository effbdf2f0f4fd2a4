"""EPUB books: HTML pages in a zip archive, and a file that says in which order they are read."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
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
    """The chapters in reading order; one that is missing is a warning. Raises Rejected if damaged or locked.

    In a chapter that marks no headings they are told by the table of contents.
    """
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
    titles = _titles(package, main, files.values())
    for reference in book.iterfind("{*}spine/{*}itemref"):
        _add_chapter(builder, package, main, files.get(reference.get("idref")), reference.get("idref") or "", titles)
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


def _titles(package: Package, main: str, files: Iterable[Any]) -> dict[str, dict[str, int]]:
    """What the table of contents calls the chapters: path → title → level, from 1."""
    titles: dict[str, dict[str, int]] = {}
    for file in files:
        modern = "nav" in (file.get("properties") or "").split()
        if not modern and file.get("media-type") != "application/x-dtbncx+xml":
            continue
        path = _path(main, file.get("href") or "")
        root = package.xml(path)
        if root is None:
            continue
        for entry in root.iter("{*}a" if modern else "{*}navPoint"):
            target, label = (entry, entry) if modern else (entry.find("{*}content"), entry.find("{*}navLabel"))
            if target is None or label is None:
                continue
            outer = (str(each.tag).rpartition("}")[2] for each in entry.iterancestors())
            level = sum(name in ("ol", "navPoint") for name in outer) + (not modern)
            title = " ".join("".join(label.itertext()).split())
            titles.setdefault(_path(path, target.get("href") or target.get("src") or ""), {}).setdefault(title, level)
    return titles


def _path(base: str, href: str) -> str:
    """Where `href`, said in the part `base`, leads; "" if it leads nowhere."""
    href = unquote(urldefrag(href)[0])
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), href)) if href else ""


def _add_chapter(
    builder: Builder, package: Package, main: str, file: Any, name: str, titles: Mapping[str, Mapping[str, int]]
) -> None:
    href = "" if file is None else unquote(urldefrag(file.get("href") or "")[0])
    if file is not None and file.get("media-type") not in _PAGES:
        return  # a picture that fills a page
    path = "" if file is None else _path(main, file.get("href") or "")
    data = package.part(path) if path else None
    if data is None:
        builder.warn(f"the chapter {href or name} is missing or damaged")
    else:
        first = builder.size
        add_html(builder, builder.decode(data))
        builder.raise_headings(first, titles.get(path, {}))


def _said(book: Any, name: str) -> list[str]:
    said = ("".join(element.itertext()).strip() for element in book.iterfind(f"{{*}}metadata//{_DC}{name}"))
    return list(dict.fromkeys(filter(None, said)))
