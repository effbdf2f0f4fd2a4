"""The text of a page of a PDF as runs: stretches of a line without a wide gap, each with its place and type.

Knows PDFium by the `raw` functions it is handed. A call costs about as much as PDFium needs for two characters, so
there are few: eight a line, and two a word only where a line may have a gap.
"""

from __future__ import annotations

import ctypes
import math
import re
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, repeat
from typing import Any

from pipeline.parse.bidi import Word, in_order, spelt
from pipeline.parse.geometry import OBLIQUE, RTL, Box, Run, View, box_of, turned

# PDFium puts \ufffe in place of a hyphen that ends a line, and of the line's end; older ones \x02.
_HYPHENS = ("\x02", "\ufffe")
_LINE = re.compile("[^\r\n\x02\ufffe]*[^\\s\x02\ufffe][^\r\n\x02\ufffe]*")
_WORD = re.compile(r"\S+")
_BOLD = re.compile(r"(?i:bold|black|heavy|demi|bx\d|sfsx|-medi\b)|[-,.f](?:Bd|Hv|Sb|SB|Xb|Blk)|\.B\b")
_MONO = re.compile(r"mono|courier|consol|menlo|typewriter|cmtt|sftt|inconsolata|lettergothic", re.I)
_FORCE_BOLD, _FIXED_PITCH = 1 << 18, 1
#: More than any space within a line (but for a few justified ones, which layout joins again), in type sizes.
_GAP = 0.7
_SAMPLED = 8  # one line of so many is looked at word by word
_SHORT = 12  # characters: as quickly looked at as not
_FEWEST_LETTERS, _MOST_LETTERS = 100, 10_000  # that say how wide a font's are
_LONGEST_NAME = 128  # of a font, in bytes
_PRIVATE = re.compile("[\uf000-\uf0ff]")
# What the fonts of old word processors have in place of bullets and signs.
_SYMBOLS = {
    0xF0B7: "•", 0xF0A7: "▪", 0xF06E: "■", 0xF06F: "□", 0xF0A8: "□", 0xF0D8: "➢", 0xF076: "❖", 0xF0FC: "✓",
    0xF0FE: "☑", 0xF0E0: "→", 0xF0AE: "→", 0xF0AC: "←", 0xF0B0: "°", 0xF0B1: "±", 0xF0B4: "×", 0xF0A3: "≤",
    0xF0B3: "≥", 0xF0B9: "≠", 0xF02D: "−",
}  # fmt: skip


def view_of(raw: Any, page: Any) -> View:
    """The view of `page`."""
    box = raw.FS_RECTF()
    raw.FPDF_GetPageBoundingBox(page, box)
    size = raw.FPDF_GetPageWidthF(page), raw.FPDF_GetPageHeightF(page)
    quarters = raw.FPDFPage_GetRotation(page) % 4
    return View(box.left, box.bottom, *size, quarters, box.left == box.bottom == quarters == 0)


class _Font:
    """What is known of a font: how it looks, and how wide its letters and the spaces between words are on average."""

    __slots__ = ("bold", "letters", "mono", "space", "spaces", "width")

    def __init__(self, name: str, flags: int) -> None:
        self.bold = bool(_BOLD.search(name) or flags & _FORCE_BOLD)
        self.mono = bool(_MONO.search(name) or flags & _FIXED_PITCH)
        self.width = self.space = 0.0
        self.letters = self.spaces = 0

    def learn(self, letters: Sequence[int], boxes: Sequence[Box], size: float) -> None:
        """Take in the words of a run: how many letters each has, and the boxes of its first and last."""
        width = sum([box[2] for box in boxes[1::2]]) - sum([box[0] for box in boxes[::2]])
        self.letters += sum(letters)
        self.width += width / size
        self.spaces += len(letters) - 1
        self.space += (boxes[-1][2] - boxes[0][0] - width) / size

    def reach(self, letters: int, spaces: int) -> float:
        """About how wide a line of so many letters and spaces is at most, in type sizes; 0 while that is unknown."""
        if self.letters < _FEWEST_LETTERS:
            return 0.0
        space = self.space / self.spaces if self.spaces else 0.25
        return 1.03 * letters * self.width / self.letters + 1.2 * spaces * space + 0.6


class TextReader:
    """Reads pages of one document; what it learns about fonts it keeps."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._sizes: dict[tuple[float, float], float] = {}
        self._fonts: dict[tuple[bytes, int], _Font] = {}
        self._name, self._flags = ctypes.create_string_buffer(_LONGEST_NAME), ctypes.c_int()
        self._name_at, self._flags_at = ctypes.addressof(self._name), ctypes.addressof(self._flags)
        self._pair = array("d", (0, 0))
        self._matrix = array("f", (0,) * 6)
        handle, index, out = ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
        self._get_box = self._fast("FPDFText_GetLooseCharBox", index, handle, index, out)
        self._get_origin = self._fast("FPDFText_GetCharOrigin", index, handle, index, out, out)
        self._get_error = self._fast("FPDFText_HasUnicodeMapError", index, handle, index)
        self._get_size = self._fast("FPDFText_GetFontSize", ctypes.c_double, handle, index)
        self._get_angle = self._fast("FPDFText_GetCharAngle", ctypes.c_float, handle, index)
        self._get_matrix = self._fast("FPDFText_GetMatrix", index, handle, index, out)
        self._get_font = self._fast("FPDFText_GetFontInfo", ctypes.c_ulong, handle, index, out, ctypes.c_ulong, out)

    def _fast(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        """One of PDFium's functions, called with plain numbers and without letting go of the interpreter."""
        address = ctypes.cast(getattr(self._raw, name), ctypes.c_void_p).value or 0
        function: Callable[..., Any] = ctypes.PYFUNCTYPE(result, *arguments)(address)
        return function

    def runs(self, page: Any, view: View) -> list[Run] | None:
        """The runs of `page` in the order of its content; None if its text cannot be read."""
        textpage = self._raw.FPDFText_LoadPage(page)
        if not textpage:
            return None
        try:
            text, index = self._text(textpage)
            return _PageText(self, ctypes.cast(textpage, ctypes.c_void_p).value, text, index, view).runs()
        finally:
            self._raw.FPDFText_ClosePage(textpage)

    def _text(self, textpage: Any) -> tuple[str, Callable[[int], int]]:
        """The page's characters, and what maps the index of one to PDFium's."""
        count = self._raw.FPDFText_CountChars(textpage)
        if count <= 0:
            return "", int
        buffer = (ctypes.c_ushort * (2 * count + 2))()
        written = max(0, self._raw.FPDFText_GetText(textpage, 0, count, buffer) - 1)
        text = bytes(memoryview(buffer)[:written]).decode("utf-16-le", "surrogatepass")
        if len(text) == written == count:
            return _named(text), int
        units: list[int] = []  # where each character starts, in UTF-16 units, as PDFium counts
        unit = 0
        for character in text:
            units.append(unit)
            unit += 1 + (character > "\uffff")
        map_index = self._raw.FPDFText_GetCharIndexFromTextIndex
        return _named(text), lambda index: max(0, map_index(textpage, units[index]))

    # -- one character ---------------------------------------------------------------------------------------------

    def boxes(self, handle: int | None, indices: Sequence[int]) -> list[Box]:
        """The boxes of some characters, each as high as its font: (left, bottom, right, top)."""
        out = array("f", bytes(16 * len(indices)))
        start = out.buffer_info()[0]
        deque(map(self._get_box, repeat(handle), indices, range(start, start + 16 * len(indices), 16)), 0)
        return list(zip(out[0::4], out[3::4], out[2::4], out[1::4], strict=True))  # from left, top, right, bottom

    def origin(self, handle: int | None, index: int) -> tuple[float, float]:
        """Where a character stands."""
        start = self._pair.buffer_info()[0]
        self._get_origin(handle, index, start, start + 8)
        return self._pair[0], self._pair[1]

    def angle(self, handle: int | None, index: int) -> float:
        """How far a character is turned: in radians, clockwise."""
        angle: float = self._get_angle(handle, index)
        return angle

    def size(self, handle: int | None, index: int, box: Box) -> float:
        """The size of a character's type as it is shown; what is called the same and is as high has the same."""
        nominal = self._get_size(handle, index)
        height = box[3] - box[1]
        key = nominal, round(height, 1)
        size = self._sizes.get(key)
        if size is None:
            self._get_matrix(handle, index, self._matrix.buffer_info()[0])
            size = self._sizes[key] = nominal * math.hypot(self._matrix[2], self._matrix[3]) or height or 1.0
        return size

    def is_nameless(self, handle: int | None, index: int) -> bool:
        """Whether the font does not say which character this one is."""
        return bool(self._get_error(handle, index) == 1)

    def font(self, handle: int | None, index: int) -> _Font:
        """A character's font."""
        written = self._get_font(handle, index, self._name_at, _LONGEST_NAME, self._flags_at)
        key = ctypes.string_at(self._name_at, max(0, min(written, _LONGEST_NAME) - 1)), self._flags.value
        font = self._fonts.get(key)
        if font is None:
            font = self._fonts[key] = _Font(key[0].decode("latin-1"), key[1])
        return font


class _PageText:
    """The text of one page, line by line.

    A line is as wide as its letters and spaces let expect: then three characters show where it stands. If it is wider,
    its words are looked at, for the gaps between columns; every eighth line's are, and all once there are gaps.
    """

    def __init__(
        self, reader: TextReader, handle: int | None, text: str, index: Callable[[int], int], view: View
    ) -> None:
        self._reader = reader
        self._handle = handle
        self._text = text
        self._index = index
        self._view = view
        self._rtl = not text.isascii() and bool(RTL.search(text))

    def runs(self) -> list[Run]:
        spans = [_stripped(self._text, *match.span()) for match in _LINE.finditer(self._text)]
        places = [(start, self._letter((start + end) // 2), end - 1) for start, end in spans]
        boxes = self._boxes([at for place in places for at in place])
        gaps = 0
        lines: list[list[Run]] = []
        plain: list[int] = []
        for number, (start, end) in enumerate(spans):
            run = self._whole(start, end, boxes[3 * number : 3 * number + 3]) if number % _SAMPLED else None
            if run:
                plain.append(number)
                lines.append([run])
            else:
                lines.append(self._parts(start, end))
                gaps += len(lines[-1]) > 1
        if gaps > 1:
            for number in plain:
                lines[number] = self._parts(*spans[number])
        runs = [run for line in lines for run in line]
        width, height = self._view.width, self._view.height
        shown = [
            run for run in runs
            if (run.right > 0 and run.left < width and run.high > 0 and run.low < height if not run.turn
                else self._view.shows(box_of(run)))
        ]  # fmt: skip
        return [Run(*run[:-1], order) for order, run in enumerate(shown or runs)]

    def _letter(self, at: int) -> int:
        while self._text[at].isspace():
            at += 1
        return at

    def _boxes(self, places: Sequence[int]) -> list[Box]:
        index = self._index
        boxes = self._reader.boxes(self._handle, places if index is int else [index(at) for at in places])
        return boxes if self._view.plain else list(map(self._view.box, boxes))

    def _base(self, at: int, turn: int) -> float:
        x, y = self._reader.origin(self._handle, self._index(at))
        if not self._view.plain:
            x, y = self._view.point(x, y)
        return (y, -x, -y, x, y)[turn]

    def _whole(self, start: int, end: int, boxes: Sequence[Box]) -> Run | None:
        """A line as one run; None if it must be looked at more closely."""
        first, middle, last = boxes
        low, high = max(first[1], middle[1], last[1]), min(first[3], middle[3], last[3])
        if self._rtl or end - start < _SHORT or last[2] <= first[0] or high - low < 0.5 * (middle[3] - middle[1]):
            return None
        at = self._letter((start + end) // 2)
        font = self._reader.font(self._handle, self._index(at))
        size = self._reader.size(self._handle, self._index(at), middle)
        spaces = self._text.count(" ", start, end)
        if last[2] - first[0] > size * font.reach(end - start - spaces, spaces):
            return None
        bold, mono = font.bold, font.mono
        for other in (start, end - 1):
            if bold or mono:
                font = self._reader.font(self._handle, self._index(other))
                bold, mono = bold and font.bold, mono and font.mono
        low, high = min(first[1], middle[1], last[1]), max(first[3], middle[3], last[3])
        return Run(self._said(start, end, end), first[0], last[2], self._base(at, 0), low, high, size, bold, mono, 0, 0)

    def _parts(self, start: int, end: int) -> list[Run]:
        """The runs of a line, parted where there are wide gaps between words."""
        reader, handle, index = self._reader, self._handle, self._index
        if self._rtl and RTL.search(self._text, start, end):
            return self._turned_parts(start, end)
        words = [word.span() for word in _WORD.finditer(self._text, start, end)]
        boxes = self._boxes([at for first, last in words for at in (first, last - 1)])
        turn = self._turn(start, boxes)
        if turn:
            boxes = [turned(box, turn) for box in boxes]
        lengths = [last - first for first, last in words]
        runs = []
        for first, last in _groups(boxes, reader.size(handle, index(start), boxes[0])):
            here = boxes[2 * first : 2 * last + 2]
            # The longest word shows the type; what stands at either end may be a mark, or raised.
            main = first if first == last else lengths.index(max(lengths[first : last + 1]), first)
            at = sum(words[main]) // 2
            font = reader.font(handle, index(at))
            size = reader.size(handle, index(at), boxes[2 * main])
            bold, mono = font.bold, font.mono
            if (bold or mono) and first < last:
                other = reader.font(handle, index(words[first if main == last else last][0]))
                bold, mono = bold and other.bold, mono and other.mono
            if not turn and font.letters < _MOST_LETTERS:
                font.learn(lengths[first : last + 1], here, size)
            text = self._said(words[first][0], words[last][1], end)
            runs.append(self._run(text, here, at, turn, size, bold, mono))
        return runs

    def _turned_parts(self, start: int, end: int) -> list[Run]:
        """The runs of a line with words that run from right to left."""
        places = list(range(start, end))
        boxes = self._boxes(places)
        turn = 0 if boxes[0][0] >= boxes[-1][0] else self._turn(start, boxes)
        if turn:
            boxes = [turned(box, turn) for box in boxes]
        # Where the letters of several glyphs are all written down with the first one, the others come as anything.
        letters = [at for at in places if not self._text[at].isspace()]
        named = {at for at in letters if not self._reader.is_nameless(self._handle, self._index(at))} or {*letters}
        words = []
        for found in _WORD.finditer(self._text, start, end):
            if letters := [at for at in range(*found.span()) if at in named]:
                own = [boxes[at - start] for at in letters]
                left, right = min([box[0] for box in own]), max([box[2] for box in own])
                text = spelt("".join([self._text[at] for at in letters]), own)
                words.append(Word(found.start(), found.end(), text, left, right))
        at = max(words, key=lambda word: word.end - word.start).start
        font = self._reader.font(self._handle, self._index(at))
        size = self._reader.size(self._handle, self._index(at), boxes[at - start])
        gaps = _gaps([(word.left, word.right) for word in words], _GAP * size)
        runs = []
        for _, group in groupby(in_order(words), lambda word: bisect_right(gaps, word.left)):
            here = list(group)
            own = [boxes[at - start] for word in here for at in range(word.start, word.end) if at in named]
            text = " ".join(word.text for word in here)
            runs.append(self._run(text, own, here[0].start, turn, size, font.bold, font.mono))
        return runs

    def _run(self, text: str, boxes: Sequence[Box], at: int, turn: int, size: float, bold: bool, mono: bool) -> Run:
        lefts, lows, rights, highs = zip(*boxes, strict=True)
        base = self._base(at, turn)
        return Run(text, min(lefts), max(rights), base, min(lows), max(highs), size, bold, mono, turn)

    def _said(self, start: int, end: int, line_end: int) -> str:
        """What a run says, with the hyphen that PDFium takes from the end of a line."""
        text = self._text[start:end]
        return text + "-" if end == line_end and self._text[end : end + 1] in _HYPHENS else text

    def _turn(self, start: int, boxes: Sequence[Box]) -> int:
        """Which way a line runs: in quarter turns anticlockwise, or OBLIQUE."""
        first, last = boxes[0], boxes[-1]
        right, up = last[0] + last[2] - first[0] - first[2], last[1] + last[3] - first[1] - first[3]
        if right > 10 * abs(up):
            return 0
        # In quarter turns clockwise, of letters, not lines: those of Chinese stand upright in lines that run down.
        angle = self._reader.angle(self._handle, self._index(start)) / (math.pi / 2) + self._view.quarters
        if abs(angle - round(angle)) > 0.1:
            return OBLIQUE
        if abs(up) > 2 * abs(right):
            return 1 if up > 0 else 3
        return -round(angle) % 4


def _named(text: str) -> str:
    return text.translate(_SYMBOLS) if not text.isascii() and _PRIVATE.search(text) else text


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while text[start].isspace():
        start += 1
    while text[end - 1].isspace():
        end -= 1
    return start, end


def _groups(boxes: Sequence[Box], size: float) -> Iterator[tuple[int, int]]:
    """First and last word of each run of a line, given the boxes of each word's first and last character."""
    first = 0
    for word in range(1, len(boxes) // 2):
        head, above, here = boxes[2 * word - 2], boxes[2 * word - 1], boxes[2 * word]
        gap = here[0] - above[2]
        if gap > _GAP * size or here[0] < head[0] - _GAP * size or min(above[3], here[3]) <= max(above[1], here[1]):
            yield first, word - 1
            first = word
    yield first, len(boxes) // 2 - 1


def _gaps(spans: Iterable[tuple[float, float]], wide: float) -> list[float]:
    """Where text starts again after a gap, from the left."""
    gaps: list[float] = []
    reach = math.inf
    for left, right in sorted(spans):
        if left - reach > wide:
            gaps.append(left)
        reach = right if reach == math.inf else max(reach, right)
    return gaps
