"""Plain text and Markdown. The words stay as they are written; only Markdown's block markup becomes structure."""

from __future__ import annotations

import re

from pipeline.parse.builder import Builder
from pipeline.types import Parsed

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+|\f")
_FENCE = re.compile(r"[ \t]*(`{3,}(?=[^`]*$)|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_ITEM = re.compile(r"([ \t]*)([-*+]|\d{1,9}[.)])[ \t]+(\S.*)$")
_QUOTE = re.compile(r" {0,3}> ?")
_TABLE_RULE = re.compile(r"[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)+(?:[ \t]*:?-+:?[ \t]*)?$")
_CELL_BORDER = re.compile(r"(?<!\\)\|")
_FRONT_MATTER = re.compile(r"---[ \t]*\n((?:[\w-]+:.*\n|[ \t-].*\n|#.*\n){1,100})(?:---|\.\.\.)[ \t]*(?:\n|$)")
_SETTING = re.compile(r"^([\w-]+):[ \t]*(\S.*)$", re.M)


def plain(data: bytes, uri: str) -> Parsed:
    """Paragraphs, parted by blank lines."""
    builder = Builder()
    add_plain(builder, builder.decode(data))
    return builder.build("text/plain")


def markdown(data: bytes, uri: str) -> Parsed:
    """Headings (both styles), lists, tables, code and paragraphs; front matter becomes metadata.

    The title is the front matter's, else the first heading's if that is of level 1.
    """
    builder = Builder()
    text = builder.decode(data)
    metadata: dict[str, str] = {}
    front = _FRONT_MATTER.match(text)
    if front:
        text = text[front.end() :]
        metadata = {key.lower(): value.strip().strip("\"'") for key, value in _SETTING.findall(front.group(1))}
    title = _Markdown(builder).run(text.split("\n"))
    return builder.build("text/markdown", metadata.pop("title", "") or title, metadata)


def add_plain(builder: Builder, text: str) -> None:
    """Append the paragraphs of plain `text`."""
    for paragraph in _BLANK_LINES.split(text):
        builder.add("paragraph", paragraph)


class _Markdown:
    """Line by line; `run` returns the title."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._title: str | None = None
        self._open: list[str] = []  # lines of the paragraph or list item that goes on
        self._level = 0  # of the open list item; 0 if it is a paragraph
        self._indents: list[int] = []  # of the list items around here
        self._after_blank = True

    def run(self, lines: list[str]) -> str:
        at = 0
        while at < len(lines):
            at = self._step(lines, at)
        self._close()
        return self._title or ""

    def _step(self, lines: list[str], at: int) -> int:
        """Take in `lines[at]` and what belongs to it; the number of the next line."""
        line = _QUOTE.sub("", lines[at]) if _QUOTE.match(lines[at]) else lines[at]
        after_blank, self._after_blank = self._after_blank, not line.strip()
        if not line.strip():
            self._close()
        elif fence := _FENCE.match(line):
            return self._code(lines, at, fence.group(1))
        elif heading := _HEADING.match(line):
            self._heading(len(heading.group(1)), heading.group(2) or "")
        elif self._open and not self._level and (underline := _UNDERLINE.match(line)):
            text, self._open = "\n".join(self._open), []
            self._heading(1 if underline.group(1)[0] == "=" else 2, text)
        elif _RULE.match(line):
            self._close()
        elif "|" in line and at + 1 < len(lines) and _TABLE_RULE.match(lines[at + 1]):
            return self._table(lines, at)
        elif item := _ITEM.match(line):
            self._item(len(item.group(1).expandtabs(4)), item.group(2), item.group(3))
        elif after_blank and not self._indents and line.expandtabs(4).startswith("    "):
            return self._indented(lines, at)
        else:
            if not line[0].isspace() and after_blank:
                self._indents = []
            self._open.append(line.strip())
        return at + 1

    def _close(self) -> None:
        kind = "list_item" if self._level else "paragraph"
        self._builder.add(kind, "\n".join(self._open), level=self._level)
        self._open, self._level = [], 0

    def _heading(self, level: int, text: str) -> None:
        self._close()
        self._indents = []
        if self._title is None and text.strip():
            self._title = text if level == 1 else ""
        self._builder.add("heading", text, level=level)

    def _item(self, indent: int, marker: str, text: str) -> None:
        self._close()
        while self._indents and self._indents[-1] > indent:
            self._indents.pop()
        if not self._indents or self._indents[-1] < indent:
            self._indents.append(indent)
        self._level = len(self._indents)
        # A number says something ("step 3"), a bullet does not.
        self._open = [f"{marker} {text}" if marker[0].isdigit() else text]

    def _code(self, lines: list[str], at: int, fence: str) -> int:
        self._close()
        end = at + 1
        while end < len(lines) and not re.fullmatch(rf"[ \t>]*{fence[0]}{{{len(fence)},}}[ \t]*", lines[end]):
            end += 1
        self._builder.add("code", "\n".join(lines[at + 1 : end]))
        return end + 1

    def _indented(self, lines: list[str], at: int) -> int:
        end = at
        while end < len(lines) and (not lines[end].strip() or lines[end].expandtabs(4).startswith("    ")):
            end += 1
        self._builder.add("code", "\n".join(line.expandtabs(4)[4:] for line in lines[at:end]))
        self._after_blank = True
        return end

    def _table(self, lines: list[str], at: int) -> int:
        self._close()
        end = at + 2
        while end < len(lines) and "|" in lines[end]:
            end += 1
        self._builder.add_table(_cells(line) for line in (lines[at], *lines[at + 2 : end]))
        return end


def _cells(line: str) -> list[str]:
    cells = _CELL_BORDER.split(line.strip())
    first = 1 if cells and not cells[0].strip() else 0
    return [cell.replace("\\|", "|") for cell in cells[first:]]
