"""BM25 as Qdrant's own encoder does it, in the language of each document. Its vendor's module is given to it.

A document's words are stemmed, and its stop words left out, in the language that its metadata name, else in that of its
collection. A query is too short to tell its language: it is encoded in all those of the collection's documents, without
what would be a stop word in the collection's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import UsageError
from pipeline.types import CollectionSpec, Point

# ISO 639-1 → what the encoder calls it: a stemmer, stop words, or both.
_LANGUAGES = {
    "ar": "arabic", "az": "azerbaijani", "bn": "bengali", "ca": "catalan", "da": "danish", "de": "german",
    "el": "greek", "en": "english", "es": "spanish", "eu": "basque", "fi": "finnish", "fr": "french", "he": "hebrew",
    "hu": "hungarian", "id": "indonesian", "it": "italian", "ja": "japanese", "kk": "kazakh", "nb": "norwegian",
    "ne": "nepali", "nl": "dutch", "nn": "norwegian", "no": "norwegian", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sl": "slovene", "sv": "swedish", "tg": "tajik", "tr": "turkish", "zh": "chinese",
}  # fmt: skip
#: More than there are codes of languages.
MOST_LANGUAGES = 256
# Thai, Lao, Khmer, Burmese, Japanese and Chinese put no spaces between words: a dictionary has to find them.
_UNSPACED = re.compile("[\u0e01-\u0edf\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_WORD = re.compile(r"\w+")


class Bm25:
    """Encodes for one collection. Raises UsageError if its language is one that the encoder does not know."""

    def __init__(self, edge: Any, spec: CollectionSpec) -> None:
        self._edge = edge
        self._spec = spec
        self._encoders: dict[tuple[str, bool], Any] = {}
        self._encoder(spec.language, unspaced=False)

    def document(self, text: str, language: str | None) -> Any:
        """A sparse vector (`.indices`, `.values`); empty for a text without a word."""
        name = _LANGUAGES.get(language or "", self._spec.language)
        return self._encoder(name, _is_unspaced(text)).embed_document(text)

    def query(self, text: str, languages: Iterable[str]) -> Any:
        """The same of a query, each of its words once in the form of each of `languages` (ISO 639-1 codes)."""
        unspaced = _is_unspaced(text)
        own = self._encoder(self._spec.language, unspaced)
        found = own.embed_query(text)
        weights = dict(zip(found.indices, found.values, strict=True))
        said = " ".join(word for word in _WORD.findall(text) if own.embed_query(word).indices)
        names = dict.fromkeys(_LANGUAGES[code] for code in sorted(languages) if code in _LANGUAGES)
        forms = [(name, said) for name in names if name != self._spec.language]
        if unspaced:
            # Without kana, Japanese is taken for Chinese, and parted elsewhere; this one is a stop word.
            forms.append(("japanese", f"{text} の"))
        for name, form in forms:
            other = self._encoder(name, unspaced).embed_query(form)
            for index, weight in zip(other.indices, other.values, strict=True):
                weights.setdefault(index, weight)
        return self._edge.SparseVector(indices=list(weights), values=list(weights.values()))

    def _encoder(self, language: str, unspaced: bool) -> Any:
        known = self._encoders.get((language, unspaced))
        if known is not None:
            return known
        kinds, length = self._edge.TokenizerType, abs(self._spec.average_length)
        tokenizer = kinds.Multilingual if unspaced else kinds.Word
        try:
            made = self._edge.Bm25(self._edge.Bm25Config(language=language, avg_len=length, tokenizer=tokenizer))
        except ValueError as error:
            raise UsageError(
                f"BM25 cannot be set up for the language '{language}' and an average length of {length}: {error}"
            ) from error
        self._encoders[language, unspaced] = made
        return made


def _is_unspaced(text: str) -> bool:
    return not text.isascii() and _UNSPACED.search(text) is not None


def language_of(point: Point) -> str | None:
    """The language that a point's metadata name, as an ISO 639-1 code."""
    metadata = point.payload["metadata"]
    language = metadata.get("language") if isinstance(metadata, Mapping) else None
    return language if isinstance(language, str) else None
