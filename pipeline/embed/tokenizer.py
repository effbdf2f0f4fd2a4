"""The model's own tokenizer, counting exactly what the engine gets: we tokenize once and pass ids."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import MissingExtra, UsageError
from pipeline.ports import Encoding


class ModelTokenizer:
    """`tokenizer.json` of a model folder. Thread-safe; the work is done outside Python's lock."""

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

    @property
    def vocabulary(self) -> int:
        """How many tokens it knows, added ones included."""
        size: int = self._tokenizer.get_vocab_size()
        return size

    @property
    def serialized(self) -> str:
        """The content of a `tokenizer.json` that truncates and pads nothing."""
        content: str = self._tokenizer.to_str()
        return content

    def encode(self, text: str) -> Encoding:
        """Ids, offsets and special-token mask of `text`, special tokens included."""
        encoding: Encoding = self._tokenizer.encode(text)
        return encoding


class Spelling:
    """Tokens as texts, for servers that take no tokens: a text is one only if the server makes these tokens of it.

    `tokenizer` counts for the chunks; the server is taken to have the same file, and to read it as it stands.
    """

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        from tokenizers import Tokenizer

        #: As servers set it up: a control token that is spelled out in a text is that token.
        self._tokenizer = Tokenizer.from_str(tokenizer.serialized)
        special = self._tokenizer.encode("x").special_tokens_mask
        self._before = special.index(0)
        #: How many special tokens a server puts around a text.
        self.special_tokens = sum(special)

    def spell(self, ids: Sequence[int]) -> str | None:
        """A text of exactly these tokens, special ones around it included; None if there is none."""
        inner = list(ids[self._before : len(ids) - (self.special_tokens - self._before)])
        text: str = self._tokenizer.decode(inner, skip_special_tokens=False)
        return text if self._tokenizer.encode(text).ids == list(ids) else None


def token_hash(ids: Sequence[int]) -> str:
    """A name for a sequence of token ids: 32 hex digits of the sha256 of its little-endian uint32 bytes."""
    return hashlib.sha256(np.asarray(ids, dtype="<u4").tobytes()).hexdigest()[:32]
