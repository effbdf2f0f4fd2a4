"""Milvus over the network: the contract against a process that speaks its protocol over TCP."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from connectors.stores import open_store
from pipeline.errors import Transient

from .contract import SPEC, VectorStoreContract, point, sentence


def start(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A server on a free port of this machine, once it takes connections."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(folder), "--host", "127.0.0.1"]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process, port
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise RuntimeError(f"the server did not start: exit code {process.wait()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill it, and wait until it is gone."""
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process, port = start(tmp_path_factory.mktemp("milvus"))
    yield f"milvus:http://127.0.0.1:{port}"
    stop(process)


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
    assert "No Milvus server answers at milvus:http://127.0.0.1:1: start it or correct --store" in sentence(caught.value)
    store.close()


def test_server_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that goes away in between is a transient error; when it is back, nothing acknowledged is lost."""
    monkeypatch.setattr("connectors.stores.milvus._SECONDS", 3.0)
    process, port = start(tmp_path)
    store = open_store(f"milvus:http://127.0.0.1:{port}", "docs")
    store.open(SPEC)
    store.upsert([point("kept")])
    stop(process)
    with pytest.raises(Transient) as caught:
        store.count()
    sentence(caught.value)
    store.close()
    process, port = start(tmp_path)
    store = open_store(f"milvus:http://127.0.0.1:{port}", "docs")
    assert store.open(SPEC) == SPEC
    assert store.count() == 1
    store.close()
    stop(process)
