"""How far so many tokens of a text reach: measured once, so that no stretch has to be tokenized to find its length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.ports import Tokenizer

# Characters tokenized together. Long enough that what merges differently at the ends does not count.
_SLICE = 8_192


class Ruler:
    """Of one text, read from its start to its end; what lies behind the last question is forgotten."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self._text, self._tokenizer = text, tokenizer
        self._starts: NDArray[np.int64] = np.empty(0, np.int64)  # where tokens start, in characters
        self._measured = 0

    def reach(self, start: int, tokens: int) -> int:
        """The end of the last of `tokens` tokens from `start` on, within a token or two; > `start`.

        Tokens can merge otherwise in a stretch that begins or ends elsewhere: whoever needs it exactly must count.
        """
        if not len(self._starts) and self._measured < start:
            self._measured = start
        self._starts = self._starts[self._starts.searchsorted(start) :]
        while len(self._starts) <= tokens:
            if self._measured >= len(self._text):
                return len(self._text)
            self._measure(start)
        return max(start + 1, int(self._starts[max(0, tokens)]))

    def _measure(self, start: int) -> None:
        text, first = self._text, self._measured
        end = min(len(text), first + _SLICE)
        if end < len(text):
            # Before white space, so that it leads a token of the next slice as it would have here.
            space = max(text.rfind(mark, first + 1, end) for mark in (" ", "\n"))
            end = space if space > first else end
        starts = first + self._tokenizer.encode(text[first:end]).starts
        self._starts = np.concatenate([self._starts, starts[starts >= start]])
        self._measured = end
