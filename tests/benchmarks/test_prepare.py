"""What processes for parsing are worth, and what they cost, as ratios in one run: listing to chunks, no engine.

Beside other work on the machine no wall clock shows what two free cores would do, so processor time is what counts:
that of this process, which reads and hands out, and that of the workers. Two cores cannot do it in less than half of
the sum, nor in less than this process takes. Wall clocks are printed.
"""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from flows import Corpus
from flows.bench import make_documents
from pipeline.report import Report
from tests.benchmarks.test_speed import show
from tests.faults import open_corpus

ROUNDS = 3
#: Parts of the real corpora, each several times: many documents, none of which takes much longer than the others.
PARTS = {"pdf-samples": "*.pdf", "office": "*.docx"}
LARGEST = 1 << 20
COPIES = 4


class Cost(NamedTuple):
    """Seconds: on the wall, of this process's processor time, and of the workers'."""

    wall: float
    parent: float
    workers: float


@contextmanager
def prepared_by(workers: int) -> Iterator[Corpus]:
    """A corpus with so many processes, all of them started."""
    with open_corpus(
        data=f"data{workers}", store=f"edge:index{workers}", limits={"parse_workers": workers, "unit_tokens": 10**6}
    ) as corpus:
        warm = Path(f"warm{workers}")
        make_documents(warm, 64, words=(200, 400))
        corpus.plan(str(warm))
        yield corpus


def costs_by_workers(source: Path, counts: tuple[int, ...]) -> tuple[dict[int, Cost], Report]:
    """The least of each cost over all rounds of `plan`, by number of processes, in turns; and the last report."""
    costs: dict[int, list[Cost]] = {count: [] for count in counts}
    for _ in range(ROUNDS):
        for count in counts:
            with prepared_by(count) as corpus:
                before = Cost(time.perf_counter(), time.process_time(), children_seconds())
                report = corpus.plan(str(source))
                after = Cost(time.perf_counter(), time.process_time(), children_seconds())
                costs[count].append(Cost(*(now - then for now, then in zip(after, before, strict=True))))
            shutil.rmtree(f"data{count}", ignore_errors=True)
    return {count: Cost(*map(min, zip(*each, strict=True))) for count, each in costs.items()}, report


def children_seconds() -> float:
    """Processor time of the processes that this one has started, those that have ended included."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == os.getpid():
            ticks += int(fields[11]) + int(fields[12])
    return ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def rounded(costs: dict[int, Cost]) -> dict[int, dict[str, float]]:
    """For people to read."""
    return {count: {name: round(value, 2) for name, value in cost._asdict().items()} for count, cost in costs.items()}


def test_two_processes_beside_one(workplace: Path, corpora: Path) -> None:
    """Parsed, chunked and tokenized tokens/s with two processes on two free cores: ≥ 1.8 × those with one."""
    docs = workplace / "docs"
    docs.mkdir()
    for folder, pattern in PARTS.items():
        for number, path in enumerate(sorted((corpora / folder).rglob(pattern))):
            if path.stat().st_size <= LARGEST:
                for copy in range(COPIES):
                    shutil.copy(path, docs / f"{folder}-{number}-{copy}{path.suffix}")
    costs, report = costs_by_workers(docs, (1, 2))
    one = costs[1]
    two = max(one.parent, (one.parent + one.workers) / 2)
    tokens = report.planned.tokens
    show(
        documents=report.planned.documents["new"],
        tokens=tokens,
        seconds=rounded(costs),
        tokens_per_cpu_second=round(tokens / sum(one[1:])),
        parent_over_workers=round(one.parent / one.workers, 3),
        ratio_on_two_free_cores=round(max(one.parent, one.workers) / two, 2),
        wall_ratio=round(one.wall / costs[2].wall, 2),
    )
    assert max(one.parent, one.workers) / two >= 1.8


def test_ten_thousand_small_files(workplace: Path) -> None:
    """Small documents do not suffer: processes add 0.6 at most to the cost; handing out is half of theirs."""
    make_documents(workplace / "docs", 10_000, words=(20, 60))
    costs, report = costs_by_workers(workplace / "docs", (0, 1, 2))
    assert report.planned.documents["new"] == 10_000
    inline, one = costs[0], costs[1]
    show(
        seconds=rounded(costs),
        cost_over_inline=round(sum(one[1:]) / inline.parent, 2),
        parent_over_workers=round(one.parent / one.workers, 2),
    )
    assert one.parent + one.workers <= 1.6 * inline.parent
    assert one.parent <= 0.5 * one.workers
