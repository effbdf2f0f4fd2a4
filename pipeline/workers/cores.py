"""The cores of this machine, shared out among all processes of ours that run programs on them."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_TICK = 0.05


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def core() -> Iterator[None]:
    """Have one of them; waits while other processes of this user have all.

    Each is a name that one socket at a time can have: the kernel takes it back from whoever dies. Where sockets cannot
    have names without files (Linux only), nothing is counted.
    """
    if sys.platform != "linux":
        yield
        return
    with socket.socket(socket.AF_UNIX) as claim:
        while not any(_claimed(claim, number) for number in range(cores())):
            time.sleep(_TICK)
        yield


def _claimed(claim: socket.socket, number: int) -> bool:
    try:
        claim.bind(f"\0corpusvec-{os.getuid()}-core-{number}")
    except OSError:
        return False
    return True
