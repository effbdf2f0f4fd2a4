"""Programs that a worker runs: found, weighed and ended with it. Nothing is known of them where there is no /proc."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def descendants(pid: int) -> Iterator[int]:
    """The processes that `pid` has started, and those that they have, parents first."""
    for child in _children(pid):
        yield child
        yield from descendants(child)


def resident(pid: int) -> int:
    """Resident memory of `pid` alone, in bytes; 0 where the system does not say, and nothing is limited there."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def family_resident(pid: int) -> int:
    """That of `pid` and all that it has started."""
    return sum(map(resident, (pid, *descendants(pid))))


def kill_family(pid: int) -> None:
    """End `pid`, a child of ours that nobody has waited for yet, and all that it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGSTOP)  # so that it starts no more meanwhile
    for each in (*descendants(pid), pid):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(each, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    """Those of all its threads, each of which has its own."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.scandir(f"/proc/{pid}/task"):
            with suppress(OSError):
                found += map(int, Path(thread.path, "children").read_bytes().split())
    return found
