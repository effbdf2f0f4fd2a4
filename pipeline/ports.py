"""The four holes the outside world plugs into. Small on purpose: a new connector implements these verbs and no more.

Adapters raise `pipeline.errors` only; their constructors import their vendor late and raise `MissingExtra`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.types import CollectionSpec, Condition, Hit, Item, Parsed, Point, TokenIds, Vectors


class Source(Protocol):
    """Where documents come from. Picklable."""

    #: The canonical spelling of the argument that opened it.
    name: str

    def list(self) -> Iterator[Item]:
        """Everything there is, in a stable order, streaming. Raises SourceError unless the listing is complete."""

    def read(self, item: Item, limit: int | None = None) -> bytes:
        """The bytes of a listed item. Raises Rejected (gone, unreadable, over `limit` bytes) or Transient."""

    def covers(self, uri: str) -> bool:
        """Whether `uri` would be listed if it existed: what is covered and unlisted has been deleted."""


class Parser(Protocol):
    """Turns bytes into text with structure. A plain function; `pipeline.parse` picks one by media type."""

    def __call__(self, data: bytes, uri: str) -> Parsed:
        """Parse `data`; `uri` is for messages and for the last resort of guessing. Raises Rejected."""


class Embedder(Protocol):
    """Turns token ids into vectors."""

    #: Length of a vector.
    dimensions: int

    def embed(self, token_ids: Sequence[TokenIds]) -> Vectors:
        """One vector a row, in order: float32, shape (len(token_ids), dimensions). May be called by several threads.

        Raises Poisoned if some rows cannot be embedded (it has the vectors of the others), Terminal or Transient.
        """

    def close(self) -> None:
        """Free the device. Idempotent."""


class VectorStore(Protocol):
    """One collection of a vector database. Ids are uuid strings; every verb is idempotent.

    A store is opened by URL and collection name without touching the network; `open` does that.
    """

    url: str
    collection: str
    #: The longest text, and the longest metadata as JSON, a payload may carry (UTF-8 bytes); None if there is no limit.
    max_text_bytes: int | None
    #: Whether several threads may call it at once; if not, its callers take turns.
    parallel: bool

    def open(self, spec: CollectionSpec | None = None) -> CollectionSpec | None:
        """Connect; with a spec, create the collection if there is none, and stamp it.

        Returns the stamp found (or just made), None if there is no collection. Raises RecipeMismatch if the stamp's
        `recipe` is another than the spec's, Transient if the server does not answer, UsageError on a bad URL. A
        negative average length in the stamp is one that was being set when the process died: it is to be set again.
        """

    def upsert(self, points: Sequence[Point]) -> None:
        """Write or overwrite; when it returns, the points are searchable."""

    def patch(self, points: Sequence[Point]) -> None:
        """Overwrite the payloads of points that exist, whole; their vectors and lexical texts stay as they are.

        Only `record_id` and `payload` of each are looked at. An id that does not exist is fine, and stays absent.
        """

    def fetch(self, record_ids: Sequence[str], vectors: bool = False) -> list[Point]:
        """The points that exist among these ids, in any order; vectors are of shape (0,) unless asked for."""

    def ids_of(self, document_ids: Sequence[str]) -> Mapping[str, set[str]]:
        """The record ids that the store holds of each of these documents; a document without points is absent."""

    def delete(self, record_ids: Sequence[str]) -> None:
        """Remove points by id; ids that do not exist are fine."""

    def count(self, conditions: Sequence[Condition] = ()) -> int:
        """The exact number of points, of those that meet every condition if any are given."""

    def search_dense(self, vector: Vectors, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        """The `k` nearest by cosine similarity, best first; score is the cosine."""

    def search_bm25(self, text: str, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        """The `k` best by BM25, best first; only texts that share a word with the query."""

    def scroll(self, vectors: bool = False) -> Iterator[Point]:
        """Every point once, in any order, in bounded memory."""

    def set_average_length(self, words: float) -> None:
        """Tell BM25 the corpus's mean text length (`pipeline.search.count_words`), now that it is known.

        A store whose engine derives it itself does nothing; one that bakes it into its sparse vectors recomputes
        those, from the texts it holds, and updates the stamp.
        """

    def flush(self) -> None:
        """Make what was written durable."""

    def close(self) -> None:
        """Release files and connections. Idempotent."""


class Encoding(Protocol):
    """What a tokenizer makes of a text; each is found when it is first asked for."""

    @property
    def ids(self) -> list[int]:
        """The tokens, special ones included."""

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where the tokens of the text start, in characters; special ones are left out."""


class Tokenizer(Protocol):
    """The embedding model's own tokenizer."""

    def encode(self, text: str) -> Encoding:
        """Every token the engine will see, special ones included; nothing truncated, nothing padded."""
