"""What 8-bit matrices do to real vectors, worked out on any machine: where `quality.py` has its limits from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Recipe
from pipeline.embed.model import load_model
from pipeline.embed.quality import compare
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.types import Vectors
from tests.benchmarks.test_speed import show
from tests.cranfield import to_files

TEXTS = 264


def test_rounding_to_fp8(corpora: Path, tmp_path: Path) -> None:
    """MiniLM's matrices and their inputs rounded to e4m3, one scale a tensor as the engine does, stay within them."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModel

    path = load_model(Recipe()).path
    tokenizer = ModelTokenizer(path)
    texts = [file.read_text() for file in sorted(to_files(corpora / "cranfield", tmp_path / "c").iterdir())]
    ids = [row for text in texts if len(row := tokenizer.encode(text).ids) <= 256][:TEXTS]
    largest = torch.finfo(torch.float8_e4m3fn).max

    def rounded(values: torch.Tensor) -> torch.Tensor:
        scale = values.abs().max().float() / largest
        return ((values.float() / scale).to(torch.float8_e4m3fn).float() * scale).to(values.dtype)

    def embedded(model: torch.nn.Module, rows: Sequence[Sequence[int]]) -> Vectors:
        with torch.inference_mode():
            states = [model(torch.tensor([row])).last_hidden_state[0].float().mean(dim=0) for row in rows]
        return np.stack([torch.nn.functional.normalize(state, dim=0).numpy() for state in states])

    exact, single = (
        AutoModel.from_pretrained(str(path), dtype=kind).eval() for kind in (torch.bfloat16, torch.float32)
    )
    vectors = embedded(exact, ids)
    show(bf16_beside_fp32=asdict(compare(embedded(single, ids), vectors)))
    for module in exact.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = rounded(module.weight.data)
            module.register_forward_pre_hook(lambda _, inputs: (rounded(inputs[0]), *inputs[1:]))
    found = compare(vectors, embedded(exact, ids))
    show(fp8_beside_bf16=asdict(found))
    assert found.suffices
