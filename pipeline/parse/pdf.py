"""PDF: its pages read through PDFium, what repeats on them put aside, the rest composed into blocks."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from pipeline.errors import Rejected
from pipeline.parse import ocr
from pipeline.parse.builder import Builder
from pipeline.parse.compose import Outline, compose
from pipeline.parse.geometry import Run, box_of
from pipeline.parse.paragraphs import heading_key
from pipeline.parse.pdfinfo import described
from pipeline.parse.pdfium import Pdf, Sheet, Unopened
from pipeline.parse.rescue import rescued
from pipeline.parse.running import Running, find_running
from pipeline.parse.takings import Takings
from pipeline.types import Parsed

#: The environment variable with passwords to try on locked files: one a line, or parted by commas.
PASSWORDS = "CORPUSVEC_PDF_PASSWORDS"

# Why there is no text of a page, said of one and of several.
_DAMAGED = "is damaged", "are damaged"
_PICTURE = "shows a picture and no text (a scan, perhaps)", "show pictures and no text (scans, perhaps)"
_STAMPED = (
    "shows a picture all over and hardly any text (a scan with a stamp, perhaps)",
    "show pictures all over and hardly any text (scans with a stamp, perhaps)",
)
_STAMP = 200  # letters: a page with more is no scan with something written on it
_MUTE = (
    "is set in fonts that do not say which letters they show",
    "are set in fonts that do not say which letters they show",
)
_LOST = "is empty in what is left of the file", "are empty in what is left of the file"
_MOST_LINKS = 50
# Where a font says nothing of the letters it draws, they come as these: private, undefined, or missing.
_NO_LETTER = re.compile("[\ue000-\uf8ff\ufffd]")
_MEANINGLESS = 0.3  # of a page's characters

#: Said of one page, and of several.
Reason = tuple[str, str]


class _Contents(NamedTuple):
    """What PDFium finds in a file: `data` is what it was given at last, `damaged` are pages that it cannot read."""

    data: bytes
    sheets: list[Sheet]
    damaged: list[int]
    outline: Outline
    information: dict[str, str]
    language: str
    cut: bool = False
    rescued: bool = False


def parse(data: bytes, uri: str) -> Parsed:
    """Blocks in reading order with page (from 1) and box; words parted at a line's end are whole.

    Headings are what the outline names and what is set in larger or bolder type. Running headers and footers and page
    numbers are in the metadata instead, with links and what the file says about itself; embedded files are members.
    Pages that show pictures only are read by OCR if there is one (`ocr.find_reader`). Pages that cannot be read are in
    the metadata as `unread_pages`, and warnings say why. Raises Rejected if the file is locked (the empty password and
    those in `PASSWORDS` are tried), damaged beyond repair, or without text on any page, and no other file in it.
    """
    takings = Takings(uri)
    contents = _contents(data, takings)
    body = _body_size(contents.sheets)
    sheets, running = _bare(contents.sheets, body)
    unread = _unread(contents, sheets)
    recognised: list[int] = []
    if unread.keys() - contents.damaged and (reader := ocr.find_reader()):
        whole, recognised = _recognised(contents, unread, reader)
        body = _body_size(whole)
        sheets, running = _bare(whole, body)
    legible = {sheet.number for sheet in sheets if sheet.number in unread and sheet.runs and not _is_mute(sheet.runs)}
    builder = Builder()
    heading = compose(builder, sheets, contents.outline, body)
    pages = len(contents.sheets) + len(contents.damaged)
    if not builder and not takings.members:
        raise Rejected(_no_text(pages, unread))
    if contents.rescued:
        builder.warn("the PDF is damaged: only the pages that could still be found were read")
    for warning in [*_said(unread), *takings.warnings()]:
        builder.warn(warning)
    if recognised and (note := ocr.language_note()):
        builder.warn(note)
    title, metadata = described(data, contents.information, contents.language)
    links = list(dict.fromkeys(link for sheet in sheets for link in sheet.links))
    metadata |= {
        "pages": pages,
        "unread_pages": sorted(unread.keys() - legible),
        "ocr_pages": recognised,
        "links": links[:_MOST_LINKS],
        "more_links": len(links[_MOST_LINKS:]) or None,
        **running.metadata,
    }
    return replace(builder.build("application/pdf", title or heading, metadata), members=takings.members)


def _contents(data: bytes, takings: Takings) -> _Contents:
    cut = b"%%EOF" not in data[-2048:]
    try:
        return _read(data, takings)._replace(cut=cut)
    except Unopened:
        pass
    try:
        if found := rescued(data):
            return _read(found, takings)._replace(rescued=True)
    except Unopened:
        pass
    raise Rejected(f"the PDF is damaged{' or incomplete (its end is missing)' if cut else ''} and cannot be opened")


def _passwords() -> list[str]:
    listed = os.environ.get(PASSWORDS, "").splitlines()
    return list(dict.fromkeys(filter(None, [*listed, *(part.strip() for line in listed for part in line.split(","))])))


def _read(data: bytes, takings: Takings) -> _Contents:
    with Pdf(data, _passwords()) as pdf:
        outline: dict[int, dict[str, int]] = defaultdict(dict)
        for title, level, page in pdf.outline():
            if key := heading_key(title):
                outline[page].setdefault(key, level)
        read = {number: pdf.read(number) for number in range(1, pdf.pages + 1)}
        pdf.attach(takings)
        return _Contents(
            data,
            [sheet for sheet in read.values() if sheet is not None],
            [number for number, sheet in read.items() if sheet is None],
            outline,
            pdf.information(),
            pdf.language(),
        )


def _bare(sheets: Sequence[Sheet], body: float) -> tuple[list[Sheet], Running]:
    """The pages without what repeats on them, and that."""
    running = find_running(sheets, body)
    return [_without(sheet, running.places[sheet.number]) for sheet in sheets], running


def _unread(contents: _Contents, sheets: Sequence[Sheet]) -> dict[int, Reason]:
    """The pages of which there is no text though there should be, and why."""
    unread = dict.fromkeys(contents.damaged, _DAMAGED)
    for sheet, whole in zip(sheets, contents.sheets, strict=True):
        if not sheet.runs and not sheet.fields and sheet.picture:
            unread[sheet.number] = _needing_ocr(_PICTURE)
        elif sheet.covered and sum(len(run.text) for run in sheet.runs) < _STAMP:
            unread[sheet.number] = _needing_ocr(_STAMPED)
        elif _is_mute(sheet.runs):
            unread[sheet.number] = _needing_ocr(_MUTE)
        elif not whole.runs and (contents.cut or contents.rescued):
            unread[sheet.number] = _LOST
    return unread


def _needing_ocr(reason: Reason) -> Reason:
    return f"{reason[0]}; {ocr.MISSING}", f"{reason[1]}; {ocr.MISSING}"


def _recognised(contents: _Contents, unread: dict[int, Reason], reader: str) -> tuple[list[Sheet], list[int]]:
    """The pages with what OCR reads on those that are unread, and the numbers of these.

    Takes these out of `unread`, and says there why others could not be read.
    """
    places = {sheet.number: at for at, sheet in enumerate(contents.sheets)}
    whole = list(contents.sheets)
    read: list[int] = []
    with Pdf(contents.data, _passwords()) as pdf:
        pictures = (pdf.picture(number) for number in sorted(unread) if number in places)
        for page in ocr.read_pages(reader, filter(None, pictures)):
            if page.runs:
                at = places[page.number]
                sheet = whole[at]
                own = [] if _is_mute(sheet.runs) else sheet.runs
                whole[at] = sheet._replace(runs=_beside(own, page.runs))
                if len(whole[at].runs) > len(own):
                    read.append(page.number)
                del unread[page.number]
            elif unread[page.number] == _needing_ocr(_STAMPED) and not page.failure:
                del unread[page.number]  # it is a picture
            else:
                why = page.failure or "OCR finds no text there either"
                one, many = (part.removesuffix(f"; {ocr.MISSING}") for part in unread[page.number])
                unread[page.number] = f"{one}, and {why}", f"{many}, and {why}"
    return whole, read


def _beside(own: Sequence[Run], seen: Sequence[Run]) -> list[Run]:
    """A page's own text, and what OCR sees of it elsewhere."""
    boxes = [box_of(run) for run in own]
    runs = [*own]
    for run in seen:
        left, low, right, high = box_of(run)
        x, y = (left + right) / 2, (low + high) / 2
        if not any(box[0] <= x <= box[2] and box[1] <= y <= box[3] for box in boxes):
            runs.append(run)
    return [run._replace(order=order) for order, run in enumerate(runs)]


def _body_size(sheets: Sequence[Sheet]) -> float:
    """The size that most of the text has, in points."""
    exact: Counter[float] = Counter()
    for sheet in sheets:
        for run in sheet.runs:
            exact[run.size] += len(run.text)
    letters: Counter[float] = Counter()
    for size, count in exact.items():
        letters[round(2 * size) / 2] += count
    return max(letters, key=lambda size: letters[size], default=10.0) or 1.0


def _without(sheet: Sheet, places: set[int]) -> Sheet:
    return sheet._replace(runs=[run for run in sheet.runs if run.order not in places]) if places else sheet


def _is_mute(runs: Sequence[Run]) -> bool:
    text = "".join([run.text for run in runs])
    return not text.isascii() and len(_NO_LETTER.findall(text)) > _MEANINGLESS * len(text)


def _said(unread: Mapping[int, Reason]) -> list[str]:
    """A sentence for each reason, with the numbers of its pages."""
    by_reason: dict[Reason, list[int]] = defaultdict(list)
    for number, reason in sorted(unread.items()):
        by_reason[reason].append(number)
    return [
        f"page {numbers[0]} {one}" if len(numbers) == 1 else f"pages {_ranges(numbers)} {many}"
        for (one, many), numbers in by_reason.items()
    ]


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in few words: 1-3, 7."""
    groups = [[at for _, at in group] for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{group[0]}-{group[-1]}" if len(group) > 1 else f"{group[0]}" for group in groups)


def _no_text(pages: int, unread: Mapping[int, Reason]) -> str:
    where = f"on any of its {pages} pages" if pages > 1 else "on its only page" if pages else "since it has no pages"
    return ": ".join([f"no text {where}", *filter(None, [". ".join(_said(unread))])])
