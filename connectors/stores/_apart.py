"""A store at work in a process of its own, so that its engine or client holds nothing else up.

Embedded engines keep the interpreter to themselves while they compute, and clients while they turn vectors into
requests: about a millisecond a point, in which nobody here can feed a GPU. With the first write the store moves into
a process, which dies with this one; before that it is used here, and whoever only reads starts none.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count, islice
from typing import Any

from pipeline.errors import CorpusvecError, Transient
from pipeline.ports import VectorStore
from pipeline.types import CollectionSpec, Condition, Hit, Point, Vectors
from pipeline.workers.scratch import Scratch
from pipeline.workers.worker import Lost, Worker

log = logging.getLogger(__name__)

# Points that come over at a time while all are read.
_PAGE = 500
# A request may be the rewriting of a whole collection, and the store sees to its memory itself.
_SECONDS, _MEGABYTES = 1e8, 10**9


class StoreApart:
    """What `make` makes, in a process of its own from the first write on. Thread-safe: callers take turns.

    Raises what the store does, and Transient if its process ends: the store is back here then, until the next write.
    """

    def __init__(self, make: Callable[[], VectorStore]) -> None:
        self._make = make
        self._here = make()
        self.url, self.collection = self._here.url, self._here.collection
        self.max_text_bytes = self._here.max_text_bytes
        self._process: _Process | None = None
        self._lock = threading.RLock()

    def open(self, spec: CollectionSpec | None = None) -> CollectionSpec | None:
        """As the port says."""
        found: CollectionSpec | None = self._ask("open", spec)
        return found

    def upsert(self, points: Sequence[Point]) -> None:
        """As the port says."""
        with self._lock:
            if self._process is None:
                self._move()
            self._ask("upsert", points)

    def patch(self, points: Sequence[Point]) -> None:
        """As the port says."""
        self._ask("patch", points)

    def fetch(self, record_ids: Sequence[str], vectors: bool = False) -> list[Point]:
        """As the port says."""
        found: list[Point] = self._ask("fetch", record_ids, vectors)
        return found

    def ids_of(self, document_ids: Sequence[str]) -> Mapping[str, set[str]]:
        """As the port says."""
        found: Mapping[str, set[str]] = self._ask("ids_of", document_ids)
        return found

    def delete(self, record_ids: Sequence[str]) -> None:
        """As the port says."""
        self._ask("delete", record_ids)

    def count(self, conditions: Sequence[Condition] = ()) -> int:
        """As the port says."""
        return int(self._ask("count", conditions))

    def search_dense(self, vector: Vectors, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        """As the port says."""
        hits: list[Hit] = self._ask("search_dense", vector, k, conditions)
        return hits

    def search_bm25(self, text: str, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        """As the port says."""
        hits: list[Hit] = self._ask("search_bm25", text, k, conditions)
        return hits

    def scroll(self, vectors: bool = False) -> Iterator[Point]:
        """As the port says. A scroll that began before the first write must be at its end by then."""
        if self._process is None:
            yield from self._here.scroll(vectors)
            return
        number = self._ask(_SCROLL, vectors)
        while page := self._ask(_NEXT, number):
            yield from page

    def set_average_length(self, words: float) -> None:
        """As the port says."""
        self._ask("set_average_length", words)

    def flush(self) -> None:
        """As the port says."""
        self._ask("flush")

    def close(self) -> None:
        """As the port says; ends the process."""
        with self._lock:
            process, self._process = self._process, None
            if process is None:
                self._here.close()
                return
            try:
                with suppress(Lost):  # what it had acknowledged is safe
                    process.ask("close")
            finally:
                process.end()

    def _ask(self, verb: str, *arguments: Any) -> Any:
        with self._lock:
            if self._process is None:
                return getattr(self._here, verb)(*arguments)
            try:
                return self._process.ask(verb, *arguments)
            except Lost as lost:
                self._process.end()
                self._process = None
                self._here.open()
                raise Transient(
                    f"The process that writes into the collection '{self.collection}' at {self.url} ended in the "
                    f"middle of its work (by signal or exit code {lost.code})"
                ) from lost

    def _move(self) -> None:
        self._here.close()
        try:
            self._process = _Process(self._make)
            self._process.ask("open", None)
        except BaseException:
            if self._process is not None:
                self._process.end()
                self._process = None
            with suppress(CorpusvecError):  # the first error is the one to tell
                self._here.open()
            raise
        log.debug("%s is written to by a process of its own", self.url)


class _Process:
    """The process, and what it needs to end with this one."""

    def __init__(self, make: Callable[[], VectorStore]) -> None:
        self._scratch, self._lifeline = Scratch(), os.pipe()
        try:
            self._worker = Worker(
                partial(_Served, make), _SECONDS, _MEGABYTES, self._lifeline[0], self._scratch.path, lambda: None,
                "store_process = false",
            )  # fmt: skip
        except BaseException:
            self._release()
            raise

    def ask(self, verb: str, *arguments: Any) -> Any:
        """The answer of the store's `verb`. Raises what it raises, and Lost."""
        request = pickle.dumps((verb, arguments), pickle.HIGHEST_PROTOCOL)
        ((sound, answer),) = self._worker.ask([request], _SECONDS, lambda: None)
        if not sound:
            raise answer
        return answer

    def end(self) -> None:
        """Kill it: what it has acknowledged is safe."""
        self._worker.kill()
        self._release()

    def _release(self) -> None:
        for descriptor in self._lifeline:
            os.close(descriptor)
        self._scratch.close()


_SCROLL, _NEXT = "scroll", "next"


class _Served:
    """In the process: the store, and whoever is reading all of it."""

    def __init__(self, make: Callable[[], VectorStore]) -> None:
        self._store = make()
        self._scrolls: dict[int, Iterator[Point]] = {}
        self._numbers = count()

    def __call__(self, request: tuple[str, tuple[Any, ...]]) -> Any:
        verb, arguments = request
        if verb == _SCROLL:
            number = next(self._numbers)
            self._scrolls[number] = self._store.scroll(*arguments)
            return number
        if verb == _NEXT:
            page = list(islice(self._scrolls[arguments[0]], _PAGE))
            if not page:
                del self._scrolls[arguments[0]]
            return page
        return getattr(self._store, verb)(*arguments)
