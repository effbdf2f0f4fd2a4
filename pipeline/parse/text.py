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
_LONGEST_HEADING = 300
_LONG_LINES = 250  # characters a line, on average
_RULED = re.compile(r"(?:([=\-~^\"'#*+`:.]{3,})[ \t]*\n)?(?=[^\n]*\w)([^\n]+)\n(([=\-~^\"'#*+`:.])\4{2,})[ \t]*")
_TEXT_BELOW = re.compile(r"(?<=\n\n)([^\n]{1,300}\n([=\-~^\"'#*+`:.])\2{2,}[ \t]*)\n(?=\w)")
_MARKED = {
    "adoc": re.compile(r"^(={1,6})[ \t]+(\S.*)$", re.M),
    "org": re.compile(r"^(\*{1,6})[ \t]+(\S.*)$", re.M),
    "tex": re.compile(r"^[ \t]*\\(part|chapter|section|subsection|subsubsection|paragraph)\*?\{([^{}\n]*)\}.*$", re.M),
}
_LATEX = {"part": 1, "chapter": 2, "section": 3, "subsection": 4, "subsubsection": 5, "paragraph": 6}
# Of books: outermost first, in some of the languages that books are written in.
_CHAPTERS = (
    ("book", "volume", "buch", "band", "livre", "tome", "libro", "livro"),
    ("part", "teil", "partie", "parte"),
    ("chapter", "kapitel", "chapitre", "capítulo", "capitolo", "hoofdstuk", "глава"),
    ("section", "appendix", "anhang", "annexe", "apéndice"),
)
_CHAPTER = re.compile(
    rf"({'|'.join(word for words in _CHAPTERS for word in words)})[ \t]+"
    r"(?:\d{1,4}|[ivxlcdm]{1,8}|[a-z]|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen)"
    r"\b(?!\s+[a-z])[.:)]?(?:[ \t—–:-]+\S[^\n]{0,80})?",
    re.I,
)
_SETTING = re.compile(r"^([\w-]+):[ \t]*(\S.*)$", re.M)


def plain(data: bytes, uri: str) -> Parsed:
    """Paragraphs, parted by blank lines; headings where lines are underlined, or number chapters.

    Levels of underlined headings are in the order in which their rules come up, as in reStructuredText. AsciiDoc, Org
    and LaTeX, known by their extension, have their own headings.
    """
    builder = Builder()
    text = builder.decode(data)
    marked = _MARKED.get(uri.rpartition(".")[2].lower())
    if marked:
        # Apart from what follows, whether there is a blank line or not.
        text = marked.sub(lambda found: f"\n\n{found.group()}\n\n", text)
    text = _TEXT_BELOW.sub(r"\1\n\n", text)
    rules: list[str] = []
    for paragraph in _BLANK_LINES.split(text):
        level, title = _heading(paragraph, rules, marked)
        if level:
            builder.add("heading", title, level=level)
        else:
            _add_paragraph(builder, paragraph)
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
    title = add_markdown(builder, text)
    return builder.build("text/markdown", metadata.pop("title", "") or title, metadata)


def add_markdown(builder: Builder, text: str) -> str:
    """Append the blocks of Markdown `text`; its first heading if that is of level 1, else ""."""
    return _Markdown(builder).run(text.split("\n"))


def add_plain(builder: Builder, text: str) -> None:
    """Append the paragraphs of plain `text`."""
    for paragraph in _BLANK_LINES.split(text):
        _add_paragraph(builder, paragraph)


def _add_paragraph(builder: Builder, text: str) -> None:
    """Append `text`; each line on its own if they are so long that no one broke them by hand."""
    unbroken = len(text) > _LONG_LINES * (text.count("\n") + 1)
    for line in text.split("\n") if unbroken else [text]:
        builder.add("paragraph", line)


def _heading(paragraph: str, rules: list[str], marked: re.Pattern[str] | None) -> tuple[int, str]:
    """The level of a paragraph that is a heading, and its text; 0 if it is none. `rules` are those seen so far."""
    if len(paragraph) > _LONGEST_HEADING:
        return 0, ""
    if marked and (found := marked.fullmatch(paragraph.strip("\n"))):
        depth = found.group(1)
        return min(6, _LATEX.get(depth, len(depth))), found.group(2)
    if ruled := _RULED.fullmatch(paragraph.strip("\n")):
        over, title, under, _ = ruled.groups()
        if len(under) >= 0.8 * len(title.strip()) and (not over or over == under):
            style = (over or "")[:1] + under[0]
            if style not in rules:
                rules.append(style)
            return min(6, rules.index(style) + 1), title
    if chapter := _CHAPTER.fullmatch(paragraph.strip()):
        return next(
            level for level, words in enumerate(_CHAPTERS, start=1) if chapter.group(1).lower() in words
        ), paragraph
    return 0, ""


class _Markdown:
    """Line by line; `run` returns the title."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._title: str | None = None
        self._open: list[str] = []  # lines of the paragraph or list item that goes on
        self._level = 0  # of the open list item; 0 if it is a paragraph
        self._indents: list[int] = []  # of the list items around here
        self._after_blank = True
        self._commented = 0  # the line after the end of a comment, looked for once

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
        elif line.lstrip().startswith("<!--") and (end := self._comment(lines, at)):
            self._close()
            return end
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

    def _comment(self, lines: list[str], at: int) -> int:
        """The number of the line after the comment that begins in `lines[at]`; 0 if it shares its lines with text."""
        if at >= self._commented:
            ends = (number for number in range(at, len(lines)) if "-->" in lines[number])
            self._commented = next(ends, len(lines)) + 1
        alone = self._commented <= len(lines) and not lines[self._commented - 1].rpartition("-->")[2].strip()
        return self._commented if alone else 0

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
