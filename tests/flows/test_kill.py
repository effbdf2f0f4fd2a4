"""Whatever ends a run from outside, it is told in a sentence, and the same command goes on: Ctrl-C, a full disk, a
server or an engine that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.bench import make_documents
from flows.cli import main
from pipeline.embed.vllm import VllmEmbedder
from pipeline.errors import Transient
from tests.connectors.stores.servers import free_port, milvus
from tests.crash import ForkServer
from tests.faults import Effects, open_corpus, points_of, spent_in
from tests.scenario import Scenario, text_of, two_nights

ROOT = Path(__file__).resolve().parents[2]

GO_ON = "run the same command again, and it goes on where this one ended"


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    """Where the processes come from."""
    with ForkServer() as server:
        yield server


@pytest.fixture(scope="module")
def scenario(server: ForkServer) -> Iterator[Scenario]:
    """What the runs are about."""
    with two_nights(server) as scenario:
        (scenario.first_night / "corpusvec.toml").write_text(
            "recipe.chunk_tokens = 48\nlimits = {unit_documents = 2, max_delete_fraction = 0.5}\n"
            'metadata = [{match = "lamp.md", set = {team = "pier"}}]\n'
        )
        yield scenario


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop(number: signal.Signals, server: ForkServer, scenario: Scenario) -> None:
    """At whichever step: exit code 130, a sentence that says how to go on, no traceback; the same command goes on."""
    steps = range(number, len(scenario.effects), 11)  # other ones for each signal
    for step in [scenario.effects.index("embed"), *steps]:
        folder = scenario.copy()
        arguments = ["ingest", str(scenario.docs)]
        code, said = server.run("command", folder=folder, arguments=arguments, at=step, number=number).value
        before, after = server.run("go_on", folder=folder, words=scenario.words, **scenario.second_night).value
        try:
            assert (code, said.strip().splitlines()[-1]) == (130, f"corpusvec: stopped; {GO_ON}")
            assert "Traceback" not in said
            scenario.check(before, after, spent_in(folder / "spent"), max(scenario.spent))
        except AssertionError as error:
            error.add_note(f"signalled before effect {step}, {scenario.effects[step]}")
            raise


class TestFullDisk:
    """Real causes: a file that may not grow, a disk with nothing left."""

    @pytest.fixture(scope="class")
    def fresh(self, server: ForkServer, scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Any:
        """The points of an ingest that nothing disturbs."""
        folder = tmp_path_factory.mktemp("fresh")
        _, after = server.run("go_on", folder=folder, **scenario.second_night).value
        return after["points"]

    @pytest.mark.parametrize("largest", [0, 5_000, 30_000, 1 << 20, 20 << 20])
    def test_a_file_that_may_not_grow(
        self, largest: int, server: ForkServer, scenario: Scenario, fresh: Any, tmp_path: Path
    ) -> None:
        """A limit on the size of files is told as such, and what fits below it is kept for the next run."""
        flags = {**scenario.second_night, "folder": tmp_path}
        said = server.run("stumble", largest=largest, **flags).value
        assert said.startswith("Terminal: ")
        assert "File too large" in said
        _, after = server.run("go_on", **flags).value
        assert after["points"] == fresh

    def test_a_disk_with_nothing_left(self, scenario: Scenario, fresh: Any, tmp_path: Path) -> None:
        """However little is left: a sentence that names the disk's place and says to free it; then the run is done."""
        flags = {**scenario.second_night, "folder": tmp_path}
        with ForkServer(with_disk(tmp_path, "size=400m")) as server:
            for left in (0, 30 << 10, 200 << 10, 3 << 20, 60 << 20):
                server.run("fill", folder=tmp_path, leave=left)
                said = server.run("stumble", **flags).value
                assert said.startswith("Terminal: ")
                assert "disk" in said
            server.run("fill", folder=tmp_path, leave=300 << 20)
            _, after = server.run("go_on", **flags).value
        assert after["points"] == fresh

    def test_a_disk_that_is_read_only(self, scenario: Scenario, tmp_path: Path) -> None:
        """A read-only place for the data or for the store is told as such."""
        (tmp_path / "disk").mkdir()
        with ForkServer(with_disk(tmp_path / "disk", "ro")) as server:
            for place in ({"data": "disk/data"}, {"store": "edge:disk/index"}):
                said = server.run("stumble", folder=tmp_path, **scenario.second_night, **place).value
                assert said.startswith("Terminal: ")
                assert "Read-only file system" in said

    @pytest.mark.parametrize("place", ["file/data", "/proc/data"])
    def test_a_place_that_cannot_be(
        self, place: str, workplace: Path, one_engine: VllmEmbedder, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A data root or a store that cannot be there: exit code 1 and a sentence that names it."""
        (workplace / "doc.md").write_text(text_of("pump"))
        (workplace / "file").touch()
        for options in (["--data", place], ["--store", f"edge:{place}"]):
            assert main(["ingest", "doc.md", *options]) == 1
            said = capfd.readouterr().err.rpartition("\r")[2].strip()
            assert said.startswith("corpusvec: ")
            assert place in said
            assert "\n" not in said


def with_disk(folder: Path, options: str) -> list[str]:
    """A command that runs another one, to which `folder` is a disk of its own; skips the test if that is forbidden."""
    mount = f'mount -t tmpfs -o {options} none {folder} && exec "$@"'
    within = ["unshare", "-Urm", "sh", "-c", mount, "sh"]
    if subprocess.run([*within, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a disk of their own")
    return within


class TestServerKilled:
    """The store's process is killed with -9 in the middle of a run."""

    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch, workplace: Path) -> None:
        """Nobody waits for long, and there are documents."""
        monkeypatch.setattr("pipeline.schedule.RETRY_PAUSES", (0.0, 0.0, 0.0))
        monkeypatch.setattr("connectors.stores.milvus._SECONDS", 3.0)
        (workplace / "docs").mkdir()
        for topic in ("pump", "valve", "lamp"):
            (workplace / "docs" / f"{topic}.md").write_text(text_of(topic))

    def edit(self) -> None:
        """The second night's change: a chunk of each document is another, and one document is gone."""
        for path in Path("docs").iterdir():
            path.write_text(path.read_text().replace("number 2 is", "number 2 will be"))
        Path("docs/lamp.md").unlink()

    def points(self, url: str, collection: str, effects: Effects | None = None) -> Mapping[str, Any]:
        """What the collection holds after an ingest."""
        flags: dict[str, Any] = {"recipe": {"chunk_tokens": 48}, "limits": {"max_delete_fraction": 0.5}}
        with open_corpus(effects, store=url, collection=collection, **flags) as corpus:
            corpus.ingest("docs")
            return points_of(corpus)

    @pytest.mark.parametrize("verb", ["upsert", "delete"])
    def test_and_started_again_later(self, verb: str, workplace: Path) -> None:
        """The run ends in a sentence that says what to start; the same command then finishes."""
        port = free_port()
        url = f"milvus:http://127.0.0.1:{port}"
        with milvus(workplace / "milvus", port) as server:
            self.points(url, "nightly")
            self.edit()
            effects = Killing(verb, server.kill)
            with pytest.raises(Transient, match="Milvus"):
                self.points(url, "nightly", effects)
        with milvus(workplace / "milvus", port):
            assert self.points(url, "nightly") == self.points(url, "fresh")


@pytest.mark.parametrize("at", [("upsert", 1), ("ids_of", 3), ("delete", 0), ("flush", 1), ("flush", 2)])
def test_the_process_of_an_embedded_store_killed(
    at: tuple[str, int], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on with another, its points are those of a run that nothing disturbed, and no process is left."""
    monkeypatch.setattr("pipeline.schedule.RETRY_PAUSES", (0.0, 0.0, 0.0))
    (workplace / "docs").mkdir()
    limits = {"unit_documents": 1, "unit_tokens": 1, "parse_workers": 0, "store_process": True}
    flags: dict[str, Any] = {"recipe": {"chunk_tokens": 48}, "limits": limits}

    def night(collection: str, effects: Effects | None = None) -> Mapping[str, Any]:
        with open_corpus(effects, store="edge:index", collection=collection, **flags) as corpus:
            corpus.ingest("docs")
            assert corpus.audit("docs").as_dict()["findings"] == []
            return points_of(corpus)

    def kill(_: str) -> None:
        for child in psutil.Process().children():
            if "corpusvec: store" in child.cmdline():
                killed.append(child.pid)
                child.kill()

    killed: list[int] = []
    for word in ("is", "will be"):
        for topic in ("pump", "valve", "lamp"):
            (workplace / "docs" / f"{topic}.md").write_text(text_of(topic).replace("number 2 is", f"number 2 {word}"))
        effects = Effects(at, kill)
        night("nightly", effects)
    assert killed
    assert night("nightly") == night("fresh")
    assert not [child for child in psutil.Process().children() if "corpusvec:" in " ".join(child.cmdline())]


class Killing(Effects):
    """Calls `kill` before the first effect of a name."""

    def __init__(self, name: str, kill: Callable[[], None]) -> None:
        super().__init__()
        self._name, self._kill = name, kill

    def about_to(self, name: str) -> None:
        """Number one."""
        if name == self._name and name not in self.seen:
            self._kill()
        super().about_to(name)


def test_a_real_engine_killed_and_a_real_run_interrupted(
    workplace: Path, one_engine: VllmEmbedder, capfd: pytest.CaptureFixture[str]
) -> None:
    """A killed engine is replaced and the run goes on; Ctrl-C ends it with 130; the next run does the rest."""
    make_documents(workplace / "docs", 300, words=(40, 80))
    environment = {"PYTHONPATH": str(ROOT), "CORPUSVEC_LIMITS__UNIT_DOCUMENTS": "10"}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "ingest", "docs"],
            env={**os.environ, **environment}, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def wait_for_vectors(process: subprocess.Popen[str], count: int) -> None:
        end = time.monotonic() + 300
        while len(list(workplace.glob("data/vectors/*/*.parquet"))) < count:
            assert process.poll() is None and time.monotonic() < end, process.communicate()
            time.sleep(0.05)

    with start() as process:
        wait_for_vectors(process, 2)
        children = psutil.Process(process.pid).children(recursive=True)
        engines = [child for child in children if "pipeline.embed.worker" in child.cmdline()]
        assert engines, [child.cmdline() for child in children]
        for engine in engines:
            engine.kill()
        wait_for_vectors(process, 2 + len(list(workplace.glob("data/vectors/*/*.parquet"))))
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert said.strip().splitlines()[-1] == f"corpusvec: stopped; {GO_ON}"
        assert "Traceback" not in said
        assert not psutil.wait_procs(children, timeout=30)[1], "a process of the run is still there"
    capfd.readouterr()
    assert main(["ingest", "docs", "--json"]) == 0
    counts = json.loads(capfd.readouterr().out)
    assert counts["documents"]["new"] + counts["documents"]["unchanged"] == 300
    assert counts["documents"]["unchanged"] >= 20
