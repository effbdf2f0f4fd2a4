"""What tests of whole runs share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import Corpus
from pipeline.embed.vllm import VllmEmbedder


@pytest.fixture
def opened(minilm_engine: VllmEmbedder, workplace: Path) -> Iterator[Callable[..., Corpus]]:
    """Opens corpora on the session's engine, one at a time, and closes them."""
    corpora: list[Corpus] = []

    def make(**flags: Any) -> Corpus:
        for earlier in corpora:
            earlier.close()
        corpora.append(Corpus(embedder=flags.pop("embedder", minilm_engine), **flags))
        return corpora[-1]

    yield make
    for corpus in corpora:
        corpus.close()
