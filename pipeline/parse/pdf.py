"""PDF: its pages read through PDFium, what repeats on them put aside, the rest composed into blocks."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.parse.compose import Outline, compose
from pipeline.parse.geometry import Run
from pipeline.parse.paragraphs import heading_key
from pipeline.parse.pdfinfo import described
from pipeline.parse.pdfium import Pdf, Sheet, Unopened
from pipeline.parse.rescue import rescued
from pipeline.parse.running import find_running
from pipeline.types import Parsed

#: The environment variable with passwords to try on locked files: one a line, or parted by commas.
PASSWORDS = "CORPUSVEC_PDF_PASSWORDS"

# What is said of one page, and of several.
_DAMAGED = "is damaged and cannot be read", "are damaged and cannot be read"
_SCANNED = (
    "holds an image and no text (perhaps a scan, which needs OCR)",
    "hold images and no text (perhaps scans, which need OCR)",
)
_SET_MUTE = (
    "is set in fonts that do not say which letters they show",
    "are set in fonts that do not say which letters they show",
)
_MOST_NAMED = 20  # pages in a warning
_MOST_LINKS = 50
# Where a font says nothing of the letters it draws, they come as these: private, undefined, or missing.
_MUTE = re.compile("[\ue000-\uf8ff\ufffd]")
_MEANINGLESS = 0.3  # of a page's characters


class _Contents(NamedTuple):
    """What PDFium finds in a file. `damaged` are the numbers of pages that it cannot read."""

    sheets: list[Sheet]
    damaged: list[int]
    outline: Outline
    information: dict[str, str]
    language: str
    attachments: list[str]
    cut: bool = False
    rescued: bool = False


def parse(data: bytes, uri: str) -> Parsed:
    """Blocks in reading order with page (from 1) and box; words parted at a line's end are whole.

    Headings are what the outline names and what is set in larger or bolder type. Running headers and footers and page
    numbers are in the metadata instead, with links, names of attachments, and what the file says about itself.
    Warnings name the pages that are damaged or hold an image without text. Raises Rejected if the file is locked (the
    empty password and those in `PASSWORDS` are tried), damaged beyond repair, or without text on any page.
    """
    contents = _contents(data)
    body = _body_size(contents.sheets)
    running = find_running(contents.sheets, body)
    sheets = [_without(sheet, running.places[sheet.number]) for sheet in contents.sheets]
    builder = Builder()
    heading = compose(builder, sheets, contents.outline, body)
    scans = [sheet.number for sheet in sheets if sheet.image and not sheet.runs]
    if not builder:
        raise Rejected(_no_text(contents, bool(scans)))
    lost = [sheet.number for sheet in contents.sheets if not sheet.runs and not sheet.image]
    if contents.rescued:
        builder.warn("the PDF is damaged: only the pages that could still be found were read")
    if lost and (contents.cut or contents.rescued):
        builder.warn(f"the PDF is incomplete: {_pages(lost, 'is empty', 'are empty')}")
    if contents.damaged:
        builder.warn(_pages(contents.damaged, *_DAMAGED))
    if scans:
        builder.warn(_pages(scans, *_SCANNED))
    if mute := [sheet.number for sheet in sheets if _is_mute(sheet.runs)]:
        builder.warn(_pages(mute, *_SET_MUTE))
    title, metadata = described(data, contents.information, contents.language)
    links = dict.fromkeys(link for sheet in sheets for link in sheet.links)
    metadata |= {
        "pages": len(contents.sheets) + len(contents.damaged),
        "links": list(links)[:_MOST_LINKS],
        "attachments": contents.attachments,
        **running.metadata,
    }
    return builder.build("application/pdf", title or heading, metadata)


def _contents(data: bytes) -> _Contents:
    listed = os.environ.get(PASSWORDS, "").splitlines()
    passwords = list(dict.fromkeys(filter(None, [*listed, *(part for line in listed for part in line.split(","))])))
    cut = b"%%EOF" not in data[-2048:]
    try:
        return _read(data, passwords)._replace(cut=cut)
    except Unopened:
        pass
    try:
        if found := rescued(data):
            return _read(found, passwords)._replace(rescued=True)
    except Unopened:
        pass
    raise Rejected(f"the PDF is damaged{' or incomplete (its end is missing)' if cut else ''} and cannot be opened")


def _read(data: bytes, passwords: Sequence[str]) -> _Contents:
    with Pdf(data, passwords) as pdf:
        outline: Outline = defaultdict(dict)
        for title, level, page in pdf.outline():
            if key := heading_key(title):
                outline[page].setdefault(key, level)
        read = {number: pdf.read(number) for number in range(1, pdf.pages + 1)}
        return _Contents(
            [sheet for sheet in read.values() if sheet is not None],
            [number for number, sheet in read.items() if sheet is None],
            outline,
            pdf.information(),
            pdf.language(),
            pdf.attachments(),
        )


def _body_size(sheets: Sequence[Sheet]) -> float:
    """The size that most of the text has, in points."""
    letters: Counter[float] = Counter()
    for sheet in sheets:
        for run in sheet.runs:
            letters[round(2 * run.size) / 2] += len(run.text)
    return max(letters, key=lambda size: letters[size], default=10.0) or 1.0


def _without(sheet: Sheet, places: set[int]) -> Sheet:
    return sheet._replace(runs=[run for run in sheet.runs if run.order not in places]) if places else sheet


def _is_mute(runs: Sequence[Run]) -> bool:
    if all(run.text.isascii() for run in runs):
        return False
    text = "".join(run.text for run in runs)
    return bool(_MUTE.search(text)) and len(_MUTE.findall(text)) > _MEANINGLESS * len(text)


def _pages(numbers: Sequence[int], one: str, many: str) -> str:
    """A sentence about some pages, with their numbers."""
    named = ", ".join(map(str, numbers[:_MOST_NAMED])) + (", …" if len(numbers) > _MOST_NAMED else "")
    return f"page {named} {one}" if len(numbers) == 1 else f"{len(numbers)} pages {many}: {named}"


def _no_text(contents: _Contents, scans: bool) -> str:
    pages = len(contents.sheets) + len(contents.damaged)
    where = f"on any of its {pages} pages" if pages > 1 else "on its only page" if pages else "since it has no pages"
    if contents.damaged:
        return f"no text {where}: {_pages(contents.damaged, *_DAMAGED)}"
    return f"no text {where}{': probably a scan, which needs OCR' if scans else ''}"
