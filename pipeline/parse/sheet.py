"""A sheet of a workbook, whatever file it is from: its tables apart, each row with the names of its columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pipeline.parse.builder import Builder
from pipeline.parse.table import add_rows, are_names, header_of, is_full, is_number

#: What the cells show, by row and column; blank ones are absent.
Cells = dict[int, dict[int, str]]
#: First row and column, last row and column of cells that were made one.
Area = tuple[int, int, int, int]

_MOST_FILLED = 1000
_FIRST = 20  # rows in which a table shows what it is


def add_sheet(builder: Builder, title: str, cells: Cells, merged: Iterable[Area], page: int | None) -> None:
    """Append a sheet: its name as a heading, and a block for each row; nothing if it is blank.

    Blank rows part its tables. One whose first row names columns has those; one that begins with numbers goes on with
    the names above it, if it is no wider. Merged cells count in each row that they reach.
    """
    if not cells:
        return
    builder.add("heading", title, level=1, page=page)
    for top, left, bottom, _ in merged:
        text = cells.get(top, {}).get(left)
        for row in range(top + 1, min(bottom, top + _MOST_FILLED) + 1) if text else ():
            if row in cells:
                cells[row].setdefault(left, text or "")
    named: dict[int, str] = {}
    for number, table in enumerate(_tables(cells)):
        columns = sorted({column for row in table for column in row})
        rows = [[row.get(column, "") for column in columns] for row in table]
        first = [_trimmed(row) for row in rows[:_FIRST]]
        header = header_of(first)
        if number and header is not None and not _has_numbers(rows[header + 1 :][:_FIRST]):
            header = None  # a text like any other
            named = {}
        elif header is None and not (named.keys() >= set(columns) and _has_numbers(rows[:1])):
            named = {}
        names, _ = add_rows(builder, rows, header, [named.get(column, "") for column in columns] if named else (), page)
        if not names and [is_full(row) for row in first] == [*[False] * (len(rows) - 1), True] and are_names(first[-1]):
            names = rows[-1]  # a blank row stands between them and what they name
        named = dict(zip(columns, names, strict=False))


def _tables(cells: Mapping[int, Mapping[int, str]]) -> Iterator[list[Mapping[int, str]]]:
    table: list[Mapping[int, str]] = []
    last = 0
    for row in sorted(cells):
        if table and row > last + 1:
            yield table
            table = []
        table.append(cells[row])
        last = row
    yield table


def _has_numbers(rows: Sequence[Sequence[str]]) -> bool:
    return any(is_number(cell) for row in rows for cell in row if cell)


def _trimmed(row: Sequence[str]) -> list[str]:
    end = len(row)
    while end and not row[end - 1]:
        end -= 1
    return list(row[:end])
