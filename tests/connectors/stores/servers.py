"""Servers for tests: a real one of Milvus's protocol, and sockets that answer badly or not at all."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def milvus(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The process of a server that keeps its data in `folder`, once it takes connections; killed at the end."""
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
            yield process
        finally:
            process.kill()


@contextmanager
def answering(answer: bytes | None) -> Iterator[int]:
    """The port of a server that gives everybody this answer and hangs up; with None, one that never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    taken.append(listener.accept()[0])
                except OSError:
                    return
                if answer is not None:
                    threading.Thread(target=give, args=[taken[-1], answer], daemon=True).start()

        thread = threading.Thread(target=take)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)  # which wakes whoever accepts
        thread.join()
        for connection in taken:
            connection.close()


def give(connection: socket.socket, answer: bytes) -> None:
    try:
        connection.recv(65_536)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # whoever asked has gone


def http_answer(status: int, body: bytes, *headers: str) -> bytes:
    """An answer of HTTP/1.1, whole."""
    lines = [f"HTTP/1.1 {status} Because", "content-type: application/json", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
