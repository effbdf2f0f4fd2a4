"""A query is asked with a sound vector, or it is said why there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import Corpus
from pipeline.errors import Terminal
from pipeline.types import TokenIds, Vectors
from tests.embedding_server import FaultyServer, embedding_server


@pytest.fixture
def server(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """Embeds for the configuration of the current folder, where one document has been ingested."""
    monkeypatch.delenv("CORPUSVEC_ENDPOINT_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (workplace / "bell.md").write_text("The mate rings the bell at every landing.")
    with embedding_server(384) as server:
        server.base64 = False
        (workplace / "corpusvec.toml").write_text(f'embedder = "openai"\nendpoint.url = "{server.url}"\n')
        with Corpus() as corpus:
            assert corpus.ingest("bell.md").embedded == 1
        yield server


def with_first(number: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Puts a number into the first place of each vector."""

    def spoil(answer: dict[str, Any]) -> dict[str, Any]:
        for row in answer["data"]:
            row["embedding"][0] = number
        return answer

    return spoil


@pytest.mark.parametrize(("number", "why"), [(math.nan, "NaN"), (2.0, "length 2")])
@pytest.mark.parametrize("mode", ["dense", "hybrid"])
def test_a_server_that_goes_wrong_finds_nothing_in_words(
    mode: str, number: float, why: str, server: FaultyServer
) -> None:
    """A vector that is none finds nothing or anything: it is not searched with, however long the server was well."""
    with Corpus() as corpus:
        assert [hit.uri[-7:] for hit in corpus.search("who rings", mode=mode)] == ["bell.md"]
        server.spoil = with_first(number)
        with pytest.raises(Terminal, match=f"the query 'who rings' has no vector to search with: .*{why}"):
            corpus.search("who rings", mode=mode)
        assert len(corpus.search("who rings", mode="bm25")) == 1


@pytest.mark.usefixtures("server")
def test_an_embedder_with_shorter_vectors_is_another_models() -> None:
    """Whoever gives a corpus its embedder is told of a wrong length."""

    class Short:
        dimensions = 128

        def embed(self, token_ids: list[TokenIds]) -> Vectors:
            """Of unit length, at least."""
            return np.eye(len(token_ids), 128, dtype=np.float32)

        def close(self) -> None:
            """Nothing to free."""

    with Corpus(embedder=Short()) as corpus, pytest.raises(Terminal, match=r"shape \(128,\) instead of \(384,\)"):
        corpus.search("who rings", mode="dense")
