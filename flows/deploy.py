"""Deployments: `ingest/local`, served by this process until it is stopped."""

from __future__ import annotations

from prefect import serve

from flows.ingest import ingest

TAGS = ["corpusvec"]


def deploy() -> None:
    """Register the deployments with the Prefect server of PREFECT_API_URL and run what is asked of them; blocks."""
    serve(
        ingest.to_deployment(
            name="local",
            tags=TAGS,
            description="Bring a collection to the state of its sources, on this machine.",
            # One engine owns the device: a second run waits for it.
            concurrency_limit=1,
        )
    )
