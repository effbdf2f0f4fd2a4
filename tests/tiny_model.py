"""A Qwen3-architecture embedding model small enough to make in a test: two layers, random weights, a 32k window."""

from __future__ import annotations

import json
from pathlib import Path

END = "<|endoftext|>"

_TEXTS = [
    "The quick brown fox jumps over the lazy dog, again and again, while the river runs to the sea.",
    "Every night the pump is checked, the valve is closed and the pressure of the line is written down.",
    "Größe, façade, naïve, Ελληνικά, русский язык, עברית, العربية, 日本語の文章、中文句子。한국어 문장.",
    "def main(): return {key: value for key, value in items if value is not None}  # 0123456789",
    "2026-01-01T00:00:00Z ERROR worker-7 connection refused: retrying in 5 s (attempt 3 of 10)",
]


def make_tiny_model(folder: Path, vocabulary: int = 1000, layers: int = 2, hidden: int = 256) -> Path:
    """Write config, tokenizer, weights and prompts into `folder`; the same arguments give the same model."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(_TEXTS * 4, trainer)
    end = tokenizer.token_to_id(END)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"$A {END}", pair=f"$A {END} $B {END}", special_tokens=[(END, end)]),
        ]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "model_max_length": 131_072,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(names), encoding="utf-8")

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=hidden, intermediate_size=2 * hidden, head_dim=64,
        num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32_768,
        eos_token_id=end, bos_token_id=end, tie_word_embeddings=True, dtype="float32",
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    pooling = {
        "word_embedding_dimension": hidden, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False,
        "pooling_mode_lasttoken": True, "include_prompt": True,
    }  # fmt: skip
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    prompts = {"prompts": {"query": "Instruct: Find what answers the query\nQuery:", "document": ""}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    return folder
