"""The Prefect server that a schedule needs: there, itself, and willing; nothing else needs one."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from flows.scheduler import check_prefect
from pipeline.doctor.diagnosis import Skipped, Unwell
from tests.connectors.stores.servers import answering, http_answer

VARIABLES = ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has set, these tests do not see it."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


class Server:
    """Says `true` at /api/health to everybody, as Prefect does; all else under /api wants `authorization`, if set."""

    def __init__(self) -> None:
        self.port = 0
        self.authorization: str | None = None


@pytest.fixture
def server() -> Iterator[Server]:
    """One that runs."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            """Nothing on stderr."""

        def do_GET(self) -> None:
            allowed = state.authorization in (None, self.headers["Authorization"]) or self.path == "/api/health"
            self.send_response(200 if allowed else 401)
            self.end_headers()
            self.wfile.write(b"true" if self.path == "/api/health" else b"<html>")

    http = HTTPServer(("127.0.0.1", 0), Handler)
    state.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def refusal() -> tuple[str, str]:
    """What is found, and what to do."""
    with pytest.raises(Unwell) as caught:
        check_prefect()
    return str(caught.value), caught.value.remedy


def basic(user: str) -> str:
    return f"Basic {base64.b64encode(user.encode()).decode()}"


def test_it_answers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the address of PREFECT_API_URL, with or without a slash."""
    for slash in ("", "/"):
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.port}/api{slash}")
        assert check_prefect() == f"http://127.0.0.1:{server.port}/api answers"


class TestSecrets:
    """Who we are is said as Prefect's own client says it, and never printed."""

    @pytest.mark.parametrize(
        ("user", "variables", "sent"),
        [
            ("me:p%40ss@", {}, basic("me:p@ss")),
            ("", {"PREFECT_API_AUTH_STRING": "admin:p@ss"}, basic("admin:p@ss")),
            ("", {"PREFECT_API_KEY": "pnu_p@ss"}, "Bearer pnu_p@ss"),
            ("me:p%40ss@", {"PREFECT_API_AUTH_STRING": "x:y", "PREFECT_API_KEY": "z"}, basic("me:p@ss")),
            ("", {"PREFECT_API_AUTH_STRING": "x:p@ss", "PREFECT_API_KEY": "z"}, basic("x:p@ss")),
        ],
    )
    def test_they_are_sent(
        self, user: str, variables: dict[str, str], sent: str, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A user in the URL, else PREFECT_API_AUTH_STRING, else PREFECT_API_KEY."""
        monkeypatch.setenv("PREFECT_API_URL", f"http://{user}127.0.0.1:{server.port}/api")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        server.authorization = sent
        assert check_prefect() == f"http://127.0.0.1:{server.port}/api answers"
        server.authorization = basic("somebody:else")
        found, remedy = refusal()
        assert "does not let us in (401)" in found
        assert "PREFECT_API_KEY" in remedy
        assert "ss@" not in found
        assert "p@ss" not in found + remedy

    @pytest.mark.parametrize(
        "url",
        [
            "http://me:secret@127.0.0.1:9/api", "http://me:secret/more@127.0.0.1:9/api", "me:secret@127.0.0.1:9/api",
            "http://me:secret@127.0.0.1:99999/api", "http://me:secret#more@127.0.0.1:9", "http://me:secret@/api",
        ],
    )  # fmt: skip
    def test_they_are_not_printed(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not even from a URL that cannot be read."""
        monkeypatch.setenv("PREFECT_API_URL", url)
        found, remedy = refusal()
        assert "secret" not in found + remedy
        assert "more" not in found + remedy

    def test_a_key_that_cannot_be_sent(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """A line's end in it, as copying brings: told without the key."""
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.port}/api")
        for key in ("pnu_secret\n", "pnu_secret\u2026"):
            monkeypatch.setenv("PREFECT_API_KEY", key)
            found, remedy = refusal()
            assert "PREFECT_API_KEY has a character" in found
            assert "secret" not in found + remedy


def test_it_is_something_else(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A web page is no Prefect server; the usual mistake is named."""
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.port}")
    found, remedy = refusal()
    assert "is no Prefect server" in found
    assert "/api" in remedy


@pytest.mark.parametrize(
    "answer", [b"", b"220 mail.example ESMTP\r\n", b"HTTP/1.1 abc\r\n\r\n", http_answer(500, b"no")]
)
def test_the_port_is_somebody_elses(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What listens there hangs up, or speaks another protocol: told with the address."""
    with answering(answer) as port:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
        found, _ = refusal()
    assert "no Prefect server" in found
    assert f"127.0.0.1:{port}/api" in found


def test_it_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are taken, and no answer comes."""
    monkeypatch.setattr("flows.scheduler._SECONDS", 0.3)
    with answering(None) as port:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
        assert "takes connections, and does not answer within 0.3 s" in refusal()[0]


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told with the port, and with what starts one."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    found, remedy = refusal()
    assert "127.0.0.1:9/api" in found
    assert "refused: nothing listens on port 9" in found
    assert "prefect server start" in remedy


@pytest.mark.parametrize("url", ["127.0.0.1:4200/api", "http://", "ftp://127.0.0.1/api", "http://127.0.0.1:0/api"])
def test_no_address(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What names no server over HTTP: told with the form."""
    monkeypatch.setenv("PREFECT_API_URL", url)
    assert refusal()[1] == "write http://HOST:PORT/api"


def test_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address there is nothing to look at."""
    monkeypatch.setattr("prefect.settings.PREFECT_API_URL.value", lambda: None)
    with pytest.raises(Skipped):
        check_prefect()
