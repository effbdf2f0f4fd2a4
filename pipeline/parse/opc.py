"""Packages of the Open Packaging Conventions, which Word, PowerPoint and Excel files are: parts in a zip archive."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
import zlib
from typing import Any, NamedTuple

_RELATIONS = "{http://schemas.openxmlformats.org/package/2006/relationships}"
# The strict dialect of Office Open XML has other names for the same things.
_STRICT = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/")
_TRANSITIONAL = rb"http://schemas.openxmlformats.org/\1/2006/"


class Relation(NamedTuple):
    """What a part refers to by an id: another part, or something outside of the package. `kind` is its type's name."""

    kind: str
    target: str
    external: bool


class Package:
    """The parts of a package by name, those that are damaged being as good as absent. Raises BadZipFile."""

    def __init__(self, data: bytes) -> None:
        self._archive = zipfile.ZipFile(io.BytesIO(data))
        self._names = {name.lower(): name for name in self._archive.namelist()}
        #: Parts that are there but cannot be read.
        self.damaged: list[str] = []

    def part(self, name: str) -> bytes | None:
        """The bytes of the part `name` (from the package's root, without a slash); None if it cannot be had."""
        found = self._names.get(name.lower())
        if found is None:
            return None
        try:
            return self._archive.read(found)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError):
            if name not in self.damaged:
                self.damaged.append(name)
            return None

    def xml(self, name: str) -> Any:
        """The root element of a part, as far as it is well-formed; None if it cannot be had."""
        from lxml import etree

        data = self.part(name)
        if data is None:
            return None
        if b"purl.oclc.org" in data[:20000]:
            data = _STRICT.sub(_TRANSITIONAL, data)
        parser = etree.XMLParser(
            resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True, huge_tree=True, recover=True
        )
        root = etree.fromstring(data, parser)
        if parser.error_log and name not in self.damaged:
            self.damaged.append(name)
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
