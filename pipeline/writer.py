"""Parts written by a process of its own: compressing what a GPU embeds is a quarter of what coordinating takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import Transient
from pipeline.parts import write_part
from pipeline.workers.companion import Companion
from pipeline.workers.worker import Lost

#: What lists of processes show.
PURPOSE = "corpusvec: parquet"


class Writer:
    """Writes as `write_part` does, in a process that starts with the first part and dies with this one. Thread-safe.

    Raises what `write_part` does, and Transient if the process ends: the part is there as a whole then, or not at all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Companion | None = None

    def __call__(self, fs: Any, path: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> bool:
        """Write `tables`, which go over together, as one part. What is no local disk is written to from here."""
        if not isinstance(fs, LocalFileSystem):
            return write_part(fs, path, schema, tables)
        with self._lock:
            self._process = self._process or Companion(_start, PURPOSE, "store_process = false")
            try:
                return bool(self._process.ask((fs, path, schema, list(tables))))
            except Lost as lost:
                self._end()
                raise Transient(f"the process that writes {path} ended (by signal or exit code {lost.code})") from lost

    def close(self) -> None:
        """End the process. Idempotent."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


def _start() -> Callable[[tuple[Any, str, pa.Schema, list[pa.Table]]], bool]:
    return lambda request: write_part(*request)
