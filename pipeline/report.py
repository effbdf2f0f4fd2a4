"""What a run did, and what it was planned to do: counted stage by stage, shown to people and printed as JSON."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pipeline.types import Rejection

DOCUMENTS = ("seen", "new", "changed", "moved", "unchanged", "deleted", "rejected")
_COUNTS = (
    "chunks", "tokens", "embedded", "embedded_tokens", "reused", "upserted", "patched", "deleted", "bytes_read",
    "bytes_written",
)  # fmt: skip


@dataclass(slots=True)
class Figures:
    """Counts, of a plan or of what came of it.

    The law: documents seen == new + changed + moved + unchanged + rejected, and chunks == embedded + reused. `tokens`
    are those of all chunks looked at, `embedded_tokens` of those that an engine must see. `bytes_read` are of sources,
    `bytes_written` about what texts and vectors take in Parquet and vectors in the store, before compression.
    """

    documents: Counter[str] = field(default_factory=Counter)
    chunks: int = 0
    tokens: int = 0
    embedded: int = 0
    embedded_tokens: int = 0
    reused: int = 0
    upserted: int = 0
    patched: int = 0
    deleted: int = 0
    bytes_read: int = 0
    bytes_written: int = 0

    def add_figures(self, other: Figures) -> None:
        """Add another's counts to these."""
        self.documents.update(other.documents)
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "documents": {name: self.documents[name] for name in DOCUMENTS},
            "chunks": self.chunks,
            "tokens": self.tokens,
            "embedded": self.embedded,
            "embedded_tokens": self.embedded_tokens,
            "reused": self.reused,
            "points": {"upserted": self.upserted, "patched": self.patched, "deleted": self.deleted},
            "bytes": {"read": self.bytes_read, "written": self.bytes_written},
        }


@dataclass(slots=True)
class Report(Figures):
    """What one run or one work unit did. `seconds` are busy seconds a stage; stages overlap, `total` is the clock.

    `planned` is what was foreseen for it, each unit just before it was done. `engine` is what computed its vectors
    (settings, versions, and the quality of quantized ones beside exact ones); {} if nothing was embedded.
    """

    planned: Figures = field(default_factory=Figures)
    planned_seconds: float | None = None
    rejected: list[Rejection] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    engine: dict[str, Any] = field(default_factory=dict)

    def add(self, other: Report) -> None:
        """Add another report's counts to this one."""
        self.add_figures(other)
        self.planned.add_figures(other.planned)
        for stage, seconds in other.seconds.items():
            self.seconds[stage] += seconds
        self.rejected += other.rejected
        self.warnings += other.warnings
        self.engine = other.engine or self.engine

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
            **Figures.as_dict(self),
            "rejected": [{"uri": r.uri, "stage": r.stage, "reason": r.reason} for r in self.rejected],
            "warnings": [{"uri": uri, "warning": warning} for uri, warning in self.warnings],
            "seconds": {stage: round(seconds, 3) for stage, seconds in sorted(self.seconds.items())},
            "engine": self.engine,
            "tokens_per_second": round(self.tokens_per_second, 1),
            "planned": {**self.planned.as_dict(), "seconds": self.planned_seconds},
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


#: Which busy seconds make which amount: stages that are planned for, in the words of a report's JSON form.
_SPEEDS: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Any]], int]], ...] = (
    (("read", "parse", "chunk", "checkpoint", "compare"), lambda report: int(report["tokens"])),
    (("embed",), lambda report: int(report["embedded_tokens"])),
    (("load",), lambda report: sum(report["points"].values())),
    (("list",), lambda report: int(report["documents"]["seen"])),
)


def estimate_seconds(work: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> float | None:
    """How long `work` should take, from earlier runs' reports, newest first (all in the JSON form).

    For each stage, the amount over the speed of the newest run that did a measurable amount of it; one stage after the
    other, as on a CPU (where they overlap, it takes less); plus an engine's start if there is something to embed.
    None if there is a stage to do that no run has measured.
    """
    seconds = 0.0
    for stages, amount in _SPEEDS:
        if not amount(work):
            continue
        for report in earlier:
            busy = sum(report["seconds"].get(stage, 0.0) for stage in stages)
            if amount(report) and busy > 0:
                seconds += amount(work) * busy / amount(report)
                break
        else:
            return None
    if work["embedded"]:
        starts = [report["seconds"]["engine_start"] for report in earlier if report["seconds"].get("engine_start")]
        seconds += starts[0] if starts else 0.0
    return round(seconds, 1)
