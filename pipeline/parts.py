"""Parts: immutable Parquet files, each there as a whole or not at all; reading costs the row groups that are wanted."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from pipeline.errors import Terminal
from pipeline.tables import conform

#: Where a part says what made it: JSON, in the file's metadata.
DESCRIPTION = b"corpusvec"

# A row group is what finding one row costs, in bytes before compression.
_GROUP_BYTES = 4 * 2**20

_FULL = "free some disk space and run the same command again"
_CLOSED = "make the folder writable, or correct 'data'"
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f) and run the same command again",
    errno.EROFS: _CLOSED,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
}


class Gone(Exception):
    """A part is no longer there: somebody else has put another in its place."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.name = path.rsplit("/", 1)[-1]


class Part:
    """One part, open for reading. Raises Gone if it is no longer there, Terminal if it is no whole Parquet file."""

    def __init__(self, fs: Any, path: str) -> None:
        self._path = path
        with self._explained():
            self._file = fs.open(path, "rb")
        try:
            with self._explained():
                self._parquet = pq.ParquetFile(self._file, page_checksum_verification=True)
        except BaseException:
            self._file.close()
            raise
        footer = self._parquet.metadata
        counts = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
        self._ends = np.cumsum([0, *counts])
        #: How many rows it has.
        self.rows = int(footer.num_rows)
        #: Its columns, its description in their metadata.
        self.schema: pa.Schema = self._parquet.schema_arrow

    def read(self, schema: pa.Schema, rows: NDArray[np.int64] | None = None) -> Iterator[pa.Table]:
        """The columns of `schema`, a row group at a time; of `rows` only (sorted numbers), if they are given."""
        there = [name for name in schema.names if name in self.schema.names]
        for group in range(len(self._ends) - 1):
            start, end = self._ends[group], self._ends[group + 1]
            wanted = None
            if rows is not None:
                wanted = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)] - start
                if not len(wanted):
                    continue
            with self._explained():
                # A row group is too little to share out; on a CPU the engine wants the other cores.
                table = self._parquet.read_row_group(group, columns=there, use_threads=False)
            table = conform(table, schema, end - start)
            yield table if wanted is None or len(wanted) == end - start else table.take(pa.array(wanted))

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise Gone(self._path) from error
        except (OSError, pa.ArrowException) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise Terminal(
                f"cannot read {self._path}: {reason}; restore the file from a backup, or take it away and run "
                "corpusvec audit, which names what is then missing"
            ) from error


def write_part(fs: Any, path: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> bool:
    """Write `tables` as one part, in the memory of a row group; False, and no part, if they have no rows.

    Wholly there when this returns, wholly absent if it does not. Raises Terminal if it cannot be written.
    """
    groups = _row_groups(tables)
    first = next(groups, None)
    if first is None:
        return False
    # Checksums: a disk that decays is noticed where it is read. Dictionaries: nearly every value is another.
    options = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
    with atomic_file(fs, path) as file, pq.ParquetWriter(file, schema, **options) as writer:
        for group in chain([first], groups):
            writer.write_table(group.cast(schema))
    return True


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    pending: list[pa.Table] = []
    size = 0
    for table in tables:
        for piece in _halved(table):
            if pending and size + piece.nbytes > _GROUP_BYTES:
                yield pa.concat_tables(pending)
                pending, size = [], 0
            pending.append(piece)
            size += piece.nbytes
    if pending:
        yield pa.concat_tables(pending)


def _halved(table: pa.Table) -> Iterator[pa.Table]:
    if table.num_rows == 0:
        return
    if table.num_rows == 1 or table.nbytes <= _GROUP_BYTES:
        yield table
        return
    half = table.num_rows // 2
    yield from _halved(table.slice(0, half))
    yield from _halved(table.slice(half))


@contextlib.contextmanager
def atomic_file(fs: Any, path: str) -> Iterator[IO[bytes]]:
    """A file to write that is at `path` once the block ends, and nowhere if it raises. OSError becomes Terminal.

    On a local disk it is written beside its name, synced and renamed; elsewhere it is one PUT, from memory.
    """
    try:
        if not isinstance(fs, LocalFileSystem):
            buffer = io.BytesIO()
            yield buffer
            fs.pipe_file(path, buffer.getvalue())
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(fs, str(target.parent))
    except OSError as error:
        raise _fault("write", path, error) from error


def remove(fs: Any, path: str) -> None:
    """Remove a file; one that is not there is fine. Raises Terminal if it stays."""
    try:
        fs.rm_file(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _fault("remove", path, error) from error


def sync_folder(fs: Any, path: str) -> None:
    """Make what was renamed or removed in a folder so for good; a local disk may forget it otherwise."""
    if not isinstance(fs, LocalFileSystem):
        return
    try:
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _fault("sync", path, error) from error


def remove_folder(fs: Any, path: str) -> None:
    """Remove a folder if nothing is in it; an object store has none."""
    if isinstance(fs, LocalFileSystem):
        with contextlib.suppress(OSError):
            fs.rmdir(path)


def list_folders(fs: Any, path: str) -> list[str]:
    """The names of the folders in a folder, sorted; none if there is no folder."""
    return sorted(entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in _list(fs, path) if _is_folder(entry))


def list_parts(fs: Any, path: str) -> dict[str, int]:
    """The names of the parts in a folder, oldest first, and their sizes in bytes; none if there is no folder."""
    sizes = {name: size for name, size in _sizes(fs, path) if name.endswith(".parquet")}
    return dict(sorted(sizes.items()))


def list_leftovers(fs: Any, path: str) -> dict[str, int]:
    """What writers that were killed have left in a folder, and its size in bytes."""
    return {name: size for name, size in _sizes(fs, path) if name.startswith(".") and name.endswith(".tmp")}


def _sizes(fs: Any, path: str) -> Iterator[tuple[str, int]]:
    for entry in _list(fs, path):
        if not _is_folder(entry):
            yield entry["name"].rsplit("/", 1)[-1], int(entry["size"] or 0)


def _is_folder(entry: dict[str, Any]) -> bool:
    return bool(entry["type"] == "directory")


def _list(fs: Any, path: str) -> list[dict[str, Any]]:
    # An object store's client may remember what it listed before another process merged parts.
    fs.invalidate_cache(path)
    try:
        entries: list[dict[str, Any]] = fs.ls(path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return entries


def _fault(verb: str, path: str, error: OSError) -> Terminal:
    remedy = _REMEDIES.get(error.errno or 0, "correct 'data'")
    return Terminal(f"cannot {verb} {path}: {error.strerror or error}; {remedy}")
