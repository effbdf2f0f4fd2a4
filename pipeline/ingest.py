"""One run: list → plan → work units → prepare → embed → load → commit. Every step skips what its key says is done.

    run = Ingest(...)
    for unit in run.units():      # streaming: a listing of any length, bounded memory
        run.work(unit)            # idempotent; may run in several threads; retried as a whole
    report = run.finish()         # deletions, once the listing is complete

The ledger's rows come last: killed anywhere, the next run sees what is missing and ends in the same state.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.checkpoint import Checkpoints, Table
from pipeline.config import Limits
from pipeline.documents import Made, Order, Row
from pipeline.embed.canary import Canary
from pipeline.embed.stage import Embedded, EmbedStage
from pipeline.entries import Entries
from pipeline.errors import Stopped, Transient
from pipeline.index import Change, Index
from pipeline.ledger import Ledger, Listed, Renewal, ledger_name, may_hold
from pipeline.plan import Planner, Selection, Unit, UnitPlan, outcome, was_begun, was_loaded
from pipeline.ports import Embedder, Source, Tokenizer, VectorStore
from pipeline.prepare import Prepared, Preparer, Refused
from pipeline.recipe import ResolvedRecipe
from pipeline.report import Report, Tally, estimate_seconds
from pipeline.runs import COMPLETED, RUNNING, Record, measured
from pipeline.types import Rejection, TokenIds, document_id
from pipeline.workers import Work

# Documents whose points are removed by one request.
_DELETED_AT_ONCE = 1_000
# The ledger's small parts are merged each time so many units are done: at the end of a long run there would be
# thousands, and the engines would be waited for.
_SETTLED_UNITS = 32


@dataclass(frozen=True, slots=True)
class Task:
    """What kind of run it is. `parameters` (JSON-serialisable) go into its record.

    `select` takes documents by what is listed, `keep` by what was parsed. One that does not delete leaves alone what is
    no longer listed.
    """

    kind: str = "ingest"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    renewal: Renewal = field(default_factory=Renewal)
    select: Selection | None = None
    keep: Callable[[Prepared], bool] | None = None
    deletes: bool = True


class Ingest:
    """One run over `sources` into one collection. `embedder` is asked for only once there is something to embed, and
    is told for about how many tokens (inf if nobody knows).

    `check` is called before anything is committed, and raises if the run may no longer do so.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        store: VectorStore,
        recipe: ResolvedRecipe,
        tokenizer: Tokenizer,
        work: Work[Order, Made],
        embedder: Callable[[float], Embedder],
        checkpoints: Checkpoints,
        limits: Limits,
        task: Task | None = None,
        check: Callable[[], None] = lambda: None,
        exact: Callable[[], Embedder] | None = None,
    ) -> None:
        self.run_id = str(uuid.uuid4())
        self.tally = Tally()
        #: Set it, and the units at work raise Stopped at the next step.
        self.stopping = threading.Event()
        self._sources = sources
        self._store = store
        self._recipe = recipe
        self._task = task = task or Task()
        self._check = check
        self._vectors = vectors_of(checkpoints, recipe)
        canary = Canary(checkpoints, recipe.model, tokenizer)
        self._stage = EmbedStage(
            self._vectors, recipe.model.dimensions, lambda: embedder(self._planner.foreseen_tokens), canary,
            self._go_on, exact,
        )  # fmt: skip
        self._tried: dict[int, list[Report]] = {}
        # Opened before any work, so that a store that is away or made for another recipe is told at once.
        self._index = Index(store, recipe, self._vectors)
        self._ledger = ledger = open_ledger(checkpoints, store)
        self._preparer = Preparer(
            sources, recipe, tokenizer, work, checkpoints, limits.max_document_bytes, task.renewal, self.stopping,
            lambda one, inside: ledger.complete(ledger.open(one, inside, recipe.fingerprints.whole, task.renewal)),
        )  # fmt: skip
        self._runs = checkpoints.runs()
        self._record = Record(self._runs, self.run_id, store, sources, task.kind, task.parameters)
        self._entries = Entries(self.run_id, recipe.fingerprints, task.renewal.forced_since)
        self._planner = Planner(
            sources, self._ledger, self._preparer, self._index, self._vectors, recipe, limits, task.renewal,
            task.select, task.keep, self.tally,
        )  # fmt: skip

    def units(self) -> Iterator[Unit]:
        """What has to be looked at, in work units; counts what has not. Streams the listings."""
        return self._planner.units()

    def foresee(self) -> Report:
        """What the whole run would do, with exact counts, as `planned` of a report; touches nothing."""
        for unit in self.units():
            report = Report()
            plan = self._planner.plan(unit, report)
            report.planned = plan.figures
            report.rejected += [
                Rejection(listed.item.uri, refused.stage, str(refused)) for listed, refused in plan.preparation.refused
            ]
            self.tally.add(report)
        report = self.tally.report
        planned = report.planned
        if self._task.deletes:
            gone = self._planner.gone()
            self._planner.count_gone(gone, planned)
            planned.deleted += self._index.count([row["document_id"] for row in gone.rows if may_hold(row)])
        report.planned_seconds = estimate_seconds(planned.as_dict(), measured(self._runs, self._store))
        return report

    def work(self, unit: Unit) -> Report:
        """Prepare, embed, load and commit a unit; idempotent. Raises Transient or Terminal; rejects documents."""
        report = Report()
        try:
            self._work(unit, report)
        except BaseException as error:
            self._tried.setdefault(unit.number, []).append(report)
            if not isinstance(error, Transient):  # the others need not be waited for
                self.stopping.set()
            raise
        for number, tried in enumerate(self._tried.pop(unit.number, [])):
            # Vectors that reached Parquet stay: this try finds them there, but this run made them.
            report.embedded += tried.embedded
            report.embedded_tokens += tried.embedded_tokens
            report.reused -= tried.embedded
            report.bytes_written += tried.bytes_written
            if number == 0 and tried.planned.chunks:
                report.planned = tried.planned
        self.tally.add(report)
        if unit.number % _SETTLED_UNITS == _SETTLED_UNITS - 1:
            self._ledger.settle()
        return report

    def _work(self, unit: Unit, report: Report) -> None:
        plan = self._planner.plan(unit, report)
        report.planned = plan.figures
        self._go_on()
        preparation = plan.preparation
        self._preparer.commit(preparation, report)
        rows = [self._entries.touched(listed) for listed in preparation.untouched]
        report.documents["unchanged"] += len(preparation.untouched)
        rows += [self._reject(listed, refused, report) for listed, refused in preparation.refused]
        rejected = [listed for listed, _ in preparation.refused]
        embedded = self._embed(plan, report)
        faults = embedded.faults
        sound: list[Change] = []
        for change in plan.changes:
            one = change.one
            if fault := next((faults[key] for key in self._planner.keys(one) if key in faults), None):
                refused = one.refused or Refused("embed", fault, one.content_hash)
                rows.append(self._reject(one.listed, refused, report))
                rejected.append(one.listed)
            else:
                sound.append(change)
        self._go_on()
        # What a run that was killed had begun to load, and has become unreadable since, was never whole.
        self._index.remove([document_id(listed.item.uri) for listed in rejected if was_begun(listed)], report)
        with report.timed("commit"):
            self._ledger.append(
                [self._entries.loading(change) for change in sound if not was_loaded(change.one.listed)]
            )
        self._index.apply(sound, embedded.vectors, report)
        for change in sound:
            one = change.one
            if one.refused is not None:
                rows.append(self._reject(one.listed, one.refused, report, change))
            else:
                report.documents[outcome(one)] += 1
                rows.append(self._entries.loaded(change))
        self._go_on()
        with report.timed("commit"):
            self._ledger.append(rows)

    def _embed(self, plan: UnitPlan, report: Report) -> Embedded:
        """Put every vector that is missing into Parquet."""
        for one in plan.preparation.prepared:
            report.chunks += len(one.chunks)
            report.tokens += sum(row["tokens"] for row in one.chunks)
        report.reused += sum(len(one.chunks) for one in plan.preparation.prepared)
        return self._stage.run(list(plan.embed), plan.again, _Texts(plan, self._preparer), report)

    def _reject(self, listed: Listed, refused: Refused, report: Report, older: Change | None = None) -> Row:
        report.reject(Rejection(listed.item.uri, refused.stage, str(refused)))
        return self._entries.rejected(listed, refused, older)

    def _go_on(self) -> None:
        """Raise if the run is to stop, or may not go on."""
        if self.stopping.is_set():
            raise Stopped("the run was stopped; the same command goes on where it ended")
        self._check()

    def start(self) -> None:
        """Record that the run has begun; a collection that was lost is loaded again, from Parquet."""
        self._record.write(RUNNING, self.tally.report)
        if not self._index.exists and self._ledger.holds:
            self._ledger.forget()
            self.tally.report.warnings.append((self._store.url, "the collection was gone: loaded again from Parquet"))

    def finish(self) -> Report:
        """Delete what is gone from the sources and record the run; call it once every unit is done.

        Raises Terminal if more is gone than `max_delete_fraction` allows.
        """
        report = Report()
        self._go_on()
        if self._task.deletes:
            gone = self._planner.gone()
            held = [row["document_id"] for row in gone.rows if may_hold(row)]
            self._planner.count_gone(gone, report)
            self._planner.count_gone(gone, report.planned)
            report.planned.deleted = self._index.count(held)
            for first in range(0, len(held), _DELETED_AT_ONCE):
                self._index.remove(held[first : first + _DELETED_AT_ONCE], report)
            self._ledger.append([self._entries.deleted(row) for row in gone.rows])
        report.engine = self._stage.engine
        report.warnings += [("engine", text) for text in self._stage.warnings]
        self.tally.add(report)
        total = self.tally.report
        if total.upserted or total.deleted or self._index.untuned:
            # Only a finished run knows the corpus's mean length, which BM25 needs.
            self._index.tune(self._ledger.average_length(), total)
        total.planned_seconds = estimate_seconds(total.planned.as_dict(), measured(self._runs, self._store))
        self._ledger.settle()
        self._record.write(COMPLETED, total)
        return total

    def fail(self, reason: str) -> None:
        """Record that the run ended early, and why."""
        self._record.write(f"failed: {reason}", self.tally.report)


class _Texts:
    """The texts that a unit needs embedded."""

    def __init__(self, plan: UnitPlan, preparer: Preparer) -> None:
        self._plan, self._preparer = plan, preparer

    def tokens(self, key: str) -> int:
        """How many tokens a text has."""
        one, number = self._plan.embed[key]
        return int(one.chunks[number]["tokens"])

    def ids(self, key: str) -> TokenIds:
        """Its tokens."""
        return self._preparer.token_ids(*self._plan.embed[key])


def vectors_of(checkpoints: Checkpoints, recipe: ResolvedRecipe) -> Table:
    """The vectors that this recipe makes and reuses."""
    stamp = {"stage": "embed", "fingerprint": recipe.fingerprints.embed, **recipe.model.description}
    return checkpoints.vectors(recipe.fingerprints.embed, recipe.model.dimensions, stamp)


def open_ledger(checkpoints: Checkpoints, store: VectorStore) -> Ledger:
    """The ledger of a store's collection, beside those of the others under the same root."""
    own = ledger_name(store, checkpoints.root)
    return Ledger(
        checkpoints.ledger(own), lambda: [checkpoints.ledger(name) for name in checkpoints.ledgers() if name != own]
    )
