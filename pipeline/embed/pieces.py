"""Tokens of a text, put together from those of its pieces, each of which is tokenized once and remembered.

Words come back, and tokenizers take long over each. What comes out is exactly what the tokenizer makes of the text:
only those files are taken apart whose normalizer and pre-tokenizer are known to look at no two pieces at once.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Of so many pieces the tokens are remembered (some 25 MB), and of none that is longer, which hardly comes back.
_MOST, _LONGEST = 1 << 16, 64

Positions = NDArray[np.int64]
#: Ids of a stretch without special tokens, and where these start.
Tokenize = Callable[[str], tuple[Sequence[int], Sequence[int]]]

# Normalizers that change a stretch alike, whatever is on the other side of a space.
_LOCAL = ("BertNormalizer", "Lowercase", "NFC")

# Patterns that byte-level tokenizers part a text by. Each parts between a character that is no space and a space,
# looks ahead only behind spaces, and never back: so it parts what follows such a place as if the text began there.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
)


@dataclass(frozen=True, slots=True)
class Parting:
    """How texts are parted: one character, a space or line end, lies between two pieces.

    `lead` stands before each piece but the first when it is tokenized: the space, where it is part of a token.
    """

    split: Callable[[str], list[str]]
    lead: str


def parting_of(file: Mapping[str, Any]) -> Parting | None:
    """How texts may be parted for the tokenizer with this `tokenizer.json`; None if that is not known to be exact."""
    if not all(_stays_within_pieces(token) for token in file["added_tokens"]):
        return None
    if not all(part["type"] in _LOCAL for part in _sequence(file["normalizer"], "normalizers")):
        return None
    if any(part.get("trim_offsets") for part in _sequence(file["post_processor"], "processors")):
        return None
    before = [_without(part, "trim_offsets") for part in _sequence(file["pre_tokenizer"], "pretokenizers")]
    kind = file["model"]["type"]
    if kind == "WordPiece" and before == [{"type": "BertPreTokenizer"}]:
        return Parting(_between_words, "")
    if kind == "BPE" and not file["model"]["dropout"] and before in _byte_level():
        return Parting(re.compile(r" (?=[A-Za-z])(?<=[!-~] )").split, " ")
    return None


class _Piece(NamedTuple):
    """The tokens of a piece; `starts` are int64 bytes, -1 where a token begins with the `lead`; `length` is the way to
    the next piece, in characters."""

    ids: tuple[int, ...]
    starts: bytes
    number: int
    length: int


_IDS = itemgetter(0)


class Pieces:
    """A tokenizer that remembers; `tokenize` is the one it stands for. Thread-safe."""

    def __init__(self, tokenize: Tokenize, parting: Parting, before: Sequence[int], after: Sequence[int]) -> None:
        self._split = parting.split
        #: The special tokens around every text.
        self._before, self._after = before, after
        self._first = _Memory(tokenize, "")
        self._others = _Memory(tokenize, parting.lead) if parting.lead else self._first

    def encode(self, text: str) -> JoinedEncoding:
        """What the tokenizer makes of `text`."""
        first, *others = self._split(text)
        pieces = [self._first[first], *map(self._others.__getitem__, others)]
        return JoinedEncoding(pieces, self._before, self._after)


class JoinedEncoding:
    """An Encoding (see `pipeline.ports`) made of pieces."""

    def __init__(self, pieces: Sequence[_Piece], before: Sequence[int], after: Sequence[int]) -> None:
        self._pieces, self._before, self._after = pieces, before, after

    @cached_property
    def ids(self) -> list[int]:
        """The tokens, special ones included."""
        return [*self._before, *chain.from_iterable(map(_IDS, self._pieces)), *self._after]

    @cached_property
    def starts(self) -> Positions:
        """Where the tokens of the text start, in characters."""
        _, starts, counts, lengths = zip(*self._pieces, strict=True)
        ends = np.cumsum(lengths)
        found: Positions = np.frombuffer(b"".join(starts), np.int64) + np.repeat(ends - lengths, counts)
        return found


class _Memory(dict[str, _Piece]):
    def __init__(self, tokenize: Tokenize, lead: str) -> None:
        super().__init__()
        self._tokenize, self._lead = tokenize, lead

    def __missing__(self, text: str) -> _Piece:
        ids, starts = self._tokenize(self._lead + text)
        positions = array("q", starts) if not self._lead else array("q", [at - len(self._lead) for at in starts])
        piece = _Piece(tuple(ids), positions.tobytes(), len(ids), len(text) + 1)
        if len(text) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[text] = piece
        return piece


def _between_words(text: str) -> list[str]:
    return text.replace("\n", " ").split(" ")


def _stays_within_pieces(token: Mapping[str, Any]) -> bool:
    """Whether an added token neither contains nor looks at what lies between two pieces; special ones are text."""
    around = token["lstrip"] or token["rstrip"] or token["single_word"]
    return token["special"] or not (around or re.search(r"\s", token["content"]))


def _byte_level() -> list[list[dict[str, Any]]]:
    """The pre-tokenizers of byte-level models that part a text by known patterns."""
    last = {"type": "ByteLevel", "add_prefix_space": False}
    own = [[{**last, "use_regex": True}]]
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    return own + [[{**split, "pattern": {"Regex": words}}, {**last, "use_regex": False}] for words in _WORDS]


def _sequence(part: Mapping[str, Any] | None, name: str) -> list[Mapping[str, Any]]:
    if part is None:
        return []
    return list(part[name]) if part["type"] == "Sequence" else [part]


def _without(part: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != name}
