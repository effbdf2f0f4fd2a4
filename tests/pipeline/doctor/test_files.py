"""A model's folder is complete, whole, and of one model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.config import Endpoint, Recipe
from pipeline.doctor.diagnosis import Doubtful, Unwell
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


@pytest.mark.parametrize("header", ["[1, 2]", "{}", '{"a": {"data_offsets": [0]}}', '{"a": {"data_offsets": [0, 0]}}'])
def test_a_header_that_describes_nothing(header: str, copy: Path) -> None:
    """The right length before it, and then no description of tensors."""
    content = header.encode()
    (copy / "model.safetensors").write_bytes(len(content).to_bytes(8, "little") + content)
    with pytest.raises(Unwell, match="is no safetensors file"):
        check_model(load(copy))


@pytest.mark.parametrize("index", ["{}", "[]", '{"weight_map": ["a"]}', '{"weight_map": {"a": 1}}', '{"weight_map"'])
def test_an_index_that_names_no_files(index: str, copy: Path) -> None:
    """Told with its path."""
    (copy / "model.safetensors.index.json").write_text(index)
    with pytest.raises(Unwell, match=r"model\.safetensors\.index\.json"):
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
    """More tokens than the model has rows for, or one token beyond them: the engine would read beyond its table."""
    own = json.loads((copy / "tokenizer.json").read_text())
    shutil.copy(minilm.path / "tokenizer.json", copy / "tokenizer.json")
    with pytest.raises(Unwell, match="of different models"):
        check_model(load(copy))
    ids = own["model"]["vocab"]
    ids[max(ids, key=lambda token: ids[token])] = 5_000
    own["model"]["merges"] = own["model"]["merges"][:1]
    (copy / "tokenizer.json").write_text(json.dumps(own))
    with pytest.raises(Unwell, match="the last of them 5,000"):
        check_model(load(copy))


def test_a_tokenizer_that_knows_too_little(copy: Path) -> None:
    """A few rows more than tokens are usual; a model with many more is told, as it may be meant."""
    config = json.loads((copy / "config.json").read_text())
    for rows, told in ((560, False), (30_522, True)):
        (copy / "config.json").write_text(json.dumps({**config, "vocab_size": rows}))
        if told:
            with pytest.raises(Doubtful, match="the model has 30,522 tokens"):
                check_model(load(copy))
        else:
            assert check_model(load(copy))


class TestPooling:
    """What decides vectors besides the weights is there."""

    @pytest.mark.parametrize(
        ("gone", "told"),
        [
            ("1_Pooling", r"lacks 1_Pooling/config\.json, which modules\.json names"),
            ("modules.json", r"lacks modules\.json, though it has 1_Pooling, config_sentence_transformers\.json"),
        ],
    )
    def test_a_folder_that_was_copied_in_part(self, gone: str, told: str, copy: Path) -> None:
        """Weights and tokenizer alone pass for a model whose vectors are others."""
        (shutil.rmtree if (copy / gone).is_dir() else Path.unlink)(copy / gone)
        with pytest.raises(Unwell, match=told) as caught:
            check_model(load(copy))
        assert not isinstance(caught.value, Doubtful)
        assert check_model(load(copy), weights=False), "a server's model is pooled there"

    @pytest.mark.parametrize("content", ["{}", "[]", '{"pooling_mode_mean_tokens": false}', "<html>"])
    def test_a_pooling_that_is_none(self, content: str, copy: Path) -> None:
        """Its file is there and names none."""
        (copy / "1_Pooling" / "config.json").write_text(content)
        with pytest.raises(Unwell, match=r"1_Pooling/config\.json"):
            check_model(load(copy))

    @pytest.mark.parametrize("content", ["{}", '["a"]'])
    def test_modules_that_are_none(self, content: str, copy: Path) -> None:
        """The file that names them is there and is something else."""
        (copy / "modules.json").write_text(content)
        with pytest.raises(Unwell, match=r"modules\.json is no list"):
            check_model(load(copy))

    def test_a_layer_without_its_weights(self, copy: Path) -> None:
        """A dense layer behind the pooling changes vectors too."""
        modules = json.loads((copy / "modules.json").read_text())
        modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
        (copy / "modules.json").write_text(json.dumps(modules))
        with pytest.raises(Unwell, match=r"3_Dense/config\.json, 3_Dense/model\.safetensors"):
            check_model(load(copy))

    def test_a_model_that_never_had_any(self, copy: Path) -> None:
        """Not made with sentence-transformers: how it is pooled is said, and may be right."""
        shutil.rmtree(copy / "1_Pooling")
        for name in ("modules.json", "config_sentence_transformers.json"):
            (copy / name).unlink()
        with pytest.raises(Doubtful, match="the engine does what is usual for qwen3") as caught:
            check_model(load(copy))
        assert "again" in caught.value.remedy

    def test_an_encoder_that_does_not_say_its_window(self, minilm: Model, tmp_path: Path) -> None:
        """Without the file that says 256, all of its 512 places would be used."""
        folder = Path(shutil.copytree(minilm.path, tmp_path / "model"))
        (folder / "sentence_bert_config.json").unlink()
        with pytest.raises(Doubtful, match=r"window of 512 tokens.*no sentence_bert_config\.json"):
            check_model(load(folder))


def test_weights_that_a_server_has(copy: Path) -> None:
    """For a server's model the folder needs no weights."""
    (copy / "model.safetensors").unlink()
    model = load_model(Recipe(model=str(copy)), Endpoint(weights="tiny-Q8_0.gguf"))
    assert "million parameters" not in check_model(model, weights=False)
