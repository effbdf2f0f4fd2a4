"""`make demo`: the sample corpus through the Prefect flow into the embedded store, then three searches."""

from __future__ import annotations

import logging
import os
import sys
import tempfile

QUERIES = (
    ("how is the backup generator tested", "hybrid"),
    ("what to do when the wind is too strong", "dense"),
    ("dome position lost", "bm25"),
)
SAMPLE = "data/sample"


def main() -> int:
    """Run the demo in the current folder, the root of a checkout. Returns the exit code."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # Its own 20 seconds are too few where something else is at work.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
    # The demo leaves no trace in a Prefect database that may be in use on this machine.
    with tempfile.TemporaryDirectory(prefix="corpusvec-demo-") as home:
        if "PREFECT_API_URL" not in os.environ:
            os.environ["PREFECT_HOME"] = home
        return _run()


def _run() -> int:
    logging.getLogger("vllm").setLevel(logging.ERROR)
    from prefect import flow

    from flows import printing
    from flows.corpus import Corpus
    from flows.ingest import ingest_corpus
    from pipeline.errors import CorpusvecError
    from pipeline.report import Report

    print("Starting Prefect and the embedding engine: about half a minute on two cores.", flush=True)
    with Corpus() as corpus:
        reports: list[Report] = []

        @flow(name="ingest", log_prints=False)
        def demo() -> None:
            reports.append(ingest_corpus(corpus, [SAMPLE]))

        try:
            demo()
            print("\n" + printing.ingested(reports[0], corpus.settings))
            for query, mode in QUERIES:
                print(f'\ncorpusvec search "{query}" --mode {mode}')
                print(printing.hits(corpus.search(query, k=3, mode=mode), query), flush=True)
        except CorpusvecError as error:
            print(f"corpusvec: {error}", file=sys.stderr)
            return 1
    print("\nThe index is in data/index, its Parquet under data/. Next: corpusvec ingest YOUR_FOLDER")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
