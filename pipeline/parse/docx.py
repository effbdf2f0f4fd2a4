"""Word documents: the body in document order, with what its styles say about structure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse import html
from pipeline.parse.builder import Builder
from pipeline.parse.drawing import said_by
from pipeline.parse.embedded import take_embedded
from pipeline.parse.links import described_links
from pipeline.parse.numbering import number, value_of
from pipeline.parse.opc import Package, described, page_count
from pipeline.parse.wordstyle import Styles
from pipeline.parse.wordtext import ALTERNATIVES, HARD_BREAK, SOFT_BREAK, Inline, R, W, inline, is_on, shows_placeholder
from pipeline.types import Parsed

_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_BREAKS = re.compile(f"([{HARD_BREAK}{SOFT_BREAK}])")
# What is left of "Page 3 of 7" without its numbers.
_PAGE_OF = re.compile(r"\W*(?:\w{1,8}\W*)?(?:(?:of|von|de|sur|di|av|van|из)\W*)?")
_NEW_PAGE = {None, "nextPage", "oddPage", "evenPage"}
_PARAGRAPH, _TABLE = f"{W}p", f"{W}tbl"
_UNREAD = {f"{W}{name}" for name in ("del", "moveFrom", "sectPr", "pPr", "tblPr", "tblGrid", "trPr", "tcPr", "sdtPr")}
_MOST_COLUMNS = 200
_FULLEST_PAGE = 6000  # characters


def parse(data: bytes, uri: str) -> Parsed:
    """Headings with their level, paragraphs, list items with their numbers, tables, notes, comments and text boxes.

    Changes are read as accepted. Footnotes, endnotes, comments (with their author), descriptions of pictures and text
    boxes follow the paragraph or table that they belong to; headers come first and footers last, each once. Pages are
    as the file knows them, None where it does not. Properties become title and metadata, those that somebody added
    under `custom`; files that are embedded are members. Raises Rejected if the package is damaged.
    """
    package = Package(data, "Word document")
    main, root = package.main("word/document.xml")
    body = root.find(f"{W}body")
    if body is None:
        raise Rejected("the Word document is damaged: its text cannot be found")
    builder = Builder()
    reader = _Reader(package, main, root, builder)
    reader.run(body)
    title, metadata = described(package)
    metadata |= described_links(reader.links)
    members, warnings = take_embedded(package, [main], uri)
    for warning in (*package.warnings(), *warnings):
        builder.warn(warning)
    return replace(builder.build(_MEDIA_TYPE, title or reader.title, metadata), members=members)


class _Reader:
    """Walks the body, keeping count of lists and pages."""

    def __init__(self, package: Package, main: str, root: Any, builder: Builder) -> None:
        self.title = ""
        self.links: list[str] = []
        self._package = package
        self._builder = builder
        self._relations = package.relations(main)
        self._styles = Styles(self._part("styles"), self._part("numbering"))
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
        for element in container:
            tag = element.tag
            if tag == _PARAGRAPH:
                self._paragraph(element)
            elif tag == _TABLE:
                self._release()
                self._table(element)
            elif tag == f"{W}altChunk":
                self._embedded(element.get(f"{R}id"))
            elif tag == ALTERNATIVES:
                self.add(element[0] if len(element) else element)
            elif tag not in _UNREAD and not (tag == f"{W}sdt" and shows_placeholder(element)):
                self.add(element)

    # -- paragraphs ------------------------------------------------------------------------------------------------

    def _paragraph(self, paragraph: Any) -> None:
        nature = self._styles.nature(paragraph)
        if nature.new_page:
            self._turn_page(SOFT_BREAK)
        self._held.append(inline(paragraph))
        if nature.joined:
            return
        self._release(nature.kind, nature.level, nature.label)
        if nature.section is not None and value_of(nature.section, "type") in _NEW_PAGE:
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
        for at, (piece, page, gap) in enumerate(pieces):
            piece = f"{label} {piece.lstrip()}" if label and not at else piece
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
            column = number(value_of(row, "trPr", "gridBefore"), 0)
            line = [""] * column
            for cell in here:
                merged = cell.find(f"{W}tcPr/{W}vMerge")
                text = self._cell(cell, attached)
                if merged is not None and merged.get(f"{W}val") != "restart":
                    text = above.get(column, "")
                above[column] = text
                span = min(_MOST_COLUMNS, max(1, number(value_of(cell, "tcPr", "gridSpan"), 1)))
                line += [text, *[""] * (span - 1)]
                column += span
            texts.append(line)
        caption = value_of(table, "tblPr", "tblCaption") or value_of(table, "tblPr", "tblDescription")
        self._builder.add("caption", caption or "", page=page)
        self._builder.add_table(texts, page=page)
        self._attached(attached)

    def _is_heading(self, paragraph: Any) -> bool:
        style = self._styles.style(value_of(paragraph, "pPr", "pStyle"))
        return style.kind == "heading" and bool(inline(paragraph).text.strip())

    def _cell(self, cell: Any, attached: list[Inline]) -> str:
        """A cell's text in one line, with the numbers of lists in it; what is attached to it is added to `attached`."""
        parts: list[str] = []
        for paragraph in _paragraphs(cell):
            found = inline(paragraph)
            attached.append(found)
            label = self._styles.nature(paragraph).label
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
        for text in () if root is None else said_by(root):
            self._builder.add("caption", text, page=self._page)

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
                for found in () if root is None else _with_boxes(root):
                    text = " ".join(_BREAKS.sub("", found.text).split())
                    if not (found.counts_pages and _PAGE_OF.fullmatch(text)) and ("margin", text) not in self._seen:
                        self._seen.add(("margin", text))
                        self._builder.add("paragraph", text)


def _with_boxes(root: Any) -> Iterator[Inline]:
    """What the paragraphs of a header say, and those of the boxes in it."""
    for paragraph in _paragraphs(root):
        found = inline(paragraph)
        yield found
        for box in found.boxes:
            yield from _with_boxes(box)


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
