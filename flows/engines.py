"""Which engine a corpus gets: one of this machine's, or a server that the settings name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pipeline.config import Engine, Settings
from pipeline.doctor.memory import engines_with_room
from pipeline.embed.model import Model
from pipeline.embed.settings import for_work, outgrown
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.errors import UsageError
from pipeline.ports import Embedder


class Engines:
    """A corpus's: the one that was `given`, or one that is started when it is needed, and another once that pays."""

    def __init__(self, given: Embedder | None) -> None:
        self.given = given
        #: How long the last one took to start, in seconds.
        self.start_seconds = 0.0
        self._opened: Embedder | None = None
        self._running = Engine()

    def open(self, settings: Settings, model: Model, tokenizer: ModelTokenizer, tokens: float) -> Embedder:
        """One for about so many tokens; 0 for a few queries, for which any will do."""
        if self.given is not None:
            return self.given
        if self._opened is not None and (not tokens or settings.embedder == "openai"):
            return self._opened
        wanted = settings.engine
        if settings.embedder == "vllm":
            wanted = for_work(wanted, tokens, engines_with_room(model, wanted) if tokens else 1)
        if self._opened is not None:
            if not outgrown(self._running, wanted, tokens):
                return self._opened
            self.close()
        self._opened = _open(settings.model_copy(update={"engine": wanted}), model, tokenizer)
        self._running = wanted
        self.start_seconds = getattr(self._opened, "start_seconds", 0.0)
        return self._opened

    def close(self) -> None:
        """Stop what was started. Idempotent."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def _open(settings: Settings, model: Model, tokenizer: ModelTokenizer) -> Embedder:
    """Start it (tens of seconds), or connect to it."""
    if settings.embedder == "openai":
        from pipeline.embed.openai import OpenAIEmbedder

        return OpenAIEmbedder(model, tokenizer, settings.endpoint, model.chunk_limit(settings.recipe))
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
        from pipeline.embed.vllm import start_engine

        return start_engine(replace(model, quantization=None), for_work(settings.engine, 0))

    return start
