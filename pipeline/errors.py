"""What can go wrong, as a tree; the branch decides what happens next.

    CorpusvecError
    ├── Terminal            trying again gives the same answer: the message says what to change
    │   ├── UsageError      … on the command line or in the configuration (exit code 2)
    │   ├── MissingExtra    … in what is installed
    │   ├── RecipeMismatch  … since a collection was made for another recipe
    │   ├── SourceError     … since a source cannot be listed
    │   └── Stopped         … since somebody asked the run to end
    ├── Transient           the same call may work in a moment: retried with a pause
    └── Rejected            one input cannot be used; it costs itself only, and is kept with its reason
        └── Poisoned        … by the embedder, among others that it could

Vendors' exceptions are turned into these at the edge (`raise … from error`), in the one file that imports the vendor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class CorpusvecError(Exception):
    """The root. Its text is one sentence or two for a person: what happened, to what, why, and what to do."""


class Terminal(CorpusvecError):
    """Trying again will not help."""


class UsageError(Terminal):
    """A wrong argument, option or setting."""


class MissingExtra(Terminal):
    """An optional package is needed and absent."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}': pip install 'corpusvec[{extra}]'")


class RecipeMismatch(Terminal):
    """A collection holds vectors of another recipe; mixing them would make its distances meaningless."""


class SourceError(Terminal):
    """A source could not be listed completely, so nothing may be concluded from what it did not list."""


class Stopped(Terminal):
    """The run was asked to end."""


class Transient(CorpusvecError):
    """A time-out, a refused connection, a busy server: the same call may work in a moment."""


class Rejected(CorpusvecError):
    """This input cannot be used. Its text is the reason, in words that its owner understands."""


class Poisoned(Rejected):
    """Some texts cannot be embedded: `faults` is row → reason; the other rows of `vectors` are as good as any."""

    def __init__(self, faults: Mapping[int, str], vectors: Any) -> None:
        row, reason = next(iter(faults.items()))
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        super().__init__(f"text {row} cannot be embedded: {reason}{more}")
        self.faults = faults
        self.vectors = vectors
