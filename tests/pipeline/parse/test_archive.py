"""ZIP and TAR archives: what is in them becomes members, and no harm."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.members import DEEPEST
from pipeline.parse import archive, parse, takings
from pipeline.types import Member, Parsed
from tests.pipeline.parse.packed import tarred, zipped

FILES = {"a.txt": b"first", "folder/b.md": b"# Second\n", "empty.txt": b""}
NAMES = st.text(st.characters(codec=None) | st.sampled_from("./\\!:\0"), max_size=20)


def taken(parsed: Parsed) -> dict[str, bytes]:
    return {member.name: member.data for member in parsed.members if not member.refused}


def refused(parsed: Parsed) -> dict[str, str]:
    return {member.name: member.refused for member in parsed.members if member.refused}


def is_safe(name: str) -> bool:
    return (
        bool(name)
        and not name.startswith("/")
        and ".." not in name.split("/")
        and "!/" not in name
        and "\\" not in name
    )


@pytest.mark.parametrize("data", [zipped(FILES), *(tarred(FILES, mode) for mode in ("w", "w:gz", "w:bz2", "w:xz"))])
def test_files_become_members(data: bytes) -> None:
    """Each file of an archive, however it is compressed, is a member with its place, its bytes and its time."""
    parsed = parse(data, "backup")
    assert taken(parsed) == FILES
    assert (parsed.text, list(parsed.blocks), parsed.metadata["files"]) == ("", [], 3)
    assert all(member.mtime for member in parsed.members)


def test_zstandard_archives_are_opened() -> None:
    """A .tar.zst is one like any other."""
    import pyarrow

    data = pyarrow.compress(tarred(FILES), codec="zstd", asbytes=True)
    out = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(out, "zstd") as stream:
        stream.write(tarred(FILES))
    assert data and taken(parse(out.getvalue().to_pybytes(), "a.tar.zst")) == FILES


@given(st.lists(NAMES, max_size=8))
def test_any_names_are_made_safe_and_unique(names: list[str]) -> None:
    """Whatever names say, what becomes of them leads into the archive, can be written down, and is unique."""
    made = takings.Names()
    unique = [made.unique(name) for name in names]
    assert len(set(unique)) == len(names)
    assert all(is_safe(name) and name.encode() for name in unique)


def test_names_that_lead_out_lead_in() -> None:
    """Path traversal, absolute names and drives end up inside, which is said."""
    entry = zipfile.ZipInfo("x")
    entry.filename = "..\\..\\win.ini"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("../../etc/passwd", b"1")
        made.writestr("/abs.txt", b"2")
        made.writestr("C:/d.txt", b"3")
        made.writestr(entry, b"4")
        made.writestr("ok/./a.txt", b"5")
    parsed = parse(out.getvalue(), "a.zip")
    assert taken(parsed) == {"etc/passwd": b"1", "abs.txt": b"2", "d.txt": b"3", "win.ini": b"4", "ok/a.txt": b"5"}
    assert parsed.warnings == ["names that lead out of it were made to lead into it: 4"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_equal_names_are_numbered() -> None:
    """Two files of one name are two members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for number in b"123":
            made.writestr("d/a.tar.gz", bytes([number]))
    assert taken(parse(out.getvalue(), "a.zip")) == {"d/a.tar.gz": b"1", "d/a.tar (2).gz": b"2", "d/a.tar (3).gz": b"3"}


@pytest.mark.parametrize(
    ("encoding", "name"), [("cp437", "größe.txt"), ("utf-8", "größe.txt"), ("cp1252", "crème brûlée à la façon.txt")]
)
def test_names_in_any_encoding_are_readable(encoding: str, name: str) -> None:
    """Names in DOS's, UTF-8 and Windows' encodings, none of them declared, are read as they were meant."""
    raw = name.encode(encoding)
    data = zipped({"x" * len(raw): b"1"}).replace(b"x" * len(raw), raw)
    assert list(taken(parse(data, "a.zip"))) == [name]
    packed = tarred({"x": b"1"})
    header = raw.ljust(100, b"\0") + packed[100:148] + b" " * 8 + packed[156:512]
    header = header[:148] + b"%06o\0 " % sum(header) + header[156:]
    assert list(taken(parse(header + packed[512:], "a.tar"))) == [name]


def test_links_and_devices_are_refused() -> None:
    """What is no file costs itself, with the reason."""
    link, hard, pipe = (tarfile.TarInfo(name) for name in ("link", "hard", "pipe"))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "a.txt"
    pipe.type = tarfile.FIFOTYPE
    parsed = parse(tarred({"a.txt": b"1"}, "w", link, hard, pipe), "a.tar")
    assert taken(parsed) == {"a.txt": b"1"}
    assert refused(parsed) == {
        "link": "it is a link, which is not followed",
        "hard": "it is a link, which is not followed",
        "pipe": "it is a device, a pipe or a socket, and no file",
    }
    entry = zipfile.ZipInfo("link")
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(entry, "/etc/passwd")
    assert refused(parse(out.getvalue(), "a.zip")) == {"link": "it is a link, which is not followed"}


def test_encrypted_members_say_so() -> None:
    """A member that needs a password is refused as encrypted, and costs no other."""
    data = bytearray(zipped({"open.txt": b"1", "shut.txt": b"2"}, zipfile.ZIP_STORED))
    at = data.rindex(b"PK\1\2")
    data[at + 8] |= 1
    parsed = parse(bytes(data), "a.zip")
    assert (taken(parsed), refused(parsed)) == ({"open.txt": b"1"}, {"shut.txt": "encrypted: a password is needed"})


def test_a_damaged_member_costs_only_itself() -> None:
    """Wrong checksums, and methods nobody knows, are said of the member that has them."""
    data = zipped({"good.txt": b"good", "bad.txt": b"bad bad bad"}, zipfile.ZIP_STORED).replace(
        b"bad bad", b"bad sad", 1
    )
    parsed = parse(data, "a.zip")
    assert (taken(parsed), refused(parsed)) == ({"good.txt": b"good"}, {"bad.txt": "it is damaged inside the archive"})
    odd = bytearray(zipped({"odd.txt": b"1"}))
    odd[8:10] = odd[odd.rindex(b"PK\1\2") + 10 : odd.rindex(b"PK\1\2") + 12] = struct.pack("<H", 9)
    assert "Deflate64" in refused(parse(bytes(odd), "a.zip"))["odd.txt"]


def test_a_tar_that_breaks_off_is_read_to_its_end() -> None:
    """What comes before the end is taken out, what is cut is refused, and the rest is warned of."""
    whole = tarred({"a.txt": b"1" * 600, "b.txt": b"2" * 600, "c.txt": b"3"})
    cut = parse(whole[:2200], "a.tar")
    assert (list(taken(cut)), list(refused(cut))) == (["a.txt"], ["b.txt"])
    garbled = parse(whole[:1536] + b"\xff" * 512 + whole[2048:], "a.tar")
    assert list(taken(garbled)) == ["a.txt"] and "damaged" in garbled.warnings[0]


def test_bombs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to too much, in all or for its size, and a hole that claims to be a file, are refused as traps."""
    parsed = parse(zipped({"bomb": bytes(40 << 20), "a.txt": b"1"}), "a.zip")
    assert taken(parsed) == {"a.txt": b"1"} and "500 times its packed size" in refused(parsed)["bomb"]
    monkeypatch.setattr(takings, "MOST_BYTES", 1000)
    some = parse(zipped({"a": b"x" * 600, "b": b"y" * 600, "c": b"z" * 300}), "a.zip")
    assert list(taken(some)) == ["a", "c"] and "more than" in refused(some)["b"]
    hole = tarfile.TarInfo("hole")
    hole.size = 1 << 40
    sparse = parse(tarred({"a": b"1"}, "w", hole), "a.tar")
    assert list(taken(sparse)) == ["a"] and "trap" in refused(sparse)["hole"]


def test_an_archive_that_lies_about_sizes_is_cut_short() -> None:
    """A directory that says that a member is small does not make it so."""
    data = bytearray(zipped({"bomb": bytes(40 << 20)}))
    at = data.rindex(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<L", 100)
    parsed = parse(bytes(data), "a.zip")
    assert sum(len(member.data) for member in parsed.members) <= 100


def test_there_is_an_end_to_members_and_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many files the first are taken, with a warning; an archive too deep inside others is not opened."""
    monkeypatch.setattr(takings, "MOST_MEMBERS", 3)
    parsed = parse(zipped({f"{number}.txt": b"x" for number in range(5)}), "a.zip")
    assert list(taken(parsed)) == ["0.txt", "1.txt", "2.txt"] and "5 files" in parsed.warnings[0]
    uri, data = "a.zip", zipped({"a.txt": b"deep"})
    for _ in range(DEEPEST + 1):
        data = zipped({"a.zip": data})
    for _ in range(DEEPEST):
        (member,) = parse(data, uri).members
        uri, data = f"{uri}!/{member.name}", member.data
    with pytest.raises(Rejected, match="deeper than documents do"):
        parse(data, uri)


def test_an_archive_without_files_says_so() -> None:
    """Folders alone are nothing to read."""
    with pytest.raises(Rejected, match="there is no file in this ZIP archive"):
        parse(zipped({"folder/": b""}), "a.zip")


def test_what_macos_adds_is_left_out() -> None:
    """Resource forks are no documents; that they were there is said."""
    parsed = parse(zipped({"a.txt": b"1", "__MACOSX/._a.txt": b"\0\5\x16\7", "d/.DS_Store": b"x"}), "a.zip")
    assert taken(parsed) == {"a.txt": b"1"} and "2 files of macOS" in parsed.warnings[0]


def test_times_in_utc_are_believed() -> None:
    """A ZIP that says when a file changed in UTC is believed rather than the packer's clock."""
    entry = zipfile.ZipInfo("a.txt", (2024, 5, 1, 12, 0, 0))
    entry.extra = struct.pack("<HHBl", 0x5455, 5, 1, 1_700_000_000)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(entry, b"1")
    assert parse(out.getvalue(), "a.zip").members == [Member("a.txt", b"1", None, 1_700_000_000.0)]


def test_a_name_in_a_field_of_its_own_is_taken() -> None:
    """Info-ZIP's field for a name in Unicode counts if it belongs to the name."""
    for checksum, name in ((zlib.crc32(b"xx.txt"), "灯塔.txt"), (1, "xx.txt")):
        entry = zipfile.ZipInfo("xx.txt")
        value = struct.pack("<BL", 1, checksum) + "灯塔.txt".encode()
        entry.extra = struct.pack("<HH", 0x7075, len(value)) + value
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as made:
            made.writestr(entry, b"1")
        assert list(taken(parse(out.getvalue(), "a.zip"))) == [name]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damage_never_escapes(data: st.DataObject) -> None:
    """However its bytes are changed, an archive gives members, or a reason in words."""
    whole = bytearray(data.draw(st.sampled_from([zipped(FILES), tarred(FILES)])))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    parser = archive.parse_zip if whole[:2] == b"PK" else archive.parse_tar
    try:
        assert all(is_safe(member.name) for member in parser(bytes(whole), "a").members)
    except Rejected as reason:
        assert len(str(reason).split()) > 3
