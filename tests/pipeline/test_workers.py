"""Work in processes of its own: whatever becomes of one, its request is rejected, and nothing else is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.errors import Rejected, Stopped, Terminal
from pipeline.workers import Inline, Pool, default_workers
from pipeline.workers.scratch import Scratch
from tests.pipeline import misbehaviour
from tests.pipeline.misbehaviour import BALLOONS, CRASHES, HANGS

ROOT = Path(__file__).resolve().parents[2]
SOON = 20.0


def open_pool(workers: int = 2, seconds: float = 60.0, megabytes: int = 400) -> Pool[Any, Any]:
    """A pool that does as it is told."""
    return Pool(misbehaviour.start, workers, seconds, megabytes)


@pytest.fixture(scope="module")
def shared() -> Iterator[Pool[Any, Any]]:
    """One for all that harms no other test."""
    pool = open_pool(seconds=1.0)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def patient() -> Iterator[Pool[Any, Any]]:
    """One whose limit of time is no matter."""
    pool = open_pool(seconds=60.0)
    yield pool
    pool.close()


def workers_of(process: int) -> list[psutil.Process]:
    """The worker processes that a process has started."""
    children = psutil.Process(process).children()
    found = []
    for child in children:
        with suppress(psutil.NoSuchProcess):  # one that has just ended
            if "pipeline.workers" in " ".join(child.cmdline()):
                found.append(child)
    return found


class TestAnswers:
    def test_each_request_gets_its_own_answer(self, shared: Pool[Any, Any]) -> None:
        """Requests from several threads at once are each answered with their own answer."""

        def ask(number: int) -> list[Any]:
            futures = [shared.submit(("echo", (number, n))) for n in range(50)]
            return [future.result() for future in futures]

        with ThreadPoolExecutor(4) as threads:
            for number, answers in enumerate(threads.map(ask, range(4))):
                assert answers == [(number, n) for n in range(50)]

    def test_large_requests_and_answers_arrive_whole(self, shared: Pool[Any, Any]) -> None:
        """What is far larger than a pipe goes both ways unharmed."""
        data = os.urandom(1 << 20) * 20
        assert shared.submit(("echo", [data, "ä" * 10**6])).result() == [data, "ä" * 10**6]

    def test_many_large_answers_at_once_cost_no_process(self) -> None:
        """Small requests that wait together get answers that no pipe holds; none is tried a second time for that."""
        pool = open_pool(workers=1)
        try:
            (first,) = {pool.submit(("pid", None)).result()}
            data = "ä" * 2_000
            futures = [pool.submit(("repeat", (data, 200))) for _ in range(64)]
            assert all(future.result() == data * 200 for future in futures)
            assert pool.submit(("pid", None)).result() == first
        finally:
            pool.close()

    def test_what_the_work_raises_is_raised(self) -> None:
        """A rejection by the work itself arrives with its words, and costs no process."""
        pool = open_pool(workers=1)
        before = pool.submit(("pid", None)).result()
        with pytest.raises(Rejected, match=r"^encrypted$"):
            pool.submit(("reject", "encrypted")).result()
        assert pool.submit(("pid", None)).result() == before
        pool.close()

    def test_without_processes(self) -> None:
        """`Inline` answers and rejects in the same words, in this process."""
        work: Inline[Any, Any] = Inline(misbehaviour.work)
        assert work.submit(("pid", None)).result() == os.getpid()
        with pytest.raises(Rejected, match=r"^encrypted$"):
            work.submit(("reject", "encrypted")).result()

    def test_processes_are_started_as_they_are_needed(self) -> None:
        """One request after the other is one process; none is none."""
        pool = open_pool(workers=4)
        before = {child.pid for child in workers_of(os.getpid())}
        for _ in range(200):
            pool.submit(("pid", None)).result()
        assert len({child.pid for child in workers_of(os.getpid())} - before) == 1
        pool.close()

    def test_an_earlier_turn_is_done_first(self) -> None:
        """Of what waits, the lowest turn is done first, and what has the same turn in the order in which it came."""
        pool = open_pool(workers=1)
        done: list[tuple[int, int]] = []
        busy = pool.submit(("go on", 1))
        futures = []
        for turn, number in [(7, 0), (7, 1), (3, 0), (3, 1), (9, 0), (3, 2)]:
            future = pool.submit(("echo", number), turn=turn)
            future.add_done_callback(lambda _, one=(turn, number): done.append(one))
            futures.append(future)
        assert not busy.done()
        for future in futures:
            future.result(SOON)
        assert done == [(3, 0), (3, 1), (3, 2), (7, 0), (7, 1), (9, 0)]
        pool.close()

    def test_a_late_turn_leaves_room_for_an_early_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where requests wait for room, the lowest turn is let in first, however many of later ones wait already."""
        monkeypatch.setattr("pipeline.workers.pool._QUEUED", 1)
        pool = open_pool(workers=1)
        done: list[int] = []

        def ask(turn: int) -> None:
            pool.submit(("go on", 1), turn=turn).result(SOON)
            done.append(turn)

        with ThreadPoolExecutor(6) as threads:
            running = [threads.submit(ask, turn) for turn in (0, 5, 5, 5, 5)]
            while len(pool._waiting) < 2:
                assert not all(one.done() for one in running)
            running.append(threads.submit(ask, 1))
            for one in running:
                one.result(SOON)
        assert done.index(1) <= 3  # one was at work, and two had been let in
        pool.close()

    def test_it_starts_with_little(self, shared: Pool[Any, Any]) -> None:
        """A process imports nothing of what its parent has: no engine, no scheduler, no Parquet, no test runner."""
        heavy = {"torch", "vllm", "prefect", "pyarrow", "pytest", "multiprocessing"}
        assert heavy.isdisjoint(shared.submit(("modules", None)).result())

    def test_default_numbers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A core each; beside a GPU two cores are left to engine and run; never none, and never a crowd."""
        for cores, cpu, cuda in ((1, 1, 1), (2, 2, 1), (8, 8, 6), (192, 16, 16)):
            monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
            assert (default_workers("cpu"), default_workers("cuda")) == (cpu, cuda)


def survives(pool: Pool[Any, Any], kind: str) -> str:
    """Why a request is rejected; those beside and after it are answered."""
    beside = [pool.submit(("echo", n)) for n in range(2)]
    bad = pool.submit((kind, None))
    after = [pool.submit(("echo", n)) for n in range(2, 4)]
    with pytest.raises(Rejected) as rejected:
        bad.result(SOON)
    assert [future.result(SOON) for future in (*beside, *after)] == [0, 1, 2, 3]
    return str(rejected.value)


class TestMisbehaviour:
    @pytest.mark.parametrize("kind", HANGS)
    def test_what_hangs_is_ended(self, kind: str, shared: Pool[Any, Any]) -> None:
        """However it hangs, it is over when its time is, and the sentence names limit and setting."""
        reason = survives(shared, kind)
        assert "longer than the 1 seconds" in reason and "raise parse_seconds" in reason

    @pytest.mark.parametrize("kind", BALLOONS)
    def test_what_balloons_is_ended(self, kind: str, patient: Pool[Any, Any]) -> None:
        """What takes too much memory is ended before it has it, and the sentence names limit and setting."""
        reason = survives(patient, kind)
        assert "more than the 400 MB" in reason and "raise parse_memory_mb" in reason

    @pytest.mark.parametrize("kind", CRASHES)
    def test_what_crashes_is_rejected(self, kind: str, shared: Pool[Any, Any]) -> None:
        """A process that is gone, by whatever way, is told as such."""
        reason = survives(shared, kind)
        assert re_match(kind, reason), reason

    def test_what_it_started_goes_with_it(self) -> None:
        """A program that a hanging worker waits for is ended, too."""
        pool = open_pool(seconds=1.0)
        with pytest.raises(Rejected):
            pool.submit(("hang in a program", None)).result(SOON)
        pool.close()
        # Whether somebody has buried it by now depends on the machine.
        left = [each.info for each in psutil.process_iter(["cmdline", "status"])]
        assert not [
            each for each in left if each["cmdline"] == ["sleep", "3600"] and each["status"] != psutil.STATUS_ZOMBIE
        ]

    def test_what_goes_on_has_time(self, shared: Pool[Any, Any]) -> None:
        """The limit of time counts anew from each part that is as much work as a document."""
        assert shared.submit(("go on", 5)).result() == 5

    def test_temporary_files_go_with_it(self, tmp_path: Path) -> None:
        """A worker that is killed leaves no temporary file behind, so no copy of somebody's document."""
        pool = open_pool(seconds=1.0)
        with pytest.raises(Rejected):
            pool.submit(("scribble", tmp_path / "told")).result(SOON)
        made = Path((tmp_path / "told").read_text())
        assert not made.exists()
        assert made.parent.parent.is_dir()
        pool.close()
        assert not made.parent.parent.exists()

    def test_what_hangs_does_not_hold_up_the_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """While one request has its time, those that went to the same process with it are done by others."""
        monkeypatch.setattr("pipeline.workers.pool._TOGETHER_SECONDS", 0.5)
        pool = open_pool(seconds=10 * SOON)
        before = [pool.submit(("echo", None)) for _ in range(2)]
        hanging = pool.submit(("hang", None))
        rest = [pool.submit(("echo", n)) for n in range(9)]
        assert [future.result(SOON) for future in rest] == list(range(9))
        assert all(future.done() for future in before) and not hanging.done()
        pool.close()

    def test_nobody_is_blamed_for_another(self) -> None:
        """What crashes for what an earlier request left behind is tried again in a fresh process."""
        pool = open_pool(workers=1)
        poisoned = pool.submit(("poison", None)).result()
        assert pool.submit(("pid", None)).result() != poisoned
        pool.close()

    def test_a_process_that_stays_large_is_replaced(self) -> None:
        """Memory that is not given back is not taken off what the next request may have."""
        pool = open_pool(workers=1)
        first = pool.submit(("keep", 1_000_000)).result()
        assert pool.submit(("keep", 120_000_000)).result() == first
        assert pool.submit(("pid", None)).result() != first
        pool.close()

    def test_whoever_comes_too_late_for_a_request_keeps_its_process(self) -> None:
        """However requests fall to the processes, none is ended as long as it has not rested for long."""
        pool = open_pool()
        known: set[int] = set()
        for _ in range(300):
            answers = [pool.submit(("pid", None)) for _ in range(2)]
            known |= {answer.result() for answer in answers}
        pool.close()
        assert len(known) <= 2

    def test_a_process_without_work_is_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After a while without requests no process is left, and the next request has one again."""
        monkeypatch.setattr("pipeline.workers.pool._REST_SECONDS", 0.2)
        pool = open_pool(workers=1)
        process = psutil.Process(pool.submit(("pid", None)).result())
        assert not psutil.wait_procs([process], SOON)[1]
        assert pool.submit(("pid", None)).result() != process.pid
        pool.close()

    @pytest.mark.parametrize("start", [misbehaviour.fail_to_start, misbehaviour.die_at_start])
    def test_a_process_that_does_not_start(self, start: Any) -> None:
        """That is nobody's document: it ends the run, with a reason and a way out."""
        pool: Pool[Any, Any] = Pool(start, 1, 1.0, 400)
        with pytest.raises(Terminal, match=r"(tokenizer.json is missing|exit code 7).*parse_workers = 0"):
            pool.submit(("echo", 1)).result(SOON)
        pool.close()


def re_match(kind: str, reason: str) -> bool:
    """Whether a reason says what happened."""
    expected = {
        "segfault": "SIGSEGV", "abort": "SIGABRT", "exit": "exit code 0", "leave": "exit code 3",
        "raise": "exit code 1", "close files": "crashed", "killed": "system killed",
    }  # fmt: skip
    return expected[kind] in reason


class TestTheEnd:
    def test_closing_ends_everything(self) -> None:
        """Closed, the pool leaves no process, whatever it was doing; what was under way is told that it was stopped."""
        pool = open_pool()
        others = set(workers_of(os.getpid()))
        pool.submit(("echo", 1)).result()
        futures = [pool.submit(("hang", None)) for _ in range(2)]
        started = set(workers_of(os.getpid())) - others
        pool.close()
        pool.close()
        assert not psutil.wait_procs(started, SOON)[1]
        for future in futures:
            assert future.cancelled() or isinstance(future.exception(), Stopped)
        with pytest.raises(Stopped):
            pool.submit(("echo", 1)).result()

    def test_one_caller_can_stop_waiting(self) -> None:
        """Who sets `stopping` has requests ended, under way and waiting; others have theirs answered."""
        pool = open_pool()
        stopping = threading.Event()
        mine = [pool.submit(("hang", None), stopping) for _ in range(3)]
        threading.Timer(0.2, stopping.set).start()
        others = pool.submit(("echo", 1))
        for future in mine:
            with pytest.raises(Stopped):
                future.result(SOON)
        assert others.result(SOON) == 1
        pool.close()

    @pytest.mark.parametrize("end", ["killed", "interrupted", "at its end"])
    @pytest.mark.parametrize("kind", ["echo", "hang in C", "hang deaf", "hang in a program"])
    def test_no_process_outlives_its_parent(self, end: str, kind: str) -> None:
        """A parent that is killed with -9, interrupted, or ends without closing anything leaves no worker behind."""
        command = [sys.executable, "-c", PARENT, kind, end]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdin is not None and parent.stdout is not None
            workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
            if end == "at its end":
                parent.stdin.close()
            else:
                parent.send_signal(signal.SIGKILL if end == "killed" else signal.SIGINT)
            parent.wait(SOON)
        assert len(workers) == (4 if kind == "hang in a program" else 2)
        assert not psutil.wait_procs(workers, SOON)[1]

    def test_files_of_the_dead_are_removed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a parent that was killed could not remove, the next one does, and it touches nothing else."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr("pipeline.workers.scratch._SECONDS", 0.0)
        command = "from pipeline.workers.scratch import Scratch\ns = Scratch()\nimport os; os.kill(os.getpid(), 9)"
        subprocess.run([sys.executable, "-c", command], cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)})
        (dead,) = tmp_path.iterdir()
        (tmp_path / "corpusvec").mkdir()
        living = Scratch()
        assert not dead.exists()
        other = Scratch()
        assert {path.name for path in tmp_path.iterdir()} == {
            "corpusvec", Path(living.path).name, Path(other.path).name
        }  # fmt: skip
        living.close()
        other.close()
        assert [path.name for path in tmp_path.iterdir()] == ["corpusvec"]


PARENT = """
import sys, threading, time
import psutil
from pipeline.workers import Pool
from tests.pipeline import misbehaviour

kind, end = sys.argv[1:]
pool = Pool(misbehaviour.start, 2, 60.0, 400)
stopping = threading.Event()
try:
    while len(psutil.Process().children()) < 2:  # until one has too much to do for one
        [future.result() for future in [pool.submit(("echo", 1)) for _ in range(20)]]
    futures = [pool.submit((kind, None), stopping) for _ in range(2)]
    while len(psutil.Process().children(recursive=True)) < (4 if kind == "hang in a program" else 2):
        time.sleep(0.01)
    time.sleep(0.2)
    print(*[child.pid for child in psutil.Process().children(recursive=True)], flush=True)
    sys.stdin.read()
except KeyboardInterrupt:
    pass
stopping.set()
"""
