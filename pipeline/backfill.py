"""A backfill: some documents of a source, by date and place, perhaps embedded again; in slices, and resumable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, ClassVar

from pipeline.checkpoint import Table
from pipeline.errors import UsageError
from pipeline.ingest import Task
from pipeline.ledger import Listed, Renewal
from pipeline.plan import Selection
from pipeline.ports import Source, VectorStore
from pipeline.prepare import Prepared
from pipeline.report import Report
from pipeline.rules import matches
from pipeline.runs import COMPLETED, past_runs

# Where a document's metadata may say its date, the best first.
_DATES = ("date", "modified", "created")


@dataclass(frozen=True, slots=True)
class Backfill:
    """Which documents: those dated within [since, until], whose URI fits `partition`; None takes all.

    `force` embeds and writes all of them again. Raises UsageError if the range is empty.
    """

    KIND: ClassVar[str] = "backfill"
    INTERRUPTED: ClassVar[str] = "it let another run go first, or was paused"

    since: date | None
    until: date | None
    partition: str | None
    force: bool

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since > self.until:
            raise UsageError(f"the range is empty: it begins {self.since} and ends {self.until}")

    @property
    def purpose(self) -> str:
        """What it is, in words."""
        since, until = self.since or "the beginning", self.until or "now"
        return f"backfill from {since} until {until}" + (f" of {self.partition}" if self.partition else "")

    def task(self, runs: Table, store: VectorStore, sources: Sequence[Source]) -> Task:
        """The run to do now. A forced one goes on from the newest of the same that has not completed."""
        parameters = {
            "since": self.since and self.since.isoformat(),
            "until": self.until and self.until.isoformat(),
            "partition": self.partition,
            "force": self.force,
        }
        forced_since = self._began(runs, store, sources, parameters) if self.force else None
        select: Selection | None = self._takes if self.partition is not None else None
        keep = self._keeps if self.since is not None or self.until is not None else None
        if forced_since is not None:
            parameters["forced_since"] = forced_since.isoformat()
        return Task(self.KIND, parameters, Renewal(forced_since=forced_since), select, keep, deletes=False)

    def _began(
        self, runs: Table, store: VectorStore, sources: Sequence[Source], parameters: Mapping[str, Any]
    ) -> datetime:
        names = [source.name for source in sources]
        for row in past_runs(runs, store):
            said = json.loads(row["parameters"] or "{}")
            began = said.pop("forced_since", None)
            if (row["kind"], row["sources"], said) == (self.KIND, names, parameters):
                if row["status"] == COMPLETED or began is None:
                    break
                return datetime.fromisoformat(began)
        return datetime.now(UTC)

    def _takes(self, listed: Listed) -> bool:
        return self.partition is None or matches(listed.item.uri, self.partition)

    def _keeps(self, one: Prepared) -> bool:
        day = date_of(one)
        if day is None:
            return False
        return (self.since is None or day >= self.since) and (self.until is None or day <= self.until)

    def sum_up(self, earlier: Report | None, last: Report) -> Report:
        """One report of several slices; the later one saw what the earlier one did as unchanged."""
        if earlier is None:
            return last
        done = earlier.documents["new"] + earlier.documents["changed"]
        for report in (last, last.planned):
            report.documents["unchanged"] -= done
        for was, now in ((earlier, last), (earlier.planned, last.planned)):
            was.documents = type(was.documents)({name: was.documents[name] for name in ("new", "changed")})
            now.add_figures(was)
        for stage, seconds in earlier.seconds.items():
            last.seconds[stage] += seconds
        return last


def date_of(one: Prepared) -> date | None:
    """A document's date: what the source says of it, what the parser found, or its file's time (UTC); None if none."""
    found = json.loads(one.document["metadata"])
    for metadata in (one.listed.item.metadata, found):
        for name in _DATES:
            try:
                return datetime.fromisoformat(str(metadata.get(name))).date()
            except ValueError:
                continue
    mtime = one.listed.item.mtime
    return None if mtime is None else datetime.fromtimestamp(mtime, UTC).date()
