"""What a quiet night costs, and that it costs in proportion; `make bench` prints the figures for docs/benchmarks.md."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.bench import make_documents
from tests.benchmarks.soak import soak
from tests.benchmarks.test_speed import ROOT, show

SIZES = (10_000, 100_000)


def night(folder: Path) -> dict[str, Any]:
    """Ingest the documents below `folder` in a process of its own; see `tests.benchmarks.night`."""
    arguments = json.dumps({"source": str(folder / "docs"), "data": str(folder / "data")})
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.night", arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.fixture(scope="module")
def first_nights(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, dict[str, Any]]]:
    """Both corpora, ingested."""
    nights = {}
    for count in SIZES:
        folder = tmp_path_factory.mktemp(str(count))
        make_documents(folder / "docs", count, words=(20, 60))
        nights[count] = folder, night(folder)
        show(first_night=count, **nights[count][1])
    return nights


def test_a_night_without_a_change(first_nights: dict[int, tuple[Path, dict[str, Any]]]) -> None:
    """Ten times the files cost ≤ 11 × the time of the clock and of the CPUs, ≤ 1.3 × the memory, and none is opened."""
    small, large = (
        min((night(first_nights[count][0]) for _ in range(3)), key=lambda figures: figures["cpu_seconds"])
        for count in SIZES
    )
    ratios = {name: round(large[name] / small[name], 3) for name in ("wall_seconds", "cpu_seconds", "peak_mib")}
    show(files=SIZES, small=small, large=large, ratios=ratios)
    for count, figures in zip(SIZES, (small, large), strict=True):
        assert (figures["documents"]["seen"], figures["documents"]["unchanged"]) == (count, count)
        assert figures["sources_opened"] == 0
        assert figures["engine_tokens"] == 0
    assert ratios["wall_seconds"] <= 11
    assert ratios["cpu_seconds"] <= 11
    assert ratios["peak_mib"] <= 1.3


def test_a_night_on_which_one_in_a_hundred_changed(first_nights: dict[int, tuple[Path, dict[str, Any]]]) -> None:
    """The engine sees ≤ 3 % of the tokens of the first night."""
    for count in SIZES:
        folder, first = first_nights[count]
        for path in random.Random(count).sample(sorted((folder / "docs").iterdir()), count // 100):
            path.write_text(path.read_text() + " One more sentence at the end.")
        figures = night(folder)
        share = figures["engine_tokens"] / first["engine_tokens"]
        show(changed=count // 100, of=count, share_of_tokens=round(share, 4), **figures)
        assert figures["documents"]["changed"] == figures["sources_opened"] == count // 100
        assert share <= 0.03


def test_two_hundred_nights() -> None:
    """After 200 nights with random kills: a clean audit, no more of the ledger read a night, no more disk taken."""
    figures = soak(200, seed=1, compact_every=20)
    early, late = (
        {name: statistics.mean(figures[name][nights]) for name in ("ledger_reads", "ledger_bytes", "ledger_parts")}
        for nights in (slice(1, 21), slice(-20, None))
    )
    kept = ("kills", "as_fresh", "findings", "bytes_compacted", "bytes_fresh", "bytes_of_index")
    show(nights_2_to_21=early, nights_181_to_200=late, **{name: figures[name] for name in kept})
    assert figures["findings"] == []
    assert figures["as_fresh"]
    assert all(late[name] <= 1.5 * early[name] for name in early)
    assert max(figures["bytes_compacted"]) <= 1.5 * figures["bytes_fresh"]
    assert max(figures["bytes_of_index"][1:]) <= 1.5 * figures["bytes_of_index"][0]
