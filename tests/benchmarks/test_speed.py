"""Speed and memory as ratios within one run; `make bench` runs them and prints the figures for docs/benchmarks.md."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import Corpus
from flows.bench import make_documents, measure
from pipeline.config import Recipe, Settings
from pipeline.embed.model import load_model
from pipeline.report import Report
from tests.cranfield import to_beir, to_files

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3


def show(**figures: object) -> None:
    """Print figures past pytest's capture."""
    print(json.dumps(figures, indent=2), file=sys.__stdout__, flush=True)


def timed(call: Callable[[], object]) -> float:
    """How long it takes, in seconds."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def test_the_pipeline_keeps_up_with_the_bare_engine(workplace: Path) -> None:
    """Files to committed Parquet and index run at 0.90 or more of bare `LLM.embed` on the same chunks."""
    result = measure(Settings(), [], 1_000, ROUNDS)
    show(
        **{
            name: result[name]
            for name in ("engine_tokens_per_second", "pool_tokens_per_second", "pipeline_tokens_per_second",
                         "pool_ratio", "ratio", "tokens", "stage_seconds")
        }
    )  # fmt: skip
    assert result["ratio"] >= 0.90


def test_beside_sentence_transformers_and_peers(workplace: Path, corpora: Path) -> None:
    """1,400 Cranfield abstracts, files to index: ≥ 1.2 × the tokens/s of sentence-transformers' bf16 `encode` alone.

    It encodes the very chunks that the pipeline made (nothing over its window, so nothing cut). Peers ran it in float32
    underneath; that is timed in the same run, so that their figures of another day can be put on this run's scale.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    files = to_files(corpora / "cranfield", workplace / "files")
    path = str(load_model(Recipe()).path)
    references = {
        name: SentenceTransformer(path, device="cpu", model_kwargs={"dtype": getattr(torch, name)})
        for name in ("bfloat16", "float32")
    }
    reports: list[Report] = []
    seconds: dict[str, list[float]] = {"corpusvec": [], "bfloat16": [], "float32": []}
    with Corpus() as warm:
        engine = warm.embedder_for(math.inf)  # what a large corpus gets
        engine.wait()
        warm.embed_queries(["warm up"])
        for number in range(ROUNDS):
            with Corpus(data=f"d{number}", store=f"edge:d{number}/index", embedder=engine) as corpus:
                _ = corpus.recipe
                seconds["corpusvec"].append(timed(lambda c=corpus: reports.append(c.ingest(str(files)))))
                chunks = corpus.vectors().column("text").to_pylist()
            for name, reference in references.items():
                reference.encode(chunks[:64], batch_size=32)
                seconds[name].append(timed(lambda r=reference, texts=chunks: r.encode(texts, batch_size=32)))
    report = reports[-1]
    assert (report.documents["new"], report.documents["rejected"]) == (1_398, 2), "empty abstracts are reported"
    over = {
        name: statistics.median(b / a for a, b in zip(seconds["corpusvec"], seconds[name], strict=True))
        for name in references
    }
    show(
        chunks=report.chunks,
        tokens=report.tokens,
        tokens_per_second={name: round(report.tokens / statistics.median(each)) for name, each in seconds.items()},
        abstracts_per_second={name: round(1_398 / statistics.median(each), 1) for name, each in seconds.items()},
        over_sentence_transformers={name: round(value, 2) for name, value in over.items()},
        rejected=[(Path(r.uri).name, r.reason) for r in report.rejected],
    )
    assert over["bfloat16"] >= 1.2


def test_search_quality_on_cranfield(workplace: Path, corpora: Path) -> None:
    """Hybrid beats both halves on each store: nDCG@10 ≥ 0.43 on Edge, ≥ 0.41 on Milvus Lite."""
    folder = to_beir(corpora / "cranfield", workplace / "cranfield")
    with Corpus() as warm:
        for store, least in (("edge:index", 0.43), ("milvus:index.db", 0.41)):
            with Corpus(store=store, embedder=warm.embedder) as corpus:
                scores = corpus.evaluate(folder)
            show(store=store, **{mode: {k: round(v, 4) for k, v in row.items()} for mode, row in scores.items()})
            hybrid = scores["hybrid"]["ndcg@10"]
            assert hybrid >= least
            assert hybrid > max(scores["dense"]["ndcg@10"], scores["bm25"]["ndcg@10"])


@pytest.mark.parametrize("kind", ["files", "rows"])
def test_memory_does_not_grow_with_the_corpus(workplace: Path, kind: str) -> None:
    """The coordinating process's peak on a corpus ten times larger is at most 1.2 times as high.

    The engine has a process of its own, so that what is measured is ours.
    """
    peaks = []
    for count in (1_000, 10_000):
        folder = workplace / str(count)
        make_documents(folder / "files", count, words=(20, 60))
        source = str(folder / "files")
        if kind == "rows":
            with (folder / "rows.jsonl").open("w") as out:
                for number, path in enumerate(sorted((folder / "files").iterdir())):
                    out.write(json.dumps({"_id": str(number), "text": path.read_text()}) + "\n")
            source = f"jsonl:{folder / 'rows.jsonl'}"
        # VmHWM is this program's own peak; getrusage would count what the test process was at the fork.
        script = (
            "import re, sys\nfrom flows.cli import main\ncode = main(sys.argv[1:])\n"
            "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)\n"
            "sys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, "ingest", source, "--data", str(folder / "data"), "--json",
             "--store", f"edge:{folder / 'index'}"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=True, cwd=workplace,
        )  # fmt: skip
        assert json.loads(done.stdout)["documents"]["new"] == count
        peaks.append(int(done.stderr.split()[-1]) / 1024)
    show(
        kind=kind,
        documents=[1_000, 10_000],
        peak_mib=[round(peak) for peak in peaks],
        ratio=round(peaks[1] / peaks[0], 3),
    )
    assert peaks[1] <= 1.2 * peaks[0]
