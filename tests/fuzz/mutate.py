"""Breaking documents: bytes, numbers and pieces, at random, and inside of what is packed too."""

from __future__ import annotations

import gzip
import io
import random
import re
import zipfile
from collections.abc import Sequence

_NUMBER = re.compile(rb"\d+")
_WORD = re.compile(rb"[A-Za-z:/]{3,}")
_NUMBERS = (
    b"0", b"-1", b"1", b"65536", b"2147483647", b"2147483648", b"4294967295", b"9223372036854775808", b"1e309",
    b"999999999999999999999999999999",
)  # fmt: skip
_BYTES = (b"\0", b"\xff", b"\x7f", b"\x80", b"<", b">", b'"', b"(", b")", b"[", b"{", b"\\", b"\r", b"\n", b"&", b"%")
_PIECES = (
    b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xae", b"\xc3\xa9\xcc\x81",
    b"\x1b[0m", b"&#x0;", b"&#xD800;", b"&lt;" * 9, b"%s%n%x", b"../" * 9, b"<![CDATA[", b"]]>", b"<!--",
    b"\x00\x00\x00\x00", b"\xff" * 8,
)  # fmt: skip


def mutate(seeds: Sequence[tuple[str, bytes]], number: int, salt: str) -> tuple[str, bytes]:
    """Name and bytes of the broken document `number`; of the same seeds always the same."""
    chance = random.Random(f"{salt}/{number}")
    name, data = chance.choice(seeds)
    other = chance.choice(seeds)[1]
    if data[:4] == b"PK\x03\x04" and chance.random() < 0.75:
        return name, _inside_zip(data, other, chance)
    if data[:2] == b"\x1f\x8b" and chance.random() < 0.75:
        return name, gzip.compress(_broken(gzip.decompress(data), other, chance), 1, mtime=0)
    return name, _broken(data, other, chance)


def _broken(data: bytes, other: bytes, chance: random.Random) -> bytes:
    data, other = data or b"\n", other or b"\n"
    for _ in range(chance.choice((1, 1, 2, 3, 5, 9, 30))):
        data = chance.choice(_WAYS)(data, other, chance) or b"\n"
    return data[:1_000_000]


def _inside_zip(data: bytes, other: bytes, chance: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    if other[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(other)) as archive:
            other = archive.read(chance.choice(archive.infolist()))
    # What is said in a large part is said in the others, too: small ones are where the structure is.
    victims = chance.sample(sorted(parts), min(len(parts), chance.choice((1, 1, 1, 2, 4))))
    if chance.random() < 0.05:
        del parts[victims[0]]
        victims = victims[1:]
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, part in parts.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(info, _broken(part, other, chance) if name in victims else part)
    return target.getvalue()


def _flip(data: bytes, other: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def _overwrite(data: bytes, other: bytes, chance: random.Random) -> bytes:
    at, new = chance.randrange(len(data)), chance.choice(_BYTES) * chance.choice((1, 1, 2, 8))
    return data[:at] + new + data[at + len(new) :]


def _insert(data: bytes, other: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice((*_BYTES, *_PIECES)) * chance.choice((1, 1, 1, 3, 500)) + data[at:]


def _delete(data: bytes, other: bytes, chance: random.Random) -> bytes:
    first, last = _stretch(data, chance)
    return data[:first] + data[last:]


def _repeat(data: bytes, other: bytes, chance: random.Random) -> bytes:
    first, last = _stretch(data, chance)
    times = chance.choice((1, 2, 10, 1000)) if last - first < 200 else 1
    return data[:last] + data[first:last] * times + data[last:]


def _move(data: bytes, other: bytes, chance: random.Random) -> bytes:
    first, last = _stretch(data, chance)
    rest, at = data[:first] + data[last:], chance.randrange(len(data))
    return rest[:at] + data[first:last] + rest[at:]


def _cut(data: bytes, other: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(1, len(data) + 1)] if chance.random() < 0.3 else _delete(data, other, chance)


def _splice(data: bytes, other: bytes, chance: random.Random) -> bytes:
    first, last = _stretch(other, chance)
    at = chance.randrange(len(data) + 1)
    return data[:at] + other[first:last] + data[at:]


def _renumber(data: bytes, other: bytes, chance: random.Random) -> bytes:
    return _replace_one(_NUMBER, data, chance.choice(_NUMBERS), chance)


def _rename(data: bytes, other: bytes, chance: random.Random) -> bytes:
    words = _WORD.findall(other[:20_000]) or [b"x"]
    return _replace_one(_WORD, data, chance.choice(words), chance)


def _replace_one(pattern: re.Pattern[bytes], data: bytes, new: bytes, chance: random.Random) -> bytes:
    match = pattern.search(data, chance.randrange(len(data))) or pattern.search(data)
    return data if match is None else data[: match.start()] + new + data[match.end() :]


def _stretch(data: bytes, chance: random.Random) -> tuple[int, int]:
    first = chance.randrange(len(data))
    return first, min(len(data), first + 1 + int(chance.expovariate(1 / chance.choice((3, 30, 300, 3000)))))


_WAYS = (_flip, _overwrite, _insert, _delete, _repeat, _move, _cut, _splice, _renumber, _renumber, _rename, _rename)
