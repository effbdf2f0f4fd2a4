"""What processes for parsing are worth, and what they cost, as ratios in one run: listing to chunks, no engine."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flows import Corpus
from flows.bench import make_documents
from pipeline.report import Report
from tests.benchmarks.test_speed import show
from tests.faults import open_corpus

ROUNDS = 5
#: Parts of the real corpora, each several times: many documents, none of which takes much longer than the others.
PARTS = {"pdf-samples": "*.pdf", "office": "*.docx"}
LARGEST = 1 << 20
COPIES = 4


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


def seconds_by_workers(source: Path, counts: tuple[int, ...]) -> tuple[Mapping[int, list[float]], Report]:
    """Seconds of each round's `plan` by number of processes, in turns, and the last report."""
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(ROUNDS):
        for count in counts:
            with prepared_by(count) as corpus:
                started = time.perf_counter()
                report = corpus.plan(str(source))
                seconds[count].append(time.perf_counter() - started)
            shutil.rmtree(f"data{count}", ignore_errors=True)
    return seconds, report


def test_two_processes_beside_one(workplace: Path, corpora: Path) -> None:
    """Parsed, chunked and tokenized tokens/s with two processes on two cores: ≥ 1.8 × those with one."""
    docs = workplace / "docs"
    docs.mkdir()
    for folder, pattern in PARTS.items():
        for path in sorted((corpora / folder).glob(pattern)):
            if path.stat().st_size <= LARGEST:
                for copy in range(COPIES):
                    shutil.copy(path, docs / f"{path.stem}-{copy}{path.suffix}")
    seconds, report = seconds_by_workers(docs, (1, 2))
    ratio = statistics.median(one / two for one, two in zip(seconds[1], seconds[2], strict=True))
    tokens = report.planned.tokens
    show(
        documents=report.planned.documents["new"],
        tokens=tokens,
        tokens_per_second={count: round(tokens / statistics.median(each)) for count, each in seconds.items()},
        ratio=round(ratio, 2),
    )
    assert ratio >= 1.8


def test_ten_thousand_small_files(workplace: Path) -> None:
    """Small documents do not suffer: with one process as fast as within this one (to a quarter), with two faster."""
    make_documents(workplace / "docs", 10_000, words=(20, 60))
    seconds, report = seconds_by_workers(workplace / "docs", (0, 1, 2))
    assert report.planned.documents["new"] == 10_000
    inline = seconds[0]
    over = {
        count: statistics.median(none / some for none, some in zip(inline, seconds[count], strict=True))
        for count in (1, 2)
    }
    show(
        documents_per_second={count: round(10_000 / statistics.median(each)) for count, each in seconds.items()},
        over_inline={count: round(value, 2) for count, value in over.items()},
    )
    assert over[1] >= 0.75
    assert over[2] > 1.0
