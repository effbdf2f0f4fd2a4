"""The Corpus: settings, connectors and pipeline put together. What a notebook opens and the command line calls.

from flows import Corpus

with Corpus(store="edge:data/index", collection="notes") as corpus:
    report = corpus.ingest("docs/")
    for hit in corpus.search("who signs for a delivery"):
        print(hit.score, hit.uri, hit.text)
    table = corpus.vectors()  # pyarrow.Table
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from flows.engines import Engines, exact_engine
from pipeline.config import Settings, load_settings
from pipeline.errors import UsageError
from pipeline.ports import Embedder, Source, VectorStore
from pipeline.report import Report
from pipeline.search import MODES, Mode, parse_filter, search, sound
from pipeline.types import Hit, Vectors

if TYPE_CHECKING:
    import pyarrow as pa

    from flows.drive import Progress
    from pipeline.checkpoint import Checkpoints
    from pipeline.compact import CompactReport
    from pipeline.documents import Made, Order
    from pipeline.embed.model import Model
    from pipeline.embed.tokenizer import ModelTokenizer
    from pipeline.erase import Receipt
    from pipeline.findings import Audit
    from pipeline.ingest import Ingest, Task
    from pipeline.lock import Lock
    from pipeline.lock import Mode as LockMode
    from pipeline.plan import Unit
    from pipeline.recipe import ResolvedRecipe
    from pipeline.repair import Plan, Repaired
    from pipeline.schedule import Submit
    from pipeline.workers import Work

log = logging.getLogger(__name__)

# How often a paused backfill asks whether it may go on.
_PAUSE_SECONDS = 2.0


class Corpus:
    """A collection of a vector database and the Parquet it derives from. Parts are opened when first needed.

    `settings`, or what `load_settings` takes: `config=PATH`, `store=`, `collection=`, `data=`, `recipe={…}`, ….
    Methods raise `pipeline.errors.CorpusvecError`. A context manager: leaving it stops the engine.
    """

    def __init__(self, settings: Settings | None = None, *, embedder: Embedder | None = None, **flags: Any) -> None:
        self.settings = settings or load_settings(**flags)
        self._engines = Engines(embedder)

    # -- verbs ---------------------------------------------------------------------------------------------------

    def ingest(
        self,
        *sources: str,
        progress: Progress | None = None,
        submit: Submit[Unit, Report] | None = None,
        wait: float | None = None,
        retry_rejected: bool = False,
    ) -> Report:
        """Bring the collection to the state of `sources`: files, folders, globs, fsspec URLs, `jsonl:…`, `hf:…`.

        Without sources, of those in the settings. `progress` is called after each work unit with the run's report so
        far; `submit` runs the units on a scheduler. If another run has the collection: waits up to `wait` seconds, or
        raises Transient. `retry_rejected` tries again what was rejected and has not changed.
        """
        from flows.drive import drive, finish
        from pipeline.ingest import Task
        from pipeline.ledger import Renewal

        with self._locked("ingest", wait) as lock:
            run = self._begin(sources, Task(renewal=Renewal(rejected=retry_rejected)), lock.check)
            drive(run, self.settings, progress, submit, lambda: True)
            return finish(run, self.checkpoints)

    def plan(self, *sources: str, retry_rejected: bool = False) -> Report:
        """What `ingest` would do, with exact counts, as `planned` of a report. Reads sources and store, writes nothing.

        Raises what the ingest would: Terminal if it would delete too much, for one.
        """
        from pipeline.ingest import Task
        from pipeline.ledger import Renewal

        self.checkpoints.forget()
        return self._begin(sources, Task(renewal=Renewal(rejected=retry_rejected))).foresee()

    def backfill(
        self,
        *sources: str,
        since: date | None = None,
        until: date | None = None,
        partition: str | None = None,
        force: bool = False,
        progress: Progress | None = None,
        submit: Submit[Unit, Report] | None = None,
        wait: float | None = None,
        paused: Callable[[], bool] = lambda: False,
    ) -> Report:
        """`ingest` of those documents only whose date is within [since, until] and whose URI fits the shell pattern.

        A document's date is its metadata's (what the source says, else what the parser found), else its file's. With
        `force` everything in the range is embedded and written again, once: the same call after a failure goes on.
        Nothing is deleted. Between two work units it lets go of collection and engine as long as `paused()`, or while
        another run waits for the collection.
        """
        from flows.drive import drive, finish
        from pipeline.backfill import Backfill

        work = Backfill(since, until, partition, force)
        opened = self.open_sources(sources)
        total: Report | None = None
        while True:
            with self._locked(work.purpose, wait, polite=True) as lock:
                run = self._begin(sources, work.task(self.checkpoints.runs(), self.store, opened), lock.check)
                if drive(run, self.settings, progress, submit, lambda: not (paused() or lock.wanted())):
                    return work.sum_up(total, finish(run, self.checkpoints))
                total = work.sum_up(total, run.tally.report)
                run.fail(work.INTERRUPTED)
                self.close()
            wait = math.inf
            while paused():
                time.sleep(_PAUSE_SECONDS)

    def _begin(self, sources: Sequence[str], task: Task, check: Callable[[], None] = lambda: None) -> Ingest:
        from pipeline.ingest import Ingest

        exact = None if self._engines.given else exact_engine(self.settings, self.model)
        return Ingest(
            self.open_sources(sources), self.store, self.recipe, self.tokenizer, self.workers, self.embedder_for,
            self.checkpoints, self.settings.limits, task, check, exact,
        )  # fmt: skip

    def open_sources(self, sources: Sequence[str]) -> list[Source]:
        """Those that arguments name, or the settings, with what the settings say of their documents."""
        from pipeline.rules import annotate

        sources = sources or self.settings.sources
        if not sources:
            raise UsageError(
                "name at least one source: a file, a folder, a glob, a URL, jsonl:PATH or hf:NAME; or put `sources` "
                "into the configuration"
            )
        return [annotate(source, self.settings.metadata) for source in open_sources(sources)]

    @contextmanager
    def _locked(
        self, purpose: str, wait: float | None, mode: LockMode = "exclusive", polite: bool = False
    ) -> Iterator[Lock]:
        """Hold this collection; what other processes did before is seen, what was read before is forgotten."""
        from pipeline.ledger import ledger_name
        from pipeline.lock import ROOT, held

        names: dict[str, LockMode] = {ledger_name(self.store, self.settings.data): mode, ROOT: "shared"}
        with held(self.settings.data, names, f"{purpose} into {self.settings.collection}", wait, polite=polite) as lock:
            self.checkpoints.forget()
            yield lock

    @contextmanager
    def _locked_root(self, purpose: str, wait: float | None) -> Iterator[None]:
        """Hold everything under the root: no run into any collection goes on meanwhile."""
        from pipeline.lock import ROOT, held

        with held(self.settings.data, {ROOT: "exclusive"}, purpose, wait):
            self.checkpoints.forget()
            yield

    def audit(self, *sources: str, wait: float | None = None) -> Audit:
        """What differs between the sources' listings, Parquet and the store, by name. Reads only, starts no engine.

        Without sources, of those in the settings, else of those that the collection's documents came from. If a run
        has the collection: waits up to `wait` seconds, or raises Transient.
        """
        from flows import upkeep

        with self._locked("audit", wait, "shared"):
            return upkeep.audit(self, sources)

    def repair(
        self,
        *sources: str,
        agree: Callable[[Audit, Plan], bool] = lambda found, plan: True,
        wait: float | None = None,
    ) -> Repaired:
        """`audit`; mend what Parquet can mend, if `agree` is for it; audit again. Starts no engine, reads no document.

        Nobody else gets the collection in between. If there is nothing to mend, `agree` is not asked.
        """
        from flows import upkeep

        with self._locked("repair", wait) as lock:
            return upkeep.repair(self, sources, agree, lock.check)

    def search(self, text: str, k: int = 10, mode: Mode = "hybrid", filters: Sequence[str] = ()) -> list[Hit]:
        """The `k` best chunks for `text`, best first. `filters` are `FIELD=VALUE` conditions that must all hold."""
        if mode not in MODES:
            raise UsageError(f"there is no search mode {mode!r}: choose {', '.join(MODES)}")
        if not text.strip():
            raise UsageError("the query is empty")
        conditions = [parse_filter(condition) for condition in filters]
        self._require_collection(dense=mode != "bm25")
        return search(self.store, text, k, mode, conditions, lambda query: self.embed_queries([query])[0])

    def embed_queries(self, queries: Sequence[str]) -> Vectors:
        """Query vectors, with the model's query prompt, and sound: float32, shape (len(queries), dimensions)."""
        ids = [self.tokenizer.encode(self.model.query_prompt + query).ids for query in queries]
        longest = max(map(len, ids), default=0)
        if longest > self.model.window:
            raise UsageError(f"the query has {longest} tokens; {self.model.name} takes {self.model.window}")
        return sound(self.embedder.embed(ids), queries, self.model.dimensions)

    def status(self) -> dict[str, Any]:
        """What there is: sources, recipe, counts of documents, chunks, vectors and points, last runs, rejected."""
        from pipeline.status import describe

        return describe(self.checkpoints, self.store)

    def rejected(self) -> list[dict[str, Any]]:
        """What could not be used: uri, stage, reason, tries and when (ISO 8601), in order of URI."""
        from pipeline.status import rejected

        return rejected(self.checkpoints, self.store)

    def erase(self, *uris: str, wait: float | None = None) -> Receipt:
        """Remove every trace of documents (and of the documents inside of them) from store and Parquet, verified.

        A URI as `search` gives it, or the path of a local file. What is still listed comes back with the next ingest.
        """
        from connectors.sources.files import as_uri
        from pipeline.erase import erase

        if not uris:
            raise UsageError("name at least one document: a URI, or the path of a local file")
        with self._locked_root("erase", wait):
            return erase(self.checkpoints, self.store, [as_uri(uri) for uri in uris])

    def compact(self, dry_run: bool = False, wait: float | None = None) -> CompactReport:
        """Merge small parts of Parquet, and drop what no collection under this root refers to."""
        from pipeline.compact import compact

        with self._locked_root("compact", wait):
            return compact(self.checkpoints, dry_run)

    def evaluate(self, folder: str | Path, modes: Sequence[Mode] = MODES) -> dict[str, dict[str, float]]:
        """Ingest a BEIR folder's corpus, search its queries: {mode: {"ndcg@10": …, "recall@100": …}}."""
        from pipeline.evaluate import CHUNKS_ASKED, ranked_documents, read_beir, score

        judged = read_beir(Path(folder))
        self.ingest(f"jsonl:{judged.corpus}")
        dense = any(mode != "bm25" for mode in modes)
        vectors = self.embed_queries(list(judged.queries.values())) if dense else None
        results = {}
        for mode in modes:
            rankings = {}
            for number, (query, text) in enumerate(judged.queries.items()):
                vector = None if vectors is None else vectors[number]
                hits = search(self.store, text, CHUNKS_ASKED, mode, (), lambda _, vector=vector: vector)
                rankings[query] = ranked_documents(hits)
            results[mode] = score(rankings, judged.judgements)
        return results

    def vectors(self) -> pa.Table:
        """Every vector of the collection beside its chunk, as one Arrow table; `vector_batches` streams."""
        import pyarrow as pa

        batches = list(self.vector_batches())
        if not batches:
            raise UsageError(f"the collection {self.settings.collection} is empty: ingest something first")
        return pa.concat_tables(batches)

    def vector_batches(self) -> Iterator[pa.Table]:
        """Tables of record_id, document_id, uri, title, section, page, position, text, vector; from Parquet alone."""
        from pipeline.view import joined

        yield from joined(self.checkpoints, self.store)

    # -- parts ---------------------------------------------------------------------------------------------------

    @cached_property
    def model(self) -> Model:
        """The recipe's embedding model."""
        from pipeline.embed.model import load_model

        remote = self.settings.embedder == "openai"
        return load_model(self.settings.recipe, self.settings.endpoint if remote else None)

    @cached_property
    def tokenizer(self) -> ModelTokenizer:
        """The model's own tokenizer."""
        from pipeline.embed.tokenizer import ModelTokenizer

        return ModelTokenizer(self.model.path)

    @cached_property
    def recipe(self) -> ResolvedRecipe:
        """The recipe, resolved for the model."""
        from pipeline.recipe import resolve_recipe

        return resolve_recipe(self.settings.recipe, self.model, self.tokenizer.fingerprint)

    @cached_property
    def workers(self) -> Work[Order, Made]:
        """What parses, chunks and tokenizes: processes, started when first needed and kept until `close`."""
        from pipeline.prepare import open_workers

        return open_workers(self.settings, self.recipe, self.tokenizer)

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """The Parquet tables."""
        from flows.stores import writer_of
        from pipeline.checkpoint import Checkpoints

        return Checkpoints(self.settings.data, writer_of(self.settings))

    @cached_property
    def store(self) -> VectorStore:
        """The vector database's collection."""
        from flows.stores import store_of

        return store_of(self.settings)

    @property
    def embedder(self) -> Embedder:
        """The engine, or the server that the settings name, for some queries."""
        return self.embedder_for(0)

    def embedder_for(self, tokens: float) -> Embedder:
        """The same for about so many tokens; kept from its first use until `close`, or until compiling pays."""
        return self._engines.open(self.settings, self.model, self.tokenizer, tokens)

    @property
    def engine_start_seconds(self) -> float:
        """How long this corpus's engine took to start; 0 if it was not needed."""
        return self._engines.start_seconds

    def close(self) -> None:
        """Stop the engine (unless it was given) and the workers, and close the store. Idempotent."""
        self._engines.close()
        if "checkpoints" in self.__dict__:
            self.checkpoints.close()
        for name in ("workers", "store"):
            if (part := self.__dict__.pop(name, None)) is not None:
                part.close()

    def __enter__(self) -> Corpus:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_collection(self, dense: bool) -> None:
        spec = self.store.open()
        if spec is None:
            raise UsageError(
                f"there is no collection {self.settings.collection} in {self.settings.store}: "
                "run corpusvec ingest first, or correct --store and --collection"
            )
        if dense and spec.recipe != self.recipe.fingerprints.collection:
            raise UsageError(
                f"the collection {self.settings.collection} was made with {json.dumps(dict(spec.description))}, "
                f"but the settings say {json.dumps(dict(self.recipe.description))}: search it with its own recipe"
            )


def open_sources(sources: Sequence[str]) -> list[Source]:
    """The sources that arguments name, each once. Raises UsageError for what does not exist."""
    from connectors.sources import open_source

    opened = {source.name: source for source in map(open_source, sources)}
    return list(opened.values())
