"""Logs that are tables: each event a row, whose columns are known by their names or by what they hold.

A table is a log if it is plainly one: it has a column of times, one of levels and one of messages. The first row names
them; or cells are quoted (others are read as any line is), all rows have a time and, in the same column, a level in
capitals, and behind it stands a text.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from pipeline.parse.logs.levels import LEVELS, MARKED
from pipeline.parse.logs.times import TIME


class Columns(NamedTuple):
    """Which column holds what, counted from 0, and what parts them.

    Several may hold a time, the date being one of them; a part without a column has none.
    """

    delimiter: str
    time: tuple[int, ...]
    level: int
    message: int
    component: int | None = None
    host: int | None = None
    pid: int | None = None


class Row(NamedTuple):
    """A row: `text[start:end]`, its first and last line, and its cells."""

    start: int
    end: int
    line_from: int
    line_to: int
    cells: Sequence[str]


_NAMES = {
    "time": (
        "timestamp", "@timestamp", "time", "log_time", "datetime", "date and time", "date time", "timecreated",
        "timegenerated", "event_time", "eventtime", "asctime", "created_at", "ts", "date",
    ),
    "level": (
        "level", "severity", "log_level", "loglevel", "log level", "levelname", "level_name", "error_severity",
        "leveldisplayname", "entrytype", "lvl", "priority",
    ),
    "message": (
        "message", "msg", "log_message", "log message", "rendered_message", "renderedmessage", "description", "text",
        "body", "event",
    ),
    "component": (
        "logger", "logger_name", "loggername", "component", "module", "service", "source", "providername", "program",
        "application", "app", "category", "name", "backend_type",
    ),
    "host": ("host", "hostname", "host_name", "machinename", "computer", "node", "server"),
    "pid": ("pid", "process_id", "processid", "process id", "process"),
}  # fmt: skip
_DELIMITERS = ",;\t"
_SAMPLE, _MOST_ROWS = 1 << 16, 50
# A quote that is not closed in so many lines was no quote.
_LONGEST_ROW = 1000
_AGREE = 0.95
_QUOTED = re.compile(r'(?:^|[,;\t]) ?"', re.M)


def columns_of(text: str) -> Columns | None:
    """The columns of a table that is a log; None for anything else. Only the first rows are looked at."""
    sample = text[:_SAMPLE]
    first = sample.lstrip().partition("\n")[0]
    for delimiter in _DELIMITERS:
        if first.count(delimiter) < 2:
            continue
        rows = [list(map(str.strip, row.cells)) for row in islice(read_rows(sample, delimiter), _MOST_ROWS)]
        if len(rows) > 2 and len(sample) < len(text):
            rows.pop()  # the sample may end within it
        columns = _by_name(rows, delimiter) if len(rows) > 1 else None
        if columns is None and len(rows) > 1 and _QUOTED.search(sample):
            columns = _by_what_they_hold(rows, delimiter)
        if columns is not None:
            return columns
    return None


def read_rows(text: str, delimiter: str) -> Iterator[Row]:
    """The rows of a table, in order, but for blank ones; a row goes on while a quote is open."""
    quotes = True
    at = number = 0
    while at < len(text):
        end, last = _end_of_row(text, at, number + 1) if quotes else (None, 0)
        if end is None:
            quotes = quotes and last > 0
            end, last = _end_of_line(text, at), number + 1
        written = text[at:end]
        if written.strip():
            start = at + len(written) - len(written.lstrip())
            yield Row(start, at + len(written.rstrip()), number + 1, last, _cells(written, delimiter))
        at, number = end + 1, last


def time_of(columns: Columns, cells: Sequence[str]) -> str:
    """The time of a row, as it is written."""
    return " ".join(cells[column].strip() for column in columns.time)


def cell_of(cells: Sequence[str], column: int | None) -> str:
    """The first line of a cell, "" if there is none."""
    return cells[column].strip().partition("\n")[0].rstrip() if column is not None and column < len(cells) else ""


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return end if end >= 0 else len(text)


def _end_of_row(text: str, at: int, number: int) -> tuple[int | None, int]:
    """Where the row ends that begins at `at`, in line `number`, and in which line; None if its quotes do not close."""
    end = _end_of_line(text, at)
    quotes = text.count('"', at, end)
    last = number
    while quotes % 2:
        if end >= len(text) or last - number > _LONGEST_ROW:
            return None, 0
        begin, end = end + 1, _end_of_line(text, end + 1)
        quotes += text.count('"', begin, end)
        last += 1
    return end, last


def _cells(written: str, delimiter: str) -> list[str]:
    reader = csv.reader(io.StringIO(written, newline="\n"), delimiter=delimiter, skipinitialspace=True)
    try:
        return next(reader, [])
    except csv.Error:
        return [written]


def _by_name(rows: Sequence[Sequence[str]], delimiter: str) -> Columns | None:
    names = [name.strip('\ufeff"').lower() for name in rows[0]]
    rows = rows[1:]
    found = {part: next((names.index(name) for name in known if name in names), None) for part, known in _NAMES.items()}
    time, level, message = found["time"], found["level"], found["message"]
    if message is None and all(len(row) == len(names) + 1 for row in rows):
        message = len(names)  # Windows' event viewer does not name its last column
    if time is None or level is None or message is None:
        return None
    times: tuple[int, ...] = (time,)
    if not names[time].startswith("date") and "date" in names:
        times = (names.index("date"), time)
    for choice in (times, (time,)):
        columns = Columns(delimiter, choice, level, message, found["component"], found["host"], found["pid"])
        if sum(_fits(columns, row) for row in rows) >= _AGREE * len(rows):
            return columns
    return None


def _fits(columns: Columns, row: Sequence[str]) -> bool:
    if len(row) <= max(*columns.time, columns.level, columns.message):
        return False
    return _is_time(time_of(columns, row)) and row[columns.level].lower() in MARKED


def _is_time(cell: str) -> bool:
    time = TIME.match(cell)
    return time is not None and time.end() == len(cell)


def _by_what_they_hold(rows: Sequence[Sequence[str]], delimiter: str) -> Columns | None:
    wide = len(rows[0])
    if wide < 3 or any(len(row) != wide for row in rows):
        return None
    columns = [[row[number] for row in rows] for number in range(wide)]
    time = next((number for number, cells in enumerate(columns) if all(map(_is_time, cells))), None)
    level = next((number for number, cells in enumerate(columns) if all(cell in LEVELS for cell in cells)), None)
    if time is None or level is None:
        return None
    spoken = (
        number
        for number in range(level + 1, wide)
        if all(columns[number]) and sum(" " in cell for cell in columns[number]) >= len(rows) / 2
    )
    message = next(spoken, None)
    if message is None:
        return None
    # As in front of a level anywhere, a number is a process.
    pid = next((number for number in range(time + 1, level) if all(map(_is_short_number, columns[number]))), None)
    return Columns(delimiter, (time,), level, message, pid=pid)


def _is_short_number(cell: str) -> bool:
    return cell.isdecimal() and len(cell) <= 10
