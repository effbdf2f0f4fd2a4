"""The text of a paragraph of a Word document, and what it refers to: notes, comments, pictures, boxes and links."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.parse.drawing import description

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_WP = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_VML = "{urn:schemas-microsoft-com:vml}"
_DRAWN = (f"{_DIAGRAM}relIds", f"{_CHART}chart")
_SHAPES = (f"{_VML}shape", f"{_VML}rect", f"{_VML}textpath")

#: Several ways to write the same, the best first.
ALTERNATIVES = "{http://schemas.openxmlformats.org/markup-compatibility/2006}AlternateContent"

#: Where a page ends: as somebody wanted it, and as it was laid out when the file was last saved.
HARD_BREAK, SOFT_BREAK = "\f", "\v"

_OFF = {"0", "false", "off"}
_RUN_PROPERTIES, _CONTROL_PROPERTIES = f"{W}rPr", f"{W}sdtPr"
_BOX = f"{W}txbxContent"
# Deleted and moved-away text, properties, and the reading aid beside Chinese and Japanese characters.
_UNREAD = ("del", "moveFrom", "delText", "rPr", "pPr", "tblPr", "sdtPr", "rt", "rubyPr")
_SIGNS = {"tab": "\t", "ptab": "\t", "cr": "\n", "noBreakHyphen": "-", "lastRenderedPageBreak": SOFT_BREAK}
_NOTES = {f"{W}footnoteReference": "footnotes", f"{W}endnoteReference": "endnotes", f"{W}commentReference": "comments"}
_LINK = re.compile(r'HYPERLINK\s+(?:\\[a-z]\s+)*"([^"]+)"')
_COUNTING = re.compile(r"\s*(?:PAGE|NUMPAGES|SECTIONPAGES)\b")
# Characters of the fonts Symbol and Wingdings, where they are no letters.
_SYMBOLS = {
    "F0B7": "•", "F0A7": "▪", "F0E0": "→", "F0DF": "←", "F0E8": "→", "F0FC": "✓", "F0FB": "✗", "F0A8": "☐", "F0FE": "☑",
    "F0FD": "☒", "F06F": "☐", "F04A": "☺", "F0B0": "°", "F0B1": "±", "F0B4": "×", "F0A3": "≤", "F0B3": "≥", "F0B9": "≠",
    "F0AE": "→", "F0AC": "←", "F061": "α", "F062": "β", "F067": "γ", "F064": "δ", "F06D": "μ", "F070": "π", "F057": "Ω",
    "F044": "Δ", "F053": "Σ", "F0A5": "∞", "F0D6": "√",
}  # fmt: skip


@dataclass(slots=True)
class Inline:
    """A paragraph's text with its breaks, and what else it holds, in order."""

    parts: list[str] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)  # of which part, and the id there
    boxes: list[Any] = field(default_factory=list)
    descriptions: list[str] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)  # ids of diagrams and charts
    links: list[str] = field(default_factory=list)  # ids of links to other places
    addresses: list[str] = field(default_factory=list)
    counts_pages: bool = False

    @property
    def text(self) -> str:
        """The text with its breaks."""
        return "".join(self.parts)


def inline(paragraph: Any) -> Inline:
    """What is in `paragraph` as it reads with all changes accepted; without paragraphs inside it."""
    found = Inline()
    _Reader(found).read(paragraph)
    return found


def is_on(element: Any, name: str) -> bool:
    """Whether an element has a property that is not switched off; None has none."""
    found = None if element is None else next(element.iterchildren(W + name), None)
    return found is not None and found.get(f"{W}val") not in _OFF


def shows_placeholder(control: Any) -> bool:
    """Whether nobody has filled in a content control, so that it shows what to fill in."""
    properties = control.find(_CONTROL_PROPERTIES)
    return properties is not None and is_on(properties, "showingPlcHdr")


def _outside_boxes(drawing: Any) -> Iterator[Any]:
    """What is below `drawing` in order, text boxes included, what is in them not."""
    stack = list(reversed(drawing))
    while stack:
        element = stack.pop()
        yield element
        if element.tag != _BOX:
            stack += list(reversed(element))


class _Reader:
    def __init__(self, found: Inline) -> None:
        self._found = found
        self._fields: list[str] = []  # the code of each field that is open

    def read(self, element: Any) -> None:
        for child in element:
            _READERS.get(child.tag, _Reader.read)(self, child)

    def _text(self, element: Any) -> None:
        self._say(element.text or "")

    def _sign(self, sign: Any) -> None:
        self._say(_SIGNS[sign.tag.removeprefix(W)])

    def _note(self, reference: Any) -> None:
        self._found.notes.append((_NOTES[reference.tag], reference.get(f"{W}id") or ""))

    def _nothing(self, element: Any) -> None:
        """Deleted, or no text."""

    def _say(self, text: str) -> None:
        # The number of a page, where it is a field, is that of the page on which the file was last open.
        if self._fields and any(_COUNTING.match(code) for code in self._fields):
            self._found.counts_pages = True
        else:
            self._found.parts.append(text)

    def _run(self, run: Any) -> None:
        for child in run:
            if child.tag == _RUN_PROPERTIES:
                if len(child) and is_on(child, "vanish"):
                    return
            else:
                _READERS.get(child.tag, _Reader.read)(self, child)

    def _break(self, sign: Any) -> None:
        self._say(HARD_BREAK if sign.get(f"{W}type") == "page" else "\n")

    def _symbol(self, sign: Any) -> None:
        code = (sign.get(f"{W}char") or "").upper()
        self._say(_SYMBOLS.get(code, ""))

    def _field_sign(self, sign: Any) -> None:
        kind = sign.get(f"{W}fldCharType")
        if kind == "begin":
            self._fields.append("")
            box = sign.find(f"{W}ffData/{W}checkBox")
            if box is not None:
                ticked = is_on(box, "checked") if box.find(f"{W}checked") is not None else is_on(box, "default")
                self._found.parts.append("☑" if ticked else "☐")
        elif kind == "end" and self._fields:
            self._found.addresses += _LINK.findall(self._fields.pop())

    def _field_code(self, code: Any) -> None:
        if self._fields:
            self._fields[-1] += code.text or ""

    def _field(self, element: Any) -> None:
        self._fields.append(element.get(f"{W}instr") or "")
        self.read(element)
        self._found.addresses += _LINK.findall(self._fields.pop())

    def _hyperlink(self, link: Any) -> None:
        if target := link.get(f"{R}id"):
            self._found.links.append(target)
        self.read(link)

    def _control(self, control: Any) -> None:
        if not shows_placeholder(control):
            self.read(control)

    def _box(self, box: Any) -> None:
        self._found.boxes.append(box)

    def _drawing(self, drawing: Any) -> None:
        for element in _outside_boxes(drawing):
            if element.tag == _BOX:
                self._found.boxes.append(element)
            elif element.tag == f"{_WP}docPr":
                self._describe(element.get("descr") or element.get("title"))
            elif element.tag in _DRAWN:
                self._found.drawn.append(element.get(f"{R}dm") or element.get(f"{R}id") or "")
            elif element.tag in _SHAPES:
                self._describe(element.get("alt") or element.get("string"))

    def _describe(self, text: str | None) -> None:
        text = description(text)
        if text and text not in self._found.descriptions:
            self._found.descriptions.append(text)

    def _alternatives(self, alternatives: Any) -> None:
        """The first of several ways to write the same."""
        for choice in alternatives.iterchildren():
            self.read(choice)
            return

    def _fraction(self, fraction: Any) -> None:
        for number, part in enumerate(fraction.iterchildren(f"{_MATH}num", f"{_MATH}den")):
            if number:
                self._say("/")
            self.read(part)


_READERS: dict[Any, Callable[[_Reader, Any], None]] = {
    **{f"{W}{name}": _Reader._nothing for name in _UNREAD},
    **{f"{W}{name}": _Reader._sign for name in _SIGNS},
    **dict.fromkeys(_NOTES, _Reader._note),
    f"{W}t": _Reader._text,
    f"{_MATH}t": _Reader._text,
    f"{W}r": _Reader._run,
    f"{W}br": _Reader._break,
    f"{W}sym": _Reader._symbol,
    f"{W}fldChar": _Reader._field_sign,
    f"{W}instrText": _Reader._field_code,
    f"{W}fldSimple": _Reader._field,
    f"{W}hyperlink": _Reader._hyperlink,
    f"{W}sdt": _Reader._control,
    _BOX: _Reader._box,
    f"{W}drawing": _Reader._drawing,
    f"{W}pict": _Reader._drawing,
    f"{W}object": _Reader._drawing,
    ALTERNATIVES: _Reader._alternatives,
    f"{_MATH}f": _Reader._fraction,
}
