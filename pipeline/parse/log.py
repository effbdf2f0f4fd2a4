"""Logs: a record is a line with its time, and the lines after it that have none (stack traces, wrapped messages)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

from pipeline.parse.builder import Builder
from pipeline.types import Parsed

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_CLOCK = r"(?P<hour>[01]\d|2[0-3])[:.](?P<minute>[0-5]\d)[:.](?P<second>[0-5]\d|60)(?:[.,](?P<fraction>\d{1,9}))?"
_ZONE = r"(?: ?(?P<zone>Z|UTC|GMT|[+-]\d\d:?\d\d)(?![\w:]))?"
_DAY = r"(?P<day>0[1-9]|[12]\d|3[01])"
_MONTH_NUMBER = r"(?P<month>0[1-9]|1[0-2])"

# How the times of logs are written; the first that is found early enough in a line is its time.
_TIMES = tuple(
    re.compile(pattern)
    for pattern in (
        # 2015-10-18 18:01:47,978  2024-05-01T09:30:00.123Z  2011/09/09 10:42:29  2005-06-03-15.42.50.675872
        rf"(?<!\d)(?P<year>\d{{4}})[-/.]{_MONTH_NUMBER}[-/.]{_DAY}[T \-_]+{_CLOCK}{_ZONE}",
        # 20171223-22:15:29:606, and 20171223-22:16:1:27, whose numbers are not filled up
        rf"(?<!\d)(?P<year>(?:19|20)\d\d){_MONTH_NUMBER}{_DAY}[-T ](?P<hour>\d\d?):(?P<minute>\d\d?):(?P<second>\d\d?)"
        r"(?::(?P<milliseconds>\d{1,3})(?!\d)|[.,](?P<fraction>\d{1,9}))?",
        # 20240501T093000Z
        rf"(?<!\d)(?P<year>(?:19|20)\d\d){_MONTH_NUMBER}{_DAY}T(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d){_ZONE}",
        # [Sun Dec 04 04:47:44 2005]  [Fri Sep 09 10:42:29.902022 2011]
        rf"\b{_MONTH} +(?P<day>\d\d?) {_CLOCK} (?:[A-Z]{{3,4}} )?(?P<year>\d{{4}})\b",
        # [10/Oct/2000:13:55:36 -0700]  01-May-2024 09:30:00.123
        rf"(?<!\d)(?P<day>\d\d)[/-]{_MONTH}[/-](?P<year>\d{{4}})[: ]{_CLOCK}{_ZONE}",
        # Sep 09, 2011 10:42:29
        rf"\b{_MONTH} +(?P<day>\d\d?),? (?P<year>\d{{4}}),? {_CLOCK}",
        # 17/06/09 20:10:40, year first as Hadoop and Spark have it
        rf"^\W?(?P<year>\d\d)/{_MONTH_NUMBER}/{_DAY} {_CLOCK}",
        # 081109 203615
        rf"^(?P<year>\d\d){_MONTH_NUMBER}{_DAY} (?P<hour>[01]\d|2[0-3])(?P<minute>[0-5]\d)(?P<second>[0-5]\d)\b",
        # Jun 14 15:16:01, which has no year
        rf"\b{_MONTH} +(?P<day>\d\d?) {_CLOCK}",
        # 03-17 16:13:38.811  [10.30 16:49:06]
        rf"^\W?{_MONTH_NUMBER}[-.]{_DAY} {_CLOCK}",
        # I0314 12:00:00.123456
        rf"^(?P<letter>[DIWEF]){_MONTH_NUMBER}{_DAY} {_CLOCK}",
        # 12:00:00.123
        rf"^\W?{_CLOCK}\b",
    )
)
_TIME_WITHIN = 120

_LEVELS = {
    "trace": "trace", "verbose": "trace", "finest": "trace", "finer": "trace", "debug": "debug", "fine": "debug",
    "info": "info", "information": "info", "informational": "info", "notice": "notice", "warn": "warning",
    "warning": "warning", "err": "error", "error": "error", "severe": "error", "failure": "error", "fatal": "fatal",
    "critical": "fatal", "crit": "fatal", "alert": "fatal", "emerg": "fatal", "emergency": "fatal", "panic": "fatal",
}  # fmt: skip
_NAMES = "|".join(sorted(_LEVELS, key=len, reverse=True))
_LETTERS = {"V": "trace", "D": "debug", "I": "info", "W": "warning", "E": "error", "F": "fatal", "A": "fatal"}
# `level=info`, `"level": "info"`, `[notice]`, `<warn>`, `info:` in any case; INFO as a word of its own.
_LEVEL = re.compile(
    rf"(?i:\b(?:level|lvl|severity|levelname)\W{{1,4}}(?P<field>{_NAMES})\b)"
    rf"|(?i:[\[<(](?:\w+:)?(?P<bracketed>{_NAMES})\s*[\])>])"
    rf"|(?<![\w-])(?P<word>{_NAMES.upper()}|Info|Warning|Error|Debug|Notice|Critical)(?![\w-])"
    r"|^\s*\d+\s+\d+\s+(?P<letter>[VDIWEFA])\s"
)
_LEVEL_WITHIN = 80

_LONGEST_BLOCK = 8192


def parse(data: bytes, uri: str) -> Parsed:
    """A block of kind "log" a record, of at most 8,192 characters unless a single line is longer.

    `metadata` has `records`, `levels` (how many records have each: trace, debug, info, notice, warning, error, fatal)
    and, where the times have years, the earliest and latest as `time_from` and `time_to` (ISO 8601). Times without a
    zone stay without.
    """
    builder = Builder()
    levels: Counter[str] = Counter()
    span: list[datetime] = []
    records = 0
    for record, time in _records(builder.decode(data).split("\n")):
        for block in _bounded(record):
            builder.add("log", block)
        if time is None:
            continue
        records += 1
        if level := _level(record[0], time):
            levels[level] += 1
        if moment := _moment(time):
            span = [min(span[0], moment, key=_order), max(span[1], moment, key=_order)] if span else [moment, moment]
    ends = dict(zip(("time_from", "time_to"), (moment.isoformat() for moment in span), strict=False))
    return builder.build("text/x-log", metadata={"records": records, "levels": dict(levels.most_common()), **ends})


def looks_like_log(sample: str) -> bool:
    """Whether half of the first hundred lines (at least two of them) start records, and prose does not do that."""
    lines = [line for line in sample.split("\n", 201)[:200] if line.strip()][:100]
    starts = sum(_time(line) is not None for line in lines)
    return starts >= 2 and starts >= 0.5 * sum(not line[0].isspace() for line in lines)


def _records(lines: list[str]) -> Iterator[tuple[list[str], re.Match[str] | None]]:
    """Each record's lines and its time; lines before the first time, or without any, are records of their own."""
    record: list[str] = []
    of_record: re.Match[str] | None = None
    for line in lines:
        time = _time(line)
        if time is not None or of_record is None:
            if record:
                yield record, of_record
            record, of_record = [line], time
        else:
            record.append(line)
    if record:
        yield record, of_record


def _time(line: str) -> re.Match[str] | None:
    if not line or line[0].isspace():
        return None
    start = line[:_TIME_WITHIN]
    return next((found for pattern in _TIMES if (found := pattern.search(start))), None)


def _level(line: str, time: re.Match[str]) -> str | None:
    letter = time.groupdict().get("letter")
    if letter:
        return _LETTERS[letter]
    found = _LEVEL.search(line[time.end() : time.end() + _LEVEL_WITHIN]) or _LEVEL.search(line[: time.start()])
    if found is None:
        return None
    if found["letter"]:
        return _LETTERS[found["letter"]]
    return _LEVELS[(found["field"] or found["bracketed"] or found["word"]).lower()]


def _moment(time: re.Match[str]) -> datetime | None:
    parts = time.groupdict()
    if not parts.get("year"):
        return None
    year = int(parts["year"])
    year += 0 if year > 99 else 2000 if year < 70 else 1900
    month = parts["month"]
    milliseconds = parts.get("milliseconds")
    fraction = milliseconds.zfill(3) if milliseconds else parts.get("fraction") or ""
    zone = parts.get("zone")
    try:
        return datetime(
            year,
            int(month) if month.isdigit() else _MONTHS.index(month) + 1,
            int(parts["day"]),
            int(parts["hour"]),
            int(parts["minute"]),
            min(59, int(parts["second"])),  # a leap second
            int(fraction.ljust(6, "0")[:6]),
            tzinfo=_zone(zone) if zone else None,
        )
    except ValueError:  # 31 June
        return None


def _zone(name: str) -> timezone:
    if name[0] not in "+-":
        return UTC
    offset = timedelta(hours=int(name[1:3]), minutes=int(name[-2:]))
    return timezone(-offset if name[0] == "-" else offset)


def _order(moment: datetime) -> datetime:
    """Times with and without zones compare as if the latter were UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _bounded(record: list[str]) -> Iterator[str]:
    size, first = 0, 0
    for number, line in enumerate(record):
        if size + len(line) > _LONGEST_BLOCK and number > first:
            yield "\n".join(record[first:number])
            size, first = 0, number
        size += len(line) + 1
    yield "\n".join(record[first:])
