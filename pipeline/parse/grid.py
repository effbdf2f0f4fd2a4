"""Rows of runs into the rows of a table: which belong to it, and which lines of text make up one row of it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

from pipeline.parse.geometry import NUMBER, Box, Cell, Row, Table

# Distances of rows, in type sizes: of different tables, of one table, of one cell.
_FAR, _CLOSE, _TIGHT = 4.0, 2.2, 1.4

_MOST_HEADERS = 3
_ONE_LINE = 2.0  # points: strokes that are no further apart look like one


def rules_of(strokes: Iterable[Box]) -> list[Box]:
    """The lines that strokes make up where they go on from each other, level ones first."""
    level = [(low, left, right) for left, low, right, high in strokes if low == high]
    upright = [(left, low, high) for left, low, right, high in strokes if low != high]
    return [(start, at, end, at) for at, start, end in _merged(level)] + [
        (at, start, at, end) for at, start, end in _merged(upright)
    ]


def _merged(lines: Iterable[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    merged: list[tuple[float, float, float]] = []
    for _, parallel in groupby(sorted(lines), lambda line: round(line[0] / _ONE_LINE)):
        here: list[tuple[float, float, float]] = []
        for at, start, end in sorted(parallel, key=lambda line: line[1]):
            if here and start <= here[-1][2] + 2 * _ONE_LINE:
                here[-1] = here[-1][0], here[-1][1], max(here[-1][2], end)
            else:
                here.append((at, start, end))
        merged += here
    return merged


def rules_across(rules: Iterable[Box], left: float, right: float) -> list[float]:
    """The heights of the level lines that reach from `left` to `right`, from the top."""
    heights: list[float] = []
    for height in sorted((low for start, low, end, high in rules if low == high and start <= left and right <= end))[
        ::-1
    ]:
        if not heights or heights[-1] - height > _ONE_LINE:
            heights.append(height)
    return heights


def table_rows(
    rows: Sequence[Row], first: int, last: int, borders: Sequence[float], rules: Sequence[Box]
) -> tuple[int, int] | None:
    """The first and last row of the table that has these borders and is somewhere from `first` to `last`; None if
    there is none.

    Rows at its ends that stand in one column only are not of it, unless lines drawn around it say so; rows above and
    below that have several cells are, even if one of those spans columns.
    """
    inside = _together([at for at in range(first, last + 1) if _filled(cells_of(rows[at], borders)) > 1], rows)
    if len(inside) < 2:
        return None
    first, last = inside[0], inside[-1]
    while last + 1 < len(rows) and _goes_on(rows[last], rows[last + 1], borders):
        last += 1
    left = min(run.left for row in rows[first : last + 1] for run in row)
    right = max(run.right for row in rows[first : last + 1] for run in row)
    for _ in range(_MOST_HEADERS):
        if first and _heads(rows[first - 1], borders, right - left) and _step(rows[first - 1], rows[first]) < _CLOSE:
            first -= 1
    while (
        last + 1 < len(rows)
        and _heads(rows[last + 1], borders, right - left)
        and _step(rows[last], rows[last + 1]) < _CLOSE
    ):
        last += 1
    margin = 0.1 * (right - left)
    own = [rule for rule in rules if rule[0] > left - margin and rule[2] < right + margin]
    return _framed(rows, first, last, rules_across(own, min(borders), max(borders)))


def _framed(rows: Sequence[Row], first: int, last: int, heights: Sequence[float]) -> tuple[int, int]:
    """The first and last row of a table with those next to them that the nearest lines drawn at `heights` take in."""
    top, bottom = rows[first][0].base, rows[last][0].base
    above = min([height for height in heights if height > top], default=-math.inf)
    below = max([height for height in heights if height < bottom], default=math.inf)
    upper = [at for at in range(max(0, first - _MOST_HEADERS), first) if rows[at][0].base < above]
    lower = [at for at in range(last + 1, min(len(rows), last + 1 + _MOST_HEADERS)) if rows[at][0].base > below]
    # A line further off than those rows is not one around the table.
    if upper and (upper[0] == 0 or rows[upper[0] - 1][0].base > above):
        first = upper[0]
    if lower and (lower[-1] == len(rows) - 1 or rows[lower[-1] + 1][0].base < below):
        last = lower[-1]
    return first, last


def _heads(row: Row, borders: Sequence[float], width: float) -> bool:
    """Whether a row has several cells, though one may span columns."""
    return _filled(cells_of(row, borders)) > 1 and max(run.right - run.left for run in row) < 0.6 * width


def _together(full: Sequence[int], rows: Sequence[Row]) -> Sequence[int]:
    """The most rows that are not far apart."""
    groups: list[list[int]] = [[]]
    for at in full:
        if groups[-1] and _step(rows[groups[-1][-1]], rows[at]) > _FAR * (at - groups[-1][-1]):
            groups.append([])
        groups[-1].append(at)
    return max(groups, key=len)


def table_of(rows: Sequence[Row], borders: Sequence[float], rules: Sequence[Box]) -> Table:
    """The table of these rows: lines of text that make up one row of it are brought together.

    They are where lines drawn or wider spaces part the rows, without a part that has two lines with most cells filled;
    else a line that leaves its first cell empty, and others that the line above fills, goes on from that.
    """
    heights = rules_across(rules, min(borders), max(borders))
    by_rules = _parts([sum(height > row[0].base for height in heights) for row in rows])
    steps = [_step(above, below) for above, below in pairwise(rows)]
    tight = min(steps, default=0.0)
    wide = [step > 1.25 * tight for step in steps]
    by_space = _parts([sum(wide[:at]) for at in range(len(rows))])
    lines = [cells_of(row, borders) for row in rows]
    if _gridded(rules, rows, borders) and len(by_rules) > 1:
        parts = by_rules
    else:
        known = [parts for parts in (by_rules, by_space) if _are_rows(parts, lines)]
        parts = known[0] if known else _parts(_numbered(rows, borders))
    return Table(
        [[[run for at in part for run in lines[at][column]] for column in range(len(borders) + 1)] for part in parts]
    )


def table_overleaf(rows: Sequence[Row], above: Table, rules: Sequence[Box]) -> Table | None:
    """What the first of a page's `rows` go on with of the table at the end of the page before; None if nothing.

    Each of their runs has to stand as one in a column above does, and to keep out of the columns beside it.
    """
    most = max(map(_filled, above.rows))
    columns = list(zip(*(row for row in above.rows if _filled(row) == most), strict=True))
    standing = [[run for cell in column for run in cell] for column in columns if any(column)]
    reaches = [(min(run.left for run in column), max(run.right for run in column)) for column in standing]
    borders = [(end + start) / 2 for (_, end), (start, _) in pairwise(reaches)]
    if not borders or any(end >= start for (_, end), (start, _) in pairwise(reaches)):
        return None
    full: list[int] = []
    for at, row in enumerate(rows):
        cells = cells_of(row, borders)
        if not all(map(_stands_in, cells, standing, [-math.inf, *borders], [*borders, math.inf])):
            break
        if at and _step(rows[at - 1], row) > _FAR:
            break
        if _filled(cells) > 1:
            full.append(at)
    widest = max((_filled(cells_of(rows[at], borders)) for at in full), default=0)
    return table_of(rows[: full[-1] + 1], borders, rules) if len(full) > 1 or widest > 2 else None


def _stands_in(cell: Cell, column: Cell, start: float, end: float) -> bool:
    """Whether the runs of a cell are aligned as one of the column, in type of that size, and stay within it."""
    return all(
        start < run.left and run.right < end
        and any(
            abs(run.size - other.size) < 0.1 * run.size
            and min(
                abs(run.left - other.left),
                abs(run.right - other.right),
                abs(run.left + run.right - other.left - other.right) / 2,
            ) < 0.2 * run.size
            for other in column
        )
        for run in cell
    )  # fmt: skip


def _parts(numbers: Sequence[int]) -> list[list[int]]:
    """The positions of equal numbers that follow each other."""
    return [[at for at, _ in group] for _, group in groupby(enumerate(numbers), lambda item: item[1])]


def _are_rows(parts: Sequence[Sequence[int]], lines: Sequence[Sequence[Cell]]) -> bool:
    many = max(2, round(0.6 * len(lines[0])))
    return 1 < len(parts) < len(lines) and all(sum(_filled(lines[at]) >= many for at in part) <= 1 for part in parts)


def _numbered(rows: Sequence[Row], borders: Sequence[float]) -> list[int]:
    """For each line the number of its row, by which cells it fills."""
    numbers = [0]
    for above, below in pairwise(rows):
        numbers.append(numbers[-1] + (not _goes_on(above, below, borders)))
    return numbers


def _goes_on(above: Row, below: Row, borders: Sequence[float]) -> bool:
    upper, lower = cells_of(above, borders), cells_of(below, borders)
    return (
        not lower[0]
        and _filled(lower) < max(2, _filled(upper))
        and all(
            over and not (_is_number(over) and _is_number(cell))
            for over, cell in zip(upper, lower, strict=True)
            if cell
        )
        and _step(above, below) < _TIGHT
    )


def _is_number(cell: Cell) -> bool:
    return all(NUMBER.fullmatch(run.text) for run in cell)


def _gridded(rules: Sequence[Box], rows: Sequence[Row], borders: Sequence[float]) -> bool:
    """Whether an upright line is drawn between two columns for most of the table's height."""
    top, bottom = rows[0][0].high, rows[-1][0].low
    nearest = 3 * rows[0][0].size
    return any(
        low != high and min(abs(left - border) for border in borders) < nearest
        and min(top, high) - max(bottom, low) > 0.7 * (top - bottom)
        for left, low, _, high in rules
    )  # fmt: skip


def cells_of(row: Row, borders: Sequence[float]) -> list[Cell]:
    """The runs of a row by column."""
    cells: list[Cell] = [[] for _ in range(len(borders) + 1)]
    for run in row:
        cells[bisect_right(borders, run.left)].append(run)
    return cells


def _filled(cells: Iterable[Cell]) -> int:
    return sum(bool(cell) for cell in cells)


def _step(above: Row, below: Row) -> float:
    return (above[0].base - below[0].base) / max(above[0].size, below[0].size)
