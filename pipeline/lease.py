"""Locks where no kernel keeps them: leases, as objects that their owner renews and that expire when it dies.

    ROOT/locks/NAME.TOKEN.json      one a claimant: its state (waiting, claiming, held), its owner, when it expires

Nothing here needs a store that writes "only if absent". Whoever wants a name writes a claim of its own, then looks at
the others': of two who claim at once, at least one sees the other, the smaller token goes in and the other steps back.
That takes a store on which what was written is listed at once, as S3, GCS, Azure and MinIO do.

Clocks of two machines are never compared to let somebody in: a claim is dead once it has been watched for longer than
its life, by the watcher's own clock, and has not changed.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import fsspec

from pipeline.errors import Terminal, Transient
from pipeline.lock import HELD, WAITING, Claim, Mode, describe, who

CLAIMING = "claiming"

T = TypeVar("T")

# A claim is watched for this many of its lives before it is taken for dead: clocks do not run equally fast.
_MARGIN = 1.25
# It goes on while the machine sleeps: others' leases on us expire then.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class _Written:
    """What we said last of a name, and when we began to: for its life from then on, nobody may take us for dead."""

    state: str
    data: bytes
    at: float


class Lease:
    """`names` as objects under `root`, each renewed at a third of its `life` (seconds)."""

    def __init__(self, root: str, names: Mapping[str, Mode], purpose: str, life: float) -> None:
        # Not the instance that everybody shares: its listings may be remembered ones.
        self._fs, path = fsspec.url_to_fs(root, use_listings_cache=False)
        self._root = root
        self._folder = f"{path.rstrip('/')}/locks"
        self._names = dict(sorted(names.items()))
        self._owner = who(purpose)
        self._token = secrets.token_hex(8)
        self._process = os.getpid()
        self._life = life
        self.pause = min(1.0, life / 100)
        self._mine: dict[str, _Written] = {}
        self._announced: set[str] = set()
        #: Of each claim of others: the bytes, and since when they have been the same.
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._lost = ""
        self._ended = threading.Event()
        self._renewing: threading.Thread | None = None

    def take(self, polite: bool) -> Claim | None:
        for name in self._names:
            if other := self._take(name, polite):
                for taken in self._names:
                    self._step_back(taken)
                return other
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._renewing.start()
        return None

    def _take(self, name: str, polite: bool) -> Claim | None:
        states = {HELD, CLAIMING, WAITING} if polite else {HELD, CLAIMING}
        claimed = False
        while True:
            others = list(self._others(name, states))
            first = min(others, key=lambda other: other.token, default=None)
            settled = next((other for other in others if other.state != CLAIMING), None)
            if first is None:
                self._write(name, HELD if claimed else CLAIMING)
                if claimed:
                    return None
                claimed = True
            elif settled or not claimed or first.token < self._token or self._age(name) > self._life / 2:
                self._step_back(name)
                return settled or first
            else:
                time.sleep(self.pause / 10)  # the other one sees us too, and steps back

    def _step_back(self, name: str) -> None:
        if name in self._announced:
            if name not in self._mine or self._mine[name].state != WAITING or self._age(name) > self._life / 3:
                self._write(name, WAITING)
        elif name in self._mine:
            self._remove(name)

    def announce(self, name: str) -> None:
        self._announced.add(name)
        self._step_back(name)

    def wanted(self) -> bool:
        return any(next(self._others(name, {WAITING}), None) for name in self._names)

    def check(self) -> None:
        age = max(self._age(name) for name in self._names)
        if not self._lost and age > self._life:
            self._lost = f"it was not renewed for {age:.0f} s"
        if self._lost:
            what = " and ".join(describe(name, self._root) for name in self._names)
            raise Terminal(
                f"lost the lock on {what}: {self._lost}, so that another run may be at work by now; "
                "run this again, and it goes on where it ended"
            )

    def release(self) -> None:
        if os.getpid() != self._process:
            return  # a fork's copy: not its to give back
        self._ended.set()
        if self._renewing is not None:
            self._renewing.join(self._life)
            if self._renewing.is_alive():
                return  # the store does not answer: what we hold expires
        for name in list(self._mine):
            try:
                self._remove(name)
            except (Terminal, Transient):
                pass  # it expires

    def _renew(self) -> None:
        pause = self._life / 3
        while not self._lost and not self._ended.wait(pause):
            try:
                for name, written in self._mine.items():
                    if self._call(self._fs.cat_file, self._path(name)) != written.data:
                        self._lost = "somebody else wrote over it"
                    else:
                        self._write(name, HELD)
                for name in self._names:
                    list(self._others(name, set()))  # the dead leave claims behind
                pause = self._life / 3
            except FileNotFoundError:
                self._lost = "another run took this one for dead"
            except (Terminal, Transient):
                pause = self._life / 12  # there is time for another try

    def _write(self, name: str, state: str) -> None:
        """Say `state` of `name`, which renews it."""
        began = _now()
        claim = {
            "state": state, "mode": self._names[name], **self._owner,
            "life": self._life, "expires": time.time() + self._life,
        }  # fmt: skip
        data = json.dumps(claim).encode()
        self._call(self._fs.pipe_file, self._path(name), data)
        # What is written late may appear after somebody has taken us for dead and gone in.
        if state == HELD and self._age(name) > self._life:
            self._lost = "the store took too long to renew it"
        self._mine[name] = _Written(state, data, began)

    def _age(self, name: str) -> float:
        return _now() - self._mine[name].at

    def _remove(self, name: str) -> None:
        del self._mine[name]
        try:
            self._call(self._fs.rm_file, self._path(name))
        except FileNotFoundError:
            pass

    def _others(self, name: str, states: set[str]) -> Iterator[Claim]:
        """The claims of the living, in one of `states`, that exclude ours; removes those of the dead."""
        try:
            paths = self._call(self._fs.ls, self._folder, detail=False)
        except FileNotFoundError:
            return
        for path in sorted(paths):
            of, _, token = path.rsplit("/", 1)[-1].removesuffix(".json").rpartition(".")
            if of != name or token == self._token:
                continue
            try:
                data = self._call(self._fs.cat_file, path)
                claim, life = self._parsed(name, token, data)
                if self._unchanged(path, data) > life * _MARGIN:
                    self._call(self._fs.rm_file, path)
                elif claim.state in states and claim.against(self._names[name]):
                    yield claim
            except FileNotFoundError:
                continue

    def _parsed(self, name: str, token: str, data: bytes) -> tuple[Claim, float]:
        try:
            found = json.loads(data)
            life, left = float(found.pop("life")), float(found.pop("expires")) - time.time()
            # Expired by our clock, which proves nothing; but then it is worth a closer look.
            return Claim(name=name, token=token, **found, grace=2 * life if left < 0 else 0.0), life
        except (ValueError, TypeError, KeyError):
            # Half written, on a store that shows such things.
            unknown = Claim(name, HELD, token, "exclusive", "another run", "an unknown host", 0, "a moment ago")
            return unknown, self._life

    def _unchanged(self, path: str, data: bytes) -> float:
        """For how long we have seen the same, in seconds."""
        before, since = self._seen.get(path, (None, 0.0))
        if before != data:
            self._seen[path] = data, _now()
            return 0.0
        return _now() - since

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}.{self._token}.json"

    def _call(self, verb: Callable[..., T], *arguments: Any, **options: Any) -> T:
        try:
            return verb(*arguments, **options)
        except FileNotFoundError:
            raise
        except (PermissionError, NotImplementedError) as error:
            raise Terminal(f"cannot lock {self._root}: {error or 'it cannot be written'}; correct 'data'") from error
        except Exception as error:  # drivers have exceptions of their own
            raise Transient(f"cannot lock {self._root} now: {error}") from error


def _now() -> float:
    """Seconds, by a clock that is never set."""
    return time.clock_gettime(_CLOCK)
