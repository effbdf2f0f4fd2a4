"""What a parser must not do, really done: for the processes of a pool only."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import Rejected
from pipeline.workers.pulse import beat

_kept: list[Any] = []


def _hang() -> None:
    time.sleep(3600)


def _hang_in_c() -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")  # never lets go of the interpreter's lock


def _hang_deaf() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    _hang()


def _hang_stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _hang_in_a_program() -> None:
    subprocess.run(["sleep", "3600"], check=False)


def _balloon() -> None:
    while True:
        _kept.append(bytearray(8 << 20))
        time.sleep(0.005)


def _balloon_in_c() -> None:
    _kept.append(b"\1" * (3 << 30))


def _balloon_in_a_program() -> None:
    subprocess.run([sys.executable, "-c", "import time; kept = b'1' * (1 << 30); time.sleep(3600)"], check=False)


def _segfault() -> None:
    ctypes.string_at(0)


def _raise_something() -> None:
    raise BaseException("neither an error of ours nor an Exception")


#: Ways to hang, to balloon, and to go.
HANGS: dict[str, Callable[[], Any]] = {
    "hang": _hang, "hang in C": _hang_in_c, "hang deaf": _hang_deaf, "hang stopped": _hang_stopped,
    "hang in a program": _hang_in_a_program,
}  # fmt: skip
BALLOONS: dict[str, Callable[[], Any]] = {
    "balloon": _balloon,
    "balloon in C": _balloon_in_c,
    "balloon in a program": _balloon_in_a_program,
}
CRASHES: dict[str, Callable[[], Any]] = {
    "segfault": _segfault, "abort": os.abort, "exit": partial(os._exit, 0), "leave": partial(sys.exit, 3),
    "raise": _raise_something, "close files": partial(os.closerange, 3, 1 << 16),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
}  # fmt: skip
KINDS = {**HANGS, **BALLOONS, **CRASHES}


def start() -> Callable[[tuple[str, Any]], Any]:
    """What the processes of a pool do: `(what, argument)` → an answer, if any."""
    return work


def fail_to_start() -> Callable[[Any], Any]:
    """A start that fails."""
    raise FileNotFoundError("tokenizer.json is missing")


def die_at_start() -> Callable[[Any], Any]:
    """A start that is no more."""
    os._exit(7)


def work(request: tuple[str, Any]) -> Any:
    """Do as told."""
    what, argument = request
    if _kept and _kept[-1] == "poison":
        _segfault()
    if what == "repeat":
        text, times = argument
        return text * times
    if what == "echo":
        return argument
    if what == "pid":
        return os.getpid()
    if what == "go on":
        for _ in range(argument):
            time.sleep(0.3)
            beat()
        return argument
    if what == "scribble":
        path = tempfile.mkdtemp()
        Path(path, "page").write_bytes(b"of somebody's document")
        Path(argument).write_text(path)
        _hang()
    if what == "modules":
        return sorted(sys.modules)
    if what == "reject":
        raise Rejected(argument)
    if what == "keep":
        _kept.append(b"\1" * argument)
        return os.getpid()
    if what == "poison":
        _kept.append("poison")
        return os.getpid()
    if what == "leave a thread":
        threading.Thread(target=_hang).start()
        return os.getpid()
    if what == "lambda":
        return lambda: None
    return KINDS[what]()


@dataclass(frozen=True)
class Tempted:
    """A pool's start like the real one, but a document that says `MISBEHAVE: kind` has its way."""

    start: Callable[[], Callable[[Any], Any]]

    def __call__(self) -> Callable[[Any], Any]:
        """The function that does it."""
        return partial(_make, self.start())


def _make(make: Callable[[Any], Any], order: Any) -> Any:
    if (found := re.match(rb"MISBEHAVE: ([\w ]+)", order.data or b"")) is not None:
        KINDS[found[1].decode()]()
    return make(order)


def tempted_maker(*arguments: Any) -> Tempted:
    """`pipeline.documents.Maker`, with documents that may misbehave."""
    from pipeline.documents import Maker

    return Tempted(Maker(*arguments))


def main() -> int:
    """The command line, on an engine that does nothing, and with documents that may misbehave."""
    import pipeline.embed.vllm
    import pipeline.prepare
    import pipeline.workers.pool
    from flows import cli
    from tests.faults import FakeEngine, bundled

    engine: Any = FakeEngine(bundled()[0].dimensions)
    engine.start_seconds = 0.0
    pipeline.embed.vllm.start_engine = lambda *_: engine
    pipeline.workers.pool._TOGETHER_SECONDS = 1.0
    pipeline.prepare.Maker = tempted_maker  # type: ignore[assignment,misc]
    return cli.main(sys.argv[1:])
