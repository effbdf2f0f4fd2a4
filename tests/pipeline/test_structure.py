"""Chunks of a document that is rich in headings: cut where its author did, and well filled."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from pipeline.chunk import ChunkRules, chunk_document
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.types import Block, Document, document_id

WORDS = "pump valve primer season start pressure gauge oil filter seal bearing check turn open close clean note".split()


def handbook(seed: int, sections: int = 120) -> Document:
    """Chapters of sections of paragraphs, lists and tables, of all lengths; a blank line between blocks."""
    chance = random.Random(seed)
    text, blocks = "", []

    def say(words: int) -> str:
        return " ".join(chance.choices(WORDS, k=words)).capitalize() + "."

    def add(kind: str, content: str, level: int = 0) -> None:
        nonlocal text
        text += "\n\n" if text else ""
        blocks.append(Block(kind, len(text), len(text) + len(content), level))
        text += content

    for number in range(sections):
        level = chance.choice([1, 2, 2, 3, 3, 3])
        add("heading", f"{say(3)[:-1]} {number}", level)
        for _ in range(chance.randint(0, 5)):
            kind = chance.choice(["paragraph"] * 4 + ["list", "table"])
            if kind == "paragraph":
                add("paragraph", " ".join(say(chance.randint(4, 20)) for _ in range(chance.randint(1, 7))))
            elif kind == "list":
                for _ in range(chance.randint(2, 8)):
                    add("list_item", say(chance.randint(2, 15)), 1)
            else:
                columns = chance.randint(2, 6)
                rows = (" | ".join(say(2) for _ in range(columns)) for _ in range(chance.randint(2, 60)))
                add("table", "\n".join(rows))
    return Document(document_id("memory://h"), "memory://h", "h", "text/plain", "T", text, blocks, {})


@pytest.mark.parametrize("seed", range(3))
def test_chunks_of_a_handbook_follow_its_structure_and_are_filled(minilm_tokenizer: ModelTokenizer, seed: int) -> None:
    """Of ten chunks nine and a half start where a block or a row does; no row is cut; a chunk is filled to 80 %."""
    document = handbook(seed)
    limit = 256
    chunks = chunk_document(document, minilm_tokenizer, ChunkRules(limit))
    starts = {block.start for block in document.blocks}
    rows = set()
    for block in document.blocks:
        if block.kind == "table":
            at = block.start
            for row in document.text[block.start : block.end].split("\n"):
                rows.add(at)
                assert not any(at < chunk.start < at + len(row) for chunk in chunks)
                at += len(row) + 1
    assert sum(chunk.start in starts | rows for chunk in chunks) >= 0.95 * len(chunks)
    filled = [len(chunk.token_ids) / limit for chunk in chunks[:-1]]
    assert sum(filled) / len(filled) >= 0.8


def test_packing_recovers_from_an_insertion(minilm_tokenizer: ModelTokenizer) -> None:
    """A paragraph put in front of a long document changes few of its chunks: those behind end where they did."""
    before = handbook(7)
    new = "A paragraph that was not there before, of a dozen words or so."
    shift = len(new) + 2
    moved = [Block(b.kind, b.start + shift, b.end + shift, b.level) for b in before.blocks]
    after = Document(
        before.document_id, before.uri, "i", "text/plain", "T", f"{new}\n\n{before.text}",
        [Block("paragraph", 0, len(new)), *moved], {},
    )  # fmt: skip
    rules = ChunkRules(256)
    old = {chunk.record_id for chunk in chunk_document(before, minilm_tokenizer, rules)}
    now = [chunk.record_id for chunk in chunk_document(after, minilm_tokenizer, rules)]
    changed = [identity not in old for identity in now]
    assert sum(changed) <= 0.2 * len(now)
    assert not any(one and not other for other, one in pairwise(changed[len(changed) // 2 :]))


def test_a_table_is_cut_between_its_rows_only(minilm_tokenizer: ModelTokenizer) -> None:
    """Even rows that fill more than half of a chunk are whole; one that is longer than a chunk is not left out."""
    row = " ".join(["pump"] * 40)
    giant = " ".join(["valve"] * 200)
    text = "\n".join([row, row, giant, row])
    document = Document(
        document_id("m://t"), "m://t", "h", "text/csv", "T", text, [Block("table", 0, len(text))], {}
    )  # fmt: skip
    chunks = chunk_document(document, minilm_tokenizer, ChunkRules(64))
    assert [chunk.text for chunk in chunks][:2] == [row, row]
    assert chunks[-1].text.endswith(row)
    assert "".join("".join(chunk.text.split()) for chunk in chunks) == "".join(text.split())


def test_a_chunk_begins_where_a_log_pauses(minilm_tokenizer: ModelTokenizer) -> None:
    """The start of a run of events is preferred to that of just any event; its facts are those of its events."""
    text, blocks = "", []
    for number in range(12):
        line = f"event {number} " + "pump " * 10
        text += "\n" if text else ""
        details = {
            "time_from": f"2026-01-01T00:00:{number:02}+00:00", "time_to": f"2026-01-01T00:00:{number:02}+00:00",
            "levels": ["error" if number == 1 else "info"], "templates": ["event <*> pump"], "events": 1,
        }  # fmt: skip
        blocks.append(Block("log", len(text), len(text) + len(line), details={**details, "begins": number == 5}))
        text += line
    document = Document(document_id("m://l"), "m://l", "h", "text/x-log", "T", text, blocks, {})
    first, second, *_ = chunk_document(document, minilm_tokenizer, ChunkRules(76))
    assert second.text.startswith("event 5")
    assert first.details == {
        "time_from": "2026-01-01T00:00:00+00:00", "time_to": "2026-01-01T00:00:04+00:00",
        "levels": ["info", "error"], "templates": ["event <*> pump"], "events": 5,
    }  # fmt: skip
