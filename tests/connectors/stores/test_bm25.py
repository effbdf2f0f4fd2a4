"""BM25 in the language of each document, and queries that find them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from connectors.stores import open_store
from connectors.stores.qdrant_edge import bm25
from pipeline.ports import VectorStore
from pipeline.types import PAYLOAD_FIELDS, CollectionSpec, Point

SPEC = CollectionSpec("r", 4, {"model": "m"})
TEXTS = {
    "en": "The pumps were running while the engineers watched.",
    "de": "Die Häuser am Hafen wurden verkauft, und an der Mühle war es still.",
    "fr": "Les chevaux couraient dans les prairies.",
    "zh": "北京大学的学生在图书馆学习。",
    "ja": "東京都の会議は火曜日に開かれる。",
    "": "x = parse(y)",
}


@pytest.fixture(params=["edge", "qdrant"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
    """A collection of one text in each language."""
    url = f"edge:{tmp_path}/index" if request.param == "edge" else f"qdrant:local:{tmp_path}/server"
    store = open_store(url, "languages")
    store.open(SPEC)
    store.upsert([point_of(text, language) for language, text in TEXTS.items()])
    yield store
    store.close()


def point_of(text: str, language: str) -> Point:
    """A point in some language; "" is one that nobody could tell."""
    payload = dict.fromkeys(PAYLOAD_FIELDS, "x") | {"page": 1, "page_to": 1, "position": 0, "text": text}
    payload["metadata"] = {"language": language} if language else {}
    return Point(str(uuid4()), np.ones(4, np.float32), text, payload)


@pytest.mark.parametrize(
    ("query", "language"),
    [("pump runs", "en"), ("Haus", "de"), ("cheval courait", "fr"), ("图书馆", "zh"), ("会議", "ja"), ("parse", "")],
)
def test_words_are_found_in_other_forms_in_every_language(store: VectorStore, query: str, language: str) -> None:
    """Stems are those of the document's language, words are found where a script puts no spaces between them."""
    found = [hit.text for hit in store.search_bm25(query, 5)]
    assert found[:1] == [TEXTS[language]]


def test_stop_words_find_nothing(store: VectorStore) -> None:
    """Neither those of the collection's language anywhere, nor those of another in documents of that."""
    assert store.search_bm25("the were while", 5) == []
    assert [hit.text for hit in store.search_bm25("der am und", 5) if hit.text == TEXTS["de"]] == []


def test_a_new_average_length_keeps_the_languages(store: VectorStore) -> None:
    """Recomputed weights are of the same stems."""
    store.set_average_length(7.0)
    assert [hit.text for hit in store.search_bm25("Haus", 5)] == [TEXTS["de"]]


def test_a_query_has_the_forms_of_the_languages_that_there_are() -> None:
    """They are added to the query's own, each once; none takes its place, and no other language's meets by chance."""
    encoder = bm25(SPEC)
    own = encoder.document("lost keys", "en")
    for languages in ([], ["en"], ["en", "de"], ["xx"]):
        query = encoder.query("lost keys", languages)
        assert set(own.indices) <= set(query.indices)
        assert len(set(query.indices)) == len(query.indices)
        assert set(query.values) == {1.0}
    assert set(encoder.query("lost keys", ["en"]).indices) == set(own.indices)
    german = set(encoder.document("lösen", "de").indices)
    assert german.isdisjoint(encoder.query("lost", ["en", "de"]).indices)
    assert not german.isdisjoint(encoder.query("gelöst lösen", ["en", "de"]).indices)


def test_words_of_no_language_that_is_there_are_not_looked_for(store: VectorStore) -> None:
    """A document's language counts from when it is written until it is deleted."""
    store.upsert([other := point_of("De paarden lopen in de wei.", "nl")])
    assert [hit.text for hit in store.search_bm25("paarden", 5)] == [other.payload["text"]]
    store.delete([other.record_id])
    assert store.search_bm25("paarden", 5) == []
