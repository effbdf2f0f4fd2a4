"""An engine's process as its owner sees it: started, given parcels, listened to, and ended for certain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from pipeline.embed.arena import DONE, WAITING, Arena
from pipeline.embed.protocol import Failed, Finished, Parcel, Ready, Start
from pipeline.embed.settings import environment
from pipeline.types import Vectors

_CLOSING_SECONDS = 10.0
# From the closing of its files to its end, a process that dies with a large memory or a core dump takes a moment.
_DYING_SECONDS = 5.0


class EngineProcess:
    """A worker in a process group of its own, so that whatever its engine starts ends with it.

    What it prints goes to the file that CORPUSVEC_ENGINE_LOG names, else to one that is gone when this is.
    """

    def __init__(self, start: Start, place: str) -> None:
        self._arena = Arena(start.shape)
        path = os.environ.get("CORPUSVEC_ENGINE_LOG")
        self._log: IO[bytes] = Path(path).open("ab+") if path else tempfile.TemporaryFile()  # noqa: SIM115 - outlives us
        ours, theirs = socket_pair()
        variables = {**os.environ, **environment(start.settings, place), "PYTHONPATH": import_path()}
        if place != "cpu":
            variables["CUDA_VISIBLE_DEVICES"] = place
        # A plain child, no fork and no multiprocessing: whoever calls us needs no `__main__` guard, and its threads
        # and GPU are not copied. -P: a folder called `pipeline` where the user happens to be is none of ours.
        command = [sys.executable, "-P", "-m", "pipeline.embed.worker", str(theirs), str(self._arena.descriptor)]
        try:
            self._process = subprocess.Popen(
                command, env=variables, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
                pass_fds=(theirs, self._arena.descriptor), start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(theirs)
        self._connection = Connection(ours)
        self._hung_up = False
        with suppress(OSError):  # it died already, which the next poll tells
            self._connection.send(start)

    @property
    def pid(self) -> int:
        """The process's number, which is its group's."""
        return self._process.pid

    def give(self, slot: int, rows: Sequence[NDArray[np.int32]]) -> None:
        """Put a parcel of texts into a free slot. Raises OSError if the process is gone."""
        self._arena.flags(slot)[:] = WAITING
        self._arena.lengths(slot)[: len(rows)] = [len(ids) for ids in rows]
        np.concatenate(rows, out=self._arena.tokens(slot)[: sum(map(len, rows))])
        self._connection.send(Parcel(slot, len(rows)))

    def listen(self, seconds: float) -> Ready | Finished | Failed | None:
        """What it says within so many seconds; None if it is silent. Raises EOFError if it is gone."""
        try:
            if not self._connection.poll(seconds):
                return None
            said: Ready | Finished | Failed = self._connection.recv()
            return said
        except (OSError, ValueError, EOFError) as error:
            self._hung_up = True
            raise EOFError from error

    def vectors(self, slot: int) -> Vectors:
        """What is in a slot: float32, shape (rows, dimensions); to be copied before the slot is used again."""
        return self._arena.vectors(slot)

    def finished(self, slot: int, rows: int) -> list[int]:
        """The rows of a slot that have their vector, also if the process died over the others."""
        return [int(row) for row in np.flatnonzero(self._arena.flags(slot)[:rows] == DONE)]

    def last_words(self) -> str:
        """The end of what it printed, in one line."""
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 2_000))
        lines = self._log.read().decode(errors="replace").split("\n")
        return " | ".join(line.strip() for line in lines if line.strip())[-600:] or "none"

    def kill(self) -> str:
        """End it, and all that it started, now; returns how it ended, in words."""
        if self._hung_up:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_DYING_SECONDS)
        code = self._process.poll()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._connection.close()
        if code is None:
            return "was killed"
        return f"exited with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"

    def close(self) -> None:
        """Ask it to end, and see that it does."""
        with suppress(OSError):
            self._connection.send(None)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_CLOSING_SECONDS)
        self.kill()
        self.forget()

    def forget(self) -> None:
        """Let go of memory and log; it must be dead."""
        self._arena.close()
        self._log.close()


def socket_pair() -> tuple[int, int]:
    """Two ends of a pipe that goes both ways; ours first."""
    import socket

    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def import_path() -> str:
    """This process's import path, for a child's PYTHONPATH: it finds what we found, wherever it is started.

    The entry "" is left out: it is whatever folder somebody happens to be in. Our own packages are found without it.
    """
    ours = str(Path(__file__).resolve().parents[2])
    entries = [str(Path(entry).resolve()) for entry in sys.path if entry]
    return os.pathsep.join(entries if ours in entries else [ours, *entries])
