"""Lines of a page, each at its place, into paragraphs again. Pure geometry and spelling; knows no PDF library."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

# What PDFium puts in place of a hyphen that ends a line, and of the line's end.
_HYPHEN = re.compile("(?<=\\w)[\ufffe\x02](?=[^\\W\\d_])")
BULLET = re.compile(r"[•‣▪▸●○◦■□–*·-][ \t]+(?=\S)")
_NUMBERED = re.compile(r"\(?\d{1,3}[.)]\s")
_ENDS = (".", "!", "?", ":", ";", "”", '"', ")", "。", "！", "？")
_WIDE = re.compile("[\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")
_LONGEST_HEADING = 3  # lines


class Line(NamedTuple):
    """A line of a page; a word parted at its end carries on into the next, so it may stand on several baselines.

    It starts at `x` on the baseline `first` and ends on the baseline `last`, in points, upwards, as the page is shown.
    """

    text: str
    x: float
    first: float
    last: float
    size: float


def paragraphs(lines: Sequence[Line], headings: Mapping[str, int]) -> Iterator[list[Line]]:
    """Lines that belong together: by their distance, size and indentation, and by what the outline calls a heading."""
    steps = [(above.last - below.first, above.size) for above, below in itertools.pairwise(lines)]
    usual = [step for step, size in steps if 0.5 * size < step < 3 * size]
    leading = median(usual) if usual else 0.0
    paragraph: list[Line] = []
    at = 0
    while at < len(lines):
        size = _heading_at(lines, at, headings) if headings else 0
        if size or (paragraph and _parted(paragraph, lines[at], leading)):
            if paragraph:
                yield paragraph
            paragraph = []
        if size:
            yield list(lines[at : at + size])
            at += size
        else:
            paragraph.append(lines[at])
            at += 1
    if paragraph:
        yield paragraph


def _parted(paragraph: Sequence[Line], below: Line, leading: float) -> bool:
    """Whether `below` starts another paragraph than the one so far."""
    above = paragraph[-1]
    step = above.last - below.first
    size = max(above.size, below.size)
    if abs(step) < 0.5 * size:  # a superscript, or the next cell of a row
        return False
    if BULLET.match(below.text):
        return True
    ended = above.text.rstrip().endswith(_ENDS)
    if step < 0 or step > 4 * max(leading, size):  # the next column; a sentence may go on there
        return ended or not below.text.lstrip()[:1].islower()
    if step > 1.3 * leading or size > 1.15 * min(above.size, below.size):
        return True
    if ended and _NUMBERED.match(below.text):
        return True
    # Lines after a bullet or number hang; elsewhere an indentation starts a paragraph.
    hanging = BULLET.match(paragraph[0].text) or _NUMBERED.match(paragraph[0].text)
    return ended and not hanging and below.x > above.x + 0.8 * size


def _heading_at(lines: Sequence[Line], at: int, headings: Mapping[str, int]) -> int:
    """How many lines from `at` on are a heading of the outline; 0 if they are none."""
    for size in range(1, _LONGEST_HEADING + 1):
        if heading_key(joined([line.text for line in lines[at : at + size]])) in headings:
            return size
    return 0


def joined(lines: Sequence[str]) -> str:
    text = ""
    for line in lines:
        line = _HYPHEN.sub("", line.strip()).replace("\ufffe", "-").replace("\x02", "-")
        if not text:
            text = line
        elif text[-1] == "\u00ad":
            text = text[:-1] + line
        elif _WIDE.match(text[-1]) and _WIDE.match(line):  # Chinese and Japanese part no words
            text += line
        elif re.search(r"[^\W\d_]-\Z", text) and line[:1].islower():
            text = text[:-1] + line
        else:
            text += " " + line
    return " ".join(text.split())


def heading_key(text: str) -> str:
    """What a heading is known by: its letters and digits without the section number that it may carry."""
    key = "".join(character for character in text.casefold() if character.isalnum())
    return key.lstrip("0123456789") or key
