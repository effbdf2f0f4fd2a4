"""How long work that goes on tells whoever waits for it that it does."""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[], None]] = []


def beat() -> None:
    """A part is done that is as much work as a whole document: the limit of time counts from here on."""
    for listen in _listeners:
        listen()


def on_beat(listener: Callable[[], None]) -> None:
    """Have `listener` called at each, by the thread that does the work."""
    _listeners.append(listener)
