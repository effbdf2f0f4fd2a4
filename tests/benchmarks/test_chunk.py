"""Chunks of real documents: how fast they are cut beside the bare tokenizer, and whether they are cut where one would.

A document is rich in headings, pages, or lines of a log.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pipeline.chunk import ChunkRules, chunk_document
from pipeline.embed.model import Model
from pipeline.embed.tokenizer import ModelTokenizer
from pipeline.parse import parse
from pipeline.types import Document, document_id
from tests.benchmarks.test_speed import show

ROUNDS = 3
LIMIT = 256
FILES = ("office/handbook-872p.docx", "office/pdf/DA-619p.pdf", "logs/HDFS_2k.log", "office/example-10k.html")


def document(corpora: Path, name: str) -> Document:
    parsed = parse((corpora / name).read_bytes(), name)
    return Document(
        document_id(name), name, "", parsed.media_type, parsed.title, parsed.text, parsed.blocks, parsed.metadata
    )


@pytest.mark.parametrize("name", FILES)
def test_chunking_beside_the_bare_tokenizer(
    name: str, corpora: Path, minilm: Model, minilm_tokenizer: ModelTokenizer
) -> None:
    """A text is cut into exact chunks in little more time than the library takes to tokenize it once.

    At first in twice that at most, which also pays for words that were never seen; then in less.
    """
    whole, rules = document(corpora, name), ChunkRules(LIMIT)
    bare = Tokenizer.from_str(minilm_tokenizer.serialized)
    spent: dict[str, list[float]] = {"bare": [], "first": [], "again": []}
    for _ in range(ROUNDS):
        fresh = ModelTokenizer(minilm.path)
        for what, call in (
            ("bare", lambda: [bare.encode(paragraph).ids for paragraph in whole.text.split("\n\n")]),
            ("first", lambda tokenizer=fresh: chunk_document(whole, tokenizer, rules)),
            ("again", lambda tokenizer=fresh: chunk_document(whole, tokenizer, rules)),
        ):
            started = time.process_time()
            call()
            spent[what].append(time.process_time() - started)
    tokens = sum(len(chunk.token_ids) for chunk in chunk_document(whole, minilm_tokenizer, rules))
    best = {what: min(each) for what, each in spent.items()}
    show(
        file=name,
        tokens=tokens,
        tokens_per_cpu_second={what: round(tokens / seconds) for what, seconds in best.items()},
        over_bare={what: round(best["bare"] / seconds, 2) for what, seconds in best.items()},
    )
    assert best["first"] <= 2.0 * best["bare"]
    assert best["again"] <= best["bare"]


@pytest.mark.parametrize("limit", [256, 512])
def test_a_handbook_is_cut_where_its_author_did(limit: int, corpora: Path, minilm_tokenizer: ModelTokenizer) -> None:
    """Of a handbook rich in headings ≥ 95 % of chunks start at a block or row, none cuts a row, mean fill is ≥ 80 %.

    A row that no chunk could hold is cut, as there is no other way.
    """
    whole = document(corpora, "office/handbook-872p.docx")
    chunks = chunk_document(whole, minilm_tokenizer, ChunkRules(limit))
    starts = {block.start for block in whole.blocks}
    cut = 0
    for table in (block for block in whole.blocks if block.kind == "table"):
        at = table.start
        for row in whole.text[table.start : table.end].split("\n"):
            starts.add(at)
            inside = any(at < chunk.start < at + len(row) for chunk in chunks)
            cut += inside and len(minilm_tokenizer.encode(row).ids) <= limit
            at += len(row) + 1
    structural = sum(chunk.start in starts for chunk in chunks) / len(chunks)
    fill = sum(len(chunk.token_ids) for chunk in chunks[:-1]) / limit / (len(chunks) - 1)
    show(
        limit=limit,
        chunks=len(chunks),
        headings=sum(block.kind == "heading" for block in whole.blocks),
        structural_starts=round(structural, 4),
        rows_cut=cut,
        mean_fill=round(fill, 3),
    )
    assert structural >= 0.95
    assert cut == 0
    assert fill >= 0.8
