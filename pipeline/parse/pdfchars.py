"""Single characters of a PDF's page: where each stands, and what type it is set in.

Knows PDFium by the `raw` functions it is handed. A call costs as much as PDFium needs for two characters, most of it on
the way there: so they are made with plain numbers, many at once, and what comes back is left in arrays.
"""

from __future__ import annotations

import ctypes
import math
import re
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BOLD = re.compile(r"(?i:bold|black|heavy|demi|bx\d|sfsx|-medi\b)|[-,.f](?:Bd|Hv|Sb|SB|Xb|Blk)|\.B\b")
_MONO = re.compile(r"mono|courier|consol|menlo|typewriter|cmtt|sftt|inconsolata|lettergothic", re.I)
_FORCE_BOLD, _FIXED_PITCH = 1 << 18, 1
_FEWEST_LETTERS, _MOST_LETTERS = 100, 10_000  # that say how wide a font's are
_NARROWEST = 0.75  # times the widest: else the line's last character stands further left than others
_SAME = 0.01  # of the room of a letter
_LONGEST_NAME = 128  # of a font, in bytes
# How wide letters are beside each other in type for running text; any other counts as one.
_WIDTHS = {
    0.4: "ijl'‘’", 0.5: "ft.,:;!|/\\I[]", 0.6: 'r-()“”"`{}', 0.9: "ckszvxyJ", 1.2: "ABEKPSVXYFTZ",
    1.3: "CDHNRUw", 1.4: "GOQ", 1.5: "mM", 1.7: "W",
}  # fmt: skip

#: A row a character: left, bottom, right, top in points.
Boxes = NDArray[np.float64]


@cache
def bound(raw: Any, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    """One of PDFium's functions, called with plain numbers and without letting go of the interpreter."""
    address = ctypes.cast(getattr(raw, name), ctypes.c_void_p).value or 0
    function: Callable[..., Any] = ctypes.PYFUNCTYPE(result, *arguments)(address)
    return function


#: By code, and of any further one: how wide a character is beside others of its font; 0 if it is blank.
WIDTHS = np.array([float(not chr(code).isspace()) for code in range(0x10000)])
for _width, _letters in _WIDTHS.items():
    WIDTHS[[ord(letter) for letter in _letters]] = _width


class Font:
    """What is known of a font: how it looks, and how wide its letters and the spaces between words are on average.

    Letters weigh what `WIDTHS` says; each the same in a font that turns out to give as much room to any, whatever it
    is called.
    """

    __slots__ = ("alike", "bold", "letters", "mono", "pitch", "space", "spaces", "weight", "width")

    def __init__(self, name: str, flags: int) -> None:
        self.bold = bool(_BOLD.search(name) or flags & _FORCE_BOLD)
        self.mono = bool(_MONO.search(name) or flags & _FIXED_PITCH)
        self.width = self.space = self.weight = 0.0
        self.letters = self.spaces = 0
        self.pitch = 0.0  # of the word seen last
        self.alike = 0  # words of the pitch of the one before, less the others

    def learn(
        self, letters: Sequence[int], weight: float, lefts: Sequence[float], rights: Sequence[float], size: float
    ) -> None:  # fmt: skip
        """Take in the words of a run: how many letters each has, from where to where it is, and their size."""
        if self.letters >= _MOST_LETTERS:
            return
        width = (sum(rights) - sum(lefts)) / size
        self.letters += sum(letters)
        self.weight += weight
        self.width += width
        self.spaces += len(lefts) - 1
        self.space += (rights[-1] - lefts[0]) / size - width
        longest = letters.index(max(letters))  # the others may be of other fonts
        pitch = (rights[longest] - lefts[longest]) / size / letters[longest]
        self.alike += 1 if abs(pitch - self.pitch) < _SAME * pitch else -1
        self.pitch = pitch

    def fits(self, letters: int, weight: float, spaces: int, width: float) -> bool:
        """Whether a line of so many letters and spaces is about as wide as this, in type sizes; not while unknown."""
        if self.letters < _FEWEST_LETTERS:
            return False
        share = letters / self.letters if self.alike > 0 else weight / self.weight
        space = self.space / self.spaces if self.spaces else 0.25
        most = 1.03 * share * self.width + 1.2 * spaces * space + 0.6
        return _NARROWEST * most <= width <= most


class Characters:
    """The characters of one document's pages, by the handle of a page's text; what is learnt about fonts is kept."""

    def __init__(self, raw: Any) -> None:
        self._sizes: dict[tuple[float, float], float] = {}
        self._fonts: dict[tuple[bytes, int], Font] = {}
        self._page_fonts: dict[int | None, Font] = {}
        self._matrix = array("f", (0,) * 6)
        handle, index, out = ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
        self._get_box = bound(raw, "FPDFText_GetLooseCharBox", index, handle, index, out)
        self._get_origin = bound(raw, "FPDFText_GetCharOrigin", index, handle, index, out, out)
        self._get_error = bound(raw, "FPDFText_HasUnicodeMapError", index, handle, index)
        self._get_size = bound(raw, "FPDFText_GetFontSize", ctypes.c_double, handle, index)
        self._get_angle = bound(raw, "FPDFText_GetCharAngle", ctypes.c_float, handle, index)
        self._get_matrix = bound(raw, "FPDFText_GetMatrix", index, handle, index, out)
        self._get_object = bound(raw, "FPDFText_GetTextObject", handle, handle, index)
        self._get_font = bound(raw, "FPDFTextObj_GetFont", handle, handle)
        self._get_name = bound(raw, "FPDFText_GetFontInfo", ctypes.c_ulong, handle, index, out, ctypes.c_ulong, out)

    def turn_page(self) -> None:
        """Forget what holds for one page: PDFium may give a font of the next one the address of another."""
        self._page_fonts.clear()

    def boxes(self, handle: int | None, indices: Sequence[int]) -> Boxes:
        """The boxes of characters, each as high as its font."""
        out = np.zeros((len(indices), 4), np.float32)
        start = out.ctypes.data
        deque(map(self._get_box, repeat(handle), indices, range(start, start + 16 * len(indices), 16)), 0)
        return out[:, (0, 3, 2, 1)].astype(np.float64)  # from left, top, right, bottom

    def origins(self, handle: int | None, indices: Sequence[int]) -> tuple[list[float], list[float]]:
        """Where characters stand: along the page, and up."""
        out = array("d", bytes(16 * len(indices)))
        start = out.buffer_info()[0]
        end = start + 16 * len(indices)
        deque(map(self._get_origin, repeat(handle), indices, range(start, end, 16), range(start + 8, end, 16)), 0)
        return out[0::2].tolist(), out[1::2].tolist()

    def angle(self, handle: int | None, index: int) -> float:
        """How far a character is turned: in radians, clockwise."""
        angle: float = self._get_angle(handle, index)
        return angle

    def sizes(self, handle: int | None, indices: Sequence[int], heights: Sequence[float]) -> list[float]:
        """The sizes of characters' type as they are shown; what is called the same and is as high has the same."""
        known = self._sizes
        sizes = []
        for index, nominal, height in zip(indices, map(self._get_size, repeat(handle), indices), heights, strict=False):
            key = nominal, round(height, 1)
            size = known.get(key)
            if size is None:
                self._get_matrix(handle, index, self._matrix.buffer_info()[0])
                size = known[key] = nominal * math.hypot(self._matrix[2], self._matrix[3]) or height or 1.0
            sizes.append(size)
        return sizes

    def is_nameless(self, handle: int | None, index: int) -> bool:
        """Whether the font does not say which character this one is."""
        return bool(self._get_error(handle, index) == 1)

    def fonts(self, handle: int | None, indices: Sequence[int]) -> list[Font]:
        """The fonts of characters."""
        known = self._page_fonts
        fonts = []
        places = map(self._get_font, map(self._get_object, repeat(handle), indices))
        for index, place in zip(indices, places, strict=True):
            font = known.get(place)
            if font is None:
                font = known[place] = self._font(handle, index)
            fonts.append(font)
        return fonts

    def _font(self, handle: int | None, index: int) -> Font:
        """The font of a character; the same for all that are called the same, on whichever page."""
        name, flags = ctypes.create_string_buffer(_LONGEST_NAME), ctypes.c_int(0)
        length = self._get_name(handle, index, ctypes.addressof(name), _LONGEST_NAME, ctypes.addressof(flags))
        key = name.raw[: max(0, min(length, _LONGEST_NAME) - 1)], flags.value
        if key not in self._fonts:
            self._fonts[key] = Font(key[0].decode("latin-1"), key[1])
        return self._fonts[key]
