"""What a page is made of before it is read: runs of text at their places, in points."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

#: left, bottom, right, top.
Box = tuple[float, float, float, float]

# A distance in points, or many.
Place = TypeVar("Place", float, NDArray[np.float64])

#: The direction of a line that runs neither along nor across the page: a watermark, say.
OBLIQUE = 4

#: Letters that run from right to left.
RTL = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

#: Letters as wide as they are high, which part no words.
WIDE = re.compile("[\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")

#: A number, with its unit or sign.
NUMBER = re.compile(r"\W*\d[\d\s.,:/%()+−–-]*\W*\w{0,3}")


class Run(NamedTuple):
    """A stretch of a line, or a line, in a frame in which its text runs along the first axis.

    `base` is where its letters stand, `low` and `high` are the reach of its type, all in points; `turn` says how the
    frame lies on the page: in quarter turns anticlockwise, or OBLIQUE. `order` is its place in the page's content.
    """

    text: str
    left: float
    right: float
    base: float
    low: float
    high: float
    size: float
    bold: bool = False
    mono: bool = False
    turn: int = 0
    order: int = 0


class View(NamedTuple):
    """From a page's own space to the page as it is shown: cropped, and turned by `quarters` clockwise.

    It is `plain` if the two are the same.
    """

    left: float
    bottom: float
    width: float
    height: float
    quarters: int
    plain: bool

    def shows(self, box: Box) -> bool:
        """Whether any of a box is on the page."""
        return box[2] > 0 and box[3] > 0 and box[0] < self.width and box[1] < self.height

    def point(self, x: Place, y: Place) -> tuple[Place, Place]:
        """Where (x, y) is shown; of many at once if they are arrays."""
        x, y = x - self.left, y - self.bottom
        if self.quarters == 1:
            return y, self.height - x
        if self.quarters == 2:
            return self.width - x, self.height - y
        return (self.width - y, x) if self.quarters == 3 else (x, y)

    def box(self, box: Box) -> Box:
        """Where the rectangle (left, bottom, right, top) is shown."""
        (x0, y0), (x1, y1) = self.point(box[0], box[1]), self.point(box[2], box[3])
        return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


Row = list[Run]
Cell = list[Run]


class Flow(NamedTuple):
    """Lines that stand below each other in one column."""

    lines: Sequence[Run]


class Table(NamedTuple):
    """Rows of cells, each the runs that stand in it."""

    rows: Sequence[Sequence[Cell]]


Piece = Flow | Table


def is_rtl(text: str) -> bool:
    """Whether there are letters in it that run from right to left."""
    return not text.isascii() and RTL.search(text) is not None


def turned(box: Box, turn: int) -> Box:
    """A box on the page in the frame of lines that run in the direction `turn`."""
    left, bottom, right, top = box
    if turn == 1:
        return bottom, -right, top, -left
    if turn == 2:
        return -right, -top, -left, -bottom
    return (-top, left, -bottom, right) if turn == 3 else box


def box_of(*runs: Run) -> Box:
    """The rectangle on the page around some runs of one direction."""
    first = runs[0]
    if len(runs) == 1:
        box = first.left, first.low, first.right, first.high
    else:
        box = (
            min([run.left for run in runs]),
            min([run.low for run in runs]),
            max([run.right for run in runs]),
            max([run.high for run in runs]),
        )
    return turned(box, 4 - first.turn) if 0 < first.turn < OBLIQUE else box


def around(one: Box, other: Box) -> Box:
    """The rectangle around two."""
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def joined_row(row: Row) -> Run:
    """The runs of a row as one; what touches is one word."""
    if len(row) == 1:
        return row[0]
    main = max(row, key=lambda run: run.right - run.left)
    text = row[0].text
    for before, run in pairwise(row):
        text += run.text if run.left - before.right < 0.15 * min(before.size, run.size) else f" {run.text}"
    return main._replace(
        text=text,
        left=min(run.left for run in row),
        right=max(run.right for run in row),
        low=min(run.low for run in row),
        high=max(run.high for run in row),
        bold=all(run.bold for run in row),
        order=min(run.order for run in row),
    )


def rows_of(runs: Iterable[Run]) -> list[Row]:
    """Runs that stand on one base line, from the top; those of a row from the left."""
    rows: list[Row] = []
    base = size = 0.0
    for run in sorted(runs, key=lambda run: -run.base):
        if rows and base - run.base <= 0.3 * min(size, run.size):
            rows[-1].append(run)
        else:
            rows.append([run])
            base, size = run.base, run.size
    for row in rows:
        if len(row) > 1:
            row.sort(key=lambda run: run.left)
    return rows


def parted_by(boxes: NDArray[np.float64], gaps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which words start a run, given the boxes of each one's first and last character: those after a gap so wide.

    So do those that stand before the word before, or above or below it.
    """
    parted = np.zeros(len(gaps), np.bool_)
    head, above, here, gap = boxes[0, :-1], boxes[1, :-1], boxes[0, 1:], gaps[1:]
    parted[1:] = (
        (here[:, 0] - above[:, 2] > gap)
        | (here[:, 0] < head[:, 0] - gap)
        | (np.minimum(above[:, 3], here[:, 3]) <= np.maximum(above[:, 1], here[:, 1]))
    )
    return parted
