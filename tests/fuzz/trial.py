"""One broken document, made and parsed where nothing can get out; and many, counted."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

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
            reason, _, defect = outcome.detail.partition("\0")
            self.reasons[reason[:80]] += 1
            if defect:
                self.hidden[defect] += 1
                self.examples.setdefault(defect, outcome.number)
        elif outcome.kind != "parsed":
            self.faults.append(outcome)


def start(family: str) -> Callable[[int], Outcome]:
    """What the processes do: the number of a document → what became of it."""
    witness = _Witness()
    logger = logging.getLogger("pipeline.parse")
    logger.addHandler(witness)
    logger.setLevel(logging.DEBUG)
    seeds(family)
    return partial(_try, family, witness)


def _try(family: str, witness: _Witness, number: int) -> Outcome:
    name, data = mutate(seeds(family), number, family)
    witness.seen = ""
    started = time.perf_counter()
    try:
        parsed = parse(data, f"file:///fuzz/{name}")
        outcome = Outcome(number, "parsed")
        obeys_the_law(parsed)
        for member in parsed.members:
            assert member.name and (member.data or member.refused or member.data == b"")
    except Rejected as rejected:
        outcome = Outcome(number, "rejected", f"{rejected}\0{witness.seen}")
    except Exception as error:
        outcome = Outcome(number, "broken", _where(error))
    outcome.seconds = time.perf_counter() - started
    outcome.resident = int(Path("/proc/self/statm").read_bytes().split()[1]) * 4096
    return outcome


class _Witness(logging.Handler):
    """Remembers the exception behind a rejection."""

    seen = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.seen = _where(record.exc_info[1])


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "/pipeline/" in code.co_filename or "/tests/" in code.co_filename:
            place = f"{Path(code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {place}: {str(error)[:120]}"


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
