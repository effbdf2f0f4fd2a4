"""A store at work in processes of its own, so that its engine or client holds nothing else up.

Embedded engines keep the interpreter to themselves while they compute, and clients while they turn vectors into
requests: about a millisecond a point, in which nobody here can feed a GPU. With the first write the store moves into
a process, which dies with this one; before that it is used here, and whoever only reads starts none. A store that can
`encode` points without its files and then `write` what came out has a second process for the former, and is at work
on two batches at once.
"""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count, islice
from typing import Any

from connectors.stores._common import batched
from pipeline.errors import CorpusvecError, Transient
from pipeline.ports import VectorStore
from pipeline.types import CollectionSpec, Condition, Hit, Point, Vectors
from pipeline.workers.companion import Companion
from pipeline.workers.worker import Lost

log = logging.getLogger(__name__)

# Points that go over at a time, and come back while all are read: who only asks does not wait for many.
_PAGE = 250
#: What lists of processes show.
PURPOSE = "corpusvec: store"


class StoreApart:
    """What `make` makes, in processes of its own from the first write on.

    Raises what the store does, and Transient if a process ends: the store is back here then, until the next write.
    """

    parallel = True

    def __init__(self, make: Callable[[], VectorStore]) -> None:
        self._make = make
        self._served = _Served(make)
        self._here = self._served.store
        self.url, self.collection = self._here.url, self._here.collection
        self.max_text_bytes = self._here.max_text_bytes
        self._encodes = hasattr(self._here, "encode")
        self._writer: Companion | None = None
        self._encoder: Companion | None = None
        # Each that is asked for has a number; up to which of them what was written is durable.
        self._flushes, self._flushed = count(), -1
        # Whoever needs both takes them in this order.
        self._writing, self._encoding = threading.RLock(), threading.Lock()

    def open(self, spec: CollectionSpec | None = None) -> CollectionSpec | None:
        """As the port says."""
        with self._writing:
            found: CollectionSpec | None = self._ask("open", spec)
            self._refresh()
        return found

    def upsert(self, points: Sequence[Point]) -> None:
        """As the port says."""
        with self._writing:
            if self._writer is None:
                self._move()
        for some in batched(points, _PAGE):
            if self._encodes:
                self._ask(_WRITE, self._encode(some))
            else:
                self._ask("upsert", some)

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
        if self._writer is None:
            yield from self._here.scroll(vectors)
            return
        number = self._ask(_SCROLL, vectors)
        while page := self._ask(_NEXT, number):
            yield from page

    def set_average_length(self, words: float) -> None:
        """As the port says."""
        with self._writing:
            self._ask("set_average_length", words)
            self._refresh()

    def flush(self) -> None:
        """As the port says. One that began after another was asked for is that one as well: a disk takes its time."""
        mine = next(self._flushes)
        with self._writing:
            if mine > self._flushed:
                all_so_far = next(self._flushes)
                self._ask("flush")
                self._flushed = all_so_far

    def close(self) -> None:
        """As the port says; ends the processes."""
        with self._writing:
            try:
                with suppress(Lost):  # what it had acknowledged is safe
                    (self._writer.ask if self._writer else self._served)(("close", ()))
            finally:
                self._end()

    def _ask(self, verb: str, *arguments: Any) -> Any:
        with self._writing:
            if self._writer is None:
                return self._served((verb, arguments))
            try:
                return self._writer.ask((verb, arguments))
            except Lost as lost:
                raise self._come_back(lost) from lost

    def _encode(self, points: Sequence[Point]) -> bytes:
        # Dataclasses with slots take twice as long to pickle as what is in them.
        rows = [(point.record_id, point.vector, point.lexical_text, point.payload) for point in points]
        try:
            with self._encoding:
                if self._encoder is not None:
                    return bytes(self._encoder.ask((_ENCODE, rows)))
        except Lost as lost:
            with self._writing:
                raise self._come_back(lost) from lost
        # Another thread found that a process had died.
        return bytes(self._served((_ENCODE, rows)))

    def _refresh(self) -> None:
        """Have the encoder read the collection's stamp again. Whoever calls has `_writing`."""
        try:
            with self._encoding:
                if self._encoder is not None:
                    self._encoder.ask(("open", (None,)))
        except Lost as lost:
            raise self._come_back(lost) from lost

    def _move(self) -> None:
        self._here.close()
        try:
            self._writer = self._start()
            self._writer.ask(("open", (None,)))
            if self._encodes:
                with self._encoding:  # whoever encodes meanwhile, for an upsert that began before, waits
                    self._encoder = self._start()
                    self._encoder.ask(("open", (None,)))
        except BaseException as error:
            self._end()
            with suppress(CorpusvecError):  # the first error is the one to tell
                self._here.open()
            if isinstance(error, Lost):
                raise Transient(f"A process for {self.url} ended as it began ({error.code})") from error
            raise
        log.debug("%s is written to by a process of its own", self.url)

    def _start(self) -> Companion:
        return Companion(partial(_Served, self._make), PURPOSE, "store_process = false")

    def _come_back(self, lost: Lost) -> Transient:
        """End what is left of the processes, and use the store here. Whoever calls has `_writing`."""
        self._end()
        self._here.open()
        return Transient(
            f"A process that writes into the collection '{self.collection}' at {self.url} ended in the middle of its "
            f"work (by signal or exit code {lost.code})"
        )

    def _end(self) -> None:
        with self._encoding:
            for process in (self._writer, self._encoder):
                if process is not None:
                    process.end()
            self._writer = self._encoder = None


# What is asked otherwise than the port has it. What one process encoded the other writes: to us it is but bytes.
_SCROLL, _NEXT, _ENCODE, _WRITE = "scroll", "next", "encode", "write"


class _Served:
    """In the process, or here: the store, and whoever is reading all of it."""

    def __init__(self, make: Callable[[], VectorStore]) -> None:
        self.store: Any = make()
        self._scrolls: dict[int, Iterator[Point]] = {}
        self._numbers = count()

    def __call__(self, request: tuple[str, Sequence[Any]]) -> Any:
        verb, arguments = request
        if verb == _SCROLL:
            number = next(self._numbers)
            self._scrolls[number] = self.store.scroll(*arguments)
            return number
        if verb == _NEXT:
            page = list(islice(self._scrolls[arguments[0]], _PAGE))
            if not page:
                del self._scrolls[arguments[0]]
            return page
        if verb == _ENCODE:
            points = [Point(*row) for row in arguments]
            return pickle.dumps(self.store.encode(points), pickle.HIGHEST_PROTOCOL)
        if verb == _WRITE:
            return self.store.write(pickle.loads(arguments[0]))
        return getattr(self.store, verb)(*arguments)
