"""The names in a log's events: every word that is more than a number, so hosts, users, addresses and identifiers.

Most events of a log differ from others in their digits only. What such a shape holds is looked at once: which of its
words are the same in all of its events, and which of those that digits set apart may be names.
"""

from __future__ import annotations

import re

from pipeline.parse.logs.shapes import Shape, Shapes, key_of

# What parts words: any ASCII that is no letter, no digit, and does not occur within identifiers and addresses.
_PARTS = b"!\"#$%&'()*+,/:;<=>?[\\]^`{|}~"
_PARTING = bytes.maketrans(_PARTS, b" " * len(_PARTS))
# A number, with its unit perhaps, or a day and an hour; but no address.
_NUMBER = re.compile(r"\d+-\d+-\d+T\d+|(?!\d+(?:\.\d+){3}\Z)[._-]*\d[\d._-]*[a-zA-Z]{0,3}|[._@-]+")
_HEXADECIMAL = re.compile(rb"0[xX][0-9a-fA-F]+")
_DIGITS = b"0123456789"


class Names:
    """Tells the names of one log's events, run by run: each once a run."""

    def __init__(self) -> None:
        self._run = 1
        self._shapes = Shapes()
        self._told: set[bytes] = set()

    def start(self) -> None:
        """Begin another run."""
        self._run += 1
        self._told = set()

    def add(self, text: str, shape: Shape | None = None) -> list[str]:
        """The names in an event's text that no text of this run had before, in alphabetical order.

        `shape` is that of the text, if it is known.
        """
        if shape is not None and shape.run == self._run and not shape.varying:
            return []
        # The white space of other scripts parts words, too.
        raw = text.encode() if text.isascii() else " ".join(text.split()).encode()
        if shape is None:
            shape = self._shapes.add(key_of(raw))
        words = raw.translate(_PARTING).split()
        numbers = shape.names
        if numbers is None:
            numbers = shape.names = [at for at, word in enumerate(words) if not _NUMBER.fullmatch(word.decode())]
            shape.varying = [at for at in numbers if any(map(words[at].__contains__, _DIGITS))]
        elif shape.run == self._run:
            numbers = shape.varying
        shape.run = self._run
        new = {words[number] for number in numbers} - self._told
        if not new:
            return []
        self._told |= new
        return sorted(word.decode() for word in new if word[:1] != b"0" or not _HEXADECIMAL.fullmatch(word))
