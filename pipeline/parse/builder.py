"""Blocks in, one clean text out, with exact offsets: what every parser writes into."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse.decode import decode
from pipeline.types import Block, Parsed

#: left, bottom, right, top, in points from the lower left corner of the page as it is shown.
Box = tuple[float, float, float, float]

#: What the cells of a table row are parted by.
CELL = " | "

# Items of one run stand on lines of their own; anything else is a paragraph apart.
_TIGHT = {"list_item", "table", "log"}
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_BREAK = re.compile("\r\n|[\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
# Control characters but \n and \t, byte order marks, and code points that are no characters.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
# Anything that leaves a mark: neither white space nor zero-width.
_VISIBLE = re.compile("[^\\s\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f]")
_LONGEST_TITLE = 300
# A kilobyte that refers to a text a million times is a gigabyte.
_MOST_TEXT = 1 << 28
# What programs fill in where nobody gave a title.
_NO_TITLE = re.compile(
    r"(?:untitled\b.*|title|(?:word |microsoft word )?document ?\d*|(?:powerpoint )?presentation ?\d*|slide ?\d*"
    r"|(?:book|workbook) ?\d*|\(anonymous\)|\(unspecified\)|none)\Z",
    re.I,
)


class Builder:
    """Accumulates the blocks of one document.

    Every non-blank character of the text built lies in exactly one block; blocks are in order, do not overlap and are
    not blank. The text is NFC, and its only control characters are line feeds and tabs.
    """

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0
        self._mended = False

    def __bool__(self) -> bool:
        """Whether there is any text."""
        return bool(self._blocks)

    def decode(self, data: bytes, declared: str | None = None) -> str:
        """The text of `data`, for the parser to take apart; what could not be read of it is noted."""
        text, warning = decode(data, declared)
        if warning:
            self.warn(warning)
        return text

    def add(
        self,
        kind: str,
        text: str,
        level: int = 0,
        page: int | None = None,
        box: Box | None = None,
        gap: str | None = None,
    ) -> None:
        """Append a block; nothing happens if `text` shows nothing. Code keeps the indentation of its first line.

        `gap` is the white space before a block that goes on with the sentence of the one before, overleaf, say.
        """
        text = self._clean(text)
        text = re.sub(r"\A(?:[^\S\n]*\n)+", "", text.rstrip()) if kind == "code" else text.strip()
        if not _VISIBLE.search(text):
            return
        if self._blocks:
            if gap is None:
                gap = "\n" if kind in _TIGHT and kind == self._blocks[-1].kind else "\n\n"
            self._parts.append(gap)
            self._length += len(gap)
        start = self._length
        self._parts.append(text)
        self._length += len(text)
        if self._length > _MOST_TEXT:
            raise Rejected(f"it holds over {_MOST_TEXT >> 20} million characters: it may be a trap; if not, split it")
        self._blocks.append(Block(kind, start, self._length, level, page, box))

    def add_table(self, rows: Iterable[Sequence[str]], page: int | None = None, box: Box | None = None) -> None:
        """Append a table as one block: a line a row, cells parted by " | ", empty rows left out."""
        self.add("table", "\n".join(filter(None, map(row_text, rows))), page=page, box=box)

    @property
    def size(self) -> int:
        """How many blocks there are."""
        return len(self._blocks)

    def raise_headings(self, since: int, titles: Mapping[str, int]) -> None:
        """Make headings of the paragraphs from block `since` on that say one of `titles`, at its level.

        Nothing happens if there is a heading among them.
        """
        if any(block.kind == "heading" for block in self._blocks[since:]):
            return
        for at in range(since, len(self._blocks)):
            # Between the texts of two blocks is a gap.
            level = titles.get(" ".join(self._parts[2 * at].split())) if self._blocks[at].kind == "paragraph" else None
            if level:
                self._blocks[at] = replace(self._blocks[at], kind="heading", level=level)

    def warn(self, warning: str) -> None:
        """Note something that could not be read, once."""
        if warning not in self.warnings:
            self.warnings.append(warning)

    def build(self, media_type: str, title: str = "", metadata: Mapping[str, Any] | None = None) -> Parsed:
        """The document. Metadata that is None, empty or blank is left out."""
        title = " ".join(self._clean(title).split())[:_LONGEST_TITLE]
        kept = {key: self._plain(value) for key, value in (metadata or {}).items()}
        if self._mended:
            self.warn("some characters were half a pair and are shown as \ufffd")
        return Parsed(
            text="".join(self._parts),
            blocks=self._blocks,
            media_type=media_type,
            title=title if names_something(title) else "",
            metadata={key: value for key, value in kept.items() if value not in (None, "", [], {})},
            warnings=self.warnings,
        )

    def _plain(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._clean(value).strip()
        if isinstance(value, Mapping):
            return {self._clean(str(key)): self._plain(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(inner) for inner in value]
        return value

    def _clean(self, text: str) -> str:
        if text.isascii() and text.isprintable():  # most are, and there is nothing to clean
            return text
        if _SURROGATE.search(text):
            # Two halves that met become one character; a half on its own cannot be encoded by anything downstream.
            whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            self._mended |= whole.count("\ufffd") > text.count("\ufffd")
            text = whole
        text = _CONTROL.sub("", _LINE_BREAK.sub("\n", text).replace("\x1f", " "))
        return unicodedata.normalize("NFC", text)


def names_something(title: str) -> bool:
    """Whether somebody gave this title, rather than a program."""
    return bool(title.strip()) and not _NO_TITLE.match(title.strip())


def row_text(cells: Sequence[str]) -> str:
    """A table row as one line; "" if every cell is empty."""
    inline = [" ".join(cell.split()) for cell in cells]
    while inline and not inline[-1]:
        inline.pop()
    return CELL.join(inline)
