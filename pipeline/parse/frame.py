"""Tables with lines drawn around each cell: a grid, in which a cell may take several places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.parse.geometry import Box, Cell, Flow, Piece, Run, Table, rows_of

_NEAR = 3.0  # points: lines that are no further apart meet
_FEWEST = 3  # lines in either direction, around two rows and two columns
_MOST_CROSSINGS, _MOST_PLACES = 1_000_000, 20_000  # more are a drawing
# Else it is a diagram, a form to be filled in, or text in four quarters.
_FEWEST_CELLS = 5
_FILLED = 0.5  # of the cells

_Lines = NDArray[np.float64]  # of each line: where it is, from where, to where
_Walls = NDArray[np.bool_]


class Frame(NamedTuple):
    """Lines drawn at `xs`, from the left, and `ys`, from the top; `cells` tells of each place where its cell starts."""

    xs: Sequence[float]
    ys: Sequence[float]
    cells: NDArray[np.intp]

    @property
    def box(self) -> Box:
        """The rectangle around it."""
        return self.xs[0], self.ys[-1], self.xs[-1], self.ys[0]

    def holds(self, run: Run) -> bool:
        """Whether a run starts in one of its cells."""
        left, low, right, high = self.box
        x, y = _start(run)
        return left < x < right and low < y < high

    def walls(self) -> Iterator[Box]:
        """The upright lines between its cells."""
        for (high, low), row in zip(pairwise(self.ys), self.cells, strict=True):
            for x, (before, after) in zip(self.xs[1:-1], pairwise(row), strict=True):
                if before != after:
                    yield x, low, x, high

    def table(self, runs: Iterable[Run]) -> Table | None:
        """The runs in it by cell, each cell in the first of its places; None if that is no table.

        First rows with a single cell are left out: they are its title, and may well be a heading.
        """
        rows, columns = len(self.ys) - 1, len(self.xs) - 1
        table: list[list[Cell]] = [[[] for _ in range(columns)] for _ in range(rows)]
        xs, ys = np.array(self.xs[1:-1]), -np.array(self.ys[1:-1])
        for run in runs:
            x, y = _start(run)
            place = self.cells[np.searchsorted(ys, -y), np.searchsorted(xs, x)]
            table[place // columns][place % columns].append(run)
        filled, cells = sum(bool(cell) for row in table for cell in row), len(np.unique(self.cells))
        table = [row for row in table if any(row)]
        while table and sum(map(bool, table[0])) == 1:
            del table[0]
        used = [column for column in range(columns) if any(row[column] for row in table)]
        if len(table) < 2 or len(used) < 2 or cells < _FEWEST_CELLS or filled < _FILLED * cells:
            return None
        return Table([[row[column] for column in used] for row in table])


def _start(run: Run) -> tuple[float, float]:
    """A point within the first letters of a run."""
    return run.left + min(run.size, run.right - run.left) / 2, (run.low + run.high) / 2


def frames_of(rules: Sequence[Box]) -> list[Frame]:
    """The frames that lines make up, the largest first; each is closed, and each of its cells a rectangle."""
    level = np.array([(low, left, right) for left, low, right, high in rules if low == high])
    upright = np.array([(left, low, high) for left, low, right, high in rules if low != high])
    if min(len(level), len(upright)) < _FEWEST or len(level) * len(upright) > _MOST_CROSSINGS:
        return []
    frames = filter(None, (_frame(level[rows], upright[columns]) for rows, columns in _joined(level, upright)))
    return sorted(frames, key=lambda frame: (frame.box[0] - frame.box[2]) * (frame.box[3] - frame.box[1]))


def _joined(level: _Lines, upright: _Lines) -> Iterator[tuple[_Walls, _Walls]]:
    """Which lines belong together, since they meet."""
    at, start, end = (level[:, None, part] for part in range(3))
    meet = (start - _NEAR <= upright[:, 0]) & (upright[:, 0] <= end + _NEAR)
    meet &= (upright[:, 1] - _NEAR <= at) & (at <= upright[:, 2] + _NEAR)
    left = meet.any(axis=1)
    while left.any():
        rows: _Walls = np.zeros(len(level), np.bool_)
        columns: _Walls = np.zeros(len(upright), np.bool_)
        rows[left.argmax()] = True
        known = 0
        while known != (known := int(rows.sum())):
            np.any(meet[rows], axis=0, out=columns)
            np.any(meet[:, columns], axis=1, out=rows)
        left &= ~rows
        if known >= _FEWEST <= int(columns.sum()):
            yield rows, columns


def _frame(level: _Lines, upright: _Lines) -> Frame | None:
    ys, xs = _places(level[:, 0])[::-1], _places(upright[:, 0])
    if len(xs) < _FEWEST or len(ys) < _FEWEST or len(xs) * len(ys) > _MOST_PLACES:
        return None
    beside = _walls(upright, xs, (ys[:-1] + ys[1:]) / 2).T
    above = _walls(level, ys, (xs[:-1] + xs[1:]) / 2)
    if not (above[0].all() and above[-1].all() and beside[:, 0].all() and beside[:, -1].all()):
        return None
    cells = _cells(above, beside)
    return None if cells is None else Frame(xs.tolist(), ys.tolist(), cells)


def _places(at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where there are lines, those close to each other taken as one."""
    at = np.sort(at)
    return np.array([part.mean() for part in np.split(at, np.flatnonzero(np.diff(at) > _NEAR) + 1)])


def _walls(lines: _Lines, places: NDArray[np.float64], middles: NDArray[np.float64]) -> _Walls:
    """For each place of a line, and each stretch along it given by its middle, whether a line is drawn there."""
    walls = np.zeros((len(places), len(middles)), np.bool_)
    for at, start, end in lines:
        walls[np.abs(places - at).argmin()] |= (start <= middles) & (middles <= end)
    return walls


def _cells(above: _Walls, beside: _Walls) -> NDArray[np.intp] | None:
    """Of each place the number of the first place of its cell; None if a cell is no rectangle.

    `above` says of each row, and of the end, above which places there is a wall, `beside` of each place and of the
    end of its row, whether there is one on its left.
    """
    rows, columns = len(beside), above.shape[1]
    single = above[:-1] & above[1:] & beside[:, :-1] & beside[:, 1:]
    cells = np.where(single, np.arange(rows * columns).reshape(rows, columns), -1)
    for row in range(rows):
        for column in np.flatnonzero(cells[row] < 0).tolist():
            if cells[row, column] >= 0:
                continue
            end = column + 1 + int(beside[row, column + 1 :].argmax())
            last = row + 1 + int(above[row + 1 :, column].argmax())
            inner = above[row + 1 : last, column:end].any() or beside[row:last, column + 1 : end].any()
            closed = above[row, column:end].all() and above[last, column:end].all()
            closed = closed and beside[row:last, column].all() and beside[row:last, end].all()
            if inner or not closed or (cells[row:last, column:end] >= 0).any():
                return None
            cells[row:last, column:end] = row * columns + column
    return cells


class Aside(NamedTuple):
    """Tables that are set aside while the rest of a page is put in order, and what holds the place of each of a
    table's lines: it is as wide as the table, so that columns around it are told from each other.
    """

    tables: Sequence[Table]
    places: Sequence[tuple[Run, int]]

    def put_back(self, pieces: Iterable[Piece]) -> list[Piece] | None:
        """The pieces with each table where its place is; None if that is not in one."""
        numbers = {id(run): number for run, number in self.places}
        whole: list[Piece] = []
        for piece in pieces:
            if isinstance(piece, Table):
                whole.append(piece)
                continue
            for number, lines in groupby(piece.lines, lambda line: numbers.get(id(line))):
                here = list(lines)
                if number is None:
                    whole.append(Flow(here))
                elif len(here) < sum(number == other for _, other in self.places):
                    return None
                else:
                    whole.append(self.tables[number])
        put = sum(any(piece is table for piece in whole) for table in self.tables)
        return whole if put == len(self.tables) else None


def set_aside(runs: Sequence[Run], rules: Sequence[Box]) -> tuple[Sequence[Run], Aside]:
    """The runs outside of framed tables, with what holds their places, and the tables."""
    tables: list[Table] = []
    places: list[tuple[Run, int]] = []
    for frame in frames_of(rules):
        inside = [run for run in runs if frame.holds(run)]
        table = frame.table(inside) if inside else None
        if table:
            inside = [run for row in table.rows for cell in row for run in cell]
            own = {id(run) for run in inside}
            runs = [run for run in runs if id(run) not in own]
            left, _, right, _ = frame.box
            order = min(run.order for run in inside)
            rows = rows_of(inside)
            places += [
                (row[0]._replace(text="table", left=left, right=right, order=order), len(tables)) for row in rows
            ]
            tables.append(table)
    return [*runs, *(run for run, _ in places)], Aside(tables, places)


def walls_through(runs: Iterable[Run], frames: Sequence[Frame]) -> list[Box]:
    """The upright lines of the frames if a run goes through one, since its words then are of several cells."""
    inside = [run for run in runs if not run.turn and any(frame.holds(run) for frame in frames)]
    walls = [wall for frame in frames for wall in frame.walls()]
    if not inside or not walls:
        return []
    x, low, _, high = np.array(walls).T
    left, right, middle = np.array([(run.left, run.right, (run.low + run.high) / 2) for run in inside]).T[:, :, None]
    through = (left < x - _NEAR) & (x + _NEAR < right) & (low < middle) & (middle < high)
    return walls if through.any() else []


def walled(words: NDArray[np.float64], walls: Sequence[Box]) -> NDArray[np.bool_]:
    """Which words have a wall before them, given the boxes of each one's first and last character."""
    x, low, _, high = np.array(walls).T
    before, here = words[1, :-1, 2, None], words[0, 1:, 0, None]
    middle = (words[0, 1:, 1, None] + words[0, 1:, 3, None]) / 2
    parted = (before - 1 < x) & (x < here + 1) & (low < middle) & (middle < high)
    return np.append(False, parted.any(axis=1))
