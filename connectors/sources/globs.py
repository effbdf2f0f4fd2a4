"""Glob patterns over '/'-separated paths, matched one name at a time, so that a walk enters only where a match can be.

`*` and `?` stay within a name, `[abc]` and `[!abc]` are one character of a set, and a name `**` crosses any number of
folders, none included. A name that starts with '.' is hidden: only a pattern that spells the dot out matches it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

#: Where in the pattern a walk may be: the names still to come start at one of these positions.
State = frozenset[int]

_MAGIC = re.compile(r"[*?[]")


def has_magic(text: str) -> bool:
    """Whether `text` has a character that means something in a glob."""
    return _MAGIC.search(text) is not None


class Pattern:
    """A compiled glob. `Pattern(["**"])` matches everything below a folder, `Pattern([])` the root itself."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [None if name == "**" else re.compile(fnmatch.translate(name)) for name in names]
        self._dotted = [name.startswith(".") for name in names]
        self.start = self._skip({0})

    def step(self, state: State, name: str) -> State:
        """Where the walk is after it went into `name`; empty if nothing at or below it can match."""
        hidden = name.startswith(".")
        after: set[int] = set()
        for position in state:
            if position == len(self._names) or (hidden and not self._dotted[position]):
                continue
            expected = self._names[position]
            if expected is None:
                after.add(position)
            elif expected.match(name):
                after.add(position + 1)
        return self._skip(after)

    def accepts(self, state: State) -> bool:
        """Whether the names walked so far are a match."""
        return len(self._names) in state

    def matches(self, names: Sequence[str]) -> bool:
        """Whether the path made of `names` is a match."""
        state = self.start
        for name in names:
            state = self.step(state, name)
        return self.accepts(state)

    def _skip(self, positions: set[int]) -> State:
        """`positions`, and those reached by letting a `**` stand for no folder."""
        reached = set(positions)
        for position in sorted(positions):
            while position < len(self._names) and self._names[position] is None:
                position += 1
                reached.add(position)
        return frozenset(reached)
