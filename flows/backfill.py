"""The `backfill` flow: a range of documents, in slices; paused, cancelled or failed, the same run does the rest."""

from __future__ import annotations

import math
from datetime import date
from typing import Annotated, Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BeforeValidator

from flows.ingest import Page, submit_task
from flows.served import served


def _as_day(value: Any) -> date | None:
    if value is None or isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"write a day as year, month and day, such as 2026-01-31; this is {value!r}") from None


Day = Annotated[date | None, BeforeValidator(_as_day)]


@flow(
    name="backfill",
    task_runner=ThreadPoolTaskRunner(max_workers=32),
    retries=3,
    retry_delay_seconds=120,
    timeout_seconds=30 * 24 * 3600,
)
def backfill(
    since: Day = None,
    until: Day = None,
    partition: str | None = None,
    force: bool = False,
    sources: list[str] | None = None,
    store: str | None = None,
    collection: str | None = None,
    config: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Ingest a range of documents, by date and place; the nightly run goes first. Nothing is deleted.

    Pause it, and it lets go of everything; resumed, or retried after a failure, it goes on where it ended.

    Args:
        since: Only documents dated on this day or later; from the beginning if left out.
        until: Only documents dated on this day or earlier; to the end if left out.
        partition: Only documents whose URI or path fits this pattern, such as hr/*.pdf.
        force: Embed and write them again, even if nothing has changed.
        sources: Files, folders, globs, fsspec URLs, jsonl:PATH or hf:NAME; the configuration's if left out.
        store: edge:PATH, qdrant:URL or milvus:URL; the configuration's if left out.
        collection: Its name in the store; the configuration's if left out.
        config: Path of a corpusvec.toml on the worker; ./corpusvec.toml if left out.
        overrides: Settings over the configuration's, such as {"recipe": {"chunk_tokens": 256}}.
    """
    with served(config, store, collection, overrides) as corpus, Page() as page:
        report = corpus.backfill(
            *(sources or []), since=since, until=until, partition=partition, force=force,
            progress=page.show, submit=submit_task, wait=math.inf,
        )  # fmt: skip
        page.finish(report, corpus, sources or [])
    return report.as_dict()
