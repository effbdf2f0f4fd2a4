"""When an event happened: the ways that logs write times, and what is assumed where a time is not complete.

A log often leaves out the zone, the year, or the date. Nothing is read from the clock or the file system, so that the
same bytes give the same times on every machine and every night:

- No zone: UTC.
- No year, or no date at all: whichever brings the time nearest to the event before it, so that a log runs on through
  New Year and midnight. Before the first event stands the date that the caller knows, from the file's name, say;
  without one, the year is 1972 (a leap year, and so early that nobody takes it for a real one).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import NamedTuple

#: Stands for "no date is known": any day of a year without a year is nearest to it in 1972.
NOWHEN = datetime(1972, 7, 1, 12, tzinfo=UTC)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MON = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_WEEKDAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
# Zones whose letters mean one thing wherever logs are written; hours from UTC.
_ZONES = {
    "Z": 0, "UTC": 0, "GMT": 0, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3, "JST": 9, "KST": 9, "AEST": 10,
    "EST": -5, "EDT": -4, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
}  # fmt: skip
_ZONE = rf"(?: ?(?:[+-]\d\d:?\d\d|{'|'.join(_ZONES)})(?!\w|:\d))?"

#: The name of each way to write a time, and its pattern (without groups). The order decides where two fit.
KINDS = {
    # 2015-10-18 18:01:47,978  2024-05-01T09:30:00.123Z  2011/09/09  9:42:29  2005-06-03-15.42.50.675872
    "iso": r"\d{4}[-/.]\d\d[-/.]\d\d(?:(?:T|[ ,]{1,2}|[-_\t])\d\d| {1,2}\d)"
    r"(?::\d\d(?::\d\d(?:[.,:]\d{1,9})?)?|\.\d\d\.\d\d(?:\.\d{1,9})?)" + _ZONE,
    # Jun 14 15:16:01  Jun 14 2024 15:16:01
    "syslog": rf"{_MON} {{1,2}}\d{{1,2}} (?:\d{{4}} )?{_CLOCK}(?! (?:[A-Z]{{3,4}} )?\d{{4}}\b)(?: [AP]M\b)?",
    # 03-17 16:13:38.811  10.30 16:49:06  05/01-09:30:00.123456
    "month_day": rf"\d\d(?:[-./]\d\d |/\d\d-){_CLOCK}",
    # I0314 12:00:00.123456, the letter being the level
    "glog": rf"[IWEFDVC]\d{{4}} {_CLOCK}",
    # 20171223-22:15:29:606, 20171223-22:16:1:27 (numbers not filled up), 20240501 09:30:00.123
    "compact": r"(?:19|20)\d{6}[-T ]\d{1,2}:\d{1,2}:\d{1,2}(?:[:.,]\d{1,9})?" + _ZONE,
    # 20240501T093000Z  20240501:093000.123
    "basic": r"(?:19|20)\d{6}[T:]\d{6}(?:[.,]\d{1,9})?" + _ZONE,
    # 081109 203615  240501  9:30:00
    "digits": r"\d{6} {1,2}(?:\d{6}(?=\s)|\d{1,2}:\d\d:\d\d(?:[.,]\d{1,9})?)",
    # Sun Dec 04 04:47:44 2005  Fri Sep 09 10:42:29.902022 2011  Wed May  1 09:30:00 CEST 2024
    "ctime": rf"(?:{_WEEKDAY},? )?{_MON} {{1,2}}\d{{1,2}} {_CLOCK} (?:[A-Z]{{3,4}} )?\d{{4}}",
    # 10/Oct/2000:13:55:36 -0700  01-May-2024 09:30:00.123 UTC  01 May 2024 09:30:00.123
    "day_month": rf"(?:{_WEEKDAY}, )?\d{{1,2}}[-/ ]{_MON}[-/ ]\d{{4}}[: ]{_CLOCK}{_ZONE}",
    # May 01, 2024 9:30:00 AM
    "long": rf"{_MON} \d{{1,2}}, \d{{4}},? \d{{1,2}}:\d\d(?::\d\d(?:[.,]\d{{1,9}})?)?(?: [AP]M)?{_ZONE}",
    # 5/1/2024 9:30:00 AM  01.05.2024 09:30:00  05/01/2024-09:30:00.123456
    "numeric": r"\d{1,2}(?:/\d{1,2}/|\.\d{1,2}\.)\d{4}(?:,? |-)\d{1,2}:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?: [AP]M)?"
    + _ZONE,
    # 17/06/09 20:10:40, year first as Hadoop and Spark have it
    "short": rf"\d\d/\d\d/\d\d {_CLOCK}",
    # 0501/093000.123456, as Chromium has it
    "chromium": r"\d{4}/\d{6}\.\d{3,6}(?=:[A-Z])",
    # 12:00:00.123
    "clock": rf"(?<!\d:){_CLOCK}(?: [AP]M\b)?",
    # 1117838570  1286536309.450  1714555800123, standing alone
    "epoch": r"1\d{9}(?:\.\d{1,9})?(?=[\s:)\]])|1\d{12}(?=\s)",
}
#: Those of them that tell no year.
YEARLESS = frozenset(("syslog", "month_day", "glog", "chromium", "clock"))
_EDGE = r"(?<![\w./-])"
#: A time, the name of its kind being `lastgroup`. Nothing that could belong to it stands before it.
TIME = re.compile(_EDGE + "(?:" + "|".join(f"(?P<{kind}>{KINDS[kind]})" for kind in KINDS if kind != "epoch") + ")")
#: The same for the kind "epoch", which is one only where no other is.
EPOCH = re.compile(_EDGE + f"(?P<epoch>{KINDS['epoch']})")

_HALF_A_YEAR, _HALF_A_DAY = timedelta(days=182), timedelta(hours=12)
# The time of day within a time.
_TIME_OF_DAY = re.compile(r"(?<!\d)(?:\d\d([:.])\d\d\1\d\d|\d{6}(?![\d ]))(?:[.,]\d{3,}|:\d{3})?(?!\d)")
_NUMBERS = re.compile(r"\d+")
_ZONE_END = re.compile(rf"(?:([+-])(\d\d):?(\d\d)|(?<![A-Za-z])({'|'.join(_ZONES)}))$")
# A year after the zone, which then ends the time: CEST 2024.
_LAST_YEAR = re.compile(r"( [A-Z]{3,4}) (\d{4})$")
_DATE_IN_NAME = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)")


class Moment(NamedTuple):
    """A point in time, aware of its zone. `missing` is the coarsest part that the log left out and we filled in.

    One of "" (nothing), "zone", "year" (the zone too) and "date" (year and zone too).
    """

    at: datetime
    missing: str


class _Frame(NamedTuple):
    """What stands around the time of day in a time, `text[start:end]`, and in ISO 8601.

    `plain` is whether the time of day is written as ISO 8601 has it.
    """

    length: int
    start: int
    end: int
    before: str
    after: str
    date: str
    zone: str
    missing: str
    plain: bool


def is_dated(at: datetime) -> bool:
    """Whether a log told of which year `at` is: if none did, it counts from NOWHEN."""
    return at.year > NOWHEN.year + 10


class Clock:
    """Turns the times of one log, in their order, into moments."""

    def __init__(self, near: datetime | None = None, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._near = near or NOWHEN
        self._expected = False
        self._text = ""
        self._moment: Moment | None = None
        self._frame: _Frame | None = None

    def read(self, kind: str, text: str) -> Moment | None:
        """The moment that `text` means, a time of this `kind` (of `TIME`); None for an impossible one (31 June)."""
        if text == self._text:
            return self._moment
        self._text = text
        moment = self._same_day(text)
        if moment is None:
            try:
                moment = self._from_scratch(kind, text)
            except (ValueError, OverflowError):
                moment = None
            self._frame = _frame(text, moment) if moment is not None else None
        self._moment = moment
        if moment is not None:
            self._near = moment.at
        return moment

    def _same_day(self, text: str) -> Moment | None:
        """The moment, if all but the time of day is written as in the time before: it mostly is, and this is quick."""
        if self._frame is None:
            return None
        length, start, end, before, after, date, zone, missing, plain = self._frame
        if len(text) != length or not (text.startswith(before) and text.endswith(after)):
            return None
        clock = text[start:end]
        try:
            at = datetime.fromisoformat(f"{date}{clock if plain else _iso_time(clock)}{zone}")
        except ValueError:  # a leap second, say
            return None
        return Moment._make((at, missing))

    def _from_scratch(self, kind: str, text: str) -> Moment | None:
        if kind == "iso":
            return self._iso(text)
        return self.epoch(float(text)) if kind == "epoch" else self._from_numbers(kind, text)

    def expect(self, number: float) -> None:
        """Read times without a year as near to this many seconds after the start of 1970, which stand beside them."""
        self._near = datetime.fromtimestamp(number, UTC)
        self._expected = True

    def epoch(self, number: float) -> Moment | None:
        """The moment that is this many seconds, milli-, micro- or nanoseconds after the start of 1970 (UTC)."""
        if not 1e8 <= number < 1e20:
            return None
        while number >= 1e11:
            number /= 1000
        self._near = datetime.fromtimestamp(number, UTC)
        return Moment(self._near, "")

    def epoch_text(self, text: str) -> Moment | None:
        """The same for a number that is written as text; None if it is none."""
        try:
            return self.epoch(float(text))
        except ValueError:
            return None

    def _iso(self, text: str) -> Moment | None:
        try:
            at = datetime.fromisoformat(text if text[4] == "-" and text[13:14] == ":" else _as_iso(text))
        except ValueError:  # a zone by name, say
            return self._from_numbers("iso", text)
        return Moment(at, "") if at.tzinfo else Moment(at.replace(tzinfo=self._zone), "zone")

    def _from_numbers(self, kind: str, text: str) -> Moment | None:
        zone, text = _zone_of(_LAST_YEAR.sub(r" \2\1", text) if kind == "ctime" else text)
        year, month, day, clock = _parts(kind, text)
        hour, minute, second, microsecond = _time_of_day(kind, clock)
        if text.endswith(("AM", "PM")):
            hour = hour % 12 + 12 * text.endswith("PM")
        if year is None:
            return self._nearest(month, day, (hour, minute, second, microsecond))
        at = datetime(year, month, day, hour, minute, second, microsecond, zone or self._zone)
        return Moment(at, "" if zone else "zone")

    def _nearest(self, month: int, day: int, time: tuple[int, int, int, int]) -> Moment | None:
        """The moment nearest to the one before, of those on this day of some year, or on some day if `month` is 0."""
        near = self._near.astimezone(self._zone)
        farthest = _HALF_A_YEAR if month else _HALF_A_DAY
        best = None
        for step in (0, -1, 1):
            at = _candidate(near, step, month, day, time)
            if at is not None and (best is None or abs(at - near) < abs(best - near)):
                best = at
                if abs(at - near) <= farthest:
                    break
        if best is None:
            return None
        return Moment(best, "zone" if self._expected else "year" if month else "date")


def date_in_name(uri: str) -> datetime | None:
    """The last date in the name or path of a file (syslog-20240501.gz), at noon UTC; None if there is none."""
    dates = _DATE_IN_NAME.findall(uri)
    if not dates:
        return None
    year, _, month, day = dates[-1]
    try:
        return datetime(int(year), int(month), int(day), 12, tzinfo=UTC)
    except ValueError:
        return None


def _frame(text: str, moment: Moment) -> _Frame | None:
    """The frame of a time that means `moment`; None if other times of that day cannot be read with one."""
    clock = _TIME_OF_DAY.search(text)
    if clock is None or text[-1] == "M" or moment.missing == "date":
        return None
    start, end = clock.span()
    written = moment.at.isoformat()
    date, zone = written[:11], written[19:].lstrip(".0123456789")
    time = _iso_time(text[start:end])
    try:
        same = datetime.fromisoformat(f"{date}{time}{zone}") == moment.at
    except ValueError:
        return None
    plain = time == text[start:end]
    return _Frame(len(text), start, end, text[:start], text[end:], date, zone, moment.missing, plain) if same else None


def _iso_time(text: str) -> str:
    if text[2:3] == ".":
        return text[:8].replace(".", ":") + text[8:]
    # Milliseconds may follow a colon.
    return f"{text[:8]}.{text[9:]}" if text[8:9] == ":" else text


def _as_iso(text: str) -> str:
    clock = text[10:].lstrip("T ,-_\t")
    return f"{text[:10].replace('/', '-').replace('.', '-')}T{_iso_time(clock)}"


def _candidate(near: datetime, step: int, month: int, day: int, time: tuple[int, int, int, int]) -> datetime | None:
    try:
        if month:
            return datetime(near.year + step, month, day, *time, near.tzinfo)
        return datetime(near.year, near.month, near.day, *time, near.tzinfo) + timedelta(days=step)
    except (ValueError, OverflowError):  # the 29th of February of another year
        return None


def _zone_of(text: str) -> tuple[tzinfo | None, str]:
    """The zone that ends a time, and the time without it."""
    found = _ZONE_END.search(text)
    if not found or (found[1] == "-" and ":" not in text[: found.start()]):
        return None, text
    if found[4]:
        offset = timedelta(hours=_ZONES[found[4]])
    else:
        offset = timedelta(hours=int(found[2]), minutes=int(found[3])) * (-1 if found[1] == "-" else 1)
    return timezone(offset) if offset else UTC, text[: found.start()].rstrip()


def _parts(kind: str, text: str) -> tuple[int | None, int, int, list[str]]:
    """Year (None if there is none), month (0 if there is no date), day, and the numbers of the time of day."""
    numbers = _NUMBERS.findall(text)
    if kind == "iso":
        return int(numbers[0]), int(numbers[1]), int(numbers[2]), numbers[3:]
    if kind in ("compact", "basic"):
        date = numbers[0]
        return int(date[:4]), int(date[4:6]), int(date[6:]), numbers[1:]
    if kind == "digits":
        date = numbers[0]
        return _century(int(date[:2])), int(date[2:4]), int(date[4:]), numbers[1:]
    if kind == "syslog":
        with_year = len(numbers[1]) == 4
        return int(numbers[1]) if with_year else None, _month(text), int(numbers[0]), numbers[1 + with_year :]
    if kind == "ctime":
        return int(numbers[-1]), _month(text), int(numbers[0]), numbers[1:-1]
    if kind in ("day_month", "long"):
        return int(numbers[1]), _month(text), int(numbers[0]), numbers[2:]
    if kind == "month_day":
        return None, int(numbers[0]), int(numbers[1]), numbers[2:]
    if kind in ("glog", "chromium"):
        return None, int(numbers[0][:2]), int(numbers[0][2:]), numbers[1:]
    if kind == "numeric":
        first, second = int(numbers[0]), int(numbers[1])
        day_first = "." in text[:3] or first > 12  # the month is first between slashes, if that can be
        return int(numbers[2]), second if day_first else first, first if day_first else second, numbers[3:]
    if kind == "short":
        return _century(int(numbers[0])), int(numbers[1]), int(numbers[2]), numbers[3:]
    return None, 0, 0, numbers


def _time_of_day(kind: str, numbers: list[str]) -> tuple[int, int, int, int]:
    run = numbers[0]
    if len(run) == 6:
        numbers = [run[:2], run[2:4], run[4:6], *numbers[1:]]
    hour, minute = int(numbers[0]), int(numbers[1])
    second = min(59, int(numbers[2])) if len(numbers) > 2 else 0  # a leap second
    fraction = numbers[3] if len(numbers) > 3 else ""
    if kind == "compact" and len(fraction) < 3:  # milliseconds that are not filled up
        fraction = fraction.zfill(3)
    return hour, minute, second, int(fraction.ljust(6, "0")[:6])


def _month(text: str) -> int:
    name = re.search(_MON, text)
    return _MONTHS.index(name[0].lower()) + 1 if name else 0


def _century(year: int) -> int:
    return year + (2000 if year < 70 else 1900)
