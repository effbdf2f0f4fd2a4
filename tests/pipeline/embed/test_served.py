"""A real `vllm serve` beside the engine of this process: the same model gives the same vectors either way."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows import Corpus
from flows.cli import main
from pipeline.config import Endpoint
from pipeline.embed.model import Model
from pipeline.embed.openai import OpenAIEmbedder
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.embed.vllm import VllmEmbedder
from pipeline.errors import Poisoned, Terminal

TEXTS = [
    "The backup generator is tested every first Monday, under load, for half an hour.",
    "Die Pumpe wird jede Nacht geprüft; der Druck der Leitung wird aufgeschrieben.",
    "x",
    "日本語の文章 and emoji 👍🏽 and קצת עברית.",
    "boundary layer flow over a heated wing " * 25,
]
KEY = "a-key-for-loopback"
_STARTING_SECONDS = 300


@pytest.fixture(scope="module")
def served(minilm: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a `vllm serve` with the bundled model, started once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("served") / "log"
    # What `vllm serve` runs; that name itself does not start from the CPU build, whose package is called otherwise.
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(minilm.path), "--host", "127.0.0.1", "--port", str(port),
        "--served-model-name", "minilm", "--runner", "pooling", "--convert", "embed", "--dtype", minilm.dtype,
        "--max-model-len", str(minilm.window), "--max-num-batched-tokens", "4096", "--no-enable-prefix-caching",
        "--enforce-eager", "--api-key", KEY,
    ]  # fmt: skip
    environment = {
        **os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        for _ in range(_STARTING_SECONDS * 2):
            assert process.poll() is None, log.read_text(errors="replace")[-3_000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        else:
            pytest.fail(f"it did not start: {log.read_text(errors='replace')[-3_000:]}")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server wants to see."""
    monkeypatch.setenv("CORPUSVEC_ENDPOINT_KEY", KEY)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("given", ["tokens", "text"])
def test_its_vectors_are_the_engines(
    given: str, served: str, minilm: Model, minilm_tokenizer: ModelTokenizer, minilm_engine: VllmEmbedder
) -> None:
    """Sent as tokens or as text, every text's vector has cosine 0.999 or more to that of the engine in this process."""
    ids = [minilm_tokenizer.encode(text).ids for text in TEXTS * 4]
    embedder = OpenAIEmbedder(minilm, minilm_tokenizer, Endpoint(url=served, input=given, batch_inputs=7), 256)
    vectors = embedder.embed(ids)
    assert embedder.check() == f"{served} gives vectors of 384, windows of 256 tokens"
    assert embedder.versions["vllm"]
    embedder.close()
    assert vectors.dtype == np.float32
    assert (vectors * minilm_engine.embed(ids)).sum(axis=1).min() >= 0.999


@pytest.mark.usefixtures("key")
def test_a_text_beyond_its_window_costs_itself_only(
    served: str, minilm: Model, minilm_tokenizer: ModelTokenizer
) -> None:
    """The server's own words say why; the others are embedded."""
    ids = [minilm_tokenizer.encode(text).ids for text in TEXTS]
    # Of a model with a longer window, which would take it.
    embedder = OpenAIEmbedder(replace(minilm, window=512), minilm_tokenizer, Endpoint(url=served), 256)
    with pytest.raises(Poisoned, match=r"the embedding server does not embed it.*256") as caught:
        embedder.embed([*ids, [101, *[2000] * 300, 102]])
    alone = embedder.embed(ids)
    embedder.close()
    assert list(caught.value.faults) == [5]
    assert (caught.value.vectors[:5] * alone).sum(axis=1).min() >= 0.999


def test_a_wrong_key_and_a_wrong_name_are_told(
    served: str, minilm: Model, minilm_tokenizer: ModelTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM's 401 and 404 become sentences that say what to set."""
    for key, endpoint, told in (
        ("wrong", Endpoint(url=served), "CORPUSVEC_ENDPOINT_KEY"),
        (KEY, Endpoint(url=served, model="another"), r"it serves minilm: name one in endpoint\.model"),
    ):
        monkeypatch.setenv("CORPUSVEC_ENDPOINT_KEY", key)
        embedder = OpenAIEmbedder(minilm, minilm_tokenizer, endpoint, 256)
        with pytest.raises(Terminal, match=told):
            embedder.embed([[101, 2000, 102]])
        embedder.close()


@pytest.mark.usefixtures("key")
def test_a_corpus_is_embedded_and_searched_without_an_engine(
    served: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`embedder = "openai"`: ingest and search ask the server, the recipe is the same, and the key is nowhere."""

    def started(*arguments: object) -> None:
        pytest.fail("an engine was started")

    monkeypatch.setattr("pipeline.embed.vllm.start_engine", started)
    (workplace / "docs").mkdir()
    (workplace / "docs" / "bell.md").write_text("# The bell\n\nThe mate rings the bell at every landing.\n")
    (workplace / "corpusvec.toml").write_text(f'embedder = "openai"\n[endpoint]\nurl = "{served}"\nmodel = "minilm"\n')
    assert main(["ingest", "docs"]) == 0
    capfd.readouterr()
    assert main(["search", "who rings", "--mode", "dense"]) == 0
    printed = capfd.readouterr()
    assert "bell.md" in printed.out
    assert "to start the engine" not in printed.err
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert main(["doctor", "--documents", "5"]) == 0
    told = capfd.readouterr().out
    assert f"{served} gives vectors of 384, windows of 256 tokens" in told
    assert "for 5 documents (as in the last run)" in told
    with Corpus() as one, Corpus(config=os.devnull) as other:
        assert one.recipe.fingerprints == other.recipe.fingerprints
    for path in (workplace / "data").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
