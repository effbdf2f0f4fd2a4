"""The law that every parser keeps, as one assertion; and small helpers to read what came out."""

from __future__ import annotations

import json
import unicodedata

from pipeline.types import Parsed


def obeys_the_law(parsed: Parsed) -> None:
    """Blocks are in order, apart and not blank; nothing but white space lies between them; the text is clean."""
    at = 0
    for block in parsed.blocks:
        assert at <= block.start < block.end <= len(parsed.text)
        assert not parsed.text[at : block.start].strip()
        assert parsed.text[block.start : block.end].strip()
        assert block.level >= (block.kind in ("heading", "list_item"))
        at = block.end
    assert not parsed.text[at:].strip()
    parsed.text.encode()
    assert unicodedata.is_normalized("NFC", parsed.text)
    assert not [c for c in parsed.text if unicodedata.category(c) == "Cc" and c not in "\n\t"]
    json.dumps(parsed.metadata, allow_nan=False)


def blocks(parsed: Parsed) -> list[tuple[str, str]]:
    """Kind and text of each block."""
    return [(block.kind, parsed.text[block.start : block.end]) for block in parsed.blocks]


def levels(parsed: Parsed, kind: str) -> list[tuple[int, str]]:
    """Level and text of each block of this kind."""
    return [(b.level, parsed.text[b.start : b.end]) for b in parsed.blocks if b.kind == kind]
