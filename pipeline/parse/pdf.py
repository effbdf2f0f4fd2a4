"""PDF, through PDFium: the text layer in the order PDFium reads it, laid out as paragraphs again."""

from __future__ import annotations

import math
import re
import threading
import warnings
from collections import defaultdict
from datetime import datetime
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.parse.layout import BULLET, Line, heading_key, joined, paragraphs
from pipeline.types import Parsed

# PDFium keeps global state and must be entered by one thread at a time; finalizers included, so all is closed within.
_PDFIUM = threading.Lock()

_DATE = re.compile(r"D?:?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:(Z)|([+-]\d\d)'?(\d\d)?)?")
_TOOL = re.compile(r"\AMicrosoft (?:Office )?(?:Word|PowerPoint|Excel) - ", re.I)


# Page → what a heading on it is known by → its level.
Headings = dict[int, dict[str, int]]


def parse(data: bytes, uri: str) -> Parsed:
    """Paragraphs and list items with their pages (from 1), and headings where the outline names them.

    Lines are joined and words parted at a line's end made whole. A page that cannot be read, or that only holds an
    image, is a warning. Raises Rejected if a password is needed, the file is damaged, or no page has text.
    """
    import pypdfium2 as pdfium

    with _PDFIUM:
        try:
            document = pdfium.PdfDocument(data)
        except pdfium.PdfiumError as error:
            raise Rejected(_why_not(error, data)) from error
        try:
            return _read(document)
        finally:
            document.close()


def _why_not(error: Any, data: bytes) -> str:
    import pypdfium2.raw as raw

    code = getattr(error, "err_code", None)
    if code == raw.FPDF_ERR_PASSWORD:
        return "encrypted: a password is needed"
    if code == raw.FPDF_ERR_SECURITY:
        return "encrypted in a way that cannot be opened, with or without a password"
    cut = b"%%EOF" not in data[-2048:]
    return f"the PDF is damaged{' or incomplete (its end is missing)' if cut else ''} and cannot be opened"


def _read(document: Any) -> Parsed:
    import pypdfium2 as pdfium

    builder = Builder()
    headings = _outline(document)
    pages = len(document)
    images: list[int] = []
    for number in range(1, pages + 1):
        try:
            page = document[number - 1]
            try:
                lines = _lines(page)
                _add_page(builder, lines, headings.get(number, {}), number)
                if not lines and _has_image(page):
                    images.append(number)
            finally:
                page.close()
        except pdfium.PdfiumError:
            builder.warn(f"page {number} is damaged and was not read")
    if not builder:
        where = (
            f"on any of its {pages} pages" if pages > 1 else "on its only page" if pages else "since it has no pages"
        )
        scan = ": probably a scan, which needs OCR" if images else ""
        raise Rejected(f"no text {where}{scan}")
    if images:
        some = ", ".join(map(str, images[:20])) + (", …" if len(images) > 20 else "")
        builder.warn(f"{len(images)} pages hold images and no text (perhaps scans, which need OCR): {some}")
    info = document.get_metadata_dict()
    return builder.build(
        "application/pdf",
        _TOOL.sub("", info.get("Title", "").strip()),
        {
            "author": info.get("Author"),
            "subject": info.get("Subject"),
            "keywords": info.get("Keywords"),
            "created": _date(info.get("CreationDate", "")),
            "modified": _date(info.get("ModDate", "")),
            "pages": pages,
        },
    )


def _lines(page: Any) -> list[Line]:
    import ctypes

    import pypdfium2.raw as raw

    textpage = page.get_textpage()
    x, y, matrix = ctypes.c_double(), ctypes.c_double(), raw.FS_MATRIX()
    turned = page.get_rotation()

    def place(at: int) -> tuple[int, float, float]:
        """Index, x and y of the character at `at`, turned as the page is."""
        index = raw.FPDFText_GetCharIndexFromTextIndex(textpage, at)
        raw.FPDFText_GetCharOrigin(textpage, index, x, y)
        if turned == 90:
            return index, y.value, -x.value
        if turned == 180:
            return index, -x.value, -y.value
        return (index, -y.value, x.value) if turned == 270 else (index, x.value, y.value)

    try:
        lines = []
        at = 0  # in UTF-16 units, as PDFium counts
        for line in textpage.get_text_range(errors="replace").split("\r\n"):
            length = len(line) + sum(character > "\uffff" for character in line)
            if line.strip():
                index, left, first = place(at + len(line) - len(line.lstrip()))
                raw.FPDFText_GetMatrix(textpage, index, matrix)
                size = raw.FPDFText_GetFontSize(textpage, index) * math.hypot(matrix.c, matrix.d)
                _, _, last = place(at + length - 1 - len(line) + len(line.rstrip()))
                lines.append(Line(line, left, first, last, size or 1.0))
            at += length + 2
        return lines
    finally:
        textpage.close()


def _add_page(builder: Builder, lines: list[Line], headings: dict[str, int], page: int) -> None:
    for paragraph in paragraphs(lines, headings):
        text = joined([line.text for line in paragraph])
        level = headings.get(heading_key(text))
        bullet = BULLET.match(text)
        if level:
            builder.add("heading", text, level=level, page=page)
        elif bullet:
            builder.add("list_item", text[bullet.end() :], level=1, page=page)
        else:
            builder.add("paragraph", text, page=page)


def _outline(document: Any) -> Headings:
    """Page → heading's key → its level, as far as the outline can be read."""
    import pypdfium2 as pdfium

    headings: Headings = defaultdict(dict)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # circular outlines and the like: what can be read is used
        try:
            for bookmark in document.get_toc():
                target = bookmark.get_dest()
                page = target.get_index() if target else None
                key = heading_key(bookmark.get_title())
                if page is not None and key:
                    headings[page + 1].setdefault(key, bookmark.level + 1)
        except (pdfium.PdfiumError, UnicodeDecodeError):
            pass  # headings are a help, not the text
    return headings


def _has_image(page: Any) -> bool:
    import pypdfium2.raw as raw

    return next(iter(page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3)), None) is not None


def _date(text: str) -> str | None:
    """A PDF date as ISO 8601; None if it is none."""
    found = _DATE.match(text.strip())
    if not found:
        return None
    year, month, day, hour, minute, second, utc, hours, minutes = found.groups()
    zone = "+00:00" if utc else f"{hours}:{minutes or '00'}" if hours else ""
    date = f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}{zone}"
    try:
        return datetime.fromisoformat(date).isoformat()
    except ValueError:
        return None
