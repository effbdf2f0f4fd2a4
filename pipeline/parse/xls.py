"""Excel 97-2003 workbooks, with the extra `office`."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from pipeline.errors import MissingExtra, Rejected
from pipeline.parse.builder import Builder
from pipeline.parse.sheet import add_sheet
from pipeline.types import Parsed


def parse(data: bytes, uri: str) -> Parsed:
    """Each sheet is a page: its name as a heading, then its rows. Raises Rejected and MissingExtra."""
    try:
        import xlrd
    except ImportError as error:
        raise MissingExtra("reading Excel 97-2003 workbooks", "office") from error
    builder = Builder()
    try:
        book = xlrd.open_workbook(file_contents=data, formatting_info=True, logfile=_Nowhere())
        for page, sheet in enumerate(book.sheets(), 1):
            _add(builder, book, sheet, page)
    except Rejected:
        raise
    except Exception as error:  # the library raises whatever happens to it
        if "encrypt" in str(error).lower():
            raise Rejected("encrypted: a password is needed") from error
        raise Rejected("the Excel 97-2003 workbook is damaged: it cannot be read") from error
    return builder.build("application/vnd.ms-excel", "", {"author": book.user_name})


def _add(builder: Builder, book: Any, sheet: Any, page: int) -> None:
    cells: dict[int, dict[int, str]] = {}
    for row in range(sheet.nrows):
        line = {at + 1: text for at, cell in enumerate(sheet.row(row)) if (text := _shown(book, cell))}
        if line:
            cells[row + 1] = line
    merged = [(top + 1, left + 1, bottom, right) for top, bottom, left, right in sheet.merged_cells]
    add_sheet(builder, sheet.name, cells, merged, page)


class _Nowhere:
    """Where the library's remarks on a file go."""

    def write(self, text: str) -> None:
        """Forget `text`."""


def _shown(book: Any, cell: Any) -> str:
    import xlrd

    if cell.ctype == xlrd.XL_CELL_TEXT:
        return str(cell.value).strip()
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return "TRUE" if cell.value else "FALSE"
    if cell.ctype == xlrd.XL_CELL_ERROR:
        return str(xlrd.error_text_from_code.get(cell.value, ""))
    if cell.ctype == xlrd.XL_CELL_DATE:
        try:
            moment: datetime = xlrd.xldate_as_datetime(cell.value, book.datemode)
        except (ValueError, OverflowError):
            return f"{cell.value:.15g}"
        if cell.value < 1:
            return moment.time().isoformat("seconds")
        return moment.date().isoformat() if moment.time() == time() else moment.isoformat(" ", "seconds")
    if cell.ctype == xlrd.XL_CELL_NUMBER:
        form = book.format_map.get(book.xf_list[cell.xf_index].format_key)
        return f"{100 * cell.value:.12g}%" if form and "%" in form.format_str else f"{cell.value:.15g}"
    return ""
