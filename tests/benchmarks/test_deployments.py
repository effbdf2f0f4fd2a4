"""The deployments on a real server with a real worker: late nights, pauses, cancellations, retries, kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.corpus import Corpus
from flows.deploy import deploy
from pipeline.embed.vllm import VllmEmbedder
from pipeline.errors import UsageError
from pipeline.lock import ROOT as WHOLE_ROOT
from pipeline.lock import held
from tests.flows.test_flow import BIN, ROOT, call, free_port

#: As good as for ever, in seconds: what takes longer has failed.
LONG = 180.0
TEXTS = {
    f"{number}.txt": f"Pump number {number} is primed before the first start of the season." for number in range(6)
}


def until(ready: Callable[[], Any]) -> Any:
    """Wait for something that is going to happen; a server that is away has not answered yet."""
    given_up = time.monotonic() + LONG
    while time.monotonic() < given_up:
        try:
            if found := ready():
                return found
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.2)
    raise AssertionError("it did not happen")


class Prefect:
    """A server, a worker that serves our deployments, and what a person does on Prefect's pages."""

    def __init__(self, home: Path, work: Path) -> None:
        port = free_port()
        self.api = f"http://127.0.0.1:{port}/api"
        self.work = work
        self.environment = {
            **os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": self.api,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        }  # fmt: skip
        self._log = home / "log"
        self._serve = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        self.server: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None

    def start_server(self) -> None:
        self.server = self._start(self._serve)
        until(lambda: call(f"{self.api}/health"))

    def start_worker(self) -> None:
        self.worker = self._start([str(BIN / "corpusvec"), "deploy"])
        until(lambda: len(call(f"{self.api}/deployments/filter", {})) == 3)

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.work, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self, process: subprocess.Popen[bytes] | None, how: signal.Signals) -> None:
        """End a process and all that it has started."""
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, how)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment, by its name."""
        found: list[dict[str, Any]] = call(f"{self.api}/deployments/filter", {})
        return next(row for row in found if row["name"] == name)

    def start_run(self, deployment: str, **parameters: Any) -> str:
        """Run a deployment now; returns the flow run's id."""
        url = f"{self.api}/deployments/{self.deployment(deployment)['id']}/create_flow_run"
        return str(call(url, {"parameters": parameters, "state": {"type": "SCHEDULED"}})["id"])

    def state(self, run: str) -> dict[str, Any]:
        """The state of a flow run."""
        found: dict[str, Any] = call(f"{self.api}/flow_runs/{run}")["state"]
        return found

    def wait_for(self, run: str, *states: str) -> dict[str, Any]:
        """Wait until a flow run is in one of these states."""
        return dict(until(lambda: self.state(run) if self.state(run)["name"] in states else None))

    def set_state(self, run: str, kind: str, name: str, **details: Any) -> None:
        """What a button on a run's page does."""
        state = {"type": kind, "name": name, "state_details": details}
        call(f"{self.api}/flow_runs/{run}/set_state", {"state": state, "force": kind == "PAUSED"})

    def pause(self, run: str) -> None:
        expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        self.set_state(run, "PAUSED", "Suspended", pause_timeout=expires, pause_reschedule=True)

    def retry(self, run: str) -> None:
        self.set_state(run, "SCHEDULED", "AwaitingRetry", scheduled_time=datetime.now(UTC).isoformat())

    def documents(self, collection: str) -> set[str]:
        """The names of the documents in a collection."""
        search = ["search", "pump", "-k", "99", "--mode", "bm25", "--collection", collection, "--json"]
        found = subprocess.run(
            [str(BIN / "corpusvec"), *search],
            cwd=self.work, env=self.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return {hit["uri"].rsplit("/", 1)[-1] for hit in json.loads(found.stdout)}


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory, minilm_engine: VllmEmbedder) -> Iterator[Prefect]:
    """Everything started, in a folder whose Parquet has the vectors of TEXTS: no run of these tests needs an engine."""
    work = tmp_path_factory.mktemp("work")
    docs = work / "docs"
    docs.mkdir()
    for name, text in TEXTS.items():
        (docs / name).write_text(text)
    (work / "corpusvec.toml").write_text(
        f'sources = ["{docs}"]\n[limits]\nunit_documents = 1\nunits_in_flight = 1\n'
        '[nightly]\ncron = "0 2 * * *"\ntimezone = "Europe/Rome"\n'
    )
    seed = Corpus(embedder=minilm_engine, data=str(work / "data"), store=f"edge:{work}/data/index", collection="seed")
    with seed:
        seed.ingest(str(docs))
    found = Prefect(tmp_path_factory.mktemp("prefect"), work)
    try:
        found.start_server()
        found.start_worker()
        yield found
    finally:
        found.stop(found.worker, signal.SIGTERM)
        found.stop(found.server, signal.SIGTERM)


class Gate:
    """A web server of TEXTS that hands them out one by one, as the test says."""

    def __init__(self) -> None:
        self._permits = threading.Semaphore(0)
        self.asked = 0
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(with_body=False)

            def do_GET(self) -> None:
                self.answer(with_body=True)

            def answer(self, with_body: bool) -> None:
                body = TEXTS[self.path.strip("/")].encode()
                if with_body:
                    gate.asked += 1
                    gate._permits.acquire()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("ETag", f'"{hash(body)}"')
                self.send_header("Last-Modified", "Mon, 02 Feb 2026 10:00:00 GMT")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.sources = [f"http://127.0.0.1:{self._server.server_address[1]}/{name}" for name in TEXTS]

    def open(self, count: int = 99) -> None:
        """Hand out `count` documents more."""
        self._permits.release(count)

    def __enter__(self) -> Gate:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A source that waits for the test."""
    with Gate() as found:
        yield found


@contextmanager
def nobody_at_work(prefect: Prefect) -> Iterator[None]:
    """Wait until no run holds anything under the root."""
    with held(str(prefect.work / "data"), {WHOLE_ROOT: "exclusive"}, "a look", wait=LONG):
        yield


def test_nights_that_fell_due_meanwhile_are_caught_up_with_by_one_run(prefect: Prefect) -> None:
    """After five nights without a worker one run does the work, of the configured sources; four end as superseded."""
    prefect.stop(prefect.worker, signal.SIGTERM)
    nightly = prefect.deployment("nightly")
    assert not nightly["paused"]
    (schedule,) = nightly["schedules"]
    assert schedule["active"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 2 * * *", "Europe/Rome")
    now = datetime.now(UTC)
    past = {
        "start_time": (now - timedelta(days=5)).isoformat(),
        "end_time": now.isoformat(),
        "min_runs": 5,
        "max_runs": 5,
    }
    call(f"{prefect.api}/deployments/{nightly['id']}/schedule", past)

    def due() -> list[dict[str, Any]]:
        before = {"expected_start_time": {"before_": now.isoformat()}}
        only = {"id": {"any_": [nightly["id"]]}}
        found: list[dict[str, Any]] = call(
            f"{prefect.api}/flow_runs/filter", {"flow_runs": before, "deployments": only}
        )
        return found

    assert len(due()) == 5
    prefect.start_worker()
    until(lambda: all(run["state"]["type"] == "COMPLETED" for run in due()))
    newest, *older = sorted(due(), key=lambda run: run["expected_start_time"], reverse=True)
    assert newest["state"]["name"] == "Completed"
    assert [run["state"]["name"] for run in older] == ["Superseded"] * 4
    assert {run["state"]["message"].split(",")[0] for run in older} == {f"superseded: {newest['name']}"}
    assert prefect.documents("documents") == set(TEXTS)


def test_a_paused_backfill_lets_go_and_goes_on_when_resumed(prefect: Prefect, gate: Gate) -> None:
    """Paused on its page, it frees the collection; resumed, it does what is left, and nothing twice."""
    run = prefect.start_run("range", sources=gate.sources, collection="paused")
    gate.open(2)
    until(lambda: gate.asked == 3)
    prefect.pause(run)
    gate.open(1)
    with nobody_at_work(prefect):
        assert prefect.state(run)["name"] == "Suspended"
        asked = gate.asked
        assert asked < len(TEXTS)
    gate.open()
    call(f"{prefect.api}/flow_runs/{run}/resume", {})
    prefect.wait_for(run, "Completed")
    assert prefect.documents("paused") == set(TEXTS)
    assert gate.asked <= len(TEXTS) + 1


def test_a_cancelled_backfill_ends_cleanly_and_does_the_rest_when_retried(prefect: Prefect, gate: Gate) -> None:
    """Cancelled on its page, it ends and frees the collection; retried, the same run does what is left."""
    run = prefect.start_run("range", sources=gate.sources, collection="cancelled")
    gate.open(2)
    until(lambda: gate.asked == 3)
    prefect.set_state(run, "CANCELLING", "Cancelling")
    gate.open()
    prefect.wait_for(run, "Cancelled")
    with nobody_at_work(prefect):
        pass
    prefect.retry(run)
    prefect.wait_for(run, "Completed")
    assert prefect.documents("cancelled") == set(TEXTS)


def test_the_nightly_run_goes_before_a_backfill_that_has_begun(prefect: Prefect, gate: Gate) -> None:
    """A backfill lets the nightly run have the collection after its slice, and then does the rest."""
    backfill = prefect.start_run("range", sources=gate.sources, collection="shared")
    until(lambda: gate.asked == 1)
    nightly = prefect.start_run("nightly", collection="shared")
    until(lambda: list((prefect.work / "data" / "locks").glob("shared@*.waiting.*")))
    gate.open(1)
    prefect.wait_for(nightly, "Completed")
    assert prefect.state(backfill)["name"] == "Running"
    assert gate.asked < len(TEXTS)
    gate.open()
    prefect.wait_for(backfill, "Completed")


def test_a_killed_server_loses_no_work(prefect: Prefect, gate: Gate) -> None:
    """kill -9 of the server in the middle of a run: the run goes on without it, and is completed when it is back.

    What the server lost count of, the slot of a run that was killed with it, is taken by the next that wants it.
    """
    run = prefect.start_run("range", sources=gate.sources, collection="serverless")
    until(lambda: gate.asked == 1)
    with holder(prefect, "corpusvec lost"):
        prefect.stop(prefect.server, signal.SIGKILL)
    gate.open()
    prefect.start_server()
    prefect.wait_for(run, "Completed")
    assert prefect.documents("serverless") == set(TEXTS)
    limits = {row["name"]: row["active_slots"] for row in call(f"{prefect.api}/v2/concurrency_limits/filter", {})}
    assert limits["corpusvec lost"] == 1
    with holder(prefect, "corpusvec lost"):
        pass


def test_a_killed_worker_leaves_a_run_that_can_be_retried(prefect: Prefect, gate: Gate) -> None:
    """kill -9 of worker and run: the next worker marks the run as crashed, in words, and a retry does the rest."""
    run = prefect.start_run("range", sources=gate.sources, collection="killed")
    gate.open(2)
    until(lambda: gate.asked == 3)
    process = int(call(f"{prefect.api}/flow_runs/{run}")["labels"]["corpusvec.process"].split(":")[1])
    prefect.stop(prefect.worker, signal.SIGKILL)
    os.kill(process, signal.SIGKILL)
    prefect.start_worker()
    assert prefect.wait_for(run, "Crashed")["message"].startswith("its process is gone: ")
    gate.open()
    prefect.retry(run)
    prefect.wait_for(run, "Completed")
    assert prefect.documents("killed") == set(TEXTS)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"since": "yesterday"}, "since: Value error, write a day as year, month and day, such as 2026-01-31; this is"),
    ({"since": "2026-02-01", "until": "2026-01-01"}, "the range is empty: it begins 2026-02-01 and ends 2026-01-01"),
    ({"sources": ["/no/such/folder"]}, "/no/such/folder"),
]


def test_a_wrong_parameter_fails_at_once_and_in_words(prefect: Prefect) -> None:
    """A run with a parameter that cannot be meant fails without a retry, and its page says what is wrong with it."""
    runs = [prefect.start_run("range", **parameters) for parameters, _ in WRONG]
    for run, (_, words) in zip(runs, WRONG, strict=True):
        state = prefect.wait_for(run, "Failed", "AwaitingRetry")
        assert state["name"] == "Failed"
        assert words in state["message"]


def test_a_parameter_of_the_wrong_kind_is_refused_before_there_is_a_run(prefect: Prefect) -> None:
    """The server itself refuses what is no list or no switch, and names it."""
    for parameters, words in (({"sources": "docs"}, "'sources'"), ({"force": "maybe"}, "'force'")):
        with pytest.raises(urllib.error.HTTPError) as refused:
            prefect.start_run("range", **parameters)
        assert words in refused.value.read().decode()


@pytest.mark.parametrize(
    ("setting", "words"),
    [('cron = "at two"', 'Invalid cron string: "at two"'), ('timezone = "Europe/Nowhere"', "Invalid timezone")],
)
def test_a_schedule_that_is_none_is_refused_in_words(workplace: Path, setting: str, words: str) -> None:
    """`corpusvec deploy` says what is wrong with the schedule, before it asks any server."""
    (workplace / "corpusvec.toml").write_text(f"[nightly]\n{setting}\n")
    with pytest.raises(UsageError, match=f"^the setting nightly is wrong: {words}"):
        deploy()


SLOT = """
import os, sys
from prefect import flow
import flows.served as served

served.PATIENCE = 1.0

@flow(name="slot")
def hold():
    served._label({"corpusvec.process": served._process(os.getpid())})
    with served.slot(sys.argv[1]):
        print("in", flush=True)
        sys.stdin.read()

hold()
"""


@contextmanager
def wanting(prefect: Prefect, limit: str) -> Iterator[subprocess.Popen[str]]:
    """A flow run in a process of its own that wants a limit's slot."""
    command = [sys.executable, "-c", SLOT, limit]
    with subprocess.Popen(command, cwd=ROOT, env=prefect.environment, stdin=-1, stdout=-1, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def holder(prefect: Prefect, limit: str) -> Iterator[subprocess.Popen[str]]:
    """The same, once it has it."""
    with wanting(prefect, limit) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "in\n"
        yield running


def test_machines_of_one_server_take_turns(prefect: Prefect) -> None:
    """Of two runs that know of each other through the server alone, the second waits until the first has ended."""
    with holder(prefect, "corpusvec shop") as first, wanting(prefect, "corpusvec shop") as second:
        assert first.stdin is not None
        assert second.stdout is not None
        entered = threading.Event()
        threading.Thread(target=lambda: second.stdout.readline() and entered.set(), daemon=True).start()
        # Long enough for it to have asked more than once who has the slot.
        until(lambda: len(call(f"{prefect.api}/flow_runs/filter", {"flows": {"name": {"any_": ["slot"]}}})) >= 2)
        assert not entered.wait(5)
        first.stdin.close()
        assert first.wait() == 0
        assert entered.wait(LONG)
