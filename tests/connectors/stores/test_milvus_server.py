"""Milvus over the network: the contract against a process that speaks its protocol over TCP."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from connectors.stores import open_store
from pipeline.errors import Transient
from pipeline.ports import VectorStore
from pipeline.types import Condition

from .contract import SPEC, VectorStoreContract, ids, point, sentence, unit
from .script import apply, assert_nothing_is_lost, operations
from .servers import free_port, milvus


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    with milvus(tmp_path_factory.mktemp("milvus"), port):
        yield f"milvus:http://127.0.0.1:{port}"


class TestMilvusServer(VectorStoreContract):
    stems: ClassVar[bool] = False
    takes_average_length: ClassVar[bool] = False
    tells_booleans: ClassVar[bool] = False
    filters: ClassVar[int] = 30

    @pytest.fixture
    def url(self, server: str) -> str:
        return server

    def test_tcp(self, server: str, collection: str) -> None:
        """tcp:// is another spelling of a server's address."""
        store = open_store(server.replace("http", "tcp"), collection)
        assert store.open(SPEC) == SPEC
        store.close()


def test_no_server() -> None:
    """A server that does not answer is a transient error, within seconds, with what to do."""
    store = open_store("milvus:http://127.0.0.1:1", "docs")
    begin = time.monotonic()
    with pytest.raises(Transient) as caught:
        store.open(SPEC)
    assert time.monotonic() - begin < 15
    assert sentence(caught.value).startswith(
        "No Milvus server answers at milvus:http://127.0.0.1:1: start it or correct --store"
    )
    store.close()


VERBS: dict[str, Callable[[VectorStore], object]] = {
    "open": lambda store: store.open(SPEC),
    "upsert": lambda store: store.upsert([point("more", n=1)]),
    "patch": lambda store: store.patch([point("kept")]),
    "fetch": lambda store: store.fetch([point("kept").record_id]),
    "ids_of": lambda store: store.ids_of([point("kept").payload["document_id"]]),
    "delete": lambda store: store.delete([point("gone", n=2).record_id]),
    "count": lambda store: store.count(),
    "search_dense": lambda store: store.search_dense(unit(1.0), 3),
    "search_bm25": lambda store: store.search_bm25("kept", 3),
    "scroll": lambda store: list(store.scroll()),
    "flush": lambda store: store.flush(),
}


def test_a_server_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stops answering ends every verb in bounded time, as something that may pass; and when it has,
    nothing is lost."""
    port = free_port()
    with milvus(tmp_path, port) as process:
        store = open_store(f"milvus:http://127.0.0.1:{port}", "docs")
        store.open(SPEC)
        store.upsert([point("kept")])
        store.close()
        monkeypatch.setattr("connectors.stores.milvus._SECONDS", 2.0)
        store.open(SPEC)
        monkeypatch.setattr("connectors.stores.milvus._SECONDS", 0.2)
        process.send_signal(signal.SIGSTOP)
        for verb in VERBS.values():
            begin = time.monotonic()
            with pytest.raises(Transient) as caught:
                verb(store)
            assert time.monotonic() - begin < 15
            sentence(caught.value)
        store.close()
        monkeypatch.undo()
        process.send_signal(signal.SIGCONT)
        store.open(SPEC)
        for verb in VERBS.values():
            verb(store)
        assert point("kept").record_id in ids(store.scroll())
        store.close()


@pytest.mark.parametrize("left", [0, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["idx", "sidx"])
def test_half_an_index(tmp_path: Path, kind: str, left: float) -> None:
    """A server killed while it wrote an index has half of it: the store makes it anew from the points, all of which
    are there."""
    port = free_port()
    store = open_store(f"milvus:http://127.0.0.1:{port}", "docs")
    points = [point(f"text {n}", n=n) for n in range(50)]
    with milvus(tmp_path, port):
        store.open(SPEC)
        store.upsert(points)
        store.flush()
        before = store.search_dense(points[7].vector, 5, [Condition("title", "=", "A title")])
        store.close()
    indexes = list(tmp_path.rglob(f"*.{kind}"))
    assert indexes
    for path in indexes:
        os.truncate(path, int(path.stat().st_size * left))
    with milvus(tmp_path, port):
        assert store.open(SPEC) == SPEC
        assert store.search_dense(points[7].vector, 5, [Condition("title", "=", "A title")]) == before
        assert ids(store.scroll()) == sorted(ids(points))
        store.close()


@pytest.mark.parametrize("seed", range(2))
def test_a_server_that_is_killed(tmp_path: Path, seed: int) -> None:
    """A server killed at any moment is a transient error; when it is back, the store goes on as it is, and has
    everything that was acknowledged."""
    port = free_port()
    store = open_store(f"milvus:http://127.0.0.1:{port}", "docs")
    done = 0
    with milvus(tmp_path, port) as process:
        store.open(SPEC)
        timer = threading.Timer(random.Random(seed).uniform(0.1, 2.0), process.kill)
        timer.start()
        with pytest.raises(Transient) as caught:
            for operation in operations(seed):
                apply(store, operation)
                done += 1
        timer.join()
        sentence(caught.value)
        for verb in VERBS.values():
            with pytest.raises(Transient):
                verb(store)
    with milvus(tmp_path, port):
        assert_nothing_is_lost(store, done, seed)
        for verb in VERBS.values():
            verb(store)
        assert store.count([Condition("title", "=", "A title")]) == store.count()
        store.close()
        assert store.open(SPEC) == SPEC
        store.close()
