"""Logs: a block an event, or for many that say the same; `pipeline.parse.logs` has how events are read.

What a log does not say is assumed, so that the same bytes always give the same text: a time without a zone is UTC; a
time without a year is near the date in the file's name (syslog-20240501), or else near the event before it.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.parse.compressed import unpack_all
from pipeline.parse.decode import decode_as_written
from pipeline.parse.logs import (
    Miner,
    Passage,
    clean,
    date_in_name,
    is_dated,
    looks_like_log,
    read_events,
    read_passages,
)
from pipeline.types import Block, Parsed

__all__ = ["MEDIA_TYPE", "events_of", "looks_like_log", "parse"]

MEDIA_TYPE = "text/x-log"
_LONGEST_BLOCK = 8192


def parse(data: bytes, uri: str) -> Parsed:
    """A block of kind "log" an event, of at most 8,192 characters unless a single line is longer.

    Of events that say the same over and over a few are blocks, and one more block tells how many there were. Blocks
    have `details`: `time_from` and `time_to` (ISO 8601, UTC; absent if the log does not say, or not which year),
    `levels`, `templates`, `events` (how many it stands for), `line_from`, `line_to`; if it is one event `component`,
    `host` and `pid`; and `begins` where a run of events does.

    `metadata["log"]` has `events`, how many there are, and how many of them are not blocks of their own, `counted`;
    how many `templates` (kinds of messages); how many events of each of the `levels` (trace, debug, info, notice,
    warning, error, fatal); and, where years are known, the earliest and latest time, `time_from` and `time_to`.
    """
    written, warning = decode_as_written(data)
    text = clean(written)
    near = date_in_name(uri)
    miner = Miner()
    tally = _Tally()
    parts: list[str] = []
    blocks: list[Block] = []
    at = 0
    for passage in read_passages(text, read_events(text, near), miner):
        details = tally.details(passage)
        for part in _bounded(passage.text):
            blocks.append(Block("log", at, at + len(part), details=details))
            parts.append(part)
            at += len(part) + 1
            details = {name: value for name, value in details.items() if name != "begins"} | {"events": 0}
    return Parsed(
        "\n".join(parts),
        blocks,
        MEDIA_TYPE,
        metadata={"log": tally.metadata(miner)},
        warnings=[warning] if warning else [],
    )


def events_of(data: bytes, uri: str) -> Iterator[Mapping[str, Any]]:
    """Every event of a log, in order; what is not known of it is None.

    `timestamp` is ISO 8601 with its zone, and `assumed` what of it is not the log's own: None, "zone", "year" (1972
    unless something tells it) or "date". `level`, `component`, `host`, `pid`; `template`, the message with <*> where
    others differ; `line_from` and `line_to`, counted from 1; `text`, as it is written. `data` may be compressed.
    Raises Rejected if it cannot be unpacked.
    """
    data, uri, _, _ = unpack_all(data, uri)
    text = clean(decode_as_written(data)[0])
    near = date_in_name(uri)
    miner = Miner()
    # A template is known when all events are: they are read twice, since a log of them all may not fit in memory.
    numbers = array("L", (miner.add(event.message)[0] for event in read_events(text, near)))
    for event, number in zip(read_events(text, near), numbers, strict=True):
        yield {
            "timestamp": event.timestamp.isoformat() if event.timestamp is not None else None,
            "assumed": event.missing or None,
            "level": event.level,
            "component": event.component or None,
            "host": event.host or None,
            "pid": event.pid,
            "template": miner.templates[number].text,
            "line_from": event.line_from,
            "line_to": event.line_to,
            "text": event.of(text),
        }


class _Tally:
    """What is told of a log as a whole."""

    def __init__(self) -> None:
        self._events = 0
        self._counted = 0
        self._levels = Counter[str]()
        self._from: datetime | None = None
        self._to: datetime | None = None

    def details(self, passage: Passage) -> dict[str, Any]:
        """What is known of a passage, for its block; the passage is counted in."""
        self._events += passage.events
        self._levels.update(passage.levels)
        details: dict[str, Any] = {}
        if passage.times is not None and is_dated(passage.times[0]):
            earliest, latest = passage.times
            self._from = earliest if self._from is None or earliest < self._from else self._from
            self._to = latest if self._to is None or latest > self._to else self._to
            details["time_from"] = _in_utc(earliest)
            details["time_to"] = _in_utc(latest) if latest is not earliest else details["time_from"]
        first = passage.first
        details |= {
            "levels": [*passage.levels],
            "templates": [passage.template] if passage.template else [],
            "events": passage.events,
            "line_from": first.line_from,
            "line_to": passage.last.line_to,
        }
        if passage.begins:
            details["begins"] = True
        if not passage.shown:
            self._counted += passage.events
            return details
        if first.component:
            details["component"] = first.component
        if first.host:
            details["host"] = first.host
        if first.pid is not None:
            details["pid"] = first.pid
        return details

    def metadata(self, miner: Miner) -> dict[str, Any]:
        """The tally, without what is not known."""
        ends = {"time_from": self._from, "time_to": self._to}
        return {
            "events": self._events,
            **({"counted": self._counted} if self._counted else {}),
            "templates": len(miner.templates),
            **({"levels": dict(self._levels.most_common())} if self._levels else {}),
            **{name: _in_utc(at) for name, at in ends.items() if at is not None},
        }


def _in_utc(at: datetime) -> str:
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat()


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
