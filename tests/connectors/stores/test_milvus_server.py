"""Milvus over the network: the contract against a process that speaks its protocol over TCP."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from connectors.stores import open_store
from pipeline.errors import Transient

from .contract import SPEC, VectorStoreContract, point, sentence


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The URL of a server on a free port of this machine, once it takes connections; killed at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(folder), "--host", "127.0.0.1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*command, "--port", str(port)], **quiet) as process:
        try:
            end = time.monotonic() + 60
            while True:
                assert process.poll() is None and time.monotonic() < end, "the server did not start"
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield f"milvus:http://127.0.0.1:{port}", process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("milvus")) as (url, _):
        yield url


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


def test_server_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that goes away in between is a transient error; when it is back, nothing acknowledged is lost."""
    monkeypatch.setattr("connectors.stores.milvus._SECONDS", 3.0)
    with running(tmp_path) as (url, process):
        store = open_store(url, "docs")
        store.open(SPEC)
        store.upsert([point("kept")])
        process.kill()
        process.wait()
        with pytest.raises(Transient) as caught:
            store.count()
        sentence(caught.value)
        store.close()
    with running(tmp_path) as (url, _):
        store = open_store(url, "docs")
        assert store.open(SPEC) == SPEC
        assert store.count() == 1
        store.close()
