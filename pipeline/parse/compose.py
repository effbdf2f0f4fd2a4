"""The pages of a document into blocks: what is a heading, a list, a caption or a note, and what goes on overleaf."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from statistics import median
from typing import NamedTuple

from pipeline.parse.builder import Builder
from pipeline.parse.geometry import OBLIQUE, Box, Flow, Run, Table, around, box_of, joined_row, rows_of
from pipeline.parse.layout import arrange, arrange_overleaf
from pipeline.parse.paragraphs import (
    BULLET,
    HYPHENS,
    NUMBERED,
    Paragraph,
    Words,
    entry_of,
    heading_key,
    leading_of,
    may_be_heading,
    paragraphs,
)  # fmt: skip
from pipeline.parse.pdfium import Sheet

#: Page → what a heading on it is known by → its level.
Outline = Mapping[int, Mapping[str, int]]

_CAPTION = re.compile(
    r"(?:fig(?:ure|ura|\.)?|table|tab\.|abb(?:ildung|\.)|tabelle|tableau|tabla|tabela|рис\.|图|図|表)"
    r"\s*\d[\w.-]*\s*(?:[:.|–—]|\Z)",
    re.I,
)
_SECTION = re.compile(r"(\d{1,3}(?:\.\d{1,3})*)\.?\s")
_NOTE = re.compile(r"(?:\d{1,3}|[*∗†‡§¶a-z])\s?(?=[\w\"“])")
_ENDED = re.compile(r"[.!?:;…。！？؟۔।]\W*\Z")
# In sizes of the text's type.
_LARGER, _SMALLER = 1.13, 0.93
_LONGEST_HEADING, _LONGEST_BOLD = 200, 100  # characters
_MOST_LINES = 4  # of a heading
_DEEPEST = 6
_STAMP = 60  # characters
_LOW = 0.45  # of a page's height: footnotes start below
# What may stand between the halves of a paragraph: at the end of its column, at the start of the next.
_BETWEEN = {"table", "caption", "footnote"}
_MOST_WAITING = 12
_SPELT_OUT = {
    "\u00ad": "", "\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl", "\ufb05": "st",
    "\ufb06": "st",
}  # fmt: skip


class _Style(NamedTuple):
    """What headings of one level have in common; in this order, the outermost first."""

    smallness: float
    plain: bool
    depth: int


class _Item(NamedTuple):
    """A paragraph or table on its page. `first` and `last` say whether it starts and ends its column."""

    kind: str
    page: int
    lines: Sequence[Run]
    breaks: Sequence[int] = ()
    full: bool = False
    first: bool = False
    last: bool = False
    indent: float = 0.0
    level: int = 0
    style: _Style | None = None
    table: Table | None = None
    text: str = ""
    rows: Sequence[tuple[str, str]] = ()
    box: Box | None = None


def compose(builder: Builder, sheets: Sequence[Sheet], outline: Outline, body: float) -> str:
    """Append the blocks of all pages, whose text is of the size `body`; what seems to be the title of it all."""
    reader = _Reader(sheets, outline, body)
    items = list(_merged(_numbered([item for sheet in sheets for item in reader.items(sheet)])))
    levels = _levels(items)
    writer = _Writer(builder, Words(lambda: (run.text for sheet in sheets for run in sheet.runs)))
    for item in items:
        writer.add(item if item.level or not item.style else item._replace(level=levels[item.style]))
    writer.end()
    top = [item for item in items if item.kind == "heading" and item.style and item.page == items[0].page]
    if not top:
        return ""
    return writer.words.text(Paragraph(min(top, key=lambda item: item.style or _Style(0, False, 0)).lines))


class _Reader:
    """Reads pages one by one into items; knows what type the document's text is set in."""

    def __init__(self, sheets: Sequence[Sheet], outline: Outline, body: float) -> None:
        self._outline = outline
        self._body = body
        self._turn = 0  # of the page's text
        self._above: Table | None = None  # what the page before ends with
        bold = mono = total = 0
        for sheet in sheets:
            for run in sheet.runs:
                total += len(run.text)
                bold += run.bold * len(run.text)
                mono += run.mono * len(run.text)
        # Where most of the text is bold, or as on a typewriter, that says nothing of a line.
        self._bold, self._mono = 2 * bold > total, 2 * mono > total

    def items(self, sheet: Sheet) -> Iterator[_Item]:
        """What is on a page, in reading order."""
        headings = self._outline.get(sheet.number, {})
        self._turn = _turn(sheet.runs)
        runs = [*sheet.runs, *_fields(sheet, self._body)]
        above, self._above = self._above, None
        pieces = arrange_overleaf(runs, sheet.strokes, above) if above else arrange(runs, sheet.strokes)
        leading = leading_of(piece.lines for piece in pieces if isinstance(piece, Flow))
        for piece in pieces:
            self._above = piece if isinstance(piece, Table) else None
            if isinstance(piece, Table):
                runs = [run for row in piece.rows for cell in row for run in cell]
                yield _Item("table", sheet.number, runs, table=piece)
            else:
                yield from self._column(piece, sheet, headings, leading)
        for box, text in sheet.notes:
            yield _Item("footnote", sheet.number, (), text=text, box=box)

    def _column(self, flow: Flow, sheet: Sheet, headings: Mapping[str, int], leading: float) -> Iterator[_Item]:
        found = list(paragraphs(flow.lines, headings, leading))
        margin = min(line.left for line in flow.lines)
        notes = self._notes(found, sheet.height)
        for number, paragraph in enumerate(found):
            kind, level, style = self._kind(paragraph, headings)
            yield _Item(
                "footnote" if number >= notes and kind in ("paragraph", "numbered") else kind,
                sheet.number,
                paragraph.lines,
                paragraph.breaks,
                paragraph.full,
                number == 0,
                number == len(found) - 1,
                paragraph.lines[0].left - margin,
                level,
                style,
                rows=[entry] if kind == "contents" and (entry := entry_of(_flat(paragraph))) else (),
            )

    def _notes(self, found: Sequence[Paragraph], height: float) -> int:
        """From which paragraph of a column on there are only footnotes: smaller, low, the first with a mark."""
        first = len(found)
        for number in range(len(found) - 1, -1, -1):
            line = found[number].lines[0]
            if line.size > _SMALLER * self._body or line.turn or line.base > _LOW * height:
                break
            if _NOTE.match(line.text):
                first = number
        return first if first else len(found)

    def _kind(self, paragraph: Paragraph, headings: Mapping[str, int]) -> tuple[str, int, _Style | None]:
        line = paragraph.lines[0]
        text = _flat(paragraph)
        if headings and may_be_heading(text, headings) and (level := headings.get(heading_key(text))):
            return "heading", level, self._style(paragraph, text)
        if entry_of(text):
            return "contents", 0, None
        if line.mono and not self._mono and all(line.mono for line in paragraph.lines):
            return "code", 0, None
        if BULLET.match(line.text):
            return "list_item", 1, None
        if _CAPTION.match(line.text):
            return "caption", 0, None
        style = self._style(paragraph, text)
        if style:
            return "heading", 0, style
        return "numbered" if NUMBERED.match(line.text) else "paragraph", 0, None

    def _style(self, paragraph: Paragraph, text: str) -> _Style | None:
        """The style of a paragraph that starts with `text`, if it is set as headings are."""
        line = paragraph.lines[0]
        larger = line.size >= _LARGER * self._body
        bold = not self._bold and all(line.bold for line in paragraph.lines)
        if not (larger or (bold and line.size >= 0.95 * self._body)) or len(paragraph.lines) > _MOST_LINES:
            return None
        if line.turn != self._turn:
            return None
        letters = sum(map(str.isalpha, text))
        longest = _LONGEST_HEADING if larger else _LONGEST_BOLD
        if not max(2, 0.4 * len(text)) <= letters <= longest or text.endswith((".", ",", ";", "。")):
            return None
        if not larger and text.endswith(":"):
            return None
        section = _SECTION.match(text)
        return _Style(-round(2 * line.size) / 2, not bold, section.group(1).count(".") if section else 0)


def _turn(runs: Sequence[Run]) -> int:
    """Which way a page's text runs: that of most letters, if they are more than a stamp has."""
    letters: Counter[int] = Counter()
    for run in runs:
        letters[run.turn] += len(run.text)
    turn, count = letters.most_common(1)[0] if letters else (0, 0)
    return turn if turn != OBLIQUE and count > _STAMP else 0


def _flat(paragraph: Paragraph) -> str:
    """The start of a paragraph, to see what it is."""
    return " ".join(line.text.strip() for line in paragraph.lines[:_MOST_LINES])


def _fields(sheet: Sheet, body: float) -> Iterator[Run]:
    """What form fields show, as if it were printed; each follows in order what is printed to its left."""
    for number, ((left, low, right, high), text) in enumerate(sheet.fields):
        lines = [line for line in text.splitlines() if line.strip()]
        size = min(body, 0.8 * (high - low) / max(1, len(lines))) or body
        top = (high + low + len(lines) * 1.2 * size) / 2
        before = [
            run for run in sheet.runs if not run.turn and run.right <= left + size and low - size < run.base < high
        ]
        order = max(before, key=lambda run: run.right).order + 1 if before else len(sheet.runs) + number
        for at, line in enumerate(lines):
            base = top - (1.2 * at + 0.95) * size
            end = min(right, left + 0.6 * size * len(line))
            yield Run(line, left, end, base, base - 0.2 * size, base + 0.9 * size, size, order=order)


def _numbered(items: Sequence[_Item]) -> Iterator[_Item]:
    """A number makes an item of a list where another one is next to it."""
    kinds = [item.kind for item in items]
    for number, item in enumerate(items):
        if item.kind == "numbered":
            beside = {"numbered", "list_item"} & {*kinds[max(0, number - 1) : number], *kinds[number + 1 : number + 2]}
            item = item._replace(kind="list_item" if beside else "paragraph", level=1 if beside else 0)
        yield item


def _levels(items: Sequence[_Item]) -> dict[_Style | None, int]:
    """The level of each style: what the outline gives it, else by its rank."""
    known: dict[_Style, Counter[int]] = {}
    styles: set[_Style] = set()
    for item in items:
        if item.style:
            styles.add(item.style)
            if item.level:
                known.setdefault(item.style, Counter())[item.level] += 1
    levels: dict[_Style | None, int] = {}
    level = 0
    for style in sorted(styles):
        level = known[style].most_common(1)[0][0] if style in known else min(_DEEPEST, level + 1)
        levels[style] = level
    return levels


def _merged(items: Iterable[_Item]) -> Iterator[_Item]:
    """Lines of code, and entries of a table of contents, that follow each other on a page as one item."""
    for (kind, _), group in groupby(items, key=lambda item: (item.kind, item.page)):
        if kind not in ("code", "contents"):
            yield from group
            continue
        run = list(group)
        lines = [line for item in run for line in item.lines]
        # A single line of such letters may well be a name or an address within the text.
        kind = "paragraph" if kind == "code" and len(lines) == 1 else kind
        yield run[0]._replace(kind=kind, lines=lines, rows=[row for item in run for row in item.rows])


class _Writer:
    """Adds items to the builder; a paragraph stays open until it is clear that it does not go on in the next column."""

    def __init__(self, builder: Builder, words: Words) -> None:
        self.words = words
        self._builder = builder
        self._open: _Item | None = None
        self._gap: str | None = None  # before the open item, if it goes on with one overleaf
        self._waiting: list[_Item] = []  # what stands between the halves of the open item
        self._indents: list[float] = []  # of the list items around here

    def add(self, item: _Item) -> None:
        """Append `item`, now or once the paragraph before it has ended."""
        if self._open and item.kind == "paragraph" and item.first and self._goes_on(self._open, item):
            self._extend(self._open, item)
        elif self._open and item.kind in _BETWEEN and self._unended(self._open) and len(self._waiting) < _MOST_WAITING:
            self._waiting.append(item)
        else:
            self.end()
            if item.kind in ("paragraph", "list_item"):
                text = self.words.text(Paragraph(item.lines, item.breaks))
                self._open = item._replace(text=text, box=box_of(*item.lines))
            else:
                self._write(item)

    def end(self) -> None:
        """Append what is still open."""
        item, self._open = self._open, None
        waiting, self._waiting = self._waiting, []
        if item:
            self._write(item)
        for other in waiting:
            self._write(other)

    def _unended(self, item: _Item) -> bool:
        return item.last and item.full and not _ENDED.search(item.text)

    def _goes_on(self, item: _Item, following: _Item) -> bool:
        last, first = item.lines[-1], following.lines[0]
        alike = abs(last.size - first.size) < 0.06 * last.size and last.bold == first.bold and last.turn == first.turn
        return alike and self._unended(item)

    def _extend(self, item: _Item, following: _Item) -> None:
        rest = self.words.text(Paragraph(following.lines, following.breaks))
        whole = self.words.join(item.text, rest)
        box = box_of(*following.lines)
        if item.page == following.page:
            assert item.box
            self._open = following._replace(kind=item.kind, indent=item.indent, text=whole, box=around(item.box, box))
            return
        # A word parted by the end of the page is whole, on the page on which it starts.
        cut = len(whole) - len(rest)
        if item.text[-1:] in HYPHENS:
            cut += len(rest.split(None, 1)[0])
        gap = " " if whole[cut : cut + 1].isspace() or whole[cut - 1 : cut].isspace() else ""
        self._write(item._replace(text=whole[:cut].rstrip()))
        self._open = following._replace(kind="paragraph", text=whole[cut:].lstrip(), box=box)
        self._gap = gap

    def _write(self, item: _Item) -> None:
        gap, self._gap = self._gap, None
        box = item.box or box_of(*item.lines)
        box = round(box[0], 1), round(box[1], 1), round(box[2], 1), round(box[3], 1)
        if item.kind != "list_item":
            self._indents = []
        if item.table:
            self._builder.add_table(self._rows(item.table), item.page, box)
        elif item.kind == "contents":
            self._builder.add_table(item.rows, item.page, box)
        else:
            level = self._nesting(item) if item.kind == "list_item" else item.level
            self._builder.add(item.kind, self._text(item), level, item.page, box, gap)

    def _text(self, item: _Item) -> str:
        if item.kind == "code":
            return _indented(item.lines)
        text = item.text or self.words.text(Paragraph(item.lines, item.breaks))
        if item.kind == "heading":
            text = " ".join(text.split())
        if item.kind == "list_item":
            text = BULLET.sub("", text, count=1) if BULLET.match(text) else text
        return _spelt_out(text)

    def _rows(self, table: Table) -> Iterator[list[str]]:
        for row in table.rows:
            cells = (self.words.text(Paragraph([joined_row(line) for line in rows_of(cell)])) for cell in row)
            yield [_spelt_out(cell) for cell in cells]

    def _nesting(self, item: _Item) -> int:
        near = 0.5 * item.lines[0].size
        while self._indents and self._indents[-1] > item.indent + near:
            self._indents.pop()
        if not self._indents or self._indents[-1] < item.indent - near:
            self._indents.append(item.indent)
        return len(self._indents)


def _spelt_out(text: str) -> str:
    if not text.isascii():
        for sign, letters in _SPELT_OUT.items():
            text = text.replace(sign, letters)
    return text


def _indented(lines: Sequence[Run]) -> str:
    """Lines of code, each as far in as it stands on the page."""
    margin = min(line.left for line in lines)
    widths = [(line.right - line.left) / len(line.text) for line in lines if line.right > line.left]
    width = median(widths) if widths else 1.0
    return "\n".join(" " * round((line.left - margin) / width) + line.text for line in lines)
