"""Models of published shapes without their weights, for measuring what arithmetic costs; and how much of it there is.

A model folder as the hub would give it, but for the weights, which vLLM makes up (`load_format="dummy"`), and the
tokenizer, a BPE of 150,000 words trained here on made-up text. Made once, kept in a cache folder.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.embed.model import MAX_WINDOW, Model
from pipeline.errors import MissingExtra

END = "<|endoftext|>"
VOCABULARY = 150_000

#: Dense bf16 FLOP/s of one H100 or H200 SXM: NVIDIA's data sheet, and what the largest matrix products reach on one.
PEAK_FLOPS = 989e12
REACHED_FLOPS = 790e12

_SYLLABLES = [
    a + b for a in "b c d f g h k l m n p r s t v w st tr pl gr ch sh".split() for b in "a e i o u ea ou".split()
]


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder's dimensions, as in the `config.json` that Qwen published for its embedding models."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    head: int = 128

    @property
    def matrix_parameters(self) -> int:
        """Weights that every token is multiplied with: attention and MLP; the token table is only looked up."""
        attention = self.hidden * self.head * (2 * self.heads + 2 * self.key_value_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    def flops(self, lengths: Sequence[int]) -> float:
        """What embedding texts of so many tokens takes at least: 2 · parameters · tokens, and causal attention.

        Attention is a product of n × n with n × (heads · head) for the scores and one for the values, of which the
        causal half counts: 2 · n² · heads · head a layer (Kaplan et al. 2020, arXiv:2001.08361, table 1; Dao 2023,
        arXiv:2307.08691, section 4.1).
        """
        tokens = np.asarray(lengths, np.float64)
        attention = 2 * self.layers * self.heads * self.head * float((tokens**2).sum())
        return 2 * self.matrix_parameters * float(tokens.sum()) + attention


SHAPES = {
    "qwen3-0.6b": Shape(hidden=1024, intermediate=3072, layers=28, heads=16, key_value_heads=8),
    "qwen3-4b": Shape(hidden=2560, intermediate=9728, layers=36, heads=32, key_value_heads=8),
    "qwen3-8b": Shape(hidden=4096, intermediate=12288, layers=36, heads=32, key_value_heads=8),
}


def dummy_model(name: str, quantization: str | None = None, cache: Path | None = None) -> Model:
    """The model of a shape (a key of SHAPES), made in `cache` if it is not there yet (a minute)."""
    shape = SHAPES[name]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = (cache or base / "corpusvec" / "shapes") / name
    if not (folder / "config.json").exists():
        _write(folder, shape)
    return Model(
        path=folder, name=f"{name} (dummy weights)", identity=f"dummy {name}", window=MAX_WINDOW,
        native_dimensions=shape.hidden, dimensions=shape.hidden, dtype="bfloat16", query_prompt="", document_prompt="",
        quantization=quantization,
    )  # fmt: skip


def made_up_words(count: int, seed: int = 0) -> list[str]:
    """Different words of two to four syllables, the same for the same seed."""
    chance = random.Random(seed)
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(chance.choices(_SYLLABLES, k=chance.randint(2, 4)))] = None
    return list(words)


def _write(folder: Path, shape: Shape) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = folder.parent / f"tokenizer-{VOCABULARY}.json"
    if not tokenizer.exists():
        _train(tokenizer)
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    _write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "pad_token": END, "model_max_length": 131_072,
    })  # fmt: skip
    _write_json(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ])  # fmt: skip
    (folder / "1_Pooling").mkdir(exist_ok=True)
    _write_json(folder / "1_Pooling" / "config.json", {
        "word_embedding_dimension": shape.hidden, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False,
        "pooling_mode_lasttoken": True, "include_prompt": True,
    })  # fmt: skip
    # The last file: whoever finds it finds the others.
    _write_json(folder / "config.json", {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "attention_bias": False,
        "hidden_size": shape.hidden, "intermediate_size": shape.intermediate, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.key_value_heads, "head_dim": shape.head,
        "max_position_embeddings": MAX_WINDOW, "vocab_size": VOCABULARY, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000,
        "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
        "attention_dropout": 0.0, "initializer_range": 0.02, "use_cache": True,
    })  # fmt: skip


def _train(path: Path) -> None:
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    except ImportError as error:
        raise MissingExtra("measuring a shape", "cpu' or 'gpu") from error

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(_training_text(), trainer)
    end = processors.TemplateProcessing(single=f"$A {END}", pair=f"$A {END} $B {END}", special_tokens=[(END, 0)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), end])
    tokenizer.save(str(path))


def _training_text() -> Iterator[str]:
    """Lines of made-up words, the common ones more often, so that there is an order to merge in."""
    words = made_up_words(VOCABULARY)
    for repeat in range(1, 4):
        for first in range(0, len(words) // repeat, 20):
            yield " " + " ".join(words[first : first + 20])


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
