"""Pages that are images, read by Tesseract: a program that a user may have installed.

It is handed one page at a time and answers with words and their places, so what it reads is laid out, page for page, as
the text of any other PDF is. Pages are read side by side, each by a process of its own on one core. A page that makes
little sense as it stands is turned as Tesseract says, and read again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import reduce
from itertools import groupby, pairwise
from statistics import median
from typing import NamedTuple

from pipeline.errors import Rejected
from pipeline.parse.geometry import Box, Run, around, turned
from pipeline.workers.cores import core, cores
from pipeline.workers.pulse import beat

#: The environment variable with the languages that scanned pages are in, as Tesseract calls them: "eng+deu", say.
LANGUAGES = "CORPUSVEC_OCR_LANGUAGES"

#: What somebody without it is told.
MISSING = (
    "OCR would read that, and there is no program `tesseract` on this machine: install Tesseract "
    "(Debian and Ubuntu: apt install tesseract-ocr)"
)

RESOLUTION = 300  # dots per inch, which Tesseract is made for

_PAGE_SECONDS = 120
#: More is not one document. Ordinary pages take a second or two of a core each.
_ALL_SECONDS = 3 * 3600.0
_TICK = 1.0  # seconds
_MOST_AT_ONCE = 8  # pages of one document, since each takes 100 MB and more
_WORD = "5"  # the level of a word in Tesseract's table
_COLUMNS = 12
# Percent: words that are less sure are specks and shadows, unless the line that they are in is surer; and lines of a
# page that is less sure stand on their heads, most likely.
_SURE_WORD, _SURE_LINE, _SURE_PAGE = 20.0, 60.0, 75.0
_GAP = 0.9  # more than any space within a line, in type sizes
_ROTATE = re.compile(r"^Rotate: (90|180|270)$", re.M)
# How far letters reach below and above the line they stand on, and those that have no stem, in sizes of their type.
_BELOW, _ABOVE, _LOW = 0.22, 0.72, 0.5
_DESCENDING = re.compile(r"[gjpqyQ,;()\[\]{}|]")
_ASCENDING = re.compile(r"[^acegmnopqrsuvwxyz\s.,:;-]")
_FLAT = re.compile(r"[\W_]+")
# What is measured on ink is not exact: so much smaller or larger than most of the text is as large as that.
_SMALLEST, _LARGEST = 0.75, 1.3
_LINE = 20  # characters that make a line long enough to go by


class Picture(NamedTuple):
    """A page as it is shown, in grey: a byte a dot, row by row from the top; `scale` is in dots a point."""

    number: int
    width: int
    height: int
    scale: float
    dots: bytes


class Page(NamedTuple):
    """What was read of a page: its lines, or else why it could not be read."""

    number: int
    runs: list[Run]
    failure: str = ""


class _Word(NamedTuple):
    """`box` is its place on the page as shown, in points; `line` is what words of one line have in common."""

    text: str
    box: Box
    sure: float
    line: Sequence[str]


class _Failed(Exception):
    """Why Tesseract has no answer."""


def find_reader() -> str | None:
    """The path of the program; None if it is not installed."""
    return shutil.which("tesseract")


def language_note() -> str:
    """What is to be said of pages that were read while nobody said in which languages they are; "" if one did."""
    if os.environ.get(LANGUAGES, "").strip():
        return ""
    return (
        "its scanned pages were read as English, as Tesseract does where nothing else is said: if they are not, name "
        f"their languages in {LANGUAGES} (deu, or eng+fra) and have Tesseract's data for them installed"
    )


def read_pages(reader: str, pictures: Iterable[Picture]) -> list[Page]:
    """Each page, in order; no more pictures are taken at a time than can be worked at.

    Meanwhile there are beats of `pulse`, since pages have limits of their own, and wait for cores. Raises Rejected if
    all of them take longer than a document may.
    """
    deadline = time.monotonic() + _ALL_SECONDS
    at_once = min(_MOST_AT_ONCE, cores())
    pages: list[Page] = []
    waiting: deque[Future[Page]] = deque()

    def take() -> None:
        while not wait(list(waiting)[:1], _TICK).done:
            beat()
            if time.monotonic() > deadline:
                for each in waiting:
                    each.cancel()
                raise Rejected(f"its pages are scans, and reading {len(pages)} of them took three hours: split it")
        pages.append(waiting.popleft().result())

    with ThreadPoolExecutor(at_once) as pool:
        for picture in pictures:
            waiting.append(pool.submit(_read, reader, picture))
            if len(waiting) > at_once:
                take()
        while waiting:
            take()
    return _evened(pages)


def _evened(pages: Sequence[Page]) -> list[Page]:
    """The pages with what is about as large as most of their text made as large as that."""
    sizes = [run.size for page in pages for run in page.runs if len(run.text) >= _LINE]
    body = median(sizes) if sizes else 0.0
    least, most = _SMALLEST * body, _LARGEST * body
    return [
        page._replace(runs=[run._replace(size=body) if least < run.size < most else run for run in page.runs])
        for page in pages
    ]


def _read(reader: str, picture: Picture) -> Page:
    languages = os.environ.get(LANGUAGES, "").strip()
    try:
        with core():
            turn, words = 0, _words(_ask(reader, picture, languages, "tsv"), picture, 0)
            if _sureness(words) < _SURE_PAGE and (other := _turned(reader, picture)):
                again = _words(_ask(reader, other[1], languages, "tsv"), other[1], other[0])
                if _sureness(again) > _sureness(words):
                    turn, words = other[0], again
    except _Failed as failed:
        return Page(picture.number, [], str(failed))
    except ValueError:
        return Page(picture.number, [], "Tesseract failed: its answer makes no sense")
    return Page(picture.number, list(_runs(words, turn)))


def _ask(reader: str, picture: Picture, languages: str, *options: str) -> str:
    """What Tesseract answers. Raises _Failed."""
    command = [reader, "stdin", "stdout", "--dpi", str(round(72 * picture.scale))]
    command += [*(["-l", languages] if languages else []), *options]
    image = b"P5 %d %d 255\n%b" % (picture.width, picture.height, picture.dots)
    try:
        done = subprocess.run(
            command, input=image, capture_output=True, timeout=_PAGE_SECONDS, check=True,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _Failed(f"Tesseract needed more than {_PAGE_SECONDS} s for it and was stopped") from None
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.decode("utf-8", "replace").split())[-200:]
        raise _Failed(f"Tesseract failed{f': {said}' if said else ''}") from error
    except OSError as error:
        raise _Failed(f"Tesseract could not be started: {error.strerror}") from error
    return done.stdout.decode("utf-8", "replace")


def _turned(reader: str, picture: Picture) -> tuple[int, Picture] | None:
    """The picture upright, and the direction of its text on the page as a Run's `turn`; None if it seems to be."""
    import numpy as np

    try:
        said = _ROTATE.search(_ask(reader, picture, "osd", "--psm", "0"))
    except _Failed:  # too few letters to tell by, or Tesseract's model for that is not installed
        return None
    if not said:
        return None
    turn = int(said[1]) // 90  # clockwise, to have it upright: so its text runs anticlockwise
    dots = np.frombuffer(picture.dots, np.uint8).reshape(picture.height, picture.width)
    upright = np.rot90(dots, -turn)
    height, width = upright.shape
    return turn, picture._replace(width=width, height=height, dots=upright.tobytes())


def _words(table: str, picture: Picture, turn: int) -> list[_Word]:
    """The words of Tesseract's table, which has a row for each page, block, paragraph, line and word.

    `turn` is the direction on the page of what is level in the picture. Raises ValueError.
    """
    rows = [row for row in (row.split("\t") for row in table.splitlines()) if len(row) == _COLUMNS and row[0] == _WORD]
    # From the corner of the picture to that which is the page's lower left one.
    across = picture.width / picture.scale if turn in (2, 3) else 0.0
    up = picture.height / picture.scale
    down = up if turn in (1, 2) else 0.0
    found: list[_Word] = []
    for row in rows:
        left, top, width, height = (int(number) / picture.scale for number in row[6:10])
        box = left - across, up - top - height - down, left + width - across, up - top - down
        if text := row[11].strip():
            found.append(_Word(text, turned(box, (4 - turn) % 4), float(row[10]), row[1:5]))
    kept: list[_Word] = []
    for _, line in groupby(found, lambda word: word.line):
        words = list(line)
        least = 0.0 if _sureness(words) >= _SURE_LINE else _SURE_WORD
        kept += (word for word in words if word.sure >= least)
    return kept


def _sureness(words: Sequence[_Word]) -> float:
    """How sure Tesseract is of a letter, in percent; 0 if there are none."""
    return sum(word.sure * len(word.text) for word in words) / max(1, sum(len(word.text) for word in words))


def _runs(words: Sequence[_Word], turn: int) -> Iterator[Run]:
    """The lines, parted where there are wide gaps in them; most of the page, or all of it, has the direction `turn`."""
    order = 0
    for _, paragraph in groupby(words, lambda word: word.line[:3]):
        lines: list[tuple[int, list[_Word]]] = []
        for _, group in groupby(paragraph, lambda word: word.line[3]):
            line = list(group)
            way = _turn(line, turn)
            lines.append((way, [word._replace(box=turned(word.box, way)) for word in line]))
        size = _size([word for _, line in lines for word in line])
        for way, line in lines:
            for run in map(_run, _parts(line, size)):
                yield run._replace(size=size, turn=way, order=order)
                order += 1


def _turn(line: Sequence[_Word], turn: int) -> int:
    """The direction of a line on the page: Tesseract reads upright lines, too, and does not say so."""
    long = [word.box for word in line if len(word.text) > 1]
    upright = sum(box[3] - box[1] for box in long) - sum(box[2] - box[0] for box in long)
    if not long or (upright > 0) == (turn in (1, 3)):
        return turn
    if upright <= 0:
        return 0
    return 1 if line[0].box[1] < line[-1].box[1] else 3


def _parts(line: Sequence[_Word], size: float) -> Iterator[list[_Word]]:
    ends = [at for at, (one, other) in enumerate(pairwise(line), 1) if other.box[0] - one.box[2] > _GAP * size]
    for first, last in pairwise((0, *ends, len(line))):
        yield list(line[first:last])


def _run(words: Sequence[_Word]) -> Run:
    """Words that follow each other, their boxes in the frame of their direction."""
    base = median(word.box[1] + _below(word) * _size([word]) for word in words)
    left, low, right, high = reduce(around, (word.box for word in words))
    return Run(" ".join(word.text for word in words), left, right, base, low, high, 0.0)


def _size(words: Sequence[_Word]) -> float:
    """The type's size. Boxes are drawn around the ink: how much of the size that is depends on the letters."""
    told = [word for word in words if not _FLAT.fullmatch(word.text)] or words
    sizes = [
        (word.box[3] - word.box[1]) / (_below(word) + (_ABOVE if _ASCENDING.search(word.text) else _LOW))
        for word in told
    ]
    return max(1.0, round(2 * median(sizes)) / 2)


def _below(word: _Word) -> float:
    return _BELOW if _DESCENDING.search(word.text) else 0.0
