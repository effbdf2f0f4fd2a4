"""The embed stage of a run: a text that cannot be embedded costs its document; the canary, the whole run."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows import Corpus
from pipeline.embed import canary
from pipeline.errors import Poisoned, Terminal
from pipeline.report import Report
from pipeline.types import Vectors
from tests.faults import FakeEngine, bundled


class Watched(FakeEngine):
    """Vectors from the token ids; says what it is made of, and refuses texts with a word in them."""

    def __init__(self, versions: Mapping[str, str], turned: float = 0.0) -> None:
        model, tokenizer = bundled()
        super().__init__(model.dimensions)
        self.versions = versions
        self.asked: list[tuple[int, ...]] = []
        self._turned = turned
        self._poison = tokenizer.encode("zebra").ids[1]

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        """Unit vectors, turned away from the true ones by so much."""
        self.asked += [tuple(ids) for ids in token_ids]
        vectors = super().embed(token_ids)
        vectors = vectors + self._turned * np.roll(vectors, 1, axis=1)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        if bad := {row: "it hung" for row, ids in enumerate(token_ids) if self._poison in ids}:
            vectors[list(bad)] = np.nan
            raise Poisoned(bad, vectors)
        return vectors


VERSIONS = {"vllm": "1.0", "driver": "5", "device": "H"}


@pytest.fixture
def folder(workplace: Path) -> Path:
    """A few documents."""
    (workplace / "docs").mkdir()
    for name in ("pump", "lamp", "zebra", "valve"):
        (workplace / "docs" / f"{name}.md").write_text(f"# About the {name}\n\nAll there is to say of a {name}.\n")
    return workplace / "docs"


def opened(engine: FakeEngine, **flags: object) -> Corpus:
    """A corpus on this engine."""
    corpus = Corpus(embedder=engine, **flags)
    corpus.model, corpus.tokenizer = bundled()
    return corpus


def ingest(engine: FakeEngine, folder: Path, **flags: object) -> Report:
    """One run, in a corpus of its own."""
    with opened(engine, **flags) as corpus:
        return corpus.ingest(str(folder))


def vectors_in(workplace: Path) -> list[str]:
    """The keys of all vectors in Parquet."""
    keys: list[str] = []
    for part in sorted(workplace.glob("data/vectors/*/*.parquet")):
        keys += pq.read_table(part).column("embedding_key").to_pylist()
    return keys


def test_a_poison_text_rejects_its_document_only(folder: Path, workplace: Path) -> None:
    """The document is rejected at stage embed, with the engine's words; the others are embedded once and loaded."""
    engine = Watched(VERSIONS)
    report = ingest(engine, folder)
    assert dict(report.documents)["new"] == 3
    assert [(Path(one.uri).name, one.stage, one.reason) for one in report.rejected] == [
        ("zebra.md", "embed", "it hung")
    ]
    keys = vectors_in(workplace)
    assert len(keys) == len(set(keys)) == 3
    assert len(engine.asked) == len(set(engine.asked)), "a poison is not tried twice in a run"


def test_units_side_by_side_embed_a_text_once(workplace: Path) -> None:
    """The same text in many documents, worked on at once, is embedded once and has one row in Parquet."""
    (workplace / "docs").mkdir()
    for number in range(24):
        (workplace / "docs" / f"{number}.md").write_text(
            "The very same words.\n" if number % 2 else f"Words {number}.\n"
        )
    engine = Watched(VERSIONS)
    report = ingest(engine, workplace / "docs", limits={"unit_documents": 1, "units_in_flight": 6})
    assert report.documents["new"] == 24
    assert len(engine.asked) == len(set(engine.asked))
    assert len(vectors_in(workplace)) == len(set(vectors_in(workplace))) == 13


def test_units_are_embedded_one_after_the_other(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several units that wait for the engine, the first is all but done before the next has its turn: so one is
    loaded while another is embedded."""
    monkeypatch.setattr("pipeline.embed.stage._FIRST_SLICE_TOKENS", 8)
    monkeypatch.setattr("pipeline.embed.stage._SLICE_SECONDS", 0.0)
    (workplace / "docs").mkdir()
    for number in range(60):
        (workplace / "docs" / f"{number:02}.md").write_text(
            f"{('pump', 'lamp', 'valve')[number // 20]} number {number}.\n"
        )
    _, tokenizer = bundled()
    names = [tokenizer.encode(name).ids[1] for name in ("pump", "lamp", "valve")]

    class Slow(Watched):
        def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
            units = [unit for unit, name in enumerate(names) for ids in token_ids if name in ids]
            if len(units) == len(token_ids):  # the canary is none of them
                with lock:
                    order.extend(units)
                    time.sleep(0.04)
            return super().embed(token_ids)

    lock, order = threading.Lock(), list[int]()
    ingest(
        Slow(VERSIONS), workplace / "docs", limits={"unit_documents": 20, "units_in_flight": 3, "unit_tokens": 10**9}
    )
    assert sorted(order) == sorted([0, 1, 2] * 20)
    # Not as they came: the first texts of the next may slip in while those of the first are made ready.
    ended = list(dict.fromkeys(reversed(order)))[::-1]
    for before, after in pairwise(ended):
        last = len(order) - 1 - order[::-1].index(before)
        # Side by side it would be nearly all twenty.
        assert order[:last].count(after) <= 12


def test_an_engine_that_gives_all_texts_one_vector_ends_the_run(workplace: Path) -> None:
    """One by one such vectors are sound; together they are the engine's fault, and no document is rejected for it."""
    (workplace / "docs").mkdir()
    for number in range(40):
        (workplace / "docs" / f"{number}.md").write_text(f"Note {number} of many.\n")

    class Stuck(Watched):
        def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
            vectors = super().embed(token_ids)
            return vectors if len(token_ids) == len(canary.TEXTS) else vectors[[0] * len(vectors)]

    with pytest.raises(Terminal, match=r"of 40 vectors not one is sound.*very vector of another text"):
        ingest(Stuck(VERSIONS), workplace / "docs")
    assert vectors_in(workplace) == []
    report = ingest(Watched(VERSIONS), workplace / "docs")
    assert (report.documents["new"], report.documents["rejected"]) == (40, 0)


def test_a_run_that_fails_does_not_wait_for_a_silent_engine(workplace: Path) -> None:
    """What one unit fails with is told at once, while the engine is still silent over another's texts."""
    (workplace / "docs").mkdir()
    for name in ("quiet", "zebra"):
        (workplace / "docs" / f"{name}.md").write_text(f"All there is to say of a {name}.\n")
    silent, end, waited = threading.Event(), threading.Event(), list[bool]()

    class Silent(Watched):
        def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
            if len(token_ids) == 1 and self._poison in token_ids[0]:
                assert silent.wait(60)
                raise Terminal("the chip is on fire")
            if len(token_ids) == 1:
                silent.set()
                waited.append(end.wait(60))
            return super().embed(token_ids)

        def close(self) -> None:
            end.set()

    engine = Silent(VERSIONS)
    with pytest.raises(Terminal, match="on fire"):
        ingest(engine, workplace / "docs", limits={"unit_documents": 1, "units_in_flight": 2})
    assert not waited
    engine.close()


class TestCanary:
    """Fixed texts are embedded at the start of a run that embeds, and must come out as they always did."""

    def test_the_first_run_stores_it_and_later_ones_compare(self, folder: Path, workplace: Path) -> None:
        """Stored once a recipe; a run that has nothing to embed does not even ask; compaction and audit leave it."""
        ingest(Watched(VERSIONS), folder)
        (part,) = workplace.glob("data/canary/*/*.parquet")
        assert pq.read_table(part).num_rows == len(canary.TEXTS)
        idle = Watched(VERSIONS)
        ingest(idle, folder)
        assert idle.asked == []
        with opened(idle) as corpus:
            corpus.compact()
            assert corpus.audit(str(folder)).findings == []
        assert list(workplace.glob("data/canary/*/*.parquet")) == [part]
        (folder / "new.md").write_text("Something new.\n")
        assert ingest(Watched({**VERSIONS, "vllm": "1.1"}), folder).documents["new"] == 1

    @pytest.mark.parametrize("what", ["vllm", "driver", "device", "model"])
    def test_a_changed_engine_stops_the_run(self, what: str, folder: Path, workplace: Path) -> None:
        """Below cosine 0.999 not one vector is mixed in, and the message says what is different."""
        ingest(Watched(VERSIONS), folder)
        before = vectors_in(workplace)
        (folder / "new.md").write_text("Something new.\n")
        now = {**VERSIONS, what: "another"} if what != "model" else VERSIONS
        said = "so it is the model" if what == "model" else f"{what} was {VERSIONS[what]} and is another"
        with pytest.raises(Terminal, match=said):
            ingest(Watched(now, turned=0.1), folder)
        assert vectors_in(workplace) == before

    def test_another_prompt_is_no_other_engine(self, folder: Path, workplace: Path) -> None:
        """Vectors of all prompts are in one table, and are held against the same canary."""
        ingest(Watched(VERSIONS), folder)
        before = vectors_in(workplace)
        (folder / "new.md").write_text("Something new.\n")
        with opened(Watched(VERSIONS, turned=0.1), collection="other", store="edge:other") as corpus:
            corpus.model = replace(corpus.model, document_prompt="passage: ")
            with pytest.raises(Terminal, match="no longer makes the vectors"):
                corpus.ingest(str(folder))
        assert vectors_in(workplace) == before

    def test_a_small_difference_is_none(self, folder: Path) -> None:
        """What another chip's rounding does to vectors is within the tolerance."""
        ingest(Watched(VERSIONS), folder)
        (folder / "new.md").write_text("Something new.\n")
        assert ingest(Watched(VERSIONS, turned=0.02), folder).documents["new"] == 1

    def test_an_engine_whose_canary_is_no_vector_is_not_used(self, folder: Path, workplace: Path) -> None:
        """An engine that gives NaN for the fixed texts is told before a document is blamed for it."""

        class Broken(Watched):
            def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
                return np.full((len(token_ids), self.dimensions), np.nan, np.float32)

        with pytest.raises(Terminal, match="cannot be trusted"):
            ingest(Broken(VERSIONS), folder)
        assert vectors_in(workplace) == []

    def test_an_engine_that_refuses_its_canary_is_not_used(self, folder: Path, workplace: Path) -> None:
        """What cannot embed a text that every model can is no engine, and no document is blamed for it."""

        class Refusing(Watched):
            def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
                raise Poisoned({1: "it hung"}, super().embed(token_ids))

        with pytest.raises(Terminal, match=r"cannot be trusted.*it hung"):
            ingest(Refusing(VERSIONS), folder)
        assert vectors_in(workplace) == []


def test_what_befell_the_engines_is_in_the_report(folder: Path) -> None:
    """A lost GPU or a restarted engine is told with the run's other warnings."""
    engine = Watched(VERSIONS)
    engine.warnings = ["the engine on GPU 1 is lost"]  # type: ignore[attr-defined]
    report = ingest(engine, folder)
    assert ("engine", "the engine on GPU 1 is lost") in report.warnings
    assert json.dumps(report.as_dict())
    assert threading.active_count() < 20
