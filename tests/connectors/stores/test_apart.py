"""A store in processes of its own: the contract, who gets them, and what happens when one dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest

from connectors.stores import open_store
from connectors.stores._apart import PURPOSE
from pipeline.errors import Terminal, Transient
from pipeline.ports import VectorStore
from pipeline.workers.companion import Companion

from .contract import SPEC, VectorStoreContract, ids, point, sentence
from .script import assert_nothing_is_lost, write_until_killed

ROOT = Path(__file__).parents[3]


def processes() -> list[psutil.Process]:
    """Those that workers live in: of this one's, and not dead."""
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if PURPOSE in child.cmdline()]


class TestEdgeApart(VectorStoreContract):
    filters: ClassVar[int] = 60
    remote: ClassVar[bool] = False

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"edge:{tmp_path}/index"

    @pytest.fixture
    def store(self, url: str, collection: str) -> Iterable[VectorStore]:
        store = open_store(url, collection, apart=True)
        assert store.open(SPEC) == SPEC
        before = len(processes())
        store.upsert([])
        assert len(processes()) == before + 2, "one encodes, one writes"
        yield store
        store.close()

    def test_average_length_cut_short(self, store: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """The process killed in the middle of a change of the average length: that can be told, and done again."""
        store.upsert([point("fox " + "pad " * 9, n=n) for n in range(2_000)])
        running, stamp = processes(), Path(store.url.removeprefix("edge:"), store.collection, "stamp.json")
        with ThreadPoolExecutor(1) as pool:
            tuning = pool.submit(store.set_average_length, 1_000.0)
            while "-1000" not in stamp.read_text():
                assert not tuning.done()
            for process in running:
                process.kill()
            with pytest.raises(Transient):
                tuning.result()
        found = store.open(SPEC)
        assert found is not None
        assert found.average_length == -1_000.0
        store.set_average_length(20.0)
        assert store.open(SPEC) == SPEC
        assert len({round(hit.score, 5) for hit in store.search_bm25("fox", 5_000)}) == 1

    def test_who_only_reads_starts_nothing(self, url: str) -> None:
        """Opening, making and reading a collection take no process; the first write does; closing ends them."""
        before = processes()
        store = open_store(url, "docs", apart=True)
        assert store.open() is None
        assert store.open(SPEC) == SPEC
        assert (store.count(), list(store.scroll()), store.search_bm25("a", 3)) == (0, [], [])
        assert processes() == before
        store.upsert([point("one")])
        assert len(processes()) == len(before) + 2
        assert store.count() == len(list(store.scroll())) == 1
        store.close()
        assert processes() == before

    def test_two_read_all_at_once(self, store: VectorStore) -> None:
        """Two scrolls side by side each see every point once."""
        points = [point(f"t{n}", n=n) for n in range(1_200)]
        store.upsert(points)
        one, other = store.scroll(), store.scroll()
        seen = list(zip(ids(one), ids(other), strict=True))
        assert sorted(first for first, _ in seen) == sorted(second for _, second in seen) == sorted(ids(points))

    @pytest.mark.parametrize("which", [0, 1])
    def test_one_of_its_processes_killed(self, which: int, url: str) -> None:
        """What was written stays; the call that finds it dead is one to be tried again, and then works."""
        before = processes()
        store = open_store(url, "docs", apart=True)
        store.open(SPEC)
        store.upsert([point("one")])
        [each for each in processes() if each not in before][which].kill()
        with pytest.raises(Transient) as caught:
            store.upsert([point("two", n=1)])
        assert "'docs'" in sentence(caught.value)
        assert store.count() == 1
        store.upsert([point("two", n=1)])
        assert store.count() == 2
        [each for each in processes() if each not in before][which].kill()
        store.close()
        assert processes() == before

    def test_interrupted(self, url: str) -> None:
        """Ctrl-C in the middle of a write: the store closes, no process stays, what was acknowledged is there."""

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        before, done = processes(), 0
        store = open_store(url, "docs", apart=True)
        store.open(SPEC)
        store.upsert([])
        old = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.7)
            with pytest.raises(KeyboardInterrupt):
                for number in count():
                    store.upsert([point(f"t{n}", n=n) for n in range(number * 100, number * 100 + 100)])
                    done += 100
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        store.close()
        assert processes() == before
        again = open_store(url, "docs")
        assert again.open() == SPEC
        assert again.count() >= done
        again.close()

    def test_several_write_at_once(self, store: VectorStore) -> None:
        """Threads that write, read and delete side by side get what they would one after the other."""

        def work(number: int) -> None:
            mine = [point(f"word{number}", uri=f"file:///{number}", n=n) for n in range(600)]
            store.upsert(mine)
            document = mine[0].payload["document_id"]
            assert store.ids_of([document]) == {document: set(ids(mine))}
            store.delete(ids(mine[500:]))
            store.flush()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert store.count() == 2_000
        assert all(len(store.search_bm25(f"word{number}", 1_000)) == 500 for number in range(4))

    def test_one_killed_again_and_again_while_several_write(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Threads that try again what failed for a moment are told nothing else, and all that they write is there."""
        before = processes()
        started: list[int] = []
        enough = threading.Event()

        class Noted(Companion):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                started.append(self._worker._process.pid)

        monkeypatch.setattr("connectors.stores._apart.Companion", Noted)
        monkeypatch.setattr("connectors.stores._apart._PAGE", 10)
        store = open_store(url, "docs", apart=True)
        store.open(SPEC)

        def work(number: int) -> int:
            failed = 0
            while True:
                for first in range(0, 400, 40):
                    points = [point(f"word{number}", uri=f"file:///{number}", n=n) for n in range(first, first + 40)]
                    while True:
                        try:
                            store.upsert(points)
                            break
                        except Transient:
                            failed += 1
                if enough.is_set():
                    return failed

        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(work, number) for number in range(4)]
            try:
                seen = 0
                for _ in range(8):
                    while len(started) == seen and not any(each.done() for each in running):
                        time.sleep(0.05)
                    seen = len(started)
                    with suppress(ProcessLookupError):  # it is gone already
                        os.kill(started[-1], signal.SIGKILL)
            finally:
                enough.set()
        assert sum(each.result() for each in running) > 1, "they were told"
        with suppress(Transient):  # whoever asks first may find the last one dead
            store.count()
        assert store.count() == 1_600
        store.close()
        assert processes() == before

    @pytest.mark.parametrize("seed", range(5))
    def test_killed(self, url: str, seed: int) -> None:
        """Its owner is killed at any moment: the process ends with it, and nothing acknowledged is lost."""
        done = write_until_killed(url, seed, apart=True)
        store = open_store(url, "docs", apart=True)
        assert store.open(SPEC) == SPEC
        assert_nothing_is_lost(store, done, seed)
        store.close()

    def test_what_it_raises(self, store: VectorStore) -> None:
        """An error of the store's is told as it is without a process."""
        with pytest.raises(Terminal, match=r"8.*5"):
            store.upsert([point("t", vector=np.ones(5, np.float32))])


@pytest.mark.parametrize("url", ["qdrant::memory:", "qdrant:local:{}/local", "milvus:{}/lite.db"])
def test_what_lives_here_stays_here(url: str, tmp_path: Path) -> None:
    """What is in this process's memory, or is served by it, is written to from here whatever is asked."""
    store = open_store(url.format(tmp_path), "docs", apart=True)
    store.open(SPEC)
    before = processes()
    store.upsert([point("one")])
    assert store.count() == 1
    assert processes() == before
    store.close()
