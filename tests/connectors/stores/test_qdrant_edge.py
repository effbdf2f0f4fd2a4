"""Qdrant Edge: the contract, and what only files in this process can do."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from connectors.stores import open_store, qdrant_edge
from pipeline.errors import Terminal, Transient, UsageError

from .contract import SPEC, VectorStoreContract, ids, patched, point, sentence, unit
from .script import assert_nothing_is_lost, write_until_killed

ROOT = Path(__file__).parents[3]

# Is killed while it makes a collection, when it comes to call the function that is named.
_MAKER = """
import os, pathlib, signal, sys, types
import qdrant_edge as vendor
from connectors.stores import open_store, qdrant_edge
from tests.connectors.stores.contract import SPEC

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "create":
    vendor.EdgeShard = types.SimpleNamespace(create=die)
elif sys.argv[2] == "rename":
    pathlib.Path.rename = die
else:
    setattr(qdrant_edge, sys.argv[2], die)
open_store(sys.argv[1], "docs").open(SPEC)
"""

# Is killed in the middle of a change of the average length.
_TUNER = """
import os, signal, sys
from connectors.stores import open_store
from tests.connectors.stores.contract import SPEC, point

store = open_store(sys.argv[1], "docs")
store.open(SPEC)
store.upsert([point("fox " + "pad " * 9, n=n) for n in range(900)])
scroll = store.scroll

def deadly():
    for number, one in enumerate(scroll()):
        if number == 700:
            os.kill(os.getpid(), signal.SIGKILL)
        yield one

store.scroll = deadly
store.set_average_length(1000.0)
"""


def run_to_death(program: str, *arguments: str) -> None:
    """Run a program that kills itself."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


class TestQdrantEdge(VectorStoreContract):
    filters: ClassVar[int] = 300
    remote: ClassVar[bool] = False

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
        """While a collection is in use, a second user is refused as something that may pass, and does no harm."""
        store, second = open_store(url, "docs"), open_store(url, "docs")
        store.open(SPEC)
        store.upsert([point("mine")])
        assert second.open(SPEC) == SPEC, "what it is for can be read by anybody"
        with pytest.raises(Transient) as caught:
            second.count()
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

    @pytest.mark.parametrize("seed", range(10))
    def test_killed(self, url: str, seed: int) -> None:
        """A process killed at any moment of its work loses nothing that was acknowledged, and the collection opens."""
        done = write_until_killed(url, seed)
        store = open_store(url, "docs")
        assert store.open(SPEC) == SPEC
        assert_nothing_is_lost(store, done, seed)
        written = store.count()
        store.upsert([point("after")])
        assert store.count() == written + 1
        store.close()

    @pytest.mark.parametrize("step", ["create", "_write", "rename"])
    def test_killed_while_it_is_made(self, url: str, tmp_path: Path, step: str) -> None:
        """A collection whose maker was killed is none; the next maker makes it, and sweeps up what the other left."""
        run_to_death(_MAKER, url, step)
        precious = tmp_path / "index" / ".docs-backup" / "x"
        precious.mkdir(parents=True)
        assert len(list((tmp_path / "index").iterdir())) == 2
        store = open_store(url, "docs")
        assert store.open() is None
        assert store.open(SPEC) == SPEC
        assert {path.name for path in (tmp_path / "index").iterdir()} == {"docs", ".docs-backup"}
        assert precious.exists()
        store.upsert([point("after")])
        assert store.count() == 1
        store.close()

    def test_a_draft_swept_by_a_quicker_maker(self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of two that make a collection at once, the slower finds the other's, its own draft gone or not."""
        quick, slow = open_store(url, "docs"), open_store(url, "docs")
        write = qdrant_edge._write

        def overtaken(path: Path, text: str) -> None:
            monkeypatch.setattr(qdrant_edge, "_write", write)
            quick.open(SPEC)
            quick.upsert([point("first")])
            quick.close()
            write(path, text)

        monkeypatch.setattr(qdrant_edge, "_write", overtaken)
        assert slow.open(SPEC) == SPEC
        assert slow.count() == 1
        assert [path.name for path in (tmp_path / "index").iterdir()] == ["docs"]
        slow.close()

    def test_killed_while_it_is_tuned(self, url: str) -> None:
        """After a kill in the middle of a change of the average length, whoever opens the collection can tell, and
        doing it again makes all vectors of one length."""
        run_to_death(_TUNER, url)
        store = open_store(url, "docs")
        found = store.open(SPEC)
        assert found == replace(SPEC, average_length=-1_000.0)
        assert len({round(hit.score, 5) for hit in store.search_bm25("fox", 1_000)}) == 2
        store.set_average_length(20.0)
        assert store.open() == SPEC
        assert len({round(hit.score, 5) for hit in store.search_bm25("fox", 1_000)}) == 1
        store.close()

    def test_full_disk(self, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the disk all but full, nothing is made or written, for that would kill the process; what is there can
        be read, and the next flush with room to spare gives back that of deleted points."""
        full = open_store(url, "docs")
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100 << 20))
        with pytest.raises(Terminal) as caught:
            full.open(SPEC)
        assert "is full: it has 100 MiB left" in sentence(caught.value)
        assert list(tmp_path.rglob("*docs*")) == []
        monkeypatch.undo()
        full.open(SPEC)
        full.upsert([point("house", n=n) for n in range(2_000)])
        full.delete(ids(point("house", n=n) for n in range(1_700)))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100 << 20))
        for write in (full.upsert, full.patch):
            with pytest.raises(Terminal, match="is full"):
                write([point("house", n=1_999)])
        full.flush()
        before = full.search_bm25("house", 1)[0].score
        assert full.count() == len(full.search_dense(unit(1.0), 500)) == 300
        monkeypatch.undo()
        full.flush()
        assert full.search_bm25("house", 1)[0].score > before
        full.close()

    def test_too_deep(self, url: str) -> None:
        """Metadata that the engine could write and never read again are refused, by document, before they do harm."""
        store = open_store(url, "docs")
        store.open(SPEC)
        deep: dict[str, Any] = {}
        for _ in range(99):
            deep = {"a": deep}
        store.upsert([point("fine", metadata=deep)])
        with pytest.raises(Terminal) as caught:
            store.patch([patched(point("fine"), metadata={"a": [deep]})])
        assert "file:///a.txt" in sentence(caught.value)
        with pytest.raises(Terminal):
            store.upsert([point("more", metadata={"a": [deep]})])
        assert [one.payload["metadata"] for one in store.scroll()] == [deep]
        store.close()


def test_points_of_others_can_be_removed(tmp_path: Path) -> None:
    """A point that somebody else put in, with a number for an id and without vectors, is seen and can be deleted."""
    import qdrant_edge as edge

    store: Any = open_store(f"edge:{tmp_path}", "c")
    store.open(SPEC)
    store._open_shard().update(edge.UpdateOperation.upsert_points([edge.Point(42, {}, {"text": "stray"})]))
    (stray,) = store.scroll(vectors=True)
    assert (stray.record_id, stray.vector.shape) == ("42", (0,))
    store.delete(["42"])
    assert store.count() == 0
    store.close()
