"""PDFium, entered: a PDF opened, its pages read one by one, and what it says about itself."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

from pipeline.errors import Rejected
from pipeline.parse import pdfmarks
from pipeline.parse.frame import frames_of, walls_through
from pipeline.parse.geometry import Box, Run
from pipeline.parse.grid import rules_of
from pipeline.parse.layout import may_hold_table
from pipeline.parse.ocr import RESOLUTION, Picture
from pipeline.parse.pdftext import TextReader
from pipeline.parse.takings import Takings

# PDFium keeps global state and must be entered by one thread at a time; finalizers included, so all is closed within.
_PDFIUM = threading.Lock()

#: A page with fewer runs than this may be a scan with a stamp on it.
_FEW_RUNS = 12
_INFORMATION = ("Title", "Author", "Subject", "Keywords", "CreationDate", "ModDate")
_MOST_DOTS = 10_000  # of a page's longer side, when it is drawn


class Sheet(NamedTuple):
    """A page as it is shown: sizes and places in points, from its lower left corner.

    `strokes` are the lines drawn on a page that may hold a table; `fields` are what form fields and free text show,
    `notes` what other annotations say, each with its place. `picture` says whether a page of hardly any text shows one,
    and `covered` whether that lies all over the page.
    """

    number: int
    width: float
    height: float
    runs: Sequence[Run]
    strokes: Sequence[Box] = ()
    fields: Sequence[tuple[Box, str]] = ()
    notes: Sequence[tuple[Box, str]] = ()
    links: Sequence[str] = ()
    picture: bool = False
    covered: bool = False


class Unopened(Exception):
    """PDFium finds no document in these bytes."""


class Pdf:
    """An open PDF; nobody else enters PDFium before it is closed.

    Raises Rejected if no password opens it, Unopened if it is damaged beyond what PDFium repairs.
    """

    def __init__(self, data: bytes, passwords: Sequence[str] = ()) -> None:
        import pypdfium2
        import pypdfium2.raw as raw

        self._raw = raw
        self._error = pypdfium2.PdfiumError
        self._text = TextReader(raw)
        self._objects = pdfmarks.PageObjects(raw)
        _PDFIUM.acquire()
        try:
            self._document = self._open(pypdfium2.PdfDocument, data, passwords)
            # Before any page is loaded: the values of form fields are known to this environment only.
            self._document.init_forms()
            self._form = self._document.formenv
            self.pages = len(self._document)
        except BaseException:
            _PDFIUM.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._document.close()
        finally:
            _PDFIUM.release()

    def _open(self, document: Any, data: bytes, passwords: Sequence[str]) -> Any:
        code = None
        for password in (None, *passwords):
            try:
                return document(data, password)
            except self._error as error:
                code = getattr(error, "err_code", None)
            if code != self._raw.FPDF_ERR_PASSWORD:
                break
        if code == self._raw.FPDF_ERR_PASSWORD:
            tried = "none of the configured passwords opens it" if passwords else "a password is needed"
            raise Rejected(f"encrypted: {tried}")
        if code == self._raw.FPDF_ERR_SECURITY:
            raise Rejected("encrypted in a way that cannot be opened, with or without a password")
        raise Unopened

    def read(self, number: int) -> Sheet | None:
        """Page `number` (from 1); None if it is damaged."""
        raw = self._raw
        page = raw.FPDF_LoadPage(self._document, number - 1)
        if not page:
            return None
        try:
            view = pdfmarks.view_of(raw, page)
            runs = self._text.runs(page, view)
            if runs is None:
                return None
            strokes = self._objects.strokes(page, view) if may_hold_table(runs, framed=True) else []
            frames = frames_of(rules_of(strokes))
            if frames and (walls := walls_through(runs, frames)):
                runs = self._text.runs(page, view, walls) or runs
            if strokes and not frames and not may_hold_table(runs):
                strokes = []
            few = len(runs) < _FEW_RUNS
            fields, notes = pdfmarks.marks(raw, page, self._form, view)
            return Sheet(
                number,
                view.width,
                view.height,
                runs,
                strokes,
                fields,
                notes,
                list(pdfmarks.links(raw, page, self._document)),
                few and self._objects.shows_picture(page),
                few and self._objects.is_covered(page, view),
            )
        finally:
            raw.FPDF_ClosePage(page)

    def picture(self, number: int) -> Picture | None:
        """Page `number` (from 1) drawn as it is shown; None if it is damaged or far too large."""
        raw = self._raw
        page = raw.FPDF_LoadPage(self._document, number - 1)
        if not page:
            return None
        bitmap = None
        try:
            sides = raw.FPDF_GetPageWidthF(page), raw.FPDF_GetPageHeightF(page)
            scale = min(RESOLUTION / 72, _MOST_DOTS / max(1.0, *sides))
            width, height = (max(1, round(scale * side)) for side in sides)
            bitmap = raw.FPDFBitmap_CreateEx(width, height, raw.FPDFBitmap_Gray, None, 0)
            if not bitmap:
                return None
            raw.FPDFBitmap_FillRect(bitmap, 0, 0, width, height, 0xFFFFFFFF)
            raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, raw.FPDF_ANNOT | raw.FPDF_GRAYSCALE)
            stride = raw.FPDFBitmap_GetStride(bitmap)
            drawn = ctypes.string_at(raw.FPDFBitmap_GetBuffer(bitmap), stride * height)
            dots = b"".join(drawn[row * stride : row * stride + width] for row in range(height))
            return Picture(number, width, height, scale, dots)
        finally:
            if bitmap:
                raw.FPDFBitmap_Destroy(bitmap)
            raw.FPDF_ClosePage(page)

    def information(self) -> dict[str, str]:
        """What the document information dictionary says; "" for what is absent."""
        read = self._raw.FPDF_GetMetaText
        return {key: pdfmarks.string(read, self._document, key.encode()) for key in _INFORMATION}

    def language(self) -> str:
        """What the catalog names as the document's language (a tag as of RFC 3066), else ""."""
        return pdfmarks.string(self._raw.FPDFCatalog_GetLanguage, self._document)

    def attach(self, takings: Takings) -> None:
        """Take out the embedded files."""
        for at in range(self._document.count_attachments()):
            if takings.full:
                return
            name = ""
            try:
                attachment = self._document.get_attachment(at)
                name = attachment.get_name()
                takings.take(name, bytes(attachment.get_data()))
            except (self._error, UnicodeDecodeError):
                takings.refuse(name, "it is attached to a PDF and empty, or damaged there")

    def outline(self) -> Iterator[tuple[str, int, int]]:
        """Title, level (from 1) and page (from 1) of each bookmark, as far as the outline can be read."""
        return pdfmarks.bookmarks(self._raw, self._document)
