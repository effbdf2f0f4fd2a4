"""RTF as Outlook packs it: [MS-OXRTFCP], a dictionary of what came before, in which much of RTF is from the start."""

from __future__ import annotations

import struct

_FROM_THE_START = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans Serif"
    rb"SymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    b"\r\n"
    rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)
_PACKED, _PLAIN = b"LZFu", b"MELA"
_RING = 4096
_MOST = 1 << 28


def unpack_rtf(data: bytes) -> bytes:
    """The RTF. Raises ValueError or struct.error if `data` is none that was packed."""
    packed_size, size, kind = struct.unpack_from("<II4s", data)
    rest = data[16 : packed_size + 4]
    if kind == _PLAIN:
        return rest[:size]
    if kind != _PACKED or size > _MOST:
        raise ValueError("not packed RTF")
    out = bytearray(_FROM_THE_START)
    at = 0
    while at < len(rest):
        flags, at = rest[at], at + 1
        for bit in range(8):
            if at >= len(rest):
                break
            if not flags >> bit & 1:
                out.append(rest[at])
                at += 1
                continue
            (reference,) = struct.unpack_from(">H", rest, at)
            at += 2
            back = (len(out) - (reference >> 4)) % _RING
            if not back:  # a reference to where it stands ends it
                return bytes(out[len(_FROM_THE_START) :])
            for _ in range((reference & 15) + 2):
                out.append(out[-back] if back <= len(out) else 32)
    return bytes(out[len(_FROM_THE_START) :])
