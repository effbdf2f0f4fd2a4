"""What a collection and its Parquet hold, without a model and without an engine."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pyarrow.compute as pc

from pipeline.checkpoint import Checkpoints
from pipeline.errors import Transient
from pipeline.ledger import LOADED, REJECTED, ledger_name
from pipeline.lock import held
from pipeline.ports import VectorStore
from pipeline.runs import RUNNING, past_runs

_LAST_RUNS = 5


def describe(checkpoints: Checkpoints, store: VectorStore) -> dict[str, Any]:
    """The JSON form of `corpusvec status`; a collection that does not exist yet has zeros and recipe None."""
    spec = store.open()
    counts: Counter[str] = Counter()
    sources: dict[str, Counter[str]] = {}
    rejected: list[dict[str, Any]] = []
    columns = ["uri", "source", "status", "version_id", "chunks", "tokens", "stage", "reason", "tries", "at"]
    for part in checkpoints.ledger(ledger_name(store, checkpoints.root)).current(columns):
        for row in part.to_pylist():
            if row["version_id"]:
                counts.update(documents=1, chunks=row["chunks"], tokens=row["tokens"])
            if row["status"] in (LOADED, REJECTED):
                sources.setdefault(row["source"], Counter())[row["status"]] += 1
            if row["status"] == REJECTED:
                rejected.append({name: row[name] for name in ("uri", "stage", "reason", "tries")})
    return {
        "store": store.url,
        "collection": store.collection,
        "data": checkpoints.root,
        "recipe": dict(spec.description) if spec is not None else None,
        "sources": [
            {"source": name, "loaded": count[LOADED], "rejected": count[REJECTED]}
            for name, count in sorted(sources.items())
        ],
        "documents": counts["documents"],
        "chunks": counts["chunks"],
        "tokens": counts["tokens"],
        "vectors": checkpoints.count_vectors(),
        "points": store.count() if spec is not None else 0,
        "rejected": rejected,
        "runs": _last_runs(checkpoints, store),
    }


def rejected(checkpoints: Checkpoints, store: VectorStore) -> list[dict[str, Any]]:
    """The JSON form of `corpusvec rejected`: what could not be used, in order of URI."""
    wanted = ["uri", "status", "stage", "reason", "tries", "at", "version_id"]
    rows = [
        row
        for part in checkpoints.ledger(ledger_name(store, checkpoints.root)).current(wanted)
        for row in part.filter(pc.field("status") == REJECTED).to_pylist()
    ]
    return [
        {
            "uri": row["uri"],
            "stage": row["stage"],
            "reason": row["reason"],
            "tries": row["tries"],
            "at": row["at"].isoformat(timespec="seconds"),
            "older_version_searchable": bool(row["version_id"]),
        }
        for row in sorted(rows, key=lambda row: row["uri"])
    ]


def _last_runs(checkpoints: Checkpoints, store: VectorStore) -> list[dict[str, Any]]:
    """This collection's newest runs, newest first."""
    return [
        {
            "run_id": row["run_id"],
            "kind": row["kind"],
            "status": "interrupted"
            if row["status"] == RUNNING and (number or not _has_lock(checkpoints, store))
            else row["status"],
            "sources": row["sources"],
            "started_at": row["started_at"].isoformat(timespec="seconds"),
            "seconds": round((row["finished_at"] - row["started_at"]).total_seconds(), 1),
            "documents": json.loads(row["report"])["documents"],
        }
        for number, row in enumerate(past_runs(checkpoints.runs(), store)[:_LAST_RUNS])
    ]


def _has_lock(checkpoints: Checkpoints, store: VectorStore) -> bool:
    """Whether somebody is at work on the collection: a run that says so and is not has died."""
    try:
        with held(checkpoints.root, {ledger_name(store, checkpoints.root): "shared"}, "status"):
            return False
    except Transient:
        return True
