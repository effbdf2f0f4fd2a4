"""A model's folder is complete, whole, and of one model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.config import Endpoint, Recipe
from pipeline.doctor.diagnosis import Unwell
from pipeline.doctor.files import check_model, parameters
from pipeline.embed.model import Model, load_model
from pipeline.errors import UsageError


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    """A model's folder, to be broken."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def load(folder: Path) -> Model:
    return load_model(Recipe(model=str(folder)))


def test_a_whole_model(copy: Path, minilm: Model) -> None:
    """Its dimensions, window and size are said; the count of parameters is the published one."""
    assert check_model(minilm) == (
        "minilm: 384 dimensions, window of 256 tokens, 30,522 tokens known, 23 million parameters"
    )
    assert parameters(minilm.path) == 22_713_728
    assert "window of 32,768 tokens" in check_model(load(copy))


@pytest.mark.parametrize("left", [-1, 4_096, 5, 0])
def test_truncated_weights(left: int, copy: Path) -> None:
    """A download that stopped: in the last byte, in the numbers, in the header's length, at once."""
    file = copy / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:left] if left else b"")
    with pytest.raises(Unwell, match=r"model\.safetensors") as caught:
        check_model(load(copy))
    assert "again" in caught.value.remedy


def test_what_is_no_safetensors_file(copy: Path) -> None:
    """A web page in the weights' place, say."""
    (copy / "model.safetensors").write_text("<!doctype html><title>Sign in</title>" * 100)
    with pytest.raises(Unwell, match="is no safetensors file"):
        check_model(load(copy))


def test_a_missing_shard(copy: Path) -> None:
    """An index that names more files than there are: the missing ones are named."""
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Unwell, match=r"lacks model-00002-of-00002\.safetensors"):
        check_model(load(copy))


def test_a_broken_tokenizer(copy: Path) -> None:
    """Half of its file: told with its path."""
    file = copy / "tokenizer.json"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UsageError, match=r"tokenizer\.json"):
        check_model(load(copy))


def test_another_models_tokenizer(copy: Path, minilm: Model) -> None:
    """More tokens than the model has rows for: the engine would read beyond its table."""
    shutil.copy(minilm.path / "tokenizer.json", copy / "tokenizer.json")
    with pytest.raises(Unwell, match="of different models"):
        check_model(load(copy))


def test_weights_that_a_server_has(copy: Path) -> None:
    """For a server's model the folder needs no weights."""
    (copy / "model.safetensors").unlink()
    model = load_model(Recipe(model=str(copy)), Endpoint(weights="tiny-Q8_0.gguf"))
    assert "million parameters" not in check_model(model, weights=False)
