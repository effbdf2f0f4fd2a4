"""Retrieval is measured as the field measures it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from pipeline.errors import UsageError
from pipeline.evaluate import ndcg, read_beir, recall, score


@given(st.lists(st.integers(0, 4), min_size=2, max_size=20).filter(any), st.randoms(use_true_random=False))
def test_ndcg_is_scikit_learns(gains: list[int], chance: object) -> None:
    """Over a full ranking without ties, nDCG@10 equals an independent implementation with linear gain."""
    names = [str(number) for number in range(len(gains))]
    order = list(names)
    chance.shuffle(order)  # type: ignore[attr-defined]
    scores = np.array([[-order.index(name) for name in names]], float)
    expected = ndcg_score(np.array([gains]), scores, k=10)
    assert ndcg(order, dict(zip(names, gains, strict=True)), 10) == pytest.approx(expected)


def test_by_hand() -> None:
    """One relevant document at rank 2; two of four found; a query without relevant documents does not count."""
    assert ndcg(["a", "b"], {"b": 3}, 10) == pytest.approx(1 / math.log2(3))
    assert recall(["a", "b", "c"], {"a": 1, "b": 2, "x": 1, "y": 1, "c": 0}, 100) == 0.5
    scores = score({"q": ["b"], "none": ["b"]}, {"q": {"b": 1}, "none": {"b": 0}})
    assert scores == {"ndcg@10": 1.0, "recall@100": 1.0}


def test_a_malformed_folder_is_told(tmp_path: Path) -> None:
    """What is missing or wrong is named with its file, and its line where there is one."""
    with pytest.raises(UsageError, match=r"no corpus\.jsonl"):
        read_beir(tmp_path)
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").touch()
    (tmp_path / "queries.jsonl").write_text('{"id": 1}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\tx\n")
    with pytest.raises(UsageError, match=r"queries\.jsonl is not in BEIR's form"):
        read_beir(tmp_path)
    (tmp_path / "queries.jsonl").write_text('{"_id": 1, "text": "x"}\n')
    with pytest.raises(UsageError, match="line 2 is not"):
        read_beir(tmp_path)
