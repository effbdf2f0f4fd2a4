"""Mending what an audit found in a store, from Parquet and the store alone: no source, no model, no engine.

Crash-safe as a load is: write, verify, and only then remove. Killed anywhere, auditing and repairing again ends it.
What Parquet cannot mend (sources that have changed, documents of which Parquet lost a part, another recipe) is left to
the next ingest; the ledger rows of documents that are not whole are put in doubt, so that it looks at them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

import fsspec

from pipeline.audit import DOUBT, embeds, unmarked, whole
from pipeline.checkpoint import Checkpoints, Table
from pipeline.config import fingerprint
from pipeline.errors import Terminal, Transient
from pipeline.findings import (
    LOST,
    MISSING,
    ORPHANED,
    OTHER_RECIPE,
    SOURCE,
    STALE,
    STORE,
    Audit,
    Finding,
)  # fmt: skip
from pipeline.ledger import LOADED, Ledger, ledger_name
from pipeline.parts import DESCRIPTION, Part
from pipeline.ports import VectorStore
from pipeline.types import CollectionSpec, Point
from pipeline.view import HOLDING, Row, find

_DOCUMENTS = 500
_POINTS = 1_000

T = TypeVar("T")


@dataclass(slots=True)
class Plan:
    """What would be done: points to write (record ids by document, none meaning all of it), points to remove.

    `create`: the collection is made anew. `tune`: BM25's weights are computed again. `doubt`: documents that Parquet
    lost a part of. `ingest`: what only an ingest mends.
    """

    create: bool = False
    write: dict[str, set[str]] = field(default_factory=dict)
    points: int = 0
    remove: list[str] = field(default_factory=list)
    tune: bool = False
    doubt: set[str] = field(default_factory=set)
    ingest: list[Finding] = field(default_factory=list)

    @property
    def changes_store(self) -> bool:
        """Whether the collection is not left as it is."""
        return bool(self.write or self.remove or self.tune)

    @property
    def empty(self) -> bool:
        """Whether there is nothing that a repair can do."""
        return not (self.changes_store or self.doubt)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "create": self.create,
            "documents": len(self.write),
            "write": self.points,
            "remove": len(self.remove),
            "average_length": self.tune,
            "look_again": len(self.doubt),
            "ingest": sorted({finding.uri for finding in self.ingest}),
        }


@dataclass(frozen=True, slots=True)
class Repaired:
    """An audit, the plan made of it, how many points it wrote and removed (None: it was not done), another audit."""

    before: Audit
    plan: Plan
    done: Mapping[str, int] | None
    after: Audit

    def as_dict(self) -> dict[str, Any]:
        """The JSON form: of the audit at the end, with the rest in `repair`."""
        done = None if self.done is None else dict(self.done)
        return {
            **self.after.as_dict(),
            "repair": {"before": self.before.as_dict()["counts"], "plan": self.plan.as_dict(), "done": done},
        }


def plan_repair(audit: Audit, max_delete_fraction: float = 0.2) -> Plan:
    """What mends what an audit found.

    Raises Terminal if more points are of unknown documents than of known ones, as when it is the checkpoints that are
    wrong, unless `max_delete_fraction` is 1.
    """
    result = Plan()
    if audit.of(OTHER_RECIPE, STORE):
        # Vectors of two models in one collection would be worse than all that is wrong with it.
        result.ingest = list(audit.findings)
        return result
    # What is listed and not ingested is perhaps there already, and an ingest keeps what it finds. Fail closed: of what
    # could not be listed, nobody knows.
    listed = {finding.document_id for finding in audit.of(MISSING, SOURCE)}
    unsure = any(unknown.what in audit.sources for unknown in audit.unknown)
    orphaned = 0
    for finding in audit.findings:
        if finding.place != STORE:
            result.ingest.append(finding)
            if finding.kind == LOST:
                result.doubt.add(finding.document_id)
        elif finding.kind == STALE:
            result.remove += finding.record_ids
        elif finding.kind == ORPHANED:
            if not unsure and finding.document_id not in listed:
                result.remove += finding.record_ids
                orphaned += finding.points
        elif finding.document_id:
            result.write.setdefault(finding.document_id, set()).update(finding.record_ids)
            result.points += finding.points
        else:
            result.tune = True
    if orphaned > audit.stored - orphaned and max_delete_fraction < 1:
        raise Terminal(
            f"{orphaned} of the {audit.stored} points of {audit.collection} in {audit.store} are of documents that the "
            f"checkpoints in {audit.data} do not know: nothing was changed; correct --data, or, if these points are "
            "meant to be removed, repair it again with --max-delete-fraction 1"
        )
    result.create = audit.absent and bool(result.write)
    return result


def repair(
    plan: Plan,
    checkpoints: Checkpoints,
    store: VectorStore,
    languages: Collection[str] = (),
    check: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Do what a plan says, made just now by somebody who has the collection to himself ever since.

    `languages` are those that a lost collection may have been made for; whichever it was is proved. `check` is called
    before each change, and raises if there may be none. Returns how many points were written and removed. Raises
    Transient or Terminal; then do it again from the audit on.
    """
    table = checkpoints.ledger(ledger_name(store, checkpoints.root))
    written = 0
    if plan.changes_store:
        spec = _created(checkpoints, table, store, languages, check) if plan.create else _opened(store)
        written = _write(plan, checkpoints, table, store, spec, check)
        for ids in _batched(plan.remove, _POINTS):
            check()
            store.delete(ids)
        if plan.tune:
            check()
            store.set_average_length(Ledger(table).average_length())
        store.flush()
    check()
    _mark(table, lambda document: document in plan.doubt)
    return {"written": written, "removed": len(plan.remove)}


def _opened(store: VectorStore) -> CollectionSpec:
    spec = store.open()
    if spec is None:
        raise Transient(f"the collection {store.collection} is no longer in {store.url}: audit it again")
    return spec


def _created(
    checkpoints: Checkpoints, table: Table, store: VectorStore, languages: Collection[str], check: Callable[[], None]
) -> CollectionSpec:
    spec = lost_spec(checkpoints, table, languages)
    check()
    # Until the collection is whole again, no run may take the ledger's word for what is in it.
    _mark(table, lambda document: True)
    store.open(spec)
    return spec


def _write(
    plan: Plan,
    checkpoints: Checkpoints,
    table: Table,
    store: VectorStore,
    spec: CollectionSpec,
    check: Callable[[], None],
) -> int:
    written = 0
    for documents in _batched(plan.write, _DOCUMENTS):
        for points in _batched(_wanted(plan, checkpoints, table, documents, spec), _POINTS):
            check()
            store.upsert(points)
            there = {point.record_id for point in store.fetch([point.record_id for point in points])}
            if absent := sum(point.record_id not in there for point in points):
                raise Transient(
                    f"{absent} of {len(points)} points written to {store.url} are not there; nothing was removed"
                )
            written += len(points)
    return written


def _wanted(
    plan: Plan, checkpoints: Checkpoints, table: Table, documents: Sequence[str], spec: CollectionSpec
) -> Iterator[Point]:
    entries = [row for row in table.lookup(documents, HOLDING).to_pylist() if embeds(row, spec.description)]
    for holding in find(checkpoints, entries):
        ids = plan.write[holding.entry["document_id"]]
        for draft in () if holding.lost else holding.drafts:
            if not ids or draft.record_id in ids:
                yield replace(draft, vector=holding.vectors[draft.record_id])


def _mark(table: Table, doubtful: Callable[[str], bool]) -> None:
    """Put the ledger's rows of these documents in doubt, and no others."""
    changed = False
    for part in table.current():
        rows = []
        for row in part.to_pylist():
            recipe = unmarked(row["recipe"] or "")
            if row["version_id"] and doubtful(row["document_id"]):
                recipe = DOUBT + recipe
            if recipe != (row["recipe"] or ""):
                rows.append({**row, "recipe": recipe})
        table.append(rows)
        changed = changed or bool(rows)
    if changed:
        table.settle()


# -- A lost collection ----------------------------------------------------------------------------------------------


def lost_spec(checkpoints: Checkpoints, table: Table, languages: Collection[str]) -> CollectionSpec:
    """What a collection that is gone was made for, from what Parquet says of how it was filled; with proof.

    Raises Terminal if Parquet does not say.
    """
    row = _newest(table) or {"recipe": "", "chunk": "", "embed": ""}
    made = {
        **_description(checkpoints, checkpoints.chunks(row["chunk"])),
        **_description(checkpoints, checkpoints.vectors(row["embed"])),
    }
    # The chunks of one recipe may serve another, of another language: what they say of it is to be proved.
    said = [made.get("language"), *languages]
    language = next((one for one in said if one and whole(row, one) == unmarked(row["recipe"])), None)
    if language is None or not embeds(row, made) or "document_prompt" not in made:
        raise Terminal(
            f"what the collection was made for is not to be had from {checkpoints.root}: load it again with corpusvec "
            "ingest and the recipe that made it, which embeds nothing that is in Parquet"
        )
    described = ("model", "weights", "dtype", "dimensions", "document_prompt", "chunk_tokens", "overlap_tokens",
                 "heading_context")  # fmt: skip
    return CollectionSpec(
        recipe=fingerprint("collection", row["embed"], made["document_prompt"], language),
        dimensions=made["dimensions"],
        description={**{name: made[name] for name in described if name in made}, "language": language},
        language=language,
        average_length=Ledger(table).average_length(),
    )


def _newest(table: Table) -> Row | None:
    newest: Row | None = None
    for part in table.current(["status", "version_id", "recipe", "chunk", "embed", "at"]):
        for row in part.to_pylist():
            if row["status"] == LOADED and row["version_id"] and (newest is None or row["at"] > newest["at"]):
                newest = row
    return newest


def _description(checkpoints: Checkpoints, table: Table) -> Mapping[str, Any]:
    """What the newest part of a table says of how it was made."""
    parts = table.parts
    if not parts:
        return {}
    fs, _ = fsspec.url_to_fs(checkpoints.root)
    with Part(fs, f"{table.path}/{parts[-1]}") as part:
        said: Mapping[str, Any] = json.loads((part.schema.metadata or {}).get(DESCRIPTION, b"{}"))
    return said


def _batched(items: Collection[T] | Iterator[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
