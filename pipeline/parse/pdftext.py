"""The text of a page of a PDF as runs: stretches of a line without a wide gap, each with its place and type.

A page is taken at once, in arrays, and PDFium is asked for what nothing else tells: the box of three characters a line,
of two a word only where a line may have a gap.
"""

from __future__ import annotations

import ctypes
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.parse.bidi import Word, gaps_between, in_order, spelt
from pipeline.parse.frame import walled
from pipeline.parse.geometry import OBLIQUE, RTL, Box, Run, View, box_of, parted_by, turned
from pipeline.parse.pdfchars import WIDTHS, Boxes, Characters, Font, bound

# PDFium puts \ufffe in place of a hyphen that ends a line, and of the line's end; older ones \x02.
_HYPHENS = ("\x02", "\ufffe")
_BREAKS = {"\r", "\n", *_HYPHENS}
# Of each character, and of any further one: what is neither blank nor a break is of a word.
_SOLID = np.array([not (chr(code).isspace() or chr(code) in _BREAKS) for code in range(0x10000)])
_BREAKING = np.array([chr(code) in _BREAKS for code in range(0x10000)])
#: More than any space within a line (but for a few justified ones, which layout joins again), in type sizes.
_GAP = 0.7
_SAMPLED = 8  # one line of so many is looked at word by word
_SHORT = 12  # characters: as quickly looked at as not
_PRIVATE = re.compile("[\uf000-\uf0ff]")
# What the fonts of old word processors have in place of bullets and signs.
_SYMBOLS = {
    0xF0B7: "•", 0xF0A7: "▪", 0xF06E: "■", 0xF06F: "□", 0xF0A8: "□", 0xF0D8: "➢", 0xF076: "❖", 0xF0FC: "✓",
    0xF0FE: "☑", 0xF0E0: "→", 0xF0AE: "→", 0xF0AC: "←", 0xF0B0: "°", 0xF0B1: "±", 0xF0B4: "×", 0xF0A3: "≤",
    0xF0B3: "≥", 0xF0B9: "≠", 0xF02D: "−",
}  # fmt: skip

_Indices = NDArray[np.intp]


class TextReader:
    """Reads pages of one document; what it learns about fonts it keeps."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._characters = Characters(raw)
        handle, index = ctypes.c_void_p, ctypes.c_int
        self._count = bound(raw, "FPDFText_CountChars", index, handle)
        self._get_text = bound(raw, "FPDFText_GetText", index, handle, index, index, ctypes.c_void_p)
        self._map_index = bound(raw, "FPDFText_GetCharIndexFromTextIndex", index, handle, index)

    def runs(self, page: Any, view: View, walls: Sequence[Box] = ()) -> list[Run] | None:
        """The runs of `page` in the order of its content, parted by `walls`; None if its text cannot be read."""
        textpage = self._raw.FPDFText_LoadPage(page)
        if not textpage:
            return None
        try:
            handle = ctypes.cast(textpage, ctypes.c_void_p).value
            text, index = self._text(handle)
            self._characters.turn_page()
            with np.errstate(invalid="ignore", over="ignore"):  # fonts may say that their letters are of any size
                return _PageText(self._characters, handle, text, index, view, walls).runs()
        finally:
            self._raw.FPDFText_ClosePage(textpage)

    def _text(self, handle: int | None) -> tuple[str, Callable[[int], int]]:
        """The page's characters, and what maps the index of one to PDFium's."""
        count = self._count(handle)
        if count <= 0:
            return "", int
        buffer = np.empty(2 * count + 2, np.uint16)
        written = max(0, self._get_text(handle, 0, count, buffer.ctypes.data) - 1)
        text = buffer[:written].tobytes().decode("utf-16-le", "surrogatepass")
        if len(text) == written == count:
            return _named(text), int
        units: list[int] = []  # where each character starts, in UTF-16 units, as PDFium counts
        unit = 0
        for character in text:
            units.append(unit)
            unit += 1 + (character > "\uffff")
        map_index = self._map_index
        return _named(text), lambda index: max(0, map_index(handle, units[index]))


class _Whole(NamedTuple):
    """A line that may be looked at as a whole: the font and size of its middle, and how many letters and spaces."""

    font: Font
    size: float
    letters: int
    weight: float
    spaces: int


class _Part(NamedTuple):
    """A run of a line, and what its words tell about its font."""

    row: tuple[Any, ...]
    font: Font
    letters: Sequence[int]
    weight: float
    lefts: Sequence[float]
    rights: Sequence[float]


class _PageText:
    """The text of one page, line by line.

    A line is as wide as its letters and spaces let expect: then three characters show where it stands. If it is not,
    its words are looked at, for the gaps between columns; every eighth line's are, and all once there are gaps.
    """

    def __init__(
        self, characters: Characters, handle: int | None, text: str, index: Callable[[int], int], view: View,
        walls: Sequence[Box],
    ) -> None:  # fmt: skip
        self._characters = characters
        self._handle = handle
        self._text = text
        self._index = index
        self._view = view
        self._walls = walls
        self._rtl = not text.isascii() and bool(RTL.search(text))
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        solid = np.zeros(len(codes) + 2, np.bool_)
        _SOLID.take(codes, mode="clip", out=solid[1:-1])
        edges = (solid[1:] != solid[:-1]).nonzero()[0]
        self._starts, self._ends = edges[::2], edges[1::2]  # of words
        lines = _BREAKING.take(codes, mode="clip").nonzero()[0].searchsorted(self._starts)
        # The first word of each line, and the first after the last.
        self._firsts = np.concatenate([[0], (lines[1:] != lines[:-1]).nonzero()[0] + 1, [len(lines)]])
        self._solid = solid[1:-1].nonzero()[0]
        self._weights = np.append(0.0, np.cumsum(WIDTHS.take(codes, mode="clip")))  # before each character
        self._parts: dict[int, list[_Part]] = {}

    def runs(self) -> list[Run]:
        if not len(self._starts):
            return []
        starts, ends = self._starts[self._firsts[:-1]], self._ends[self._firsts[1:] - 1]
        middles = self._solid[np.searchsorted(self._solid, (starts + ends) // 2)]
        boxes = self._boxes([*starts.tolist(), *middles.tolist(), *(ends - 1).tolist()]).reshape(3, -1, 4)
        wholes = self._wholes(starts.tolist(), middles.tolist(), ends.tolist(), boxes)
        widths = (boxes[2, :, 2] - boxes[0, :, 0]).tolist()
        count = len(widths)

        def fits(number: int) -> bool:
            one = wholes.get(number)
            return one is not None and one.font.fits(one.letters, one.weight, one.spaces, widths[number] / one.size)

        self._look_at([number for number in range(count) if not fits(number)])
        gaps = 0
        rows: dict[int, list[tuple[Any, ...]]] = {}
        plain: list[int] = []
        for number in range(count):
            if fits(number):  # asked again, since what was learnt on this page counts
                plain.append(number)
            else:
                rows[number] = self._learnt(number)
                gaps += len(rows[number]) > 1
        if gaps > 1:
            self._look_at(plain)
            rows |= {number: self._learnt(number) for number in plain}
        else:
            found = self._plain(plain, starts, middles, ends, boxes, wholes)
            rows |= {number: [row] for number, row in zip(plain, found, strict=True)}
        return self._shown([row for number in range(count) for row in rows[number]])

    def _shown(self, rows: Sequence[tuple[Any, ...]]) -> list[Run]:
        """The rows that are on the page as runs; all if none is."""
        width, height = self._view.width, self._view.height
        shown = [
            row for row in rows
            if (row[2] > 0 and row[1] < width and row[5] > 0 and row[4] < height if not row[9]
                else self._view.shows(box_of(Run(*row))))
        ]  # fmt: skip
        make = tuple.__new__  # as Run(...) does, in a third of its time
        return [make(Run, (*row, order)) for order, row in enumerate(shown or rows)]

    # -- lines as a whole ------------------------------------------------------------------------------------------

    def _wholes(
        self, starts: Sequence[int], middles: Sequence[int], ends: Sequence[int], boxes: Boxes
    ) -> dict[int, _Whole]:
        """The lines that need not be looked at word by word if they are no wider than can be expected."""
        if self._rtl or self._walls:
            return {}
        first, middle, last = boxes
        high, low = np.minimum.reduce(boxes[:, :, 3]), np.maximum.reduce(boxes[:, :, 1])
        level = (last[:, 2] > first[:, 0]) & (high - low >= 0.5 * (middle[:, 3] - middle[:, 1]))
        numbers = [
            number for number, is_level in enumerate(level.tolist())
            if is_level and number % _SAMPLED and ends[number] - starts[number] >= _SHORT
        ]  # fmt: skip
        at = [self._index(middles[number]) for number in numbers]
        fonts = self._characters.fonts(self._handle, at)
        sizes = self._characters.sizes(self._handle, at, (middle[numbers, 3] - middle[numbers, 1]).tolist())
        weights = (self._weights[ends] - self._weights[starts]).tolist()
        wholes = {}
        for number, font, size in zip(numbers, fonts, sizes, strict=True):
            start, end = starts[number], ends[number]
            spaces = self._text.count(" ", start, end)
            wholes[number] = _Whole(font, size, end - start - spaces, weights[number], spaces)
        return wholes

    def _plain(
        self, numbers: Sequence[int], starts: _Indices, middles: _Indices, ends: _Indices, boxes: Boxes,
        wholes: dict[int, _Whole],
    ) -> list[tuple[Any, ...]]:  # fmt: skip
        """These lines as a run each."""
        lefts, rights = boxes[0, numbers, 0].tolist(), boxes[2, numbers, 2].tolist()
        lows = np.minimum.reduce(boxes[:, numbers, 1]).tolist()
        highs = np.maximum.reduce(boxes[:, numbers, 3]).tolist()
        bases = self._bases(middles[numbers].tolist(), [0] * len(numbers))
        rows = []
        for at, number in enumerate(numbers):
            one, start, end = wholes[number], int(starts[number]), int(ends[number])
            bold, mono = one.font.bold, one.font.mono
            if bold or mono:
                for font in self._fonts((start, end - 1)):
                    bold, mono = bold and font.bold, mono and font.mono
            text = self._said(start, end, end)
            rows.append((text, lefts[at], rights[at], bases[at], lows[at], highs[at], one.size, bold, mono, 0))
        return rows

    # -- lines word by word ----------------------------------------------------------------------------------------

    def _learnt(self, number: int) -> list[tuple[Any, ...]]:
        """A line's runs, parted where there are wide gaps between words; its fonts are better known then."""
        if number not in self._parts:
            self._look_at([number])
        parts = self._parts[number]
        for row, font, letters, weight, lefts, rights in parts:
            if letters:
                font.learn(letters, weight, lefts, rights, row[6])
        return [part.row for part in parts]

    def _look_at(self, numbers: Iterable[int]) -> None:
        """Find the parts of these lines."""
        level = []
        for number in numbers:
            start, end = int(self._starts[self._firsts[number]]), int(self._ends[self._firsts[number + 1] - 1])
            if self._rtl and RTL.search(self._text, start, end):
                self._parts[number] = self._turned_parts(start, end)
            else:
                level.append(number)
        if level:
            self._part(np.array(level))

    def _part(self, numbers: _Indices) -> None:
        counts = self._firsts[numbers + 1] - self._firsts[numbers]
        heads = np.append(0, np.cumsum(counts))  # where the words of each line start among those of all
        words = np.repeat(self._firsts[numbers] - heads[:-1], counts) + np.arange(heads[-1])
        starts, ends = self._starts[words], self._ends[words]
        boxes = self._boxes([*starts.tolist(), *(ends - 1).tolist()]).reshape(2, -1, 4)
        turns = self._turns(starts[heads[:-1]].tolist(), boxes[0, heads[:-1]], boxes[1, heads[1:] - 1])
        for line, turn in enumerate(turns):
            if turn:
                here = boxes[:, heads[line] : heads[line + 1]]
                here[:] = [
                    [turned((left, low, right, high), turn) for left, low, right, high in row] for row in here.tolist()
                ]
        size_of = self._sizes(starts[heads[:-1]].tolist(), boxes[0, heads[:-1]])
        parted = parted_by(boxes, _GAP * np.repeat(np.array(size_of), counts))
        if self._walls:
            parted |= walled(boxes, self._walls)
        parted[heads[:-1]] = True
        cuts = np.flatnonzero(parted)
        self._measure(numbers, heads, cuts, starts, ends, boxes, turns)

    def _measure(
        self, numbers: _Indices, heads: _Indices, cuts: _Indices, starts: _Indices, ends: _Indices, boxes: Boxes,
        turns: Sequence[int],
    ) -> None:  # fmt: skip
        """Each run of these lines, which start with the words `heads`: the runs start with the words `cuts`."""
        lefts = np.minimum.reduceat(np.minimum(boxes[0, :, 0], boxes[1, :, 0]), cuts).tolist()
        lows = np.minimum.reduceat(np.minimum(boxes[0, :, 1], boxes[1, :, 1]), cuts).tolist()
        rights = np.maximum.reduceat(np.maximum(boxes[0, :, 2], boxes[1, :, 2]), cuts).tolist()
        highs = np.maximum.reduceat(np.maximum(boxes[0, :, 3], boxes[1, :, 3]), cuts).tolist()
        begins, finishes = boxes[0, :, 0].tolist(), boxes[1, :, 2].tolist()
        lengths, start_of, end_of = (ends - starts).tolist(), starts.tolist(), ends.tolist()
        weights = (self._weights[ends] - self._weights[starts]).tolist()
        lines = (np.searchsorted(heads, cuts, "right") - 1).tolist()
        spans = list(pairwise([*cuts.tolist(), len(start_of)]))
        # The longest word shows the type; what stands at either end may be a mark, or raised.
        mains = [lengths.index(max(lengths[first:last]), first) for first, last in spans]
        at = [(start_of[main] + end_of[main]) // 2 for main in mains]
        bases = self._bases(at, [turns[line] for line in lines])
        fonts, sizes = self._fonts(at), self._sizes(at, boxes[0, mains])
        line_numbers, last_of = numbers.tolist(), heads[1:].tolist()
        for number in line_numbers:
            self._parts[number] = []
        for run, (first, last) in enumerate(spans):
            line, font = lines[run], fonts[run]
            bold, mono, turn = font.bold, font.mono, turns[line]
            if (bold or mono) and last - first > 1:
                other = self._fonts([start_of[first if mains[run] == last - 1 else last - 1]])[0]
                bold, mono = bold and other.bold, mono and other.mono
            text = self._said(start_of[first], end_of[last - 1], end_of[last_of[line] - 1])
            row = (text, lefts[run], rights[run], bases[run], lows[run], highs[run], sizes[run], bold, mono, turn)
            known = slice(first, first if turn else last)
            part = _Part(row, font, lengths[known], sum(weights[known]), begins[known], finishes[known])
            self._parts[line_numbers[line]].append(part)

    def _turned_parts(self, start: int, end: int) -> list[_Part]:
        """The runs of a line with words that run from right to left."""
        places = list(range(start, end))
        found = self._boxes(places)
        boxes: list[Box] = list(map(tuple, found.tolist()))
        turn = 0 if boxes[0][0] >= boxes[-1][0] else self._turns([start], found[:1], found[-1:])[0]
        if turn:
            boxes = [turned(box, turn) for box in boxes]
        # Where the letters of several glyphs are all written down with the first one, the others come as anything.
        letters = [at for at in places if not self._text[at].isspace()]
        named = {at for at in letters if not self._characters.is_nameless(self._handle, self._index(at))} or {*letters}
        words = []
        for first, last in self._words(start, end):
            if letters := [at for at in range(first, last) if at in named]:
                own = [boxes[at - start] for at in letters]
                left, right = min([box[0] for box in own]), max([box[2] for box in own])
                text = spelt("".join([self._text[at] for at in letters]), own)
                words.append(Word(first, last, text, left, right))
        at = max(words, key=lambda word: word.end - word.start).start
        font, size = self._fonts([at])[0], self._sizes([at], np.array([boxes[at - start]]))[0]
        gaps = gaps_between(words, _GAP * size)
        parts = []
        for _, group in groupby(in_order(words), lambda word: bisect_right(gaps, word.left)):
            here = list(group)
            own = [boxes[at - start] for word in here for at in range(word.start, word.end) if at in named]
            lefts, lows, rights, highs = zip(*own, strict=True)
            text = " ".join(word.text for word in here)
            base = self._bases([here[0].start], [turn])[0]
            box = min(lefts), max(rights), base, min(lows), max(highs)
            parts.append(_Part((text, *box, size, font.bold, font.mono, turn), font, (), 0.0, (), ()))
        return parts

    # -- characters ------------------------------------------------------------------------------------------------

    def _words(self, start: int, end: int) -> Iterable[tuple[int, int]]:
        """Where the words of a line start and end."""
        first, last = np.searchsorted(self._starts, (start, end)).tolist()
        return zip(self._starts[first:last].tolist(), self._ends[first:last].tolist(), strict=True)

    def _places(self, at: Sequence[int]) -> Sequence[int]:
        return at if self._index is int else list(map(self._index, at))

    def _boxes(self, at: Sequence[int]) -> Boxes:
        """Where characters are on the page as it is shown."""
        boxes = self._characters.boxes(self._handle, self._places(at))
        if self._view.plain:
            return boxes
        x0, y0 = self._view.point(boxes[:, 0], boxes[:, 1])
        x1, y1 = self._view.point(boxes[:, 2], boxes[:, 3])
        return np.stack([np.minimum(x0, x1), np.minimum(y0, y1), np.maximum(x0, x1), np.maximum(y0, y1)], -1)

    def _bases(self, at: Sequence[int], turns: Sequence[int]) -> list[float]:
        """Where characters stand, each in the frame of its line."""
        bases = []
        for x, y, turn in zip(*self._characters.origins(self._handle, self._places(at)), turns, strict=True):
            if not self._view.plain:
                x, y = self._view.point(x, y)
            bases.append(y if turn in (0, OBLIQUE) else (y, -x, -y, x)[turn])
        return bases

    def _fonts(self, at: Sequence[int]) -> list[Font]:
        return self._characters.fonts(self._handle, self._places(at))

    def _sizes(self, at: Sequence[int], boxes: Boxes) -> list[float]:
        return self._characters.sizes(self._handle, self._places(at), (boxes[:, 3] - boxes[:, 1]).tolist())

    def _said(self, start: int, end: int, line_end: int) -> str:
        """What a run says, with the hyphen that PDFium takes from the end of a line."""
        text = self._text[start:end]
        return text + "-" if end == line_end and self._text[end : end + 1] in _HYPHENS else text

    def _turns(self, starts: Sequence[int], firsts: Boxes, lasts: Boxes) -> list[int]:
        """Which way lines run: in quarter turns anticlockwise, or OBLIQUE."""
        rights = lasts[:, 0] + lasts[:, 2] - firsts[:, 0] - firsts[:, 2]
        ups = lasts[:, 1] + lasts[:, 3] - firsts[:, 1] - firsts[:, 3]
        turns = [0] * len(starts)
        for number in np.flatnonzero(~(rights > 10 * abs(ups))).tolist():
            turns[number] = self._turn(starts[number], rights[number], ups[number])
        return turns

    def _turn(self, start: int, right: float, up: float) -> int:
        # In quarter turns clockwise, of letters, not lines: those of Chinese stand upright in lines that run down.
        angle = self._characters.angle(self._handle, self._index(start)) / (math.pi / 2) + self._view.quarters
        if abs(angle - round(angle)) > 0.1:
            return OBLIQUE
        if abs(up) > 2 * abs(right):
            return 1 if up > 0 else 3
        return -round(angle) % 4


def _named(text: str) -> str:
    return text.translate(_SYMBOLS) if not text.isascii() and _PRIVATE.search(text) else text
