"""A small server of `/v1/embeddings` on loopback that can be told to misbehave, and remembers what it was asked."""

from __future__ import annotations

import base64
import json
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

#: Called with a request's body before it is answered; an answer (status, JSON, headers) is given instead of the right
#: one, None hangs up, `RIGHT` answers rightly, and what is a function writes whatever it likes.
RIGHT = object()
Fault = Callable[[Mapping[str, Any]], Any]


@dataclass
class FaultyServer:
    """What a test sets and looks at."""

    dimensions: int
    url: str = ""
    fault: Fault = lambda body: RIGHT
    #: Turns the right answer into a wrong one.
    spoil: Callable[[dict[str, Any]], Any] = lambda answer: answer
    key: str | None = None
    base64: bool = True
    cuts: bool = True
    #: The longest input in tokens, as vLLM says it; None says nothing.
    window: int | None = 256
    #: What is said of the models instead.
    models: Any = None
    #: What Text Embeddings Inference says of itself.
    info: dict[str, Any] | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    most_at_once: int = 0
    count: Callable[[Any], int] = len

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Counts requests under way."""
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def vector(self, given: Any, length: int | None = None) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The vector of a text or of tokens: always the same, and another for every other."""
        random = np.random.default_rng(zlib.crc32(json.dumps(given).encode()))
        vector = random.standard_normal(self.dimensions)[:length]
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def vectors(self, given: Sequence[Any], length: int | None = None) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Row by row."""
        return np.stack([self.vector(one, length) for one in given])

    def answer(self, body: Mapping[str, Any]) -> Any:
        """What a server that is well would say."""
        length = body.get("dimensions") if self.cuts else None
        rows = []
        for index, given in enumerate(body["input"]):
            vector = self.vector(given, length)
            packed = self.base64 and body.get("encoding_format") == "base64"
            rows.append(
                {
                    "index": index,
                    "embedding": base64.b64encode(vector.tobytes()).decode() if packed else vector.tolist(),
                }
            )
        return {"data": rows, "usage": {"prompt_tokens": sum(self.count(given) for given in body["input"])}}


@contextmanager
def embedding_server(dimensions: int) -> Iterator[FaultyServer]:
    """Serves on a free port while the block lasts."""
    state = FaultyServer(dimensions)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *arguments: Any) -> None:
            """Nothing on stderr."""

        def do_GET(self) -> None:
            if self.path == "/info":
                return self.reply(200, state.info) if state.info else self.reply(404, {})
            served = {"id": "served-model", **({"max_model_len": state.window} if state.window else {})}
            return self.reply(200, state.models or {"data": [served]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append(body)
            state.keys.append(self.headers["Authorization"])
            with state.counted():
                if state.key and self.headers["Authorization"] != f"Bearer {state.key}":
                    said = f"Incorrect API key provided: {self.headers['Authorization']}"
                    return self.reply(401, {"error": {"message": said}})
                told = state.fault(body)
                if told is None:
                    self.close_connection = True
                    return None
                if callable(told):
                    self.close_connection = True
                    return told(self.wfile.write)
                if told is not RIGHT:
                    return self.reply(*told)
                return self.reply(200, state.spoil(state.answer(body)))

        def reply(self, status: int, value: Any, headers: Mapping[str, str] = {}) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            for name, text in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(data)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that went away is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
