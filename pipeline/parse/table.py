"""Comma-separated values and their kin: each row with the names of its columns, so that it can stand alone."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator

from pipeline.parse.builder import CELL, Builder, row_text
from pipeline.types import Parsed

_DELIMITERS = ",;\t|"
_NUMBER = re.compile(r"[\s\d.,:/%€$£+-]*\d[\s\d.,:/%€$£+-]*")
_HEADER_WITHIN = 5

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
    columns: list[str] = []
    count = 0
    header = _header(text, delimiter)
    for number, row in enumerate(_rows(text, delimiter)):
        if number == header:
            columns = [" ".join(name.split()) for name in row]
        count += header is None or number > header
        builder.add("table", _named(columns, row) if header is not None and number > header else row_text(row))
    return builder.build(media_type, metadata={"rows": count, "columns": columns})


def _named(columns: list[str], row: list[str]) -> str:
    cells = [" ".join(cell.split()) for cell in row]
    names = columns + [""] * (len(cells) - len(columns))
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


def _header(text: str, delimiter: str) -> int | None:
    """The number of the row that names the columns: full, without numbers or repetitions, and with rows below it."""
    first = [row for _, row in zip(range(_HEADER_WITHIN + 1), _rows(text, delimiter), strict=False)]
    widest = max(map(len, first), default=0)
    for number, row in enumerate(first[:-1]):
        names = [cell.strip() for cell in row]
        if len(row) == widest > 1 and all(names) and len(set(names)) == len(names):
            return None if any(_NUMBER.fullmatch(name) for name in names) else number
    return None
