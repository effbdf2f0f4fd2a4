"""Scheduling, and the ways in: Prefect flows, the command line, and the Corpus that a notebook opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.corpus import Corpus

__all__ = ["Corpus"]


def __getattr__(name: str) -> Any:
    # Imported when asked for, so that the command line's --help stays instant.
    if name == "Corpus":
        from flows.corpus import Corpus

        return Corpus
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
