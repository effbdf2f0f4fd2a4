"""Word documents: the body in document order, with what its styles say about structure."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.errors import Rejected
from pipeline.parse import html
from pipeline.parse.builder import Builder
from pipeline.parse.numbering import Numbering, value_of
from pipeline.parse.opc import Package
from pipeline.parse.wordinfo import described, page_count
from pipeline.parse.wordtext import HARD_BREAK, SOFT_BREAK, Inline, R, W, inline, is_on
from pipeline.types import Parsed

_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_HEADING = re.compile(r"heading (\d)\Z")
_CONTENTS = re.compile(r"toc (\d)\Z")
_LISTED = re.compile(r"list(?: bullet| number)?(?: (\d))?\Z")
_BREAKS = re.compile(f"([{HARD_BREAK}{SOFT_BREAK}])")
# What is left of "Page 3 of 7" without its numbers.
_PAGE_OF = re.compile(r"\W*(?:\w{1,8}\W*)?(?:(?:of|von|de|sur|di|av|van|из)\W*)?")
_BODY_TEXT = 9  # an outline level that says "no heading"
_NEW_PAGE = {None, "nextPage", "oddPage", "evenPage"}
_UNREAD = {f"{W}{name}" for name in ("del", "moveFrom", "sectPr", "pPr", "tblPr", "tblGrid", "trPr", "tcPr", "sdtPr")}
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_MOST_LINKS = 50
_MOST_COLUMNS = 200
_FULLEST_PAGE = 6000  # characters


def parse(data: bytes, uri: str) -> Parsed:
    """Headings with their level, paragraphs, list items with their numbers, tables, notes, comments and text boxes.

    Changes are read as accepted. Footnotes, endnotes, comments (with their author), descriptions of pictures and text
    boxes follow the paragraph or table that they belong to; headers come first and footers last, each once. Pages are
    as the file knows them, None where it does not. Properties become title and metadata, those that somebody added
    under `custom`. Raises Rejected if the package is damaged.
    """
    try:
        package = Package(data)
    except zipfile.BadZipFile as error:
        raise Rejected("the Word document is damaged: its parts do not fit together") from error
    main = package.related("officeDocument") or "word/document.xml"
    root = package.xml(main)
    body = None if root is None else root.find(f"{W}body")
    if body is None:
        raise Rejected("the Word document is damaged: its text cannot be found")
    builder = Builder()
    reader = _Reader(package, main, root, builder)
    reader.run(body)
    title, metadata = described(package)
    metadata["links"] = list(dict.fromkeys(reader.links))[:_MOST_LINKS]
    for name in package.damaged:
        builder.warn(f"the part {name} is damaged; what could be read of it was")
    return builder.build(_MEDIA_TYPE, title or reader.title, metadata)


class _Style(NamedTuple):
    """What a style says of its paragraphs: kind and level, the list they are numbered in and their level there."""

    kind: str = "paragraph"
    level: int = 0
    numbers: str | None = None
    depth: int | None = None
    new_page: bool = False


class _Reader:
    """Walks the body, keeping count of lists and pages."""

    def __init__(self, package: Package, main: str, root: Any, builder: Builder) -> None:
        self.title = ""
        self.links: list[str] = []
        self._package = package
        self._main = main
        self._builder = builder
        self._relations = package.relations(main)
        styles = self._part("styles")
        elements = () if styles is None else styles.iterchildren(f"{W}style")
        self._elements = {style.get(f"{W}styleId"): style for style in elements}
        default = (
            id
            for id, style in self._elements.items()
            if style.get(f"{W}default") == "1" and style.get(f"{W}type") == "paragraph"
        )
        self._default = next(default, None)
        self._styles: dict[str | None, _Style] = {}
        self._numbering = Numbering(self._part("numbering"), self._elements.get)
        self._notes: dict[str, dict[str, Any]] = {}
        self._seen: set[tuple[str, str]] = set()
        self._page = 1 if _knows_pages(root, page_count(package)) else None
        self._fresh = True  # nothing is on this page yet
        self._held: list[Inline] = []  # paragraphs whose end was deleted, so that they go on in the next

    def _part(self, kind: str) -> Any:
        name = next((relation.target for relation in self._relations.values() if relation.kind == kind), None)
        return None if name is None else self._package.xml(name)

    def run(self, body: Any) -> None:
        """Append the document: headers, body, footers."""
        self._margins(body, "header")
        self.add(body)
        self._release()
        self._margins(body, "footer")

    def add(self, container: Any) -> None:
        """Append the blocks of `container`, in order."""
        for element in container.iterchildren():
            if element.tag == f"{W}p":
                self._paragraph(element)
            elif element.tag == f"{W}tbl":
                self._release()
                self._table(element)
            elif element.tag == f"{W}altChunk":
                self._embedded(element.get(f"{R}id"))
            elif element.tag not in _UNREAD:
                self.add(element)

    # -- paragraphs ------------------------------------------------------------------------------------------------

    def _paragraph(self, paragraph: Any) -> None:
        kind, level, label, style = self._kind(paragraph)
        found = inline(paragraph)
        properties = paragraph.find(f"{W}pPr")
        if style.new_page or is_on(properties, "pageBreakBefore"):
            self._turn_page(SOFT_BREAK)
        self._held.append(found)
        if properties is not None and properties.find(f"{W}rPr/{W}del") is not None:
            return
        self._release(kind, level, label)
        section = None if properties is None else properties.find(f"{W}sectPr")
        if section is not None and value_of(section, "type") in _NEW_PAGE:
            self._turn_page(SOFT_BREAK)

    def _release(self, kind: str = "paragraph", level: int = 0, label: str = "") -> None:
        """Append the paragraph that is held as what it ended up to be."""
        held, self._held = self._held, []
        pieces = self._pieces("".join(found.text for found in held))
        if kind in ("heading", "title"):
            text = " ".join("".join(piece for piece, _, _ in pieces).split())
            if kind == "title":
                self.title = self.title or text
            pieces = [(text, pieces[0][1], None)] if pieces else []
            kind = "heading"
        for number, (piece, page, gap) in enumerate(pieces):
            piece = f"{label} {piece.lstrip()}" if label and not number else piece
            self._builder.add(kind, piece, level=level, page=page, gap=gap)
        self._attached(held)

    def _pieces(self, text: str) -> list[tuple[str, int | None, str | None]]:
        """A paragraph's text by page; what the end of a page parts goes on overleaf as it would have on the page."""
        pieces: list[tuple[str, int | None, str | None]] = []
        overleaf = False
        for piece in _BREAKS.split(text):
            if piece in (HARD_BREAK, SOFT_BREAK):
                self._turn_page(piece)
                overleaf = piece == SOFT_BREAK
            elif piece.strip():
                self._fresh = False
                apart = pieces and (pieces[-1][0][-1].isspace() or piece[0].isspace())
                pieces.append((piece, self._page, (" " if apart else "") if pieces and overleaf else None))
                overleaf = False
        return pieces

    def _turn_page(self, sign: str) -> None:
        # Word notes where the page ended after a break that somebody made, too.
        if self._page is not None and (sign == HARD_BREAK or not self._fresh):
            self._page += 1
        self._fresh = True

    def _kind(self, paragraph: Any) -> tuple[str, int, str, _Style]:
        """Kind and level of a paragraph, its number in the list it is in, and its style: its own properties first."""
        own = paragraph.find(f"{W}pPr")
        style = self._style(value_of(own, "pStyle") or self._default)
        numbers = value_of(own, "numPr", "numId") or style.numbers
        if numbers == "0":
            numbers = None
        depth = _number(value_of(own, "numPr", "ilvl"), style.depth or 0)
        label = self._numbering.label(numbers, depth) if numbers else ""
        outline = _number(value_of(own, "outlineLvl"), _BODY_TEXT)
        if outline < _BODY_TEXT:
            return "heading", outline + 1, label, style
        if style.kind not in ("paragraph", "list_item"):
            return style.kind, style.level, label, style
        if numbers:
            return "list_item", depth + 1 if depth else max(1, style.level), label, style
        plain = style.kind == "paragraph" or (style.numbers is not None and not numbers)
        return ("paragraph", 0, "", style) if plain else ("list_item", style.level, "", style)

    def _style(self, name: str | None) -> _Style:
        if name not in self._styles:
            self._styles[name] = self._style_of(name)
        return self._styles[name]

    def _style_of(self, name: str | None) -> _Style:
        chain: list[str] = []
        while name and name in self._elements and name not in chain:
            chain.append(name)
            name = value_of(self._elements[name], "basedOn")
        elements = [self._elements[name] for name in chain]
        kind, level = next(filter(None, map(_kind_of_style, elements)), ("paragraph", 0))
        numbers = next(filter(None, (value_of(element, "pPr", "numPr", "numId") for element in elements)), None)
        depth = next((self._numbering.level_of(numbers, name) for name in chain if numbers), None)
        if depth is None:
            depths = (value_of(element, "pPr", "numPr", "ilvl") for element in elements)
            depth = _number(next(filter(None, depths), None), 0)
        new_page = next((is_on(e.find(f"{W}pPr"), "pageBreakBefore") for e in elements), False)
        return _Style(kind, level, numbers if numbers != "0" else None, depth, new_page)

    # -- tables ----------------------------------------------------------------------------------------------------

    def _table(self, table: Any) -> None:
        rows = [row for row in _inside(table, "tr") if row.find(f"{W}trPr/{W}del") is None]
        cells = [list(_inside(row, "tc")) for row in rows]
        if max(map(len, cells), default=0) < 2 or any(
            self._is_heading(p) for row in cells for c in row for p in _paragraphs(c)
        ):
            for row in cells:  # it lays out a page, or frames a text
                for cell in row:
                    self.add(cell)
            return
        attached: list[Inline] = []
        page = self._page
        above: dict[int, str] = {}
        texts: list[list[str]] = []
        for row, here in zip(rows, cells, strict=True):
            column = _number(value_of(row, "trPr", "gridBefore"), 0)
            line = [""] * column
            for cell in here:
                merged = cell.find(f"{W}tcPr/{W}vMerge")
                text = self._cell(cell, attached)
                if merged is not None and merged.get(f"{W}val") != "restart":
                    text = above.get(column, "")
                above[column] = text
                span = min(_MOST_COLUMNS, max(1, _number(value_of(cell, "tcPr", "gridSpan"), 1)))
                line += [text, *[""] * (span - 1)]
                column += span
            texts.append(line)
        caption = value_of(table, "tblPr", "tblCaption") or value_of(table, "tblPr", "tblDescription")
        self._builder.add("caption", caption or "", page=page)
        self._builder.add_table(texts, page=page)
        self._attached(attached)

    def _is_heading(self, paragraph: Any) -> bool:
        style = self._style(value_of(paragraph, "pPr", "pStyle") or self._default)
        return style.kind == "heading" and bool(inline(paragraph).text.strip())

    def _cell(self, cell: Any, attached: list[Inline]) -> str:
        """A cell's text in one line, with the numbers of lists in it; what is attached to it is added to `attached`."""
        parts: list[str] = []
        for paragraph in _paragraphs(cell):
            found = inline(paragraph)
            attached.append(found)
            label = self._kind(paragraph)[2]
            for piece in _BREAKS.split(found.text):
                if piece in (HARD_BREAK, SOFT_BREAK):
                    self._turn_page(piece)
                elif piece.strip():
                    self._fresh = False
                    parts += [label, piece]
                    label = ""
        return " ".join(filter(None, parts))

    # -- what belongs to a paragraph -------------------------------------------------------------------------------

    def _attached(self, found: Sequence[Inline]) -> None:
        for one in found:
            relations = [self._relations.get(link) for link in one.links]
            self.links += [relation.target for relation in relations if relation and relation.external]
            self.links += one.addresses
            for description in one.descriptions:
                self._builder.add("caption", description, page=self._page)
            for part in one.drawn:
                self._drawn(part)
            for box in one.boxes:
                self.add(box)
        for one in found:
            for kind, note in one.notes:
                self._note(kind, note)

    def _note(self, kind: str, note: str) -> None:
        if (kind, note) in self._seen:
            return
        self._seen.add((kind, note))
        if kind not in self._notes:
            root = self._part(kind)
            self._notes[kind] = (
                {} if root is None else {element.get(f"{W}id"): element for element in root.iterchildren()}
            )
        element = self._notes[kind].get(note)
        if element is None:
            return
        found = [inline(paragraph) for paragraph in _paragraphs(element)]
        text = "\n".join(filter(None, (_BREAKS.sub("", one.text).strip() for one in found)))
        author = element.get(f"{W}author") if kind == "comments" else None
        self._builder.add("footnote", f"{author}: {text}" if author and text else text, page=self._page)

    def _drawn(self, id: str) -> None:
        """What a diagram or chart says."""
        relation = self._relations.get(id)
        root = None if relation is None else self._package.xml(relation.target)
        for paragraph in () if root is None else root.iter(f"{_DRAWING}p"):
            self._builder.add(
                "caption", "".join(text.text or "" for text in paragraph.iter(f"{_DRAWING}t")), page=self._page
            )

    def _embedded(self, id: str | None) -> None:
        """A document of another kind within this one."""
        relation = self._relations.get(id or "")
        data = None if relation is None or relation.external else self._package.part(relation.target)
        if not data or not relation:
            return
        if relation.target.lower().endswith((".htm", ".html", ".xhtml", ".mht")):
            html.add_html(self._builder, self._builder.decode(data), self._page)
        elif relation.target.lower().endswith(".txt"):
            self._builder.add("paragraph", self._builder.decode(data), page=self._page)
        else:
            self._builder.warn(f"the embedded document {relation.target} was not read")

    def _margins(self, body: Any, kind: str) -> None:
        """The headers or footers that some page has, each once, without the numbers of pages."""
        settings = self._part("settings")
        even = settings is not None and settings.find(f"{W}evenAndOddHeaders") is not None
        for section in body.iter(f"{W}sectPr"):
            shown = {"default", *(["even"] if even else []), *(["first"] if is_on(section, "titlePg") else [])}
            for reference in section.iterchildren(f"{W}{kind}Reference"):
                relation = self._relations.get(reference.get(f"{R}id") or "")
                if relation is None or reference.get(f"{W}type") not in shown:
                    continue
                root = self._package.xml(relation.target)
                for paragraph in () if root is None else _paragraphs(root):
                    found = inline(paragraph)
                    text = " ".join(_BREAKS.sub("", found.text).split())
                    if not (found.counts_pages and _PAGE_OF.fullmatch(text)) and ("margin", text) not in self._seen:
                        self._seen.add(("margin", text))
                        self._builder.add("paragraph", text)


def _knows_pages(root: Any, pages: int | None) -> bool:
    """Whether the file says where its pages end: where they did when it was saved, or else where somebody ended them,
    if that leaves no more to a page than fits on one.
    """
    if next(root.iter(f"{W}lastRenderedPageBreak"), None) is not None:
        return True
    made = 0
    letters = 0
    for element in root.iter(f"{W}br", f"{W}pageBreakBefore", f"{W}sectPr", f"{W}t"):
        if element.tag == f"{W}t":
            letters += len(element.text or "")
        elif (
            element.get(f"{W}type") == "page"
            or (element.tag == f"{W}pageBreakBefore" and is_on(element.getparent(), "pageBreakBefore"))
            or (element.tag == f"{W}sectPr" and value_of(element, "type") in _NEW_PAGE)
        ):
            made += 1
            letters = 0
        if letters > _FULLEST_PAGE:
            return False
    # The last section ends with the document.
    return made > 1 and (pages is None or pages <= made)


def _kind_of_style(style: Any) -> tuple[str, int] | None:
    name = (value_of(style, "name") or "").lower()
    if heading := _HEADING.match(name):
        return "heading", max(1, int(heading[1]))
    if name in ("title", "caption"):
        return name, 1 if name == "title" else 0
    if contents := _CONTENTS.match(name):
        return "list_item", max(1, int(contents[1]))
    outline = _number(value_of(style, "pPr", "outlineLvl"), _BODY_TEXT)
    if outline < _BODY_TEXT:
        return "heading", outline + 1
    listed = _LISTED.match(name)
    return ("list_item", int(listed[1] or 1)) if listed else None


def _inside(element: Any, name: str) -> Iterator[Any]:
    """The rows of a table, or the cells of a row, those in content controls included, nested tables' not."""
    for child in element.iterchildren():
        if child.tag == f"{W}{name}":
            yield child
        elif child.tag not in _UNREAD and child.tag not in (f"{W}p", f"{W}tbl"):
            yield from _inside(child, name)


def _paragraphs(element: Any) -> Iterator[Any]:
    """The paragraphs below `element` in order, those of tables included, those of text boxes not."""
    for child in element.iterchildren():
        if child.tag == f"{W}p":
            yield child
        elif child.tag not in _UNREAD:
            yield from _paragraphs(child)


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else otherwise
