"""Who may work on what under one root: exclusive and shared locks, which their owner's death frees.

    with held(root, {"documents@edge-index": "exclusive", ROOT: "shared"}, "ingest docs/", wait=60) as lock:
        ...
        lock.check()       # before a commit: is it still ours?
        lock.wanted()      # between slices: does somebody wait for it?

Under a local root the kernel keeps them (flock, which NFS passes on to its server); under any other, leases do
(`pipeline.lease`).

    ROOT/locks/NAME.lock            what the kernel locks; empty, and never removed
    ROOT/locks/NAME.STATE.TOKEN     who holds it or waits for it; whoever wrote it keeps it locked too, so a note that
                                    is not locked is a dead process's and counts for nothing
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import Terminal, Transient

log = logging.getLogger(__name__)

Mode = Literal["exclusive", "shared"]

#: The lock on everything under a root: a run holds it shared, what rewrites or removes parts holds it exclusively.
ROOT = "root"

HELD, WAITING = "held", "waiting"

#: How long a lease lasts if it is not renewed, in seconds; so long a dead owner is taken for alive.
LEASE_SECONDS = 60.0

# How often who waits asks again, in seconds.
_POLL = 0.05


@dataclass(frozen=True, slots=True)
class Claim:
    """What somebody holds or waits for, as others see it. `since` is UTC, to the second.

    `grace` is for how long, in seconds, it is worth watching whether its owner is still alive.
    """

    name: str
    state: str
    token: str
    mode: Mode
    purpose: str
    host: str
    process: int
    since: str
    grace: float = 0.0

    def __str__(self) -> str:
        return f"{self.purpose} (process {self.process} on {self.host}, since {self.since})"

    def against(self, mode: Mode) -> bool:
        """Whether it and a claim of `mode` exclude each other."""
        return not self.mode == mode == "shared"


class Lock(Protocol):
    """Some names, held together."""

    def check(self) -> None:
        """Raises Terminal if the lock is lost, so that others may be at work. Cheap: call it before each commit."""

    def wanted(self) -> bool:
        """Whether somebody waits for any of it."""


class Taker(Lock, Protocol):
    """A lock being taken."""

    #: Seconds between two tries.
    pause: float

    def take(self, polite: bool) -> Claim | None:
        """Take every name, or none and return who is in the way. A polite one lets those who wait go first."""

    def announce(self, name: str) -> None:
        """Leave a sign that we wait for `name`; it goes when we have it, give up or die."""

    def release(self) -> None:
        """Give everything back, whatever has been taken. Idempotent."""


@contextlib.contextmanager
def held(
    root: str,
    names: Mapping[str, Mode],
    purpose: str,
    wait: float | None = None,
    *,
    polite: bool = False,
    lease_seconds: float = LEASE_SECONDS,
) -> Iterator[Lock]:
    """Hold `names` under `root` (a folder or an fsspec URL): all of them, or none.

    `purpose` is how others are told of it: "ingest docs/". Waits up to `wait` seconds (`math.inf` allowed) if somebody
    is in the way; then, or at once without `wait`, raises Transient naming who it is. A `polite` one is let in only
    when nobody else waits. Raises Terminal if `root` cannot be written.
    """
    filesystem, path = fsspec.url_to_fs(root)
    lock: Taker
    if isinstance(filesystem, LocalFileSystem):
        lock = KernelLock(Path(path) / "locks", names, purpose)
    else:
        from pipeline.lease import Lease

        lock = Lease(root, names, purpose, lease_seconds)
    try:
        _acquire(lock, root, wait or 0.0, polite)
        yield lock
    finally:
        lock.release()


def _acquire(lock: Taker, root: str, wait: float, polite: bool) -> None:
    started = time.monotonic()
    told = False
    while (other := lock.take(polite)) is not None:
        left = started + max(wait, other.grace) - time.monotonic()
        if left <= 0:
            still = f"still in use after {wait:g} s" if wait else "in use"
            raise Transient(f"{describe(other.name, root)} is {still}: {other}; wait for it to end, or use --wait")
        if not told:
            log.warning("waiting for %s: %s is in use", other, describe(other.name, root))
            told = True
        if not polite:
            lock.announce(other.name)
        time.sleep(min(lock.pause, left))
    lock.check()


def describe(name: str, root: str) -> str:
    """What a lock is on, in words."""
    collection, at, _ = name.partition("@")
    if at:
        return f"the collection {collection}"
    return f"the data in {root}" if name == ROOT else f"{name} in {root}"


def who(purpose: str) -> dict[str, str | int]:
    """The part of a claim that names its owner."""
    return {
        "purpose": purpose,
        "host": socket.gethostname(),
        "process": os.getpid(),
        "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }


class KernelLock:
    """`names` as files that the kernel locks: it frees them when their owner ends, however it ends."""

    pause = _POLL

    def __init__(self, folder: Path, names: Mapping[str, Mode], purpose: str) -> None:
        self._folder = folder
        self._names = dict(sorted(names.items()))  # one order for all, so that two never hold what the other wants
        self._owner = who(purpose)
        self._token = secrets.token_hex(8)
        self._process = os.getpid()
        self._locks: dict[str, int] = {}
        self._notes: dict[str, tuple[Path, int]] = {}

    def take(self, polite: bool) -> Claim | None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for name, mode in self._names.items():
                if other := self._take(name, mode, polite):
                    self._unlock()
                    return other
            for name in self._names:
                self._note(name, HELD)
                for state in (HELD, WAITING):
                    list(self._others(name, state))  # the dead leave notes behind
        except OSError as error:
            raise Terminal(
                f"cannot lock {self._folder}: {error.strerror or error}; free the disk or correct 'data'"
            ) from error
        return None

    def _take(self, name: str, mode: Mode, polite: bool) -> Claim | None:
        if polite and (first := next(self._others(name, WAITING), None)):
            return first
        descriptor = _open_locked(self._folder / f"{name}.lock", mode)
        if descriptor is not None:
            self._locks[name] = descriptor
            return None
        for _ in range(10):
            if holder := next(self._others(name, HELD), None):
                return holder
            time.sleep(0.01)  # it has the lock, and its note is not written yet
        return Claim(name, HELD, "", "exclusive", "another run", "an unknown host", 0, "a moment ago")

    def announce(self, name: str) -> None:
        self._note(name, WAITING)

    def wanted(self) -> bool:
        return any(next(self._others(name, WAITING), None) for name in self._names)

    def check(self) -> None:
        # The kernel takes nothing from the living, but people remove folders.
        for name, descriptor in self._locks.items():
            if not _same_file(self._folder / f"{name}.lock", descriptor):
                raise Terminal(
                    f"lost the lock on {describe(name, str(self._folder.parent))}: somebody removed "
                    f"{self._folder / name}.lock while this was running; run this again, and it goes on where it ended"
                )

    def release(self) -> None:
        if os.getpid() != self._process:
            return  # a fork's copy: not its to give back
        for path, descriptor in self._notes.values():
            with contextlib.suppress(OSError):  # a note whose lock is gone counts for nothing
                path.unlink()
            _close(descriptor)
        self._notes.clear()
        self._unlock()

    def _unlock(self) -> None:
        for descriptor in self._locks.values():
            _close(descriptor)
        self._locks.clear()

    def _note(self, name: str, state: str) -> None:
        """Say `state` of `name`. Locked before it can be seen: a note that is not locked is a dead one's."""
        path = self._folder / f"{name}.{state}.{self._token}"
        if name in self._notes:
            old, descriptor = self._notes[name]
        else:
            old = self._folder / f".{self._token}"
            found = _open_locked(old, "exclusive")
            assert found is not None  # nobody else knows the name
            descriptor = found
            self._notes[name] = old, descriptor
            os.write(descriptor, json.dumps({"mode": self._names[name], **self._owner}).encode())
        self._notes[name] = path, descriptor
        old.rename(path)

    def _others(self, name: str, state: str) -> Iterator[Claim]:
        """The notes of the living that exclude ours; removes those of the dead."""
        for path in _listed(self._folder, f"{name}.{state}."):
            token = path.name.rpartition(".")[2]
            if token == self._token:
                continue
            with contextlib.suppress(FileNotFoundError):
                if _is_locked(path):
                    claim = Claim(name, state, token, **json.loads(path.read_bytes()))
                    if claim.against(self._names[name]):
                        yield claim
                else:
                    path.unlink()


def _listed(folder: Path, prefix: str) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.name.startswith(prefix))


# A forked child would keep every lock of its parent alive beyond the parent's death: it closes them first. (What
# starts a program anew is no concern: Python's descriptors are closed by exec.)
_descriptors: set[int] = set()
_forking = threading.Lock()


def _open_locked(path: Path, mode: Mode) -> int | None:
    """A descriptor that holds `path` locked, None if somebody else does."""
    with _forking:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_NB | (fcntl.LOCK_SH if mode == "shared" else fcntl.LOCK_EX))
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        _descriptors.add(descriptor)
        return descriptor


def _is_locked(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_NB | fcntl.LOCK_SH)
        except BlockingIOError:
            return True
        return False


def _same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _close(descriptor: int) -> None:
    with _forking:
        _descriptors.discard(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _close_in_child() -> None:
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()
    _forking.release()


os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_close_in_child)
