"""Deployments: `ingest/local`, `reindex/nightly` and `backfill/range`, served by this process until it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import serve
from prefect.client.schemas.schedules import CronSchedule
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType
from pydantic import ValidationError

from flows.backfill import backfill
from flows.ingest import ingest
from flows.reindex import reindex
from flows.served import crash_lost_runs
from pipeline.config import load_settings
from pipeline.errors import UsageError

TAGS = ["corpusvec"]


def deploy(config: str | None = None) -> None:
    """Register the deployments with the Prefect server of PREFECT_API_URL and run what is asked of them; blocks.

    The schedule is the configuration's; runs take `config` unless they are given another. Raises UsageError for a
    schedule that is none.
    """
    nightly = load_settings(config).nightly
    try:
        CronSchedule(cron=nightly.cron, timezone=nightly.timezone)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"the setting nightly is wrong: {reason}") from error
    same: dict[str, Any] = {
        "tags": TAGS,
        "parameters": {"config": str(Path(config).resolve())} if config else {},
        # By its name, the code is found wherever it is installed.
        "entrypoint_type": EntrypointType.MODULE_PATH,
    }
    crash_lost_runs()
    serve(
        ingest.to_deployment(
            name="local", description="Bring a collection to the state of its sources, on this machine.", **same
        ),
        reindex.to_deployment(
            name="nightly",
            schedule=Cron(nightly.cron, timezone=nightly.timezone),
            description="Every night, bring the collection up to date.",
            **same,
        ),
        backfill.to_deployment(
            name="range", description="Ingest a range of documents, by date and place, in slices.", **same
        ),
        # Nights that fall due while nobody serves are caught up with: they must stay scheduled.
        pause_on_shutdown=False,
    )
