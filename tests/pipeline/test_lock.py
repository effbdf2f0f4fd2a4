"""Locks, on a local disk and on an object store: threads, real processes, and what kill -9 leaves behind."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.errors import Terminal, Transient
from pipeline.lock import ROOT, Mode, held

PROJECT = Path(__file__).resolve().parents[2]
NOTES = "notes@edge-index-0123abcd"
RUN: Mapping[str, Mode] = {NOTES: "exclusive", ROOT: "shared"}
COMPACT: Mapping[str, Mode] = {ROOT: "exclusive"}
#: As good as for ever, in seconds: a test that waits for so long has failed.
LONG = 60.0


class ObjectStore(fsspec.AbstractFileSystem):
    """An object store that the processes of this machine share: `objects:///FOLDER/…`; a PUT is all or nothing."""

    protocol = "objects"
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("objects://")

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        found = [str(file) for file in Path(path).iterdir()]
        return [{"name": name, "type": "file", "size": None} for name in found] if detail else found

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        return Path(path).read_bytes()

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent.parent / f"{secrets.token_hex(8)}.tmp"
        temporary.write_bytes(value)
        temporary.replace(target)

    def rm_file(self, path: str) -> None:
        Path(path).unlink()


fsspec.register_implementation("objects", ObjectStore, clobber=True)


@pytest.fixture(params=["disk", "objects"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where checkpoints would be: a folder, or an object store's URL."""
    return str(tmp_path / "data") if request.param == "disk" else f"objects://{tmp_path}/data"


def locks(root: str) -> Path:
    """The folder of the locks: either kind ends up on a disk here."""
    return Path(root.removeprefix("objects://")) / "locks"


def until(true: Callable[[], Any]) -> None:
    """Wait for something that is going to happen."""
    given_up = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < given_up, "it did not happen"
        time.sleep(0.01)


def is_free(root: str, names: Mapping[str, Mode] = RUN) -> bool:
    """Whether one who does not wait is let in."""
    try:
        with held(root, names, "a look"):
            return True
    except Transient:
        return False


@contextmanager
def process(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `code` on `arguments`; killed at the end, if it has not ended."""
    command = [sys.executable, "-c", f"import tests.pipeline.test_lock as t\n{code}", *arguments]
    with subprocess.Popen(command, cwd=PROJECT, stdin=-1, stdout=-1, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


HOLDS = """
import sys
with t.held(sys.argv[1], t.RUN, "ingest docs/", lease_seconds=float(sys.argv[2])):
    print("in", flush=True)
    sys.stdin.read()
"""


@contextmanager
def owner(root: str, lease_seconds: float = 60) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds the collection."""
    with process(HOLDS, root, str(lease_seconds)) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "in\n"
        yield running


def kill(running: subprocess.Popen[str]) -> None:
    """kill -9, and see it dead."""
    os.kill(running.pid, signal.SIGKILL)
    running.wait()


def test_a_second_run_is_refused_and_told_who_is_at_work(root: str) -> None:
    """Without waiting, the second run ends at once: which collection, who, where, since when, and what to do."""
    with owner(root) as other, pytest.raises(Transient) as refused, held(root, RUN, "ingest mail/"):
        raise AssertionError("two are in")
    told = str(refused.value)
    assert told.startswith("the collection notes is in use: ingest docs/ (process ")
    assert f"process {other.pid} on {os.uname().nodename}, since 20" in told
    assert told.endswith("wait for it to end, or use --wait")
    assert is_free(root, {"mail@edge-index-0123abcd": "exclusive", ROOT: "shared"})


def test_who_waits_long_enough_gets_in(root: str, caplog: pytest.LogCaptureFixture) -> None:
    """A second run that waits is told once for whom, and goes in when the first has ended."""
    with owner(root) as first:
        assert first.stdin is not None
        threading.Timer(0.5, first.stdin.close).start()
        with held(root, RUN, "ingest mail/", wait=LONG):
            assert first.wait() == 0
    (told,) = caplog.messages
    assert told.startswith("waiting for ingest docs/ (process ")
    assert told.endswith("the collection notes is in use")


def test_who_does_not_wait_long_enough_is_refused(root: str) -> None:
    """A wait has an end, and then the refusal says how long it was."""
    words = r"is still in use after 0.3 s: ingest docs/ \("
    with owner(root), pytest.raises(Transient, match=words), held(root, RUN, "ingest mail/", wait=0.3):
        raise AssertionError("two are in")


def test_a_killed_owner_blocks_nobody(root: str) -> None:
    """After kill -9 of the owner the next one gets in, by itself, and leaves nothing of the dead one's behind."""
    with owner(root, lease_seconds=1) as dead:
        kill(dead)
        with held(root, RUN, "ingest mail/", wait=LONG, lease_seconds=1):
            until(lambda: str(dead.pid) not in "".join(path.read_text() for path in locks(root).glob("[!.]*")))


FORKS = """
import os, sys, time
with t.held(sys.argv[1], t.RUN, "ingest docs/", lease_seconds=1):
    child = os.fork()
    if child == 0:
        time.sleep(600)
    print(child, flush=True)
    sys.stdin.read()
"""


def test_the_children_of_a_killed_owner_keep_nothing(root: str) -> None:
    """A forked helper that outlives its parent does not hold the parent's lock."""
    with process(FORKS, root) as dead:
        assert dead.stdout is not None
        child = int(dead.stdout.readline())
        try:
            kill(dead)
            with held(root, RUN, "ingest mail/", wait=LONG):
                os.kill(child, 0)  # it lives
        finally:
            os.kill(child, signal.SIGKILL)


ENDS_EARLY = """
import os, sys
with t.held(sys.argv[1], t.RUN, "ingest docs/"):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        print("in", flush=True)
        sys.stdin.read()
"""


def test_a_forked_child_gives_nothing_back(root: str) -> None:
    """A forked child that leaves its copy of the block does not free what its parent holds."""
    with process(ENDS_EARLY, root) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "in\n"
        with pytest.raises(Transient, match=f"process {parent.pid} on "), held(root, RUN, "ingest mail/"):
            raise AssertionError("two are in")


RACES = """
import sys
from pathlib import Path
inside, counter = Path(sys.argv[2]), Path(sys.argv[3])
for number in range(50):
    with t.held(sys.argv[1], t.RUN, "race", t.LONG, lease_seconds=5) as lock:
        inside.touch(exist_ok=False)
        counter.write_text(str(int(counter.read_text()) + 1))
        t.time.sleep(0.002)
        lock.check()
        inside.unlink()
"""


def test_two_that_race_are_never_both_in(root: str, tmp_path: Path) -> None:
    """Two processes that go in and out 50 times each, as fast as they can, are never in together."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    arguments = (root, str(tmp_path / "inside"), str(counter))
    with process(RACES, *arguments) as one, process(RACES, *arguments) as other:
        assert (one.wait(), other.wait()) == (0, 0)
    assert counter.read_text() == "100"


def test_threads_of_one_process_exclude_each_other(root: str) -> None:
    """Ten threads that count with a read, a pause and a write count to 100."""
    count = 0

    def work() -> None:
        nonlocal count
        for _ in range(10):
            with held(root, RUN, "count", LONG, lease_seconds=10):
                before = count
                time.sleep(0.001)
                count = before + 1

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 100


def test_runs_share_the_root_and_compact_has_it_alone(root: str) -> None:
    """Runs on different collections go side by side; `compact` waits for all of them, and they for it."""
    other: Mapping[str, Mode] = {"mail@edge-index-0123abcd": "exclusive", ROOT: "shared"}
    with held(root, RUN, "ingest docs/"):
        with held(root, other, "ingest mail/"):
            assert not is_free(root, COMPACT)
        assert not is_free(root, COMPACT)
    with held(root, COMPACT, "compact"):
        assert not is_free(root, RUN)
        assert not is_free(root, other)
        with pytest.raises(Transient, match=r"^the data in .*data is in use: compact \("), held(root, RUN, "ingest"):
            raise AssertionError("two are in")
    assert is_free(root, COMPACT)


def test_what_is_refused_holds_nothing(root: str) -> None:
    """One who gets a part of what is needed gives it back, even while waiting for the rest: the others may go on."""
    code = WAITS.replace("t.RUN", "{'a': 'exclusive', 'b': 'shared'}").replace("seconds=1", "seconds=60")
    with held(root, {"b": "exclusive"}, "b") as lock, process(code, root):
        until(lock.wanted)
        with held(root, {"a": "exclusive"}, "a", wait=LONG):
            assert lock.wanted()


def test_an_error_inside_frees_the_lock(root: str) -> None:
    """However the block is left, the next one gets in."""
    with pytest.raises(ZeroDivisionError), held(root, RUN, "ingest docs/"):
        raise ZeroDivisionError
    assert is_free(root)


WAITS = """
import sys
with t.held(sys.argv[1], t.RUN, "nightly", t.LONG, lease_seconds=1):
    print("in", flush=True)
    sys.stdin.read()
"""


def test_an_owner_learns_that_it_is_waited_for(root: str) -> None:
    """A sign is there while somebody waits, and only then: not before, not for oneself, not after a waiter's death."""
    with held(root, RUN, "backfill") as lock:
        assert not lock.wanted()
        with process(WAITS, root) as nightly:
            until(lock.wanted)
            kill(nightly)
        until(lambda: not lock.wanted())


def test_who_cannot_go_in_beside_a_run_is_waited_for(root: str) -> None:
    """A run is told of one who waits for the whole root too, and a reader of the root is not told of another one."""
    with ExitStack() as stack:
        run = stack.enter_context(held(root, RUN, "ingest docs/"))
        other = stack.enter_context(held(root, {"mail": "exclusive", ROOT: "shared"}, "ingest mail/"))
        with process(WAITS, root):
            until(run.wanted)
            assert not other.wanted()
        with process(WAITS.replace("t.RUN", "t.COMPACT"), root):
            until(other.wanted)


def test_a_polite_one_lets_those_who_wait_go_first(root: str) -> None:
    """A backfill that lets go between slices and comes back politely is not let in while the nightly run waits."""
    with ExitStack() as first, process(WAITS.replace("seconds=1", "seconds=60"), root) as nightly:
        lock = first.enter_context(held(root, RUN, "backfill"))
        until(lock.wanted)
        os.kill(nightly.pid, signal.SIGSTOP)  # it cannot be quicker now
        first.close()
        with pytest.raises(Transient, match=r"in use: nightly \("), held(root, RUN, "backfill", polite=True):
            raise AssertionError("it went before")
        os.kill(nightly.pid, signal.SIGCONT)
        assert nightly.stdout is not None
        assert nightly.stdout.readline() == "in\n"


def test_polite_ones_do_not_wait_for_each_other_for_ever(root: str) -> None:
    """Two backfills take turns: one that waits politely asks nobody to let go."""
    ended = threading.Event()

    def come_back() -> None:
        with held(root, RUN, "another backfill", wait=LONG, polite=True):
            ended.set()

    with held(root, RUN, "backfill") as lock:
        thread = threading.Thread(target=come_back)
        thread.start()
        time.sleep(0.5)
        assert not lock.wanted()
    with held(root, RUN, "backfill", wait=LONG, polite=True):
        pass
    thread.join()
    assert ended.is_set()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """What stands in the way of a lock is said in words."""
    (tmp_path / "data").write_text("a file")
    with (
        pytest.raises(Terminal, match=r"^cannot lock .*data/locks: Not a directory; "),
        held(str(tmp_path / "data"), RUN, "ingest docs/"),
    ):
        raise AssertionError("locked")


def test_an_owner_learns_that_its_folder_was_removed(tmp_path: Path) -> None:
    """Whoever removes the data under a run does not make it share a collection with the next run."""
    with held(str(tmp_path), RUN, "ingest docs/") as lock:
        lock.check()
        (tmp_path / "locks" / f"{NOTES}.lock").unlink()
        with pytest.raises(Terminal, match=r"^lost the lock on the collection notes: somebody removed "):
            lock.check()
