"""Qdrant by its client: the contract in local mode, and on a server where CORPUSVEC_TEST_QDRANT_URL names one."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from connectors.stores import open_store
from pipeline.errors import CorpusvecError, Terminal, Transient
from pipeline.ports import VectorStore

from .contract import SPEC, VectorStoreContract, point, sentence

SERVER = os.environ.get("CORPUSVEC_TEST_QDRANT_URL", "")

_SECOND = """
import sys
from connectors.stores import open_store
from pipeline.errors import Transient

try:
    open_store(sys.argv[1], "docs").open()
except Transient as error:
    print(error)
"""


class TestQdrantInMemory(VectorStoreContract):
    persists: ClassVar[bool] = False

    @pytest.fixture
    def url(self) -> str:
        return "qdrant::memory:"

    @pytest.mark.skip(reason="each client in memory is a database of its own")
    def test_two_collections(self, store: VectorStore) -> None: ...


class TestQdrantLocal(VectorStoreContract):
    many: ClassVar[int] = 300
    filters: ClassVar[int] = 50

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"qdrant:local:{tmp_path}/index"

    @pytest.mark.skip(reason="local mode locks its files against a second client")
    def test_two_collections(self, store: VectorStore) -> None: ...

    def test_one_at_a_time(self, url: str) -> None:
        """While one process has the files, a second is refused as something that may pass."""
        store = open_store(url, "docs")
        store.open(SPEC)
        # In a process of its own: a client that is refused leaves the lock file open, which pytest would report.
        command = [sys.executable, "-c", _SECOND, url]
        second = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
        assert second.stdout.startswith(f"{url} is in use by another process"), second.stderr
        store.close()


@pytest.mark.skipif(not SERVER, reason="CORPUSVEC_TEST_QDRANT_URL names no Qdrant server")
class TestQdrantServer(VectorStoreContract):
    @pytest.fixture
    def url(self) -> str:
        return f"qdrant:{SERVER}"

    @pytest.fixture
    def store(self, url: str, collection: str) -> Iterable[VectorStore]:
        from qdrant_client import QdrantClient

        store = open_store(url, collection)
        store.open(SPEC)
        yield store
        store.close()
        client = QdrantClient(url=SERVER, api_key=os.environ.get("QDRANT_API_KEY"))
        for name in (collection, f"{collection}_b"):
            client.delete_collection(name)
        client.close()


def test_no_server() -> None:
    """A server that does not answer is a transient error, within seconds, with what to do."""
    store = open_store("qdrant:http://127.0.0.1:1", "docs")
    start = time.monotonic()
    with pytest.raises(Transient) as caught:
        store.open(SPEC)
    assert time.monotonic() - start < 5
    assert sentence(caught.value).startswith(
        "No Qdrant server answers at qdrant:http://127.0.0.1:1: start it or correct --store"
    )
    store.close()


@pytest.fixture
def answers() -> Iterator[tuple[str, list[tuple[int, bytes]], list[str]]]:
    """An HTTP server on this machine: its URL, the answers it is to give (the last for ever), the keys it was sent."""
    planned: list[tuple[int, bytes]] = []
    keys: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            keys.append(self.headers.get("api-key", ""))
            self.rfile.read(int(self.headers.get("content-length", 0)))
            status, body = planned.pop(0) if len(planned) > 1 else planned[0]
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = answer

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"qdrant:http://127.0.0.1:{server.server_port}", planned, keys
    server.shutdown()
    thread.join()
    server.server_close()


# Plain HTTP to this machine with a key makes the client warn; in a test it is meant.
@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (403, Terminal, "answered 403"), (400, Terminal, "answered 400"), (429, Transient, "answered 429"),
        (503, Transient, "answered 503"), (200, Terminal, "is no Qdrant server"),
    ],
)  # fmt: skip
def test_answers(
    answers: tuple[str, list[tuple[int, bytes]], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    kind: type[CorpusvecError],
    words: str,
) -> None:
    """What a server refuses is terminal, a busy server is transient; the key comes from the environment."""
    url, planned, keys = answers
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    planned.append((status, json.dumps({"status": {"error": "because of this"}}).encode()))
    store = open_store(url, "docs")
    with pytest.raises(kind, match=words) as caught:
        store.open(SPEC)
    assert status == 200 or "because of this" in sentence(caught.value)
    assert set(keys) == {"secret"}
    store.close()


def test_foreign_collection(tmp_path: Path) -> None:
    """A collection that someone else made is refused and left alone."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(path=f"{tmp_path}/index")
    client.create_collection("docs", vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))
    client.close()
    store = open_store(f"qdrant:local:{tmp_path}/index", "docs")
    with pytest.raises(Terminal, match="not made by corpusvec"):
        store.open(SPEC)
    store.close()


def test_same_scores_as_edge(tmp_path: Path) -> None:
    """The client and Edge share a layout: the same points give the same BM25 scores."""
    found = []
    for url in (f"edge:{tmp_path}/edge", "qdrant::memory:"):
        store = open_store(url, "docs")
        store.open(SPEC)
        store.upsert([point("the quick brown foxes " * (n + 1), n=n) for n in range(4)] + [point("dog", n=9)])
        found.append([(hit.record_id, round(hit.score, 4)) for hit in store.search_bm25("quick fox", 5)])
        store.close()
    assert found[0] == found[1]
