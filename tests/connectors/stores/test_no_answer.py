"""Servers that answer badly, or not at all: an error that says what to do, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from connectors.stores import open_store
from pipeline.errors import CorpusvecError, Terminal, Transient

from .contract import SPEC, sentence
from .servers import answering, http_answer

ERROR = b'{"status": {"error": "because of this"}}'
ANSWERS = {
    "nothing": None,
    "500": http_answer(500, ERROR),
    "500 and binary": http_answer(500, b"\xff\xfe\0\r\n\r\n<html>"),
    "429": http_answer(429, ERROR),
    "429 and how long to wait": http_answer(429, ERROR, "Retry-After: 3"),
    "429 and until when to wait": http_answer(429, ERROR, "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT"),
    "401": http_answer(401, ERROR),
    "garbage": b"\0\1\2\xff garbage\r\n\r\n",
    "hanging up": b"",
    "a web page": http_answer(200, b"<html>"),
    "other JSON": http_answer(200, b"[]"),
}
#: What the same request would get again. To Milvus's client whatever is no gRPC is no server at all.
TERMINAL = {"401", "a web page", "other JSON"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.stores.qdrant._PATIENCE", 1)
    monkeypatch.setattr("connectors.stores.milvus._SECONDS", 1.0)
    monkeypatch.setattr("connectors.stores.milvus._CONNECT_SECONDS", 1.0)


def refusal(url: str) -> CorpusvecError:
    """How opening a store at `url` ends."""
    store = open_store(url, "docs")
    begin = time.monotonic()
    with pytest.raises(CorpusvecError) as caught:
        store.open(SPEC)
    store.close()
    assert time.monotonic() - begin < 10
    assert url in sentence(caught.value)
    return caught.value


@pytest.mark.parametrize("kind", ["qdrant", "milvus"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_bad_answers(kind: str, answer: str) -> None:
    """Whatever answers, or does not, opening ends soon, in what may pass or in what has to be changed."""
    with answering(ANSWERS[answer]) as port:
        error = refusal(f"{kind}:http://127.0.0.1:{port}")
    assert isinstance(error, Terminal if kind == "qdrant" and answer in TERMINAL else Transient)
    assert kind == "milvus" or answer != "401" or "QDRANT_API_KEY" in str(error)


@pytest.fixture
def refusing() -> Iterator[tuple[str, list[grpc.StatusCode]]]:
    """A gRPC server that refuses every call, with the status that is put into the list."""
    status: list[grpc.StatusCode] = []

    class Refusal(grpc.GenericRpcHandler):
        def service(self, _: object) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(lambda _, context: context.abort(status[0], "for this reason"))

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[Refusal()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"milvus:http://127.0.0.1:{port}", status
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, Terminal, "MILVUS_TOKEN"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Transient, "No Milvus server answers"),
        (grpc.StatusCode.UNAVAILABLE, Transient, "No Milvus server answers"),
        (grpc.StatusCode.INTERNAL, Transient, "No Milvus server answers"),
    ],
)
def test_refusals(
    refusing: tuple[str, list[grpc.StatusCode]], status: grpc.StatusCode, kind: type[CorpusvecError], words: str
) -> None:
    """A server that does not let us in says so, and which variable would; one that cannot answer may later."""
    url, statuses = refusing
    statuses.append(status)
    error = refusal(url)
    assert isinstance(error, kind)
    assert words in str(error)
