"""A quantized recipe: its own vectors, and none before a sample of them has been held against unquantized ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows import Corpus
from pipeline.config import Engine, Recipe, load_settings
from pipeline.embed import quality
from pipeline.embed.model import Model, load_model
from pipeline.embed.settings import engine_settings
from pipeline.errors import Poisoned, Terminal, UsageError
from pipeline.types import Vectors
from tests.faults import FakeEngine, bundled


class Engines:
    """Stands in for `start_engine`: an exact engine, and a quantized one whose vectors are off by `error`."""

    def __init__(self, error: float, broken: Sequence[int] = ()) -> None:
        self.error, self.broken = error, broken
        self.opened: list[str | None] = []
        self.open = 0

    def start(self, model: Model, engine: Engine) -> FakeEngine:
        """One at a time: a GPU holds no two."""
        assert not self.open
        self.open += 1
        self.opened.append(model.quantization)
        return Started(self, model)


class Started(FakeEngine):
    """One of them."""

    start_seconds = 0.0
    versions = {"vllm": "1"}  # noqa: RUF012 - as the protocol has it

    def __init__(self, engines: Engines, model: Model) -> None:
        super().__init__(model.dimensions)
        self._engines, self._quantized = engines, model.quantization is not None

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        """The exact vectors, or those with an error in them."""
        vectors = super().embed(token_ids)
        if self._quantized:
            noise = np.random.default_rng(0).standard_normal(vectors.shape).astype(np.float32)
            vectors = vectors + self._engines.error * noise / np.sqrt(self.dimensions)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def close(self) -> None:
        """Makes room for the next."""
        self._engines.open -= 1


@pytest.fixture
def folder(workplace: Path) -> Path:
    """Fifty documents."""
    (workplace / "docs").mkdir()
    for number in range(50):
        (workplace / "docs" / f"{number}.md").write_text(f"The pump number {number} is tested.\n")
    return workplace / "docs"


def quantized(monkeypatch: pytest.MonkeyPatch, engines: Engines) -> Corpus:
    """A corpus with a quantized recipe on these engines."""
    monkeypatch.setattr("pipeline.embed.vllm.start_engine", engines.start)
    corpus = Corpus(recipe={"quantization": "fp8"})
    model, corpus.tokenizer = bundled()
    corpus.model = replace(model, quantization="fp8")
    return corpus


def test_near_enough(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run holds a sample against the exact engine, and tells what came of it; later runs do not."""
    engines = Engines(error=0.05)
    with quantized(monkeypatch, engines) as corpus:
        told = corpus.ingest(str(folder)).as_dict()["engine"]["quality"]
        assert told["texts"] == 50
        assert 0.98 < told["least_cosine"] <= told["mean_cosine"] < 0.9999
        assert 0.95 < told["ndcg"] <= 1
    assert engines.opened == [None, "fp8"]
    (folder / "new.md").write_text("The lamp is new.\n")
    with quantized(monkeypatch, engines) as corpus:
        assert "quality" not in corpus.ingest(str(folder)).as_dict()["engine"]
    assert engines.opened == [None, "fp8", "fp8"]


def test_too_far(folder: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends before a vector is stored, with the figures; the next one looks again."""
    engines = Engines(error=0.5)
    for _ in range(2):
        with (
            quantized(monkeypatch, engines) as corpus,
            pytest.raises(Terminal, match=r"over 50 texts the cosine is 0\.8.*leave recipe\.quantization out"),
        ):
            corpus.ingest(str(folder))
    assert engines.opened == [None, "fp8"] * 2
    assert not list(workplace.glob("data/vectors/*/*.parquet"))
    assert not list(workplace.glob("data/canary/*/*.parquet"))


def test_vectors_of_their_own() -> None:
    """Quantized vectors are stored under other keys than exact ones, whose keys are what they always were."""
    exact, halved = (load_model(Recipe(quantization=kind)) for kind in (None, "fp8"))
    assert exact.fingerprint != halved.fingerprint
    assert exact.description["dtype"] == "bfloat16"
    assert halved.description["dtype"] == "bfloat16 fp8"


def test_it_takes_a_gpu_and_an_engine_of_ours(folder: Path) -> None:
    """On a CPU, and beside a server, it is refused with what to do instead."""
    model = replace(bundled()[0], quantization="fp8")
    assert engine_settings(model, Engine(), "cuda")["quantization"] == "fp8"
    with pytest.raises(UsageError, match="leave it out on a CPU"):
        engine_settings(model, Engine(), "cpu")
    with (
        Corpus(load_settings(recipe={"quantization": "fp8"}, embedder="openai")) as corpus,
        pytest.raises(UsageError, match=r"name them in endpoint\.weights"),
    ):
        corpus.plan(str(folder))


class TestComparing:
    def test_the_same_vectors(self) -> None:
        """Cosines and nDCG of 1."""
        vectors = FakeEngine(16).embed([[number] for number in range(30)])
        found = quality.compare(vectors, vectors)
        assert (found.texts, found.ndcg) == (30, 1)
        assert min(found.least_cosine, found.mean_cosine) == pytest.approx(1)
        assert found.suffices

    def test_one_bad_vector(self) -> None:
        """The least cosine tells it, however good the rest is."""
        vectors = FakeEngine(16).embed([[number] for number in range(30)])
        turned = vectors.copy()
        turned[7] = np.roll(turned[7], 1)
        found = quality.compare(vectors, turned)
        assert found.least_cosine < 0.9 < found.mean_cosine
        assert not found.suffices

    def test_other_neighbours(self) -> None:
        """nDCG tells a different order of what is near, though every cosine is high."""
        base = np.ones((40, 64), np.float32)
        chance = np.random.default_rng(1)
        exact, other = (base + 0.05 * chance.standard_normal(base.shape).astype(np.float32) for _ in range(2))
        exact, other = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (exact, other))
        found = quality.compare(exact, other)
        assert found.least_cosine > 0.98
        assert found.ndcg < 0.95
        assert not found.suffices

    def test_what_an_engine_refuses_is_left_out(self) -> None:
        """A text that one of the two cannot embed says nothing of the others; none at all is the engine's fault."""

        class Refusing(FakeEngine):
            def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
                vectors = super().embed(token_ids)
                refused = {row: "it hung" for row, ids in enumerate(token_ids) if ids[0] >= self.limit}
                if refused:
                    raise Poisoned(refused, vectors)
                return vectors

            limit = 5

        trial = quality.Trial(lambda: FakeEngine(16), [[number] for number in range(8)])
        assert trial.judge(Refusing(16)).texts == 5
        Refusing.limit = 0
        with pytest.raises(Terminal, match="no sound vector of 8 texts"):
            trial.judge(Refusing(16))

    def test_the_sample_is_bounded(self) -> None:
        """Of very long texts fewer are taken, of many some from all over."""
        long = quality.Trial(lambda: FakeEngine(16), [[number] * 30_000 for number in range(50)])
        assert long.judge(FakeEngine(16)).texts == 8
        many = quality.Trial(lambda: FakeEngine(16), [[number] for number in range(10_000)])
        assert many.judge(FakeEngine(16)).texts == 256
