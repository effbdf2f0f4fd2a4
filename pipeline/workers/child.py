"""The worker process itself: some requests in, as many answers out, until there are no more. Imports little."""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import CorpusvecError, RecipeMismatch, Rejected, Terminal, Transient, UsageError
from pipeline.workers.pulse import on_beat

#: How much later than its parent a worker ends itself, in seconds: only a parent that died does not do it in time.
_GRACE = 5.0


def main(questions: int, answers: int, lifeline: int) -> None:
    """Serve the file descriptors until `questions` ends; `lifeline` ends when the parent does."""
    _die_with(lifeline)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no copy of somebody's document behind
    with suppress(OSError):  # where memory runs out for all, let the kernel take a worker and not the run
        Path("/proc/self/oom_score_adj").write_text("1000")
    with open(questions, "rb") as source, open(answers, "wb") as sink:
        try:
            start, seconds = pickle.load(source)
            work = start()
        except BaseException as error:  # the parent tells it, whatever it is
            _send(sink, False, _plain(error))
            return
        _send(sink, True, None)

        def start_clock() -> None:
            signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE)  # ends the process, whatever it is doing

        def tell_beat() -> None:
            start_clock()
            pickle.dump(None, sink, pickle.HIGHEST_PROTOCOL)
            sink.flush()

        on_beat(tell_beat)
        while True:
            try:
                count = pickle.load(source)
            except EOFError:
                return
            # All of them first: whoever still writes requests reads no answers, and both would wait for ever.
            requests = deque(pickle.load(source) for _ in range(count))
            while requests:
                start_clock()
                try:
                    answer, sound = work(requests.popleft()), True
                except CorpusvecError as error:
                    answer, sound = _plain(error), False
                pickle.dump((sound, answer), sink, pickle.HIGHEST_PROTOCOL)
                del answer
            sink.flush()
            signal.setitimer(signal.ITIMER_REAL, 0)


def _send(sink: BinaryIO, sound: bool, answer: object) -> None:
    pickle.dump((sound, answer), sink, pickle.HIGHEST_PROTOCOL)
    sink.flush()


def _plain(error: BaseException) -> CorpusvecError:
    """Of a kind that any process can unpickle."""
    for kind in (Rejected, Transient, UsageError, RecipeMismatch, Terminal):
        if isinstance(error, kind):
            return kind(str(error))
    return Terminal(f"{type(error).__name__}: {error}")


def _die_with(lifeline: int) -> None:
    """Have the kernel kill this process and what it runs as soon as nobody holds the other end of a pipe (Linux).

    PR_SET_PDEATHSIG would be about the thread that started us, and those come and go. Elsewhere a worker ends when it
    next looks for a request, or by its timer.
    """
    import fcntl

    if not hasattr(fcntl, "F_SETSIG"):
        return
    # Owner and signal belong to an opening of the pipe, and that which was handed to us is every worker's.
    lifeline = os.open(f"/proc/self/fd/{lifeline}", os.O_RDONLY)
    # The group of a worker has its number, and the programs that it runs are in it.
    alone = os.getpgrp() != os.getpid()
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid() if alone else -os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:  # it was too late already
        os._exit(1)
