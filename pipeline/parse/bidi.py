"""Hebrew, Arabic and their like, from places on a page to the order in which they are read.

PDFium takes the letters of a line from the left and turns words of such scripts round. That is right where a file draws
one letter a glyph from the left, and wrong for glyphs of several letters and for files that draw in reading order.
Where the letters stand tells.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from typing import NamedTuple

from pipeline.parse.geometry import RTL, Box

_LTR = re.compile(r"[^\W\d_]")
_LIGATURES = (*range(0xFB50, 0xFE00), *range(0xFE70, 0xFEFD))


class Word(NamedTuple):
    """A word of a line: where it starts and ends in the page's text, how it is spelt, and from where to where it is."""

    start: int
    end: int
    text: str
    left: float
    right: float


def spelt(text: str, boxes: Sequence[Box]) -> str:
    """The letters of a word in reading order; `boxes` are those of its letters, the same for letters of one glyph."""
    if not RTL.search(text):
        return text
    glyphs = [
        [letter for letter, _ in glyph] for _, glyph in groupby(zip(text, boxes, strict=True), lambda pair: pair[1])
    ]
    if boxes[0][0] < boxes[-1][0]:
        glyphs.reverse()
    return "".join(_unfolded("".join(glyph)) for glyph in glyphs)


def in_order(words: Sequence[Word]) -> list[Word]:
    """The words of a line as they are read; those that run the other way keep their own order."""
    rtl = 2 * sum(bool(RTL.search(word.text)) for word in words) >= len(words)
    ordered = sorted(words, key=lambda word: word.left + word.right, reverse=rtl)
    result: list[Word] = []
    other: list[Word] = []  # words that run the other way, and what stands between them
    between: list[Word] = []
    for word in ordered:
        if bool(RTL.search(word.text)) != rtl and (not rtl or _LTR.search(word.text)):
            other += [*between, word]
            between = []
        elif other and not _LTR.search(word.text) and not RTL.search(word.text):
            between.append(word)
        else:
            result += [*reversed(other), *between, word]
            other, between = [], []
    return [*result, *reversed(other), *between]


def gaps_between(words: Iterable[Word], wide: float) -> list[float]:
    """Where the words start again after a gap, from the left."""
    gaps: list[float] = []
    reach = math.inf
    for left, right in sorted((word.left, word.right) for word in words):
        if left - reach > wide:
            gaps.append(left)
        reach = right if reach == math.inf else max(reach, right)
    return gaps


def _unfolded(glyph: str) -> str:
    """The letters of one glyph: PDFium turns them round, unless it took them apart itself."""
    turned = glyph[::-1]
    return glyph if glyph in _ligatures() and turned not in _ligatures() else turned


@cache
def _ligatures() -> frozenset[str]:
    """What the glyphs that Unicode itself has for several letters stand for."""
    letters = (unicodedata.normalize("NFKC", chr(code)) for code in _LIGATURES)
    return frozenset(text for text in letters if len(text) > 1)
