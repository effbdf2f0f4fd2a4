"""Local files, with everything that a folder in the wild may hold."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.sources import files, open_source
from connectors.sources.files import file_uri, path_of
from pipeline.errors import Rejected, SourceError, Transient, UsageError
from pipeline.types import Item
from tests.connectors.sources.contract import Case, SourceContract

FILES = {
    "a.txt": b"A",
    "b/c.md": b"C" * 3,
    "b/d/e.md": b"",
    "b/d/f.pdf": b"F",
    "caf\u00e9/100 % #1?.txt": b"G",
    "z\nnewline.txt": b"Z",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "the docs"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "empty").mkdir()
    (root / ".hidden").write_bytes(b"H")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_bytes(b"H")
    return root


def uri_of(folder: Path, name: str) -> str:
    return "file://" + quote(f"{folder}/{name}")


def listed(spec: object) -> list[str]:
    return [item.uri for item in open_source(str(spec)).list()]


class TestAFolder(SourceContract):
    @pytest.fixture
    def case(self, folder: Path) -> Case:
        return Case(
            open_source(str(folder)),
            {uri_of(folder, name): content for name, content in FILES.items()},
            uri_of(folder, "b/gone.txt"),
            (
                f"file://{quote(str(folder))}",
                f"file://{quote(str(folder))}2/a.txt",
                uri_of(folder, ".hidden"),
                uri_of(folder, "b/.git/config"),
                uri_of(folder, "../a.txt"),
                uri_of(folder, "b//c.md"),
                uri_of(folder, "a.jsonl") + "#1",
                f"file://{folder}/a.txt",  # the space is not encoded: not how we spell it
            ),
        )


class TestAFolderByItsUrl(SourceContract):
    @pytest.fixture
    def case(self, folder: Path) -> Case:
        source = open_source(f"file://{folder}/")
        return Case(source, {uri_of(folder, n): c for n, c in FILES.items()}, uri_of(folder, "x"), ())


class TestOneFile(SourceContract):
    @pytest.fixture
    def case(self, folder: Path) -> Case:
        name = "caf\u00e9/100 % #1?.txt"
        uri = uri_of(folder, name)
        return Case(open_source(f"{folder}/{name}"), {uri: FILES[name]}, None, (uri_of(folder, "a.txt"), uri + "/x"))


class TestAGlob(SourceContract):
    @pytest.fixture
    def case(self, folder: Path) -> Case:
        return Case(
            open_source(f"{folder}/**/*.md"),
            {uri_of(folder, name): content for name, content in FILES.items() if name.endswith(".md")},
            uri_of(folder, "b/x/y/gone.md"),
            (uri_of(folder, "a.txt"), uri_of(folder, ".git/x.md"), uri_of(folder, "b/c.md/x")),
        )


def test_files_come_folder_by_folder_in_the_order_of_names(folder: Path) -> None:
    assert listed(folder) == [uri_of(folder, name) for name in sorted(FILES, key=lambda name: name.split("/"))]


def test_size_and_time_are_the_files(folder: Path) -> None:
    (item,) = open_source(f"{folder}/b/c.md").list()
    assert (item.size, item.mtime) == (3, (folder / "b/c.md").stat().st_mtime)


def test_a_relative_path_is_the_same_source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "b")
    assert open_source("../b/").name == open_source(".").name == open_source(f"{folder}/b").name
    assert listed("*.md") == [uri_of(folder, "b/c.md")]
    assert listed("../**/c.md") == [uri_of(folder, "b/c.md")]


def test_a_glob_enters_only_where_a_match_can_be(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> Iterator[Any]:
        assert not path.endswith("/d"), "entered a folder below the pattern"
        return scandir(path)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", refuse)
    assert listed(f"{folder}/*/*.md") == [uri_of(folder, "b/c.md")]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_bytes(b"1")
    (tmp_path / "a1.txt").write_bytes(b"2")
    assert listed(tmp_path / "a[1].txt") == [uri_of(tmp_path, "a[1].txt")]


def test_an_empty_folder_lists_nothing(tmp_path: Path) -> None:
    assert listed(tmp_path) == []


@pytest.mark.parametrize("name", [b"caf\xe9.txt", b"\xff\xfe", b"a\nb", b"100%", b"%41", b"a#b?c", b" ", b"~", b"\\"])
def test_any_name_a_file_may_have_comes_back(tmp_path: Path, name: bytes) -> None:
    (tmp_path / os.fsdecode(name)).write_bytes(b"here")
    source = open_source(str(tmp_path))
    (item,) = source.list()
    assert item.uri.isascii() and item.uri.isprintable() and " " not in item.uri
    assert os.fsencode(path_of(item.uri)).rpartition(b"/")[2] == name
    assert source.read(item) == b"here" and source.covers(item.uri)
    assert listed(item.uri) == [item.uri]


@given(st.lists(st.binary(min_size=1).filter(lambda n: not set(n) & {0, 47} and n not in (b".", b"..")), min_size=1))
def test_a_path_and_its_uri_are_one_to_one(names: list[bytes]) -> None:
    path = os.fsdecode(b"/" + b"/".join(names))
    uri = file_uri(path)
    assert path_of(uri) == path and file_uri(path_of(uri)) == uri and "#" not in uri


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(min_size=1, max_size=200).filter(lambda n: not set(n) & {0, 47} and not n.startswith(b".")))
def test_a_folder_covers_any_name(tmp_path: Path, name: bytes) -> None:
    uri = file_uri(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    assert open_source(str(tmp_path)).covers(uri)
    assert not open_source(str(tmp_path)).covers(uri + "#1")


def test_pipes_sockets_and_devices_are_listed_and_rejected_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    listener = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(tmp_path)  # a socket's path may be 107 bytes long
    try:
        listener.bind("socket")
    finally:
        os.chdir(here)
    source = open_source(str(tmp_path))
    reasons: dict[str, str] = {}

    def read_all() -> None:
        for item in source.list():
            try:
                source.read(item)
            except Rejected as error:
                reasons[item.uri.rpartition("/")[2]] = str(error)

    reader = threading.Thread(target=read_all, daemon=True)
    reader.start()
    reader.join(10)
    listener.close()
    assert not reader.is_alive(), "opening one of them hangs"
    assert "a device" in reasons["null"] and "a named pipe" in reasons["pipe"] and "a socket" in reasons["socket"]


def test_a_pipe_given_as_the_source_is_rejected_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    source = open_source(f"{tmp_path}/pipe")
    with pytest.raises(Rejected, match="a named pipe"):
        source.read(next(iter(source.list())))


def test_links_to_files_are_followed_and_links_to_nowhere_rejected(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"A")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "self").symlink_to("self")
    source = open_source(str(tmp_path))
    first, second, nowhere, itself = source.list()
    assert (source.read(first), source.read(second), second.size) == (b"A", b"A", 1)
    for item in (nowhere, itself):
        assert item.size is None
        with pytest.raises(Rejected):
            source.read(item)


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "deep" / "up").symlink_to("..")
    (tmp_path / "docs" / "deep" / "self").symlink_to(".")
    (tmp_path / "docs" / "a").write_bytes(b"A")
    (tmp_path / "docs" / "there").symlink_to(tmp_path / "there")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "b").write_bytes(b"B")
    (tmp_path / "there" / "back").symlink_to(tmp_path / "docs")
    assert listed(tmp_path / "docs") == [uri_of(tmp_path / "docs", name) for name in ("a", "there/b")]


class TestAListingThatCannotBeComplete:
    """It fails, naming the place, since what it does not list would be taken for deleted."""

    def test_a_folder_that_cannot_be_read(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Tests may run as root, whom no mode keeps out.
        def scandir(path: str) -> Iterator[Any]:
            if path.endswith("/b/d"):
                raise PermissionError(errno.EACCES, "Permission denied")
            return real(path)

        real = os.scandir
        monkeypatch.setattr(os, "scandir", scandir)
        with pytest.raises(SourceError, match=r"incomplete.*the%20docs/b/d: Permission denied"):
            listed(folder)

    def test_a_file_that_cannot_be_looked_at(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def stat(path: Path, **options: Any) -> os.stat_result:
            if path.name == "c.md":
                raise OSError(errno.EIO, "Input/output error")
            return real(path, **options)

        real = Path.stat
        monkeypatch.setattr(Path, "stat", stat)
        with pytest.raises(SourceError, match=r"b/c\.md: Input/output error"):
            listed(folder)

    def test_a_folder_that_goes_away(self, folder: Path) -> None:
        source = open_source(f"{folder}/b")
        folder.rename(folder.parent / "elsewhere")
        with pytest.raises(SourceError, match="the%20docs/b"):
            list(source.list())


def test_a_file_that_goes_while_it_is_listed_is_listed_and_rejected(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stat(path: Path, **options: Any) -> os.stat_result:
        if path.name == "a.txt":
            path.unlink(missing_ok=True)
        return real(path, **options)

    real = Path.stat
    monkeypatch.setattr(Path, "stat", stat)
    source = open_source(str(folder))
    item = next(iter(source.list()))
    with pytest.raises(Rejected, match="gone"):
        source.read(item)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EACCES, Rejected),
        (errno.EIO, Rejected),
        (errno.ENAMETOOLONG, Rejected),
        (errno.ETIMEDOUT, Transient),
        (errno.ESTALE, Transient),
        (errno.EHOSTDOWN, Transient),
        (errno.EMFILE, Transient),
    ],
)
def test_what_may_pass_is_told_from_what_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    source = open_source(f"{folder}/a.txt")
    (item,) = source.list()

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "open", fail)
    with pytest.raises(expected, match=os.strerror(number)):
        source.read(item)


def test_a_file_that_became_a_folder_is_rejected(folder: Path) -> None:
    source = open_source(str(folder))
    with pytest.raises(Rejected, match="is a folder"):
        source.read(Item(uri_of(folder, "b")))


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("", "a source is missing"),
        ("{}/nope", "there is no file or folder"),
        ("{}/nope/*.md", "there is no folder"),
        ("{}/*.nope", "nothing matches"),
        ("{}/.h*/*", "nothing matches"),
        ("{}/a.txt/below", "Not a directory"),
        ("{}/zero\0byte", "null byte"),
        ("file://host/a.txt", "no absolute file URL"),
        ("{}/caf\udce9", "there is no file or folder"),
    ],
)
def test_a_wrong_path_is_a_sentence(folder: Path, spec: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        open_source(spec.format(folder))
    assert str(caught.value).encode("utf-8")


class TestChanges:
    """What happens to a file between its listing and the end of its reading."""

    @pytest.fixture
    def item(self, tmp_path: Path) -> Item:
        (tmp_path / "a.log").write_bytes(b"first\nsecond\n")
        return next(iter(open_source(str(tmp_path)).list()))

    def during(self, monkeypatch: pytest.MonkeyPatch, *changes: Callable[[Path], object]) -> None:
        """Make a change each time that a file has been opened."""
        waiting = list(changes)
        real = files.os.fdopen

        def fdopen(descriptor: int, mode: str) -> Any:
            stream = real(descriptor, mode)
            if waiting:
                path = Path(f"/proc/self/fd/{descriptor}").readlink()
                status = os.fstat(descriptor)
                original = stream.read

                def read(size: int) -> bytes:
                    data = original(size)
                    waiting.pop(0)(path)
                    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
                    return bytes(data)

                return _Stream(stream, read)
            return stream

        monkeypatch.setattr(files.os, "fdopen", fdopen)

    def test_a_file_that_grows_is_what_it_was(self, item: Item, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a log that is being written, the bytes that were there when it was opened."""
        self.during(monkeypatch, lambda path: path.write_bytes(path.read_bytes() + b"third, not yet wh"))
        assert open_source(item.uri).read(item) == b"first\nsecond\n"

    def test_a_file_that_is_written_anew_is_read_again(self, item: Item, monkeypatch: pytest.MonkeyPatch) -> None:
        """What comes out is one version of the file, not the halves of two."""
        self.during(monkeypatch, lambda path: path.write_bytes(b"FIRST\nSECOND\n"))
        assert open_source(item.uri).read(item) == b"FIRST\nSECOND\n"

    def test_a_file_that_never_rests_is_rejected(self, item: Item, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is told as such, and that the next run will look again."""
        self.during(monkeypatch, *[lambda path, n=n: path.write_bytes(b"%d" % n * 13) for n in range(9)])
        with pytest.raises(Rejected, match="kept changing while it was read"):
            open_source(item.uri).read(item)

    def test_a_file_that_has_become_too_large(self, item: Item) -> None:
        """What has grown beyond the limit since it was listed is rejected unread."""
        with Path(path_of(item.uri)).open("r+b") as file:
            file.truncate(4 << 30)
        with pytest.raises(Rejected, match="more than the 1,000,000 bytes"):
            open_source(item.uri).read(item, 10**6)

    def test_a_file_that_goes(self, item: Item) -> None:
        """A file that is gone between listing and reading is rejected as gone."""
        source = open_source(item.uri)
        Path(path_of(item.uri)).unlink()
        with pytest.raises(Rejected, match="gone"):
            source.read(item)

    def test_a_file_that_becomes_a_pipe_at_the_last_moment(self, item: Item, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody waits for a writer, even if the pipe is there only after it was looked for."""
        path = Path(path_of(item.uri))
        source = open_source(item.uri)
        looked = path.stat()
        path.unlink()
        os.mkfifo(path)
        monkeypatch.setattr(files.Path, "stat", lambda self: looked)
        with pytest.raises(Rejected, match="a named pipe"):
            source.read(item)

    def test_a_file_that_hides_its_size(self) -> None:
        """What the kernel makes up as it is read has no size, and is read all the same."""
        (item,) = open_source("/proc/self/status").list()
        assert item.size == 0
        assert b"VmPeak" in open_source("/proc/self/status").read(item)


class _Stream:
    """A file whose `read` is another."""

    def __init__(self, stream: Any, read: Callable[[int], bytes]) -> None:
        self._stream, self.read = stream, read
        self.fileno = stream.fileno

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
