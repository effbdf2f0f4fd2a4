"""RTF: groups of control words around the text."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.parse.builder import Builder
from pipeline.parse.drawing import description
from pipeline.parse.links import described_links
from pipeline.types import Parsed

_TOKEN = re.compile(
    rb"\\bin(?P<binary>\d{1,10}) ?|\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})? ?|\\'(?P<hex>[0-9a-fA-F]{2})"
    rb"|\\(?P<symbol>[^a-zA-Z])|(?P<brace>[{}])|[\r\n]+|(?P<text>[^\\{}\r\n]+)",
    re.S,
)
_CELL = "\x07"
# Groups that hold no text of the document; those marked \* hold none either, unless they are among the known.
_UNREAD = {
    b"colortbl", b"pict", b"object", b"listtable", b"revtbl", b"rsidtbl", b"generator", b"themedata", b"datastore",
    b"xmlnstbl", b"filetbl", b"bkmkstart", b"bkmkend", b"nonshppict", b"ftnsep", b"ftnsepc", b"aftnsep", b"aftnsepc",
    b"shprslt", b"listoverridetable", b"latentstyles",
}  # fmt: skip
# Groups with a text that is not the body's: it is kept under this name.
_NOTED = {
    b"fldinst": "field", b"title": "title", b"author": "author", b"subject": "subject", b"keywords": "keywords",
    b"company": "company", b"category": "category", b"doccomm": "description", b"propname": "name",
    b"staticval": "value", b"sn": "shape", b"sv": "said", b"atnauthor": "commenter", b"listtext": "label",
    b"pntext": "label", b"fonttbl": "font", b"stylesheet": "style", b"info": "about", b"userprops": "about",
    b"creatim": "created", b"revtim": "modified", b"shpinst": "about", b"picprop": "about", b"shppict": "about",
}  # fmt: skip
_INFO = ("title", "author", "subject", "keywords", "company", "category", "description", "created", "modified")
# Texts beside the body: what blocks they are, "" as they are.
_STORIES = {b"footnote": "footnote", b"annotation": "comment", b"shptxt": "", b"dptxbxtext": ""}
_STORIES |= {b"header" + page: "header" for page in (b"", b"l", b"r", b"f")}
_STORIES |= {b"footer" + page: "footer" for page in (b"", b"l", b"r", b"f")}
_SAYS = {
    b"line": "\n", b"tab": "\t", b"cell": _CELL, b"nestcell": _CELL, b"emdash": "—", b"endash": "–", b"bullet": "•",
    b"lquote": "‘", b"rquote": "’", b"ldblquote": "“", b"rdblquote": "”", b"emspace": " ", b"enspace": " ",
    b"_": "-", b"~": "\xa0", b"\\": "\\", b"{": "{", b"}": "}",
}  # fmt: skip
_ENDS = {b"par", b"row", b"nestrow", b"sect", b"page", b"\n", b"\r"}
_CHARSETS = {b"mac": "mac_roman", b"pc": "cp437", b"pca": "cp850", b"ansi": "cp1252"}
# Code pages of fonts, by the numbers that Windows has for character sets.
_FONTS = {
    0: 1252, 128: 932, 129: 949, 130: 1361, 134: 936, 136: 950, 161: 1253, 162: 1254, 163: 1258, 177: 1255, 178: 1256,
    186: 1257, 204: 1251, 222: 874, 238: 1250,
}  # fmt: skip
_LINK = re.compile(r'\s*HYPERLINK\s+"([^"]+)"')
_COUNTING = re.compile(r"\s*(?:PAGE|NUMPAGES|SECTIONPAGES)\b")
_PAGE_OF = re.compile(r"\W*(?:\w{1,8}\W*)?(?:(?:of|von|de|sur|di|av|van|из)\W*)?")
_HEADING = re.compile(r"heading (\d)\Z", re.I)


@dataclass(slots=True)
class _Story:
    """A text of its own: the body, a note, a box. Its blocks wait, as kind, text and level, unless it is the body."""

    kind: str = ""
    author: str = ""
    text: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    blocks: list[tuple[str, str, int]] = field(default_factory=list)
    beside: list[_Story] = field(default_factory=list)
    counts_pages: bool = False


@dataclass(frozen=True, slots=True)
class _State:
    """What a group inherits and its end gives back."""

    story: _Story
    read: bool = True
    noted: str = ""  # under which name the text is kept, if it is none of the story's
    skip: int = 1  # how many characters stand in for a Unicode one
    level: int = 0  # of a heading
    style: int | None = None
    listed: bool = False
    depth: int = 0  # of the list
    table: bool = False
    hidden: bool = False
    font: int | None = None
    counting: bool = False


def parse(data: bytes, uri: str) -> Parsed:
    """Headings (by style or outline level), paragraphs, list items with their numbers and tables; notes, comments, text
    boxes and descriptions of pictures after the paragraph that they belong to; headers first and footers last.
    """
    return _Reader(data).run()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._builder = Builder()
        self._body = _Story()
        self._state = _State(self._body)
        self._outer: list[_State] = []
        self._bytes = bytearray()  # not decoded yet: a character may take two of them
        self._encoding = "cp1252"
        self._standing_in = 0
        self._notes: dict[str, str] = {}
        self._fonts: dict[int | None, str] = {}
        self._styles: dict[int | None, int] = {}  # levels of headings
        self._custom: dict[str, str] = {}
        self._links: dict[str, None] = {}
        self._footers: list[_Story] = []
        self._seen: set[str] = set()
        self._merged: list[bool] = []  # of the cells of a row: whether they go on from above
        self._merges = False

    def run(self) -> Parsed:
        at = 0
        while token := _TOKEN.match(self._data, at):
            at = token.end()
            if token["binary"]:
                at += int(token["binary"])
            elif token["hex"]:
                self._add_bytes(bytes.fromhex(token["hex"].decode()))
            elif token["text"]:
                self._add_bytes(token["text"])
            elif token["brace"]:
                self._brace(token["brace"])
            elif name := token["word"] or token["symbol"]:
                self._control(name, int(token["number"]) if token["number"] else None)
        while self._outer:
            self._brace(b"}")
        self._end_paragraph()
        self._end_table(self._body)
        for story in self._footers:
            self._show(story)
        metadata: dict[str, Any] = {name: self._notes.get(name) for name in _INFO}
        for name in ("created", "modified"):  # some programs write a year of 0 where they know none
            if (metadata.get(name) or "0").startswith("0"):
                metadata[name] = None
        metadata |= {"custom": self._custom, **described_links(self._links)}
        return self._builder.build("application/rtf", metadata.pop("title") or "", metadata)

    # -- groups ------------------------------------------------------------------------------------------------------

    def _brace(self, brace: bytes) -> None:
        self._flush()
        self._standing_in = 0
        if brace == b"{":
            self._outer.append(self._state)
        elif self._outer:
            ended, self._state = self._state, self._outer.pop()
            if ended.noted and ended.noted != self._state.noted:
                self._noted(ended)
            if ended.story is not self._state.story:
                self._end_story(ended, self._state.story)

    def _noted(self, ended: _State) -> None:
        """A group whose text is kept has ended."""
        text = self._notes.get(ended.noted, "").strip()
        if ended.noted == "field":
            self._links |= dict.fromkeys(_LINK.findall(text))
            if _COUNTING.match(text):
                self._state.story.counts_pages = True
                self._state = replace(self._state, counting=True)
        elif ended.noted == "said" and self._notes.get("shape", "").strip() == "wzDescription":
            self._state.story.beside.append(_Story(blocks=[("caption", description(text), 0)]))
        elif ended.noted == "value":
            name = self._notes.pop("name", "").strip()
            if name or text:
                self._custom[name or "?"] = text
        elif ended.noted == "label" and self._outer:
            shown = f"{text} " if any(map(str.isalnum, text)) else ""
            if self._state.read and not self._state.story.text:
                self._state.story.text.append(shown)
            self._state = replace(self._state, listed=True)

    def _end_story(self, ended: _State, outer: _Story) -> None:
        story = ended.story
        inside, self._state = self._state, ended
        self._end_paragraph()
        self._end_table(story)
        self._state = inside
        if story.kind == "footer":
            self._footers.append(story)
        elif story.kind == "header":
            self._show(story)
        else:
            outer.beside.append(story)

    # -- control words -----------------------------------------------------------------------------------------------

    def _control(self, name: bytes, number: int | None) -> None:
        if name == b"u" and number is not None:
            self._add(chr(number % 65536))
            self._standing_in = self._state.skip
            return
        self._flush()
        state = self._state
        if name in _STORIES:
            author = self._notes.pop("commenter", "") if name == b"annotation" else ""
            self._state = _State(_Story(_STORIES[name], author.strip()), skip=state.skip, font=state.font)
        elif name in _NOTED and (name not in (b"title", b"author", b"subject") or state.noted == "about"):
            self._state = replace(state, read=False, noted=_NOTED[name])
            self._notes[_NOTED[name]] = ""
        elif name in _UNREAD or name == b"*":
            self._state = replace(state, read=False)
        elif name in (b"yr", b"mo", b"dy", b"hr", b"min") and state.noted in ("created", "modified"):
            sign = {b"yr": "", b"hr": "T", b"min": ":"}.get(name, "-")
            self._notes[state.noted] += f"{sign}{number or 0:02}"
        elif name == b"uc":
            self._state = replace(state, skip=max(0, number or 0))
        elif name in _CHARSETS:
            self._encoding = _CHARSETS[name]
        elif name == b"ansicpg":
            self._encoding = _codepage(number)
        elif name == b"f":
            self._state = replace(state, font=number)
        elif name in (b"fcharset", b"cpg") and state.noted == "font":
            self._fonts[state.font] = _codepage(_FONTS.get(number or 0) if name == b"fcharset" else number)
        elif name in (b"trowd", b"clvmrg", b"cellx"):
            self._cell(name)
        elif name in _ENDS and state.read:
            self._end_paragraph(row=name in (b"row", b"nestrow"))
        elif name in _SAYS:
            self._add(_SAYS[name])
        else:
            self._state = self._formatted(name, number)

    def _formatted(self, name: bytes, number: int | None) -> _State:
        state = self._state
        if name == b"pard":
            return replace(state, level=0, style=None, listed=False, depth=0, table=False)
        if name == b"plain":
            return replace(state, hidden=False)
        if name in (b"v", b"deleted"):
            return replace(state, hidden=number != 0)
        if name == b"outlinelevel" and number is not None and 0 <= number < 9:
            if state.noted == "style":
                self._styles[state.style] = number + 1
            return replace(state, level=number + 1)
        if name == b"s":
            return replace(state, style=number)
        if name == b"ls":
            return replace(state, listed=number != 0)
        if name == b"ilvl":
            return replace(state, depth=max(0, number or 0) % 9)
        return replace(state, table=True) if name == b"intbl" else state

    def _cell(self, name: bytes) -> None:
        if name == b"trowd":
            self._merged = []
        elif name == b"cellx":
            self._merged.append(self._merges)
        self._merges = name == b"clvmrg"

    # -- text --------------------------------------------------------------------------------------------------------

    def _add_bytes(self, data: bytes) -> None:
        standing_in, self._standing_in = self._standing_in, max(0, self._standing_in - len(data))
        self._bytes += data[standing_in:]

    def _add(self, text: str) -> None:
        self._flush()
        state = self._state
        if state.noted == "style":
            if heading := _HEADING.search(text.strip().rstrip(";")):
                self._styles[state.style] = max(1, int(heading[1]))
        elif state.noted and not state.read:
            self._notes[state.noted] = self._notes.get(state.noted, "") + text
        elif state.read and not state.hidden and not state.counting:
            state.story.text.append(text)

    def _flush(self) -> None:
        if self._bytes:
            encoding = self._fonts.get(self._state.font, self._encoding)
            text, self._bytes = self._bytes.decode(encoding, "replace"), bytearray()
            self._add(text)

    def _end_paragraph(self, row: bool = False) -> None:
        self._flush()
        state, story = self._state, self._state.story
        if state.table and not row:
            story.text.append(" ")  # a paragraph inside a cell
            return
        text, story.text = "".join(story.text), []
        if row:
            cells = text.split(_CELL)
            above = story.rows[-1] if story.rows else []
            for at, goes_on in enumerate(self._merged[: len(cells)]):
                if goes_on and at < len(above):
                    cells[at] = above[at]
            story.rows.append(cells)
            return
        self._end_table(story)
        level = state.level or self._styles.get(state.style, 0)
        kind = "heading" if level else "list_item" if state.listed else "paragraph"
        depth = state.depth + 1 if kind == "list_item" else level
        self._say(story, kind, " ".join(text.split()) if level else text.replace(_CELL, " "), depth)
        self._let_in(story)

    def _end_table(self, story: _Story) -> None:
        rows, story.rows = story.rows, []
        if rows and story is self._body:
            self._builder.add_table(rows)
        else:
            self._say(story, "table", "\n".join(" | ".join(" ".join(cell.split()) for cell in row) for row in rows), 0)
        if rows:
            self._let_in(story)

    def _say(self, story: _Story, kind: str, text: str, level: int) -> None:
        if story is self._body:
            self._builder.add(kind, text, level=level)
        elif text.strip():
            story.blocks.append((kind, text, level))

    def _let_in(self, story: _Story) -> None:
        """What stands beside a paragraph comes after it."""
        if story is self._body:
            beside, story.beside = story.beside, []
            for one in beside:
                self._show(one)

    def _show(self, story: _Story) -> None:
        waiting = [story]
        while waiting:
            one = waiting.pop()
            waiting += reversed(one.beside)
            texts = [text.strip() for _, text, _ in one.blocks]
            if one.kind in ("footnote", "comment"):
                text = "\n".join(texts)
                self._builder.add("footnote", f"{one.author}: {text}" if one.author and text else text)
            elif one.kind in ("header", "footer"):
                for text in texts:
                    if text not in self._seen and not (one.counts_pages and _PAGE_OF.fullmatch(text)):
                        self._seen.add(text)
                        self._builder.add("paragraph", text)
            else:
                for kind, text, level in one.blocks:
                    self._builder.add(kind, text, level=level)


def _codepage(number: int | None) -> str:
    name = "utf-8" if number == 65001 else f"cp{number}"
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "cp1252"
