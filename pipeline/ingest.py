"""One run: list → plan → work units → prepare → embed → load → commit. Every step skips what its key says is done.

    run = Ingest(...)
    for unit in run.units():      # streaming: a listing of any length, bounded memory
        run.work(unit)            # idempotent; may run in several threads; retried as a whole
    report = run.finish()         # deletions, once the listing is complete

The ledger's rows come last: killed anywhere, the next run sees what is missing and ends in the same state.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.checkpoint import Checkpoints, Table, vectors_table
from pipeline.config import Limits
from pipeline.embed import gate
from pipeline.index import Index
from pipeline.ledger import DELETED, LOADED, REJECTED, Ledger, Listed, ledger_name
from pipeline.ports import Embedder, Source, Tokenizer, VectorStore
from pipeline.prepare import Prepared, Preparer, Refused, Row
from pipeline.recipe import ResolvedRecipe
from pipeline.report import Report, Tally
from pipeline.search import count_words
from pipeline.types import Item, Point, Rejection, document_id

# Parquet gets what the engine finished at least this often, so that a crash repeats little.
_EMBED_FLUSH_TOKENS = 500_000

# How many bytes of a file make a token, roughly; office formats and PDF are mostly something else than text.
_BYTES_PER_TOKEN = 4
_BYTES_PER_TOKEN_OFFICE = 40
_OFFICE = re.compile(r"\.(pdf|docx?|pptx?|xlsx?|odt|epub|zip|msg)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Unit:
    """Some documents to work on together: a bounded number of them and of estimated tokens."""

    number: int
    listed: Sequence[Listed]
    estimated_tokens: int


class Ingest:
    """One run over `sources` into one collection. `embedder` is asked for only once there is something to embed."""

    def __init__(
        self,
        sources: Sequence[Source],
        store: VectorStore,
        recipe: ResolvedRecipe,
        tokenizer: Tokenizer,
        embedder: Callable[[], Embedder],
        checkpoints: Checkpoints,
        limits: Limits,
    ) -> None:
        self.run_id = str(uuid.uuid4())
        self.tally = Tally()
        self._started = time.time()
        self._sources = sources
        self._store = store
        self._recipe = recipe
        self._embedder = embedder
        self._limits = limits
        self._preparer = Preparer(sources, recipe, tokenizer, checkpoints, limits.max_document_bytes)
        self._vectors = vectors_of(checkpoints, recipe)
        self._embedding = threading.Lock()
        self._tried: dict[int, Report] = {}
        # Opened before any work, so that a store that is away or made for another recipe is told at once.
        self._index = Index(store, recipe, self._vectors)
        self._ledger = Ledger(checkpoints.ledger(ledger_name(store, checkpoints.root)))
        self._runs = checkpoints.runs()

    def units(self) -> Iterator[Unit]:
        """What has to be looked at, in work units; counts what has not. Streams the listings."""
        batch: list[Listed] = []
        tokens = number = 0
        for listed in self._unsettled():
            weight = estimate_tokens(listed.item)
            full = tokens + weight > self._limits.unit_tokens or len(batch) >= self._limits.unit_documents
            if batch and full:
                yield Unit(number, batch, tokens)
                batch, tokens, number = [], 0, number + 1
            batch.append(listed)
            tokens += weight
        if batch:
            yield Unit(number, batch, tokens)

    def _unsettled(self) -> Iterator[Listed]:
        for source in self._sources:
            listing = self._ledger.compare(source, self._recipe.fingerprints.whole, len(self._sources) > 1)
            while True:
                report = Report()
                with report.timed("list"):
                    listed = next(listing, None)
                if listed is None:
                    break
                report.documents["seen"] += 1
                if listed.settled and listed.previous is not None:
                    if listed.previous["status"] == REJECTED:
                        report.reject(Rejection(listed.item.uri, listed.previous["stage"], listed.previous["reason"]))
                    else:
                        report.documents["unchanged"] += 1
                self.tally.add(report)
                if not listed.settled:
                    yield listed

    def work(self, unit: Unit) -> Report:
        """Prepare, embed, load and commit a unit; idempotent. Raises Transient or Terminal; rejects documents."""
        report = Report()
        try:
            self._work(unit, report)
        except BaseException:
            # Vectors that reached Parquet stay: a second try finds them there, but this run made them.
            self._tried.setdefault(unit.number, Report()).add(report)
            raise
        if unit.number in self._tried:
            tried = self._tried.pop(unit.number)
            report.embedded += tried.embedded
            report.embedded_tokens += tried.embedded_tokens
            report.reused -= tried.embedded
        self.tally.add(report)
        return report

    def _work(self, unit: Unit, report: Report) -> None:
        preparation = self._preparer.prepare(unit.listed, report)
        rows = [self._touched_row(listed) for listed in preparation.untouched]
        report.documents["unchanged"] += len(preparation.untouched)
        rows += [self._rejected_row(listed, refused, report) for listed, refused in preparation.refused]
        faults = self._embed(preparation.prepared, report)
        sound: list[Prepared] = []
        for one in preparation.prepared:
            if fault := next((faults[key] for key in self._keys(one) if key in faults), None):
                rows.append(self._rejected_row(one.listed, Refused("embed", fault, one.content_hash), report))
            else:
                sound.append(one)
        loadable: list[tuple[Prepared, list[Point]]] = []
        with report.timed("load"):
            made = self._index.points(sound)
        for one, points in zip(sound, made, strict=True):
            if fault := self._index.fault(points):
                rows.append(self._rejected_row(one.listed, Refused("load", fault, one.content_hash), report))
            else:
                loadable.append((one, points))
        if loadable:
            documents = [one.document_id for one, _ in loadable]
            self._index.replace(documents, [point for _, points in loadable for point in points], report)
        for one, points in loadable:
            changed = one.listed.previous is not None and one.listed.previous["version_id"]
            report.documents["changed" if changed else "new"] += 1
            rows.append(self._loaded_row(one, points))
        with report.timed("commit"):
            self._ledger.append(rows)

    def _embed(self, prepared: Sequence[Prepared], report: Report) -> dict[str, str]:
        """Put every vector that is missing into Parquet. Returns embedding key → fault, for vectors that are none."""
        wanted: dict[str, tuple[Prepared, int]] = {}
        chunks = 0
        for one in prepared:
            wanted.update((key, (one, number)) for number, key in enumerate(self._keys(one)))
            chunks += len(one.chunks)
            report.tokens += sum(row["tokens"] for row in one.chunks)
        report.chunks += chunks
        faults: dict[str, str] = {}
        with self._embedding:  # asked inside: the unit before may have embedded the same text
            missing = self._vectors.missing(list(wanted))
            report.reused += chunks - len(missing)
            if not missing:
                return faults
            with report.timed("engine_start"):
                embedder = self._embedder()
            for keys in _slices(missing, lambda key: wanted[key][0].chunks[wanted[key][1]]["tokens"]):
                ids = [self._preparer.token_ids(*wanted[key]) for key in keys]
                with report.timed("embed"):
                    vectors = embedder.embed(ids)
                found = gate.faults(vectors, self._recipe.model.dimensions)
                faults.update((keys[row], fault) for row, fault in found.items())
                good = [row for row in range(len(keys)) if row not in found]
                with report.timed("checkpoint"):
                    self._vectors.append(vectors_table([keys[row] for row in good], vectors[good]))
                report.embedded += len(good)
                report.embedded_tokens += sum(len(ids[row]) for row in good)
        return faults

    def _keys(self, one: Prepared) -> list[str]:
        return [self._recipe.model.embedding_key(row["token_hash"]) for row in one.chunks]

    def finish(self) -> Report:
        """Delete what is gone from the sources and record the run; call it once every unit is done.

        Raises Terminal if more is gone than `max_delete_fraction` allows.
        """
        report = Report()
        gone = self._ledger.deleted(self._sources, self._limits.max_delete_fraction)
        self._index.remove([row["document_id"] for row in gone if row["version_id"]], report)
        report.documents["deleted"] += len(gone)
        empty = {"version_id": "", "chunks": 0, "tokens": 0, "words": 0, "run_id": self.run_id, "at": _now()}
        self._ledger.append([{**row, **empty, "status": DELETED} for row in gone])
        # Only a finished run knows the corpus's mean length, which BM25 needs.
        self._index.tune(self._ledger.average_length(), report)
        self.tally.add(report)
        self._record("completed")
        return self.tally.report

    def fail(self, reason: str) -> None:
        """Record that the run ended early, and why."""
        self._record(f"failed: {reason}")

    def _record(self, status: str) -> None:
        self.tally.report.seconds["total"] = time.time() - self._started
        self._runs.append(
            [
                {
                    "run_id": self.run_id,
                    "store": self._store.url,
                    "collection": self._store.collection,
                    "sources": [source.name for source in self._sources],
                    "status": status,
                    "started_at": datetime.fromtimestamp(self._started, UTC),
                    "finished_at": _now(),
                    "report": json.dumps(self.tally.report.as_dict(), ensure_ascii=False),
                }
            ]
        )

    def _touched_row(self, listed: Listed) -> Row:
        return {**(listed.previous or {}), **self._looked_at(listed)}

    def _loaded_row(self, one: Prepared, points: Sequence[Point]) -> Row:
        return {
            **self._looked_at(one.listed),
            "status": LOADED,
            "content_hash": one.content_hash,
            "version_id": one.version_id,
            "chunks": len(points),
            "tokens": sum(row["tokens"] for row in one.chunks),
            "words": sum(count_words(point.lexical_text) for point in points),
        }

    def _rejected_row(self, listed: Listed, refused: Refused, report: Report) -> Row:
        report.reject(Rejection(listed.item.uri, refused.stage, str(refused)))
        # What the store holds of it stays: an older version that is found beats a newer one that cannot be read.
        previous = listed.previous or {"version_id": "", "chunks": 0, "tokens": 0, "words": 0}
        return {
            **{name: previous[name] for name in ("version_id", "chunks", "tokens", "words")},
            **self._looked_at(listed),
            "status": REJECTED,
            "content_hash": refused.content_hash,
            "stage": refused.stage,
            "reason": str(refused),
            "tries": (previous.get("tries") or 0) + 1,
        }

    def _looked_at(self, listed: Listed) -> Row:
        item = listed.item
        return {
            "document_id": document_id(item.uri),
            "uri": item.uri,
            "source": listed.source,
            "size": item.size,
            "mtime": item.mtime,
            "etag": item.version,
            "recipe": self._recipe.fingerprints.whole,
            "run_id": self.run_id,
            "at": _now(),
        }


def vectors_of(checkpoints: Checkpoints, recipe: ResolvedRecipe) -> Table:
    """The vectors that this recipe makes and reuses."""
    stamp = {"stage": "embed", "fingerprint": recipe.fingerprints.embed, **recipe.model.description}
    return checkpoints.vectors(recipe.fingerprints.embed, recipe.model.dimensions, stamp)


def estimate_tokens(item: Item) -> int:
    """A guess from size and name, for cutting work units before anything is read; nothing else depends on it."""
    size = item.size if item.size is not None else len(item.content or b"")
    return max(1, size // (_BYTES_PER_TOKEN_OFFICE if _OFFICE.search(item.uri) else _BYTES_PER_TOKEN))


def _slices(keys: Iterable[str], tokens: Callable[[str], int]) -> Iterator[list[str]]:
    batch: list[str] = []
    total = 0
    for key in keys:
        batch.append(key)
        total += tokens(key)
        if total >= _EMBED_FLUSH_TOKENS:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def _now() -> datetime:
    return datetime.now(UTC)
