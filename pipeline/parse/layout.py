"""The runs of a page into columns and tables, in reading order. Pure geometry; knows no PDF library.

Rows of runs are searched for gutters: upright strips that stay empty over several rows with text on both sides. A
gutter parts columns, which are read one after the other, or the cells of a table, or a list's numbers from its items.
What lies above a gutter comes before, what lies below comes after, so that a headline over columns needs no rule.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise, takewhile
from statistics import median
from typing import NamedTuple

from pipeline.parse.frame import set_aside
from pipeline.parse.geometry import (
    NUMBER,
    OBLIQUE,
    WIDE,
    Box,
    Flow,
    Piece,
    Row,
    Run,
    Table,
    is_rtl,
    joined_row,
    rows_of,
    turned,
)  # fmt: skip
from pipeline.parse.grid import cells_of, rules_across, rules_of, table_of, table_overleaf, table_rows

# What stands in a column of its own to the left of the text that it numbers.
_LABEL = re.compile(r"\W{1,2}|[\[(]?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})(?:\.\d{1,3}){0,4}[.)\]:]{0,2}")
_RELATION = re.compile(r"[=<>≤≥≈≠≡∼:⇔⇒→]{1,2}")
_NARROWEST = 0.15  # gutter, in type sizes
_FEWEST = 3  # lines of a column
_SHORTEST_PROSE = 18  # characters
_MOST_ROWS = 1500


class _Gutter(NamedTuple):
    """An upright strip without text from row `first` to row `last`, and how many rows it has text beside it."""

    left: float
    right: float
    first: int
    last: int
    weight: int

    def parts(self, other: _Gutter) -> bool:
        """Whether the other is a strip of its own."""
        return self.right <= other.left or other.right <= self.left


def may_hold_table(runs: Sequence[Run], framed: bool = False) -> bool:
    """Whether two rows that follow each other both have a gap; of a framed table, whether any row has one."""
    gaps = [len(row) > 1 for row in rows_of(runs)]
    return any(gaps) if framed else any(above and below for above, below in pairwise(gaps))


def arrange(runs: Sequence[Run], strokes: Sequence[Box] = ()) -> list[Piece]:
    """The columns and tables of a page in reading order: the text of the page's main direction, then the rest."""
    by_turn: dict[int, list[Run]] = {}
    for run in runs:
        by_turn.setdefault(run.turn, []).append(run)
    pieces: list[Piece] = []
    for turn in sorted(by_turn, key=lambda turn: (turn == OBLIQUE, -sum(len(run.text) for run in by_turn[turn]))):
        if turn == OBLIQUE:
            pieces += [Flow([run]) for run in by_turn[turn]]
        else:
            pieces += _arranged(by_turn[turn], [turned(stroke, turn) for stroke in strokes])
    return pieces


def arrange_overleaf(runs: Sequence[Run], strokes: Sequence[Box], above: Table) -> list[Piece]:
    """As `arrange`, of a page that comes after one with the table `above` at its end: that may go on here."""
    pieces = arrange(runs, strokes)
    turn = next(run.turn for row in above.rows for cell in row for run in cell)
    if turn == OBLIQUE or not pieces or not isinstance(pieces[0], Flow):
        return pieces
    # Only what is one column so far: columns of prose stand in those of a table at times.
    column = {_end(line) for line in pieces[0].lines if line.turn == turn}
    rows = rows_of(run for run in runs if run.turn == turn)
    lines = takewhile(lambda row: _end(joined_row(row)) in column, rows)
    table = table_overleaf(list(lines), above, rules_of(turned(stroke, turn) for stroke in strokes))
    if not table:
        return pieces
    own = {id(run) for row in table.rows for cell in row for run in cell}
    return [table, *arrange([run for run in runs if id(run) not in own], strokes)]


def _end(line: Run) -> tuple[float, float]:
    return line.right, line.base


def _arranged(runs: Sequence[Run], strokes: Sequence[Box]) -> list[Piece]:
    if 2 * sum([is_rtl(run.text) for run in runs]) <= len(runs):
        return _whole(_with_capitals(runs), rules_of(strokes))
    # Read from the right: in the mirror it is a page like any other.
    pieces = _whole(
        [_mirrored(run) for run in runs], rules_of((-right, low, -left, high) for left, low, right, high in strokes)
    )
    return [
        Flow([_mirrored(run) for run in piece.lines])
        if isinstance(piece, Flow)
        else Table([[[_mirrored(run) for run in cell] for cell in row] for row in piece.rows])
        for piece in pieces
    ]


def _whole(runs: Sequence[Run], rules: Sequence[Box]) -> list[Piece]:
    rest, aside = set_aside(runs, rules)
    if aside.tables:
        pieces = aside.put_back(_order(_with_raised(rows_of(rest)), rules))
        if pieces is not None:
            return pieces
    return _order(_with_raised(rows_of(runs)), rules)


def _mirrored(run: Run) -> Run:
    return run._replace(left=-run.right, right=-run.left)


def _with_capitals(runs: Sequence[Run]) -> Sequence[Run]:
    """Where a capital is several lines high, it starts the first of them."""
    usual = median([run.size for run in runs])
    capitals = [run for run in runs if run.size > 1.7 * usual and len(run.text) <= 2 and run.text.isalpha()]
    for capital in capitals:
        beside = [
            run for run in runs
            if run.size < 1.3 * usual
            and 0 <= run.left - capital.right + 0.3 * usual < 2 * usual
            and capital.base + 0.5 * usual < run.high < capital.high + usual
        ]  # fmt: skip
        if beside:
            line = max(beside, key=lambda run: run.base)
            whole = line._replace(text=capital.text + line.text, left=capital.left)
            runs = [whole if run is line else run for run in runs if run is not capital]
    return runs


def _with_raised(rows: list[Row]) -> list[Row]:
    """Raised and lowered characters that touch a word of the next row join it."""
    sizes = [max([run.size for run in row]) for row in rows]  # what joins a row is smaller than that is
    kept: list[int] = []
    for at, row in enumerate(rows):
        for other in [at + 1] * (at + 1 < len(rows)) + kept[-1:]:
            if sizes[at] < 0.85 * sizes[other] and all(_touches(run, rows[other]) for run in row):
                rows[other].extend(row)
                rows[other].sort(key=lambda run: run.left)
                break
        else:
            kept.append(at)
    return [rows[at] for at in kept]


def _touches(run: Run, row: Row) -> bool:
    return any(
        abs(run.base - other.base) < 0.6 * other.size
        and -0.1 * other.size < max(run.left - other.right, other.left - run.right) < 0.35 * other.size
        for other in row
    )


def _order(rows: list[Row], rules: Sequence[Box]) -> list[Piece]:
    if not rows:
        return []
    if len(rows) <= _MOST_ROWS and not _simple(rows):
        gutters = _highest(_gutters(rows))
        for part in (_tables_first, _parted):
            for gutter in gutters:
                pieces = part(rows, gutter, gutters, rules)
                if pieces is not None:
                    return pieces
    return [Flow([joined_row(row) for row in rows])]


def _simple(rows: list[Row]) -> bool:
    """Whether no row has a gap and each reaches over or under the next: one column."""
    above = rows[0]
    for row in rows:
        if len(row) > 1 or row[0].left >= above[0].right or row[0].right <= above[0].left:
            return False
        above = row
    return True


def _gutters(rows: list[Row]) -> list[_Gutter]:
    """Every strip that cannot be made higher without being made narrower, with at least two rows on either side."""
    narrowest = _NARROWEST * median([run.size for row in rows for run in row])
    found: dict[tuple[float, float], _Gutter] = {}
    active: dict[tuple[float, float], int] = {}  # strip → its first row
    ends, starts = [row[0].right for row in rows], [row[-1].left for row in rows]

    def finish(strip: tuple[float, float], first: int, last: int) -> None:
        left, right = strip
        if math.isinf(left) or math.isinf(right) or first == last:
            return
        befores = sum([end <= left + 0.1 for end in ends[first : last + 1]])
        if befores < 2:
            return
        weight = min(befores, sum([start >= right - 0.1 for start in starts[first : last + 1]]))
        if weight >= 2 and (strip not in found or found[strip].weight < weight):
            found[strip] = _Gutter(left, right, first, last, weight)

    for at, row in enumerate(rows):
        free: list[tuple[float, float]] = []
        reach = -math.inf
        for run in row:
            if run.left - reach >= narrowest:
                free.append((reach, run.left))
            if run.right > reach:
                reach = run.right
        free.append((reach, math.inf))
        following = dict.fromkeys(free, at)
        for (left, right), first in active.items():
            whole = False
            for start, end in free:
                if end - left < narrowest:
                    continue
                if right - start < narrowest:
                    break
                # Written out, since most of the time that a page takes may be spent here.
                strip = left if left > start else start, right if right < end else end
                if strip[1] - strip[0] >= narrowest:
                    known = following.get(strip, at)
                    following[strip] = first if first < known else known
                    whole = whole or strip == (left, right)
            if not whole:
                finish((left, right), first, at - 1)
        active = following
    for strip, first in active.items():
        finish(strip, first, len(rows) - 1)
    return list(found.values())


def _tables_first(rows: list[Row], gutter: _Gutter, gutters: list[_Gutter], rules: Sequence[Box]) -> list[Piece] | None:
    """A table of three columns or more: its middle may well stand over the gutter between two columns of prose."""
    others = _beside(gutter, gutters)
    if not others:
        return None
    borders = _borders([gutter, *others])
    band = [cells_of(row, borders) for row in rows[gutter.first : gutter.last + 1]]
    full = [cells for cells in band if sum(map(bool, cells)) > 2]
    if len(full) < max(3, len(band) / 2) or any(_prose([*filter(None, cells)]) for cells in zip(*band, strict=True)):
        return None
    if _row_by_row([(cells[0], list(chain(*cells[1:]))) for cells in full]) or _numbers(cells[-1] for cells in full):
        return _tabled(rows, gutter, gutters, rules)
    return None


def _highest(gutters: Iterable[_Gutter]) -> list[_Gutter]:
    """Gutters by weight, without those that only are parts of another, though wider."""
    kept: list[_Gutter] = []
    for gutter in sorted(gutters, key=lambda gutter: (-gutter.weight, gutter.left - gutter.right)):
        if all(gutter.parts(other) or gutter.first < other.first or other.last < gutter.last for other in kept):
            kept.append(gutter)
    return kept


def _parted(rows: list[Row], gutter: _Gutter, gutters: list[_Gutter], rules: Sequence[Box]) -> list[Piece] | None:
    """The pieces of `rows`, of which some are parted by `gutter`; None if that parts nothing."""
    sides = [_sides(row, gutter) for row in rows[gutter.first : gutter.last + 1]]
    befores, afters = [before for before, _ in sides if before], [after for _, after in sides if after]
    both = [side for side in sides if all(side)]
    labels = _labels(both) and not _beside(gutter, gutters)
    if labels and all(run.mono for _, after in both for run in after):  # code with the numbers of its lines
        return _order([_labelled(row, gutter) for row in rows], rules)
    if _ruled(rows, gutter, rules):
        return _tabled(rows, gutter, gutters, rules)
    if gutter.weight < _FEWEST:
        return None
    if _prose(befores) and _prose(afters):
        if _cell_by_cell(sides):
            return _tabled(rows, gutter, gutters, rules)
        return _columns(rows, gutter, rules)
    if len(both) < 0.5 * gutter.weight:
        return _columns(rows, gutter, rules)
    if labels:
        return _order([_labelled(row, gutter) for row in rows], rules)
    if _row_by_row(both) or _numbers(afters):
        return _tabled(rows, gutter, gutters, rules)
    return _columns(rows, gutter, rules)


def _sides(row: Row, gutter: _Gutter) -> tuple[Row, Row]:
    middle = (gutter.left + gutter.right) / 2
    return [run for run in row if run.left < middle], [run for run in row if run.left >= middle]


def _beside(gutter: _Gutter, gutters: list[_Gutter]) -> list[_Gutter]:
    """Other strips along most of `gutter`, the highest first, none over another."""
    chosen = [gutter]
    for other in gutters:
        common = min(gutter.last, other.last) - max(gutter.first, other.first) + 1
        if common >= 0.6 * (gutter.last - gutter.first + 1) and all(other.parts(one) for one in chosen):
            chosen.append(other)
    return chosen[1:]


def _borders(gutters: Iterable[_Gutter]) -> list[float]:
    return sorted((gutter.left + gutter.right) / 2 for gutter in gutters)


def _prose(column: Sequence[Row]) -> bool:
    """Whether a column's lines are those of running text: long, and as long as each other."""
    if len(column) < 4:
        return False
    texts = ["".join([run.text for run in row]) for row in column]
    if median([len(text) for text in texts]) < _SHORTEST_PROSE * (0.5 if WIDE.search(texts[0]) else 1):
        return False
    widths = [row[-1].right - row[0].left for row in column]
    whole = "".join(texts)
    return median(widths) >= 0.7 * max(widths) and sum(map(str.isalpha, whole)) >= 0.6 * len(whole)


def _cell_by_cell(sides: Sequence[tuple[Row, Row]]) -> bool:
    """Whether the content goes to and fro between the sides, some lines at a time, as cells of several lines do."""
    runs = sorted((run.order, side) for both in sides for side, row in enumerate(both) for run in row)
    turns = sum(before != after for (_, before), (_, after) in pairwise(runs))
    return 3 <= turns < 0.7 * len(runs)


def _row_by_row(both: Sequence[tuple[Row, Row]]) -> bool:
    """Whether the content goes from one side to the other in most rows."""
    straight = sum(any(0 <= run.order - last.order <= 1 for last in before for run in after) for before, after in both)
    return 2 * straight >= len(both) > 0


def _numbers(column: Iterable[Row]) -> bool:
    cells = [joined_row(row).text for row in column if row]
    return sum(bool(NUMBER.fullmatch(cell)) for cell in cells) >= 0.6 * len(cells)


def _labels(both: Sequence[tuple[Row, Row]]) -> bool:
    """Whether one side numbers the other's lines."""
    if len(both) < _FEWEST:
        return False
    labels = [joined_row(before) for before, _ in both]
    near = sum(after[0].left - label.right < 4 * after[0].size for label, (_, after) in zip(labels, both, strict=True))
    return 2 * near > len(both) and sum(bool(_LABEL.fullmatch(label.text)) for label in labels) >= 0.8 * len(both)


def _relations(column: Sequence[Run]) -> bool:
    """Whether a column holds signs of equations only."""
    return bool(column) and all(_RELATION.fullmatch(run.text.strip()) for run in column)


def _labelled(row: Row, gutter: _Gutter) -> Row:
    before, after = _sides(row, gutter)
    return [joined_row([*before, after[0]]), *after[1:]] if before and after else row


def _ruled(rows: list[Row], gutter: _Gutter, rules: Sequence[Box]) -> bool:
    """Whether lines are drawn across the gutter, between its rows."""
    top, bottom = rows[gutter.first][0].base, rows[gutter.last][0].base
    return sum(bottom < height < top for height in rules_across(rules, gutter.left, gutter.right)) >= 2


def _columns(rows: list[Row], gutter: _Gutter, rules: Sequence[Box]) -> list[Piece] | None:
    last = gutter.last
    sides = [_sides(row, gutter) for row in rows[gutter.first : last + 1]]
    after_all = max(run.order for _, after in sides for run in after)
    # Lines below both columns that are short enough not to reach into the other one.
    while not sides[-1][1] and min(run.order for run in sides[-1][0]) > after_all:
        sides.pop()
        last -= 1
    left, right = ([side[at] for side in sides if side[at]] for at in (0, 1))
    if not left or not right:
        return None
    above, below = _order(rows[: gutter.first], rules), _order(rows[last + 1 :], rules)
    if below and rows[last + 1][0].order == 1 + max(run.order for row in left for run in row):
        # Text that goes on below what stands beside it.
        return [*above, *_order(left, rules), *below, *_order(right, rules)]
    return [*above, *_order(left, rules), *_order(right, rules), *below]


def _tabled(rows: list[Row], gutter: _Gutter, gutters: list[_Gutter], rules: Sequence[Box]) -> list[Piece] | None:
    borders = _borders([gutter, *_beside(gutter, gutters)])
    found = table_rows(rows, gutter.first, gutter.last, borders, rules)
    if found is None:
        return None
    first, last = found
    columns = zip(*(cells_of(row, borders) for row in rows[first : last + 1]), strict=True)
    if any(_relations([run for cell in column for run in cell]) for column in columns):
        return None
    table = table_of(rows[first : last + 1], borders, rules)
    return [*_order(rows[:first], rules), table, *_order(rows[last + 1 :], rules)]
