"""fsspec URLs, tested on the two filesystems that need no server: memory and zip archives."""

from __future__ import annotations

import http.server
import io
import threading
import uuid
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import fsspec
import pytest

from connectors.sources import open_source, remote
from pipeline.errors import Rejected, SourceError, Transient, UsageError
from pipeline.types import Item
from tests.connectors.sources.contract import Case, SourceContract

FILES = {"a.txt": b"A", "b/c.md": b"CCC", "b/d/100%25 #1?.md": b"", "caf\u00e9 x.txt": b"E", ".hidden/x.md": b"H"}
URIS = {"a.txt": b"A", "b/c.md": b"CCC", "b/d/100%2525 %231?.md": b"", "caf\u00e9 x.txt": b"E"}


@pytest.fixture
def bucket() -> Iterator[str]:
    memory = fsspec.filesystem("memory")
    url = f"memory:///{uuid.uuid4()}"
    for name, content in FILES.items():
        memory.pipe(f"{url}/docs/{name}", content)
    yield url
    memory.rm(url, recursive=True)


@pytest.fixture
def archive(bucket: str) -> str:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(f"docs/{name}", content)
    fsspec.filesystem("memory").pipe(f"{bucket}/docs.zip", data.getvalue())
    return f"{bucket}/docs.zip"


class TestAFolder(SourceContract):
    @pytest.fixture
    def case(self, bucket: str) -> Case:
        return Case(
            open_source(f"{bucket}/docs"),
            {f"{bucket}/docs/{name}": content for name, content in URIS.items()},
            f"{bucket}/docs/b/gone.txt",
            (
                f"{bucket}/docs",
                f"{bucket}/docs2/a.txt",
                f"{bucket}/docs/.hidden/x.md",
                f"{bucket}/docs/rows.jsonl#1",
                f"{bucket}/docs//a.txt",
            ),
        )


class TestOneFile(SourceContract):
    @pytest.fixture
    def case(self, bucket: str) -> Case:
        url = f"{bucket}/docs/a.txt"
        return Case(open_source(url), {url: b"A"}, None, (f"{bucket}/docs/b.txt",))


class TestAGlob(SourceContract):
    @pytest.fixture
    def case(self, bucket: str) -> Case:
        return Case(
            open_source(f"{bucket}/docs/**/*.md"),
            {f"{bucket}/docs/{name}": content for name, content in URIS.items() if name.endswith(".md")},
            f"{bucket}/docs/x/y/gone.md",
            (f"{bucket}/docs/a.txt",),
        )


class TestAnArchive(SourceContract):
    @pytest.fixture
    def case(self, archive: str) -> Case:
        return Case(
            open_source(f"zip://docs::{archive}"),
            {f"zip://docs/{name}::{archive}": content for name, content in URIS.items()},
            f"zip://docs/gone.txt::{archive}",
            (f"zip://docs/a.txt::{archive}2", "zip://docs/a.txt", archive),
        )


class TestAllOfAnArchive(SourceContract):
    @pytest.fixture
    def case(self, archive: str) -> Case:
        return Case(
            open_source(f"zip://::{archive}"),
            {f"zip://docs/{name}::{archive}": content for name, content in URIS.items()},
            f"zip://gone.txt::{archive}",
            (f"zip://docs/a.txt::{archive}2",),
        )


class TestAGlobInAnArchive(SourceContract):
    @pytest.fixture
    def case(self, archive: str) -> Case:
        return Case(
            open_source(f"zip://docs/*.txt::{archive}"),
            {f"zip://docs/{name}::{archive}": URIS[name] for name in ("a.txt", "caf\u00e9 x.txt")},
            f"zip://docs/gone.txt::{archive}",
            (f"zip://docs/b/c.txt::{archive}",),
        )


def test_one_place_has_one_spelling(bucket: str) -> None:
    names = {
        open_source(spec).name
        for spec in (f"{bucket}/docs", f"{bucket}/docs/", f"{bucket}/docs".replace(":///", "://"))
    }
    assert names == {f"{bucket}/docs"}


def test_a_cache_in_front_changes_no_uri(bucket: str, archive: str) -> None:
    (item,) = open_source(f"simplecache::{bucket}/docs/a.txt").list()
    assert item.uri == f"{bucket}/docs/a.txt"


def test_deep_folders_are_no_recursion(bucket: str) -> None:
    deepest = f"{bucket}/deep/" + "d/" * 1500
    fsspec.filesystem("memory").pipe(f"{deepest}leaf", b"")
    assert [item.uri for item in open_source(f"{bucket}/deep").list()] == [f"{deepest}leaf"]


class TestAWebPage(SourceContract):
    """An address stays as its server has it: encoded there already, with a query that is no glob."""

    @pytest.fixture
    def case(self) -> Iterator[Case]:
        pytest.importorskip("aiohttp")

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path == "/a%20b.txt?v=1"
                self.send_response(200 if found else 404)
                self.send_header("Content-Length", "4")
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(b"page")

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None: ...

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            root = f"http://127.0.0.1:{server.server_address[1]}"
            url = f"{root}/a%20b.txt?v=1"
            yield Case(open_source(url), {url: b"page"}, None, (f"{root}/a b.txt?v=1", f"{root}/"))
            with pytest.raises(UsageError, match="does not list"):
                open_source(f"{root}/*.txt")
            server.shutdown()


class FakeServer:
    """As much of a driver as a source uses: it keeps its host out of its paths, and breaks on demand."""

    root_marker = "/"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def invalidate_cache(self, path: str | None = None) -> None: ...

    def unstrip_protocol(self, path: str) -> str:
        return f"ftp://{path}"

    def info(self, path: str) -> dict[str, Any]:
        return {"name": path, "type": "directory", "size": 0}

    def ls(self, path: str, detail: bool) -> list[dict[str, Any]]:
        if self.error:
            raise self.error
        return [
            {"name": f"{path}/", "type": "file", "size": 0},  # the folder's own marker
            {"name": "/else/where", "type": "file"},
            {"name": f"{path}/b", "type": "file", "ETag": '"e1"', "LastModified": datetime(2026, 1, 1, tzinfo=UTC)},
            {"name": f"{path}/a", "type": "file", "size": 2, "modified": "2026-01-01T00:00:00+00:00"},
            {"name": f"{path}/c", "type": "other", "size": 0},
        ]

    def cat_file(self, path: str) -> bytes:
        if self.error:
            raise self.error
        return path.encode()


def ftp(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> Any:
    server = FakeServer()
    monkeypatch.setattr(remote, "_connect", lambda url: (server, "/pub"))
    source = open_source("ftp://me:secret@ftp.example.org/pub")
    server.error = error
    return source


def test_a_host_is_part_of_the_uri_and_a_password_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ftp(monkeypatch)
    assert source.name == "ftp://me@ftp.example.org/pub"
    assert [item.uri.rpartition("/")[2] for item in source.list()] == ["a", "b", "c"]
    assert source.read(next(source.list())) == b"/pub/a"


def test_what_a_driver_knows_of_versions_and_times_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    new_year = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    first, second, _ = ftp(monkeypatch).list()
    assert (first.size, first.mtime, first.version) == (2, new_year, None)
    assert (second.size, second.mtime, second.version) == (None, new_year, "e1")


def test_what_is_no_file_is_listed_and_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ftp(monkeypatch)
    with pytest.raises(Rejected, match="of kind 'other'"):
        source.read(list(source.list())[2])


def test_a_folder_that_cannot_be_listed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"incomplete.*ftp://me@ftp\.example\.org/pub: ConnectionResetError"):
        list(ftp(monkeypatch, ConnectionResetError()).list())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(), Rejected),
        (PermissionError("no"), Rejected),
        (zipfile.BadZipFile("bad CRC"), Rejected),
        (RuntimeError("encrypted"), Rejected),
        (TimeoutError(), Transient),
        (ConnectionResetError(), Transient),
        (OSError(16, "slow down"), Transient),
        (Exception("a vendor's own network error"), Transient),
    ],
)
def test_what_may_pass_is_told_from_what_stays(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception]
) -> None:
    with pytest.raises(expected, match=r"ftp://me@ftp\.example\.org/pub/a"):
        ftp(monkeypatch, error).read(Item("ftp://me@ftp.example.org/pub/a"))


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("memory:///nowhere", "there is nothing at"),
        ("memory:///nowhere/*.md", "there is no folder memory:///nowhere"),
        ("nonsense://x", "Protocol not known"),
    ],
)
def test_a_wrong_url_is_a_sentence(spec: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        open_source(spec)


def test_a_glob_that_matches_nothing_is_refused(bucket: str) -> None:
    with pytest.raises(UsageError, match="nothing matches"):
        open_source(f"{bucket}/docs/*.nope")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def url_to_fs(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", url_to_fs)
    with pytest.raises(UsageError, match=r"Install s3fs to access S3 \(with pip install\)"):
        open_source("s3://bucket/docs")


def test_more_than_the_limit_is_rejected(bucket: str) -> None:
    """Whether the server said how much there is or not: no more than the limit comes through."""
    source = open_source(f"{bucket}/docs/b/c.md")
    (listed,) = source.list()
    for item in (listed, Item(listed.uri)):
        assert source.read(item, 3) == b"CCC"
        with pytest.raises(Rejected, match="more than the 2 bytes"):
            source.read(item, 2)
