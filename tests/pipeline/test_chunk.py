"""Chunks are exact in tokens, lose nothing, and end where the text allows it."""

from __future__ import annotations

import uuid
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chunk import ChunkRules, chunk_document
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.errors import Rejected
from pipeline.types import _RECORDS, Block, Document, document_id, record_id

# Words of several scripts, emoji with joiners, skin tones and flags, accents as marks, and what costs many tokens.
_PIECES = st.one_of(
    st.sampled_from(
        ["pump", "valve", "and", "the", "Größe", "naïve", "日本語の文章。", "שלום עולם", "مرحبا بالعالم", "e\u0301",
         "👩‍👩‍👧", "👍🏽", "🇩🇪🇫🇷", "ﷺ", "a" * 70, "x=1;", "...", "?!", "\u200b", "<|endoftext|>", "[SEP]",
         "0.5", "मूल", "한국어"]
    ),
    st.text(max_size=12).filter(lambda text: "\x00" not in text),
)  # fmt: skip
_PARAGRAPHS = st.lists(
    st.tuples(
        st.sampled_from(["paragraph", "heading", "list_item", "code"]),
        st.integers(1, 4),
        st.lists(_PIECES, max_size=60),
    ),
    max_size=12,
)


def document_of(*blocks: tuple[str, int, str] | tuple[str, int, str, int]) -> Document:
    """A document of (kind, level, text[, page]) blocks, a blank line between them."""
    text, made = "", []
    for kind, level, content, *page in blocks:
        text += "\n\n" if text else ""
        made.append(
            Block(kind, len(text), len(text) + len(content), level if kind == "heading" else 0, *page or [None])
        )
        text += content
    return Document(document_id("memory://d"), "memory://d", "h", "text/plain", "T", text, made, {})


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Any document, blank ones included."""
    blocks = [(kind, level, " ".join(pieces)) for kind, level, pieces in draw(_PARAGRAPHS)]
    return document_of(*[block for block in blocks if block[2].strip()])


@pytest.mark.parametrize("which", ["minilm_tokenizer", "tiny_tokenizer"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_laws_hold_for_any_text_and_any_rules(
    which: str, request: pytest.FixtureRequest, data: st.DataObject
) -> None:
    """A chunk is its stretch of the text; every non-blank character is in one; none is over the limit; it repeats."""
    tokenizer: ModelTokenizer = request.getfixturevalue(which)
    document = data.draw(documents())
    limit = data.draw(st.integers(40, 200))
    rules = ChunkRules(
        limit,
        data.draw(st.integers(0, limit // 2)),
        data.draw(st.booleans()),
        data.draw(st.sampled_from(["", "passage: "])),
    )
    chunks = chunk_document(document, tokenizer, rules)
    covered = set()
    for number, chunk in enumerate(chunks):
        assert chunk.position == number
        assert chunk.text == document.text[chunk.start : chunk.end]
        assert chunk.text == chunk.text.strip() != ""
        seen = f"{rules.prompt}{chunk.context}\n{chunk.text}" if chunk.context else rules.prompt + chunk.text
        assert list(chunk.token_ids) == tokenizer.encode(seen).ids
        assert len(chunk.token_ids) <= limit
        covered.update(range(chunk.start, chunk.end))
    assert all(at in covered for at, character in enumerate(document.text) if not character.isspace())
    assert [chunk.start for chunk in chunks] == sorted({chunk.start for chunk in chunks})
    assert len({chunk.record_id for chunk in chunks}) == len(chunks)
    assert chunk_document(document, tokenizer, rules) == chunks


def test_a_text_that_fits_is_one_chunk(minilm_tokenizer: ModelTokenizer) -> None:
    """What fits the limit exactly is not split; one token more is."""
    text = "pump " * 30
    exact = len(minilm_tokenizer.encode(text.strip()).ids)
    document = document_of(("paragraph", 0, text.strip()))
    assert len(chunk_document(document, minilm_tokenizer, ChunkRules(exact))) == 1
    assert len(chunk_document(document, minilm_tokenizer, ChunkRules(exact - 1))) == 2


def test_chunks_end_before_headings_and_between_paragraphs(minilm_tokenizer: ModelTokenizer) -> None:
    """A chunk prefers to end before a heading, then between blocks, then after a sentence, then between words."""
    words = " ".join(["pump"] * 24)
    document = document_of(
        ("heading", 1, "One"),
        ("paragraph", 0, words),
        ("paragraph", 0, words),
        ("heading", 1, "Two"),
        ("paragraph", 0, words),
    )
    chunks = chunk_document(document, minilm_tokenizer, ChunkRules(64))
    assert [chunk.text.split()[0] for chunk in chunks] == ["One", "Two"]
    sentences = document_of(("paragraph", 0, "The pump is on. " * 20))
    assert all(chunk.text.endswith(".") for chunk in chunk_document(sentences, minilm_tokenizer, ChunkRules(40)))
    plain = document_of(("paragraph", 0, "pump valve " * 60))
    assert all(c.text.split()[-1] in ("pump", "valve") for c in chunk_document(plain, minilm_tokenizer, ChunkRules(40)))


def test_a_heading_is_not_left_behind_alone(minilm_tokenizer: ModelTokenizer) -> None:
    """A chunk does not end with a heading whose text starts the next one, when it could have ended before it."""
    document = document_of(
        ("paragraph", 0, " ".join(["pump"] * 40)), ("heading", 2, "Valves"), ("paragraph", 0, " ".join(["valve"] * 40))
    )
    first, second = chunk_document(document, minilm_tokenizer, ChunkRules(50))
    assert "Valves" not in first.text
    assert second.text.startswith("Valves")


def test_a_chunk_knows_its_section_and_pages(minilm_tokenizer: ModelTokenizer) -> None:
    """Section is the heading path at the chunk's start; pages are those it touches; its context repeats no heading."""
    document = document_of(
        ("heading", 1, "Pumps", 1), ("heading", 2, "Start", 1), ("paragraph", 0, "prime " * 40, 1),
        ("paragraph", 0, "run " * 30, 2), ("heading", 1, "Valves", 3), ("paragraph", 0, "turn " * 30, 3),
    )  # fmt: skip
    chunks = chunk_document(document, minilm_tokenizer, ChunkRules(60))
    assert [(" > ".join(c.section), c.context, c.page) for c in chunks] == [
        ("Pumps", "", 1), ("Pumps > Start", "Pumps > Start", 2), ("Valves", "", 3)
    ]  # fmt: skip
    whole = chunk_document(document, minilm_tokenizer, ChunkRules(256))[0]
    assert (whole.page, whole.page_to) == (1, 3)


def test_overlap_repeats_the_end_of_the_chunk_before(minilm_tokenizer: ModelTokenizer) -> None:
    """With overlap, a chunk starts inside the one before, at a sentence if one starts there, by no more than asked."""
    text = " ".join(f"Valve {number} is closed." for number in range(60))
    document = document_of(("paragraph", 0, text))
    chunks = chunk_document(document, minilm_tokenizer, ChunkRules(64, overlap=16))
    for before, after in pairwise(chunks):
        repeated = text[after.start : before.end]
        assert before.start < after.start < before.end < after.end
        assert repeated.startswith("Valve")
        assert len(minilm_tokenizer.encode(repeated).ids) - 2 <= 16


def test_no_cut_inside_a_grapheme(tiny_tokenizer: ModelTokenizer) -> None:
    """Emoji sequences, flags and accents stay whole, even in a text without any space."""
    for grapheme in ("👩‍👩‍👧", "👍🏽", "🇩🇪", "e\u0301", "क्षि"):
        document = document_of(("paragraph", 0, grapheme * 60))
        for chunk in chunk_document(document, tiny_tokenizer, ChunkRules(48)):
            assert len(chunk.text) % len(grapheme) == 0, grapheme


def test_one_edit_leaves_the_ids_of_the_other_chunks(minilm_tokenizer: ModelTokenizer) -> None:
    """A chunk whose text did not change keeps its id; equal chunks of a document are told apart by occurrence."""
    sections = [("heading", 1, f"Part {n}") for n in range(6)]
    bodies = [("paragraph", 0, f"step {n} " * 20) for n in range(6)]
    blocks = [block for pair in zip(sections, bodies, strict=True) for block in pair]
    before = chunk_document(document_of(*blocks), minilm_tokenizer, ChunkRules(64))
    blocks[5] = ("paragraph", 0, "something else entirely " * 15)
    after = chunk_document(document_of(*blocks), minilm_tokenizer, ChunkRules(64))
    assert len({c.record_id for c in before} & {c.record_id for c in after}) == len(before) - 1
    twice = chunk_document(
        document_of(
            ("heading", 1, "A"), ("paragraph", 0, "same " * 40), ("heading", 1, "A"), ("paragraph", 0, "same " * 40)
        ),
        minilm_tokenizer,
        ChunkRules(50),
    )
    assert len(twice) == 2
    assert twice[0].content_hash == twice[1].content_hash
    assert twice[0].record_id != twice[1].record_id


@given(st.text(), st.text(), st.integers(0, 99))
def test_ids_are_those_of_the_standard(document: str, content: str, occurrence: int) -> None:
    """An id is the uuid5 of its parts, which anybody can compute again."""
    expected = uuid.uuid5(_RECORDS, f"{document}\n{content}\n{occurrence}")
    assert record_id(document, content, occurrence) == str(expected)


def test_what_cannot_fit_is_refused(tiny_tokenizer: ModelTokenizer) -> None:
    """A character that alone needs more tokens than the limit is a rejection that says what to change."""
    document = document_of(("paragraph", 0, "👍"))
    with pytest.raises(Rejected, match="raise chunk_tokens"):
        chunk_document(document, tiny_tokenizer, ChunkRules(2))


def test_a_special_token_spelled_in_a_document_is_text(
    minilm_tokenizer: ModelTokenizer, tiny_tokenizer: ModelTokenizer
) -> None:
    """`[SEP]` or `<|endoftext|>` in a document is embedded as those characters, not obeyed as a control token."""
    for tokenizer, spelled in ((minilm_tokenizer, "[SEP]"), (tiny_tokenizer, "<|endoftext|>")):
        encoding = tokenizer.encode(f"before {spelled} after")
        inner = encoding.ids[1:-1]
        assert encoding.ids[-1] not in inner
