"""The `reindex` flow: every night, the collection is brought to the state of its sources."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_client, runtime
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.ingest import ingest_corpus
from flows.served import served

# What has not failed: it does the work, did it, or is about to.
_HOPEFUL = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.COMPLETED]


@flow(
    name="reindex",
    task_runner=ThreadPoolTaskRunner(max_workers=32),
    retries=3,
    retry_delay_seconds=120,
    # The next night's run does what this one left.
    timeout_seconds=23 * 3600,
)
def reindex(
    sources: list[str] | None = None,
    store: str | None = None,
    collection: str | None = None,
    config: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> dict[str, Any] | State[Any]:
    """Bring a collection to the state of its sources, as the schedule says; of runs that are late, the newest does it.

    Args:
        sources: Files, folders, globs, fsspec URLs, jsonl:PATH or hf:NAME; the configuration's if left out.
        store: edge:PATH, qdrant:URL or milvus:URL; the configuration's if left out.
        collection: Its name in the store; the configuration's if left out.
        config: Path of a corpusvec.toml on the worker; ./corpusvec.toml if left out.
        overrides: Settings over the configuration's, such as {"recipe": {"chunk_tokens": 256}}.
    """
    if newer := newer_run():
        words = f"superseded: {newer.name}, due at {newer.expected_start_time:%Y-%m-%d %H:%M %Z}, does the work"
        return Completed(name="Superseded", message=words)
    with served(config, store, collection, overrides) as corpus:
        return ingest_corpus(corpus, sources or []).as_dict()


def newer_run() -> FlowRun | None:
    """The newest run that the same schedule has made due after this one, unless it failed; None if this is it.

    Runs that somebody started by hand count for nothing: they may be for another collection.
    """
    with get_client(sync_client=True) as client:
        this = client.read_flow_run(runtime.flow_run.id)
        if not this.auto_scheduled or this.deployment_id is None:
            return None
        due = FlowRunFilterExpectedStartTime(after_=this.expected_start_time, before_=datetime.now(UTC))
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                deployment_id=FlowRunFilterDeploymentId(any_=[this.deployment_id]),
                expected_start_time=due,
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_HOPEFUL)),
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        )
    return next((run for run in runs if run.auto_scheduled and run.id != this.id), None)
