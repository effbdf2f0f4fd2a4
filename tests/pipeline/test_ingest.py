"""A run brings the collection to the state of its sources: counted, repeatable, and harmless when it fails."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import Corpus
from pipeline.config import Limits
from pipeline.embed.vllm import VllmEmbedder
from pipeline.errors import RecipeMismatch, Terminal, Transient, UsageError
from pipeline.plan import Unit, most_tokens
from pipeline.report import Report
from pipeline.types import Point, Vectors

PUMP = "# Pumps\n\nPrime the pump before the first start of the season.\n"
VALVE = "# Valves\n\nTurn the main valve a quarter to the left, never further.\n"
LAMP = "# Lamps\n\nThe lamp at the pier burns from dusk until the last ferry.\n"


@pytest.fixture
def folder(workplace: Path) -> Path:
    """Three documents."""
    docs = workplace / "docs"
    docs.mkdir()
    for name, text in (("pump.md", PUMP), ("valve.md", VALVE), ("lamp.md", LAMP)):
        (docs / name).write_text(text)
    return docs


def points(corpus: Corpus) -> dict[str, Point]:
    """Everything the store holds, by record id."""
    corpus.store.open()
    return {point.record_id: point for point in corpus.store.scroll(vectors=True)}


def counts(report: Any) -> dict[str, int]:
    """The document counts that are not zero."""
    return {name: count for name, count in report.as_dict()["documents"].items() if count}


def test_a_folder_becomes_an_index(folder: Path, opened: Callable[..., Corpus]) -> None:
    """Every document is parsed, chunked, embedded and searchable; the report adds up."""
    (folder / "empty.txt").touch()
    corpus = opened()
    report = corpus.ingest(str(folder))
    assert counts(report) == {"seen": 4, "new": 3, "rejected": 1}
    assert (report.embedded, report.reused, report.upserted, report.deleted) == (3, 0, 3, 0)
    assert [(Path(r.uri).name, r.stage) for r in report.rejected] == [("empty.txt", "parse")]
    hit = corpus.search("when must a pump be primed", k=1)[0]
    assert (Path(hit.uri).name, hit.title, hit.section) == ("pump.md", "Pumps", "Pumps")
    assert hit.text.startswith("# Pumps") or hit.text.startswith("Pumps")
    assert {"embed", "load", "parse", "chunk", "total"} <= set(report.as_dict()["seconds"])


def test_a_second_run_embeds_and_writes_nothing(folder: Path, opened: Callable[..., Corpus]) -> None:
    """Unchanged documents are not even opened; the second run starts no engine."""
    opened().ingest(str(folder))

    class NoEngine:
        dimensions = 384

        def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
            raise AssertionError("there was nothing to embed")

        def close(self) -> None:
            pass

    for path in folder.iterdir():
        path.chmod(0)
    corpus = opened(embedder=NoEngine())
    report = corpus.ingest(str(folder))
    assert counts(report) == {"seen": 3, "unchanged": 3}
    assert (report.embedded, report.upserted, report.chunks) == (0, 0, 0)
    for path in folder.iterdir():
        path.chmod(0o644)
        os.utime(path, (time.time() + 60, time.time() + 60))
    report = corpus.ingest(str(folder))
    assert counts(report) == {"seen": 3, "unchanged": 3}, "touched but equal costs a hash, no parse"
    assert "parse" not in report.as_dict()["seconds"]


def test_an_edit_replaces_and_a_deletion_removes(folder: Path, opened: Callable[..., Corpus]) -> None:
    """New text in, stale text out, deleted documents gone; what did not change keeps its points."""
    corpus = opened()
    corpus.ingest(str(folder))
    before = points(corpus)
    (folder / "valve.md").write_text("# Valves\n\nNow turn it to the right.\n")
    (folder / "lamp.md").unlink()
    report = opened(limits={"max_delete_fraction": 0.5}).ingest(str(folder))
    assert counts(report) == {"seen": 2, "changed": 1, "unchanged": 1, "deleted": 1}
    assert (report.embedded, report.upserted, report.deleted) == (1, 1, 2)
    after = points(opened())
    texts = " ".join(point.payload["text"] for point in after.values())
    assert "Now turn" in texts
    assert "quarter" not in texts
    assert "ferry" not in texts
    assert len(set(before) & set(after)) == 1


def test_too_many_deletions_stop_the_run(folder: Path, opened: Callable[..., Corpus]) -> None:
    """More gone than `max_delete_fraction` allows: nothing is deleted and the message names the flag."""
    opened().ingest(str(folder))
    (folder / "lamp.md").unlink()
    corpus = opened()
    with pytest.raises(Terminal, match=r"1 of the 3 documents .* --max-delete-fraction 1"):
        corpus.ingest(str(folder))
    assert len(points(corpus)) == 3
    assert opened(limits={"max_delete_fraction": 1}).ingest(str(folder)).documents["deleted"] == 1


def test_another_sources_documents_are_left_alone(folder: Path, opened: Callable[..., Corpus], workplace: Path) -> None:
    """A run deletes only what its own sources cover."""
    (workplace / "other.md").write_text(LAMP)
    opened().ingest(str(folder), str(workplace / "other.md"))
    report = opened().ingest(str(folder / "pump.md"))
    assert counts(report) == {"seen": 1, "unchanged": 1}
    assert len(points(opened())) == 4


def test_a_move_and_a_copy_embed_nothing(folder: Path, opened: Callable[..., Corpus]) -> None:
    """Vectors are found by content: another name for the same text costs no engine time."""
    opened().ingest(str(folder))
    (folder / "pump.md").rename(folder / "pumpe.md")
    (folder / "copy.md").write_text(VALVE)
    report = opened(limits={"max_delete_fraction": 0}).ingest(str(folder))
    assert counts(report) == {"seen": 4, "new": 1, "moved": 1, "unchanged": 2}
    assert (report.embedded, report.reused, report.upserted, report.deleted) == (0, 2, 2, 1)


def test_a_listing_twice_counts_once(folder: Path, opened: Callable[..., Corpus]) -> None:
    """Sources that overlap, or are named twice, do no document twice."""
    report = opened().ingest(str(folder), str(folder / "pump.md"), str(folder))
    assert counts(report) == {"seen": 3, "new": 3}


def test_a_new_chunk_size_parses_nothing_again(
    folder: Path, opened: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another chunking starts from Parquet: sources are not read, the old points are replaced."""
    (folder / "pump.md").write_text(PUMP + "\n\n".join(f"Step {n}: check the seal of pump {n}." for n in range(12)))
    opened().ingest(str(folder))
    monkeypatch.setattr("pipeline.documents.parse", lambda *_: pytest.fail("parsed again"))
    report = opened(recipe={"chunk_tokens": 32}).ingest(str(folder))
    assert counts(report) == {"seen": 3, "changed": 3}
    assert "read" not in report.as_dict()["seconds"]
    assert report.chunks > 5
    assert all(len(point.payload["text"]) < 250 for point in points(opened()).values())


def test_a_collection_refuses_vectors_of_another_recipe(folder: Path, opened: Callable[..., Corpus]) -> None:
    """Another dtype makes other vectors: refused before any work, naming both."""
    opened().ingest(str(folder))
    with pytest.raises(RecipeMismatch, match="bfloat16"):
        opened(recipe={"dtype": "float32"}).ingest(str(folder))


def test_a_rejected_document_stays_rejected_until_it_changes(folder: Path, opened: Callable[..., Corpus]) -> None:
    """It is not tried every night, but told every night; mended, it comes in."""
    broken = folder / "broken.md"
    broken.write_text(" \n")
    first = opened().ingest(str(folder))
    second = opened().ingest(str(folder))
    assert [r.reason for r in first.rejected] == [r.reason for r in second.rejected]
    assert second.documents["rejected"] == 1
    assert "parse" not in second.as_dict()["seconds"]
    broken.write_text("some text after all")
    assert counts(opened().ingest(str(folder))) == {"seen": 4, "new": 1, "unchanged": 3}


def test_an_unreadable_new_version_leaves_the_old_one_searchable(folder: Path, opened: Callable[..., Corpus]) -> None:
    """A file that breaks overnight is rejected; what was searchable stays until it can be read or is gone."""
    opened().ingest(str(folder))
    (folder / "lamp.md").write_bytes(b"   \n")
    corpus = opened()
    report = corpus.ingest(str(folder))
    assert counts(report) == {"seen": 3, "unchanged": 2, "rejected": 1}
    assert corpus.search("ferry", mode="bm25")
    (folder / "lamp.md").unlink()
    opened(limits={"max_delete_fraction": 1}).ingest(str(folder))
    assert len(points(opened())) == 2


class Faulty:
    """The session's engine, with a fault put into what it gives."""

    def __init__(self, engine: VllmEmbedder, fault: Callable[[Vectors], Vectors]) -> None:
        self.dimensions = engine.dimensions
        self._engine, self._fault = engine, fault

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        """Vectors with the fault."""
        return self._fault(self._engine.embed(token_ids))

    def close(self) -> None:
        """The session's engine stays."""


def test_a_bad_vector_rejects_its_document_only(
    folder: Path, opened: Callable[..., Corpus], minilm_engine: VllmEmbedder, workplace: Path
) -> None:
    """NaN never reaches Parquet or the store; the others do; the next run embeds the one again."""

    def poison(vectors: Vectors) -> Vectors:
        vectors[0] = np.nan
        return vectors

    report = opened(embedder=Faulty(minilm_engine, poison)).ingest(str(folder))
    assert counts(report) == {"seen": 3, "new": 2, "rejected": 1}
    assert (report.rejected[0].stage, report.embedded) == ("embed", 2)
    assert "NaN" in report.rejected[0].reason
    for part in workplace.glob("data/vectors/*/*.parquet"):
        assert np.isfinite(np.stack(pq.read_table(part).column("vector").to_pandas())).all()
    Path(folder / f"{Path(report.rejected[0].uri).name}").touch()
    assert counts(opened().ingest(str(folder)))["new"] == 1


def test_a_store_that_is_away_for_a_moment_is_tried_again(
    folder: Path, opened: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transient failure is retried and leaves no trace in the counts."""
    monkeypatch.setattr("pipeline.schedule.RETRY_PAUSES", (0.0, 0.0, 0.0))
    corpus = opened()
    upsert, failures = corpus.store.upsert, iter([True, True])

    def flaky(batch: Sequence[Point]) -> None:
        if next(failures, False):
            raise Transient("the store does not answer")
        upsert(batch)

    monkeypatch.setattr(corpus.store, "upsert", flaky)
    report = corpus.ingest(str(folder))
    assert counts(report) == {"seen": 3, "new": 3}
    assert (report.embedded, report.upserted) == (3, 3)


@pytest.mark.parametrize(("verb", "calls"), [("upsert", 0), ("ids_of", 0), ("ids_of", 1), ("delete", 0), ("flush", 0)])
def test_a_run_that_fails_anywhere_is_finished_by_the_next(
    verb: str, calls: int, folder: Path, opened: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch, workplace: Path
) -> None:
    """Whichever step of the load fails, no document vanishes meanwhile, and the next run ends as if nothing had."""
    opened().ingest(str(folder))
    (folder / "valve.md").write_text("# Valves\n\nNow turn it to the right.\n")
    corpus = opened()

    work, before = getattr(corpus.store, verb), iter(range(calls))

    def fail(*arguments: Any) -> Any:
        if next(before, None) is None:
            raise Terminal("the disk is full")
        return work(*arguments)

    monkeypatch.setattr(corpus.store, verb, fail)
    with pytest.raises(Terminal, match="the disk is full"):
        corpus.ingest(str(folder))
    monkeypatch.undo()
    os.chdir(workplace)
    held = {Path(point.payload["uri"]).name for point in points(opened()).values()}
    assert held == {"pump.md", "valve.md", "lamp.md"}
    report = opened().ingest(str(folder))
    assert counts(report) == {"seen": 3, "changed": 1, "unchanged": 2}
    looked_at = (verb, calls) == ("ids_of", 0)
    assert report.embedded == looked_at, "the vector was in Parquet already, unless the first look at the store failed"
    texts = [point.payload["text"] for point in points(opened()).values()]
    assert len(texts) == 3
    assert sum("quarter" in text for text in texts) == 0
    statuses = [run["status"] for run in opened().status()["runs"]]
    assert statuses == ["completed", "failed: the disk is full", "completed"]


def test_the_store_can_be_derived_again_from_parquet(
    folder: Path, opened: Callable[..., Corpus], workplace: Path
) -> None:
    """Another store, or the same one lost, is loaded without embedding anything, point by point the same."""
    corpus = opened()
    corpus.ingest(str(folder))
    before = points(corpus)
    report = opened(store="edge:elsewhere").ingest(str(folder))
    assert (report.embedded, report.upserted) == (0, 3)
    after = points(opened(store="edge:elsewhere"))
    assert {k: p.payload for k, p in after.items()} == {k: p.payload for k, p in before.items()}
    assert all(np.array_equal(after[k].vector, before[k].vector) for k in before)


def test_bm25_learns_the_corpus_average_length(folder: Path, opened: Callable[..., Corpus]) -> None:
    """The stamp's average length is the corpus's, not a library's default, and follows the corpus when it moves."""
    corpus = opened()
    corpus.ingest(str(folder))
    spec = corpus.store.open()
    assert spec is not None
    assert spec.average_length == pytest.approx(12, abs=4)
    (folder / "long.txt").write_text("The long log of the harbour master. " * 100)
    corpus.ingest(str(folder))
    spec = corpus.store.open()
    assert spec is not None
    assert spec.average_length > 50


def test_what_a_notebook_reads(folder: Path, opened: Callable[..., Corpus]) -> None:
    """`vectors` is an Arrow table with a row a chunk: its place, its text and its vector, as the store has them."""
    corpus = opened()
    corpus.ingest(str(folder))
    table = corpus.vectors()
    held = points(corpus)
    assert table.num_rows == 3
    for row in table.to_pylist():
        point = held[row["record_id"]]
        assert (row["uri"], row["text"]) == (point.payload["uri"], point.payload["text"])
        assert np.allclose(row["vector"], point.vector, atol=1e-6)


def test_two_collections_share_vectors_but_not_documents(folder: Path, opened: Callable[..., Corpus]) -> None:
    """A second collection over the same Parquet embeds nothing, and counts its own documents."""
    opened().ingest(str(folder))
    report = opened(collection="second").ingest(str(folder / "pump.md"))
    assert (report.documents["new"], report.embedded) == (1, 0)
    status = opened(collection="second").status()
    assert (status["documents"], status["points"]) == (1, 1)
    assert opened().status()["documents"] == 3


def test_a_query_too_long_for_the_model_is_refused(folder: Path, opened: Callable[..., Corpus]) -> None:
    """Nothing is cut in silence, queries neither; nor is an absent collection an empty answer."""
    corpus = opened()
    with pytest.raises(UsageError, match="there is no collection documents in edge:data/index"):
        corpus.search("anything")
    corpus.ingest(str(folder))
    with pytest.raises(UsageError, match="takes 256"):
        corpus.search("word " * 300)
    with pytest.raises(UsageError, match="the query is empty"):
        corpus.search("  ")


def test_rows_are_documents(opened: Callable[..., Corpus], workplace: Path) -> None:
    """Each line of a JSON Lines file is a document of its own, edited and deleted on its own; bad rows are rejected."""
    rows = [
        {"_id": "a", "title": "Pump", "text": "Prime it."},
        {"_id": "b", "text": "Close it."},
        {"_id": "c", "text": ""},
    ]
    path = workplace / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = opened().ingest(f"jsonl:{path}")
    assert counts(report) == {"seen": 3, "new": 2, "rejected": 1}
    rows[1]["text"] = "Open it."
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    report = opened(limits={"max_delete_fraction": 1}).ingest(f"jsonl:{path}")
    assert counts(report) == {"seen": 2, "changed": 1, "unchanged": 1, "deleted": 1}


def test_metadata_of_a_row_can_be_filtered_by(opened: Callable[..., Corpus], workplace: Path) -> None:
    """Whatever a source or a parser knows of a document is in its payload's metadata."""
    path = workplace / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"_id": str(n), "text": f"pump {n}", "year": 2000 + n}) + "\n" for n in range(5))
    )
    corpus = opened()
    corpus.ingest(f"jsonl:{path}")
    hits = corpus.search("pump", filters=["metadata.year>=2003"])
    assert sorted(hit.metadata["year"] for hit in hits) == [2003, 2004]


def test_the_first_work_units_are_smaller(workplace: Path, opened: Callable[..., Corpus]) -> None:
    """An engine has its first work soon: units are an eighth of what the settings say, then a quarter, a half, all."""
    docs = workplace / "docs"
    docs.mkdir()
    for number in range(30):
        (docs / f"{number:02}.txt").write_text(f"{number} " + "water " * 65)  # 100 tokens, as they are estimated
    estimated: list[int] = []

    def submit(work: Callable[[Unit], Report], unit: Unit) -> Future[Report]:
        estimated.append(unit.estimated_tokens)
        done: Future[Report] = Future()
        done.set_result(work(unit))
        return done

    corpus = opened(limits={"unit_tokens": 1_000})
    assert counts(corpus.ingest(str(docs), submit=submit)) == {"seen": 30, "new": 30}
    assert [round(tokens / 100) for tokens in estimated] == [1, 2, 5, 10, 10, 2]


@given(number=st.integers(0, 10**6), tokens=st.integers(1, 10**9))
def test_a_work_unit_is_never_above_the_limit(number: int, tokens: int) -> None:
    """However many units a run has, none may have more than the settings say, and all but the first few as much."""
    limits = Limits(unit_tokens=tokens)
    assert most_tokens(number, limits) <= most_tokens(number + 1, limits) <= tokens
    assert most_tokens(number + 3, limits) == tokens
