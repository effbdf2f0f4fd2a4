"""Qdrant Edge: the contract, and what only files in this process can do."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from connectors.stores import open_store
from pipeline.errors import Terminal, Transient, UsageError

from .contract import SPEC, VectorStoreContract, ids, point, sentence

# Writes numbered points for ever, and says after each batch how many the store has acknowledged.
_WRITER = """
import sys
from connectors.stores import open_store
from tests.connectors.stores.contract import SPEC, point

store = open_store(sys.argv[1], "docs")
store.open(SPEC)
written = 0
while True:
    store.upsert([point("text", n=written + n) for n in range(50)])
    written += 50
    if written % 500 == 0:
        store.delete([point("text", n=n).record_id for n in range(written - 500, written - 250)])
        store.flush()
    print(written, flush=True)
"""


class TestQdrantEdge(VectorStoreContract):
    filters: ClassVar[int] = 300

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"edge:{tmp_path}/index"

    def test_absent_leaves_no_trace(self, url: str, tmp_path: Path) -> None:
        """Looking for a collection makes no files."""
        open_store(url, "docs").open()
        assert list(tmp_path.iterdir()) == []

    def test_only_whole_collections(self, url: str, tmp_path: Path) -> None:
        """The folder of a collection appears complete, and nothing else is left beside it."""
        store = open_store(url, "docs")
        store.open(SPEC)
        store.close()
        assert [path.name for path in (tmp_path / "index").iterdir()] == ["docs"]
        assert {path.name for path in (tmp_path / "index" / "docs").iterdir()} == {"shard", "stamp.json"}
        assert json.loads((tmp_path / "index" / "docs" / "stamp.json").read_text())["recipe"] == SPEC.recipe

    def test_foreign_folder(self, url: str, tmp_path: Path) -> None:
        """A folder that is not a collection of ours is refused and left alone."""
        (tmp_path / "index" / "docs").mkdir(parents=True)
        (tmp_path / "index" / "docs" / "precious").write_text("x")
        with pytest.raises(Terminal, match="not made by corpusvec"):
            open_store(url, "docs").open(SPEC)
        assert (tmp_path / "index" / "docs" / "precious").exists()

    def test_one_at_a_time(self, url: str) -> None:
        """While a collection is open, a second opening is refused as something that may pass, and does no harm."""
        store, second = open_store(url, "docs"), open_store(url, "docs")
        store.open(SPEC)
        store.upsert([point("mine")])
        with pytest.raises(Transient) as caught:
            second.open(SPEC)
        assert "in use by another process" in sentence(caught.value)
        assert store.count() == 1
        store.close()
        assert second.open(SPEC) == SPEC
        assert second.count() == 1
        second.close()

    def test_unknown_language(self, url: str, tmp_path: Path) -> None:
        """A language that BM25 does not know is a usage error, before anything is made."""
        with pytest.raises(UsageError, match="klingon"):
            open_store(url, "docs").open(replace(SPEC, language="klingon"))
        assert not (tmp_path / "index").exists()

    def test_another_language(self, url: str) -> None:
        """The language of the spec decides which forms are one word."""
        store = open_store(url, "docs")
        store.open(replace(SPEC, language="german"))
        store.upsert([point("die Häuser am Fluss", n=0), point("Garten", n=1), point("Wald", n=2)])
        assert len(store.search_bm25("Häusern", 5)) == 1
        assert store.search_bm25("die", 5) == []
        store.close()

    def test_wrong_dimensions(self, url: str) -> None:
        """A vector of another length is refused with both lengths."""
        store = open_store(url, "docs")
        store.open(SPEC)
        with pytest.raises(Terminal, match=r"8.*5"):
            store.upsert([point("t", vector=np.ones(5, np.float32))])
        store.close()

    def test_deleted_points_give_back_their_room(self, url: str) -> None:
        """After a flush, deleted points are gone from the files and from BM25's statistics."""
        store = open_store(url, "docs")
        store.open(SPEC)
        points = [point(f"word{n % 10}", n=n) for n in range(3_000)]
        store.upsert(points)
        store.delete(ids(points[500:]))
        before = store.search_bm25("word3", 1)[0].score
        store.flush()
        assert store.search_bm25("word3", 1)[0].score < before
        assert sorted(ids(store.scroll())) == sorted(ids(points[:500]))
        store.close()

    @pytest.mark.parametrize("batches", [1, 12, 25])
    def test_killed(self, url: str, batches: int) -> None:
        """A process killed while it writes loses nothing that was acknowledged, and the collection opens as before."""
        command = [sys.executable, "-c", _WRITER, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(batches)]
            process.kill()
            written = int((process.stdout.read().split() or [lines[-1]])[-1])
        store = open_store(url, "docs")
        assert store.open(SPEC) == SPEC
        deleted = {n for n in range(written // 500 * 500) if n % 500 < 250}
        # Deletions of the batch after the last acknowledged one may have happened as well.
        maybe = {n for n in range(written + 50) if n % 500 < 250}
        alive = {point("text", n=n).record_id for n in range(written) if n not in deleted | maybe}
        gone = {point("text", n=n).record_id for n in deleted}
        found = set(ids(store.scroll()))
        assert alive <= found
        assert not gone & found
        store.upsert([point("after")])
        assert store.count() == len(found) + 1
        store.close()
