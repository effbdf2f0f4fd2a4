"""Comma-separated values and their kin: each row with the names of its columns, so that it can stand alone."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pipeline.parse.builder import CELL, Builder, row_text
from pipeline.types import Parsed

_DELIMITERS = ",;\t|"
_NUMBER = re.compile(r"[\s\d.,:/%€$£+-]*\d[\s\d.,:/%€$£+-]*")
_YEAR = re.compile(r"(?:19|20)\d\d")
_HEADER_WITHIN = 8

# A cell may hold a whole document; the default of 128 KiB would refuse it.
csv.field_size_limit(2**31 - 1)


def parse(data: bytes, uri: str) -> Parsed:
    """One block a row. The delimiter (comma, semicolon, tab or bar) is the one that parts most lines alike.

    Where the first rows hold names of columns, cells read "Name: value" and empty ones are left out; `metadata` has
    `columns` then, and `rows` counts the data rows.
    """
    return _parse(data, None, "text/csv")


def tabs(data: bytes, uri: str) -> Parsed:
    """Tab-separated values."""
    return _parse(data, "\t", "text/tab-separated-values")


def _parse(data: bytes, delimiter: str | None, media_type: str) -> Parsed:
    builder = Builder()
    text = builder.decode(data)
    delimiter = delimiter or _delimiter(text)
    first = [row for row, _ in zip(_rows(text, delimiter), range(_HEADER_WITHIN + 1), strict=False)]
    columns, count = add_rows(builder, _rows(text, delimiter), header_of(first))
    return builder.build(media_type, metadata={"rows": count, "columns": columns})


def add_rows(
    builder: Builder,
    rows: Iterable[Sequence[str]],
    header: int | None,
    columns: Sequence[str] = (),
    page: int | None = None,
) -> tuple[list[str], int]:
    """Append a block for each row, its cells as "Name: value" once the row numbered `header` has named the columns.

    Where there is none, the names may be given as `columns`. Returns the names and how many rows of data there are.
    """
    names = [" ".join(name.split()) for name in columns]
    count = 0
    for number, row in enumerate(rows):
        if number == header:
            names = [" ".join(name.split()) for name in row]
        data = header is None or number > header
        count += data
        again = [cell.strip() for cell in row] == names
        builder.add("table", _named(names, row) if data and names and not again else row_text(row), page=page)
    return names, count


def header_of(rows: Sequence[Sequence[str]]) -> int | None:
    """The number of the row that names the columns: one of the first, as wide as any, and with rows below it."""
    rows = rows[: _HEADER_WITHIN + 1]
    widest = max(map(len, rows), default=0)
    for number, row in enumerate(rows[:-1]):
        if len(row) == widest and is_full(row):
            return number if are_names(row) else None
    return None


def is_full(row: Sequence[str]) -> bool:
    """Whether a row has several cells, no two alike and none blank but the first."""
    cells = [cell.strip() for cell in row]
    return len(cells) > 1 and all(cells[1:]) and len(set(cells)) == len(cells)


def are_names(row: Sequence[str]) -> bool:
    """Whether the cells of a full row may name columns: they are no numbers, but for years that count up or down."""
    numbers = [cell for cell in row if is_number(cell)]
    if not numbers:
        return True
    years = all(map(_YEAR.fullmatch, numbers)) and sorted(numbers) in (numbers, [*reversed(numbers)])
    return years and len(numbers) > 1 and not is_number(row[0])


def is_number(cell: str) -> bool:
    """Whether a cell holds a number, an amount or a date."""
    return bool(_NUMBER.fullmatch(cell.strip()))


def _named(columns: Sequence[str], row: Sequence[str]) -> str:
    cells = [" ".join(cell.split()) for cell in row]
    names = [*columns, *[""] * (len(cells) - len(columns))]
    return CELL.join(f"{name}: {cell}" if name else cell for name, cell in zip(names, cells, strict=False) if cell)


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, skipinitialspace=True)


def _delimiter(text: str) -> str:
    sample = text[:65536]
    if len(sample) < len(text):
        sample = sample[: sample.rfind("\n") + 1] or sample

    def agreement(delimiter: str) -> tuple[float, int]:
        lengths = Counter(len(row) for row in _rows(sample, delimiter) if row)
        all_rows = max(1, lengths.total())
        lengths[1] = 0  # a row that this delimiter does not part says nothing for it
        length, rows = max(lengths.items(), key=lambda pair: (pair[1], pair[0]))
        return rows / all_rows, length

    return max(_DELIMITERS, key=agreement)
