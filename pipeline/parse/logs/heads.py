"""What the beginning of a line tells of an event: time, level, component, process, host, and where the message starts.

Logs agree on what a head holds and on little else, so hardly any is described as a whole here: a head is a time, words
of a few known kinds before and after it, in any order, and it ends where something comes that is no such word. Which
words followed each other is remembered; in most lines of a log they are those of a line before.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from pipeline.parse.logs.levels import BRACKETED, LEVELS, MARKED, level_of_severity
from pipeline.parse.logs.shapes import Layout, Span
from pipeline.parse.logs.times import EPOCH, KINDS, TIME, YEARLESS
from pipeline.parse.logs.words import AFTER, BEFORE, GAP, PLACED, PLACED_AFTER, Word, ends, follows


class Head(NamedTuple):
    """The head of a line; "" and None stand for what is not given.

    `kind` and `time` are a kind of `KINDS` and its text, "" if there is none; `epoch` is a time in seconds that stands
    beside it. The message begins at `line[at]`.
    """

    kind: str
    time: str
    level: str | None
    component: str
    pid: int | None
    host: str
    epoch: str | None
    at: int


# Only this much of a line is looked at.
_LONGEST = 400
_TIME_WITHIN = 120
_MOST_WORDS = 8
# Words that followed each other so often are worth the time that it takes to compile; a log has a few.
_OFTEN = 5
_MOST_KNOWN = 8

_PARTS = ("level", "component", "pid", "host", "epoch")
# Levels as heads have them: words, letters, and the priority that syslog adds to its facility.
_SEVERITIES = (
    BRACKETED
    | {"System": "info"}
    | {
        number: level_of_severity(int(number) % 8)
        for width in (1, 2, 3)
        for number in map(f"{{:0{width}}}".format, range(1000))
    }
)

_NOWHERE = (-1, -1)

_T = TypeVar("_T")
_State = tuple[bool, bool]  # whether a level, and whether a component, was found
_Kinds = tuple[str, ...]
_Values = list[tuple[str, str | None]]  # what words hold, by role


def _any_of(words: Iterable[tuple[str, Word]]) -> str:
    return "(?:" + "|".join(f"(?P<{kind}>{word.pattern})" for kind, word in words) + ")"


_NEXT = {
    state: GAP + _any_of((kind, word) for kind, word in AFTER.items() if follows(kind, *state))
    for state in ((False, False), (False, True), (True, False), (True, True))
}
_NEXT_WORD = {state: re.compile(pattern) for state, pattern in _NEXT.items()}
_PLACED_WORD = {kind: re.compile(word.pattern) for kind, word in PLACED.items()}
_WORD_BEFORE = re.compile(_any_of(BEFORE.items()) + r"\s*")
_END = re.compile(GAP)
_OPENING = ("", "[", "(", "<", "'", '"', "[ ")

_MAY_HAVE_TIME = re.compile(r"\d[:.]\d\d[:.]\d|\d{6}|\d\d:\d\d")
# A level first, and no time at all: [WARN] x  ERROR: x  WARNING:root:x  INFO[0000] x  E/Tag( 123): x  warn: a.b.C[0]
_LEVEL_FIRST = re.compile(
    r"\[\s*([A-Za-z]{3,13})\s*\]:?\s*|([A-Z]{3,13}\d?)(?:\[\d+\]\s*|:(?:([\w.]+):(?=\S))?\s*|\s+-\s+)"
    r"|([VDIWEF])/([^\s:(][^:(]*?)\s*(?:\(\s*(\d{1,10})\))?:\s|([a-z]{4}): ([A-Za-z_][\w.]*)\[\d+\]\s*$"
)
_ALIGNED = re.compile(r" {1,8}\d{1,10}:\d{8}:\d{6}")
_UPTIME = re.compile(r"(?:<(\d{1,3})>)?\[\s*\d+\.\d{3,}s?\]\s?")
_LEAD = re.compile(r"(?:##)?[\[(<]?([A-Za-z]{3,13})(?: error(?=:))?(?:[\])>]|[:!](?=\s))")
_LEVEL_KEY = re.compile(r"\b(?:level|lvl|severity)=\"?([A-Za-z]{3,13})\b")
# %LINEPROTO-5-UPDOWN: as Cisco has it
_CISCO = re.compile(r"%[A-Z]\w*-([0-7])-\w+:")
_LOGGER_LAST = re.compile(r"\(([A-Za-z_]\w*(?:\.[\w$]+)+)\)\s*$")


class _Words(NamedTuple):
    """What matches heads of the same words: the kind of their time, and the groups that hold it and the other parts.

    `bare` is whether there are no other parts.
    """

    pattern: re.Pattern[str]
    kind: str
    groups: tuple[int, int, int, int, int, int]
    bare: bool


class Heads:
    """Reads the heads of one log's lines, in their order."""

    def __init__(self) -> None:
        self._met: Counter[tuple[_Kinds, str, _Kinds]] = Counter()
        self._known: list[_Words] = []

    def read(self, line: str) -> Head | None:
        """The head of a line that begins an event; None if it has neither a time where one belongs nor a level."""
        if not line or (line[0].isspace() and not _ALIGNED.match(line)):
            return None
        head = self._read_known(line)
        if head is not None:
            return head
        head = self._scan(line) if _MAY_HAVE_TIME.search(line, 0, _TIME_WITHIN) else None
        return head or _without_time(line)

    def read_quickly(self, line: str) -> tuple[Head, Layout | None] | None:
        """The head of a line if it has words that were met often, and more than a time; None for others.

        And where its parts stand in any line of the same shape, None if digits decide what they are.
        """
        found = self._match(line)
        if found is None or found[0].bare:
            return None
        words, match = found
        head = _head(line, words.kind, match.group(*words.groups), match.end(), len(line))
        return head, _layout(line, head, match, words.groups)

    def _read_known(self, line: str) -> Head | None:
        found = self._match(line)
        if found is None:
            return None
        words, match = found
        return _head(line, words.kind, match.group(*words.groups), match.end(), len(line))

    def _match(self, line: str) -> tuple[_Words, re.Match[str]] | None:
        for words in self._known:
            found = words.pattern.match(line, 0, _LONGEST)
            if found is not None:
                if words is not self._known[0]:
                    self._known.remove(words)
                    self._known.insert(0, words)
                return words, found
        return None

    def _scan(self, line: str) -> Head | None:
        at = line[0] in _OPENING
        time = TIME.match(line, at) or TIME.search(line, 0, _TIME_WITHIN) or EPOCH.search(line, 0, _TIME_WITHIN)
        before = _read_before(line, time.start()) if time else None
        if time is None or before is None:
            return None
        kinds, values = before
        kind = time.lastgroup or ""
        kinds_after, values_after, end = _read_after(line, kind, time.end(), "rfc5424" in kinds)
        words = kinds, kind, kinds_after
        self._met[words] += 1
        if self._met[words] == _OFTEN and len(self._known) < _MOST_KNOWN:
            self._known.append(_compile(*words))
        parts = _chosen([*reversed(values), *values_after])
        return _head(line, kind, (time[0], *map(parts.get, _PARTS)), end, len(line))


def _read_before(line: str, end: int) -> tuple[_Kinds, _Values] | None:
    """The words before a time; None if they are prose."""
    kinds: list[str] = []
    values: _Values = []
    at = 0
    while line[at:end] not in _OPENING:
        word = _WORD_BEFORE.match(line, at)
        if word is None or word.end() > end or len(kinds) == _MOST_WORDS:
            return None
        kinds.append(word.lastgroup or "")
        values += _values(word, BEFORE)
        at = word.end()
    return (tuple(kinds), values) if kinds.count("word") < 2 else None


def _read_after(line: str, time: str, at: int, rfc5424: bool) -> tuple[_Kinds, _Values, int]:
    """The words after a time of this kind, and where the message begins."""
    for kind in ("rfc5424",) if rfc5424 else PLACED_AFTER.get(time, ()):
        word = _PLACED_WORD[kind].match(line, at, _LONGEST)
        if word is not None:
            return (kind,), [*zip(PLACED[kind].roles, word.groups(), strict=True)], word.end()
    kinds: list[str] = []
    values: _Values = []
    while len(kinds) < _MOST_WORDS:
        word = _NEXT_WORD[_state(kinds)].match(line, at, _LONGEST)
        if word is None:
            break
        kinds.append(word.lastgroup or "")
        values += _values(word, AFTER)
        at = word.end()
        if ends(kinds[-1]):
            return tuple(kinds), values, at
    gap = _END.match(line, at, _LONGEST)
    return tuple(kinds), values, gap.end() if gap else at


def _values(word: re.Match[str], words: dict[str, Word]) -> _Values:
    # A word's own groups follow the one that is named after its kind.
    first = (word.lastindex or 0) + 1
    return [(role, word[number]) for number, role in enumerate(words[word.lastgroup or ""].roles, start=first)]


def _state(kinds: Iterable[str]) -> _State:
    roles = {role for kind in kinds for role in AFTER[kind].roles}
    return "level" in roles, "component" in roles


def _chosen(values: Iterable[tuple[str, _T]]) -> dict[str, _T]:
    """The value for each role, where several have one: the last, but the first process.

    What stands before a time comes in reverse, so that what is nearest to the edge of the line counts.
    """
    parts: dict[str, _T] = {}
    for role, value in values:
        if role not in parts or (value is not None and role != "pid"):
            parts[role] = value
    return parts


def _compile(before: _Kinds, time: str, after: _Kinds) -> _Words:
    words = [BEFORE[kind] for kind in before]
    pattern = "".join(rf"(?:{word.pattern})\s*" for word in words) + rf"(?:\[ |[\[(<\"'])?((?>{KINDS[time]}))"
    roles = [role for word in words for role in word.roles]
    numbers = [*reversed(range(len(roles)))]
    roles.append("time")
    for kind in after:
        word = PLACED[kind] if kind in PLACED else AFTER[kind]
        pattern += ("" if kind in PLACED else GAP) + f"(?>{word.pattern})"
        roles += word.roles
    # What is not there is a group that takes no part.
    pattern += "(?:(?!)())?"
    numbers += range(len(numbers), len(roles))
    parts = _chosen((roles[number], number + 1) for number in numbers)
    one, two, three, four, five, six = (parts.get(role, len(roles) + 1) for role in ("time", *_PARTS))
    if not (after and ends(after[-1])):
        pattern += f"(?!{_NEXT[_state(after)]}){GAP}"
    return _Words(re.compile(pattern), time, (one, two, three, four, five, six), bare=len(set(roles)) == 1)


def _head(text: str, kind: str, parts: Sequence[str | None], at: int, end: int) -> Head:
    """The head of a line that ends at `text[end]`, from what was found up to `text[at]`: time and `_PARTS`."""
    time, level, component, pid, host, epoch = parts
    while at < end and text[at] == " ":
        at += 1
    if kind == "glog" and time:
        level = time[0]
    if component is None and text[end - 1] == ")" and (logger := _LOGGER_LAST.search(text, max(at, end - 120), end)):
        component = logger[1]
    return Head._make(
        (
            kind,
            time or "",
            _SEVERITIES[level] if level else _leading_level(text, at, end),
            component if component and component != "-" else "",
            int(pid) if pid and pid.isdecimal() else None,
            host if host and host != "-" else "",
            epoch,
            at,
        )
    )


def _layout(line: str, head: Head, found: re.Match[str], groups: tuple[int, ...]) -> Layout | None:
    """Where a head's parts stand in lines of the same shape as `line`; None if digits decide more than their values."""
    time, level, component, pid, host, epoch = (found.span(group) for group in groups)
    in_digits = any(map(str.isdecimal, line[slice(*level)])) if level[0] >= 0 else "%" in line[head.at : head.at + 60]
    if in_digits or (epoch[0] >= 0 and head.kind in YEARLESS):
        return None
    lead = head.time[: {"compact": 2, "basic": 2, "epoch": 1}.get(head.kind, 0)]
    spans = _digits_at(line, head.component, component), _digits_at(line, head.host, host)
    if _NOWHERE in spans:
        return None
    return Layout(
        head.kind, time, lead, head.level, head.component, spans[0], pid if head.pid is not None else None, head.host,
        spans[1], head.at, len(line.rstrip()),
    )  # fmt: skip


def _digits_at(line: str, value: str, span: Span) -> Span | None:
    """Where a value that has digits stands, None for one that has none; `_NOWHERE` if it is not what stands there."""
    if not any(map(str.isdecimal, value)):
        return None
    return span if line[slice(*span)] == value else _NOWHERE


def _leading_level(text: str, at: int, end: int) -> str | None:
    """The level that the message itself begins with, or names as level=..."""
    lead = _LEAD.match(text, at, end)
    if lead is not None and lead[1] in LEVELS:
        return LEVELS[lead[1]]
    if text.find("%", at, at + 60) >= 0 and (cisco := _CISCO.search(text, at, end)):
        return level_of_severity(int(cisco[1]))
    if text.find("l=", at, end) > 0 or text.find("severity=", at, end) > 0:
        key = _LEVEL_KEY.search(text, at, end)
        return MARKED.get(key[1].lower()) if key else None
    return None


def _without_time(line: str) -> Head | None:
    if uptime := _UPTIME.match(line):
        _, values, at = _read_after(line, "", uptime.end(), False)
        parts = _chosen([("level", uptime[1]), *values])
        return _head(line, "", ("", *map(parts.get, _PARTS)), at, len(line))
    first = _LEVEL_FIRST.match(line)
    if first is None:
        return None
    level = LEVELS.get(first[1] or first[2]) or BRACKETED.get(first[4]) or MARKED.get(first[7] or "")
    component = first[3] or first[5] or first[8] or ""
    return Head("", "", level, component, int(first[6]) if first[6] else None, "", None, first.end()) if level else None
