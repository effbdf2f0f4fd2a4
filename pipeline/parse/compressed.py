"""Single files that were compressed: unpacked within bounds, then parsed as what they are. Archives are not this."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from pipeline.errors import Rejected
from pipeline.types import Parsed

#: What a file may unpack to, in bytes; a kilobyte can pretend to be a gigabyte.
MOST_UNPACKED = 1 << 30
_MOST_LAYERS = 3
_STEP = 1 << 20
_LITTLE = 1 << 14
# What xz may ask for: the most that its own presets need is 65 MiB.
_XZ_MEMORY = 512 << 20
_SUFFIXES = dict.fromkeys((".gz", ".gzip", ".z", ".bz2", ".xz", ".lzma", ".zst", ".zstd"), "")
_SUFFIXES |= dict.fromkeys((".tgz", ".tbz2", ".txz", ".tzst"), ".tar")


def parse(data: bytes, uri: str) -> Parsed:
    """What the file inside is parsed to; `metadata` says with what it was compressed.

    A file that breaks off is read as far as it goes, with a warning. Raises Rejected if nothing can be unpacked, if it
    is more than 1 GiB, if it was compressed more than three times over, or if it is not compressed at all.
    """
    from pipeline.parse import parse as parse_any

    data, uri, methods, warnings = unpack_all(data, uri)
    if not methods:  # it is here for its name
        raise Rejected(
            "it is not compressed, as its name says it is: its beginning is damaged, or it is something else"
        )
    parsed = parse_any(data, uri)
    return replace(
        parsed,
        metadata={**parsed.metadata, "compression": ", ".join(methods)},
        warnings=[*warnings, *parsed.warnings],
    )


def unpack_all(data: bytes, uri: str) -> tuple[bytes, str, list[str], list[str]]:
    """The file inside all layers of compression, its name, how each layer was compressed, and warnings.

    What is not compressed comes back as it is. Raises Rejected as `parse` does.
    """
    methods: list[str] = []
    warnings: list[str] = []
    while method := method_of(data):
        if len(methods) == _MOST_LAYERS:
            raise Rejected(f"it is compressed more than {_MOST_LAYERS} times over, as no document is: it may be a trap")
        data, broken = unpack(data, method)
        if broken:
            warnings.append(f"the {method} data is damaged or breaks off: what could be unpacked of it is read")
        methods.append(method)
        uri = _without_suffix(uri)
    if methods and not data:
        raise Rejected("the file is empty once it is unpacked")
    return data, uri, methods, warnings


def method_of(data: bytes) -> str | None:
    """How `data` is compressed, by how it begins: gzip, bzip2, xz or zstd; None if it is not."""
    return next((method for start, method in _STARTS if data.startswith(start)), None)


def unpack(data: bytes, method: str) -> tuple[bytes, bool]:
    """What `data` unpacks to, and whether it is damaged before its end.

    Raises Rejected if nothing can be unpacked or it is more than MOST_UNPACKED bytes.
    """
    parts: list[bytes] = []
    size = 0
    broken = False
    try:
        for part in _METHODS[method](data):
            parts.append(part)
            size += len(part)
            if size > MOST_UNPACKED:
                raise Rejected(f"it unpacks to over {MOST_UNPACKED >> 20:,} MiB: it may be a trap; if not, split it")
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, MemoryError) as error:
        broken = True
        if not size:
            raise Rejected(f"the {method} data cannot be unpacked: it is damaged or incomplete") from error
    return b"".join(parts), broken


def _gzip(data: bytes) -> Iterator[bytes]:
    at = 0
    while data[at : at + 2] == b"\x1f\x8b":
        stream = zlib.decompressobj(wbits=31)
        while not stream.eof:
            rest = data[at : at + _STEP]
            part = stream.decompress(rest, _STEP)
            at += len(rest) - len(stream.unused_data if stream.eof else stream.unconsumed_tail)
            if not rest and not part:
                raise EOFError
            yield part
        while data[at : at + 1] == b"\0":  # tapes fill up with zeros
            at += 1


def _bzip2(data: bytes) -> Iterator[bytes]:
    while data[:3] == b"BZh":
        stream = bz2.BZ2Decompressor()
        yield from _stream(stream, data)
        data = stream.unused_data


def _xz(data: bytes) -> Iterator[bytes]:
    while data[:6] == b"\xfd7zXZ\0":
        stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        yield from _stream(stream, data)
        data = stream.unused_data.lstrip(b"\0")


def _stream(stream: bz2.BZ2Decompressor | lzma.LZMADecompressor, data: bytes) -> Iterator[bytes]:
    while not stream.eof:
        part = stream.decompress(data, _STEP)
        data = b""
        if not part and stream.needs_input:
            raise EOFError
        yield part


def _zstd(data: bytes) -> Iterator[bytes]:
    import pyarrow

    with pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd") as stream:
        while part := stream.read(_LITTLE):  # of what breaks off, the last part is lost
            yield part


_STARTS = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
_METHODS: dict[str, Callable[[bytes], Iterator[bytes]]] = {"gzip": _gzip, "bzip2": _bzip2, "xz": _xz, "zstd": _zstd}


def _without_suffix(uri: str) -> str:
    suffix = PurePosixPath(uri).suffix
    otherwise = _SUFFIXES.get(suffix.lower())
    return uri if otherwise is None else uri[: -len(suffix)] + otherwise
