"""Leases: what an owner learns, whom a claim keeps out, and every order in which claimants may write and look."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Terminal, Transient
from pipeline.lease import Lease
from pipeline.lock import Claim, Lock, Mode, held
from tests.pipeline.test_lock import HOLDS, RUN, ObjectStore, is_free, kill, locks, owner, process, until


@pytest.fixture
def objects(tmp_path: Path) -> str:
    """An object store."""
    return f"objects://{tmp_path}/data"


def lost(lock: Lock) -> str:
    """What the owner is told; waits for it."""
    told: list[str] = []

    def is_told() -> bool:
        try:
            lock.check()
        except Terminal as error:
            told.append(str(error))
        return bool(told)

    until(is_told)
    return told[0]


def test_an_owner_that_is_awake_keeps_its_lease(objects: str) -> None:
    """A lease is renewed for as long as its owner lives: nobody gets in, lives after it would have expired."""
    with held(objects, RUN, "ingest docs/", lease_seconds=1) as lock:
        with pytest.raises(Transient), held(objects, RUN, "ingest mail/", wait=2.5):
            raise AssertionError("two are in")
        lock.check()


def test_an_owner_that_was_taken_for_dead_learns_of_it(objects: str) -> None:
    """A process that was stopped for longer than its lease, and woke up, is told before it commits anything."""
    with held(objects, RUN, "ingest docs/", lease_seconds=1) as lock:
        for path in locks(objects).iterdir():
            path.unlink()
        with held(objects, RUN, "ingest mail/") as other:
            told = lost(lock)
            other.check()
    assert told.startswith("lost the lock on the collection notes and the data in objects:")
    assert told.endswith(
        "another run took this one for dead, so that another run may be at work by now; "
        "run this again, and it goes on where it ended"
    )


def test_an_owner_whose_store_went_away_learns_of_it(objects: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that cannot be renewed is lost when its time is over, and not with the first failure."""
    with held(objects, RUN, "ingest docs/", lease_seconds=1) as lock:
        failures = []

        def fail(*_: Any) -> None:
            failures.append("no")
            raise ConnectionError("no route")

        monkeypatch.setattr(ObjectStore, "pipe_file", fail)
        until(lambda: failures)
        lock.check()
        assert "it was not renewed for 1 s" in lost(lock)
        assert len(failures) > 1


def test_an_expired_lease_is_watched_before_it_is_believed(objects: str) -> None:
    """Clocks differ: a lease that looks expired but is renewed is respected; one that is not is taken over at once."""
    with owner(objects, lease_seconds=1) as other:
        with pytest.raises(Transient), held(objects, RUN, "ingest mail/", lease_seconds=1):
            raise AssertionError("two are in")
        kill(other)
    for path in locks(objects).iterdir():
        claim = json.loads(path.read_bytes())
        path.write_text(json.dumps(claim | {"expires": claim["expires"] - 3600}))
    assert is_free(objects)

    behind = (
        """
import time
mine = time.time
time.time = lambda: mine() - 3600
"""
        + HOLDS
    )
    with process(behind, objects, "1") as alive:
        assert alive.stdout is not None
        assert alive.stdout.readline() == "in\n"
        assert not is_free(objects)


def test_a_store_that_does_not_answer_is_worth_another_try(objects: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver's own exceptions are told as what they are: the lock cannot be had now."""

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(ObjectStore, "ls", fail)
    with pytest.raises(Transient, match=r"^cannot lock objects:.* now: no route"), held(objects, RUN, "ingest docs/"):
        raise AssertionError("locked")


class TurnByTurn(MemoryFileSystem):
    """A store whose every call waits until it is that claimant's turn."""

    protocol = "turns"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    cachable = False
    before_each: ClassVar[Callable[[], None]]


def gated(verb: str) -> Callable[..., Any]:
    def call(self: TurnByTurn, *arguments: Any, **options: Any) -> Any:
        if threading.current_thread().name.startswith("claimant"):
            TurnByTurn.before_each()
        return getattr(MemoryFileSystem, verb)(self, *arguments, **options)

    return call


for _verb in ("ls", "cat_file", "pipe_file", "rm_file"):
    setattr(TurnByTurn, _verb, gated(_verb))

fsspec.register_implementation("turns", TurnByTurn, clobber=True)


def run_in_turns(threads: list[threading.Thread], turns: Iterable[int]) -> None:
    """Run `threads` one at a time, from one call of the store to the next, in the order of `turns`."""
    waiting: dict[threading.Thread, threading.Event] = {}
    changed = threading.Condition()

    def wait_for_turn() -> None:
        mine = threading.Event()
        with changed:
            waiting[threading.current_thread()] = mine
            changed.notify()
        mine.wait()

    TurnByTurn.before_each = wait_for_turn
    for thread in threads:
        thread.start()
    for turn in turns:
        with changed:
            while any(thread.is_alive() and thread not in waiting for thread in threads):
                changed.wait(0.001)
            ready = [thread for thread in threads if thread in waiting]
            if not ready:
                return
            waiting.pop(ready[turn % len(ready)]).set()
    raise AssertionError("they wait for each other")


@given(
    st.lists(st.sampled_from(["exclusive", "shared"]), min_size=2, max_size=3),
    st.permutations(range(3)),
    st.lists(st.integers(0, 5), max_size=40),
)
@settings(max_examples=150, deadline=None)
def test_no_order_of_events_lets_two_in(modes: list[Mode], tokens: list[int], turns: list[int]) -> None:
    """However the calls of two or three who claim at once interleave: never two that exclude each other, never none."""
    TurnByTurn.store.clear()
    claimants = [Lease("turns://data", {"a": mode}, "", 600) for mode in modes]
    answers: dict[int, Claim | None] = {}

    def claim(number: int) -> None:
        answers[number] = claimants[number].take(polite=False)

    for claimant, token in zip(claimants, tokens, strict=False):
        claimant.pause, claimant._token = 0, str(token)  # what decides who goes in must not be left to chance here
    threads = [
        threading.Thread(target=claim, args=(number,), name=f"claimant {number}", daemon=True)
        for number in range(len(modes))
    ]
    run_in_turns(threads, chain(turns, islice(cycle(range(6)), 2_000)))
    inside = [modes[number] for number, answer in answers.items() if answer is None]
    for claimant in claimants:
        claimant.release()
    assert len(answers) == len(modes)
    assert inside == ["exclusive"] or (inside and set(inside) == {"shared"})
