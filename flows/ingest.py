"""The `ingest` flow: one task run a work unit, a progress artifact, a summary. Whatever it does, `Corpus` does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import PrefectException
from prefect.task_runners import ThreadPoolTaskRunner

from flows.corpus import Corpus
from flows.printing import figures
from flows.served import served
from pipeline.doctor.ports import shown
from pipeline.errors import Transient
from pipeline.report import Report
from pipeline.schedule import RETRY_PAUSES

T = TypeVar("T")
R = TypeVar("R")


@flow(name="ingest", task_runner=ThreadPoolTaskRunner(max_workers=32), flow_run_name="ingest {sources}")
def ingest(
    sources: list[str] | None = None,
    store: str | None = None,
    collection: str | None = None,
    config: str | None = None,
    overrides: dict[str, Any] | None = None,
    retry_rejected: bool = False,
) -> dict[str, Any]:
    """Bring a collection to the state of its sources.

    Args:
        sources: Files, folders, globs, fsspec URLs, jsonl:PATH or hf:NAME; the configuration's if left out.
        store: edge:PATH, qdrant:URL or milvus:URL; the configuration's if left out.
        collection: Its name in the store; the configuration's if left out.
        config: Path of a corpusvec.toml on the worker; ./corpusvec.toml if left out.
        overrides: Settings over the configuration's, such as {"recipe": {"chunk_tokens": 256}}.
        retry_rejected: Also try again what was rejected and has not changed.
    """
    with served(config, store, collection, overrides) as corpus:
        return ingest_corpus(corpus, sources or [], retry_rejected).as_dict()


def ingest_corpus(corpus: Corpus, sources: list[str], retry_rejected: bool = False) -> Report:
    """The flow's body, for a corpus whose engine should outlive it. Waits for other runs into the collection."""
    with Page() as page:
        report = corpus.ingest(
            *sources, progress=page.show, submit=submit_task, wait=math.inf, retry_rejected=retry_rejected
        )
        page.finish(report, corpus, sources)
    return report


class Page:
    """What a run shows on its page. The server may be away for a while: that is logged, and the run goes on."""

    def __enter__(self) -> Page:
        self._progress: Any = None
        self._try(self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to free."""

    def show(self, report: Report) -> None:
        """The run so far."""
        documents = report.documents
        finished = sum(documents[name] for name in ("new", "changed", "unchanged", "rejected"))
        logger = get_run_logger()
        logger.info("%d of %d listed documents done; %d chunks embedded", finished, documents["seen"], report.embedded)
        self._try(lambda: self._update(100 * finished / max(1, documents["seen"])))

    def finish(self, report: Report, corpus: Corpus, sources: list[str]) -> None:
        """The run's end."""
        self._try(lambda: self._update(100.0))
        self._try(lambda: summarize(report, corpus, sources))

    def _begin(self) -> None:
        self._progress = create_progress_artifact(
            0.0, key="ingest-progress", description="Documents done, of those listed"
        )

    def _update(self, percent: float) -> None:
        if self._progress is None:
            self._begin()
        update_progress_artifact(self._progress, progress=percent)

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except (httpx.HTTPError, PrefectException, OSError) as error:
            get_run_logger().warning("the run's page cannot be updated: %s", shown(str(error)))


def submit_task(work: Callable[[T], R], unit: T) -> Any:
    """Run `work(unit)` as a Prefect task of its own; only what is Transient is tried again."""

    @task(
        name="work-unit",
        task_run_name=f"unit {getattr(unit, 'number', '')}",
        retries=len(RETRY_PAUSES),
        retry_delay_seconds=list(RETRY_PAUSES),
        retry_condition_fn=lambda task, run, state: isinstance(_error_of(state), Transient),
        cache_policy=NO_CACHE,
        persist_result=False,
        log_prints=False,
    )
    def run_unit() -> R:
        return work(unit)

    return run_unit.submit()


def summarize(report: Report, corpus: Corpus, sources: list[str]) -> None:
    """The run's page: a table of counts, and one of what was rejected and why."""
    counts = report.as_dict()
    rows = [
        {"what": name, "planned": planned, "count": done} for name, planned, done in figures(counts["planned"], counts)
    ]
    rows.append({"what": "tokens/s", "planned": None, "count": round(report.tokens_per_second)})
    where = f"{corpus.settings.collection} in {corpus.settings.store}"
    create_table_artifact(
        table=rows,
        key="ingest-summary",
        description=f"{', '.join(sources)} → {where}",
    )
    if report.rejected:
        create_table_artifact(table=counts["rejected"], key="ingest-rejected", description="Rejected, and why")
    else:
        create_markdown_artifact("No document was rejected.", key="ingest-rejected")


def _error_of(state: Any) -> BaseException | None:
    try:
        state.result()
    except Exception as error:  # whatever the task raised is the answer
        return error
    return None
