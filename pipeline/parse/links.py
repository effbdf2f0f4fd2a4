"""Where the links of a document lead, for its metadata."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: Metadata are in the payload of every chunk, so what they hold must be small.
_MOST_BYTES = 8_000


def described_links(links: Iterable[str]) -> dict[str, Any]:
    """`links`, each once and in order, 8,000 bytes of UTF-8 at most; how many are left out is `more_links`."""
    kept: list[str] = []
    left_out, room = 0, _MOST_BYTES
    for link in dict.fromkeys(links):
        room -= len(link.encode("utf-8", "replace"))
        if room >= 0 and not left_out:
            kept.append(link)
        else:
            left_out += 1
    return {"links": kept, "more_links": left_out or None}
