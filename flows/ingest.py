"""The `ingest` flow: one task run a work unit, a progress artifact, a summary. Whatever it does, `Corpus` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from flows.corpus import Corpus
from pipeline.config import load_settings
from pipeline.errors import Transient
from pipeline.report import Report
from pipeline.schedule import RETRY_PAUSES

T = TypeVar("T")
R = TypeVar("R")


@flow(name="ingest", task_runner=ThreadPoolTaskRunner(max_workers=8), flow_run_name="ingest {sources}")
def ingest(
    sources: list[str],
    store: str | None = None,
    collection: str | None = None,
    config: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Bring a collection to the state of its sources.

    Args:
        sources: Files, folders, globs, fsspec URLs, jsonl:PATH or hf:NAME.
        store: edge:PATH, qdrant:URL or milvus:URL; the configuration's if left out.
        collection: Its name in the store; the configuration's if left out.
        config: Path of a corpusvec.toml on the worker; ./corpusvec.toml if left out.
        overrides: Settings over the configuration's, such as {"recipe": {"chunk_tokens": 256}}.
    """
    flags = {**(overrides or {}), "store": store, "collection": collection}
    with Corpus(load_settings(config, **flags)) as corpus:
        return ingest_corpus(corpus, sources).as_dict()


def ingest_corpus(corpus: Corpus, sources: list[str]) -> Report:
    """The flow's body, for a corpus whose engine should outlive it."""
    logger = get_run_logger()
    progress = create_progress_artifact(0.0, key="ingest-progress", description="Documents done, of those listed")
    done = Report()

    def show(report: Report) -> None:
        done.add(report)
        documents = run.tally.report.documents
        finished = sum(documents[name] for name in ("new", "changed", "unchanged", "rejected"))
        update_progress_artifact(progress, progress=100 * finished / max(1, documents["seen"]))
        logger.info("%d of %d listed documents done; %d chunks embedded", finished, documents["seen"], done.embedded)

    run = corpus.begin(*sources)
    report = corpus.drive(run, progress=show, submit=submit_task)
    update_progress_artifact(progress, progress=100.0)
    summarize(report, corpus, sources)
    return report


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
    row = {
        **counts["documents"],
        "chunks": report.chunks,
        "tokens": report.tokens,
        "embedded": report.embedded,
        "reused": report.reused,
        "points written": report.upserted,
        "points removed": report.deleted,
        "tokens/s": round(report.tokens_per_second),
        "seconds": round(report.seconds["total"], 1),
    }
    where = f"{corpus.settings.collection} in {corpus.settings.store}"
    create_table_artifact(
        table=[{"what": name, "count": value} for name, value in row.items()],
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
