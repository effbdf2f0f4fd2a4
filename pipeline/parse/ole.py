"""Compound files, in which old Office documents and Outlook messages keep their streams."""

from __future__ import annotations

import io
from typing import Any

SIGNATURE = bytes.fromhex("d0cf11e0a1b11ae1")


def open_compound(data: bytes) -> Any:
    """An `olefile.OleFileIO`. Raises OSError if `data` is damaged in a way that nothing can be found in it."""
    import olefile

    try:
        return olefile.OleFileIO(io.BytesIO(data))
    except Exception as error:  # what a damaged file makes it raise is of many kinds
        raise OSError("the compound file is damaged") from error


def names_at_root(data: bytes) -> set[str]:
    """The streams and storages of a compound file that are in no storage; empty if it is damaged."""
    try:
        with open_compound(data) as compound:
            # The library lists what is deeper by recursion, and a damaged file may be a circle.
            return {str(entry.name) for entry in compound.root.kids}
    except OSError:
        return set()
