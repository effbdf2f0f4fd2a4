"""When an engine's silence is taken for a hang, and which text is blamed for what befell it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from pipeline.embed.work import Row

#: How much slower than it has been an engine may get (long texts cost more a token) before it is taken for hung.
_SLACK = 20.0

#: Tokens a second that an engine does at the very least, for as long as its speed is not known.
_SLOWEST = {"cpu": 20.0, "cuda": 1_000.0}

# Its speed is known once it has been at work for so many seconds, and what it did counts half after so many more.
_KNOWN_AFTER, _HALF_LIFE = 1.0, 30.0

#: A failure with nothing else on the engine's hands counts against a text only if it was not its first.
_ENOUGH_FAILURES = 2


class Watchdog:
    """The deadline of one engine: from the tokens that it has on its hands and the speed that it has shown."""

    def __init__(self, least_seconds: float, device: str) -> None:
        self._least = least_seconds
        self._slowest = _SLOWEST[device]
        self._tokens = self._seconds = 0.0

    def observe(self, tokens: int, seconds: float) -> None:
        """So many tokens are finished, so long after what was finished before them.

        One step of an engine may finish several parcels, the second of them no time after the first. So it is sums that
        are compared, of tokens and of time at work, and never one parcel's.
        """
        fade = 0.5 ** (seconds / _HALF_LIFE)
        self._tokens = self._tokens * fade + tokens
        self._seconds = self._seconds * fade + seconds

    def patience(self, tokens: int) -> float:
        """How many seconds of silence are not yet too many, with so many tokens in flight."""
        if self._seconds < _KNOWN_AFTER:
            return self._least + tokens / self._slowest
        return self._least + _SLACK * tokens * self._seconds / self._tokens


class Suspects:
    """The texts that an engine died over, narrowed down to the one that kills it.

    Each group is embedded with nothing beside it. A group that passes is cleared; one over which the engine dies
    again is cut in half. What kills it alone is the poison: log2(n) restarts for n texts.
    """

    def __init__(self) -> None:
        self._groups: deque[list[Row]] = deque()

    def __bool__(self) -> bool:
        return bool(self._groups)

    def accuse(self, rows: Sequence[Row]) -> Row | None:
        """The engine died over these. Returns the one that is to blame, if that is now certain."""
        for row in rows:
            row.failures += 1
        if len(rows) == 1 and rows[0].failures >= _ENOUGH_FAILURES:
            return rows[0]
        middle = len(rows) // 2
        self._groups.extendleft(list(half) for half in (rows[middle:], rows[:middle]) if half)
        return None

    def put_first(self, rows: Sequence[Row]) -> None:
        """These are the next to be embedded on their own."""
        self._groups.appendleft(list(rows))

    def delay(self, rows: Sequence[Row]) -> None:
        """These were to be embedded with a group that failed, but were not begun."""
        if rows:
            self._groups.append(list(rows))

    def next_group(self) -> list[Row]:
        """The next to be embedded on its own."""
        return self._groups.popleft()

    def release(self) -> list[Row]:
        """All that are left, for another engine."""
        rows = [row for group in self._groups for row in group]
        self._groups.clear()
        return rows
