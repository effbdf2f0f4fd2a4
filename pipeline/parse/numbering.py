"""The numbers of a Word document's lists and headings, which the file describes but does not hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_VALUE = f"{_W}val"
_PLACE = re.compile(r"%([1-9])")
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
    (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip
# Bullets that say something: a box to tick, a step to take. The rest only say that here is an item.
_TELLING = {
    "\uf0a8": "☐", "\uf06f": "☐", "\uf071": "☐", "\uf072": "☐", "\uf0fe": "☑", "\uf052": "☑", "\uf0fd": "☒",
    "\uf054": "☒", "\uf0fc": "✓", "\uf0fb": "✗", "\uf0e0": "→", "\uf0e8": "→", "\uf0f0": "⇒",
    **{sign: sign for sign in "☐☑☒✓✔✗✘→⇒➔"},
}  # fmt: skip
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class _Level:
    """How the items of one level are numbered. `restart` is the level (from 1) whose items start it again; None is any
    level above, 0 is none. `legal` writes all numbers in digits.
    """

    format: str
    text: str
    start: int
    restart: int | None
    legal: bool
    style: str | None


@dataclass(slots=True)
class _List:
    """An abstract list: its levels, and how far each has been counted."""

    levels: Mapping[int, _Level]
    counts: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Instance:
    """A list of the document: an abstract one, counted on; `starts` and `levels` are where it starts anew, and how it
    looks."""

    abstract: _List
    starts: Mapping[int, int]
    levels: Mapping[int, _Level]


class Numbering:
    """What numbers paragraphs have, asked for one after the other.

    `root` is the numbering part, if there is one; `style` finds the element of a style by its id.
    """

    def __init__(self, root: Any, style: Callable[[str], Any]) -> None:
        self._instances: dict[str, _Instance] = {}
        self._started: set[tuple[str, int]] = set()
        if root is None:
            return
        abstracts: dict[str, _List] = {}
        links: dict[str, str] = {}
        for element in root.iterchildren(f"{_W}abstractNum"):
            name = element.get(f"{_W}abstractNumId") or ""
            abstracts[name] = _List(_levels(element))
            if link := value_of(element, "numStyleLink"):
                links[name] = link
        instances = {element.get(f"{_W}numId") or "": element for element in root.iterchildren(f"{_W}num")}
        for name, link in links.items():  # a list may borrow a style's
            owner = instances.get(value_of(style(link), "pPr", "numPr", "numId") or "")
            abstracts[name] = abstracts.get(value_of(owner, "abstractNumId") or "", abstracts[name])
        for name, element in instances.items():
            abstract = abstracts.get(value_of(element, "abstractNumId") or "")
            if abstract is not None:
                overrides = list(element.iterchildren(f"{_W}lvlOverride"))
                starts = {
                    depth_of(override.get(f"{_W}ilvl")): number(start)
                    for override in overrides
                    if (start := value_of(override, "startOverride"))
                }
                levels = {at: level for override in overrides for at, level in _levels(override).items()}
                self._instances[name] = _Instance(abstract, starts, {**abstract.levels, **levels})

    def level_of(self, instance: str, style: str | None) -> int | None:
        """The level that a list has for paragraphs of a style."""
        found = self._instances.get(instance)
        levels = {} if found is None else found.levels
        return next((at for at, level in levels.items() if style and level.style == style), None)

    def label(self, instance: str, at: int) -> str:
        """The number of the next item of a list at level `at` (from 0), as a reader sees it; "" for a plain bullet."""
        found = self._instances.get(instance)
        if found is None:
            return ""
        levels = found.levels
        level = levels.get(at)
        if level is None:
            return ""
        counts = found.abstract.counts
        if at in found.starts and (instance, at) not in self._started:
            counts[at] = found.starts[at] - 1
        self._started.add((instance, at))
        counts[at] = counts.get(at, level.start - 1) + 1
        for below in [below for below in counts if below > at]:
            restart = levels[below].restart if below in levels else None
            if restart is None or 0 < at + 1 <= restart:
                del counts[below]
        if level.format == "bullet":
            return _TELLING.get(level.text.strip(), "")
        if level.format == "none":
            return _PLACE.sub("", level.text).strip()

        def written(place: re.Match[str]) -> str:
            other = levels.get(int(place[1]) - 1, level)
            count = counts.setdefault(int(place[1]) - 1, other.start)
            return counted(count, "decimal" if level.legal else other.format)

        return _PLACE.sub(written, level.text).strip()


def value_of(element: Any, *path: str) -> str | None:
    """The value that an element has for the property at `path` below it; None if it has none, or is None."""
    for name in path:
        if element is None:
            return None
        element = next(element.iterchildren(_W + name), None)
    return None if element is None else element.get(_VALUE)


def number(text: str | None, otherwise: int = 0) -> int:
    """The number that an attribute holds; `otherwise` if it holds none, or one that no document means."""
    digits = (text or "").removeprefix("-")
    return int(text or "") if digits.isascii() and digits.isdigit() and len(digits) < 10 else otherwise


def depth_of(text: str | None, otherwise: int = 0) -> int:
    """The level of a list (from 0) that an attribute holds; the nearest that there is."""
    return max(0, min(_DEEPEST, number(text, otherwise)))


def _levels(parent: Any) -> dict[int, _Level]:
    levels: dict[int, _Level] = {}
    for element in parent.iterchildren(f"{_W}lvl"):
        restart = value_of(element, "lvlRestart")
        levels[depth_of(element.get(f"{_W}ilvl"))] = _Level(
            value_of(element, "numFmt") or "decimal",
            value_of(element, "lvlText") or "",
            number(value_of(element, "start")),
            None if restart is None else number(restart),
            element.find(f"{_W}isLgl") is not None,
            value_of(element, "pStyle"),
        )
    return levels


def counted(count: int, form: str) -> str:
    """A number as a list of that form shows it: "decimal", "lowerRoman", "upperLetter", …"""
    if form in ("lowerRoman", "upperRoman") and 0 < count < 4000:
        text = ""
        for value, letters in _ROMAN:
            text += letters * (count // value)
            count %= value
        return text if form == "lowerRoman" else text.upper()
    if form in ("lowerLetter", "upperLetter") and 0 < count <= 26 * 30:
        text = chr(ord("a") + (count - 1) % 26) * ((count - 1) // 26 + 1)
        return text if form == "lowerLetter" else text.upper()
    if form == "decimalZero":
        return f"{count:02}"
    if form == "ordinal":
        ends = {1: "st", 2: "nd", 3: "rd"}
        return f"{count}{'th' if 10 <= count % 100 <= 20 else ends.get(count % 10, 'th')}"
    return str(count)
