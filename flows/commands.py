"""What each command does, between the parsed options and the printed answer; the work is `Corpus`'s."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from flows import printing
from flows.cli import settings_flags
from flows.corpus import Corpus
from pipeline.config import load_settings
from pipeline.errors import UsageError
from pipeline.findings import Audit
from pipeline.repair import Plan
from pipeline.report import Report
from pipeline.search import MODES


def ingest(options: argparse.Namespace) -> int:
    """`corpusvec ingest`."""
    with _opened(options) as (corpus, out), printing.progress_bar() as bar:
        report = corpus.ingest(
            *options.sources, progress=_shown_by(bar), wait=options.wait, retry_rejected=options.retry_rejected
        )
        bar.close()
        out(report.as_dict(), lambda: printing.ingested(report, corpus.settings))
    return 0


def plan(options: argparse.Namespace) -> int:
    """`corpusvec plan`."""
    with _opened(options) as (corpus, out):
        report = corpus.plan(*options.sources, retry_rejected=options.retry_rejected)
        counts = report.as_dict()
        out(
            {**counts["planned"], "rejected": counts["rejected"], "warnings": counts["warnings"]},
            lambda: printing.planned(report, corpus.settings),
        )
    return 0


def backfill(options: argparse.Namespace) -> int:
    """`corpusvec backfill`."""
    with _opened(options) as (corpus, out), printing.progress_bar() as bar:
        report = corpus.backfill(
            *options.sources, since=options.since, until=options.until, partition=options.partition,
            force=options.force, progress=_shown_by(bar), wait=options.wait,
        )  # fmt: skip
        bar.close()
        out(report.as_dict(), lambda: printing.ingested(report, corpus.settings))
    return 0


def rejected(options: argparse.Namespace) -> int:
    """`corpusvec rejected`."""
    with _opened(options) as (corpus, out):
        rows = corpus.rejected()
        out(rows, lambda: printing.rejections(rows))
    return 0


def erase(options: argparse.Namespace) -> int:
    """`corpusvec erase`."""
    with _opened(options) as (corpus, out):
        receipt = corpus.erase(*options.uris, wait=options.wait)
        out(receipt.as_dict(), lambda: printing.receipt(receipt))
    return 0 if receipt.verified else 1


def compact(options: argparse.Namespace) -> int:
    """`corpusvec compact`."""
    with _opened(options) as (corpus, out):
        report = corpus.compact(options.dry_run, options.wait)
        out(report.as_dict(), lambda: printing.compacted(report))
    return 0


def audit(options: argparse.Namespace) -> int:
    """`corpusvec audit`; 1 unless everything could be read and, in the end, is as it should be."""
    if options.repair and not (options.yes or sys.stdin.isatty()):
        raise UsageError("--repair asks before it changes anything: say --yes where nobody can answer")
    with _opened(options) as (corpus, out):
        if not options.repair:
            found = corpus.audit(*options.sources, wait=options.wait)
            out(found.as_dict(), lambda: printing.audited(found))
            return 0 if found.clean else 1

        def agree(before: Audit, plan: Plan) -> bool:
            text = f"{printing.audited(before)}\n{printing.repair_plan(plan)}"
            if options.json:
                print(text, file=sys.stderr)
            else:
                out(None, lambda: text)
            if options.yes:
                return True
            print("Do it? [y/N] ", end="", file=sys.stderr, flush=True)
            return sys.stdin.readline().strip().lower() in ("y", "yes")

        repaired = corpus.repair(*options.sources, agree=agree, wait=options.wait)
        out(repaired.as_dict(), lambda: printing.repaired(repaired))
        return 0 if repaired.after.clean else 1


def _shown_by(bar: Any) -> Callable[[Report], None]:
    def show(report: Report) -> None:
        documents = report.documents
        bar.total = documents["seen"]
        bar.set_postfix(chunks=report.chunks, tokens=report.tokens, refresh=False)
        bar.update(sum(documents[name] for name in ("new", "changed", "unchanged", "rejected")) - bar.n)

    return show


def search(options: argparse.Namespace) -> int:
    """`corpusvec search`."""
    with _opened(options) as (corpus, out):
        started = time.perf_counter()
        hits = corpus.search(options.query, options.k, options.mode, options.filter)
        took = time.perf_counter() - started - corpus.engine_start_seconds
        print(printing.timing(took, corpus.engine_start_seconds), file=sys.stderr)
        out([printing.hit_dict(hit) for hit in hits], lambda: printing.hits(hits, options.query))
    return 0


def status(options: argparse.Namespace) -> int:
    """`corpusvec status`."""
    with _opened(options) as (corpus, out):
        found = corpus.status()
        out(found, lambda: printing.status(found))
    return 0


def doctor(options: argparse.Namespace) -> int:
    """`corpusvec doctor`; 1 if a check failed."""
    from flows.doctor import examined

    found = []
    with _result_stream() as stream:
        for diagnosis in examined(options.config, settings_flags(options), options.documents, not options.no_engine):
            found.append(diagnosis)
            if not options.json:
                print(printing.diagnosis(diagnosis), file=stream, flush=True)
        healthy = all(diagnosis.state != "failed" for diagnosis in found)
        if options.json:
            value = {"healthy": healthy, "checks": [asdict(diagnosis) for diagnosis in found]}
            _print(stream, True, value, lambda: "")
    return 0 if healthy else 1


def parse(options: argparse.Namespace) -> int:
    """`corpusvec parse`; 1 if a file is rejected."""
    from flows.parse import Eye, described, open_viewer

    settings = load_settings(options.config, **settings_flags(options))
    with _result_stream() as stream, Corpus(settings) as corpus:
        eye = Eye(corpus.recipe.model.path, corpus.recipe.rules) if options.chunks else Eye()
        with open_viewer(settings.limits, eye) as viewer:
            views = [viewer.view(file) for file in options.files]
        value = [view.as_dict() for view in views] if options.json else None
        _print(
            stream, options.json, value[0] if value and len(value) == 1 else value,
            lambda: "\n\n".join(map(described, views)),
        )  # fmt: skip
    return 1 if any(view.rejected for view in views) else 0


def evaluate(options: argparse.Namespace) -> int:
    """`corpusvec eval`, in a collection of its own unless one is named."""
    modes = [mode.strip() for mode in options.modes.split(",")]
    if unknown := [mode for mode in modes if mode not in MODES]:
        raise UsageError(f"there is no search mode {unknown[0]!r}: choose among {', '.join(MODES)}")
    if options.collection is None:
        options.collection = "eval_" + re.sub(r"[^A-Za-z0-9]", "_", Path(options.folder).resolve().name)
    with _opened(options) as (corpus, out):
        scores = corpus.evaluate(options.folder, [mode for mode in MODES if mode in modes])
        out(scores, lambda: printing.scores(scores))
    return 0


def bench(options: argparse.Namespace) -> int:
    """`corpusvec bench`."""
    from flows.bench import measure

    settings = load_settings(options.config, **settings_flags(options))
    if options.shape and not options.dummy:
        raise UsageError("--shape has no weights to load: add --dummy, or name a model with --model")
    with _result_stream() as stream:
        result = measure(
            settings, options.sources, options.documents, options.rounds, options.shape, options.tokens_per_chunk,
            options.gpus,
        )  # fmt: skip
        _print(stream, options.json, result, lambda: printing.bench(result))
    return 0


def deploy(options: argparse.Namespace) -> int:
    """`corpusvec deploy`."""
    from flows.deploy import deploy

    deploy(options.config)
    return 0


@contextlib.contextmanager
def _opened(options: argparse.Namespace) -> Iterator[tuple[Corpus, Any]]:
    with _result_stream() as stream, Corpus(load_settings(options.config, **settings_flags(options))) as corpus:
        yield corpus, lambda value, text: _print(stream, options.json, value, text)


@contextlib.contextmanager
def _result_stream() -> Iterator[TextIO]:
    """The real stdout, while whatever engines and libraries print there goes to stderr, child processes' too."""
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)
    try:
        yield stream
        stream.flush()
    finally:
        sys.stdout.flush()
        os.dup2(stream.fileno(), 1)
        stream.close()


def _print(stream: TextIO, as_json: bool, value: Any, text: Callable[[], str]) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str) if as_json else text(), file=stream, flush=True)
