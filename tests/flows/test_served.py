"""What a flow's corpus holds while it works."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext

import pytest

from flows.served import Served, _process, crash_lost_runs
from pipeline.config import load_settings
from pipeline.errors import Transient
from tests.connectors.stores.servers import answering, http_answer


@pytest.mark.usefixtures("workplace")
def test_engines_of_this_machine_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs into two collections take turns on the device; beside a server, which has its own, they need not."""
    monkeypatch.setattr("flows.served.slot", lambda name: nullcontext())

    def opened(collection: str, embedder: str) -> Served:
        return Served(load_settings(collection=collection, embedder=embedder))

    with opened("one", "vllm") as one, one._locked("ingest", None) as lock:
        lock.check()
        with opened("two", "vllm") as two, pytest.raises(Transient, match="engine"), two._locked("ingest", None):
            pass
        with opened("two", "openai") as two, two._locked("ingest", None) as other:
            other.check()
            assert not lock.wanted()


def test_a_server_that_refuses_is_told_without_the_password() -> None:
    """Prefect's client names the whole address in its errors, and PREFECT_API_URL may have a password in it."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        answering(http_answer(401, b"{}")) as port,
        temporary_settings({PREFECT_API_URL: f"http://me:secret@127.0.0.1:{port}/api"}),
        pytest.raises(Transient, match=rf"http://127\.0\.0\.1:{port}/api") as caught,
    ):
        crash_lost_runs()
    assert "secret" not in str(caught.value)


def test_a_process_that_nobody_has_buried_is_gone() -> None:
    """A run whose process was killed has crashed, also while that is still in the list of processes."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert _process(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still there
        assert not _process(process.pid)
