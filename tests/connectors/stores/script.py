"""What a writer does, so that a test can tell, after killing it, what the store has to hold."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from itertools import count, islice

from pipeline.ports import VectorStore
from pipeline.types import Point

from .contract import patched, point

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
