"""Pages that are images, read by Tesseract: a program that a user may have installed.

It is handed one page at a time and answers with words and their places, so what it reads is laid out, page for page, as
the text of any other PDF is. Pages are read side by side, each by a process of its own on one core.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from statistics import median
from typing import NamedTuple

from pipeline.parse.geometry import Run

#: The environment variable with the languages that scanned pages are in, as Tesseract calls them: "eng+deu", say.
LANGUAGES = "CORPUSVEC_OCR_LANGUAGES"

#: What somebody without it is told.
MISSING = "OCR would read that, and there is no program `tesseract` on this machine: install Tesseract"

RESOLUTION = 300  # dots per inch, which Tesseract is made for

_PAGE_SECONDS = 120
_WORD = "5"  # the level of a word in Tesseract's table
_LEAST_SURE = 20.0  # percent: below are specks and shadows
_COLUMNS = 12
# How far letters reach below and above the line they stand on, and those that have no stem, in sizes of their type.
_BELOW, _ABOVE, _LOW = 0.22, 0.72, 0.5
_DESCENDING = re.compile(r"[gjpqyQ,;()\[\]{}|]")
_ASCENDING = re.compile(r"[^acegmnopqrsuvwxyz\s.,:;-]")


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


def find_reader() -> str | None:
    """The path of the program; None if it is not installed."""
    return shutil.which("tesseract")


def read_pages(reader: str, pictures: Iterable[Picture]) -> Iterator[Page]:
    """Each page, in order; no more pictures are taken than can be worked at."""
    at_once = os.cpu_count() or 1
    waiting: deque[Future[Page]] = deque()
    with ThreadPoolExecutor(at_once) as pool:
        for picture in pictures:
            waiting.append(pool.submit(_read, reader, picture))
            if len(waiting) > at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read(reader: str, picture: Picture) -> Page:
    languages = os.environ.get(LANGUAGES, "").strip()
    command = [reader, "stdin", "stdout", "--dpi", str(round(72 * picture.scale))]
    command += [*(["-l", languages] if languages else []), "tsv"]
    image = b"P5 %d %d 255\n%b" % (picture.width, picture.height, picture.dots)
    try:
        done = subprocess.run(
            command, input=image, capture_output=True, timeout=_PAGE_SECONDS, check=True,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Page(picture.number, [], f"Tesseract needed more than {_PAGE_SECONDS} s for it and was stopped")
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.decode("utf-8", "replace").split())[-200:]
        return Page(picture.number, [], f"Tesseract failed{f': {said}' if said else ''}")
    except OSError as error:
        return Page(picture.number, [], f"Tesseract could not be started: {error.strerror}")
    try:
        return Page(picture.number, list(_lines(done.stdout.decode("utf-8", "replace"), picture)))
    except ValueError:
        return Page(picture.number, [], "Tesseract failed: its answer makes no sense")


def _lines(table: str, picture: Picture) -> Iterator[Run]:
    """The lines of Tesseract's table, which has a row for each page, block, paragraph, line and word."""
    words = [row for row in (row.split("\t") for row in table.splitlines()) if len(row) == _COLUMNS and row[0] == _WORD]
    sure = [row for row in words if row[11].strip() and float(row[10]) >= _LEAST_SURE]
    order = 0
    for _, paragraph in groupby(sure, lambda row: row[1:4]):
        lines = [_line(list(line), picture) for _, line in groupby(paragraph, lambda row: row[4])]
        size = median(run.size for run in lines)  # a line's own depends on the letters that happen to be in it
        for run in lines:
            yield run._replace(size=size, order=order)
            order += 1


def _line(words: Sequence[Sequence[str]], picture: Picture) -> Run:
    boxes = [[int(number) / picture.scale for number in word[6:10]] for word in words]
    page = picture.height / picture.scale
    high, low = page - min(box[1] for box in boxes), page - max(box[1] + box[3] for box in boxes)
    text = " ".join(word[11].strip() for word in words)
    # The box is drawn around the ink: how much of the type's size that is depends on the letters.
    below = _BELOW if _DESCENDING.search(text) else 0.0
    size = max(1.0, round(2 * (high - low) / (below + (_ABOVE if _ASCENDING.search(text) else _LOW))) / 2)
    left, right = min(box[0] for box in boxes), max(box[0] + box[2] for box in boxes)
    return Run(text, left, right, low + below * size, low, high, size)
