"""Logs: a block an event, or for many that say the same; `pipeline.parse.logs` has how events are read.

What a log does not say is assumed, so that the same bytes always give the same text: a time without a zone is UTC; a
time without a year is near the date in the file's name (syslog-20240501), or else near the event before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from pipeline.parse.decode import decode_as_written
from pipeline.parse.logs import Event, Miner, begins_event, clean, date_in_name, read_events, read_passages
from pipeline.types import Block, Parsed

MEDIA_TYPE = "text/x-log"
_LONGEST_BLOCK = 8192


def parse(data: bytes, uri: str) -> Parsed:
    """A block of kind "log" an event, of at most 8,192 characters unless a single line is longer.

    Of events that say the same over and over a few are blocks, and one more block tells how many there were.
    `metadata` has `events`, how many there are, and how many of them are not blocks of their own, `counted`; how many
    `templates` (kinds of messages); how many events of each of the `levels` (trace, debug, info, notice, warning,
    error, fatal); and, where years are known, the earliest and latest time, `time_from` and `time_to` (ISO 8601, UTC).
    """
    written, warning = decode_as_written(data)
    text = clean(written)
    near = date_in_name(uri)
    miner = Miner()
    tally = _Tally(near is not None)
    parts: list[str] = []
    blocks: list[Block] = []
    at = 0
    for passage in read_passages(text, tally.count(read_events(text, near, miner=miner)), miner.templates):
        tally.shown += passage.flood is None
        for part in _bounded(passage.text) if len(passage.text) > _LONGEST_BLOCK else (passage.text,):
            blocks.append(Block("log", at, at + len(part)))
            parts.append(part)
            at += len(part) + 1
    return Parsed(
        "\n".join(parts), blocks, MEDIA_TYPE, metadata=tally.metadata(miner), warnings=[warning] if warning else []
    )


def looks_like_log(sample: str) -> bool:
    """Whether half of the first hundred lines (at least two of them) begin events, and prose does not do that."""
    lines = [line for line in clean(sample).split("\n", 201)[:200] if line.strip()][:100]
    begin = sum(map(begins_event, lines))
    return begin >= 2 and begin >= 0.5 * sum(not line[0].isspace() for line in lines)


class _Tally:
    """What is told of a log as a whole."""

    def __init__(self, anchored: bool) -> None:
        self.events = 0
        self.shown = 0
        self._levels: Counter[str] = Counter()
        self._anchored = anchored  # whether years are known
        self._from: datetime | None = None
        self._to: datetime | None = None

    def count(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, counted as they pass."""
        for event in events:
            self.events += 1
            if event.level is not None:
                self._levels[event.level] += 1
            at = event.timestamp
            if at is not None:
                self._anchored |= event.missing in ("", "zone")
                if self._anchored:
                    self._from = at if self._from is None or at < self._from else self._from
                    self._to = at if self._to is None or at > self._to else self._to
            yield event

    def metadata(self, miner: Miner) -> dict[str, Any]:
        """The tally, without what is not known."""
        ends = {"time_from": self._from, "time_to": self._to}
        return {
            "events": self.events,
            **({"counted": self.events - self.shown} if self.events > self.shown else {}),
            "templates": len(miner.templates),
            **({"levels": dict(self._levels.most_common())} if self._levels else {}),
            **{name: at.astimezone(UTC).isoformat() for name, at in ends.items() if at is not None},
        }


def _bounded(text: str) -> Iterator[str]:
    """`text`, parted at line ends where it is long."""
    at = 0
    while len(text) - at > _LONGEST_BLOCK:
        end = text.rfind("\n", at + 1, at + _LONGEST_BLOCK)
        if end < 0:
            end = text.find("\n", at + _LONGEST_BLOCK)
        if end < 0:
            break
        if text[at:end].strip():
            yield text[at:end]
        at = end + 1
    yield text[at:]
