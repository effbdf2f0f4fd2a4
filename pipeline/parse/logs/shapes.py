"""What lines have in common that differ in their digits only: nearly all there is to know of them.

A log of a million lines has a few hundred shapes, and what a line's shape tells is looked up instead of read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_ZEROS = bytes.maketrans(b"123456789", b"000000000")
# Bounds on memory, whatever a log holds.
_LONGEST = 1000
_MOST = 1 << 14

Span = tuple[int, int]


class Layout(NamedTuple):
    """Where a line's head has what, and where its message is: `line[start:end]`.

    `level`, `component` and `host` are the same in all lines of the shape, unless the latter have digits and thus
    spans. `lead` is how `time` begins where not any digit would do.
    """

    kind: str
    time: Span
    lead: str
    level: str | None
    component: str
    component_at: Span | None
    pid_at: Span | None
    host: str
    host_at: Span | None
    start: int
    end: int


class Shape:
    """One shape of a log.

    `layout` is that of lines which can be nothing but the start of an event, None for others. `template` is the number
    of their template and what they say, masked. `names` are which of their words may be names, `varying` those of them
    that have digits, and `run` is when such an event was met last.
    """

    __slots__ = ("layout", "names", "run", "template", "varying")

    def __init__(self) -> None:
        self.layout: Layout | None = None
        self.template: tuple[int, str] | None = None
        self.names: Sequence[int] | None = None
        self.varying: Sequence[int] = ()
        self.run = 0


class Shapes:
    """The shapes of one log, those that were met of late."""

    def __init__(self) -> None:
        self._known: dict[bytes, Shape] = {}
        self.get = self._known.get

    def add(self, key: bytes) -> Shape:
        """The shape that has this key, a new one if need be."""
        shape = self._known.get(key)
        if shape is None:
            shape = Shape()
            if len(key) <= _LONGEST:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[key] = shape
        return shape


def key_of(text: bytes) -> bytes:
    """What texts have in common that differ in ASCII digits only: these as zeros."""
    return text.translate(_ZEROS)
