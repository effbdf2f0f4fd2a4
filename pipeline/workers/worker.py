"""A worker process as its parent sees it: started, asked, watched while it works, and killed if it must be."""

from __future__ import annotations

import io
import math
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from pipeline.errors import Terminal
from pipeline.workers.family import family_resident, resident

#: How often limits are looked at, in seconds. What grows by 4 GB/s is over its limit by 0.2 GB at most.
_TICK = 0.05
_START_SECONDS = 120.0
_BOOTSTRAP = "import sys; sys.path[:] = {path}; from pipeline.workers.child import main; main({files})"
# A process is one core's worth of work; libraries would start a thread a core in each.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}


#: An answer, or (not sound) what the work raised: a CorpusvecError.
Reply = tuple[bool, Any]


class Lost(Exception):
    """No answer: why, in words. `doubtful` if the work before this request may be to blame.

    `code` is how the process ended by itself, as `subprocess` says it; None if we ended it.
    """

    def __init__(self, reason: str, doubtful: bool, code: int | None = None) -> None:
        super().__init__(reason)
        self.doubtful = doubtful
        self.code = code


class Worker:
    """One process. Not thread-safe: whoever has it has it alone. Raises Terminal if it does not start.

    `seconds` (anew from each beat of `pulse`) and `megabytes` (resident memory, with the programs that it runs; None
    if nobody is to look) are what a request may take; `check` is called while one waits, and raises if it is not to
    wait any longer. Its temporary files are in a folder of its own under `folder`, and end with it. Lists of processes
    show its `purpose`; `needless` is the setting that does without it.
    """

    def __init__(
        self,
        start: Callable[[], Any],
        seconds: float,
        megabytes: int | None,
        lifeline: int,
        folder: str,
        check: Callable[[], None],
        purpose: str,
        needless: str,
    ) -> None:
        self._seconds = seconds
        self._bytes = math.inf if megabytes is None else megabytes * 10**6
        self._folder = tempfile.mkdtemp(dir=folder)
        #: Requests answered.
        self.served = 0
        self.dead = False
        theirs, ours = os.pipe()
        mine, yours = os.pipe()
        code = _BOOTSTRAP.format(path=ascii(sys.path), files=f"{theirs}, {yours}, {lifeline}")
        # A program of its own: a fork would copy the locks of this process's threads as they stand, and a spawned
        # multiprocessing child would import the user's script again.
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code, purpose], pass_fds=(theirs, yours, lifeline), process_group=0,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env={**os.environ, **_ONE_THREAD, "TOKENIZERS_PARALLELISM": "false", "TMPDIR": self._folder},
            )  # fmt: skip
        except BaseException:
            os.close(ours)
            os.close(mine)
            raise
        finally:
            os.close(theirs)
            os.close(yours)
        self._line = _Line(mine, ours)
        self._out = io.BufferedWriter(self._line, 1 << 16)
        self._in = io.BufferedReader(self._line, 1 << 16)
        try:
            ((sound, trouble),) = self._exchange([pickle.dumps((start, seconds))], 1, _START_SECONDS, check)
        except Lost as lost:
            # The reasons are those of a document that is parsed.
            ended = f"it ended at once, by signal or exit code {lost.code}"
            sound, trouble = False, lost if lost.code is None else ended
        if not sound:
            self.kill()
            raise Terminal(f"a process of its own does not start: {trouble}; with {needless} none is needed")

    def ask(self, requests: Sequence[bytes], seconds: float, check: Callable[[], None]) -> list[Reply]:
        """The replies to pickled `requests`, in order. Raises Lost, or what `check` does; it is dead then."""
        replies = self._exchange([pickle.dumps(len(requests)), *requests], len(requests), seconds, check)
        self.served += len(requests)
        return replies

    def is_fat(self) -> bool:
        """Whether it keeps so much memory that the next request would not have its due."""
        return resident(self._process.pid) > self._bytes // 4

    def kill(self) -> int:
        """End it and whatever it started; how it ended, as `subprocess` says it. Idempotent."""
        self.dead = True
        self._line.watch = lambda: None
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        with suppress(OSError):
            self._out.close()
        self._in.close()
        self._line.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return code

    def _exchange(
        self, messages: Sequence[bytes], replies: int, seconds: float, check: Callable[[], None]
    ) -> list[Reply]:
        self._line.watch = self._within(seconds, check)
        try:
            for message in messages:
                self._out.write(message)
            self._out.flush()
            got: list[Reply] = []
            while len(got) < replies:
                reply = pickle.load(self._in)
                if reply is None:  # a beat
                    self._line.watch = self._within(seconds, check)
                else:
                    got.append(reply)
            return got
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            raise self._death() from error
        except BaseException:
            self.kill()
            raise

    def _death(self) -> Lost:
        with suppress(subprocess.TimeoutExpired):  # a moment for it to say how it ends, before we do it
            self._process.wait(1.0)
        code = self.kill()
        if code == -signal.SIGALRM:
            return self._too_long()
        if code == -signal.SIGKILL:
            return Lost("the system killed the process that parsed it, most likely for lack of memory", True, code)
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return Lost(f"the parser crashed on it: its process ended {how}", True, code)

    def _too_long(self) -> Lost:
        return Lost(
            f"it took longer than the {self._seconds:g} seconds that a document may: if it is worth more, raise "
            "parse_seconds and use --retry-rejected", doubtful=False,
        )  # fmt: skip

    def _within(self, seconds: float, check: Callable[[], None]) -> Callable[[], None]:
        deadline = time.monotonic() + seconds

        def watch() -> None:
            check()
            if time.monotonic() > deadline:
                raise self._too_long()
            if math.isfinite(self._bytes) and family_resident(self._process.pid) > self._bytes:
                raise Lost(
                    f"it took more than the {self._bytes // 10**6:,.0f} MB of memory that a document may: if it is "
                    "worth more, raise parse_memory_mb and use --retry-rejected", doubtful=True,
                )  # fmt: skip

        return watch


class _Line(io.RawIOBase):
    """Both pipes as one raw file, which calls `watch` every tick that it waits for the other side."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self.watch: Callable[[], None] = lambda: None
        for descriptor in (reading, writing):
            os.set_blocking(descriptor, False)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._patiently(self._reading, select.POLLIN, lambda: os.readv(self._reading, [buffer]))

    def write(self, data: Any) -> int:
        return self._patiently(self._writing, select.POLLOUT, lambda: os.write(self._writing, data))

    def _patiently(self, descriptor: int, event: int, attempt: Callable[[], int]) -> int:
        """What `attempt` gives, which comes first: of something large, more is mostly there already."""
        while True:
            try:
                return attempt()
            except BlockingIOError:
                poll = select.poll()
                poll.register(descriptor, event)
                while not poll.poll(_TICK * 1000):
                    self.watch()

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._reading)
            os.close(self._writing)
