"""OpenDocument texts, spreadsheets and presentations: a few XML files in a zip archive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.parse.drawing import description
from pipeline.parse.links import described_links
from pipeline.parse.numbering import number
from pipeline.parse.odfchart import said_by
from pipeline.parse.odflist import STYLE, TEXT, List, list_styles
from pipeline.parse.opc import Package
from pipeline.parse.sheet import Area, Cells, add_sheet
from pipeline.types import Parsed

_OASIS = "{urn:oasis:names:tc:opendocument:xmlns:%s:1.0}"
_TABLE, _OFFICE, _DRAW, _META, _CHART = (_OASIS % name for name in ("table", "office", "drawing", "meta", "chart"))
_PRESENTATION, _SVG, _FO = (_OASIS % name for name in ("presentation", "svg-compatible", "xsl-fo-compatible"))
_DC = "{http://purl.org/dc/elements/1.1/}"
_FORMULA = ".//{http://www.w3.org/1998/Math/MathML}annotation"
_HREF = "{http://www.w3.org/1999/xlink}href"
_PARAGRAPH, _HEADING, _SOFT_BREAK = f"{TEXT}p", f"{TEXT}h", f"{TEXT}soft-page-break"
# Deleted text, reading aids, and the numbers of pages as they were when the file was last open.
_UNREAD = {f"{TEXT}{name}" for name in ("tracked-changes", "ruby-text", "page-number", "page-count", "note-citation")}
_UNREAD |= {f"{_OFFICE}forms", f"{TEXT}sequence-decls", f"{_TABLE}table-columns", f"{_TABLE}table-column"}
# What stands beside a text and is read after it.
_ASIDE = {f"{TEXT}note", f"{_OFFICE}annotation", f"{_DRAW}frame", f"{_DRAW}custom-shape", f"{_DRAW}g"}
_MARGINS = ("header", "header-left", "header-first", "footer", "footer-left", "footer-first")
_PAGE_OF = re.compile(r"\W*(?:\w{1,8}\W*)?(?:(?:of|von|de|sur|di|av|van|из)\W*)?")
# What a cell with a number shows where that stands for something else: TRUE, say.
_IN_WORDS = re.compile(r"\D+")
# A row or cell may be said to be repeated to the edge of the sheet.
_MOST_REPEATED = 1000
_MOST_SPACES = 64
_DEEPEST = 10  # the format has no more levels


def text(data: bytes, uri: str) -> Parsed:
    """Headings and list items with their numbers, paragraphs, tables; then what belongs to each: notes, comments, text
    boxes, charts, descriptions of pictures. Headers come first and footers last, each once. Pages are as the file knows
    them, None where it does not. Raises Rejected if damaged or encrypted.
    """
    return _parse(data, "text")


def spreadsheet(data: bytes, uri: str) -> Parsed:
    """Sheets, as pages: the name as a heading, rows with the names of their columns, then charts and comments."""
    return _parse(data, "spreadsheet")


def presentation(data: bytes, uri: str) -> Parsed:
    """Slides, as pages: titles as headings, then text, lists, tables and charts, and notes as footnotes."""
    return _parse(data, "presentation")


def _parse(data: bytes, kind: str) -> Parsed:
    package = Package(data, "OpenDocument file")
    if b"encryption-data" in (package.part("META-INF/manifest.xml") or b""):
        raise Rejected("encrypted: a password is needed")
    content = package.xml("content.xml")
    body = None if content is None else content.find(f"{_OFFICE}body/{_OFFICE}{kind}")
    if body is None:
        raise Rejected("the OpenDocument file is damaged: its content cannot be found")
    styles = package.xml("styles.xml")
    builder = Builder()
    reader = _Reader(builder, package, [root for root in (styles, content) if root is not None], body)
    if kind == "text":
        reader.run(body, styles)
    elif kind == "spreadsheet":
        reader.sheets(body)
    else:
        reader.slides(body)
    title, metadata = _described(package.xml("meta.xml"))
    metadata |= described_links(reader.links)
    for warning in package.warnings():
        builder.warn(warning)
    return builder.build(f"application/vnd.oasis.opendocument.{kind}", title or reader.title, metadata)


def _described(meta: Any) -> tuple[str, dict[str, Any]]:
    if meta is None:
        return "", {}
    found = {element.tag: (element.text or "").strip() for element in meta.iter() if isinstance(element.tag, str)}
    words = [element.text or "" for element in meta.iter(f"{_META}keyword")]
    own = {element.get(f"{_META}name") or "": element.text or "" for element in meta.iter(f"{_META}user-defined")}
    return found.get(f"{_DC}title", ""), {
        "author": found.get(f"{_META}initial-creator") or found.get(f"{_DC}creator"),
        "subject": found.get(f"{_DC}subject"),
        "description": found.get(f"{_DC}description"),
        "keywords": ", ".join(filter(None, words)),
        "language": found.get(f"{_DC}language"),
        "created": found.get(f"{_META}creation-date"),
        "modified": found.get(f"{_DC}date"),
        "custom": {name: value.strip() for name, value in own.items() if name and value.strip()},
    }


class _Reader:
    """Walks the content, keeping count of lists and pages."""

    def __init__(self, builder: Builder, package: Package, roots: list[Any], body: Any) -> None:
        self.links: dict[str, None] = {}
        self.title = ""
        self._builder = builder
        self._package = package
        self._places: dict[Any, str] = {}  # of comments, the cells that they are on
        self._inside = False  # a document that lies in this one
        self._page = 1 if next(body.iter(_SOFT_BREAK), None) is not None else None
        self._styles = {one.get(f"{STYLE}name"): one for root in roots for one in root.iter(f"{STYLE}style")}
        self._lists = list_styles(roots)
        self._outline = List(self._lists.get("", {}))
        self._named: dict[str, List] = {}  # lists that others may go on with

    def run(self, body: Any, styles: Any) -> None:
        """Append a text."""
        margins: dict[str, list[str]] = {"h": [], "f": []}
        for master in () if styles is None else styles.iter(f"{STYLE}master-page"):
            for name in _MARGINS:
                for paragraph in master.iterfind(f"{STYLE}{name}//{_PARAGRAPH}"):
                    line = " ".join(self._flat(paragraph, []).split())
                    if not _PAGE_OF.fullmatch(line) or next(paragraph.iter(f"{TEXT}page-number"), None) is None:
                        margins[name[0]].append(line)
        for line in dict.fromkeys(margins["h"]):
            self._builder.add("paragraph", line)
        self._add(body)
        for line in dict.fromkeys(margins["f"]):
            if line not in margins["h"]:
                self._builder.add("paragraph", line)

    def slides(self, body: Any) -> None:
        """Append a presentation."""
        for page, slide in enumerate(body.iterchildren(f"{_DRAW}page"), 1):
            self._page = page
            shapes = sorted(slide, key=lambda shape: shape.get(f"{_PRESENTATION}class") != "title")
            for shape in shapes:
                if shape.tag == f"{_PRESENTATION}notes":
                    lines = (self._flat(line, []) for frame in shape.iter(f"{_DRAW}text-box") for line in _lines(frame))
                    self._builder.add("footnote", "\n".join(filter(str.strip, lines)), page=page)
                elif shape.get(f"{_PRESENTATION}class") == "title":
                    title = " ".join(" ".join(self._flat(line, []) for line in _lines(shape)).split())
                    self._builder.add("heading", title, level=1, page=page)
                    self.title = self.title or title
                else:
                    self._add([shape])

    def sheets(self, body: Any) -> None:
        """Append a workbook."""
        for page, sheet in enumerate(body.iterchildren(f"{_TABLE}table"), 1):
            self._page = page
            aside: list[Any] = []
            cells, merged = self._cells(sheet, aside, placed=True)
            add_sheet(self._builder, sheet.get(f"{_TABLE}name") or "", cells, merged, page)
            self._add(sheet.iterchildren(f"{_TABLE}shapes"))
            self._beside(aside)

    # -- text --------------------------------------------------------------------------------------------------------

    def _add(
        self, elements: Any, list_: List | None = None, depth: int = 0, start: str | None = None, counts: bool = True
    ) -> None:
        """Append the blocks of `elements`; `depth` is that of the list around them, `start` where it counts anew, and
        the first paragraph has its next number if it `counts`.
        """
        for element in elements:
            tag = element.tag
            if tag in (_PARAGRAPH, _HEADING):
                self._paragraph(element, list_ if counts else None, depth, start)
                counts = False
            elif tag == f"{TEXT}list":
                inner = self._list(element, list_, depth)
                for item in element.iterchildren(f"{TEXT}list-item", f"{TEXT}list-header"):
                    heads = item.tag == f"{TEXT}list-header"
                    self._add(item, inner, depth + 1, item.get(f"{TEXT}start-value"), not heads)
            elif tag == f"{_TABLE}table":
                self._table(element)
            elif tag == _SOFT_BREAK:
                self._turn_page()
            elif tag in _ASIDE:
                self._beside([element])
            elif tag == f"{_DRAW}object":
                self._object(element)
            elif tag not in _UNREAD:
                self._add(element, list_, depth)

    def _list(self, element: Any, outer: List | None, depth: int) -> List:
        if depth and outer is not None:
            return outer
        before = element.get(f"{TEXT}continue-list") or ""
        style = element.get(f"{TEXT}style-name") or ""
        goes_on = before in self._named or element.get(f"{TEXT}continue-numbering") == "true"
        found = self._named.get(before or f"style {style}") if goes_on else None
        found = found or List(self._lists.get(style, {}) if style else {})
        for name in (element.get("{http://www.w3.org/XML/1998/namespace}id"), f"style {style}"):
            if name:
                self._named[name] = found
        return found

    def _paragraph(self, element: Any, list_: List | None, depth: int, start: str | None) -> None:
        chain = list(self._chain(element.get(f"{TEXT}style-name")))
        if self._page is not None and self._begins_page(chain):
            self._turn_page()
        page = self._page
        aside: list[Any] = []
        text = self._flat(element, aside)
        if element.tag == _HEADING:
            level = max(1, min(_DEEPEST, number(element.get(f"{TEXT}outline-level"), 1)))
            label = list_.label(depth, start) if list_ else self._outline.label(level)
            words = " ".join(text.split())
            self._builder.add("heading", f"{label} {words}" if label and words else words, level=level, page=page)
        elif any(style.get(f"{STYLE}name") == "Title" for style in chain) and not depth:
            self.title = self.title or " ".join(text.split())
            self._builder.add("heading", " ".join(text.split()), level=1, page=page)
        elif depth:
            label = list_.label(depth, start) if list_ else ""
            self._builder.add("list_item", f"{label} {text}" if label else text, level=depth, page=page)
        else:
            self._builder.add("paragraph", text, page=page)
        self._beside(aside)

    def _chain(self, name: str | None) -> Iterator[Any]:
        for _ in range(20):
            style = self._styles.get(name)
            if style is None:
                return
            yield style
            name = style.get(f"{STYLE}parent-style-name")

    def _begins_page(self, chain: list[Any]) -> bool:
        if not self._builder or not chain:
            return False
        if chain[0].get(f"{STYLE}master-page-name"):
            return True
        breaks = (style.find(f"{STYLE}paragraph-properties") for style in chain)
        return next((b.get(f"{_FO}break-before") == "page" for b in breaks if b is not None), False)

    def _turn_page(self) -> None:
        if self._page is not None:
            self._page += 1

    def _beside(self, elements: list[Any]) -> None:
        """Append what belongs to a paragraph: boxes and pictures, then notes and comments."""
        for element in elements:
            if element.tag in (f"{TEXT}note", f"{_OFFICE}annotation"):
                continue
            for name in ("title", "desc"):
                self._builder.add("caption", description(element.findtext(f"{_SVG}{name}")), page=self._page)
            self._add(child for child in element if child.tag not in (f"{_SVG}title", f"{_SVG}desc"))
        for element in elements:
            if element.tag == f"{TEXT}note":
                body = element.find(f"{TEXT}note-body")
                lines = [] if body is None else [self._flat(line, []) for line in _lines(body)]
                self._builder.add("footnote", "\n".join(lines), page=self._page)
            elif element.tag == f"{_OFFICE}annotation":
                said = "\n".join(self._flat(line, []) for line in _lines(element)).strip()
                author = (element.findtext(f"{_DC}creator") or "").strip()
                who = ", ".join(filter(None, (self._places.get(element), author)))
                self._builder.add("footnote", f"{who}: {said}" if who and said else said, page=self._page)

    def _object(self, element: Any) -> None:
        """Append what a document says that lies in this one: a chart, a formula, a text or a sheet."""
        folder = (element.get(_HREF) or "").removeprefix("./").strip("/")
        if not folder or self._inside:
            self._add(element)
            return
        root = self._package.xml(f"{folder}/content.xml")
        if root is None:
            self._builder.warn(f"what lies in the document as {folder} is missing")
            return
        for chart in root.iter(f"{_CHART}chart"):
            for text in said_by(chart):
                self._builder.add("caption", text, page=self._page)
        self._builder.add("paragraph", root.findtext(_FORMULA) or "", page=self._page)
        self._inside = True
        for body in root.iterfind(f"{_OFFICE}body"):
            self._add(inside for inside in body if inside.tag != f"{_OFFICE}chart")
        self._inside = False

    def _flat(self, element: Any, aside: list[Any]) -> str:
        """The text of a paragraph, in which spaces and line breaks are elements; what is beside it goes to `aside`."""
        parts = [element.text or ""]
        for child in element:
            tag = child.tag
            if tag in _ASIDE:
                aside.append(child)
            elif tag == f"{TEXT}s":
                parts.append(" " * min(_MOST_SPACES, number(child.get(f"{TEXT}c"), 1)))
            elif tag == f"{TEXT}tab":
                parts.append("\t")
            elif tag == f"{TEXT}line-break":
                parts.append("\n")
            elif tag == _SOFT_BREAK:
                self._turn_page()
            elif tag not in _UNREAD:
                if tag == f"{TEXT}a" and not (child.get(_HREF) or "#").startswith("#"):
                    self.links[child.get(_HREF)] = None
                parts.append(self._flat(child, aside))
            parts.append(child.tail or "")
        return "".join(parts)

    # -- tables ------------------------------------------------------------------------------------------------------

    def _table(self, table: Any) -> None:
        page = self._page
        rows = list(_rows(table))
        widths = [sum(cell.tag == f"{_TABLE}table-cell" for cell in _row_cells(row)) for row in rows]
        if max(widths, default=0) < 2 or next(table.iter(_HEADING), None) is not None:
            for row in rows:  # it lays out a page, or frames a text
                for cell in _row_cells(row):
                    self._add(cell)
            return
        aside: list[Any] = []
        cells, merged = self._cells(table, aside)
        for top, left, bottom, _ in merged:
            for row in range(top + 1, bottom + 1):
                cells.setdefault(row, {}).setdefault(left, cells.get(top, {}).get(left, ""))
        width = max((max(row) for row in cells.values() if row), default=0)
        lines = ([cells[row].get(column, "") for column in range(1, width + 1)] for row in sorted(cells))
        self._builder.add_table(lines, page=page)
        self._beside(aside)

    def _cells(self, table: Any, aside: list[Any], placed: bool = False) -> tuple[Cells, list[Area]]:
        """What cells show, and which were made one; what stands beside their text is added to `aside`.

        `placed` is whether comments are to say which cell they are on.
        """
        cells: Cells = {}
        merged: list[Area] = []
        at = 0
        for row in _rows(table):
            line: dict[int, str] = {}
            column = 0
            for cell in _row_cells(row):
                times = max(1, number(cell.get(f"{_TABLE}number-columns-repeated"), 1))
                beside: list[Any] = []
                text = self._shown(cell, beside) if cell.tag == f"{_TABLE}table-cell" else ""
                if placed and beside:
                    self._places |= dict.fromkeys(beside, f"{_letters(column)}{at + 1}")
                aside += beside
                if text:
                    line |= dict.fromkeys(range(column + 1, column + 1 + self._times(times)), text)
                down, across = (number(cell.get(f"{_TABLE}number-{way}-spanned"), 1) for way in ("rows", "columns"))
                if down > 1 and text:
                    bottom = min(at + down, at + _MOST_REPEATED)
                    merged.append((at + 1, column + 1, bottom, column + max(1, across)))
                column += times
            times = max(1, number(row.get(f"{_TABLE}number-rows-repeated"), 1))
            if line:
                cells |= {at + 1 + more: dict(line) for more in range(self._times(times))}
            at += times
        return cells, merged

    def _times(self, times: int) -> int:
        if times > _MOST_REPEATED:
            self._builder.warn(f"cells that say the same more than {_MOST_REPEATED:,} times over are kept so often")
        return min(times, _MOST_REPEATED)

    def _shown(self, cell: Any, aside: list[Any]) -> str:
        kind = cell.get(f"{_OFFICE}value-type")
        shown = " ".join(" ".join(self._flat(line, aside) for line in _lines(cell)).split())
        aside += cell.iterchildren(*_ASIDE)
        if kind == "date":
            return (cell.get(f"{_OFFICE}date-value") or shown).removesuffix("T00:00:00").replace("T", " ")
        if kind == "float" and (value := cell.get(f"{_OFFICE}value")) and not _IN_WORDS.fullmatch(shown):
            try:
                return f"{float(value):.15g}"
            except ValueError:
                return shown
        return shown


def _letters(column: int) -> str:
    """What a sheet calls its column, counted from 0."""
    return (_letters(column // 26 - 1) if column > 25 else "") + chr(ord("A") + column % 26)


def _rows(table: Any) -> Iterator[Any]:
    """The rows of a table, those of groups and headers among them, those of tables inside not."""
    for child in table:
        if child.tag == f"{_TABLE}table-row":
            yield child
        elif child.tag in (f"{_TABLE}table-rows", f"{_TABLE}table-row-group", f"{_TABLE}table-header-rows"):
            yield from _rows(child)


def _row_cells(row: Any) -> Iterator[Any]:
    yield from row.iterchildren(f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell")


def _lines(element: Any) -> Iterator[Any]:
    """The paragraphs below `element`, those of what stands beside its text not."""
    for child in element:
        if child.tag in (_PARAGRAPH, _HEADING):
            yield child
        elif child.tag not in _ASIDE and child.tag not in _UNREAD:
            yield from _lines(child)
