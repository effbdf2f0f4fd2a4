"""One broken document, made and parsed where nothing can get out; and many, counted."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import parse as dispatch
from pipeline.errors import Rejected
from pipeline.parse import parse
from pipeline.workers import Pool
from tests.fuzz.families import seeds
from tests.fuzz.mutate import mutate
from tests.pipeline.parse.law import obeys_the_law


@dataclass(slots=True)
class Outcome:
    """What became of one: `kind` is parsed, rejected or broken (a law); `detail` the reason, or what went wrong."""

    number: int
    kind: str
    detail: str = ""
    defect: str = ""  # behind the reason: see `_defect`
    seconds: float = 0.0
    resident: int = 0  # bytes, of the process, afterwards


@dataclass
class Tally:
    """What became of all. `faults` are outcomes that should not be; `hidden` are defects that were told as damage."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    hidden: Counter[str] = field(default_factory=Counter)
    examples: dict[str, int] = field(default_factory=dict)
    faults: list[Outcome] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    resident: list[int] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        self.counts[outcome.kind] += 1
        self.slowest = max(self.slowest, (outcome.seconds, outcome.number))
        if outcome.resident:
            self.resident.append(outcome.resident)
        if outcome.kind == "rejected":
            self.reasons[outcome.detail[:80]] += 1
            if outcome.defect:
                self.hidden[outcome.defect] += 1
                self.examples.setdefault(outcome.defect, outcome.number)
        elif outcome.kind != "parsed":
            self.faults.append(outcome)


def start(family: str) -> Callable[[int], Outcome]:
    """What the processes do: the number of a document → what became of it."""
    seeds(family)
    return partial(_try, family)


def _try(family: str, number: int) -> Outcome:
    name, data = mutate(seeds(family), number, family)
    started = time.perf_counter()
    try:
        parsed = parse(data, f"file:///fuzz/{name}")
        outcome = Outcome(number, "parsed")
        obeys_the_law(parsed)
        for member in parsed.members:
            assert member.name and (member.data or member.refused or member.data == b"")
    except Rejected as rejected:
        outcome = Outcome(number, "rejected", str(rejected), _defect(rejected))
    except Exception as error:
        outcome = Outcome(number, "broken", f"{_where(error)}: {str(error)[:120]}")
    outcome.seconds = time.perf_counter() - started
    outcome.resident = int(Path("/proc/self/statm").read_bytes().split()[1]) * 4096
    return outcome


def _defect(rejected: Rejected) -> str:
    """The exception that no parser foresaw, and that `parse` itself had to turn into this; "" if there is none."""
    *_, last = traceback.walk_tb(rejected.__traceback__)
    cause = rejected.__cause__
    return "" if cause is None or last[0].f_code.co_filename != dispatch.__file__ else _where(cause)


def _where(error: BaseException) -> str:
    """Its type, and the last line of ours that it came through: what defects are told apart by."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = frame.f_code.co_filename
        if "/pipeline/" in path or "/tests/" in path:
            place = f"{Path(path).name}:{line}"
    return f"{type(error).__name__} at {place}"


def run(family: str, numbers: range, workers: int = 1, seconds: float = 20.0, megabytes: int = 1500) -> Tally:
    """Try these numbers."""
    tally = Tally()
    pool: Pool[int, Any] = Pool(partial(start, family), workers, seconds, megabytes)
    try:
        waiting: list[tuple[int, Future[Outcome]]] = []
        for number in numbers:
            waiting.append((number, pool.submit(number)))
            if len(waiting) > 500:
                tally.add(_outcome(*waiting.pop(0)))
        for number, future in waiting:
            tally.add(_outcome(number, future))
    finally:
        pool.close()
    return tally


def _outcome(number: int, future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except Rejected as rejected:
        return Outcome(number, "lost", str(rejected))
