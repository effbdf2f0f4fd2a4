"""Measuring search: nDCG and recall over a judged collection in BEIR's layout."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import UsageError
from pipeline.types import Hit

#: How many chunks to ask for so that 100 documents are among them.
CHUNKS_ASKED = 300


@dataclass(frozen=True, slots=True)
class Judged:
    """A BEIR folder: where its corpus is, its queries by id, and gain by document id for each query."""

    corpus: Path
    queries: Mapping[str, str]
    judgements: Mapping[str, Mapping[str, float]]


def read_beir(folder: Path) -> Judged:
    """`corpus.jsonl`, `queries.jsonl` and `qrels/test.tsv`. Raises UsageError naming what is missing or malformed."""
    corpus, queries, qrels = folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / "test.tsv"
    for path in (corpus, queries, qrels):
        if not path.is_file():
            raise UsageError(f"{folder} is no BEIR folder: it has no {path.relative_to(folder)}")
    try:
        with queries.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines if line.strip()]
        texts = {str(row["_id"]): str(row["text"]) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{queries} is not in BEIR's form, a JSON object with _id and text a line: {error}") from error
    judgements: dict[str, dict[str, float]] = {}
    with qrels.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t"), start=1):
            try:
                query, document, gain = row
                judgements.setdefault(query, {})[document] = float(gain)
            except ValueError as error:
                if number > 1:  # the first line is a header
                    raise UsageError(f"{qrels}, line {number} is not: query, document, gain") from error
    return Judged(corpus, {query: texts[query] for query in texts if query in judgements}, judgements)


def ranked_documents(hits: Iterable[Hit]) -> list[str]:
    """The BEIR ids of the hits' documents, best first, each once: what follows `#` in a row's URI."""
    return list(dict.fromkeys(unquote(urlsplit(hit.uri).fragment) for hit in hits))


def ndcg(ranking: Sequence[str], gains: Mapping[str, float], k: int) -> float:
    """Normalized discounted cumulative gain at `k`, linear gain, discount log2(rank + 1), as trec_eval computes it."""
    ideal = sorted((gain for gain in gains.values() if gain > 0), reverse=True)[:k]
    best = sum(gain / math.log2(rank + 1) for rank, gain in enumerate(ideal, start=1))
    got = sum(max(0.0, gains.get(name, 0)) / math.log2(rank + 1) for rank, name in enumerate(ranking[:k], start=1))
    return got / best if best else 0.0


def recall(ranking: Sequence[str], gains: Mapping[str, float], k: int) -> float:
    """The part of the relevant documents (gain above 0) among the first `k`."""
    relevant = {name for name, gain in gains.items() if gain > 0}
    return len(relevant.intersection(ranking[:k])) / len(relevant) if relevant else 0.0


def score(rankings: Mapping[str, Sequence[str]], judgements: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Mean nDCG@10 and recall@100 over the queries that have a relevant document."""
    judged = [query for query in rankings if any(gain > 0 for gain in judgements[query].values())]
    count = max(1, len(judged))
    return {
        "ndcg@10": sum(ndcg(rankings[query], judgements[query], 10) for query in judged) / count,
        "recall@100": sum(recall(rankings[query], judgements[query], 100) for query in judged) / count,
    }
