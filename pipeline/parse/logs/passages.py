"""A log's events as text to be searched: each as it was written, but floods in a few lines.

Events are gathered in runs. A run ends at a pause, or when it has shown enough. Within a run, three events of a
template are shown whatever they say, and more as long as they bring new words (numbers aside), up to twelve; the others
are counted. What was counted is told where the run ends: how many events, like what, from when to when. So a million
equal lines become one text, and yet what an ordinary log names (hosts, users, identifiers) is all there.

What is shown of a log depends on nothing that comes later, but for the last run: a log that grows keeps its passages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from pipeline.parse.logs.events import Event
from pipeline.parse.logs.templates import Template

_PAUSE = timedelta(minutes=10)
_EXAMPLES = 3
_MOST_EXAMPLES = 12
# Characters that a run shows.
_LONGEST_RUN = 4096
_LONGEST_TEMPLATE = 300
# What parts words: any ASCII that is no letter, no digit, and does not occur within identifiers and addresses.
_PARTING = bytes.maketrans(b"!\"#$%&'()*+,/:;<=>?[\\]^`{|}~", b" " * 28)
# A number, with its unit perhaps; but no address.
_NUMBER = re.compile(rb"0x[0-9a-fA-F]+|(?!\d+(?:\.\d+){3}\Z)[.-]*\d[\d.-]*[a-zA-Z]{0,3}|[.-]+")
# How a time is told whose day, or year, the log does not know.
_FORMATS = {"date": "%H:%M:%S", "year": "%m-%d %H:%M:%S", "zone": "%Y-%m-%d %H:%M:%S", "": "%Y-%m-%d %H:%M:%S%z"}


class Passage(NamedTuple):
    """One event as it was written; or, where `flood` says so, what is told of events that were not shown.

    A passage that `starts_run` is where a chunk best begins.
    """

    text: str
    event: Event
    flood: Flood | None
    starts_run: bool

    @property
    def count(self) -> int:
        """How many events it stands for."""
        return self.flood.count if self.flood else 1

    @property
    def lines(self) -> tuple[int, int]:
        """The first and the last line of the file, counted from 1, that it stands for."""
        last = self.flood.last if self.flood else self.event
        return self.event.line_from, last.line_to

    @property
    def times(self) -> tuple[datetime, datetime] | None:
        """The earliest and the latest time, None without any."""
        if self.flood:
            return self.flood.times
        return (self.event.timestamp, self.event.timestamp) if self.event.timestamp else None

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels of the events, in order of appearance."""
        if self.flood:
            return tuple(self.flood.levels)
        return (self.event.level,) if self.event.level else ()


def read_passages(text: str, events: Iterable[Event], templates: Sequence[Template]) -> Iterator[Passage]:
    """The passages of a log's `text`, in order. `templates` are those that the events refer to, as they are mined."""
    run = _Run(text, templates)
    for event in events:
        if run.ends_before(event):
            yield from run.close()
        passage = run.add(event)
        if passage is not None:
            yield passage
    yield from run.close()


class Flood:
    """Events of one template that are not shown."""

    def __init__(self, first: Event) -> None:
        self.first = self.last = first
        self.count = 0
        self.levels: dict[str, None] = {}
        self.times: tuple[datetime, datetime] | None = None

    def add(self, event: Event) -> None:
        """Count `event`, and remember when it was."""
        self.count += 1
        self.last = event
        if event.level is not None:
            self.levels[event.level] = None
        at = event.timestamp
        if at is not None:
            if self.times is None:
                self.times = at, at
            elif at >= self.times[1]:
                self.times = self.times[0], at
            elif at < self.times[0]:
                self.times = at, self.times[1]


class _Run:
    """The events since the last pause, or since enough was shown."""

    def __init__(self, text: str, templates: Sequence[Template]) -> None:
        self._text = text
        self._templates = templates
        self._last: datetime | None = None
        self._reset()

    def _reset(self) -> None:
        self._size = 0
        self._words: set[bytes] = set()
        self._unread: list[str] = []  # what was shown, and whose words are not in the set yet
        self._shown: dict[int, Flood] = {}
        self._counted: dict[int, Flood] = {}

    def ends_before(self, event: Event) -> bool:
        """Whether `event` is the first of another run."""
        at, last = event.timestamp, self._last
        if at is not None:
            self._last = at
        if self._size >= _LONGEST_RUN:
            return True
        return at is not None and last is not None and bool(self._size) and abs(at - last) > _PAUSE

    def add(self, event: Event) -> Passage | None:
        """The event's passage; None if it is only counted."""
        template = event.template
        shown = self._shown.get(template)
        if shown is None:
            shown = self._shown[template] = Flood(event)
        elif shown.count >= _EXAMPLES and (shown.count >= _MOST_EXAMPLES or not self._brings_words(event)):
            flood = self._counted.get(template)
            if flood is None:
                flood = self._counted[template] = Flood(event)
            flood.add(event)
            return None
        shown.add(event)
        text = self._text[event.start : event.end]
        if event.line_from == event.line_to:
            said = event.message
        else:
            said = text = text.replace("\r", "\n")
        self._unread.append(said)
        self._unread.append(event.host)
        starts_run = not self._size
        self._size += len(text) + 1
        return Passage(text, event, None, starts_run)

    def _brings_words(self, event: Event) -> bool:
        if self._unread:
            self._words.update(*map(_words, self._unread))
            self._unread = []
        said = event.message if event.line_from == event.line_to else self._text[event.start : event.end]
        new = set(_words(said)) - self._words
        if not all(map(_NUMBER.fullmatch, new)):
            return True
        return event.host != "" and not self._words.issuperset(_words(event.host))

    def close(self) -> Iterator[Passage]:
        """What is told of the events that were only counted."""
        for template, flood in self._counted.items():
            told = _tell(self._templates[template].text, self._shown[template], flood)
            yield Passage(told, flood.first, flood, starts_run=False)
        self._reset()


def _words(text: str) -> list[bytes]:
    return text.encode("utf-8", "surrogatepass").translate(_PARTING).split()


def _tell(template: str, shown: Flood, counted: Flood) -> str:
    like = template if len(template) <= _LONGEST_TEMPLATE else template[:_LONGEST_TEMPLATE] + "…"
    told = f"… {shown.count + counted.count:,} in all like: {like}"
    if shown.times is None or counted.times is None:
        return told
    form = _FORMATS[counted.first.missing]
    first, last = min(shown.times[0], counted.times[0]), max(shown.times[1], counted.times[1])
    return f"{told}, from {first.strftime(form)} to {last.strftime(form)}"
