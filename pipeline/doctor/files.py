"""A model's folder: every file there, whole, and fitting the others.

What sentence-transformers writes beside the weights decides vectors too: `modules.json` names the folder that says how
they are pooled. Where it is missing, the engine pools as is usual for the architecture, and nothing shows it.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from pipeline.doctor.diagnosis import Doubtful, Unwell
from pipeline.embed.model import Model
from pipeline.embed.tokenizer import ModelTokenizer

_AGAIN = "copy or download the model again"
_MODULES = "modules.json"
_LENGTH = "sentence_bert_config.json"
_BESIDE = ("1_Pooling", "config_sentence_transformers.json", _LENGTH)
_OTHERWISE = "its vectors would be pooled otherwise than the model's own"
# Encoders with a place for each token, more of them than they were trained on: what they write has always said how many
# (the names of vLLM's `get_sentence_transformer_tokenizer_config`, and MPNet).
_ENCODERS = {"albert", "bert", "camembert", "distilbert", "mpnet", "roberta", "xlm-roberta", "xlnet"}
# Models round their vocabulary up, by 2 % at most among those that are in use.
_LEAST_KNOWN = 0.9


def check_model(model: Model, weights: bool = True) -> str:
    """Tokenizer, pooling and weights are whole and of one model; without `weights` the last two are a server's.

    Raises Unwell, or Doubtful for what a model may lack.
    """
    config = _read(model.path / "config.json")
    tokenizer = ModelTokenizer(model.path)
    known, size = tokenizer.vocabulary, config.get("vocab_size")
    least = max(known, tokenizer.largest_id + 1)
    size = size if isinstance(size, int) else least
    if least > size:
        raise Unwell(
            f"the tokenizer in {model.path} has {known:,} tokens, the last of them {tokenizer.largest_id:,}, and the "
            f"model {size:,}: they are of different models",
            _AGAIN,
        )
    found = f"{model.name}: {model.dimensions} dimensions, window of {model.window:,} tokens, {known:,} tokens known"
    doubts = []
    if known < _LEAST_KNOWN * size:
        doubts.append(f"the model has {size:,} tokens, so that the tokenizer may be another model's")
    if weights:
        for file in _shards(model.path):
            _header(file)
        found += f", {parameters(model.path) / 1e6:,.0f} million parameters"
        doubts += _doubts_of_pooling(model.path, str(config.get("model_type", "")))
    if doubts:
        raise Doubtful("; ".join([found, *doubts]), f"if the model has what is missing here, {_AGAIN}")
    return found


def _doubts_of_pooling(path: Path, architecture: str) -> list[str]:
    """What cannot be told of how vectors are pooled. Raises Unwell if it is told to be in files that are missing."""
    if not (path / _MODULES).is_file():
        others = [name for name in _BESIDE if (path / name).exists()]
        if others:
            raise Unwell(f"{path} lacks {_MODULES}, though it has {', '.join(others)}: {_OTHERWISE}", _AGAIN)
        return [f"no {_MODULES} says how its vectors are pooled: the engine does what is usual for {architecture}"]
    modules = _read(path / _MODULES)
    if not isinstance(modules, list) or not all(isinstance(one, dict) for one in modules):
        raise Unwell(f"{path / _MODULES} is no list of modules", _AGAIN)
    doubts = []
    kinds = [str(one.get("type", "")).rpartition(".")[2] for one in modules]
    for kind, module in zip(kinds, modules, strict=True):
        if module.get("path") and kind != "Normalize":
            _check_module(path, str(module["path"]), kind)
    if "Pooling" not in kinds:
        doubts.append(f"{_MODULES} names no pooling: the engine does what is usual for {architecture}")
    if architecture in _ENCODERS and not (path / _LENGTH).is_file():
        doubts.append(f"no {_LENGTH} says how long its texts may be: all of its window is used")
    return doubts


def _check_module(path: Path, folder: str, kind: str) -> None:
    needed = [f"{folder}/config.json"]
    if kind == "Dense" and not (path / folder / "pytorch_model.bin").is_file():
        needed.append(f"{folder}/model.safetensors")
    missing = [name for name in needed if not (path / name).is_file()]
    if missing:
        raise Unwell(f"{path} lacks {', '.join(missing)}, which {_MODULES} names: {_OTHERWISE}", _AGAIN)
    # One of `pooling_mode_…` is true, or `pooling_mode` is its name.
    said = _object(_read(path / folder / "config.json"))
    if kind == "Pooling" and not any(name.startswith("pooling_mode") and value for name, value in said.items()):
        raise Unwell(f"{path / folder / 'config.json'} names no way of pooling", _AGAIN)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Unwell(f"{path} is not JSON: {error}", _AGAIN) from error


def parameters(path: Path) -> int:
    """How many numbers the safetensors files under `path` hold."""
    tensors = [tensor for file in path.glob("*.safetensors") for tensor in _header(file).values()]
    return sum(math.prod(tensor["shape"]) for tensor in tensors)


def _shards(path: Path) -> list[Path]:
    """The weights' files, all of those that the index names."""
    index = path / "model.safetensors.index.json"
    files = sorted(path.glob("*.safetensors"))
    if index.is_file():
        names = _object(_object(_read(index)).get("weight_map"))
        if not names or not all(isinstance(name, str) for name in names.values()):
            raise Unwell(f"{index} does not name the files of the weights", _AGAIN)
        named = {path / name for name in names.values()}
        missing = sorted(file.name for file in named if not file.is_file())
        if missing:
            raise Unwell(f"{path} lacks {', '.join(missing)}, which {index.name} names", _AGAIN)
        files = sorted(named)
    return files


def _header(file: Path) -> dict[str, dict[str, Any]]:
    """The tensors that a safetensors file describes: 8 bytes of length, as much JSON, then the numbers.

    Raises Unwell if the file is shorter or longer than it says.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size:
                raise ValueError("its header would be longer than the file")
            header: dict[str, dict[str, Any]] = _object(json.loads(stream.read(length)))
        if not header:
            raise ValueError("its header describes no tensors")
        header.pop("__metadata__", None)
        end = 8 + length + max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
        for tensor in header.values():
            math.prod(map(int, tensor["shape"]))
    except (ValueError, KeyError, IndexError, TypeError, struct.error) as error:
        raise Unwell(f"{file} is no safetensors file, or only the beginning of one: {error}", _AGAIN) from error
    if size != end:
        raise Unwell(f"{file} has {size:,} bytes of {end:,}", _AGAIN)
    return header
