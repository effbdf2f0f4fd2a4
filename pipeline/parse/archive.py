"""ZIP and TAR archives: each file inside becomes a member, in memory only; nothing is ever written to a disk.

Bounds are on what was really unpacked, not on what an archive says of itself. A member that cannot be taken out is
refused with its reason and costs no other.
"""

from __future__ import annotations

import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from calendar import timegm
from collections.abc import Iterator, Sequence
from typing import IO

from pipeline.errors import Rejected
from pipeline.parse.takings import Takings, check_depth, readable, too_much, whole
from pipeline.types import Parsed

ZIP = "application/zip"
TAR = "application/x-tar"

# Text shrinks to a tenth, dull logs to a hundredth; what shrinks more, and is large, was made to.
_MOST_RATIO = 500
_LARGE = 16 << 20
_STEP = 1 << 20
_METHODS = {1: "Shrink", 6: "Implode", 9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES"}
_UNICODE_PATH, _TIMES = 0x7075, 0x5455
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, struct.error, tarfile.TarError,
    RecursionError, OverflowError, IndexError, NotImplementedError,
)  # fmt: skip


def parse_zip(data: bytes, uri: str) -> Parsed:
    """The files in a ZIP archive. Raises Rejected if it is damaged as a whole, empty, or too deep inside others."""
    check_depth(uri)
    takings = Takings(uri)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _DAMAGED as error:
        raise Rejected("the ZIP archive is damaged or incomplete: its table of contents cannot be read") from error
    with archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
        names = _zip_names(files)
        beside = [_is_resource_fork(name) for name in names]
        for info, name, left_out in zip(files, names, beside, strict=True):
            if takings.full:
                break
            if not left_out:
                _unzip(archive, info, name, takings)
        comment = readable([archive.comment])[0]
    return _parsed(ZIP, takings, len(files) - sum(beside), sum(beside), comment=comment)


def parse_tar(data: bytes, uri: str) -> Parsed:
    """The files in a TAR archive; of one that breaks off, those before its end. Raises Rejected like `parse_zip`."""
    check_depth(uri)
    takings = Takings(uri)
    found, left_out, broken = 0, 0, False
    try:
        archive = tarfile.TarFile(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape")
    except _DAMAGED as error:
        raise Rejected("the TAR archive is damaged: it does not begin with a file") from error
    with archive:
        entries = _entries(archive)
        while True:
            try:
                entry = next(entries, None)
            except _DAMAGED:
                broken = True
                break
            if entry is None:
                # A header that is none ends the archive as an empty one does.
                broken = bool(data[archive.offset : archive.offset + _STEP].strip(b"\0"))
                break
            if entry.isdir():
                continue
            (name,) = readable([whole(entry.name)])
            if _is_resource_fork(name):
                left_out += 1
                continue
            found += 1
            if not takings.full:
                _untar(archive, entry, name, takings)
    return _parsed(TAR, takings, found, left_out, broken)


def _parsed(kind: str, takings: Takings, found: int, left_out: int, broken: bool = False, comment: str = "") -> Parsed:
    warnings = takings.warnings()
    if broken:
        warnings.append("the archive is damaged or breaks off: what comes before that is taken out")
    if found > len(takings.members):
        warnings.append(f"of its {found:,} files only the first {len(takings.members):,} are read: split the archive")
    if left_out:
        warnings.append(f"{left_out} files of macOS that hold no content (__MACOSX, .DS_Store) are left out")
    metadata = {"files": found, **({"comment": comment.strip()} if comment.strip() else {})}
    return Parsed("", (), kind, metadata=metadata, warnings=warnings, members=takings.members)


def _unzip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, takings: Takings) -> None:
    mtime = _zip_time(info)
    kind = info.external_attr >> 16 & 0o170000 if info.create_system == 3 else 0
    if kind == 0o120000:
        return takings.refuse(name, "it is a link, which is not followed", mtime)
    if kind not in (0, 0o100000):
        return takings.refuse(name, "it is a device, a pipe or a socket, and no file", mtime)
    if info.flag_bits & 1:
        return takings.refuse(name, "encrypted: a password is needed", mtime)
    if info.file_size > takings.left:
        return takings.refuse(name, too_much(), mtime)
    try:
        with archive.open(info) as file:
            data = _read(file, info.compress_size, takings.left)
    except Rejected as reason:
        return takings.refuse(name, str(reason), mtime)
    except (NotImplementedError, RuntimeError) as error:
        if isinstance(error, RecursionError):
            return takings.refuse(name, "it is damaged inside the archive", mtime)
        method = _METHODS.get(info.compress_type, f"number {info.compress_type}")
        return takings.refuse(name, f"it is packed by a method that cannot be unpacked here ({method})", mtime)
    except _DAMAGED:
        return takings.refuse(name, "it is damaged inside the archive", mtime)
    return takings.take(name, data, mtime=mtime)


def _untar(archive: tarfile.TarFile, entry: tarfile.TarInfo, name: str, takings: Takings) -> None:
    mtime = float(entry.mtime) if 0 < entry.mtime < 1 << 40 else None
    if entry.issym() or entry.islnk():
        return takings.refuse(name, "it is a link, which is not followed", mtime)
    if not entry.isfile():
        return takings.refuse(name, "it is a device, a pipe or a socket, and no file", mtime)
    if entry.size > takings.left:
        return takings.refuse(name, too_much(), mtime)
    holes: Sequence[tuple[int, int]] | None = getattr(entry, "sparse", None)
    packed = entry.size if holes is None else sum(size for _, size in holes)
    try:
        file = archive.extractfile(entry)
        data = b"" if file is None else _read(file, packed, takings.left)
    except Rejected as reason:
        return takings.refuse(name, str(reason), mtime)
    except _DAMAGED:
        return takings.refuse(name, "it is damaged inside the archive, or breaks off", mtime)
    if len(data) < entry.size:
        return takings.refuse(name, "it breaks off before its end", mtime)
    return takings.take(name, data, mtime=mtime)


def _read(file: IO[bytes], packed: int, most: int) -> bytes:
    """All of `file`. Raises Rejected if it is more than `most` bytes, or unbelievably more than it was packed into."""
    parts: list[bytes] = []
    size = 0
    while part := file.read(_STEP):
        parts.append(part)
        size += len(part)
        if size > most:
            raise Rejected(too_much())
        if size > _LARGE and size > _MOST_RATIO * max(1, packed):
            raise Rejected(f"it unpacks to more than {_MOST_RATIO} times its packed size: it may be a trap")
    return b"".join(parts)


def _entries(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (entry := archive.next()) is not None:
        vars(archive)["members"] = []  # it would keep every header
        yield entry


def _zip_names(files: list[zipfile.ZipInfo]) -> list[str]:
    """Names as they were meant: flagged as UTF-8, in a field of their own, or in bytes of an encoding to be guessed."""
    names = [_extra_name(info) or (info.filename if info.flag_bits & 0x800 else None) for info in files]
    raw = [
        info.orig_filename.encode("cp437", "replace") for info, name in zip(files, names, strict=True) if name is None
    ]
    guessed = iter(readable(raw))
    return [next(guessed) if name is None else name for name in names]


def _extras(info: zipfile.ZipInfo) -> Iterator[tuple[int, bytes]]:
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        yield kind, extra[4 : 4 + size]
        extra = extra[4 + size :]


def _extra_name(info: zipfile.ZipInfo) -> str | None:
    """The name in Info-ZIP's Unicode path field, if it is that of this name and not of one before a renaming."""
    for kind, value in _extras(info):
        if kind == _UNICODE_PATH and len(value) > 5 and value[0] == 1:
            raw = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437", "replace")
            if struct.unpack_from("<L", value, 1)[0] == zlib.crc32(raw):
                return value[5:].decode("utf-8", "replace")
    return None


def _zip_time(info: zipfile.ZipInfo) -> float | None:
    """When the file was last changed: UTC if the archive says that, else the clock of whoever packed it, as if UTC."""
    for kind, value in _extras(info):
        if kind == _TIMES and len(value) >= 5 and value[0] & 1:
            return float(struct.unpack_from("<l", value, 1)[0])
    try:
        return float(timegm((*info.date_time, 0, 0, 0))) if info.date_time > (1980, 1, 1, 0, 0, 0) else None
    except (ValueError, OverflowError):
        return None


def _is_resource_fork(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1] == ".DS_Store"
