"""Which engine a corpus gets: one of this machine's, or a server that the settings name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pipeline.config import Settings
from pipeline.embed.model import Model
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.errors import UsageError
from pipeline.ports import Embedder


def open_embedder(settings: Settings, model: Model, tokenizer: ModelTokenizer) -> Embedder:
    """Start it (tens of seconds), or connect to it."""
    if settings.embedder == "openai":
        from pipeline.embed.openai import OpenAIEmbedder

        return OpenAIEmbedder(model, tokenizer, settings.endpoint)
    from pipeline.embed.vllm import start_engine

    return start_engine(model, settings.engine)


def exact_engine(settings: Settings, model: Model) -> Callable[[], Embedder] | None:
    """Opens the engine of the same model unquantized, for a quantized one to be held against; None if it is exact.

    Raises UsageError if a server is to compute what the recipe wants quantized.
    """
    if model.quantization is None:
        return None
    if settings.embedder == "openai":
        raise UsageError(
            "recipe.quantization is for an engine of this machine: leave it out, and if the server's weights are "
            "quantized name them in endpoint.weights"
        )

    def start() -> Embedder:
        from pipeline.embed.settings import for_work
        from pipeline.embed.vllm import start_engine

        return start_engine(replace(model, quantization=None), for_work(settings.engine, 0))

    return start
