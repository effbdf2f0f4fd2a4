"""Who listens where an address points is told by its port: nobody, no answer, no such host."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from pipeline.doctor.diagnosis import Unwell
from pipeline.doctor.ports import reach, shown
from tests.connectors.stores.servers import free_port


@pytest.fixture
def full() -> Iterator[int]:
    """A port whose queue is full, so that whoever comes is not answered, as behind a firewall that drops."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for one in waiting:
            one.close()


def test_somebody_listens() -> None:
    """Where there is a listener its address is what comes back, with the usual port if the URL names none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert reach("the store", f"http://127.0.0.1:{port}/x", 1, "") == f"127.0.0.1:{port}"
        assert reach("the store", "tcp://127.0.0.1", port, "") == f"127.0.0.1:{port}"


def test_nobody_listens() -> None:
    """A refused connection means that the port is closed, and is told with it, the setting and what to do."""
    port = free_port()
    with pytest.raises(Unwell, match=rf"the store is http.*127\.0\.0\.1:{port} is refused: .* port {port}") as caught:
        reach("the store", f"http://127.0.0.1:{port}", 80, "start it")
    assert caught.value.remedy == "start it"


def test_nobody_answers(full: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is something else than a refusal: a host that is down, or a firewall."""
    monkeypatch.setattr("pipeline.doctor.ports._SECONDS", 0.3)
    with pytest.raises(Unwell, match=rf"127\.0\.0\.1:{full} does not answer within 0\.3 s.*firewall"):
        reach("the store", f"http://127.0.0.1:{full}", 80, "")


def test_no_such_host() -> None:
    """A name that nobody has (RFC 6761 keeps `.invalid` free)."""
    with pytest.raises(Unwell, match=r"no host store\.invalid is known here"):
        reach("the store", "http://store.invalid:6333", 80, "")


@pytest.mark.parametrize(
    "url", ["http://u:secret@:80", "http://u:secret@[::1", "http://u:secret@h:99999", "http://h:0"]
)
def test_no_address(url: str) -> None:
    """What has no host or no possible port is told, and no password with it."""
    with pytest.raises(Unwell, match="is no address") as caught:
        reach("the store", url, 80, "")
    assert "secret" not in str(caught.value)


def test_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients ask the proxy, so that nobody need listen where we could look; what is named in no_proxy is looked at."""
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert reach("the store", url, 80, "")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(Unwell, match="refused"):
        reach("the store", url, 80, "")


def test_what_may_be_printed() -> None:
    """User and password are left out; an @ in a path is not a user's."""
    assert shown("http://user:pass@word@host:1/api") == "http://host:1/api"
    assert shown("s3://bucket/a@b") == "s3://bucket/a@b"
    assert shown("edge:data/index") == "edge:data/index"
