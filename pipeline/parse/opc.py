"""Packages of the Open Packaging Conventions, which Word, PowerPoint and Excel files are: parts in a zip archive."""

from __future__ import annotations

import io
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from pipeline.errors import Rejected
from pipeline.parse.decode import join_halves

_RELATIONS = "{http://schemas.openxmlformats.org/package/2006/relationships}"
# The strict dialect of Office Open XML has other names for the same things.
_STRICT = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/")
_TRANSITIONAL = rb"http://schemas.openxmlformats.org/\1/2006/"
# A tree of it takes ten times as much.
_LARGEST_PART = 256 << 20
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError,
)  # fmt: skip

_DC = "{http://purl.org/dc/elements/1.1/}"
_TERMS = "{http://purl.org/dc/terms/}"
_CORE = "{http://schemas.openxmlformats.org/package/2006/metadata/core-properties}"
_APP = "{http://schemas.openxmlformats.org/officeDocument/2006/extended-properties}"
_CUSTOM = "{http://schemas.openxmlformats.org/officeDocument/2006/custom-properties}"
_NAMES = {
    "author": f"{_DC}creator", "subject": f"{_DC}subject", "keywords": f"{_CORE}keywords",
    "description": f"{_DC}description", "category": f"{_CORE}category", "language": f"{_DC}language",
}  # fmt: skip
_INTEGERS = ("i1", "i2", "i4", "i8", "int", "ui1", "ui2", "ui4", "ui8", "uint")
_MOST_CUSTOM = 100


class Relation(NamedTuple):
    """What a part refers to by an id: another part, or something outside of the package. `kind` is its type's name."""

    kind: str
    target: str
    external: bool


class Package:
    """The parts of a package by name, those that are damaged being as good as absent.

    `kind` is what people call such a file. Raises Rejected if it cannot be opened.
    """

    def __init__(self, data: bytes, kind: str) -> None:
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except _BROKEN as error:
            raise Rejected(f"the {kind} is damaged: its parts do not fit together") from error
        self._names = {info.filename.replace("\\", "/").lower(): info for info in self._archive.infolist()}
        self._kind = kind
        #: Parts that are there but cannot be read, or not to their end.
        self.damaged: list[str] = []

    def part(self, name: str) -> bytes | None:
        """The bytes of the part `name` (from the package's root, without a slash); None if it cannot be had.

        Raises Rejected if it unpacks to more than 256 MiB.
        """
        found = self._names.get(name.lower())
        if found is None:
            return None
        if found.file_size > _LARGEST_PART:
            raise Rejected(
                f"its part {name} unpacks to {found.file_size >> 20:,} MiB, more than the {_LARGEST_PART >> 20} MiB "
                f"that a {self._kind} may need: it may be a trap; if not, split it"
            )
        try:
            return self._archive.read(found)
        except _BROKEN:
            self.note(name)
            return None

    def xml(self, name: str) -> Any:
        """The root element of a part, as far as it is well-formed; None if it cannot be had.

        Entities are left out, and what is nested more than 256 deep or longer than 10 MB in one piece is damaged: the
        limits are libxml2's own.
        """
        from lxml import etree

        data = self.part(name)
        if data is None:
            return None
        if b"purl.oclc.org" in data[:20000]:
            data = _STRICT.sub(_TRANSITIONAL, data)
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True, recover=True
        )
        try:
            root = etree.fromstring(mended := join_halves(data), parser)
        except etree.XMLSyntaxError:  # there is no element at all
            root = None
        if root is None or parser.error_log or mended is not data:
            self.note(name)
        if root is not None and root.getroottree().docinfo.internalDTD is not None:
            etree.strip_elements(root, etree.Entity, with_tail=False)
        return root

    def relations(self, name: str = "") -> dict[str, Relation]:
        """What the part `name` refers to, by id; what the package itself does for ""."""
        folder, file = posixpath.split(name)
        root = self.xml(posixpath.join(folder, "_rels", f"{file}.rels"))
        found: dict[str, Relation] = {}
        for relation in () if root is None else root.iterchildren(f"{_RELATIONS}Relationship"):
            target, external = relation.get("Target") or "", relation.get("TargetMode") == "External"
            if not external:
                target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
            found[relation.get("Id") or ""] = Relation(
                (relation.get("Type") or "").rpartition("/")[2], target, external
            )
        return found

    def related(self, kind: str, name: str = "") -> str | None:
        """The name of the part that the part `name` refers to as its `kind`: the first, if there are several."""
        return next((r.target for r in self.relations(name).values() if r.kind == kind and not r.external), None)

    def main(self, usual: str) -> tuple[str, Any]:
        """Name and root of the part that holds the document, which is `usual` where the package does not say.

        Raises Rejected if it cannot be had.
        """
        name = self.related("officeDocument") or usual
        root = self.xml(name)
        if root is None:
            raise Rejected(f"the {self._kind} is damaged: its text cannot be found")
        return name, root

    def warnings(self) -> Iterator[str]:
        """A sentence for each damaged part."""
        return (f"the part {name} is damaged; what could be read of it was" for name in self.damaged)

    def note(self, name: str) -> None:
        """Remember that the part `name` is damaged."""
        if name not in self.damaged:
            self.damaged.append(name)


def described(package: Package) -> tuple[str, dict[str, Any]]:
    """Title and metadata: dates as ISO 8601, custom properties under `custom` as text, numbers and truth values."""
    core = _root(package, "core-properties")
    app = _root(package, "extended-properties")
    metadata: dict[str, Any] = {name: _text(core, tag) for name, tag in _NAMES.items()}
    metadata |= {
        "created": _date(_text(core, f"{_TERMS}created")),
        "modified": _date(_text(core, f"{_TERMS}modified")),
        "company": _text(app, f"{_APP}Company"),
        "custom": _custom(_root(package, "custom-properties")),
    }
    return _text(core, f"{_DC}title"), metadata


def page_count(package: Package) -> int | None:
    """How many pages the program that saved the document counted; None if it does not say."""
    pages = _text(_root(package, "extended-properties"), f"{_APP}Pages")
    return int(pages) if pages.isascii() and pages.isdigit() and int(pages) else None


def _root(package: Package, kind: str) -> Any:
    name = package.related(kind)
    return None if name is None else package.xml(name)


def _text(root: Any, tag: str) -> str:
    found = None if root is None else root.find(tag)
    return "" if found is None else (found.text or "").strip()


def _date(text: str) -> str | None:
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:  # a date that is none
        return None


def _custom(root: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for element in () if root is None else list(root.iterchildren(f"{_CUSTOM}property"))[:_MOST_CUSTOM]:
        value = next(element.iterchildren(), None)
        name = element.get("name")
        if value is None or not name or not (value.text or "").strip():
            continue
        kind, text = str(value.tag).rpartition("}")[2], value.text.strip()
        if kind == "bool":
            found[name] = text.lower() in ("true", "1")
        elif kind in _INTEGERS and text.removeprefix("-").isdecimal() and len(text) < 20:
            found[name] = int(text)
        else:
            found[name] = text
    return found
