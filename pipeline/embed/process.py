"""An engine's process as its owner sees it: started, given parcels, listened to, and ended for certain."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from pipeline.embed.arena import DONE, WAITING, Arena
from pipeline.embed.memory import Memory, in_words
from pipeline.embed.protocol import Failed, Finished, Parcel, Ready, Start
from pipeline.embed.settings import environment
from pipeline.errors import UsageError
from pipeline.types import Vectors

_CLOSING_SECONDS = 10.0
# From the closing of its files to its end, a process that dies with a large memory or a core dump takes a moment.
_DYING_SECONDS = 5.0
# From the first byte of a message to its last; whoever sends one may be stopped between them.
_MESSAGE_SECONDS = 30
# A last word is told to a person; where memory is looked for, the traces of several processes may follow it.
_LAST_WORDS_BYTES, _TRACE_BYTES = 2_000, 65_536


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended, and the end of what it printed, both in words; and whether it was for want of memory."""

    how: str
    words: str
    memory: Memory


class EngineProcess:
    """A worker in a process group of its own, so that whatever its engine starts ends with it.

    What it prints goes to the end of the file `log`, else to one that is gone when this is.
    """

    def __init__(self, start: Start, place: str, log: Path | None = None) -> None:
        self._log: IO[bytes] = _open_log(log) if log else tempfile.TemporaryFile()  # noqa: SIM115 - outlives us
        # What others have printed before it are not its words.
        self._log_start = os.fstat(self._log.fileno()).st_size
        self._arena = Arena(start.shape)
        ours, theirs = _socket_pair()
        variables = {**os.environ, **environment(start.model, start.settings, place), "PYTHONPATH": import_path()}
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
        """What it says within so many seconds; None if it is silent. Raises EOFError if it is gone, or stutters."""
        try:
            if not self._connection.poll(seconds):
                return None
            said: Ready | Finished | Failed = self._connection.recv()
            return said
        except (OSError, ValueError, EOFError) as error:
            self._hung_up = not isinstance(error, BlockingIOError)
            raise EOFError from error

    def vectors(self, slot: int) -> Vectors:
        """What is in a slot: float32, shape (rows, dimensions); to be copied before the slot is used again."""
        return self._arena.vectors(slot)

    def finished(self, slot: int, rows: int) -> list[int]:
        """The rows of a slot that have their vector, also if the process died over the others."""
        return [int(row) for row in np.flatnonzero(self._arena.flags(slot)[:rows] == DONE)]

    def kill(self) -> End:
        """End it, and all that it started, now; returns how it ended by itself, if it did."""
        if self._hung_up:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_DYING_SECONDS)
        code = self._process.poll()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._connection.close()
        memory = in_words(self._printed(_TRACE_BYTES))
        if code is None:
            how = "was killed"
        elif code >= 0:
            how = f"exited with code {code}"
        elif code == -signal.SIGKILL:
            # Not ours, so the kernel's, as a rule: on a CPU and in a container that is how memory runs out.
            how, memory = "was ended by SIGKILL, perhaps for want of memory", max(memory, Memory.PERHAPS)
        else:
            named = -code in set(signal.Signals)
            how = f"was ended by {signal.Signals(-code).name if named else f'signal {-code}'}"
        lines = self._printed(_LAST_WORDS_BYTES).split("\n")
        words = " | ".join(line.strip() for line in lines if line.strip())[-600:] or "none"
        return End(how, words, memory)

    def _printed(self, most: int) -> str:
        """The last bytes of what it printed."""
        size = os.fstat(self._log.fileno()).st_size
        first = max(self._log_start, size - most)
        return os.pread(self._log.fileno(), max(0, size - first), first).decode(errors="replace")

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


def log_files(engines: int) -> list[Path | None]:
    """Where each engine's words go: the file that CORPUSVEC_ENGINE_LOG names, or with several FILE.0, FILE.1 and so on.

    None if it names none. Raises UsageError for a file that cannot be written.
    """
    named = os.environ.get("CORPUSVEC_ENGINE_LOG")
    if not named:
        return [None] * engines
    path = Path(named).absolute()
    files = [path] if engines == 1 else [path.with_name(f"{path.name}.{number}") for number in range(engines)]
    for file in files:
        _open_log(file).close()
    return [*files]


def _open_log(path: Path) -> IO[bytes]:
    try:
        return path.open("ab+")
    except OSError as error:
        why = error.strerror or error
        raise UsageError(
            f"CORPUSVEC_ENGINE_LOG: {path} cannot be written ({why}): name another file, or leave it out"
        ) from error


def _socket_pair() -> tuple[int, int]:
    """Two ends of a pipe that goes both ways; ours, which waits for no half of a message for ever, first."""
    ours, theirs = socket.socketpair()
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", _MESSAGE_SECONDS, 0))
    return ours.detach(), theirs.detach()


def import_path() -> str:
    """This process's import path, for a child's PYTHONPATH: it finds what we found, wherever it is started.

    The entry "" is left out: it is whatever folder somebody happens to be in. Our own packages are found without it.
    """
    ours = str(Path(__file__).resolve().parents[2])
    entries = [str(Path(entry).resolve()) for entry in sys.path if entry]
    return os.pathsep.join(entries if ours in entries else [ours, *entries])
