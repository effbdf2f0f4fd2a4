"""The names in a log's events: every word that is more than a number, so hosts, users, addresses and identifiers.

Most events of a log differ from others in their digits only. What such a shape holds is looked at once: which of its
words are the same in all of its events, and which of those that digits set apart may be names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# What parts words: any ASCII that is no letter, no digit, and does not occur within identifiers and addresses.
_PARTS = b"!\"#$%&'()*+,/:;<=>?[\\]^`{|}~"
_PARTING = bytes.maketrans(_PARTS, b" " * len(_PARTS))
# A number, with its unit perhaps, or a day and an hour; but no address.
_PLAIN = r"\d+-\d+-\d+T\d+|(?!\d+(?:\.\d+){3}\Z)[._-]*\d[\d._-]*[a-zA-Z]{0,3}|[._@-]+"
_PLAIN_NUMBER = re.compile(_PLAIN)
_NUMBER = re.compile(rf"0[xX][0-9a-fA-F]+|{_PLAIN}")
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
# Bounds on memory, whatever a log holds.
_LONGEST = 1000
_MOST_SHAPES = 1 << 14


class _Shape:
    """Of events that differ in digits only: which of their words may be names, which of these have digits.

    `run` is the run in which such an event was met last.
    """

    __slots__ = ("names", "run", "varying")

    def __init__(self, words: Sequence[bytes]) -> None:
        self.run = 0
        self.names = [at for at, word in enumerate(words) if not _PLAIN_NUMBER.fullmatch(word.decode())]
        self.varying = [at for at in self.names if b"0" in words[at]]


class Names:
    """Tells the names of one log's events, run by run: each once a run."""

    def __init__(self) -> None:
        self._run = 1
        self._shapes: dict[bytes, _Shape] = {}
        self._told: set[bytes] = set()

    def start(self) -> None:
        """Begin another run."""
        self._run += 1
        self._told = set()

    def add(self, text: str) -> list[str]:
        """The names in an event's text that no text of this run had before, in alphabetical order."""
        # The white space of other scripts parts words, too.
        raw = text.encode() if text.isascii() else " ".join(text.split()).encode()
        shape = self._shape_of(raw)
        numbers = shape.varying if shape.run == self._run else shape.names
        shape.run = self._run
        if not numbers:
            return []
        words = raw.translate(_PARTING).split()
        new = {words[number] for number in numbers} - self._told
        if not new:
            return []
        self._told |= new
        return sorted(name for word in new if not _NUMBER.fullmatch(name := word.decode()))

    def _shape_of(self, raw: bytes) -> _Shape:
        key = raw.translate(_ZEROS)
        shape = self._shapes.get(key)
        if shape is None:
            shape = _Shape(key.translate(_PARTING).split())
            if len(raw) <= _LONGEST:
                if len(self._shapes) >= _MOST_SHAPES:
                    self._shapes.clear()
                self._shapes[key] = shape
        return shape
