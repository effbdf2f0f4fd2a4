"""What an audit says: findings, by name; what it could not find out; and the whole of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any

from pipeline.errors import CorpusvecError, Stopped, UsageError

MISSING, ALTERED, STALE, ORPHANED = "missing", "altered", "stale", "orphaned"
DUPLICATED, OTHER_RECIPE, LOST = "duplicated", "other_recipe", "lost"
#: What is found in the store: points that should be there and are not, are there otherwise, or twice; points of a
#: version that is not the one held (stale), or of a document that should not be there at all (orphaned). At a source:
#: documents that are not ingested, have changed since (stale), or are no longer listed (orphaned). In the checkpoints:
#: documents made by another recipe than the rest, and those that the ledger has and Parquet lacks a part of (lost).
KINDS = (MISSING, ALTERED, STALE, ORPHANED, DUPLICATED, OTHER_RECIPE, LOST)

STORE, CHECKPOINTS, SOURCE, SETTINGS = "store", "checkpoints", "source", "settings"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be: of a document, and of `points` of its points, named by `record_ids`.

    Without record ids it is about the document as a whole; without a URI either, about the collection as a whole.
    """

    kind: str
    place: str
    uri: str
    document_id: str
    detail: str
    points: int = 0
    record_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """What could not be read to its end (the store, the checkpoints, a source, a document's URI), and why."""

    what: str
    reason: str


@dataclass(slots=True)
class Audit:
    """What was looked at and what was found. `points` should be there, `stored` are; `rejected` documents are known."""

    store: str
    collection: str
    data: str
    sources: Sequence[str] = ()
    documents: int = 0
    points: int = 0
    stored: int = 0
    rejected: int = 0
    #: Whether there is no collection, although there should be one.
    absent: bool = False
    findings: list[Finding] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything could be read, and is as it should be."""
        return not self.findings and not self.unknown

    def of(self, kind: str, place: str | None = None) -> list[Finding]:
        """The findings of a kind; of those at one place, if it is given."""
        return [found for found in self.findings if found.kind == kind and place in (None, found.place)]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; every name is in it."""
        counts = {name: len(self.of(name)) for name in KINDS}
        return {"clean": self.clean, "counts": {**counts, "unknown": len(self.unknown)}, **asdict(self)}

    def judging(self, what: str) -> Judging:
        """A context that takes what is found inside, if it ends well; otherwise nothing, and `what` is unknown."""
        return Judging(self, what)


class Judging:
    """See `Audit.judging`. Being told to stop, and wrong usage, are raised all the same."""

    def __init__(self, audit: Audit, what: str) -> None:
        self._audit = audit
        self._what = what
        self._found: list[Finding] = []

    def __enter__(self) -> list[Finding]:
        return self._found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            self._audit.findings += self._found
            return True
        if isinstance(error, Stopped | UsageError) or not isinstance(error, CorpusvecError | OSError):
            return False
        unknown = Unknown(self._what, str(error))
        if unknown not in self._audit.unknown:
            self._audit.unknown.append(unknown)
        return True
