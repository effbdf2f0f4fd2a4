"""A log's text as events: which lines belong together, and what they say of when, where and how severe.

Lines are taken in their order and nothing is looked up ahead, so that a log that grows keeps the events it had, but for
the last. Every non-blank character is in exactly one event.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from pipeline.parse.logs import rows, stanzas
from pipeline.parse.logs.heads import Head, Heads
from pipeline.parse.logs.levels import MARKED
from pipeline.parse.logs.records import Record, read_json, read_logfmt
from pipeline.parse.logs.shapes import Shape, Shapes, key_of
from pipeline.parse.logs.times import TIME, YEARLESS, Clock, Moment
from pipeline.parse.logs.traces import Trace
from pipeline.parse.logs.wrappers import Wrapped, unwrap


class Event(NamedTuple):
    """One thing that happened: `text[start:end]`, lines `line_from` to `line_to` of the file, counted from 1.

    `timestamp` is aware of its zone and None if none is given; `missing` says what of it is not the log's own: ""
    (nothing), "zone" (UTC was assumed), "year" or "date" (and what is finer; see `times`). `level` is one of trace,
    debug, info, notice, warning, error, fatal, or None. `message` is the first line without its head,
    `shape` that of the line, for some events of one line.
    """

    start: int
    end: int
    line_from: int
    line_to: int
    timestamp: datetime | None
    missing: str
    level: str | None
    component: str
    pid: int | None
    host: str
    message: str
    shape: Shape | None = None

    def of(self, text: str) -> str:
        """The event as it is written in the log's `text`, a line each for what one line showed in turn."""
        return text[self.start : self.end].replace("\r", "\n")


def read_events(text: str, near: datetime | None = None, zone: tzinfo = UTC) -> Iterator[Event]:
    """The events of a log, in order. Lines end in a line feed; a carriage return parts what one line showed in turn.

    `near` is a date that the log is known to be from, `zone` the one that its times are in where they do not say.
    """
    clock = Clock(near, zone)
    columns = rows.columns_of(text)
    return _Reader(clock).read(text) if columns is None else _read_rows(text, columns, clock)


def begins_event(line: str) -> bool:
    """Whether a line alone shows that it is from a log: by a time or a level where logs have them, or by a wrapper."""
    if unwrap(line) is not None:
        return True
    own, head, record, _ = _Reader(Clock()).read_line(line)
    return own and (head is not None or (record is not None and record.level is not None))


# What a line says by itself: whether it is of the kind that begins events, its head, its record, its message.
_Line = tuple[bool, Head | None, Record | None, str]


class _Open:
    """The event that the next line may belong to."""

    record: Record | None = None
    wrapped: Wrapped | None = None
    partial = False  # whether the wrapper says that its line goes on
    stanza = ""
    finished = False  # whether the stanza is
    weak = 0  # lines in a row that nothing but their place joins to the event

    def __init__(self, start: int, end: int, number: int, head: Head | None, message: str) -> None:
        self.start = start
        self.end = end
        self.line_from = self.line_to = number
        self.head = head
        self.message = message


# So many lines in a row without head or indentation are no longer taken for a part of the event above them.
_MOST_WEAK = 200
_LONGEST_STANZA = 5000
_LOGFMT = re.compile(r"[A-Za-z_@][\w.@-]{0,30}=")
# java.util.logging puts the level and the message on a second line.
_CALLER = re.compile(r"[\w.$]+(?: [\w$<>]+)?")
_MAY_BE_TIME = frozenset("0123456789[<")
_UNKNOWN: tuple[datetime | None, str] = (None, "")
# What begins events or stands between them: of journald, of tail, of logcat, of MySQL, of W3C's extended logs.
_MARKER = re.compile(
    r"-- .+ --$|==> .+ <==$|-{9} beginning of |# User@Host: |#(?:Software|Version|Fields|Remark|(?:Start-|End-)?Date): "
)


class _Reader:
    """Reads one log."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heads = Heads()
        self._shapes = Shapes()
        self._heads_inside = Heads()
        self._trace = Trace()
        self._text = ""
        self._open: _Open | None = None
        self._plain: Event | None = None  # what is open, while it is a line whose head is like those before
        self._plain_time: tuple[str, str, str | None] = ("", "", None)
        self._done: Event | None = None  # what was open before that
        self._headed: set[str] = set()  # sources whose lines have heads of their own
        self._doubled = False  # whether a time was put in front of lines that have one
        self._after_blank = True

    def read(self, text: str) -> Iterator[Event]:
        """The events of the log, in order."""
        self._text = text
        returns = "\r" in text
        at = number = 0
        while at < len(text):
            end = text.find("\n", at)
            if end < 0:
                end = len(text)
            number += 1
            if not returns and self._take_quickly(at, end, number):
                if self._done is not None:
                    yield self._done
            else:
                start, line = at, text[at:end]
                self._after_blank |= not line.strip()
                for piece in line.split("\r") if line.strip() else ():
                    if piece.strip():
                        done = self._take(piece, start, number)
                        if done is not None:
                            yield self._close(done)
                    start += len(piece) + 1
            at = end + 1
        if self._plain is not None:
            yield self._plain
        elif self._open is not None:
            yield self._close(self._open)

    def _take_quickly(self, at: int, end: int, number: int) -> bool:
        """Make an event of a line, if its shape or its head is known, and it can be nothing else but a start."""
        event = self._open
        if event is None:
            if self._plain is None:
                return False
        elif event.wrapped is not None or event.stanza:
            return False
        line = self._text[at:end]
        shape = self._shapes.get(key_of(line.encode())) if line.isascii() and not self._trace.is_within else None
        layout = shape.layout if shape is not None else None
        if layout is not None and line.startswith(layout.lead, layout.time[0]):
            kind, (first, last), _, level, component, component_at, pid_at, host, host_at, start, end = layout
            time = line[first:last]
            if component_at is not None:
                component = line[component_at[0] : component_at[1]]
            if host_at is not None:
                host = line[host_at[0] : host_at[1]]
            pid = int(line[pid_at[0] : pid_at[1]]) if pid_at is not None else None
            message, epoch = line[start:end], None
        else:
            found = self._heads.read_quickly(line)
            if found is None:
                return False
            (kind, time, level, component, pid, host, epoch, start), layout = found
            message = line[start:].rstrip()
            initial = message[:1]
            if initial == "{" or (level is None and initial in _MAY_BE_TIME) or not self._trace.restart(message):
                return False
            shape = None
            if layout is not None and line.isascii() and not self._trace.is_within:
                shape = self._shapes.add(key_of(line.encode()))
                shape.layout = layout
        if event is None:
            self._done = self._plain
        else:
            self._done, self._open = self._close(event), None
        if epoch is not None and kind in YEARLESS:
            self._clock.expect(float(epoch))
        moment, missing = self._clock.read(kind, time) or _UNKNOWN
        self._plain_time = kind, time, epoch
        end = at + start + len(message)
        self._plain = Event._make(
            (at, end, number, number, moment, missing, level, component, pid, host, message, shape)
        )
        self._after_blank = False
        return True

    def _take(self, text: str, at: int, number: int) -> _Open | None:
        """Add a line to the open event; or open another with it, and return the one that was."""
        after_blank, self._after_blank = self._after_blank, False
        event = self._open
        if self._plain is not None:
            plain, self._plain = self._plain, None
            kind, time, epoch = self._plain_time
            above = Head(kind, time, plain.level, plain.component, plain.pid, plain.host, epoch, 0)
            event = self._open = _Open(plain.start, plain.end, plain.line_from, above, plain.message)
        end = at + len(text.rstrip())
        if event is not None and event.stanza and self._in_stanza(event, text, number, after_blank):
            event.end, event.line_to = end, number
            return None
        wrapped = unwrap(text)
        line = self.read_line(wrapped.line if wrapped else text)
        if event is not None and self._belongs(event, line, wrapped, text, number):
            event.end, event.line_to = end, number
            return None
        own, head, record, message = line
        if own:
            self._headed.add(wrapped.source if wrapped else "")
        self._trace.start(message)
        self._open = opened = _Open(end - len(text.strip()), end, number, head, message)
        opened.record = record
        opened.stanza = stanzas.opens(text, after_blank, bool(own or self._headed))
        if wrapped is not None:
            opened.wrapped, opened.partial = wrapped, wrapped.partial
        return event

    def _in_stanza(self, event: _Open, text: str, number: int, after_blank: bool) -> bool:
        if number - event.line_from > _LONGEST_STANZA or stanzas.ended_by(event.stanza, text, after_blank):
            return False
        finished, event.finished = event.finished, stanzas.ended_with(event.stanza, text)
        event.stanza = stanzas.after_first_line(event.stanza)
        return not finished

    def read_line(self, text: str) -> _Line:
        """What a line says by itself."""
        record = None
        if text[:1] == "{":
            record = read_json(text)
        elif "=" in text[:32] and _LOGFMT.match(text):
            record = read_logfmt(text)
        if record is not None:
            return True, None, record, record.message
        head = self._heads.read(text)
        if head is None:
            return False, None, None, text.strip()
        message = text[head.at :].rstrip()
        first = message[:1]
        if first == "{" and (record := read_json(message)) is not None:
            return True, head, record, record.message
        bare = _is_bare(head)
        if (bare or not head.level) and (first in _MAY_BE_TIME):
            inside = self._heads_inside.read(message)
            if inside is not None and inside.kind and (bare or inside.level):
                self._doubled |= bare
                return True, inside if bare else head._replace(level=inside.level), None, message[inside.at :]
        return not (bare and self._doubled), head, None, message

    def _belongs(self, event: _Open, line: _Line, wrapped: Wrapped | None, text: str, number: int) -> bool:
        """Whether a line is a part of the event above it."""
        own, head, _, message = line
        source = wrapped.source if wrapped else ""
        if source != (event.wrapped.source if event.wrapped else ""):
            return False
        if wrapped is not None:
            text = wrapped.line
            if event.partial:
                event.message += text
                event.partial = wrapped.partial
                return True
        if own:
            if head is None or event.head is None:
                return False
            if not head.kind:  # a level and no time
                return self._completes(event, head, message, number)
            if not self._trace.may_go_on(message):
                return False
            if (head.component, head.pid) != (event.head.component, event.head.pid) and not _is_bare(head):
                return False
            return self._trace.goes_on(message, text[: head.at].endswith(("  ", "\t")))
        indented = text[:1].isspace()
        goes_on = self._trace.goes_on(message if head else text, indented)
        if goes_on or indented or self._trace.closes(text):
            event.weak = 0
        elif source in self._headed and event.weak < _MOST_WEAK and not _MARKER.match(text):
            event.weak += 1
        else:
            return False
        event.message = event.message or message
        return True

    def _completes(self, event: _Open, head: Head, message: str, number: int) -> bool:
        """Whether a line with a level is the second of a head that takes up two."""
        above = event.head
        if above is None or not above.kind or above.level or number != event.line_to + 1:
            return False
        if not _CALLER.fullmatch(event.message):
            return False
        event.head = above._replace(level=head.level, component=event.message.partition(" ")[0])
        event.message = message
        return True

    def _close(self, event: _Open) -> Event:
        head, record, wrapped, message = event.head, event.record, event.wrapped, event.message
        if event.stanza:
            record = stanzas.read_stanza(event.stanza, self._text[event.start : event.end])
            message = record.message if record and record.message else message
        if head is not None:
            kind, time, level, component, pid, host, epoch, _ = head
            if epoch is not None and kind in YEARLESS:
                self._clock.expect(float(epoch))
        else:
            kind, time, level, component, pid, host = "", "", None, "", None, ""
        moment = self._clock.read(kind, time) if kind else self._moment(wrapped, record)
        if record is not None:
            level, component = record.level or level, component or record.component
            pid, host = record.pid if pid is None else pid, host or record.host
        if wrapped is not None:
            component, host = component or wrapped.component, host or wrapped.host
        at, missing = moment or _UNKNOWN
        return Event._make(
            (
                event.start,
                event.end,
                event.line_from,
                event.line_to,
                at,
                missing,
                level,
                component,
                pid,
                host,
                message,
                None,
            )
        )

    def _moment(self, wrapped: Wrapped | None, record: Record | None) -> Moment | None:
        if record is not None and record.time != "":
            if isinstance(record.time, str):
                time = TIME.match(record.time)
                return self._clock.read(time.lastgroup or "", time[0]) if time else self._clock.epoch_text(record.time)
            return self._clock.epoch(record.time)
        return self._clock.read("iso", wrapped.time) if wrapped and wrapped.time else None


def _read_rows(text: str, columns: rows.Columns, clock: Clock) -> Iterator[Event]:
    """The events of a log that is a table; its header is one too, that says nothing of itself."""
    for start, end, line_from, line_to, cells in rows.read_rows(text, columns.delimiter):
        time = rows.time_of(columns, cells) if len(cells) > max(columns.time) else ""
        found = TIME.match(time)
        if found is None:
            line = text[start:end].partition("\n")[0]
            yield Event(start, end, line_from, line_to, None, "", None, "", None, "", line)
            continue
        at, missing = clock.read(found.lastgroup or "", found[0]) or _UNKNOWN
        pid = rows.cell_of(cells, columns.pid)
        yield Event(
            start,
            end,
            line_from,
            line_to,
            at,
            missing,
            MARKED.get(rows.cell_of(cells, columns.level).lower()),
            rows.cell_of(cells, columns.component),
            int(pid) if pid.isdecimal() and len(pid) < 19 else None,
            rows.cell_of(cells, columns.host),
            rows.cell_of(cells, columns.message),
        )


def _is_bare(head: Head) -> bool:
    """Whether there is nothing but a time."""
    return bool(head.kind) and not (head.level or head.component or head.host) and head.pid is None
