"""Word documents: the body in document order, with what its styles say about structure."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.types import Parsed

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
# Deleted and moved-away text, field codes, the same shape once more for old programs, and text boxes, which come after.
_UNREAD = {f"{_W}{name}" for name in ("del", "moveFrom", "instrText", "delText", "rPr", "pPr", "txbxContent")} | {
    _FALLBACK
}
_MARKS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-", f"{_W}ptab": "\t"}
_HEADING = re.compile(r"heading (\d)\Z", re.I)
_BODY_TEXT = 9  # an outline level that says "no heading"
_NOTES = ("footnotes", "endnotes")


def parse(data: bytes, uri: str) -> Parsed:
    """Headings with their level, paragraphs, list items, tables (a block each), text boxes and foot- and endnotes.

    Insertions count, deletions do not; headers, footers and comments are left out. Core properties become title and
    metadata. Raises Rejected if the package is damaged.
    """
    from docx import Document
    from docx.opc.exceptions import PackageNotFoundError

    try:
        document = Document(io.BytesIO(data))
    except (PackageNotFoundError, KeyError, ValueError) as error:
        raise Rejected("the Word document is damaged: its parts do not fit together") from error
    builder = Builder()
    reader = _Reader(document, builder)
    reader.add(document.element.body)
    _add_notes(document, builder)
    title, metadata = _core(document)
    return builder.build(
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document", title or reader.title, metadata
    )


def _core(document: Any) -> tuple[str, dict[str, str | None]]:
    """Title and metadata. Where the package has no core properties, python-docx would make some up, dated today."""
    from docx.opc.constants import RELATIONSHIP_TYPE

    if not any(rel.reltype == RELATIONSHIP_TYPE.CORE_PROPERTIES for rel in document.part.package.rels.values()):
        return "", {}
    core = document.core_properties
    metadata: dict[str, str | None] = {
        "author": core.author,
        "subject": core.subject,
        "keywords": core.keywords,
        "language": core.language,
        "created": _iso(core, "created"),
        "modified": _iso(core, "modified"),
    }
    return core.title, metadata


def _iso(core: Any, name: str) -> str | None:
    try:
        date = getattr(core, name)
    except ValueError:  # a date that is none
        return None
    return date.isoformat() if date else None


class _Reader:
    """Walks the body itself: python-docx passes over content controls, tracked insertions and text boxes."""

    def __init__(self, document: Any, builder: Builder) -> None:
        self.title = ""
        self._builder = builder
        self._styles = {style.element.styleId: style.element for style in document.styles}
        self._known: dict[str | None, tuple[str, int]] = {}

    def add(self, container: Any) -> None:
        """Append the blocks of `container`, in order."""
        for element in container.iterchildren():
            if element.tag == f"{_W}p":
                self._paragraph(element)
            elif element.tag == f"{_W}tbl":
                self._builder.add_table([_cell(cell) for cell in _inside(row, "tc")] for row in _inside(element, "tr"))
            elif element.tag not in _UNREAD:
                self.add(element)

    def _paragraph(self, paragraph: Any) -> None:
        kind, level = self._kind(paragraph)
        text = _text(paragraph)
        if kind == "title":
            self.title = self.title or " ".join(text.split())
            kind = "heading"
        if kind == "heading":
            text = " ".join(text.split())
        self._builder.add(kind, text, level=level)
        for box in paragraph.iter(f"{_W}txbxContent"):
            if not any(ancestor.tag == _FALLBACK for ancestor in box.iterancestors()):
                self.add(box)

    def _kind(self, paragraph: Any) -> tuple[str, int]:
        """By the paragraph's own properties, else by its style's."""
        style = _value(paragraph, "pPr", "pStyle")
        if style not in self._known:
            self._known[style] = self._kind_of_style(style)
        kind, level = self._known[style]
        outline = _value(paragraph, "pPr", "outlineLvl")
        if outline and outline.isdecimal() and int(outline) < _BODY_TEXT:
            return "heading", int(outline) + 1
        numbered = _value(paragraph, "pPr", "numPr", "numId")
        if kind in ("paragraph", "list_item") and numbered:
            depth = _value(paragraph, "pPr", "numPr", "ilvl") or "0"
            return ("paragraph", 0) if numbered == "0" else ("list_item", int(depth) + 1)
        return kind, level

    def _kind_of_style(self, style: str | None) -> tuple[str, int]:
        seen: set[str] = set()
        while style and style in self._styles and style not in seen:
            seen.add(style)
            element = self._styles[style]
            name = (_value(element, "name") or "").lower()
            if heading := _HEADING.match(name):
                return "heading", int(heading.group(1))
            if name in ("title", "caption"):
                return name, 1 if name == "title" else 0
            outline = _value(element, "pPr", "outlineLvl")
            if outline and outline.isdecimal() and int(outline) < _BODY_TEXT:
                return "heading", int(outline) + 1
            if _value(element, "pPr", "numPr", "numId") or name.startswith("list "):
                depth = _value(element, "pPr", "numPr", "ilvl") or re.sub(r"\D", "", name) or "1"
                return "list_item", max(1, int(depth))
            style = _value(element, "basedOn")
        return "paragraph", 0


def _value(element: Any, *path: str) -> str | None:
    found = element.find("/".join(f"{_W}{name}" for name in path))
    return None if found is None else found.get(f"{_W}val")


def _inside(element: Any, name: str) -> Iterator[Any]:
    """The rows of a table, or the cells of a row, those in content controls included, nested tables' not."""
    for child in element.iterchildren():
        if child.tag == f"{_W}{name}":
            yield child
        elif child.tag not in _UNREAD and child.tag not in (f"{_W}p", f"{_W}tbl"):
            yield from _inside(child, name)


def _cell(cell: Any) -> str:
    return " ".join(filter(None, (_text(paragraph).strip() for paragraph in cell.iter(f"{_W}p"))))


def _text(element: Any) -> str:
    """The text of a paragraph, without that of paragraphs inside it."""
    parts: list[str] = []
    for child in element.iterchildren():
        if child.tag == f"{_W}t":
            parts.append(child.text or "")
        elif child.tag in _MARKS:
            parts.append(_MARKS[child.tag])
        elif child.tag not in _UNREAD:
            parts.append(_text(child))
    return "".join(parts)


def _add_notes(document: Any, builder: Builder) -> None:
    from docx.oxml import parse_xml

    for relation in document.part.rels.values():
        if relation.is_external or not relation.reltype.endswith(_NOTES):
            continue
        for note in parse_xml(relation.target_part.blob).iterchildren():
            # Separators are notes by form only.
            if note.get(f"{_W}type") in (None, "normal"):
                builder.add("footnote", "\n".join(_text(paragraph) for paragraph in note.iter(f"{_W}p")))
