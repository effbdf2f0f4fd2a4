"""What many tests need: the real corpora, a tiny model with a 32k window, and one engine a model for the session."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from pipeline.config import Engine, Recipe
from pipeline.embed.model import Model, load_model
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.embed.vllm import VllmEmbedder
from tests.tiny_model import make_tiny_model

ROOT = Path(__file__).resolve().parents[1]
CORPORA = ROOT.parent / "shared" / "corpora"

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Processes for parsing take a second to start, in each of thousands of runs; what is about them asks for them.
os.environ.setdefault("CORPUSVEC_LIMITS__PARSE_WORKERS", "0")

# CI judges a change by the same examples every time; everywhere else each run tries new ones.
hypothesis.settings.register_profile("ci", derandomize=True)
if "CI" in os.environ:
    hypothesis.settings.load_profile("ci")


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Documents that nobody wrote for this project."""
    if not CORPORA.is_dir():
        pytest.skip("the folder shared/corpora is not beside this checkout")
    return CORPORA


@pytest.fixture(scope="session")
def minilm() -> Model:
    """The bundled model."""
    return load_model(Recipe())


@pytest.fixture(scope="session")
def minilm_tokenizer(minilm: Model) -> ModelTokenizer:
    """WordPiece: lower case, accents stripped, unknown characters one token."""
    return ModelTokenizer(minilm.path)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3-architecture model with random weights and a window of 32,768 tokens, laid out as Qwen3-Embedding is."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny-qwen3")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Model:
    """The tiny model."""
    return load_model(Recipe(model=str(tiny_folder)))


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny: Model) -> ModelTokenizer:
    """Byte-level BPE that ends every text with an end-of-text token."""
    return ModelTokenizer(tiny.path)


@pytest.fixture(scope="session")
def minilm_engine(minilm: Model) -> Iterator[VllmEmbedder]:
    """vLLM with the bundled model, started once."""
    engine = VllmEmbedder(minilm, Engine())
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def tiny_engine(tiny: Model) -> Iterator[VllmEmbedder]:
    """vLLM with the tiny model, started once."""
    engine = VllmEmbedder(tiny, Engine())
    yield engine
    engine.close()


@pytest.fixture
def one_engine(minilm_engine: VllmEmbedder, monkeypatch: pytest.MonkeyPatch) -> VllmEmbedder:
    """Whoever starts an engine for the bundled model gets the session's, so that no test waits for another start."""

    def started(model: Model, engine: Engine) -> VllmEmbedder:
        assert model.fingerprint == load_model(Recipe()).fingerprint
        return minilm_engine

    monkeypatch.setattr("pipeline.embed.vllm.start_engine", started)
    monkeypatch.setattr(minilm_engine, "close", lambda: None)
    return minilm_engine


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder, where default settings keep their data."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    """A JSON Lines file of `rows`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
