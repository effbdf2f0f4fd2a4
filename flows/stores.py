"""Which store a corpus gets, and whether that and Parquet are written to from processes of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from connectors.stores import open_store
from pipeline.config import Settings
from pipeline.embed.settings import likely_device
from pipeline.ports import VectorStore

if TYPE_CHECKING:
    from pipeline.writer import Writer


def store_of(settings: Settings) -> VectorStore:
    """The collection that the settings name; apart where a GPU here would wait for it, unless that is set."""
    return open_store(settings.store, settings.collection, _apart(settings))


def writer_of(settings: Settings) -> Writer | None:
    """What writes Parquet where the store is apart; nothing does, where it is not."""
    from pipeline.writer import Writer

    return Writer() if _apart(settings) else None


def _apart(settings: Settings) -> bool:
    if settings.limits.store_process is None:
        return settings.embedder == "vllm" and likely_device(settings.engine) == "cuda"
    return settings.limits.store_process
