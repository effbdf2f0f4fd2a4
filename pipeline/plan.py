"""Listing × ledger → work units; a unit → what would have to be done. Reads whatever it must, writes nothing."""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.checkpoint import KeyIndex, Table
from pipeline.config import Limits
from pipeline.index import Change, Index
from pipeline.ledger import LOADING, REJECTED, Gone, Ledger, Listed, Renewal, is_forced
from pipeline.ports import Source
from pipeline.prepare import Preparation, Prepared, Preparer, Refused
from pipeline.recipe import ResolvedRecipe
from pipeline.report import Figures, Report, Tally
from pipeline.types import Item, Rejection, document_id

# How many bytes of a file make a token, roughly; office formats and PDF are mostly something else than text.
_BYTES_PER_TOKEN = 4
_BYTES_PER_TOKEN_OFFICE = 40
_OFFICE = re.compile(r"\.(pdf|docx?|pptx?|xlsx?|odt|epub|zip|msg)$", re.IGNORECASE)

# How often the first work unit is half of a full one; each after it is twice as big. So engines have work sooner.
_HALVED = 3

#: Which documents of a listing a run takes; all of them unless it is a backfill.
Selection = Callable[[Listed], bool]


@dataclass(frozen=True, slots=True)
class Unit:
    """Some documents to work on together: a bounded number of them and of estimated tokens."""

    number: int
    listed: Sequence[Listed]
    estimated_tokens: int


@dataclass(slots=True)
class UnitPlan:
    """What one unit comes to: its rows, the chunks to embed by their keys, the changes to the collection.

    `again` are the keys to embed although Parquet has their vectors.
    """

    preparation: Preparation
    embed: Mapping[str, tuple[Prepared, int]]
    again: frozenset[str]
    changes: Sequence[Change]
    figures: Figures = field(default_factory=Figures)


class Planner:
    """Plans one run. Thread-safe but for `units`, which one thread consumes."""

    def __init__(
        self,
        sources: Sequence[Source],
        ledger: Ledger,
        preparer: Preparer,
        index: Index,
        vectors: Table,
        recipe: ResolvedRecipe,
        limits: Limits,
        renewal: Renewal,
        select: Selection | None,
        keep: Callable[[Prepared], bool] | None,
        tally: Tally,
    ) -> None:
        self._sources, self._ledger, self._preparer, self._index = sources, ledger, preparer, index
        self._vectors, self._recipe, self._limits, self._renewal = vectors, recipe, limits, renewal
        self._select, self._keep, self._tally = select, keep, tally
        self._promised = KeyIndex()
        self._arrived: Counter[str] = Counter()
        self._lock = threading.Lock()
        #: About how many tokens the documents have that `units` is about, once it has listed all; inf until then.
        self.foreseen_tokens = math.inf

    def units(self) -> Iterator[Unit]:
        """What has to be looked at, in work units; counts what has not. Streams the listings."""
        batch: list[Listed] = []
        tokens = number = total = 0
        for listed in self._unsettled():
            weight = estimate_tokens(listed.item)
            full = tokens + weight > most_tokens(number, self._limits) or len(batch) >= self._limits.unit_documents
            if batch and full:
                yield Unit(number, batch, tokens)
                batch, tokens, number = [], 0, number + 1
            batch.append(listed)
            tokens += weight
            total += weight
        self.foreseen_tokens = total
        if batch:
            yield Unit(number, batch, tokens)

    def _unsettled(self) -> Iterator[Listed]:
        whole = self._recipe.fingerprints.whole
        for source in self._sources:
            listing = self._ledger.compare(source, whole, len(self._sources) > 1, self._renewal)
            done = False
            while not done:
                # Counted some at a time: a report for each of a million settled documents would cost more than they do.
                report = Report()
                with report.timed("list"):
                    found = self._next_unsettled(listing, report)
                    done = found is None
                report.planned.documents.update(report.documents)
                self._tally.add(report)
                if found is not None:
                    yield found

    def _next_unsettled(self, listing: Iterator[Listed], report: Report) -> Listed | None:
        for listed in listing:
            if self._select is not None and not self._select(listed):
                continue
            report.documents["seen"] += 1
            if not listed.settled:
                return listed
            _count_settled([{"uri": listed.item.uri, **(listed.previous or {})}], report)
            self._count_inside(listed, report)
        return None

    def _count_inside(self, listed: Listed, report: Report) -> None:
        """Count what is inside of a document that nobody takes apart; it was not listed, and counts as seen now."""
        rows = self._ledger.members(document_id(listed.item.uri))
        report.documents["seen"] += len(rows)
        _count_settled(rows, report)

    def plan(self, unit: Unit, report: Report) -> UnitPlan:
        """What `unit` comes to. Raises Transient if a source or the store does not answer."""
        preparation = self._preparer.prepare(self._ledger.complete(unit.listed), report)
        outside = 0
        if self._keep is not None:
            # Outside of a backfill's range: as if it had not been listed.
            kept = [one for one in preparation.prepared if self._keep(one)]
            outside = len(preparation.prepared) - len(kept)
            preparation.prepared = kept
        settled = Report()
        settled.documents["seen"] = preparation.inside
        _count_settled([{"uri": one.item.uri, **(one.previous or {})} for one in preparation.settled], settled)
        for listed in (*preparation.settled, *preparation.untouched):
            self._count_inside(listed, settled)
        sound: list[Prepared] = []
        for one in preparation.prepared:
            if fault := self._index.fault(one):
                preparation.refused.append((one.listed, one.refused or Refused("load", fault, one.content_hash)))
            else:
                sound.append(one)
        preparation.prepared = sound
        forced = {one.document_id for one in sound if self._is_forced(one)}
        wanted = {key: (one, number) for one in sound for number, key in enumerate(self.keys(one))}
        again = frozenset(key for one in sound if one.document_id in forced for key in self.keys(one))
        missing = set(self._vectors.missing(list(wanted))) | again
        embed = {key: where for key, where in wanted.items() if key in missing}
        with report.timed("compare"):
            changes = self._index.compare(sound, frozenset(forced))
        result = UnitPlan(preparation, embed, again, changes)
        self._count(result, report)
        report.add(settled)
        result.figures.documents.update(settled.documents)
        report.documents["seen"] -= outside
        result.figures.documents["seen"] -= outside
        return result

    def keys(self, one: Prepared) -> list[str]:
        """The embedding keys of a document's chunks."""
        return [self._recipe.model.embedding_key(row["token_hash"]) for row in one.chunks]

    def _is_forced(self, one: Prepared) -> bool:
        previous = one.listed.previous
        if previous is None:
            return self._renewal.forced_since is not None
        return is_forced(previous, self._renewal)

    def _count(self, plan: UnitPlan, report: Report) -> None:
        preparation, figures = plan.preparation, plan.figures
        figures.documents["unchanged"] += len(preparation.untouched)
        figures.documents["rejected"] += len(preparation.refused)
        for one in preparation.prepared:
            figures.documents[outcome(one)] += 1
            figures.chunks += len(one.chunks)
            figures.tokens += sum(row["tokens"] for row in one.chunks)
        with self._lock:
            found = self._promised.find(list(plan.embed))
            first = [key for key, row in zip(plan.embed, found, strict=True) if row[0] < 0]
            if first:
                self._promised.add(pa.chunked_array([pa.array(first)]), 0)
            if len(self._ledger):
                self._arrived.update(one.content_hash for one in preparation.prepared if not was_loaded(one.listed))
        figures.embedded = len(first)
        for key in first:
            one, number = plan.embed[key]
            figures.embedded_tokens += one.chunks[number]["tokens"]
        figures.reused = figures.chunks - figures.embedded
        figures.upserted = sum(len(change.write) for change in plan.changes)
        figures.patched = sum(len(change.patch) for change in plan.changes)
        figures.deleted = sum(len(change.remove) for change in plan.changes)
        figures.bytes_read = report.bytes_read
        vector = 4 * self._recipe.model.dimensions
        figures.bytes_written = vector * (figures.embedded + figures.upserted) + preparation.text_bytes

    def gone(self) -> Gone:
        """What is no longer listed, once `units` is exhausted and every unit planned; raises Terminal if too much."""
        return self._ledger.gone(self._sources, self._arrived, self._limits.max_delete_fraction)

    def count_gone(self, gone: Gone, figures: Figures) -> None:
        """Count what `gone` takes away."""
        figures.documents["deleted"] += len(gone.rows) - gone.moved
        figures.documents["moved"] += gone.moved
        figures.documents["new"] -= gone.moved


def _count_settled(rows: Sequence[Mapping[str, Any]], report: Report) -> None:
    """Count documents by ledger rows that say all there is to say; what was rejected still is."""
    for row in rows:
        if row.get("status") == REJECTED:
            report.reject(Rejection(row["uri"], row["stage"], row["reason"]))
        else:
            report.documents["unchanged"] += 1


def outcome(one: Prepared) -> str:
    """What a document is counted as, once it is loaded."""
    if one.refused is not None:
        return "rejected"
    return "changed" if was_loaded(one.listed) else "new"


def was_loaded(listed: Listed) -> bool:
    """Whether the collection holds some version of it."""
    return listed.previous is not None and bool(listed.previous["version_id"])


def was_begun(listed: Listed) -> bool:
    """Whether a run that was killed began to load it for the first time: the collection may hold a part of it."""
    return listed.previous is not None and listed.previous["status"] == LOADING


def most_tokens(number: int, limits: Limits) -> int:
    """How many tokens work unit `number` of a run (from 0) may have: an eighth of a full one, a quarter, half, all."""
    return limits.unit_tokens >> max(_HALVED - number, 0)


def estimate_tokens(item: Item) -> int:
    """A guess from size and name, for cutting work units before anything is read; nothing else depends on it."""
    size = item.size if item.size is not None else len(item.content or b"")
    return max(1, size // (_BYTES_PER_TOKEN_OFFICE if _OFFICE.search(item.uri) else _BYTES_PER_TOKEN))
