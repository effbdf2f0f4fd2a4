"""Milvus Lite in this process: the contract on a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from pymilvus import MilvusClient

from connectors.stores import open_store
from connectors.stores.milvus import to_expression
from pipeline.errors import Terminal, Transient
from pipeline.types import Condition

from .contract import SPEC, VectorStoreContract, ids, point, sentence

_HOLDER = """
import sys
from connectors.stores import open_store
from tests.connectors.stores.contract import SPEC, point

store = open_store(sys.argv[1], "docs")
store.open(SPEC)
store.upsert([point("kept", n=n) for n in range(300)])
print("open", flush=True)
sys.stdin.read()
"""


class TestMilvusLite(VectorStoreContract):
    stems: ClassVar[bool] = False
    takes_average_length: ClassVar[bool] = False
    tells_booleans: ClassVar[bool] = False
    filters: ClassVar[int] = 30

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"milvus:{tmp_path}/index.db"

    def test_one_process_at_a_time(self, url: str) -> None:
        """A file that another process has is refused as something that may pass; killing that one loses nothing."""
        command = [sys.executable, "-c", _HOLDER, url]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        store = open_store(url, "docs")
        with subprocess.Popen(command, text=True, cwd=Path(__file__).parents[3], **pipes) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            with pytest.raises(Transient) as caught:
                store.open(SPEC)
            assert "another process" in sentence(caught.value)
            process.kill()
        assert store.open(SPEC) == SPEC
        assert store.count() == 300
        store.close()

    def test_too_long(self, url: str) -> None:
        """A text over the limit of Milvus is refused, with its document and both sizes, never cut short."""
        store = open_store(url, "docs")
        store.open(SPEC)
        with pytest.raises(Terminal, match=r"65,535.*file:///a.txt.*80,000"):
            store.upsert([point("ok"), point("é" * 40_000, n=1)])
        store.close()

    def test_many_bytes(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A batch beyond the size of one request is sent in several."""
        store = open_store(url, "docs")
        store.open(SPEC)
        monkeypatch.setattr("connectors.stores.milvus._BATCH_BYTES", 1 << 20)
        points = [point("pad" * 18_000, n=n) for n in range(30)]
        requests: list[int] = []
        upsert = MilvusClient.upsert
        monkeypatch.setattr(
            MilvusClient, "upsert", lambda *args, **rest: requests.append(len(rest["data"])) or upsert(*args, **rest)
        )
        store.upsert(points)
        assert sum(requests) == store.count() == 30
        assert max(requests) * 2 * 54_000 < 1.2 * (1 << 20)
        assert sorted(ids(store.fetch(ids(points)))) == sorted(ids(points))
        store.close()

    def test_wrong_dimensions(self, url: str) -> None:
        """A vector of another length is refused with both lengths."""
        store = open_store(url, "docs")
        store.open(SPEC)
        with pytest.raises(Terminal, match=r"8.*5"):
            store.upsert([point("t", vector=np.ones(5, np.float32))])
        store.close()

    def test_killed_before_it_is_indexed(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A collection whose maker was killed before it was indexed is made whole by whoever opens it, if only to
        read: a server does not load one without its indexes."""
        maker = open_store(url, "docs")

        def killed() -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(maker, "_index", killed)
        with pytest.raises(KeyboardInterrupt):
            maker.open(SPEC)
        maker.close()
        store = open_store(url, "docs")
        assert store.open() == SPEC
        client = MilvusClient(url.removeprefix("milvus:"))
        assert {"dense", "bm25", "document_id"} <= set(client.list_indexes("docs"))
        client.close()
        store.upsert([point("house")])
        assert ids(store.search_bm25("house", 3)) == [point("house").record_id]
        store.close()

    def test_a_server_is_not_asked_to_flush(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Flushing asks nothing of a server: it has every write in its log, and allows one flush in ten seconds."""
        flushed: list[object] = []
        monkeypatch.setattr(MilvusClient, "flush", lambda *_, **__: flushed.append(1))
        lite = open_store(url, "docs")
        lite.open(SPEC)
        lite.flush()
        assert flushed == [1]
        monkeypatch.setattr(MilvusClient, "get_server_version", lambda *_, **__: "v2.6.4")
        server = open_store(url, "docs")
        server.open(SPEC)
        server.flush()
        assert flushed == [1]
        server.close()
        lite.close()

    def test_foreign_collection(self, url: str) -> None:
        """A collection that someone else made is refused and left alone."""
        store = open_store(url, "docs")
        store.open(SPEC)
        client = MilvusClient(url.removeprefix("milvus:"))
        client.create_collection("foreign", dimension=4)
        client.close()
        foreign = open_store(url, "foreign")
        with pytest.raises(Terminal, match="not made by corpusvec"):
            foreign.open(SPEC)
        foreign.close()
        assert store.count() == 0
        store.close()


@pytest.mark.parametrize(
    ("condition", "expression"),
    [
        (Condition("uri", "=", 'a"b\\c\nd'), 'uri == "a\\"b\\\\c\\nd"'),
        (Condition("uri", "!=", "x"), '(uri is null or uri != "x")'),
        (Condition("uri", "=", 3), 'record_id == ""'),
        (Condition("page", "!=", "3"), 'record_id != ""'),
        (Condition("page", "<=", 2.5), "page <= 2.5"),
        (Condition('metadata.a"]', "<", 3), 'metadata["a\\"]"] < 3'),
        (
            Condition("metadata.k", "!=", True),
            '(not exists metadata["k"] or not (metadata["k"] == true or json_contains_any(metadata["k"], [true])))',
        ),
    ],
)
def test_expressions(condition: Condition, expression: str) -> None:
    """Conditions in Milvus's language: quoted, and with one meaning for what is absent or of another type."""
    assert to_expression([condition]) == expression
    assert to_expression([condition, condition]) == f"{expression} and {expression}"
