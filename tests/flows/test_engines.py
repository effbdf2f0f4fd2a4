"""Which engine a corpus starts, and when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import psutil
import pytest

from flows import Corpus, printing
from flows.engines import Engines
from pipeline.config import Engine, load_settings
from pipeline.embed.model import Model
from pipeline.embed.pool import Pool
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.embed.vllm import VllmEmbedder
from tests.pipeline.embed.fake import FAKE, fake_model


@pytest.fixture
def started(one_engine: VllmEmbedder, monkeypatch: pytest.MonkeyPatch) -> list[bool | None]:
    """Of each engine that was started for one GPU, whether it was to be compiled."""
    found: list[bool | None] = []

    def start(model: Model, engine: Engine) -> VllmEmbedder:
        found.append(engine.compile)
        return one_engine

    monkeypatch.setattr("pipeline.embed.vllm.start_engine", start)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    return found


@pytest.fixture
def corpus(workplace: Path) -> Callable[[int], Corpus]:
    """A corpus for a GPU, and so many documents beside it, each a work unit."""

    def opened(documents: int) -> Corpus:
        (workplace / "docs").mkdir()
        for number in range(documents):
            (workplace / "docs" / f"{number}.txt").write_text(f"The lamp at pier {number} burns until the last ferry.")
        return Corpus(engine={"device": "cuda"}, limits={"unit_documents": 1, "store_process": False})

    return opened


def test_a_small_run_does_not_wait_for_a_compiler(
    corpus: Callable[[int], Corpus], started: list[bool | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries and small runs get an engine that starts sooner, and share it; a run that is large enough another."""
    with corpus(20) as one:
        one.ingest("docs")
        one.search("which lamp burns?")
        assert started == [False]
        Path("docs/0.txt").write_text("The lamp is gone.")
        monkeypatch.setattr("pipeline.embed.settings._WORTH_COMPILING", 1)
        one.ingest("docs")
        one.search("which lamp is gone?")
        assert started == [False, True]


def test_a_listing_without_an_end_in_sight_is_large(
    corpus: Callable[[int], Corpus], started: list[bool | None]
) -> None:
    """A run is not taken for small while nobody knows how much there is."""
    with corpus(60) as one:
        one.ingest("docs")
    assert started == [True]


def test_a_large_run_has_several_engines_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small one has one, which queries share; a large one as many as share out the cores and fit into memory."""
    monkeypatch.setattr("pipeline.embed.vllm.start_engine", lambda model, engine: Pool(model, engine, FAKE))
    monkeypatch.setattr("flows.engines.engines_with_room", lambda model, engine: 3)
    monkeypatch.setattr("pipeline.embed.settings.cores", lambda: 4)
    settings = load_settings(engine={"device": "cpu"})
    model, tokenizer = fake_model(tmp_path), cast(ModelTokenizer, None)
    engines = Engines(None)
    try:
        one = cast(Pool, engines.open(settings, model, tokenizer, 1_000))
        assert one.engines == 1
        assert engines.open(settings, model, tokenizer, 1e6) is one, "not worth another start"
        several = cast(Pool, engines.open(settings, model, tokenizer, 1e7))
        assert several.engines == 2
        engines.close()
        assert cast(Pool, engines.open(settings, model, tokenizer, 1e6)).engines == 2
        engines.close()
        assert cast(Pool, engines.open(settings, model, tokenizer, 0)).engines == 1
    finally:
        engines.close()


def test_queries_start_one_engine_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one GPU, whatever the settings allow; a small run shares it, a large one gets an engine on every GPU.

    Real processes, of the fake engine.
    """
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr("pipeline.embed.vllm.start_engine", lambda model, engine: Pool(model, engine, FAKE))
    settings = load_settings(engine={"device": "cuda", "engines_per_gpu": 2})
    model, tokenizer = fake_model(tmp_path), cast(ModelTokenizer, None)

    def started() -> list[str]:
        return [line.split()[0] for line in (tmp_path / "starts").read_text().splitlines()]

    engines = Engines(None)
    try:
        one = cast(Pool, engines.open(settings, model, tokenizer, 0))
        one.wait()
        assert started() == ["4"]
        assert one.embed([[1, 2]]).shape == (1, model.dimensions)
        assert engines.open(settings, model, tokenizer, 0) is one
        assert engines.open(settings, model, tokenizer, 1_000) is one
        first = int((tmp_path / "starts").read_text().split()[1])
        all_of_them = cast(Pool, engines.open(settings, model, tokenizer, 1e7))
        all_of_them.wait()
        assert sorted(started()) == ["4", "4", "4", "7", "7"]
        assert not psutil.pid_exists(first), "it has made room"
        assert engines.open(settings, model, tokenizer, 0) is all_of_them
    finally:
        engines.close()


@pytest.mark.parametrize(("engines", "said"), [(0, "bfloat16"), (1, "bfloat16"), (2, "2 side by side, bfloat16")])
def test_a_run_says_how_many_engines_it_had(engines: int, said: str) -> None:
    """If there were several; a server has none that we know of."""
    settings = {"dtype": "bfloat16", "max_model_len": 256, "max_num_batched_tokens": 4096, "max_num_seqs": 64}
    lines = printing.engine({"settings": settings, "engines": engines})
    assert f"  engine     {said}, compiled" in lines[0]
