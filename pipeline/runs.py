"""The record of runs: one row when a run begins, another when it ends; the newest row of a run is its state."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.checkpoint import RUNS, Table
from pipeline.ports import Source, VectorStore
from pipeline.report import Report

RUNNING, COMPLETED = "running", "completed"

Row = dict[str, Any]


class Record:
    """The record of one run."""

    def __init__(
        self, table: Table, run_id: str, store: VectorStore, sources: Sequence[Source], kind: str,
        parameters: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self._table = table
        self._started = time.time()
        self._row: Row = {
            "run_id": run_id,
            "kind": kind,
            "parameters": json.dumps(dict(parameters), sort_keys=True),
            "store": store.url,
            "collection": store.collection,
            "sources": [source.name for source in sources],
            "started_at": datetime.fromtimestamp(self._started, UTC),
        }

    def write(self, status: str, report: Report) -> None:
        """Append the run's state: `running`, `completed`, or why it failed; its report without names of documents.

        Which documents were rejected is in the ledger, and warnings are with the documents.
        """
        report.seconds["total"] = time.time() - self._started
        counts = {**report.as_dict(), "rejected": [], "warnings": []}
        state = {"status": status, "finished_at": datetime.now(UTC), "report": json.dumps(counts)}
        self._table.append([{**self._row, **state}])


def past_runs(table: Table, store: VectorStore) -> list[Row]:
    """The newest record of each run into a store's collection, newest run first."""
    rows = [row for part in table.current(RUNS.names) for row in part.to_pylist()]
    rows = [row for row in rows if (row["store"], row["collection"]) == (store.url, store.collection)]
    return sorted(rows, key=lambda row: row["started_at"], reverse=True)


def measured(table: Table, store: VectorStore) -> list[dict[str, Any]]:
    """The reports (JSON form) of the completed runs into a store's collection, newest first."""
    return [json.loads(row["report"]) for row in past_runs(table, store) if row["status"] == COMPLETED]
