"""The Prefect deployment: a real server, a real worker process, a run from another shell, and its page."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(url: str, body: dict[str, Any] | None = None) -> Any:
    """GET, or POST `body` as JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def wait_until(ready: Any, process: subprocess.Popen[bytes], what: str) -> Any:
    """Poll until `ready()` is true; the bound is there to end a broken run, not to measure one."""
    for _ in range(600):
        assert process.poll() is None, f"{what} ended: {process.returncode}"
        try:
            if found := ready():
                return found
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.2)
    raise AssertionError(f"{what} is not ready")


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str], Path]]:
    """A Prefect server and our deployments served beside it: (API URL, environment, working folder)."""
    home = tmp_path_factory.mktemp("prefect")
    work = tmp_path_factory.mktemp("work")
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    environment = {
        **os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": api, "PYTHONPATH": str(ROOT),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1",
    }  # fmt: skip
    logs = home / "log"
    processes: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> subprocess.Popen[bytes]:
        with logs.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=work, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        processes.append(process)
        return process

    try:
        server = start(str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port))
        wait_until(lambda: call(f"{api}/health"), server, "the server")
        worker = start(str(BIN / "corpusvec"), "deploy")
        wait_until(lambda: call(f"{api}/deployments/filter", {}), worker, "the deployment")
        yield api, environment, work
    finally:
        for process in reversed(processes):
            os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def run_deployment(prefect: tuple[str, dict[str, str], Path], *parameters: str) -> subprocess.CompletedProcess[str]:
    """`prefect deployment run ingest/local …  --watch`, from another process."""
    flags = [flag for parameter in parameters for flag in ("-p", parameter)]
    return subprocess.run(
        [str(BIN / "prefect"), "deployment", "run", "ingest/local", *flags, "--watch"],
        cwd=prefect[2], env=prefect[1], capture_output=True, text=True,
    )  # fmt: skip


def artifacts(api: str) -> dict[str, Any]:
    """The newest artifact of each key."""
    return {row["key"]: row for row in call(f"{api}/artifacts/latest/filter", {})}


def test_a_deployment_run_does_the_job_and_shows_it(prefect: tuple[str, dict[str, str], Path]) -> None:
    """Run from another shell, it ingests; its page has full progress, the counts, and the rejected with reasons."""
    api, environment, work = prefect
    docs = work / "docs"
    docs.mkdir()
    (docs / "pump.md").write_text("# Pumps\n\nPrime the pump before the first start of the season.\n")
    (docs / "nothing.txt").touch()
    done = run_deployment(prefect, f"sources={json.dumps([str(docs)])}", "collection=nightly")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = artifacts(api)
    assert shown["ingest-progress"]["data"] == 100
    table = {row["what"]: row["count"] for row in json.loads(shown["ingest-summary"]["data"])}
    seen, new, rejected = (table[f"documents {name}"] for name in ("seen", "new", "rejected"))
    assert (seen, new, rejected, table["points written"]) == (2, 1, 1, 1)
    (rejected,) = json.loads(shown["ingest-rejected"]["data"])
    assert rejected["uri"].endswith("nothing.txt")
    assert rejected["reason"]
    runs = call(f"{api}/task_runs/filter", {})
    assert [run["name"] for run in runs] == ["unit 0"]
    search = subprocess.run(
        [str(BIN / "corpusvec"), "search", "pump", "--mode", "bm25", "--collection", "nightly", "--json"],
        cwd=work, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(search.stdout)[0]["title"] == "Pumps"


def test_a_wrong_source_fails_the_run_in_words(prefect: tuple[str, dict[str, str], Path]) -> None:
    """The run ends as failed, and its page says why in the same sentence as the command line."""
    done = run_deployment(prefect, 'sources=["/no/such/folder"]')
    assert done.returncode != 0
    newest = call(f"{prefect[0]}/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})[0]
    assert newest["state"]["type"] == "FAILED"
    assert "/no/such/folder" in newest["state"]["message"]


def test_a_wrong_parameter_is_refused_before_anything_runs(prefect: tuple[str, dict[str, str], Path]) -> None:
    """Parameters are validated: with one that is of another kind, no run starts, and the answer names it."""
    before = len(call(f"{prefect[0]}/flow_runs/filter", {}))
    done = run_deployment(prefect, "sources=5")
    assert done.returncode != 0
    assert "sources" in done.stdout + done.stderr
    assert len(call(f"{prefect[0]}/flow_runs/filter", {})) == before


def test_a_run_without_sources_says_where_to_name_them(prefect: tuple[str, dict[str, str], Path]) -> None:
    """Neither parameter nor configuration names a source: the run fails with the sentence of the command line."""
    assert run_deployment(prefect, "collection=x").returncode != 0
    newest = call(f"{prefect[0]}/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})[0]
    assert "name at least one source" in newest["state"]["message"]
