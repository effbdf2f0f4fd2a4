"""Faults from outside: a run's effects on the world are numbered, and a fault is put before one of them.

An effect is what Python does to the files below a folder (open to write, rename, remove, make a folder, sync), a verb
of the store, or a call of the engine. The product knows nothing of it: files are watched by an audit hook, the store
and the engine through wrappers.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from flows import Corpus
from pipeline.checkpoint import Checkpoints
from pipeline.config import Recipe
from pipeline.embed.model import Model, load_model
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.errors import Terminal
from pipeline.ledger import ledger_name
from pipeline.ports import VectorStore
from pipeline.types import Condition, Vectors

#: The verbs of a store that a run uses; those that only look count too, since a server can die under any.
VERBS = ("open", "upsert", "patch", "fetch", "ids_of", "delete", "count", "scroll", "set_average_length", "flush")

#: Effects that leave nothing behind: whoever comes after a kill cannot tell on which side of one it was.
LOOKING = frozenset({"fsync", "open", "fetch", "ids_of", "count", "scroll"})

#: What Python tells its audit hooks before it does it to files, and where among the arguments their paths are.
_FILE_EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


#: Which effect: its number (the first is 0), or a name, and how many of that name come before it.
At = int | tuple[str, int]


class Effects:
    """The names of the effects so far, in order; just before the one `at`, `fault` gets its name."""

    def __init__(self, at: At | None = None, fault: Callable[[str], None] = lambda name: None) -> None:
        self.seen: list[str] = []
        self._at, self._fault = at, fault

    def about_to(self, name: str) -> None:
        """Number one."""
        before = self.seen.count(name)
        self.seen.append(name)
        if self._at in (len(self.seen) - 1, (name, before)):
            self._fault(name)

    def watch(self, thing: Any, verbs: Sequence[str] = VERBS) -> Any:
        """`thing`, whose calls of `verbs` are effects."""
        return _Watched(thing, self, verbs)

    @contextmanager
    def below(self, folder: Path) -> Iterator[None]:
        """Within the block, what happens to files below `folder` is an effect.

        Nothing is synced: the kernel keeps what a killed process wrote, and only a power cut would tell.
        """
        global _watching
        _install()
        sync = os.fsync

        def counted(descriptor: int) -> None:
            self.about_to("fsync")

        os.fsync = counted
        _watching = self, f"{folder.resolve()}/"
        try:
            yield
        finally:
            _watching = None
            os.fsync = sync


class _Watched:
    def __init__(self, thing: Any, effects: Effects, verbs: Sequence[str]) -> None:
        self.__dict__.update(_thing=thing, _effects=effects, _verbs=verbs)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        if name not in self._verbs:
            return found

        def counted(*arguments: Any, **named: Any) -> Any:
            self._effects.about_to(name)
            return found(*arguments, **named)

        return counted


_watching: tuple[Effects, str] | None = None


@cache
def _install() -> None:
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching is None or event not in _FILE_EVENTS:
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITING):
        return
    effects, root = _watching
    if isinstance(arguments[0], str | os.PathLike):
        path = os.path.abspath(arguments[0])  # noqa: PTH100 - a Path would do more, and be slower
        if path.startswith(root) and not (event == "os.mkdir" and os.path.isdir(path)):  # noqa: PTH112
            effects.about_to("write" if event == "open" else event.removeprefix("os."))


def fail(name: str) -> None:
    """Raise what a dying disk, store or engine would raise at this effect."""
    if name in VERBS or name == "embed":
        raise Terminal(f"{name} failed")
    raise OSError(errno.EIO, os.strerror(errno.EIO))


class FakeEngine:
    """Vectors derived from the token ids: always the same, alike for nothing, at no cost. For fault injection only.

    How many tokens each call got is added to the file `spent`, where a kill does not reach it.
    """

    def __init__(self, dimensions: int, spent: Path | None = None) -> None:
        self.dimensions = dimensions
        self._spent = spent

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        """One unit vector a row."""
        if self._spent is not None:
            with self._spent.open("a") as file:
                file.write(f"{sum(map(len, token_ids))}\n")
        return np.stack([_vector_of(ids, self.dimensions) for ids in token_ids])

    def close(self) -> None:
        """There is nothing to close."""


def _vector_of(ids: Sequence[int], dimensions: int) -> Vectors:
    digest = hashlib.sha256(np.asarray(ids, "<u4").tobytes()).digest()
    vector = np.random.default_rng(list(digest)).standard_normal(dimensions).astype(np.float32)
    return vector / np.linalg.norm(vector)


@cache
def bundled() -> tuple[Model, ModelTokenizer]:
    """The bundled model's description and tokenizer, read once."""
    model = load_model(Recipe())
    return model, ModelTokenizer(model.path)


def open_corpus(effects: Effects | None = None, spent: Path | None = None, **flags: Any) -> Corpus:
    """A corpus on the fake engine, its store and engine watched if `effects` are given."""
    model, tokenizer = bundled()
    engine: Any = FakeEngine(model.dimensions, spent)
    corpus = Corpus(embedder=effects.watch(engine, ["embed"]) if effects else engine, **flags)
    corpus.model, corpus.tokenizer = model, tokenizer
    if effects is not None:
        corpus.store = effects.watch(corpus.store)
    return corpus


def points_of(corpus: Corpus) -> dict[str, Any]:
    """Everything that the store holds: record id → payload, lexical text and vector (as bytes)."""
    if corpus.store.open() is None:
        return {}
    return {
        point.record_id: (dict(point.payload), point.lexical_text, point.vector.tobytes())
        for point in corpus.store.scroll(vectors=True)
    }


def searchable_in(corpus: Corpus, words: Sequence[str]) -> dict[str, Any]:
    """The points, and the URIs of the hits for each of `words`."""
    points = points_of(corpus)
    found = {word: {hit.uri for hit in corpus.search(word, mode="bm25")} for word in words if points}
    return {"points": points, "found": found}


def audit_of(corpus: Corpus, *sources: str) -> list[str]:
    """What an audit finds, in words."""
    found = corpus.audit(*sources).as_dict()
    return [f"{one['kind']} {one['place']} {one['uri']}: {one['detail']}" for one in found["findings"]] + [
        f"unknown {one['what']}: {one['reason']}" for one in found["unknown"]
    ]


def everything_in(corpus: Corpus, words: Sequence[str] = ()) -> dict[str, Any]:
    """What is searchable, and what Parquet holds."""
    return {**searchable_in(corpus, words), "parquet": parquet_of(corpus)}


def parquet_of(corpus: Corpus) -> dict[str, Any]:
    """The current view: each document's state, and what can be reached from it; without times and names of runs."""
    tables, fingerprints = Checkpoints(corpus.settings.data), corpus.recipe.fingerprints
    ledger = {row["uri"]: row for row in _rows(tables.ledger(ledger_name(corpus.store, corpus.settings.data)))}
    versions = sorted({row["version_id"] for row in ledger.values()} - {""})
    documents = tables.documents(fingerprints.parse, {}).lookup(versions).to_pylist()
    chunks = tables.chunks(fingerprints.chunk, {}).lookup(versions).to_pylist()
    keys = sorted({corpus.model.embedding_key(row["token_hash"]) for row in chunks})
    vectors = tables.vectors(fingerprints.embed, corpus.model.dimensions, {}).lookup(keys)
    arrays = vectors.column("vector").combine_chunks().flatten().to_numpy().reshape(-1, corpus.model.dimensions)
    return {
        "ledger": {uri: _without(row, "at", "run_id", "mtime") for uri, row in ledger.items()},
        "documents": [_without(row, "parsed_at") for row in documents],
        "chunks": chunks,
        "vectors": {key: row.tobytes() for key, row in zip(keys, arrays, strict=True)},
    }


def _rows(table: Any) -> Iterator[dict[str, Any]]:
    for part in table.current():
        yield from part.to_pylist()


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def read_until(done: Callable[[], bool], store: VectorStore, words: Sequence[str]) -> tuple[int, list[str]]:
    """Ask for each of `words` in turn, by BM25 and by title, until `done`: how often, and what was missed.

    Each of the words is the title of a document, and in every text of it.
    """
    asked, missed = 0, []
    while not done():
        for word in words:
            asked += 1
            if not any(hit.title == word for hit in store.search_bm25(word, 10)):
                missed.append(f"{word} by BM25 at {asked}")
            if not store.count([Condition("title", "=", word)]):
                missed.append(f"{word} by title at {asked}")
    return asked, missed


def spent_in(path: Path) -> list[int]:
    """What `FakeEngine` wrote down."""
    return [int(line) for line in path.read_text().split()] if path.exists() else []
