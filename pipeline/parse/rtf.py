"""RTF: groups of control words around the text."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, replace

from pipeline.parse.builder import CELL, Builder
from pipeline.types import Parsed

_TOKEN = re.compile(
    rb"\\bin(?P<binary>\d+) ?|\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})? ?|\\'(?P<hex>[0-9a-fA-F]{2})"
    rb"|\\(?P<symbol>[^a-zA-Z])|(?P<brace>[{}])|[\r\n]+|(?P<text>[^\\{}\r\n]+)",
    re.S,
)
# Groups that hold no text of the document; those marked \* are left out as well.
_UNREAD = {
    b"fonttbl", b"colortbl", b"stylesheet", b"pict", b"object", b"header", b"headerl", b"headerr", b"headerf",
    b"footer", b"footerl", b"footerr", b"footerf", b"listtable", b"revtbl", b"rsidtbl", b"generator", b"fldinst",
    b"themedata", b"datastore", b"xmlnstbl", b"info", b"filetbl", b"annotation", b"bkmkstart", b"bkmkend",
}  # fmt: skip
_INFO = {b"title": "title", b"author": "author", b"subject": "subject", b"keywords": "keywords"}
_SAYS = {
    b"line": "\n", b"tab": "\t", b"cell": CELL, b"nestcell": CELL, b"emdash": "—", b"endash": "–", b"bullet": "•",
    b"lquote": "‘", b"rquote": "’", b"ldblquote": "“", b"rdblquote": "”", b"emspace": " ", b"enspace": " ",
    b"_": "-", b"~": "\xa0", b"\\": "\\", b"{": "{", b"}": "}",
}  # fmt: skip
_ENDS = {b"par", b"row", b"nestrow", b"sect", b"page", b"\n", b"\r"}
_CHARSETS = {b"mac": "mac_roman", b"pc": "cp437", b"pca": "cp850", b"ansi": "cp1252"}


@dataclass(frozen=True, slots=True)
class _State:
    """What a group inherits and its end gives back."""

    read: bool = True
    info: str = ""
    skip: int = 1  # how many characters stand in for a Unicode one
    level: int = 0  # of a heading
    listed: bool = False
    table: bool = False


def parse(data: bytes, uri: str) -> Parsed:
    """Paragraphs, headings (by outline level), list items and tables, and the title and author of its information."""
    return _Reader(data).run()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._builder = Builder()
        self._state = _State()
        self._outer: list[_State] = []
        self._text: list[str] = []
        self._rows: list[list[str]] = []
        self._bytes = bytearray()  # not decoded yet: a character may take two of them
        self._encoding = "cp1252"
        self._standing_in = 0
        self._info: dict[str, str] = {}

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
        self._end_paragraph()
        self._end_table()
        return self._builder.build("application/rtf", self._info.pop("title", ""), self._info)

    def _brace(self, brace: bytes) -> None:
        self._flush()
        self._standing_in = 0
        if brace == b"{":
            self._outer.append(self._state)
        elif self._outer:
            self._state = self._outer.pop()

    def _control(self, name: bytes, number: int | None) -> None:
        if name == b"u" and number is not None:
            self._add(chr(number % 65536))
            self._standing_in = self._state.skip
            return
        self._flush()
        state = self._state
        if name in _INFO and state.info == "info":
            self._state = replace(state, info=_INFO[name])
        elif name in _UNREAD or name == b"*":
            self._state = replace(state, read=False, info="info" if name == b"info" else "")
        elif name == b"uc":
            self._state = replace(state, skip=max(0, number or 0))
        elif name in _CHARSETS:
            self._encoding = _CHARSETS[name]
        elif name == b"ansicpg":
            self._encoding = _codepage(number)
        elif name == b"pard":
            self._state = replace(state, level=0, listed=False, table=False)
        elif name == b"outlinelevel" and number is not None and 0 <= number < 9:
            self._state = replace(state, level=number + 1)
        elif name in (b"ls", b"pntext", b"listtext"):
            self._state = replace(state, listed=True, read=state.read and name == b"ls")
            if name != b"ls" and self._outer:  # the bullet's own group
                self._outer[-1] = replace(self._outer[-1], listed=True)
        elif name == b"intbl":
            self._state = replace(state, table=True)
        elif name in _ENDS and state.read:
            self._end_paragraph(row=name in (b"row", b"nestrow"))
        elif name in _SAYS:
            self._add(_SAYS[name])

    def _add_bytes(self, data: bytes) -> None:
        standing_in, self._standing_in = self._standing_in, max(0, self._standing_in - len(data))
        self._bytes += data[standing_in:]

    def _add(self, text: str) -> None:
        self._flush()
        if self._state.read:
            self._text.append(text)
        elif self._state.info not in ("", "info"):
            self._info[self._state.info] = self._info.get(self._state.info, "") + text

    def _flush(self) -> None:
        if self._bytes:
            text, self._bytes = self._bytes.decode(self._encoding, "replace"), bytearray()
            self._add(text)

    def _end_paragraph(self, row: bool = False) -> None:
        self._flush()
        state = self._state
        if state.table and not row:
            self._text.append(" ")  # a paragraph inside a cell
            return
        text, self._text = "".join(self._text), []
        if row:
            self._rows.append(text.split(CELL))
            return
        self._end_table()
        kind = "heading" if state.level else "list_item" if state.listed else "paragraph"
        self._builder.add(kind, text, level=state.level or int(state.listed))

    def _end_table(self) -> None:
        rows, self._rows = self._rows, []
        self._builder.add_table(rows)


def _codepage(number: int | None) -> str:
    name = "utf-8" if number == 65001 else f"cp{number}"
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "cp1252"
