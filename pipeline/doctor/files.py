"""A model's folder: every file there, whole, and fitting the others."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

from pipeline.doctor.diagnosis import Unwell
from pipeline.embed.model import Model
from pipeline.embed.tokenizer import ModelTokenizer

_AGAIN = "copy or download the model again"


def check_model(model: Model, weights: bool = True) -> str:
    """Tokenizer and weights are whole and of one model; without `weights` these are a server's."""
    config = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
    vocabulary = ModelTokenizer(model.path).vocabulary
    if vocabulary > int(config.get("vocab_size", vocabulary)):
        raise Unwell(
            f"the tokenizer in {model.path} has {vocabulary:,} tokens, the model {config['vocab_size']:,}: they are of "
            "different models",
            _AGAIN,
        )
    found = (
        f"{model.name}: {model.dimensions} dimensions, window of {model.window:,} tokens, {vocabulary:,} tokens known"
    )
    if not weights:
        return found
    for file in _shards(model.path):
        _header(file)
    return f"{found}, {parameters(model.path) / 1e6:,.0f} million parameters"


def parameters(path: Path) -> int:
    """How many numbers the safetensors files under `path` hold."""
    tensors = [tensor for file in path.glob("*.safetensors") for tensor in _header(file).values()]
    return sum(math.prod(tensor["shape"]) for tensor in tensors)


def _shards(path: Path) -> list[Path]:
    """The weights' files, all of those that the index names."""
    index = path / "model.safetensors.index.json"
    files = sorted(path.glob("*.safetensors"))
    if index.is_file():
        named = {path / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
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
            header: dict[str, dict[str, Any]] = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        end = 8 + length + max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise Unwell(f"{file} is no safetensors file, or only the beginning of one: {error}", _AGAIN) from error
    if size != end:
        raise Unwell(f"{file} has {size:,} bytes of {end:,}", _AGAIN)
    return header
