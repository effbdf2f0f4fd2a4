"""Which store a corpus gets, and whether it is written to from processes of its own."""

from __future__ import annotations

from connectors.stores import open_store
from pipeline.config import Settings
from pipeline.embed.settings import likely_device
from pipeline.ports import VectorStore


def store_of(settings: Settings) -> VectorStore:
    """The collection that the settings name; apart where a GPU here would wait for it, unless that is set."""
    apart = settings.limits.store_process
    if apart is None:
        apart = settings.embedder == "vllm" and likely_device(settings.engine) == "cuda"
    return open_store(settings.store, settings.collection, apart)
