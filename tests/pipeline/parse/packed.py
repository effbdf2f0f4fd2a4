"""Archives and compound files of our own making, in memory."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any

Tree = Mapping[str, Any]

_END, _FAT, _NONE = 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP archive of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files: Mapping[str, bytes], mode: str = "w", *more: tarfile.TarInfo) -> bytes:
    """A TAR archive of these files, and of entries that are no files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), 1_700_000_000
            archive.addfile(entry, io.BytesIO(data))
        for entry in more:
            archive.addfile(entry)
    return out.getvalue()


def compound(tree: Tree) -> bytes:
    """A compound file (OLE, version 3): streams are bytes, storages are trees. Each storage is a chain of siblings."""
    sectors: list[bytes] = []
    fat: list[int] = []
    small = b""
    small_fat: list[int] = []

    def store(data: bytes) -> int:
        parts = [data[at : at + 512].ljust(512, b"\0") for at in range(0, len(data), 512)]
        first = len(sectors)
        sectors.extend(parts)
        fat.extend([*range(first + 1, first + len(parts)), _END] if parts else [])
        return first if parts else _END

    def store_small(data: bytes) -> int:
        nonlocal small
        count, first = -(-len(data) // 64), len(small_fat)
        small += data.ljust(64 * count, b"\0")
        small_fat.extend([*range(first + 1, first + count), _END] if count else [])
        return first if count else _END

    rows: list[list[Any]] = [["Root Entry", 5, _NONE, _NONE, _END, 0]]

    def add(tree: Tree, parent: int) -> None:
        before = parent
        for name, value in tree.items():
            number = len(rows)
            if isinstance(value, bytes):
                start = store(value) if len(value) >= 4096 else store_small(value)
                rows.append([name, 2, _NONE, _NONE, start, len(value)])
            else:
                rows.append([name, 1, _NONE, _NONE, _END, 0])
            rows[before][3 if before == parent else 2] = number
            before = number
            if not isinstance(value, bytes):
                add(value, number)

    add(tree, 0)
    rows[0][4:] = store(small), len(small)
    first_small = store(struct.pack(f"<{len(small_fat)}L", *small_fat).ljust(-(-len(small_fat) // 128) * 512, b"\xff"))
    directory = b""
    for name, kind, right, child, start, size in rows:
        wide = name.encode("utf-16-le") + b"\0\0"
        directory += wide.ljust(64, b"\0") + struct.pack("<HBBLLL", len(wide), kind, 1, _NONE, right, child)
        directory += bytes(36) + struct.pack("<LQ", start, size)
    first_directory = store(directory)
    fat_sectors = len(sectors) // 127 + 1
    first_fat = len(sectors)
    fat += [_FAT] * fat_sectors
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    small_sectors = -(-len(small_fat) // 128)
    header += struct.pack("<9L", 0, fat_sectors, first_directory, 0, 4096, first_small, small_sectors, _END, 0)
    header += b"".join(struct.pack("<L", first_fat + number) for number in range(fat_sectors))
    table = struct.pack(f"<{len(fat)}L", *fat).ljust(512 * fat_sectors, b"\xff")
    return header.ljust(512, b"\xff") + b"".join(sectors) + table
