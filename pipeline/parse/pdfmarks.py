"""What a page of a PDF holds besides its text: lines drawn, images, form fields, annotations and links.

Knows PDFium by the `raw` functions it is handed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.parse.geometry import Box, View

Matrix = tuple[float, float, float, float, float, float]
Marks = list[tuple[Box, str]]

_UNCHANGED: Matrix = (1, 0, 0, 1, 0, 0)
_THIN = 3.0  # points: it is a line, whatever it is drawn as
_SHORT = 6.0  # points: too short to part cells
_MOST_OBJECTS = 5000
_FEW_DRAWN = 20  # lines and frames on a page that is blank otherwise
_MOST_SEGMENTS = 400
_DEEPEST = 3
_PASSWORD_FIELD = 1 << 13
_HIDDEN = 2 | 32  # flags of annotations that are not shown
_CHECKED, _UNCHECKED = "\u2611", "\u2610"


def shows_picture(raw: Any, page: Any) -> bool:
    """Whether there is an image on the page, or so much is drawn that it may be letters."""
    drawn = 0
    for mark, _ in _objects(raw, page):
        kind = raw.FPDFPageObj_GetType(mark)
        drawn += kind == raw.FPDF_PAGEOBJ_PATH
        if kind == raw.FPDF_PAGEOBJ_IMAGE or drawn > _FEW_DRAWN:
            return True
    return False


def strokes(raw: Any, page: Any, view: View) -> list[Box]:
    """The straight lines drawn on the page, and the edges of rectangles: boxes without width or without height."""
    found: list[Box] = []
    for mark, matrix in _objects(raw, page):
        if raw.FPDFPageObj_GetType(mark) == raw.FPDF_PAGEOBJ_PATH:
            for box in _lines(raw, mark, matrix):
                left, bottom, right, top = box if view.plain else view.box(box)
                if right - left < _THIN <= _SHORT < top - bottom:
                    found.append((middle := (left + right) / 2, bottom, middle, top))
                elif top - bottom < _THIN <= _SHORT < right - left:
                    found.append((left, middle := (bottom + top) / 2, right, middle))
    return found


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


def _objects(raw: Any, page: Any) -> Iterator[tuple[Any, Matrix]]:
    """The objects of the page, those inside others included, each with the matrix of what it is inside of."""
    budget = _MOST_OBJECTS

    def walk(container: Any, count: Callable[..., int], get: Callable[..., Any], matrix: Matrix, depth: int) -> Any:
        nonlocal budget
        for number in range(count(container)):
            budget -= 1
            if budget < 0:
                return
            mark = get(container, number)
            if not mark:
                continue
            if raw.FPDFPageObj_GetType(mark) == raw.FPDF_PAGEOBJ_FORM:
                if depth < _DEEPEST:
                    inner = _times(_matrix(raw, mark), matrix)
                    yield from walk(mark, raw.FPDFFormObj_CountObjects, raw.FPDFFormObj_GetObject, inner, depth + 1)
            else:
                yield mark, matrix

    yield from walk(page, raw.FPDFPage_CountObjects, raw.FPDFPage_GetObject, _UNCHANGED, 0)


def _lines(raw: Any, path: Any, matrix: Matrix) -> Iterator[Box]:
    """The bounds of a thin path, the edges of a thicker one, in the page's space."""
    sides = ctypes.c_float(), ctypes.c_float(), ctypes.c_float(), ctypes.c_float()
    if not raw.FPDFPageObj_GetBounds(path, *sides):
        return
    left, bottom, right, top = [side.value for side in sides]
    if right - left < _SHORT > top - bottom and matrix == _UNCHANGED:
        return
    if right - left < _THIN or top - bottom < _THIN:
        yield (left, bottom, right, top) if matrix == _UNCHANGED else _box(matrix, (left, bottom), (right, top))
        return
    count = raw.FPDFPath_CountSegments(path)
    if not 0 < count <= _MOST_SEGMENTS:
        return
    placed = _times(_matrix(raw, path), matrix)
    x, y = ctypes.c_float(), ctypes.c_float()
    start = here = (0.0, 0.0)
    for number in range(count):
        segment = raw.FPDFPath_GetPathSegment(path, number)
        if not segment or not raw.FPDFPathSegment_GetPoint(segment, x, y):
            return
        kind, point = raw.FPDFPathSegment_GetType(segment), (x.value, y.value)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            start = point
        elif kind == raw.FPDF_SEGMENT_LINETO:
            yield _box(placed, here, point)
        here = point
        if raw.FPDFPathSegment_GetClose(segment):
            yield _box(placed, here, start)


def _matrix(raw: Any, mark: Any) -> Matrix:
    matrix = raw.FS_MATRIX()
    if not raw.FPDFPageObj_GetMatrix(mark, matrix):
        return _UNCHANGED
    return matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f


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
