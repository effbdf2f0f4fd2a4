"""Compressed files: read as what is inside, within bounds, as far as they go."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from functools import partial

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.parse import compressed, parse
from pipeline.parse.log import events_of

LOG = "".join(f"2024-05-01 09:30:{second:02} INFO job {second} done\n" for second in range(60)).encode()


def zstd(data: bytes) -> bytes:
    return bytes(pyarrow.Codec("zstd").compress(data, asbytes=True))


METHODS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": partial(bz2.compress, compresslevel=1),
    "xz": partial(lzma.compress, preset=0),
    "zstd": zstd,
}
each_method = pytest.mark.parametrize("method", METHODS)


@each_method
@pytest.mark.parametrize("name", ["syslog-20240501.gz", "app.log.2", "app.log.1.zst", "rotated"])
def test_a_rotated_log_is_read_as_if_it_were_not(method: str, name: str) -> None:
    """Whatever a compressed log is called, its text and events are those of the log, and how it was packed is told."""
    parsed, plain = parse(METHODS[method](LOG), name), parse(LOG, "app.log")
    assert (parsed.media_type, parsed.text) == ("text/x-log", plain.text)
    assert parsed.metadata == {**plain.metadata, "compression": method}
    assert list(events_of(METHODS[method](LOG), name)) == list(events_of(LOG, "app.log"))


@each_method
def test_parts_that_were_appended_are_one_file(method: str) -> None:
    """Compressed streams one after the other are what they unpack to, one after the other."""
    half = len(LOG) // 2
    packed = METHODS[method](LOG[:half]) + METHODS[method](LOG[half:])
    assert compressed.unpack(packed, method) == (LOG, False)


@each_method
def test_a_file_that_breaks_off_is_read_as_far_as_it_goes(method: str) -> None:
    """What can be unpacked of a damaged file is read, with a warning; where nothing can, it is rejected."""
    noise = b"".join(b"2024-05-01 09:30:00 INFO %d\n" % (number * 2654435761 % 4294967296) for number in range(20_000))
    packed = METHODS[method](noise)
    parsed = parse(packed[: len(packed) * 3 // 4], "a.log")
    assert parsed.metadata["log"]["events"] > 1_000
    assert "breaks off" in parsed.warnings[0]
    with pytest.raises(Rejected, match="damaged"):
        parse(packed[:20], "a.log")


@each_method
@settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_what_was_packed_comes_back(method: str, data: bytes) -> None:
    """Unpacking is the inverse of packing."""
    assert compressed.unpack(METHODS[method](data), method) == (data, False)


@each_method
def test_a_bomb_is_refused(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that unpacks to more than the limit is rejected as a trap."""
    monkeypatch.setattr(compressed, "MOST_UNPACKED", 8 << 20)
    bomb = METHODS[method](bytes(32 << 20))
    assert len(bomb) < 1 << 20
    with pytest.raises(Rejected, match="trap"):
        parse(bomb, "a.log.gz")


def test_layers_are_unpacked_but_not_for_ever() -> None:
    """What was compressed twice is read; more than three layers are a trap; an empty file is one."""
    assert parse(gzip.compress(bz2.compress(LOG)), "a.log.bz2.gz").metadata["compression"] == "gzip, bzip2"
    packed = LOG
    for _ in range(4):
        packed = gzip.compress(packed)
    with pytest.raises(Rejected, match="trap"):
        parse(packed, "a.log")
    with pytest.raises(Rejected, match="empty"):
        parse(gzip.compress(b""), "a.log.gz")


@pytest.mark.parametrize("name", ["a.log.gz", "a.bz2", "a.xz", "a.zst", "a.tgz"])
def test_what_is_not_what_its_name_says_is_no_trap(name: str) -> None:
    """Bytes that only their name calls compressed are told as that; text is read, whatever it is called."""
    noise = bytes(range(256)) * 9
    with pytest.raises(Rejected, match="not compressed"):
        parse(noise, name)
    with pytest.raises(Rejected, match="not compressed"):
        parse(gzip.compress(noise), f"{name}.gz")
    with pytest.raises(Rejected, match="TAR archive is damaged"):
        parse(gzip.compress(noise), "a.tgz")
    assert parse(LOG, name).metadata["log"]["events"] == 60


def test_other_files_inside_are_read_as_what_they_are() -> None:
    """The name without its last ending, and the content, tell what is inside."""
    assert parse(gzip.compress(b"# Tides\n\nThey turn."), "tides.md.gz").media_type == "text/markdown"
    assert parse(gzip.compress(b"a,b\n1,2\n"), "x.csv.gz").media_type == "text/csv"
