"""Files behind an fsspec URL: object stores, archives, web servers, memory, …"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote_to_bytes, urlsplit

from connectors.sources.globs import has_magic
from connectors.sources.trees import EVERYTHING, Entry, Tree
from pipeline.errors import Rejected, SourceError, Transient, UsageError
from pipeline.types import Item

# What every driver calls the same two things.
_VERSIONS = ("VersionId", "version_id", "generation", "ETag", "etag", "md5Hash", "content_md5")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
# '#' separates a row's id, '%' is what we encode with; the rest cannot be printed or stored.
_UNSAFE = re.compile(r"[%#\x00-\x1f\x7f\ud800-\udfff]")
_PASSWORD = re.compile(r"(?<=[^/:@]):[^/:@]*@")
# How much of a file of unknown size is asked for at a time.
_READ_BYTES = 2**20
# What trying again does not change; any other exception of a driver is taken for the network's.
_FINAL = (
    FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError,
    EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class Remote(Tree):
    """What one fsspec filesystem holds at and below `path`.

    URIs are URLs with '#', '%' and unprintable characters percent-encoded; `web` ones are kept as the server has them.
    """

    def __init__(
        self, filesystem: Any, url: str, path: str, pattern: Sequence[str] | None, suffix: str, web: bool
    ) -> None:
        self._filesystem = filesystem
        self._path = path
        self._web = web
        below = () if pattern in (None, EVERYTHING) else pattern or ()
        name = "/".join([url, *below])
        super().__init__(name + "/" * name.endswith("/") + suffix, self._escape(url), pattern, suffix)

    def read(self, item: Item, limit: int | None = None) -> bytes:
        """The file's bytes. Raises Rejected (gone, unreadable, no file, over `limit` bytes) or Transient."""
        with _reading(item):
            if item.size is None and limit is not None:  # a server that does not say how much it will send
                with self.open(item) as stream:
                    data = _read_on(stream, limit)
            else:
                data = cast(bytes, self._filesystem.cat_file(self._path_of(item)))
        if limit is not None and len(data) > limit:
            raise self._too_large(item, limit)
        return data

    def open(self, item: Item) -> BinaryIO:
        """The file as a stream. Raises Rejected or Transient."""
        with _reading(item):
            return cast(BinaryIO, self._filesystem.open(self._path_of(item), "rb"))

    def _path_of(self, item: Item) -> str:
        if "kind" in item.metadata:
            raise Rejected(f"{item.uri} is no file but of kind {item.metadata['kind']!r}")
        return self._below(self._names(item.uri) or ())

    def _below(self, names: Sequence[str]) -> str:
        # Below the top, some drivers want a '/' first and some find nothing with one.
        return "/".join([self._path, *names]) if self._path else self._filesystem.root_marker + "/".join(names)

    def _look(self) -> Entry:
        self._filesystem.invalidate_cache()
        try:
            return _entry(self._filesystem.info(self._path))
        except Exception as error:
            raise SourceError(f"cannot list {self.name}: {_reason(error)}") from error

    def _entries(self, names: Sequence[str]) -> Iterator[Entry]:
        path = self._below(names)
        try:
            found = self._filesystem.ls(path, detail=True)
            # Otherwise a driver remembers every folder of the tree.
            self._filesystem.invalidate_cache(path)
        except Exception as error:
            raise SourceError(
                f"the listing of {self.name} is incomplete: cannot look into {self._uri(names)}: {_reason(error)}"
            ) from error
        # Object stores may list the folder itself, a web page what lies outside it.
        own = path.strip("/")
        inside = {info["name"].strip("/"): info for info in found}
        for name in sorted(name for name in inside if name != own and name.startswith(f"{own}/" if own else "")):
            yield _entry(inside[name])

    def _escape(self, text: str) -> str:
        return text if self._web else _UNSAFE.sub(lambda match: quote(os.fsencode(match[0])), text)

    def _encode(self, name: str) -> str:
        return self._escape(name)

    def _decode(self, name: str) -> str:
        return name if self._web else os.fsdecode(unquote_to_bytes(name))


def _read_on(stream: BinaryIO, limit: int) -> bytes:
    """What is in a stream, but not much more than `limit` bytes."""
    parts, size = [], 0
    while size <= limit and (part := stream.read(_READ_BYTES)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _entry(info: Mapping[str, Any]) -> Entry:
    version = next((str(info[key]).strip('"') for key in _VERSIONS if info.get(key)), None)
    kind = info["type"]
    return Entry(
        info["name"].rstrip("/").rpartition("/")[2],
        is_folder=kind == "directory",
        size=info.get("size"),
        mtime=next((time for key in _TIMES if (time := _seconds(info.get(key))) is not None), None),
        version=version,
        metadata=None if kind in ("file", "directory", "link") else {"kind": kind},
    )


def _seconds(time: object) -> float | None:
    if isinstance(time, str):
        try:
            time = datetime.fromisoformat(time)
        except ValueError:
            return None
    if isinstance(time, datetime):
        return time.timestamp()
    return float(time) if isinstance(time, int | float) else None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@contextmanager
def _reading(item: Item) -> Iterator[None]:
    try:
        yield
    except Rejected:
        raise
    except _FINAL as error:
        reason = "it is gone" if isinstance(error, FileNotFoundError) else _reason(error)
        raise Rejected(f"cannot read {item.uri}: {reason}") from error
    except Exception as error:
        raise Transient(f"cannot read {item.uri} now: {_reason(error)}") from error


def open_remote(spec: str) -> Remote:
    """The file, folder or glob at an fsspec URL, chained ones (`zip://*.txt::s3://bucket/a.zip`) included.

    Raises UsageError if it is not there or its driver is not installed, SourceError if the server refuses or is away.
    """
    url, chain, rest = spec.partition("::")
    if "://" not in url:
        # A cache in front of another filesystem (`simplecache::s3://…`) is no place of its own.
        url, chain, rest = spec, "", ""
    suffix = chain + rest
    filesystem, path = _connect(spec)
    info = _info(filesystem, path, spec)
    if info is not None:
        pattern = EVERYTHING if info["type"] == "directory" else None
        return _remote(filesystem, url, path, pattern, suffix)
    names = url.split("/")
    magic = next((number for number, name in enumerate(names) if has_magic(name)), None)
    if magic is None:
        raise UsageError(f"there is nothing at {spec}")
    if _is_web(url):
        raise UsageError(f"cannot match {spec}: a web server does not list its files, so name them one by one")
    root = "/".join(names[:magic])
    filesystem, path = _connect(f"{root}/{suffix}")
    info = _info(filesystem, path, spec)
    if info is None or info["type"] != "directory":
        raise UsageError(f"cannot match {spec}: there is no folder {root}{suffix}")
    source = _remote(filesystem, root, path, tuple(names[magic:]), suffix)
    if next(source.list(), None) is None:
        raise UsageError(f"nothing matches {spec} (names that start with '.' are skipped)")
    return source


def _connect(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        filesystem, path = url_to_fs(url)
    except ImportError as error:
        raise UsageError(f"cannot open {url}: its driver is not installed: {error} (with pip install)") from error
    except ValueError as error:
        raise UsageError(f"cannot open {url}: {error}") from error
    except Exception as error:
        raise SourceError(f"cannot open {url}: {_reason(error)}") from error
    return filesystem, path.rstrip("/")


def _info(filesystem: Any, path: str, spec: str) -> Mapping[str, Any] | None:
    try:
        filesystem.invalidate_cache()
        return cast(Mapping[str, Any], filesystem.info(path))
    except FileNotFoundError:
        return None
    except Exception as error:
        raise SourceError(f"cannot open {spec}: {_reason(error)}") from error


def _remote(filesystem: Any, url: str, path: str, pattern: Sequence[str] | None, suffix: str) -> Remote:
    web = _is_web(url)
    root = url.rstrip("/") if web else _canonical(filesystem, url, path)
    return Remote(filesystem, root, path, pattern, _PASSWORD.sub("@", suffix), web)


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _canonical(filesystem: Any, url: str, path: str) -> str:
    """One URL for one place, however it was spelt. A password stays out of it, the name of a host in it."""
    place = urlsplit(url).netloc
    if not place or f"{path.lstrip('/')}/".startswith(f"{place}/"):
        if path:
            return str(filesystem.unstrip_protocol(path))
        return f"{urlsplit(url).scheme}:/{filesystem.root_marker}"
    # Drivers of servers (ftp, sftp, hdfs, …) leave the host out of their paths; two hosts must not share URIs.
    return _PASSWORD.sub("@", url).rstrip("/")
