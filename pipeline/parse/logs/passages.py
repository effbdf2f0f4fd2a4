"""A log's events as text to be searched: each as it was written, but floods in a few lines.

Events are gathered in runs. A run ends at a pause, or when it has shown enough. Of each template a run shows three
events at most, and only what more than numbers, paths and the like set apart from those it has shown; of a template
that is new to the log the first three in any case. The others are counted. What was counted is told where the run ends:
how many events, like what, from when to when, and every word of theirs that the run has not shown. So a million equal
lines become one text, and yet whatever a log names (hosts, users, addresses, identifiers) is there; numbers and times
are those of what is shown.

A run that has ended depends on nothing that comes later: a log that grows keeps the passages of all runs but the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from pipeline.parse.logs.events import Event
from pipeline.parse.logs.names import Names
from pipeline.parse.logs.templates import Miner

_EXAMPLES = 3
# Messages of a template that are kept to tell apart.
_MOST_KEPT = 32
# Characters of words that are told in a line.
_LINE = 80
# Characters that a run shows and tells.
_ENOUGH = 32_768
# A pause is over so many seconds long, and so many times the mean gap between events of late.
_PAUSE = 1800.0
_MEAN_GAPS = 20
_LATELY = 256
_BATCH = 256
_LONGEST_TEMPLATE = 300
# How a time is told whose day, or year, the log does not know.
_FORMATS = {"date": "%H:%M:%S", "year": "%m-%d %H:%M:%S", "zone": "%Y-%m-%d %H:%M:%S", "": "%Y-%m-%d %H:%M:%S%z"}


class Passage(NamedTuple):
    """One event as it was written; or, where `events` of one template were only counted, what is told of them.

    `first` and `last` are the first and the last of them, `levels` how many had each. `times` are the earliest and the
    latest of all events of this template in this run, None if unknown. A passage that `begins` starts a run.
    """

    text: str
    template: str
    first: Event
    last: Event
    events: int
    times: tuple[datetime, datetime] | None
    levels: Mapping[str, int]
    shown: bool
    begins: bool


def read_passages(text: str, events: Iterable[Event], miner: Miner) -> Iterator[Passage]:
    """The passages of a log's `text`, in order. `miner` finds the templates of its events."""
    pace = _Pace()
    names = Names()
    ever = Counter[int]()
    run = _Run(text, miner, names, ever)
    events = iter(events)
    # Some at a time: a processor is quicker at one thing after the other than at all of them in turn.
    while batch := [*islice(events, _BATCH)]:
        for event in batch:
            if pace.pauses_before(event) or run.size >= _ENOUGH:
                yield from run.close()
                names.start()
                run = _Run(text, miner, names, ever)
            run.add(event)
    yield from run.close()


class _Pace:
    """How fast events follow each other."""

    def __init__(self) -> None:
        self._last: datetime | None = None
        self._gap = 0.0
        self._gaps = 0

    def pauses_before(self, event: Event) -> bool:
        """Whether there is a pause between `event` and the one before."""
        at, last = event.timestamp, self._last
        if at is None or at is last:
            return False
        self._last = at
        if last is None:
            return False
        gap = abs((at - last).total_seconds())
        longest = _MEAN_GAPS * self._gap
        if longest < _PAUSE:
            longest = _PAUSE
        if self._gaps < _LATELY:
            self._gaps += 1
        # One weekend is not to make nights look short.
        self._gap += ((gap if gap < 10 * longest else 10 * longest) - self._gap) / self._gaps
        return gap > longest


class _Like:
    """The events of one template in a run.

    `first`, `last` and `levels` are those of the events that are counted, `names` what is told of them.
    """

    __slots__ = ("counted", "earliest", "first", "last", "latest", "levels", "names", "said", "shown")

    def __init__(self, first: Event) -> None:
        self.shown = self.counted = 0
        self.first = self.last = first
        self.earliest = self.latest = first.timestamp
        self.levels: dict[str, int] = {}
        self.said: set[str] = set()  # what they say, masked
        self.names: list[str] = []


class _Run:
    """The events since the last pause, or since enough was shown. `size` is how many characters it shows and tells.

    `ever` counts what was shown of each template in all runs.
    """

    def __init__(self, text: str, miner: Miner, names: Names, ever: Counter[int]) -> None:
        self.size = 0
        self._miner = miner
        self._names = names
        self._ever = ever
        self._text = text
        self._shown: list[tuple[str, Event, int]] = []
        self._like: dict[int, _Like] = {}

    def add(self, event: Event) -> None:
        """Show `event`, or only count it."""
        shape = event.shape
        if shape is None:
            template, said = self._miner.add(event.message)
        else:
            if shape.template is None:
                shape.template = self._miner.add(event.message)
            template, said = shape.template
        like = self._like.get(template)
        if like is None:
            like = self._like[template] = _Like(event)
        at = event.timestamp
        if at is not None:
            if like.latest is None or like.earliest is None:
                like.earliest = like.latest = at
            elif at > like.latest:
                like.latest = at
            elif at < like.earliest:
                like.earliest = at
        new = said not in like.said
        if new and len(like.said) < _MOST_KEPT:
            like.said.add(said)
        if like.shown < _EXAMPLES and (new or self._ever[template] < _EXAMPLES):
            like.shown += 1
            self._ever[template] += 1
            self._show(event, template)
            return
        if not like.counted:
            like.first = event
        like.counted += 1
        like.last = event
        names = self._names.add(event.of(self._text), shape)
        if names:
            like.names += names
            self.size += sum(map(len, names)) + len(names)
        if event.level is not None:
            like.levels[event.level] = like.levels.get(event.level, 0) + 1

    def _show(self, event: Event, template: int) -> None:
        text = event.of(self._text)
        self._shown.append((text, event, template))
        self._names.add(text, event.shape)
        self.size += len(text) + 1

    def close(self) -> Iterator[Passage]:
        """What was shown, and what is told of the events that were only counted."""
        templates = self._miner.templates
        for number, (text, event, kind) in enumerate(self._shown):
            times = (event.timestamp, event.timestamp) if event.timestamp is not None else None
            levels = {event.level: 1} if event.level is not None else {}
            template = _shorten(templates[kind].text)
            yield Passage(text, template, event, event, 1, times, levels, shown=True, begins=not number)
        for kind, like in self._like.items():
            if like.counted:
                template = _shorten(templates[kind].text)
                told = _tell(template, like)
                times = (like.earliest, like.latest) if like.earliest and like.latest else None
                yield Passage(told, template, like.first, like.last, like.counted, times, like.levels, False, False)


def _shorten(template: str) -> str:
    return template if len(template) <= _LONGEST_TEMPLATE else template[:_LONGEST_TEMPLATE] + "…"


def _tell(template: str, like: _Like) -> str:
    told = f"… {like.shown + like.counted:,} in all like: {template}"
    if like.earliest is not None and like.latest is not None:
        form = _FORMATS[like.first.missing]
        told += f", from {like.earliest.strftime(form)} to {like.latest.strftime(form)}"
    return "\n".join([f"{told}:", *_lines(like.names)]) if like.names else told


def _lines(names: Sequence[str]) -> Iterator[str]:
    line = ""
    for word in names:
        if line and len(line) + len(word) >= _LINE:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line
