"""The model's own tokenizer, counting exactly what the engine gets: we tokenize once and pass ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.embed.pieces import Pieces, Positions, parting_of
from pipeline.errors import MissingExtra, UsageError
from pipeline.ports import Encoding
from pipeline.types import TokenIds


class ModelTokenizer:
    """`tokenizer.json` of a model folder. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtra("tokenizing", "cpu' or 'gpu") from error
        path = folder / "tokenizer.json"
        try:
            data = path.read_bytes()
            self._tokenizer = Tokenizer.from_buffer(data)
        except Exception as error:  # the library raises bare Exception
            raise UsageError(f"cannot read the tokenizer {path}: {error}") from error
        # The file may carry its training's truncation and padding: a silent cut, and tokens that are not there.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # A document that spells "<|endoftext|>" means those characters, not the control token.
        self._tokenizer.encode_special_tokens = True
        #: Names the tokenizer: sha256 of its file.
        self.fingerprint = hashlib.sha256(data).hexdigest()
        parting = parting_of(json.loads(self._tokenizer.to_str()))
        self._pieces = Pieces(self._tokenize, parting, *_special_tokens(self._tokenizer)) if parting else None

    @property
    def vocabulary(self) -> int:
        """How many tokens it knows, added ones included."""
        size: int = self._tokenizer.get_vocab_size()
        return size

    @property
    def largest_id(self) -> int:
        """The largest id that it gives; there may be gaps below."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0)

    @property
    def serialized(self) -> str:
        """The content of a `tokenizer.json` that truncates and pads nothing."""
        content: str = self._tokenizer.to_str()
        return content

    def encode(self, text: str) -> Encoding:
        """Ids of `text`, special tokens included, and where its tokens start."""
        return self._pieces.encode(text) if self._pieces else _Encoding(self._tokenizer, text)

    def _tokenize(self, text: str) -> tuple[list[int], list[int]]:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, [start for start, _ in encoding.offsets]


class _Encoding:
    """An Encoding of a text that cannot be taken apart; where tokens start takes a second look at it."""

    def __init__(self, tokenizer: Any, text: str) -> None:
        self._tokenizer, self._text = tokenizer, text

    @cached_property
    def ids(self) -> list[int]:
        found: list[int] = self._tokenizer.encode_batch_fast([self._text])[0].ids
        return found

    @cached_property
    def starts(self) -> Positions:
        encoding = self._tokenizer.encode(self._text)
        tokens = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        return np.array([start for (start, _), special in tokens if not special], np.int64)


class Spelling:
    """Tokens as texts, for servers that take no tokens: a text is one only if the server makes these tokens of it.

    `tokenizer` counts for the chunks; the server is taken to have the same file, and to read it as it stands.
    """

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        from tokenizers import Tokenizer

        #: As servers set it up: a control token that is spelled out in a text is that token.
        self._tokenizer = Tokenizer.from_str(tokenizer.serialized)
        before, after = _special_tokens(self._tokenizer)
        self._before, self._after = len(before), len(after)
        #: How many special tokens a server puts around a text.
        self.special_tokens = self._before + self._after

    def spell(self, ids: Sequence[int]) -> str | None:
        """A text of exactly these tokens, special ones around it included; None if there is none."""
        inner = list(ids[self._before : len(ids) - self._after])
        text: str = self._tokenizer.decode(inner, skip_special_tokens=False)
        return text if self._tokenizer.encode(text).ids == list(ids) else None


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids that stand before and after every text."""
    encoding = tokenizer.encode("x")
    marks = encoding.special_tokens_mask
    return encoding.ids[: marks.index(0)], encoding.ids[len(marks) - marks[::-1].index(0) :]


def token_hash(ids: TokenIds) -> str:
    """A name for a sequence of token ids: 32 hex digits of the sha256 of its little-endian uint32 bytes."""
    return hashlib.sha256(np.asarray(ids, dtype="<u4").tobytes()).hexdigest()[:32]
