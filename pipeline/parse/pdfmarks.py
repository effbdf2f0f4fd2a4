"""What a page of a PDF holds besides its text: lines drawn, images, form fields, annotations and links.

Knows PDFium by the `raw` functions it is handed.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pipeline.parse.geometry import Box, View
from pipeline.parse.pdfchars import bound

Matrix = tuple[float, float, float, float, float, float]
Marks = list[tuple[Box, str]]

_UNCHANGED: Matrix = (1, 0, 0, 1, 0, 0)
_THIN = 3.0  # points: it is a line, whatever it is drawn as
_SHORT = 6.0  # points: too short to part cells
_MOST_OBJECTS = 5000
_ALL_OVER = 0.8  # of a page: scans have a margin at times
_FEW_DRAWN = 20  # lines and frames on a page that is blank otherwise
_MOST_SEGMENTS = 400
_DEEPEST = 3
_DEEPEST_OUTLINE = 15
_PASSWORD_FIELD = 1 << 13
_HIDDEN = 2 | 32  # flags of annotations that are not shown
_CHECKED, _UNCHECKED = "\u2611", "\u2610"


def view_of(raw: Any, page: Any) -> View:
    """The view of `page`."""
    box = raw.FS_RECTF()
    raw.FPDF_GetPageBoundingBox(page, box)
    size = raw.FPDF_GetPageWidthF(page), raw.FPDF_GetPageHeightF(page)
    quarters = raw.FPDFPage_GetRotation(page) % 4
    return View(box.left, box.bottom, *size, quarters, box.left == box.bottom == quarters == 0)


class PageObjects:
    """What is drawn on a page. There may be thousands of it, so PDFium is called with plain numbers."""

    def __init__(self, raw: Any) -> None:
        whole, mark, out = ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p
        self._image, self._path, self._form = raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_PATH, raw.FPDF_PAGEOBJ_FORM
        self._text, self._invisible = raw.FPDF_PAGEOBJ_TEXT, raw.FPDF_TEXTRENDERMODE_INVISIBLE
        self._get_mode = bound(raw, "FPDFTextObj_GetTextRenderMode", whole, mark)
        self._move, self._line = raw.FPDF_SEGMENT_MOVETO, raw.FPDF_SEGMENT_LINETO
        self._on_page = (
            bound(raw, "FPDFPage_CountObjects", whole, mark),
            bound(raw, "FPDFPage_GetObject", mark, mark, whole),
        )
        self._in_form = (
            bound(raw, "FPDFFormObj_CountObjects", whole, mark),
            bound(raw, "FPDFFormObj_GetObject", mark, mark, ctypes.c_ulong),
        )
        self._get_type = bound(raw, "FPDFPageObj_GetType", whole, mark)
        self._get_bounds = bound(raw, "FPDFPageObj_GetBounds", whole, mark, out, out, out, out)
        self._get_matrix = bound(raw, "FPDFPageObj_GetMatrix", whole, mark, out)
        self._count_segments = bound(raw, "FPDFPath_CountSegments", whole, mark)
        self._get_segment = bound(raw, "FPDFPath_GetPathSegment", mark, mark, whole)
        self._get_point = bound(raw, "FPDFPathSegment_GetPoint", whole, mark, out, out)
        self._get_kind = bound(raw, "FPDFPathSegment_GetType", whole, mark)
        self._get_close = bound(raw, "FPDFPathSegment_GetClose", whole, mark)
        self._out = array("f", (0,) * 6)
        start = self._out.buffer_info()[0]
        self._outs = tuple(range(start, start + 16, 4))

    def shows_picture(self, page: Any) -> bool:
        """Whether there is an image on the page, or so much is drawn that it may be letters."""
        drawn = 0
        for kind, _, _ in self._all(page):
            drawn += kind == self._path
            if kind == self._image or drawn > _FEW_DRAWN:
                return True
        return False

    def is_covered(self, page: Any, view: View) -> bool:
        """Whether an image lies all over the page, and no text is hidden in it, as OCR's is."""
        covered = False
        for kind, mark, matrix in self._all(page):
            if kind == self._text and self._get_mode(mark) == self._invisible:
                return False
            if kind == self._image and not covered and self._get_bounds(mark, *self._outs):
                left, bottom, right, top = self._out[:4]
                box = view.box(_box(matrix, (left, bottom), (right, top)))
                width = min(box[2], view.width) - max(box[0], 0)
                height = min(box[3], view.height) - max(box[1], 0)
                covered = width > 0 < height and width * height >= _ALL_OVER * view.width * view.height
        return covered

    def strokes(self, page: Any, view: View) -> list[Box]:
        """The straight lines drawn on the page, and the edges of rectangles: boxes without width or without height."""
        found: list[Box] = []
        for kind, mark, matrix in self._all(page):
            if kind == self._path:
                for box in self._lines(mark, matrix):
                    left, bottom, right, top = box if view.plain else view.box(box)
                    if right - left < _THIN <= _SHORT < top - bottom:
                        found.append((middle := (left + right) / 2, bottom, middle, top))
                    elif top - bottom < _THIN <= _SHORT < right - left:
                        found.append((left, middle := (bottom + top) / 2, right, middle))
        return found

    def _all(self, page: Any) -> Iterator[tuple[int, int, Matrix]]:
        """Kind and handle of the objects of the page, those inside others too, and the matrix of what each is in."""
        budget = _MOST_OBJECTS

        def walk(container: int | None, calls: Any, matrix: Matrix, depth: int) -> Iterator[tuple[int, int, Matrix]]:
            nonlocal budget
            count, get = calls
            for number in range(count(container)):
                budget -= 1
                if budget < 0:
                    return
                mark = get(container, number)
                if not mark:
                    continue
                kind = self._get_type(mark)
                if kind != self._form:
                    yield kind, mark, matrix
                elif depth < _DEEPEST:
                    yield from walk(mark, self._in_form, _times(self._matrix(mark), matrix), depth + 1)

        yield from walk(ctypes.cast(page, ctypes.c_void_p).value, self._on_page, _UNCHANGED, 0)

    def _lines(self, path: int, matrix: Matrix) -> Iterable[Box]:
        """The bounds of a thin path, the edges of a thicker one, in the page's space."""
        if not self._get_bounds(path, *self._outs):
            return ()
        left, bottom, right, top = self._out[:4]
        if right - left < _SHORT > top - bottom and matrix == _UNCHANGED:
            return ()
        if right - left < _THIN or top - bottom < _THIN:
            return (
                ((left, bottom, right, top) if matrix == _UNCHANGED else _box(matrix, (left, bottom), (right, top))),
            )
        count = self._count_segments(path)
        return self._edges(path, count, _times(self._matrix(path), matrix)) if 0 < count <= _MOST_SEGMENTS else ()

    def _edges(self, path: int, count: int, placed: Matrix) -> Iterator[Box]:
        start = here = (0.0, 0.0)
        for number in range(count):
            segment = self._get_segment(path, number)
            if not segment or not self._get_point(segment, *self._outs[:2]):
                return
            kind, point = self._get_kind(segment), (self._out[0], self._out[1])
            if kind == self._move:
                start = point
            elif kind == self._line:
                yield _box(placed, here, point)
            here = point
            if self._get_close(segment):
                yield _box(placed, here, start)

    def _matrix(self, mark: int) -> Matrix:
        if not self._get_matrix(mark, self._outs[0]):
            return _UNCHANGED
        a, b, c, d, e, f = self._out
        return a, b, c, d, e, f


def marks(raw: Any, page: Any, form: Any, view: View) -> tuple[Marks, Marks]:
    """What form fields and free text show on the page, and what other annotations say, each with its place."""
    fields: Marks = []
    notes: Marks = []
    rect = raw.FS_RECTF()
    for number in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, number)
        if not annotation:
            continue
        try:
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            if kind in (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP) or raw.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
                continue
            widget = kind == raw.FPDF_ANNOT_WIDGET
            text = (
                _value(raw, form, annotation)
                if widget
                else string(raw.FPDFAnnot_GetStringValue, annotation, b"Contents")
            )
            if text.strip() and raw.FPDFAnnot_GetRect(annotation, rect):
                shown = fields if widget or kind == raw.FPDF_ANNOT_FREETEXT else notes
                shown.append((view.box((rect.left, rect.bottom, rect.right, rect.top)), text))
        finally:
            raw.FPDFPage_CloseAnnot(annotation)
    return fields, notes


def bookmarks(raw: Any, document: Any) -> Iterator[tuple[str, int, int]]:
    """Title, level (from 1) and page (from 1) of each entry of the outline that leads to a page; an entry once."""
    whole, mark, out = ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p
    get_first = bound(raw, "FPDFBookmark_GetFirstChild", mark, mark, mark)
    get_next = bound(raw, "FPDFBookmark_GetNextSibling", mark, mark, mark)
    get_title = bound(raw, "FPDFBookmark_GetTitle", ctypes.c_ulong, mark, out, ctypes.c_ulong)
    get_target = bound(raw, "FPDFBookmark_GetDest", mark, mark, mark)
    get_page = bound(raw, "FPDFDest_GetDestPageIndex", whole, mark, mark)
    handle = ctypes.cast(document, mark).value
    seen: set[int] = set()

    def walk(parent: int | None, level: int) -> Iterator[tuple[str, int, int]]:
        entry = get_first(handle, parent)
        while entry and entry not in seen:
            seen.add(entry)
            target = get_target(handle, entry)
            if target and (page := get_page(handle, target)) >= 0:
                yield string(get_title, entry), level, page + 1
            if level < _DEEPEST_OUTLINE:
                yield from walk(entry, level + 1)
            entry = get_next(handle, entry)

    return walk(None, 1)


def links(raw: Any, page: Any, document: Any) -> Iterator[str]:
    """Where the page's links lead, those within the document left out."""
    at, link = ctypes.c_int(0), raw.FPDF_LINK()
    while raw.FPDFLink_Enumerate(page, at, link):
        action = raw.FPDFLink_GetAction(link)
        if action and raw.FPDFAction_GetType(action) == raw.PDFACTION_URI:
            length = raw.FPDFAction_GetURIPath(document, action, None, 0)
            buffer = ctypes.create_string_buffer(length)
            raw.FPDFAction_GetURIPath(document, action, buffer, length)
            yield buffer.value.decode("utf-8", "replace")


def string(function: Callable[..., int], *arguments: Any) -> str:
    """What one of PDFium's functions that fill a buffer with UTF-16 says."""
    length = function(*arguments, None, 0)
    if length <= 2:
        return ""
    buffer = (ctypes.c_ushort * (length // 2 + 1))()
    function(*arguments, buffer, length)
    return bytes(memoryview(buffer)[: length // 2 - 1]).decode("utf-16-le", "replace")


def _value(raw: Any, form: Any, widget: Any) -> str:
    if form is None:
        return ""
    kind = raw.FPDFAnnot_GetFormFieldType(form, widget)
    if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
        return _UNCHECKED if string(raw.FPDFAnnot_GetStringValue, widget, b"AS") in ("", "Off") else _CHECKED
    text = (raw.FPDF_FORMFIELD_TEXTFIELD, raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX)
    if kind not in text or raw.FPDFAnnot_GetFormFieldFlags(form, widget) & _PASSWORD_FIELD:
        return ""
    return string(raw.FPDFAnnot_GetFormFieldValue, form, widget)


def _times(inner: Matrix, outer: Matrix) -> Matrix:
    """First `inner`, then `outer`."""
    a, b, c, d, e, f = inner
    g, h, i, j, k, m = outer
    return a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + m


def _box(matrix: Matrix, one: tuple[float, float], other: tuple[float, float]) -> Box:
    """The box around two points."""
    a, b, c, d, e, f = matrix
    (x, y), (u, v) = one, other
    left, right = a * x + c * y + e, a * u + c * v + e
    bottom, top = b * x + d * y + f, b * u + d * v + f
    return min(left, right), min(bottom, top), max(left, right), max(bottom, top)
