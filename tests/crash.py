"""Processes to be killed: a server that has everything imported forks one a task, so that a trial takes a blink.

with ForkServer() as server:
    outcome = server.run("ingest", folder=…, …)        # a function of this module, in a process of its own
    outcome = server.run("ingest", kill_after=0.05, …)
    outcome.killed, outcome.value
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from tests.faults import At

ROOT = Path(__file__).resolve().parents[1]

# Longer than any task takes, on any machine: what is not done by then hangs.
_HUNG_SECONDS = 120.0


def memory_folder() -> str | None:
    """Where files are in memory, if there is room: kills need no disk, and an index syncs often."""
    memory = "/dev/shm"
    return memory if os.path.isdir(memory) and shutil.disk_usage(memory).free > 2 << 30 else None  # noqa: PTH112


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended: killed, or with what its function returned."""

    killed: bool
    value: Any


class ForkServer:
    """The server, as seen from a test. Raises AssertionError with the traceback of a task that fails.

    `within` is a command that runs another one: what the server and its tasks see of the world is up to it.
    """

    def __init__(self, within: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [*within, sys.executable, "-m", "tests.crash"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        )  # fmt: skip

    def run(self, task: str, kill_after: float | None = None, **arguments: Any) -> Outcome:
        """Run a task in a process of its own, which is killed after so many seconds if it is still there."""
        assert self._process.stdin is not None and self._process.stdout is not None
        pickle.dump((task, kill_after, arguments), self._process.stdin)
        self._process.stdin.flush()
        status, value, error = pickle.load(self._process.stdout)
        assert error is None, error
        killed = os.WIFSIGNALED(status)
        assert not killed or os.WTERMSIG(status) == signal.SIGKILL, f"{task} ended by signal {os.WTERMSIG(status)}"
        return Outcome(killed, value)

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Fork a process for every request, one after the other, until there are no more."""
    while True:
        try:
            task, kill_after, arguments = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(_fork(task, kill_after, arguments), answers)
        answers.flush()


def _fork(task: str, kill_after: float | None, arguments: Mapping[str, Any]) -> tuple[int, Any, str | None]:
    """How the process ended, what the task returned, and the traceback if it raised something."""
    readable, writable = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(readable)
        try:
            result = globals()[task](**arguments), None
        except BaseException:
            result = None, traceback.format_exc()
        with os.fdopen(writable, "wb") as stream:
            pickle.dump(result, stream)
        os._exit(0)
    os.close(writable)
    data = b""
    end = time.monotonic() + (_HUNG_SECONDS if kill_after is None else kill_after)
    with os.fdopen(readable, "rb", buffering=0) as stream:
        while True:
            if not select.select([stream], [], [], max(0.0, end - time.monotonic()))[0]:
                os.kill(process, signal.SIGKILL)
                if kill_after is None:
                    os.waitpid(process, 0)
                    return 0, None, f"{task} hangs"
                break
            if not (piece := stream.read(1 << 20)):
                break
            data += piece
    _, status = os.waitpid(process, 0)
    value, error = (None, None) if os.WIFSIGNALED(status) else pickle.loads(data)
    return status, value, error


# -- tasks: each runs in a process of its own --------------------------------------------------------------------------


def ingest(folder: Path, sources: Sequence[str], at: At | None = None, **flags: Any) -> list[str]:
    """Ingest in `folder`, where the settings' relative paths begin; the process kills itself before effect `at`.

    Gives the names of the effects below `data`. What the engine got is in the file `spent`.
    """
    from tests import faults

    os.chdir(folder)
    effects = faults.Effects(at, lambda _: os.kill(os.getpid(), signal.SIGKILL))
    with effects.below(folder / "data"), faults.open_corpus(effects, Path("spent"), **flags) as corpus:
        corpus.ingest(*sources)
    return effects.seen


def go_on(folder: Path, sources: Sequence[str], words: Sequence[str] = (), **flags: Any) -> tuple[Any, Any]:
    """What is searchable before an ingest that nothing disturbs, and all there is after it."""
    from tests import faults

    os.chdir(folder)
    with faults.open_corpus(None, Path("spent"), **flags) as corpus:
        before = faults.searchable_in(corpus, words)
        corpus.ingest(*sources)
        return before, faults.everything_in(corpus, words)


def look(folder: Path, words: Sequence[str] = (), **flags: Any) -> dict[str, Any]:
    """All there is, in store and Parquet."""
    from tests import faults

    os.chdir(folder)
    with faults.open_corpus(**flags) as corpus:
        return faults.everything_in(corpus, words)


def stumble(
    folder: Path,
    sources: Sequence[str],
    at: At | None = None,
    error: Exception | None = None,
    largest: int | None = None,
    **flags: Any,
) -> str | None:
    """Ingest with `error` raised at effect `at`, or no file allowed above `largest` bytes.

    Gives what the run said of it, None if it could do without.
    """
    from pipeline import schedule
    from tests import faults

    def fault(name: str) -> None:
        assert error is not None
        raise error

    os.chdir(folder)
    schedule.RETRY_PAUSES = (0.0, 0.0, 0.0)
    schedule.log.disabled = True
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    effects = faults.Effects(at, fault)
    with effects.below(folder / "data"), faults.open_corpus(effects, **flags) as corpus:
        try:
            corpus.ingest(*sources)
        except Exception as told:
            return f"{type(told).__name__}: {told}"
    return None


def read(url: str, collection: str, words: Sequence[str], begun: Path, stop: Path) -> tuple[int, list[str]]:
    """Read a collection until the file `stop` is there; makes the file `begun` once it has read everything once."""
    from connectors.stores import open_store
    from tests import faults

    store = open_store(url, collection)
    store.open()
    faults.read_until(iter([False, True]).__next__, store, words)
    begun.touch()
    return faults.read_until(stop.exists, store, words)


def measured(**arguments: Any) -> dict[str, Any]:
    """See `tests.benchmarks.night.measure`."""
    from tests.benchmarks import night

    return night.measure(**arguments)


def audit(folder: Path, sources: Sequence[str], **flags: Any) -> list[str]:
    """What an audit finds, in words."""
    from tests import faults

    os.chdir(folder)
    with faults.open_corpus(**flags) as corpus:
        return faults.audit_of(corpus, *sources)


def compact(folder: Path, **flags: Any) -> None:
    """Compact the data."""
    from tests import faults

    os.chdir(folder)
    with faults.open_corpus(**flags) as corpus:
        corpus.compact()


def fill(folder: Path, leave: int) -> None:
    """Leave so many bytes of the disk that `folder` is on, by a file called `ballast`."""
    ballast = folder / "ballast"
    ballast.unlink(missing_ok=True)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free - leave)


def command(folder: Path, arguments: Sequence[str], at: int, number: int) -> tuple[int, str]:
    """Run a command line, whose process gets signal `number` before effect `at`; gives exit code and what it said."""
    import flows.stores
    import pipeline.embed.vllm
    from flows.cli import main
    from tests import faults

    os.chdir(folder)
    effects = faults.Effects(at, lambda _: os.kill(os.getpid(), number))
    engine = effects.watch(faults.FakeEngine(faults.bundled()[0].dimensions, Path("spent")), ["embed"])
    engine.__dict__["start_seconds"] = 0.0
    pipeline.embed.vllm.start_engine = lambda *_: engine
    open_store = flows.stores.open_store
    flows.stores.open_store = lambda *place: effects.watch(open_store(*place))
    said = os.open("said", os.O_CREAT | os.O_RDWR | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    with effects.below(folder / "data"):
        code = main(arguments)
    assert len(effects.seen) > at, f"the run had no effect {at}, only {len(effects.seen)}"
    return code, Path("said").read_text()


def _warm_up(folder: Path) -> list[str]:
    """Names of the modules that a run imports."""
    os.chdir(folder)
    (folder / "docs").mkdir()
    (folder / "docs" / "a.md").write_text("# A heading\n\nand some text\n")
    ingest(folder, ["docs"])
    return list(sys.modules)


def _preload() -> None:
    """Import what a run imports, without running one here: what starts threads must not be forked."""
    import importlib
    import tempfile
    from contextlib import suppress

    from tests import faults

    faults.bundled()
    folder = tempfile.mkdtemp()
    _, modules, error = _fork("_warm_up", None, {"folder": Path(folder)})
    shutil.rmtree(folder)
    assert error is None, error
    for name in modules:
        with suppress(ImportError):
            importlib.import_module(name)


if __name__ == "__main__":
    _preload()
    serve(sys.stdin.buffer, sys.stdout.buffer)
