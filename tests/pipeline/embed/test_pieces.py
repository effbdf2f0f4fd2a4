"""A text put together from pieces has the very tokens that the tokenizer makes of it as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Regex as Words

from pipeline.embed import pieces
from pipeline.embed.tokenizer import ModelTokenizer

QWEN, LLAMA = pieces._WORDS
END = "<|end|>"

# What could make a tokenizer see past a space: marks, controls, joiners, wide and odd spaces, signs, added tokens.
_ATOMS = st.one_of(
    st.sampled_from(
        [" ", "  ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000", "\u0085", "\u001c", "\u200b", "\u0301", "\u0345",
         "e\u0301", "\u093f", "the", "The", "pump", "can't", "We'LL", "it's", "1234567", "0.5", "x=1;", "...", "?!",
         "Größe", "İstanbul", "ΣΑΣ", "ﬁle", "日本語", "שלום", "한국어", "👍🏽", "\ufffd", "\x00", "\x7f", "##ing",
         "<tool>", "<tool", "[SEP]", "[CLS]", END, "a" * 120]
    ),
    st.text(max_size=6),
    st.characters(min_codepoint=32, max_codepoint=126),
)  # fmt: skip
TEXTS = st.lists(_ATOMS, max_size=40).map("".join)


def byte_level(folder: Path, words: str | None, **named: Any) -> Path:
    """A byte-level BPE tokenizer as Qwen's or Llama's (`words`), or GPT-2's (None)."""
    tokenizer = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words is None, **named)
    if words is None:
        tokenizer.pre_tokenizer = level
    else:
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Words(words), "isolated"), level])
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    texts = ["The pump is on the left, the valve isn't; it's 1234 bar.\n\n  We can't see them. "] * 9
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, tokenizer.token_to_id(END))]
    )
    return save(folder, tokenizer)


def save(folder: Path, tokenizer: Tokenizer) -> Path:
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, minilm: Any, tiny_folder: Path) -> dict[str, Path]:
    """Tokenizers that can be taken apart."""
    base = tmp_path_factory.mktemp("tokenizers")
    return {
        "bert": minilm.path,
        "tiny": tiny_folder,
        "gpt2": byte_level(base / "gpt2", None),
        "qwen": byte_level(base / "qwen", QWEN),
        "llama": byte_level(base / "llama", LLAMA),
    }


def bare(folder: Path) -> Tokenizer:
    """The library's own tokenizer, set up as ours."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def whole(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[int]]:
    """What the library makes of a text: ids, and where the tokens of the text start."""
    encoding = tokenizer.encode(text)
    tokens = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
    return encoding.ids, [start for (start, _), special in tokens if not special]


def joined(tokenizer: ModelTokenizer, text: str) -> tuple[list[int], list[int]]:
    """What we make of it."""
    encoding = tokenizer.encode(text)
    return encoding.ids, encoding.starts.tolist()


@pytest.mark.parametrize("which", ["bert", "tiny", "gpt2", "qwen", "llama"])
def test_pieces_are_exact(which: str, folders: dict[str, Path]) -> None:
    """Whatever the text, ids and positions are those of the tokenizer that sees it whole; it is taken apart, though."""
    folder = folders[which]
    assert pieces.parting_of(json.loads((folder / "tokenizer.json").read_text())) is not None
    ours, theirs = ModelTokenizer(folder), bare(folder)

    @settings(max_examples=200, deadline=None)
    @given(TEXTS)
    def hold(text: str) -> None:
        assert joined(ours, text) == whole(theirs, text)

    hold()


@pytest.mark.parametrize("which", ["bert", "qwen"])
def test_real_texts_are_exact(which: str, folders: dict[str, Path], corpora: Path) -> None:
    """Logs, prose and markup that nobody wrote for this come out as the tokenizer has them."""
    ours, theirs = ModelTokenizer(folders[which]), bare(folders[which])
    for name in ("logs/Hadoop_2k.log", "office/norwich-city.txt", "office/example-10k.html"):
        text = (corpora / name).read_text(encoding="utf-8", errors="replace")[:100_000]
        assert joined(ours, text) == whole(theirs, text), name


def test_memory_is_bounded(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ever new words no more than so many are remembered, and no long ones; the tokens are right all the same."""
    monkeypatch.setattr(pieces, "_MOST", 10)
    tokenizer = ModelTokenizer(folders["qwen"])
    text = " ".join(f"word{number}" for number in range(100)) + " " + "long" * 99
    assert tokenizer.encode(text).ids == whole(bare(folders["qwen"]), text)[0]
    assert tokenizer._pieces is not None
    assert 0 < len(tokenizer._pieces._others) <= 10


def changed(folder: Path, target: Path, **parts: Any) -> Path:
    """A copy of a tokenizer with other parts."""
    file = json.loads((folder / "tokenizer.json").read_text())
    file.update(parts)
    target.mkdir()
    (target / "tokenizer.json").write_text(json.dumps(file))
    return target


def added(content: str = "<tool>", **named: bool) -> list[dict[str, Any]]:
    token = {"id": 601, "content": content, "single_word": False, "lstrip": False, "rstrip": False}
    return [{**token, "normalized": False, "special": False, **named}]


@pytest.mark.parametrize(
    "parts",
    [
        {"added_tokens": added("two words")},
        {"added_tokens": added(lstrip=True)},
        {"added_tokens": added(single_word=True)},
        {"normalizer": {"type": "Prepend", "prepend": "▁"}},
        {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}},
        {"pre_tokenizer": None},
        {"post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
    ],
)
def test_others_are_left_whole(parts: dict[str, Any], folders: dict[str, Path], tmp_path: Path) -> None:
    """A tokenizer that may look past a space gets each text as it is, and its tokens are as exact."""
    folder = changed(folders["gpt2"], tmp_path / "other", **parts)
    assert pieces.parting_of(json.loads((folder / "tokenizer.json").read_text())) is None
    text = "The pump  is on, two words <tool> can't\n\n see."
    assert joined(ModelTokenizer(folder), text) == whole(bare(folder), text)
