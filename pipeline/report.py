"""What a run did: counted stage by stage, shown to people and printed as JSON."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pipeline.types import Rejection

_DOCUMENTS = ("seen", "new", "changed", "unchanged", "deleted", "rejected")


@dataclass(slots=True)
class Report:
    """Counts of one run or of one work unit. `seconds` are busy seconds a stage; stages overlap, `total` is the clock.

    The law: documents seen == new + changed + unchanged + rejected.
    """

    documents: Counter[str] = field(default_factory=Counter)
    chunks: int = 0
    tokens: int = 0
    embedded: int = 0
    embedded_tokens: int = 0
    reused: int = 0
    upserted: int = 0
    deleted: int = 0
    rejected: list[Rejection] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, other: Report) -> None:
        """Add another report's counts to this one."""
        self.documents.update(other.documents)
        for stage, seconds in other.seconds.items():
            self.seconds[stage] += seconds
        self.rejected += other.rejected
        self.warnings += other.warnings
        for name in ("chunks", "tokens", "embedded", "embedded_tokens", "reused", "upserted", "deleted"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def reject(self, rejection: Rejection) -> None:
        """Count and keep a rejected document."""
        self.documents["rejected"] += 1
        self.rejected.append(rejection)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time spent inside to `seconds[stage]`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - started

    @property
    def tokens_per_second(self) -> float:
        """Embedded tokens over the run's clock, the engine's start left out; 0 if nothing was embedded."""
        working = self.seconds["total"] - self.seconds["engine_start"]
        return self.embedded_tokens / working if working > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "documents": {name: self.documents[name] for name in _DOCUMENTS},
            "chunks": self.chunks,
            "tokens": self.tokens,
            "embedded": self.embedded,
            "reused": self.reused,
            "points": {"upserted": self.upserted, "deleted": self.deleted},
            "rejected": [{"uri": r.uri, "stage": r.stage, "reason": r.reason} for r in self.rejected],
            "warnings": [{"uri": uri, "warning": warning} for uri, warning in self.warnings],
            "seconds": {stage: round(seconds, 3) for stage, seconds in sorted(self.seconds.items())},
            "tokens_per_second": round(self.tokens_per_second, 1),
        }


class Tally:
    """A report that several threads add to."""

    def __init__(self) -> None:
        self.report = Report()
        self._lock = threading.Lock()

    def add(self, report: Report) -> None:
        """Add a finished work unit's counts."""
        with self._lock:
            self.report.add(report)
