"""Excel workbooks: sheets as pages, and each row with the names of its columns, so that it can stand alone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.parse.decode import join_halves
from pipeline.parse.drawing import CHARTS, A, description, said_by, text_of
from pipeline.parse.embedded import take_embedded
from pipeline.parse.links import described_links
from pipeline.parse.numbering import number
from pipeline.parse.opc import Package, Relation, described
from pipeline.parse.sheet import Area, Cells, add_sheet
from pipeline.types import Parsed

_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_S = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_THREADS = "{http://schemas.microsoft.com/office/spreadsheetml/2018/threadedcomments}"
_PLACE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})\Z")
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
# What in a number's format is not a sign for a part of it: words in quotes, colours, characters as they are.
_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!h+\]|m+\]|s+\])[^\]]*\]', re.I)
_DATES = {*range(14, 18), 22, *range(27, 32), 36, *range(50, 59)}
_TIMES = {18, 19, 20, 21, 32, 33, 34, 35, 45, 46, 47}
_MISSING = Relation("", "", True)
_ROWS, _COLUMNS = 1 << 20, 1 << 14


def parse(data: bytes, uri: str) -> Parsed:
    """Each sheet is a page: its name as a heading, its rows, then what its charts, shapes and comments say.

    Cells hold what they show: dates in ISO 8601, shares in per cent, results of formulas. Merged cells count in each
    row that they reach. Files that are embedded are members. Raises Rejected if the package is damaged.
    """
    package = Package(data, "Excel workbook")
    if (package.related("officeDocument") or "").endswith(".bin"):
        raise Rejected("it is a binary workbook (XLSB), which we cannot read: save it as XLSX")
    main, root = package.main("xl/workbook.xml")
    builder = Builder()
    book = _Book(package, main, root)
    read: dict[str, None] = {}
    for page, sheet in enumerate(root.iterfind(f"{_S}sheets/{_S}sheet"), 1):
        relation = book.relations.get(sheet.get(f"{_R}id") or "", _MISSING)
        title = sheet.get("name") or ""
        if relation.kind == "chartsheet":
            book.add_drawings(builder, relation.target, page)
        elif relation.target in read or not book.add(builder, title, relation.target, page):
            builder.warn(f"the sheet {title} is missing or damaged")
        read[relation.target] = None
    if book.uncomputed:
        builder.warn(f"the file has no results of some formulas ({book.uncomputed:,}): they were never computed")
    if book.missing:
        builder.warn(f"the texts of some cells ({book.missing:,}) are not in the file: it is damaged")
    title, metadata = described(package)
    metadata |= described_links(book.links)
    members, warnings = take_embedded(package, read, uri)
    for warning in (*package.warnings(), *warnings):
        builder.warn(warning)
    return replace(builder.build(_MEDIA_TYPE, title, metadata), members=members)


class _Book:
    """What the sheets of a workbook share: texts, formats of numbers, and the day that they count from."""

    def __init__(self, package: Package, main: str, root: Any) -> None:
        self.relations = package.relations(main)
        self.links: dict[str, None] = {}
        self.uncomputed = 0
        self.missing = 0
        self._package = package
        texts = self._part("sharedStrings")
        self._texts = [] if texts is None else [_text(item) for item in texts]
        self._forms = _forms(self._part("styles"))
        properties = root.find(f"{_S}workbookPr")
        since_1904 = properties is not None and properties.get("date1904") in ("1", "true")
        # Excel takes 1900 for a leap year: its day 60 never was.
        self._epoch = datetime(1904, 1, 1) if since_1904 else datetime(1899, 12, 30)

    def _part(self, kind: str) -> Any:
        name = next((relation.target for relation in self.relations.values() if relation.kind == kind), None)
        return None if name is None else self._package.xml(name)

    def add(self, builder: Builder, title: str, name: str, page: int) -> bool:
        """Append the sheet `title`, which is the part `name`; False if that cannot be had."""
        data = self._package.part(name)
        if data is None:
            return False
        cells, merged = self._read(data, name)
        add_sheet(builder, title, cells, merged, page)
        self.add_drawings(builder, name, page)
        return True

    def add_drawings(self, builder: Builder, name: str, page: int) -> None:
        """Append what lies on the sheet that is the part `name`: shapes, pictures, charts, comments."""
        relations = self._package.relations(name)
        threaded = any(relation.kind == "threadedComment" for relation in relations.values())
        for kind, target, external in relations.values():
            if kind == "hyperlink" and external:
                self.links[target] = None
            elif kind == "drawing":
                self._drawing(builder, target, page)
            elif kind == "comments":
                self._comments(builder, target, page, threaded)
            elif kind == "threadedComment":
                self._threads(builder, target, page)

    def _read(self, data: bytes, name: str) -> tuple[Cells, list[Area]]:
        from lxml import etree

        cells: Cells = {}
        merged: list[Area] = []
        row = 0
        whole = join_halves(data)
        events = etree.iterparse(
            io.BytesIO(whole), tag=("{*}row", "{*}mergeCell"), resolve_entities=False, no_network=True, recover=True
        )
        try:
            for _, element in events:
                if element.tag.endswith("mergeCell"):
                    first, _, last = (element.get("ref") or "").partition(":")
                    if (start := _place(first)) and (end := _place(last)):
                        merged.append((*start, *end))
                    continue
                row = number(element.get("r"), row + 1)
                if 0 < row <= _ROWS and (line := dict(self._cells(element))):
                    cells[row] = line
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
        except etree.XMLSyntaxError:  # there is no element at all
            self._package.note(name)
        if events.error_log or whole is not data:
            self._package.note(name)
        return cells, merged

    def _cells(self, row: Any) -> Iterator[tuple[int, str]]:
        column = 0
        for cell in row:
            place = _place(cell.get("r") or "")
            column = place[1] if place else column + 1
            if column <= _COLUMNS and (text := self._shown(cell).strip()):
                yield column, text

    def _shown(self, cell: Any) -> str:
        kind = cell.get("t")
        if kind == "inlineStr":
            return _text(cell)
        value: str | None = None
        formula = False
        for child in cell:
            tag = child.tag.rpartition("}")[2]
            if tag == "v":
                value = child.text
            formula |= tag == "f"
        if value is None:
            self.uncomputed += formula
            return ""
        if kind == "s":
            at = number(value, -1)
            self.missing += not 0 <= at < len(self._texts)
            return self._texts[at] if 0 <= at < len(self._texts) else ""
        if kind == "b":
            return "TRUE" if value == "1" else "FALSE"
        if kind in ("str", "e", "d"):
            return _unescaped(value)
        return self._number(value, self._forms.get(cell.get("s") or "0", ""))

    def _number(self, text: str, form: str) -> str:
        try:
            value = float(text)
            if form in ("date", "time"):
                return _date(self._epoch, value, form)
            if form == "%":
                return f"{100 * value:.12g}%"
            # Excel keeps fifteen digits, too.
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.15g}"
        except (ValueError, OverflowError):
            return text

    def _drawing(self, builder: Builder, name: str, page: int) -> None:
        root = self._package.xml(name)
        if root is None:
            return
        for element in root.iter("{*}cNvPr", "{*}txBody", *CHARTS):
            if element.tag.endswith("cNvPr"):
                builder.add("caption", description(element.get("descr")), page=page)
            elif element.tag.endswith("txBody"):
                builder.add("paragraph", "\n".join(map(text_of, element.iterchildren(f"{A}p"))), page=page)
            else:
                chart = self._package.relations(name).get(element.get(f"{_R}id") or "", _MISSING)
                root = None if chart.external else self._package.xml(chart.target)
                for text in () if root is None else said_by(root):
                    builder.add("caption", text, page=page)

    def _comments(self, builder: Builder, name: str, page: int, threaded: bool) -> None:
        root = self._package.xml(name)
        if root is None:
            return
        authors = [(author.text or "").strip() for author in root.iterfind(f"{_S}authors/{_S}author")]
        for comment in root.iterfind(f"{_S}commentList/{_S}comment"):
            at = number(comment.get("authorId"), -1)
            author = authors[at] if 0 <= at < len(authors) else ""
            if threaded and author.startswith("tc="):
                continue  # what older programs are shown in place of a thread
            text = "".join(_text(part) for part in comment.iterchildren(f"{_S}text")).strip()
            # Excel writes the author above the text as well.
            text = text.removeprefix(f"{author}:").strip()
            if text:
                who = ", ".join(filter(None, (comment.get("ref"), author)))
                builder.add("footnote", f"{who}: {text}" if who else text, page=page)

    def _threads(self, builder: Builder, name: str, page: int) -> None:
        root, people = self._package.xml(name), self._part("person")
        known = {} if people is None else {one.get("id"): one.get("displayName") or "" for one in people}
        for comment in () if root is None else root.iterfind(f"{_THREADS}threadedComment"):
            text = (comment.findtext(f"{_THREADS}text") or "").strip()
            who = ", ".join(filter(None, (comment.get("ref"), known.get(comment.get("personId")))))
            builder.add("footnote", f"{who}: {text}" if who and text else text, page=page)


def _text(element: Any) -> str:
    """The text of a string or of a cell that holds one, without the reading aid of Japanese characters."""
    return _unescaped("".join(t.text or "" for t in element.iter(f"{_S}t") if not t.getparent().tag.endswith("}rPh")))


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda code: chr(int(code[1], 16)), text) if "_x" in text else text


def _place(reference: str) -> tuple[int, int] | None:
    """Row and column, both from 1, of a cell such as "C7"; None if it is none."""
    found = _PLACE.match(reference)
    if not found:
        return None
    column = 0
    for letter in found[1]:
        column = 26 * column + ord(letter) - 64
    return int(found[2]), column


def _forms(styles: Any) -> Mapping[str, str]:
    """How the cells of each style show a number: "date", "time", "%", or ""."""
    if styles is None:
        return {}
    codes = {form.get("numFmtId"): form.get("formatCode") or "" for form in styles.iterfind(f"{_S}numFmts/{_S}numFmt")}
    shown: dict[str, str] = {}
    for at, style in enumerate(styles.iterfind(f"{_S}cellXfs/{_S}xf")):
        id = style.get("numFmtId") or "0"
        if id in codes:
            code = _LITERAL.sub("", codes[id].split(";")[0]).lower()
            if "%" in code:
                shown[str(at)] = "%"
            elif re.search(r"[dy]|mmm", code):
                shown[str(at)] = "date"
            elif re.search(r"[hs]", code):
                shown[str(at)] = "time"
        elif number(id) in _DATES:
            shown[str(at)] = "date"
        elif number(id) in _TIMES:
            shown[str(at)] = "time"
        elif id in ("9", "10"):
            shown[str(at)] = "%"
    return shown


def _date(epoch: datetime, days: float, form: str) -> str:
    seconds = round(days * 86400)
    if form == "time":
        hours, rest = divmod(seconds, 3600)
        return f"{hours:02}:{rest // 60:02}:{rest % 60:02}" if seconds >= 0 else f"{days:.15g}"
    if epoch.year == 1899 and days < 60:
        seconds += 86400
    moment = epoch + timedelta(seconds=seconds)
    return moment.date().isoformat() if seconds % 86400 == 0 else moment.isoformat(" ")
