"""The numbers of an OpenDocument file's lists and headings, which the file describes but does not hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.parse.numbering import counted, number

TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
_FORMS = {"1": "decimal", "a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}


@dataclass(frozen=True, slots=True)
class _Level:
    """How the items of one level are numbered; `shown` is how many levels above, itself included, show theirs."""

    form: str
    prefix: str
    suffix: str
    start: int
    shown: int


Levels = Mapping[int, _Level]


@dataclass(slots=True)
class List:
    """A list that is being read: how its levels look, and how far each has been counted (levels count from 1)."""

    levels: Levels
    counts: dict[int, int] = field(default_factory=dict)

    def label(self, at: int, start: str | None = None) -> str:
        """The number of the next item of level `at`, as a reader sees it, "" for a bullet; `start` is where it counts
        anew.
        """
        level = self.levels.get(at)
        if level is None:
            return ""
        self.counts = {below: count for below, count in self.counts.items() if below <= at}
        self.counts[at] = number(start, self.counts.get(at, level.start - 1) + 1)
        shown = [
            counted(self.counts.get(above, other.start), other.form)
            for above in range(max(1, at - level.shown + 1), at + 1)
            if (other := self.levels.get(above)) is not None
        ]
        return f"{level.prefix}{'.'.join(shown)}{level.suffix}".strip()


def list_styles(roots: list[Any]) -> dict[str, Levels]:
    """The styles of lists by their names; that of headings has none (""). Levels that are bulleted are absent."""
    found: dict[str, Levels] = {}
    for root in roots:
        for style in root.iter(f"{TEXT}list-style", f"{TEXT}outline-style"):
            outline = style.tag == f"{TEXT}outline-style"
            found["" if outline else style.get(f"{STYLE}name") or ""] = {
                number(level.get(f"{TEXT}level"), 1): _level(level)
                for level in style
                if level.get(f"{STYLE}num-format") in _FORMS
            }
    return found


def _level(level: Any) -> _Level:
    return _Level(
        _FORMS[level.get(f"{STYLE}num-format")],
        level.get(f"{STYLE}num-prefix") or "",
        level.get(f"{STYLE}num-suffix") or "",
        number(level.get(f"{TEXT}start-value"), 1),
        min(10, number(level.get(f"{TEXT}display-levels"), 1)),
    )
