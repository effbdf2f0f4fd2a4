"""Files of this machine: one, a folder with everything below it, or a glob."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote_to_bytes

from connectors.sources.globs import has_magic
from connectors.sources.trees import EVERYTHING, Entry, Tree
from pipeline.errors import Rejected, SourceError, Transient, UsageError
from pipeline.types import Item

_SCHEME = "file://"
# A network file system that is away for a moment, or too many open files: not the file's fault.
_PASSING = {
    errno.ESTALE, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EMFILE, errno.ENFILE,
}  # fmt: skip
# How often a file is read that changes while it is.
_READS = 3
# How much is read of a file that says that it is empty: there are such that are not (/proc).
_READ_BYTES = 2**20
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


def file_uri(path: str) -> str:
    """`path` made absolute, as a URI: its bytes percent-encoded, so that any name a file may have comes back intact."""
    absolute = "/" + os.path.abspath(path).lstrip("/")  # noqa: PTH100 - Path would not keep every byte of a name
    return _SCHEME + quote(os.fsencode(absolute))


def path_of(uri: str) -> str:
    """The path that `file_uri` made `uri` of."""
    return os.fsdecode(unquote_to_bytes(uri.removeprefix(_SCHEME)))


def as_uri(document: str) -> str:
    """The URI of a document that a person names: a URI stays as it is, a path becomes one, `PATH#ROW` a row's."""
    if "://" in document:
        return document
    path, mark, row = document, "", ""
    if "#" in document and not Path(document).exists():
        path, mark, row = document.rpartition("#")
    return file_uri(path) + mark + quote(row, "")


class Files(Tree):
    """Local files. Symbolic links are followed; one that leads nowhere is listed, and rejected when read."""

    def __init__(self, root: str, pattern: Sequence[str] | None) -> None:
        uri = file_uri(root)
        root_uri = uri.removesuffix("/")
        below = () if pattern in (None, EVERYTHING) else [quote(os.fsencode(name), "*?[]!") for name in pattern or ()]
        super().__init__("/".join([root_uri, *below]) if below else uri, root_uri, pattern)
        self._root = path_of(uri)

    def read(self, item: Item, limit: int | None = None) -> bytes:
        """The file's bytes, all of one moment. Raises Rejected (gone, unreadable, …, over `limit` bytes) or Transient.

        Of a file that only grows, the bytes that it had at first; one that keeps changing otherwise is rejected.
        """
        with _reading(item.uri):
            for _ in range(_READS):
                with self.open(item) as stream:
                    before = os.fstat(stream.fileno())
                    if limit is not None and before.st_size > limit:
                        raise self._too_large(item, limit)
                    # Not to the end: there may be none, and what is said to be empty may be not (/proc).
                    data = stream.read(before.st_size or _READ_BYTES)
                    after = os.fstat(stream.fileno())
                if before.st_size == 0 and len(data) == _READ_BYTES:
                    raise Rejected(f"{item.uri} does not say how large it is: make a copy of it, and ingest that")
                same = before.st_mtime_ns == after.st_mtime_ns and before.st_size == after.st_size
                grown = after.st_size > before.st_size and len(data) == before.st_size
                if same or grown:
                    return data
        raise Rejected(f"{item.uri} kept changing while it was read; the next run finds it changed, and tries again")

    def open(self, item: Item) -> BinaryIO:
        """The file as a stream. Raises Rejected or Transient."""
        path = path_of(item.uri)
        with _reading(item.uri):
            # Before opening: to open a pipe is to wait for someone to write, to open a device may do anything.
            _check_kind(Path(path).stat(), item.uri)
            # It may be another by now, and then nobody must wait for it.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            try:
                _check_kind(os.fstat(descriptor), item.uri)
                return os.fdopen(descriptor, "rb")
            except BaseException:
                os.close(descriptor)
                raise

    def _look(self) -> Entry:
        try:
            return _entry("", self._root)
        except OSError as error:
            raise SourceError(f"cannot list {self.name}: {error.strerror}") from error

    def _entries(self, names: Sequence[str]) -> Iterator[Entry]:
        folder = "/".join([self._root.rstrip("/"), *names])
        uri = self._uri(names)
        try:
            with os.scandir(folder or "/") as found:
                inside = sorted(entry.name for entry in found)
            for name in inside:
                uri = self._uri([*names, name])
                yield _entry(name, f"{folder}/{name}")
        except OSError as error:
            raise SourceError(
                f"the listing of {self.name} is incomplete: cannot look into {uri}: {error.strerror}"
            ) from error

    def _encode(self, name: str) -> str:
        return quote(os.fsencode(name), "")

    def _decode(self, name: str) -> str:
        return os.fsdecode(unquote_to_bytes(name))


def _entry(name: str, path: str) -> Entry:
    try:
        status = Path(path).stat()
    except OSError as error:
        if name and error.errno in (errno.ENOENT, errno.ELOOP):
            # A link to nowhere or to itself, or a file that went just now: reading it will say so.
            return Entry(name, is_folder=False)
        raise
    if stat.S_ISDIR(status.st_mode):
        return Entry(name, is_folder=True, identity=(status.st_dev, status.st_ino))
    return Entry(name, is_folder=False, size=status.st_size, mtime=status.st_mtime)


def _check_kind(status: os.stat_result, uri: str) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise Rejected(f"{uri} is {_KINDS.get(kind, 'something special')}, not a regular file")


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    try:
        yield
    except (TimeoutError, ConnectionError, BlockingIOError, InterruptedError) as error:
        raise Transient(f"cannot read {uri} now: {error.strerror or error}") from error
    except FileNotFoundError as error:
        raise Rejected(f"{uri} is gone, or a link to nowhere") from error
    except OSError as error:
        problem = Transient if error.errno in _PASSING else Rejected
        raise problem(f"cannot read {uri}: {error.strerror or error}") from error
    except ValueError as error:  # a zero byte in a path
        raise Rejected(f"{uri} names no file: {error}") from error


def open_files(spec: str) -> Files:
    """The local file, folder or glob that `spec` spells, as a path or a `file:///` URL. Raises UsageError."""
    path = spec
    if "://" in spec:
        path = path_of(spec.replace("local://", _SCHEME, 1) if spec.startswith("local://") else spec)
        if not path.startswith("/"):
            raise UsageError(f"{spec} is no absolute file URL: write file:///the/whole/path")
    try:
        # A file may well be called `a[1].txt`, so what exists is no glob.
        mode = Path(path).stat().st_mode
    except (OSError, ValueError) as error:
        names = path.split("/")
        magic = next((number for number, name in enumerate(names) if has_magic(name)), None)
        if magic is None or isinstance(error, ValueError) or error.errno == errno.EACCES:
            raise UsageError(_no_such(path, error)) from error
        return _open_glob(spec, "/".join(names[:magic]) + "/" if magic else ".", names[magic:])
    return Files(path, EVERYTHING if stat.S_ISDIR(mode) else None)


def _open_glob(spec: str, root: str, pattern: Sequence[str]) -> Files:
    if not Path(root).is_dir():
        raise UsageError(f"cannot match {_printable(spec)}: there is no folder {_printable(root)}")
    files = Files(root, [name for name in pattern if name])
    if next(files.list(), None) is None:
        raise UsageError(f"nothing matches {_printable(spec)} (names that start with '.' are skipped)")
    return files


def _no_such(path: str, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"there is no file or folder {_printable(path)}"
    return f"cannot open {_printable(path)}: {getattr(error, 'strerror', None) or error}"


def _printable(path: str) -> str:
    return os.fsencode(path).decode(errors="replace")
