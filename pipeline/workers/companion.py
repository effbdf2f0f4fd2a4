"""One process that does what it is asked as long as this one lives; no limits, and nobody takes its place."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from typing import Any

from pipeline.workers.scratch import Scratch
from pipeline.workers.worker import Lost, Worker

# What it does may take as long as it takes, and sees to its memory itself.
_SECONDS = 1e8


class Companion:
    """The process, and what it needs to end with this one. Not thread-safe. Raises Terminal if it does not start.

    `start`, `purpose` and `needless` are as a `Worker` has them.
    """

    def __init__(self, start: Callable[[], Callable[[Any], Any]], purpose: str, needless: str) -> None:
        self._scratch, self._lifeline = Scratch(), os.pipe()
        try:
            self._worker = Worker(
                start, _SECONDS, None, self._lifeline[0], self._scratch.path, lambda: None, purpose, needless
            )
        except BaseException:
            self._release()
            raise

    def ask(self, request: Any) -> Any:
        """The answer. Raises what the work does, and Lost."""
        if self._worker.dead:  # whoever asked last was interrupted while it waited
            raise Lost("its last question was never answered", doubtful=False)
        ((sound, answer),) = self._worker.ask([pickle.dumps(request, pickle.HIGHEST_PROTOCOL)], _SECONDS, lambda: None)
        if not sound:
            raise answer
        return answer

    def end(self) -> None:
        """Kill it: what it has acknowledged is done."""
        self._worker.kill()
        self._release()

    def _release(self) -> None:
        for descriptor in self._lifeline:
            os.close(descriptor)
        self._scratch.close()
