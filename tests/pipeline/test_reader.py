"""Whoever searches while a collection is brought up to date finds every document, in its old version or its new one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from connectors.stores import open_store
from tests.connectors.stores.servers import free_port, milvus
from tests.crash import ForkServer
from tests.faults import Effects, open_corpus, read_until
from tests.scenario import TOPICS, text_of


@pytest.fixture
def docs(workplace: Path) -> Path:
    """A document a topic, of several chunks."""
    folder = workplace / "docs"
    folder.mkdir()
    for topic in TOPICS:
        (folder / f"{topic}.md").write_text(f"# {topic}\n\n{text_of(topic, 4)}")
    return folder


def ingest(store: Any, docs: Path, chunk_tokens: int) -> None:
    """A night's run into a store that is open already, and stays open."""
    corpus = open_corpus(recipe={"chunk_tokens": chunk_tokens}, limits={"unit_documents": 2}, collection="docs")
    corpus.store = store
    corpus.ingest(str(docs))


def nights(docs: Path) -> Iterator[int]:
    """Changes that leave no point as it was: edits, then moves. Gives the size of chunks for the run after each."""
    for path in docs.iterdir():
        path.write_text(path.read_text().replace(" is looked after", " must be looked after now"))
    yield 48
    for path in list(docs.iterdir()):
        path.rename(docs / f"moved-{path.name}")
    yield 128


class Asking(Effects):
    """Before each effect, a question for every document."""

    def __init__(self, ask: Callable[[], object]) -> None:
        super().__init__()
        self._ask = ask

    def about_to(self, name: str) -> None:
        """Ask, then number it."""
        self._ask()
        super().about_to(name)


def test_before_every_step(docs: Path, workplace: Path) -> None:
    """Between any two steps of a run, every document is found."""
    store = open_store("edge:index", "docs")
    ingest(store, docs, 48)
    missed: list[str] = []
    effects = Asking(lambda: missed.extend(read_until(iter([False, True]).__next__, store, TOPICS)[1]))
    for chunk_tokens in nights(docs):
        with effects.below(workplace / "data"):
            ingest(effects.watch(store), docs, chunk_tokens)
    store.close()
    assert effects.seen.count("delete") >= 7
    assert missed == []


def test_beside_an_embedded_index(docs: Path) -> None:
    """A thread that asks all the time, while the store is at work too, misses nothing."""
    store = open_store("edge:index", "docs")
    ingest(store, docs, 48)
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read_until, done.is_set, store, TOPICS)
        try:
            for chunk_tokens in nights(docs):
                ingest(store, docs, chunk_tokens)
        finally:
            done.set()
        asked, missed = reader.result()
    store.close()
    assert asked > len(TOPICS)
    assert missed == []


def test_beside_a_server(docs: Path, workplace: Path) -> None:
    """Another process that asks a server all the time misses nothing."""
    port = free_port()
    url = f"milvus:http://127.0.0.1:{port}"
    begun, stop = workplace / "begun", workplace / "stop"
    with milvus(workplace / "milvus", port), ForkServer() as processes, ThreadPoolExecutor(1) as pool:
        store = open_store(url, "docs")
        ingest(store, docs, 48)
        reader = pool.submit(processes.run, "read", url=url, collection="docs", words=TOPICS, begun=begun, stop=stop)
        try:
            while not begun.exists() and not reader.done():
                time.sleep(0.05)
            for chunk_tokens in nights(docs):
                ingest(store, docs, chunk_tokens)
        finally:
            stop.touch()
        asked, missed = reader.result().value
        store.close()
    assert asked > len(TOPICS)
    assert missed == []
