"""What a paragraph of a Word document is, by its own properties and by its style: heading, list item, caption, text."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pipeline.parse.numbering import Numbering, depth_of, number, value_of
from pipeline.parse.wordtext import W, is_on

_HEADING = re.compile(r"heading (\d)\Z")
_CONTENTS = re.compile(r"toc (\d)\Z")
_LISTED = re.compile(r"list(?: bullet| number)?(?: (\d))?\Z")
_BODY_TEXT = 9  # an outline level that says "no heading"
_PROPERTIES, _VALUE = f"{W}pPr", f"{W}val"
_STYLE, _NUMBERS, _OUTLINE = f"{W}pStyle", f"{W}numPr", f"{W}outlineLvl"
_NEW_PAGE, _MARK, _SECTION, _DELETED = f"{W}pageBreakBefore", f"{W}rPr", f"{W}sectPr", f"{W}del"


class Style(NamedTuple):
    """What a style says of its paragraphs: kind and level, the list they are numbered in and their level there."""

    kind: str = "paragraph"
    level: int = 0
    numbers: str | None = None
    depth: int = 0
    new_page: bool = False


class Nature(NamedTuple):
    """What a paragraph is. `label` is its number as the reader sees it; `section` ends with it, if one does; where its
    end is `joined`, it goes on in the next paragraph, since the end was deleted.
    """

    kind: str
    level: int
    label: str
    new_page: bool
    section: Any
    joined: bool


class Styles:
    """The styles of a document and its lists, whose numbers are counted as paragraphs are asked for in their order."""

    def __init__(self, styles: Any, numbering: Any) -> None:
        elements = () if styles is None else styles.iterchildren(f"{W}style")
        self._elements = {style.get(f"{W}styleId"): style for style in elements}
        self._default = next(
            (
                id
                for id, style in self._elements.items()
                if style.get(f"{W}default") == "1" and style.get(f"{W}type") == "paragraph"
            ),
            None,
        )
        self._known: dict[str | None, Style] = {}
        self._numbering = Numbering(numbering, self._elements.get)

    def nature(self, paragraph: Any) -> Nature:
        """What `paragraph` is, its own properties before those of its style; counts it in the list it is in."""
        own = {child.tag: child for child in paragraph.iterchildren(_PROPERTIES) for child in child}
        style = self.style(own[_STYLE].get(_VALUE) if _STYLE in own else None)
        numbers, depth = style.numbers, style.depth
        if _NUMBERS in own:
            numbers = value_of(own[_NUMBERS], "numId") or numbers
            depth = depth_of(value_of(own[_NUMBERS], "ilvl"), depth)
        listed = numbers is not None and numbers != "0"
        label = self._numbering.label(numbers, depth) if numbers and listed else ""
        kind, level = self._kind(style, depth if listed else None)
        outline = number(own[_OUTLINE].get(_VALUE), _BODY_TEXT) if _OUTLINE in own else _BODY_TEXT
        if 0 <= outline < _BODY_TEXT:
            kind, level = "heading", outline + 1
        new_page = own[_NEW_PAGE].get(_VALUE) not in ("0", "false", "off") if _NEW_PAGE in own else style.new_page
        joined = _MARK in own and own[_MARK].find(_DELETED) is not None
        return Nature(kind, level, label, new_page, own.get(_SECTION), joined)

    def style(self, name: str | None) -> Style:
        """The style of that name, or the one of paragraphs that name none."""
        name = name or self._default
        if name not in self._known:
            self._known[name] = self._resolve(name)
        return self._known[name]

    @staticmethod
    def _kind(style: Style, depth: int | None) -> tuple[str, int]:
        """Kind and level of a paragraph at `depth` of a list, None for one that is in none."""
        if style.kind not in ("paragraph", "list_item"):
            return style.kind, style.level
        if depth is not None:
            return "list_item", depth + 1 if depth else max(1, style.level)
        if style.kind == "paragraph" or style.numbers is not None:
            return "paragraph", 0
        return "list_item", style.level

    def _resolve(self, name: str | None) -> Style:
        chain: list[str] = []
        while name and name in self._elements and name not in chain:
            chain.append(name)
            name = value_of(self._elements[name], "basedOn")
        elements = [self._elements[name] for name in chain]
        kind, level = next(filter(None, map(_kind_of, elements)), ("paragraph", 0))
        numbers = next(filter(None, (value_of(element, "pPr", "numPr", "numId") for element in elements)), None)
        depth = next((self._numbering.level_of(numbers, name) for name in chain if numbers), None)
        if depth is None:
            depths = (value_of(element, "pPr", "numPr", "ilvl") for element in elements)
            depth = depth_of(next(filter(None, depths), None))
        breaks = (properties for e in elements if (properties := e.find(_PROPERTIES)) is not None)
        new_page = next((is_on(e, "pageBreakBefore") for e in breaks if e.find(_NEW_PAGE) is not None), False)
        return Style(kind, level, numbers if numbers != "0" else None, depth, new_page)


def _kind_of(style: Any) -> tuple[str, int] | None:
    name = (value_of(style, "name") or "").lower()
    if heading := _HEADING.match(name):
        return "heading", max(1, int(heading[1]))
    if name in ("title", "caption"):
        return name, 1 if name == "title" else 0
    if contents := _CONTENTS.match(name):
        return "list_item", max(1, int(contents[1]))
    outline = number(value_of(style, "pPr", "outlineLvl"), _BODY_TEXT)
    if 0 <= outline < _BODY_TEXT:
        return "heading", outline + 1
    listed = _LISTED.match(name)
    return ("list_item", max(1, int(listed[1] or 1))) if listed else None
