"""How far so many tokens of a text reach: measured once, so that no stretch has to be tokenized to find its length."""

from __future__ import annotations

from array import array
from bisect import bisect_left

from pipeline.ports import Tokenizer

# Characters tokenized together. Long enough that what merges differently at the ends does not count.
_SLICE = 8_192


class Ruler:
    """Of one text, read from its start to its end; what lies behind the last question is forgotten."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self._text, self._tokenizer = text, tokenizer
        self._starts = array("q")  # where tokens start, in characters
        self._measured = 0

    def reach(self, start: int, tokens: int) -> int:
        """The end of the last of `tokens` tokens from `start` on, within a token or two; > `start`.

        Tokens can merge otherwise in a stretch that begins or ends elsewhere: whoever needs it exactly must count.
        """
        if not self._starts and self._measured < start:
            self._measured = start
        first = bisect_left(self._starts, start)
        del self._starts[:first]
        while len(self._starts) <= tokens:
            if self._measured >= len(self._text):
                return len(self._text)
            self._measure(start)
        return max(start + 1, self._starts[max(0, tokens)])

    def _measure(self, start: int) -> None:
        text, first = self._text, self._measured
        end = min(len(text), first + _SLICE)
        if end < len(text):
            # Before white space, so that it leads a token of the next slice as it would have here.
            space = max(text.rfind(mark, first + 1, end) for mark in (" ", "\n"))
            end = space if space > first else end
        encoding = self._tokenizer.encode(text[first:end])
        special = encoding.special_tokens_mask
        at = (first + offset for (offset, _), mark in zip(encoding.offsets, special, strict=True) if not mark)
        self._starts.extend(position for position in at if position >= start)
        self._measured = end
