"""What a writer does, so that a test can tell, after killing it, what the store has to hold."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import count, islice
from pathlib import Path

import psutil

from pipeline.ports import VectorStore
from pipeline.types import Point

from .contract import patched, point

_ROOT = Path(__file__).parents[3]

# Works for ever, and says after each operation that the store has acknowledged it.
_WRITER = """
import sys
from connectors.stores import open_store
from tests.connectors.stores.contract import SPEC
from tests.connectors.stores.script import apply, operations

store = open_store(sys.argv[1], "docs", apart=sys.argv[3] == "apart")
store.open(SPEC)
for operation in operations(int(sys.argv[2])):
    apply(store, operation)
    print("done", flush=True)
"""

#: What a store holds: a page, which patches change, by record id.
State = Mapping[str, int | None]
Operation = tuple[str, list[Point]]


def operations(seed: int) -> Iterator[Operation]:
    """Verbs and their points, without end: batches are written, and older points overwritten, patched and deleted."""
    rng = random.Random(seed)
    points: list[Point] = []
    for number in count():
        verb = rng.choice(["upsert", "upsert", "again", "patch", "delete"])
        if verb == "upsert" or not points:
            new = [point(f"text {n % 9}", n=n) for n in range(50 * number, 50 * number + rng.randint(1, 50))]
            points += new
            yield "upsert", new
        elif verb == "delete":
            gone = rng.sample(points, min(20, len(points)))
            ids = {one.record_id for one in gone}
            points = [one for one in points if one.record_id not in ids]
            yield "delete", gone
        else:
            some = rng.sample(points, min(30, len(points)))
            yield "upsert" if verb == "again" else "patch", [patched_page(one, number) for one in some]
        if rng.random() < 0.1:
            yield "flush", []


def patched_page(one: Point, page: int) -> Point:
    changed = patched(one, page=page)
    return Point(one.record_id, one.vector, one.lexical_text, changed.payload)


def apply(store: VectorStore, operation: Operation) -> None:
    """Have the store do it."""
    verb, points = operation
    {
        "upsert": lambda: store.upsert(points),
        "patch": lambda: store.patch(points),
        "delete": lambda: store.delete([one.record_id for one in points]),
        "flush": store.flush,
    }[verb]()


def after(done: int, seed: int) -> tuple[State, State]:
    """What a store holds after `done` operations, and after one more."""
    state: dict[str, int | None] = {}
    before: State = {}
    for number, (verb, points) in enumerate(islice(operations(seed), done + 1)):
        if number == done:
            before = dict(state)
        for one in points:
            if verb == "delete":
                state.pop(one.record_id, None)
            elif verb == "upsert" or one.record_id in state:
                state[one.record_id] = one.payload["page"]
    return before, state


def assert_nothing_is_lost(store: VectorStore, done: int, seed: int) -> None:
    """Everything acknowledged is there; of the operation that was cut short, each point as before it or as after."""
    before, later = after(done, seed)
    found = {one.record_id: one.payload["page"] for one in store.scroll()}
    assert store.count() == len(found)
    missing = object()
    for identity in before.keys() | later.keys() | found.keys():
        assert found.get(identity, missing) in (before.get(identity, missing), later.get(identity, missing))


def write_until_killed(url: str, seed: int, apart: bool = False) -> int:
    """How many operations the store acknowledged to a process that was killed; all that it had started is gone too."""
    command = [sys.executable, "-c", _WRITER, url, str(seed), "apart" if apart else "here"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as process:
        assert process.stdout is not None
        done = process.stdout.readline().count("done")
        time.sleep(random.Random(seed).uniform(0, 0.7))
        children = psutil.Process(process.pid).children(recursive=True)
        assert bool(children) == apart
        process.kill()
        done += process.stdout.read().count("done")
    assert psutil.wait_procs(children, timeout=30)[1] == []
    return done
