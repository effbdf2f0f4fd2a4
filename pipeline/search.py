"""Asking a collection: by meaning, by words, or both, fused by reciprocal rank; the same on every store."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from textwrap import shorten
from typing import Literal, get_args

from pipeline.embed.gate import faults
from pipeline.errors import Terminal, UsageError
from pipeline.ports import VectorStore
from pipeline.types import Condition, Hit, Vectors

Mode = Literal["hybrid", "dense", "bm25"]
MODES: tuple[Mode, ...] = get_args(Mode)

#: The constant of reciprocal-rank fusion (Cormack, Clarke, Büttcher: SIGIR 2009): score = Σ 1 / (60 + rank).
RRF_K = 60

#: Each half of a hybrid search goes this deep, or as deep as asked: what is 90th in both beats what is 10th in one.
CANDIDATES = 100

_WORD = re.compile(r"\w+")
_WORD_OR_SPACE = bytes(ord("w") if _WORD.match(chr(byte)) else ord(" ") for byte in range(256))  # of ASCII
_CONDITION = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*(!=|>=|<=|=|>|<)\s*(.*?)\s*", re.DOTALL)
# Words of questions that say nothing of what is asked; marking them would hide the others.
_UNMARKED = frozenset(
    "a an and are as at be by can do does for from how i if in is it its must of on or that the this to was what when "
    "where which who why will with".split()
)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def search(
    store: VectorStore,
    text: str,
    k: int,
    mode: Mode,
    conditions: Sequence[Condition],
    embed_query: Callable[[str], Vectors],
) -> list[Hit]:
    """The `k` best chunks, best first. `embed_query` (gives shape (dimensions,)) is called unless mode is bm25."""
    if mode == "bm25":
        return store.search_bm25(text, k, conditions)
    vector = embed_query(text)
    if mode == "dense":
        return store.search_dense(vector, k, conditions)
    depth = max(k, CANDIDATES)
    return fuse([store.search_dense(vector, depth, conditions), store.search_bm25(text, depth, conditions)])[:k]


def sound(vectors: Vectors, queries: Sequence[str], dimensions: int) -> Vectors:
    """`vectors`, if they are some to ask a store with: it would answer to others with nothing, or with anything.

    Raises Terminal with the first query that has none, and why.
    """
    for row, fault in faults(vectors, dimensions).items():
        raise Terminal(
            f"the query {shorten(queries[row], 80)!r} has no vector to search with: {fault}. Try another engine "
            "version, server or dtype; --mode bm25 searches by words alone"
        )
    return vectors


def fuse(rankings: Sequence[Sequence[Hit]]) -> list[Hit]:
    """Reciprocal-rank fusion, best first; ties in order of record id, so that a search repeats exactly."""
    scores: dict[str, float] = {}
    hits: dict[str, Hit] = {}
    for ranking in rankings:
        for rank, hit in enumerate(ranking, start=1):
            scores[hit.record_id] = scores.get(hit.record_id, 0.0) + 1 / (RRF_K + rank)
            hits[hit.record_id] = hit
    order = sorted(scores, key=lambda record: (-scores[record], record))
    return [replace(hits[record], score=scores[record]) for record in order]


def parse_filter(text: str) -> Condition:
    """`media_type=application/pdf`, `page>=3`, `metadata.author!=Ada`: one condition; quotes force a string.

    Raises UsageError showing the form.
    """
    match = _CONDITION.fullmatch(text)
    if match is None or not match[3]:
        raise UsageError(f"the filter {text!r} is not of the form FIELD=VALUE (or !=, <, <=, >, >=)")
    name, operator, value = match.groups()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return Condition(name, operator, value[1:-1])
    if value in ("true", "false"):
        return Condition(name, operator, value == "true")
    return Condition(name, operator, float(value) if _NUMBER.fullmatch(value) else value)


def count_words(text: str) -> int:
    """The length of a text as BM25's average counts it: runs of letters, digits and underscores."""
    if text.isascii():  # where one begins, which takes a seventeenth of looking for each: every chunk is counted
        return (b" " + text.encode().translate(_WORD_OR_SPACE)).count(b" w")
    return len(_WORD.findall(text))


def snippet(text: str, query: str, width: int, mark: Callable[[str], str]) -> str:
    """The stretch of `text` (one line, about `width` characters) richest in the query's words, each given to `mark`."""
    flat = " ".join(text.split())
    stems = {_stem(word) for word in _WORD.findall(query.casefold()) if word not in _UNMARKED}
    found = [match for match in _WORD.finditer(flat) if _stem(match[0].casefold()) in stems]
    start = 0
    if found and len(flat) > width:
        best = max(found, key=lambda at: sum(at.start() <= m.start() < at.start() + width for m in found))
        start = max(0, min(best.start() - width // 6, len(flat) - width))
        start = flat.rfind(" ", 0, start) + 1 if start else 0
    end = len(flat) if len(flat) <= start + width else max(flat.rfind(" ", start, start + width), start + width // 2)
    pieces, at = [], start
    for match in found:
        if start <= match.start() and match.end() <= end:
            pieces += [flat[at : match.start()], mark(match[0])]
            at = match.end()
    return ("… " if start else "") + "".join(pieces) + flat[at:end] + (" …" if end < len(flat) else "")


def _stem(word: str) -> str:
    """Enough of a word to see that "testing" and "tested" are one, for marking only."""
    return re.sub(r"(ing|ed|es|s|ly)$", "", word) if len(word) > 4 else word
