"""A document's structure by position: heading paths, pages, where it may be parted, and what is known of a stretch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.types import Block, Document

# A log's run begins something new as a heading does, but a heading says more.
_RUN_LEVEL = 100

#: Boxes that a chunk keeps one by one; of more than these, one a page is kept that holds them all.
MOST_BOXES = 64


class Outline:
    """Made once a document; every position is a character of its text."""

    def __init__(self, document: Document) -> None:
        self._blocks = blocks = document.blocks
        self._starts = [block.start for block in blocks]
        # Cuts before a heading that follows something else than a heading, or before a log's run; and their levels.
        self._divisions: list[int] = []
        self._levels: list[int] = []
        # Cuts before any other block.
        self._cuts: list[int] = []
        self._run_of_headings: dict[int, int] = {}  # where the text under some headings starts → where they do
        self._path_at: list[int] = []  # positions at which the path changes
        self._paths: list[tuple[str, ...]] = []
        self._parents: dict[int, tuple[str, ...]] = {}
        open_headings: list[tuple[int, str]] = []
        run_start = run_level = 0
        for number, block in enumerate(blocks):
            after_heading = number > 0 and blocks[number - 1].kind == "heading"
            if block.kind == "heading":
                while open_headings and open_headings[-1][0] >= block.level:
                    open_headings.pop()
                self._parents[block.start] = tuple(title for _, title in open_headings)
                open_headings.append((block.level, " ".join(document.text[block.start : block.end].split())))
                self._path_at.append(block.start)
                self._paths.append(tuple(title for _, title in open_headings))
                if not after_heading:
                    run_start, run_level = block.start, block.level
                    self._divisions.append(block.start)
                    self._levels.append(block.level)
                else:
                    self._levels[-1] = run_level = min(run_level, block.level)
            elif number:
                if block.details.get("begins"):
                    self._divisions.append(block.start)
                    self._levels.append(_RUN_LEVEL)
                else:
                    self._cuts.append(block.start)
                if after_heading:
                    self._run_of_headings[block.start] = run_start

    def division_in(self, low: int, high: int) -> int | None:
        """The latest of the outermost headings (or starts of a log's runs) in [low, high]; None if there is none."""
        first, last = bisect_left(self._divisions, low), bisect_right(self._divisions, high)
        if first == last:
            return None
        outermost = min(self._levels[first:last])
        return max(at for at, level in self._between(first, last) if level == outermost)

    def _between(self, first: int, last: int) -> Iterable[tuple[int, int]]:
        return zip(self._divisions[first:last], self._levels[first:last], strict=True)

    def block_in(self, low: int, high: int) -> int | None:
        """The latest start of a block in [low, high]; None if there is none."""
        found = [cuts[at] for cuts in (self._cuts, self._divisions) if (at := bisect_right(cuts, high) - 1) >= 0]
        latest = max(found, default=-1)
        return latest if latest >= low else None

    def table_at(self, position: int) -> int | None:
        """Where the table starts that `position` stands in; None if it stands in none."""
        at = bisect_right(self._starts, position) - 1
        if at < 0 or self._blocks[at].kind != "table" or position >= self._blocks[at].end:
            return None
        return self._starts[at]

    def heading_ending_at(self, cut: int) -> int | None:
        """Where the headings start that a cut here would leave behind without their text; None if there are none."""
        return self._run_of_headings.get(cut)

    def section(self, position: int) -> tuple[str, ...]:
        """The headings that `position` stands under, the heading it stands in included."""
        at = bisect_right(self._path_at, position) - 1
        return self._paths[at] if at >= 0 else ()

    def context(self, position: int) -> tuple[str, ...]:
        """The headings that a chunk starting at `position` does not show itself."""
        return self._parents.get(position, self.section(position))

    def pages(self, start: int, end: int) -> tuple[int | None, int | None]:
        """First and last page of `text[start:end]`, None where the format has none."""
        pages = [block.page for block in self._within(start, end) if block.page is not None]
        return (min(pages), max(pages)) if pages else (None, None)

    def details(self, start: int, end: int) -> dict[str, Any]:
        """What is known of `text[start:end]` beside its pages; nothing where the format tells nothing.

        `boxes`: of each block [page, left, bottom, right, top], in points. Of a log's events: `time_from` and `time_to`
        (ISO 8601, UTC), `levels`, `templates`, and `events`, how many.
        """
        blocks = self._within(start, end)
        boxes = [[block.page or 1, *(round(edge, 1) for edge in block.box)] for block in blocks if block.box]
        found: dict[str, Any] = {"boxes": boxes if len(boxes) <= MOST_BOXES else _one_a_page(boxes)} if boxes else {}
        details = [block.details for block in blocks if block.details]
        for name, choose in (("time_from", min), ("time_to", max)):
            if times := [each[name] for each in details if name in each]:
                found[name] = choose(times)
        for name in ("levels", "templates"):
            if values := dict.fromkeys(value for each in details for value in each.get(name, ())):
                found[name] = list(values)
        if any("events" in each for each in details):
            found["events"] = sum(each.get("events", 0) for each in details)
        return found

    def _within(self, start: int, end: int) -> Sequence[Block]:
        first = max(0, bisect_right(self._starts, start) - 1)
        return self._blocks[first : max(first + 1, bisect_left(self._starts, end))]


def _one_a_page(boxes: Sequence[Sequence[float]]) -> list[list[float]]:
    pages: dict[float, list[float]] = {}
    for page, left, bottom, right, top in boxes:
        one = pages.setdefault(page, [page, left, bottom, right, top])
        one[1:] = [min(one[1], left), min(one[2], bottom), max(one[3], right), max(one[4], top)]
    return list(pages.values())
