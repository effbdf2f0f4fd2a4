"""An audit names what is not as it should be, and a repair mends it from Parquet alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sources import open_source
from connectors.stores import open_store
from flows import Corpus
from pipeline.audit import audit, sources_of
from pipeline.compare import VECTOR_TOLERANCE, same_direction
from pipeline.errors import SourceError, Terminal, Transient
from pipeline.findings import (
    ALTERED,
    CHECKPOINTS,
    DUPLICATED,
    LOST,
    MISSING,
    ORPHANED,
    OTHER_RECIPE,
    SETTINGS,
    SOURCE,
    STALE,
    STORE,
    Audit,
)  # fmt: skip
from pipeline.ledger import ledger_name
from pipeline.ports import Embedder, VectorStore
from pipeline.repair import Plan, plan_repair, repair
from pipeline.types import Point, Vectors, document_id, record_id
from tests.conftest import write_jsonl

DIMENSIONS = 384


class Hashes:
    """Vectors made of the hashes of token ids, in no time."""

    dimensions = DIMENSIONS

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        """A unit vector that only these ids have."""
        texts = [np.asarray(ids, "<i4").tobytes() for ids in token_ids]
        seeds = [int(hashlib.sha256(text).hexdigest()[:8], 16) for text in texts]
        vectors = np.stack([np.random.default_rng(seed).normal(size=DIMENSIONS) for seed in seeds]).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def close(self) -> None:
        """Nothing to free."""


class NoEngine(Hashes):
    """Fails the test that needs an engine."""

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        """Never to be called."""
        raise AssertionError("the engine was started")


def write(path: Path, words: str, steps: int) -> None:
    """A document of about as many chunks as steps."""
    lines = [f"Step {n}: {words} number {n} must be looked at before each season, with care." for n in range(steps)]
    path.write_text(f"# {words.title()}\n\n" + "\n\n".join(lines))


class Bench:
    """A corpus of three documents, ingested; what an audit of it says, and what its store holds."""

    def __init__(self, root: Path, kind: str) -> None:
        self.root = root / "bench"
        self.docs = self.root / "docs"
        self.docs.mkdir(parents=True)
        for name, steps in (("pump", 6), ("valve", 4), ("lamp", 1)):
            write(self.docs / f"{name}.md", name, steps)
        (self.docs / "empty.txt").touch()
        store = f"edge:{self.root}/index" if kind == "edge" else f"milvus:{self.root}/index.db"
        self.flags: dict[str, Any] = {"data": f"{self.root}/data", "store": store, "recipe": {"chunk_tokens": 32}}
        self.corpus = Corpus(embedder=Hashes(), **self.flags)
        self.corpus.ingest(str(self.docs))
        self.before = self.points()
        self.corpus.close()
        copy(self.root, root / "pristine")

    def restore(self) -> None:
        """As it was when it had just been ingested; opened anew."""
        self.corpus.close()
        shutil.rmtree(self.root)
        copy(self.root.parent / "pristine", self.root)
        self.reopen()

    def reopen(self, embedder: Embedder | None = None, **flags: Any) -> None:
        """As another process would open it, without an engine unless one is given."""
        self.corpus.close()
        self.corpus = Corpus(embedder=embedder or NoEngine(), **{**self.flags, **flags})

    @property
    def store(self) -> VectorStore:
        return self.corpus.store

    def points(self) -> dict[str, Point]:
        if self.store.open() is None:
            return {}
        return {point.record_id: point for point in self.store.scroll(vectors=True)}

    def ids(self, name: str) -> list[str]:
        """The record ids of a document, in order of position."""
        own = [point for point in self.before.values() if point.payload["uri"].endswith(f"/{name}.md")]
        return [point.record_id for point in sorted(own, key=lambda point: point.payload["position"])]

    def audit(self, *sources: str, **options: Any) -> Audit:
        self.corpus.__dict__.pop("checkpoints", None)
        return audit(self.corpus.checkpoints, self.store, [open_source(source) for source in sources], **options)

    def repair(self, found: Audit, max_delete_fraction: float = 0.2) -> dict[str, int]:
        plan = plan_repair(found, max_delete_fraction)
        return repair(plan, self.corpus.checkpoints, self.store, ["english"])

    def assert_whole(self) -> None:
        """The audit is clean, and every point is as it was after the ingest."""
        found = self.audit(str(self.docs))
        assert found.clean, found.as_dict()
        assert_same(self.points(), self.before)


def copy(folder: Path, to: Path) -> None:
    """Copy a folder, times and holes in files included: an index of a few points has 200 MB of holes."""
    subprocess.run(["cp", "-a", str(folder), str(to)], check=True)


def assert_same(found: Mapping[str, Point], wanted: Mapping[str, Point]) -> None:
    assert found.keys() == wanted.keys()
    for name, point in wanted.items():
        assert found[name].payload == point.payload
        assert found[name].lexical_text == point.lexical_text
        assert np.allclose(found[name].vector, point.vector, atol=1e-6)


def named(found: Audit) -> dict[tuple[str, str], set[str]]:
    """What was found: record ids by kind and place; the last part of the URI for what is about documents."""
    names: dict[tuple[str, str], set[str]] = {}
    for one in found.findings:
        own = set(one.record_ids) or {one.uri.rsplit("/", 1)[-1]}
        names.setdefault((one.kind, one.place), set()).update(own)
    return names


def stranger(number: int, uri: str = "file:///alien.md", **changes: Any) -> Point:
    """A point that nobody ingested."""
    document = document_id(uri)
    payload = {
        "document_id": document, "uri": uri, "source": "file:///", "title": "Alien", "section": "", "page": None,
        "page_to": None, "position": number, "media_type": "text/plain", "text": f"alien {number}", "metadata": {},
        **changes,
    }  # fmt: skip
    vector = np.eye(1, DIMENSIONS, number % DIMENSIONS, dtype=np.float32)[0]
    return Point(record_id(document, f"alien {number}", number), vector, payload["text"], payload)


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """Three ingested documents in Edge, and in Milvus Lite."""
    return {kind: Bench(tmp_path_factory.mktemp(kind), kind) for kind in ("edge", "milvus")}


@pytest.fixture(params=["edge", "milvus"])
def bench(request: pytest.FixtureRequest, benches: dict[str, Bench]) -> Iterator[Bench]:
    """The one, and then the other."""
    benches[request.param].restore()
    yield benches[request.param]
    benches[request.param].corpus.close()


@pytest.fixture
def edge(benches: dict[str, Bench]) -> Iterator[Bench]:
    """Edge alone: for what does not depend on the store."""
    benches["edge"].restore()
    yield benches["edge"]
    benches["edge"].corpus.close()


# -- The store ------------------------------------------------------------------------------------------------------


def test_what_was_just_ingested_is_clean(bench: Bench) -> None:
    """Nothing is found in a collection that nobody touched; what is rejected is known, and no finding."""
    found = bench.audit(str(bench.docs))
    assert found.clean, found.as_dict()
    assert (found.documents, found.points, found.stored, found.rejected) == (3, 11, 11, 1)
    assert plan_repair(found).empty


def test_metadata_are_compared_by_meaning(bench: Bench) -> None:
    """Whatever a store makes of fractions, nesting or foreign letters on the way, what nobody changed is clean."""
    rows = [
        {
            "_id": str(n),
            "text": f"pump {n}",
            "ratio": (n + 0.1) * 0.3,
            "big": 2**53 + n,
            "tags": ["שלום", None, {"a": n / 7}],
        }
        for n in range(20)
    ]
    source = f"jsonl:{write_jsonl(bench.root / 'rows.jsonl', rows)}"
    bench.reopen(Hashes())
    bench.corpus.ingest(source)
    found = bench.audit(source)
    assert found.clean, found.as_dict()
    assert found.documents == 23


def test_removed_added_and_altered_points_are_named_and_mended(bench: Bench) -> None:
    """What was done behind our back is named point by point, and a repair undoes it without an engine or a source."""
    pump, valve, lamp = bench.ids("pump"), bench.ids("valve"), bench.ids("lamp")
    bench.store.open()
    bench.store.delete([*pump[:2], *lamp])
    bench.store.patch([replace(bench.before[pump[2]], payload={**bench.before[pump[2]].payload, "title": "Bomb"})])
    meddled = {**bench.before[pump[3]].payload, "metadata": {"acl": "public"}}
    bench.store.patch([replace(bench.before[pump[3]], payload=meddled)])
    bench.store.upsert([replace(bench.before[valve[0]], vector=bench.before[valve[1]].vector)])
    bench.store.upsert([replace(bench.before[valve[1]], lexical_text="other words")])
    old = stranger(1, uri=bench.before[pump[0]].payload["uri"])
    alien = [stranger(2), stranger(3)]
    bench.store.upsert([old, *alien])

    found = bench.audit(str(bench.docs))
    assert named(found) == {
        (MISSING, STORE): {*pump[:2], *lamp},
        (ALTERED, STORE): {pump[2], pump[3], valve[0], valve[1]},
        (STALE, STORE): {old.record_id},
        (ORPHANED, STORE): {point.record_id for point in alien},
    }
    details = {record: one.detail for one in found.of(ALTERED) for record in one.record_ids}
    assert details == {pump[2]: "title", pump[3]: "metadata", valve[0]: "vector", valve[1]: "lexical_text"}
    assert {one.uri for one in found.of(ORPHANED)} == {"file:///alien.md"}
    shutil.rmtree(bench.docs)
    assert bench.repair(found) == {"written": 7, "removed": 3}
    assert_same(bench.points(), bench.before)
    assert bench.audit().clean


def test_a_lost_collection_is_loaded_from_parquet_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A collection that is gone comes back point by point, stamp and all; neither model nor source is touched."""
    stamp = bench.store.open()
    drop(bench)
    bench.reopen()
    bench.docs.rename(tmp_path / "away")
    monkeypatch.setattr("pipeline.embed.model.load_model", lambda *_: pytest.fail("the model was loaded"))
    found = bench.audit()
    assert found.absent
    assert named(found) == {(MISSING, STORE): {"pump.md", "valve.md", "lamp.md"}}
    bench.repair(found)
    assert bench.audit().clean
    assert_same(bench.points(), bench.before)
    again = bench.store.open()
    assert stamp is not None
    assert again is not None
    assert replace(again, average_length=stamp.average_length) == stamp
    assert again.average_length == pytest.approx(stamp.average_length, rel=0.1)
    assert bench.corpus.search("lamp", mode="bm25")
    monkeypatch.undo()
    (tmp_path / "away").rename(bench.docs)
    report = bench.corpus.ingest(str(bench.docs))
    assert report.documents["unchanged"] == 3, "the ledger's word counts again"
    assert report.upserted == 0


def drop(bench: Bench) -> None:
    """Lose the collection."""
    bench.corpus.close()
    kind, _, path = bench.flags["store"].partition(":")
    if kind == "edge":
        shutil.rmtree(path)
    else:
        store: Any = open_store(bench.flags["store"], "documents")
        store.open()
        store._client.drop_collection("documents")
        store.close()


VERBS = ("open", "upsert", "fetch", "delete", "flush")


@pytest.mark.parametrize(
    ("verb", "lost"), [(verb, lost) for verb in VERBS for lost in (False, True) if not (lost and verb == "delete")]
)
def test_a_repair_that_fails_anywhere_is_finished_by_the_next(edge: Bench, verb: str, lost: bool) -> None:
    """Whichever step fails, what was searchable stays so, and auditing and repairing again ends clean."""
    if lost:
        drop(edge)
        edge.reopen()
    else:
        vandalise(edge)
    found = edge.audit()
    untouched = edge.points()
    plan = plan_repair(found)
    with pytest.raises(Transient, match="away"):
        repair(plan, edge.corpus.checkpoints, Failing(edge.store, verb), ["english"])
    assert (untouched.keys() & edge.before.keys()) <= edge.points().keys()
    edge.reopen()
    edge.repair(edge.audit())
    edge.assert_whole()


@pytest.mark.parametrize("verb", ["upsert", "flush"])
def test_an_ingest_finishes_what_a_killed_repair_of_a_lost_collection_began(edge: Bench, verb: str) -> None:
    """A collection that is made anew and not yet full is not taken for a whole one by the next run."""
    drop(edge)
    edge.reopen()
    with pytest.raises(Transient):
        repair(plan_repair(edge.audit()), edge.corpus.checkpoints, Failing(edge.store, verb), ["english"])
    edge.reopen()
    edge.corpus.ingest(str(edge.docs))
    edge.assert_whole()


def vandalise(bench: Bench) -> None:
    """A bit of everything."""
    pump, valve = bench.ids("pump"), bench.ids("valve")
    bench.store.open()
    bench.store.delete(pump[:2])
    bench.store.upsert([replace(bench.before[valve[0]], vector=bench.before[valve[1]].vector), stranger(1)])


class Failing:
    """A store whose `verb` does half of what it was asked for, and then does not answer."""

    def __init__(self, store: VectorStore, verb: str) -> None:
        self._store, self._verb = store, verb

    def __getattr__(self, name: str) -> Any:
        work = getattr(self._store, name)
        if name != self._verb:
            return work

        def fail(*arguments: Any, **options: Any) -> Any:
            if arguments and isinstance(arguments[0], list):
                work(arguments[0][: len(arguments[0]) // 2], *arguments[1:], **options)
            raise Transient("the store is away")

        return fail


class Meddled:
    """A store whose scroll goes through `meddle`."""

    def __init__(self, store: VectorStore, meddle: Callable[[Iterator[Point]], Iterator[Point]]) -> None:
        self._store, self._meddle = store, meddle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def scroll(self, vectors: bool = False) -> Iterator[Point]:
        """What the store scrolls, meddled with."""
        return self._meddle(self._store.scroll(vectors))


def breaking(points: Iterator[Point]) -> Iterator[Point]:
    """Five points, and then silence."""
    yield from (next(points) for _ in range(5))
    raise Transient("the store does not answer")


def test_a_store_that_fails_in_the_middle_is_unknown(edge: Bench) -> None:
    """A time-out is no finding: the store is unknown, with the reason, and the rest is judged all the same."""
    edge.store.open()
    edge.store.delete(edge.ids("pump"))
    write(edge.docs / "new.md", "boiler", 1)
    for store in (Meddled(edge.store, breaking), Failing(edge.store, "fetch"), Failing(edge.store, "open")):
        found = audit(edge.corpus.checkpoints, store, [open_source(str(edge.docs))])  # type: ignore[arg-type]
        assert named(found) == {(MISSING, SOURCE): {"new.md"}}
        assert [(one.what, one.reason) for one in found.unknown] in (
            [(STORE, "the store is away")], [(STORE, "the store does not answer")],
        )  # fmt: skip
        assert not found.clean
        assert plan_repair(found).empty


def test_answers_that_contradict_each_other_are_unknown(edge: Bench) -> None:
    """A scroll that ends too early, or shows what a look-up did not, proves nothing: it is no finding."""

    def partial(points: Iterator[Point]) -> Iterator[Point]:
        return (point for number, point in enumerate(points) if number % 3)

    found = audit(edge.corpus.checkpoints, Meddled(edge.store, partial))  # type: ignore[arg-type]
    assert (found.findings, [one.what for one in found.unknown]) == ([], [STORE])
    assert "something else writes to it" in found.unknown[0].reason


def test_a_point_that_is_there_twice_is_named_and_mended(edge: Bench) -> None:
    """A store that keeps two of one id is told; writing the point again leaves one."""
    twin = edge.ids("valve")[2]

    def doubling(points: Iterator[Point]) -> Iterator[Point]:
        for point in points:
            yield from [point, point] if point.record_id == twin else [point]

    found = audit(edge.corpus.checkpoints, Meddled(edge.store, doubling))  # type: ignore[arg-type]
    assert named(found) == {(DUPLICATED, STORE): {twin}}
    assert found.findings[0].uri.endswith("/valve.md")
    assert plan_repair(found).write == {document_id(found.findings[0].uri): {twin}}
    assert edge.repair(found) == {"written": 1, "removed": 0}
    edge.assert_whole()


def test_ids_that_are_not_ours_are_orphans(benches: dict[str, Bench]) -> None:
    """Whatever somebody else has put into a collection is named, whatever its id looks like, and removed."""
    bench = benches["milvus"]
    bench.restore()
    bench.store.open()
    bench.store.upsert([replace(stranger(1), record_id="one"), replace(stranger(2, document_id=""), record_id="2")])
    found = bench.audit()
    assert named(found) == {(ORPHANED, STORE): {"one", "2"}}
    bench.repair(found)
    bench.assert_whole()
    bench.corpus.close()


def test_weights_of_two_average_lengths_are_found_and_mended(edge: Bench) -> None:
    """A change of BM25's average length that was killed half-way is told, and ended by a repair."""
    stamp: Any = edge.store.open()
    store: Any = edge.store
    store._stamp(replace(stamp, average_length=-40.0))
    found = edge.audit()
    assert [(one.kind, one.uri) for one in found.findings] == [(ALTERED, "")]
    edge.repair(found)
    again = edge.store.open()
    assert again is not None
    assert again.average_length == pytest.approx(stamp.average_length, rel=0.1)
    edge.assert_whole()


def test_more_strangers_than_points_are_not_removed_unasked(edge: Bench) -> None:
    """Checkpoints that do not know the collection are likelier wrong than the collection: a flag says which."""
    edge.store.open()
    strangers = [stranger(number) for number in range(12)]
    edge.store.upsert(strangers)
    found = edge.audit()
    with pytest.raises(Terminal, match=r"12 of the 23 points .* --max-delete-fraction 1"):
        plan_repair(found)
    edge.repair(found, max_delete_fraction=1)
    edge.assert_whole()


def test_vectors_are_compared_by_direction() -> None:
    """Another length and rounding to 8 bits are the same vector; another text's, zeros, and NaN are not."""
    vector = Hashes().embed([[1]])[0]
    step = float(np.abs(vector).max()) / 127
    rounded = (np.round(vector / step) * step).astype(np.float32)
    assert VECTOR_TOLERANCE < 0.001
    assert same_direction(vector, vector * 3)
    assert same_direction(vector, rounded)
    nudged = vector + 0.02 * Hashes().embed([[2]])[0]
    for other in (nudged, Hashes().embed([[2]])[0], -vector, vector * 0, vector * np.nan, vector[:-1], vector[:0]):
        assert not same_direction(vector, other.astype(np.float32))


# -- The checkpoints ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "words"), [("documents", "its text"), ("chunks", "its chunks"), ("vectors", "vectors of its chunks")]
)
def test_what_parquet_lost_is_named_and_done_by_the_next_ingest(edge: Bench, table: str, words: str) -> None:
    """A part that is gone costs no point: its documents are named, and the next run makes them whole again."""
    for part in edge.root.glob(f"data/{table}/*/*.parquet"):
        part.unlink()
    found = edge.audit(str(edge.docs))
    assert named(found) == {(LOST, CHECKPOINTS): {"pump.md", "valve.md", "lamp.md"}}
    assert {one.detail for one in found.findings} == {f"Parquet lacks {words}"}
    assert edge.repair(found) == {"written": 0, "removed": 0}
    assert edge.points().keys() == edge.before.keys()
    assert named(edge.audit()) == named(found), "only an ingest mends it"
    edge.reopen(Hashes())
    report = edge.corpus.ingest(str(edge.docs))
    assert (report.upserted, report.deleted) == (0, 0)
    edge.assert_whole()


@pytest.mark.parametrize("table", ["chunks", "ledger"])
def test_a_part_that_cannot_be_read_is_unknown(edge: Bench, table: str) -> None:
    """A broken file is no proof that anything is missing: nothing is found, nothing is mended."""
    edge.store.open()
    edge.store.delete(edge.ids("lamp"))
    next(edge.root.glob(f"data/{table}/*/*.parquet")).write_bytes(b"PAR1 and then nothing")
    found = edge.audit(str(edge.docs))
    assert found.findings == []
    assert [one.what for one in found.unknown] == [CHECKPOINTS, STORE]
    assert "parquet" in found.unknown[0].reason
    assert plan_repair(found).empty


def test_what_a_killed_run_left_is_for_the_next_one(edge: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new document whose load was not finished is named; those points of it that are there are no orphans."""
    write(edge.docs / "new.md", "boiler", 4)
    edge.reopen(Hashes())
    upsert = edge.store.upsert

    def killed(points: Sequence[Point]) -> None:
        upsert(points[:2])
        raise Terminal("the disk is full")

    monkeypatch.setattr(edge.store, "upsert", killed)
    with pytest.raises(Terminal, match="the disk is full"):
        edge.corpus.ingest(str(edge.docs))
    monkeypatch.undo()
    found = edge.audit(str(edge.docs))
    assert named(found) == {(MISSING, CHECKPOINTS): {"new.md"}}
    assert plan_repair(found).empty
    edge.corpus.ingest(str(edge.docs))
    assert edge.audit(str(edge.docs)).clean


def test_a_lost_ledger_removes_nothing_that_a_source_lists(edge: Bench) -> None:
    """Points whose documents are listed wait for an ingest, which finds them there; none is removed in between."""
    shutil.rmtree(edge.root / "data" / "ledger")
    found = edge.audit(str(edge.docs))
    assert len(found.of(ORPHANED, STORE)) == 3
    assert len(found.of(MISSING, SOURCE)) == 4
    assert plan_repair(found).empty
    with pytest.raises(Terminal, match="correct --data"):
        plan_repair(edge.audit())
    report = edge.corpus.ingest(str(edge.docs))
    assert (report.upserted, report.deleted) == (0, 0)
    edge.assert_whole()


def test_documents_of_another_recipe_are_named(edge: Bench) -> None:
    """Until a run with a new chunk size is through, the documents that still have the old one are of another recipe."""
    other = {"chunk_tokens": 64}
    (edge.docs / "lamp.md").write_text("Another text for the lamp.")
    edge.reopen(Hashes(), recipe=other)
    edge.corpus.ingest(str(edge.docs / "lamp.md"))
    found = edge.audit(str(edge.docs))
    assert named(found) == {(OTHER_RECIPE, CHECKPOINTS): {"pump.md", "valve.md"}}
    assert plan_repair(found).empty
    edge.corpus.ingest(str(edge.docs))
    assert edge.audit(str(edge.docs)).clean


def test_an_older_version_of_a_rejected_document_may_be_of_an_older_recipe(edge: Bench) -> None:
    """What cannot be made again by the new recipe is known as rejected; what was not tried yet is named."""
    (edge.docs / "lamp.md").write_text(" ")
    edge.corpus.ingest(str(edge.docs))
    ledger = edge.corpus.checkpoints.ledger(ledger_name(edge.store, edge.corpus.checkpoints.root))
    [row] = [row for part in ledger.current() for row in part.to_pylist() if row["uri"].endswith("lamp.md")]
    shutil.copytree(edge.root / "data/documents" / row["parse"], edge.root / "data/documents/older")
    ledger.append([{**row, "parse": "older"}])
    assert edge.audit(str(edge.docs)).clean
    ledger.append([{**row, "parse": "older", "recipe": "older"}])
    assert named(edge.audit()) == {(OTHER_RECIPE, CHECKPOINTS): {"lamp.md"}}


def test_a_recipe_may_be_asked_for(edge: Bench) -> None:
    """Compared with the settings' recipe, documents chunked otherwise are named; another model is said once."""
    chunked = Corpus(embedder=NoEngine(), **{**edge.flags, "recipe": {"chunk_tokens": 64}}).recipe.fingerprints
    assert named(edge.audit(recipe=chunked)) == {(OTHER_RECIPE, CHECKPOINTS): {"pump.md", "valve.md", "lamp.md"}}
    exact = Corpus(embedder=NoEngine(), **{**edge.flags, "recipe": {"chunk_tokens": 32, "dtype": "float32"}})
    found = edge.audit(recipe=exact.recipe.fingerprints)
    assert [(one.kind, one.place) for one in found.findings] == [(OTHER_RECIPE, SETTINGS)]
    assert edge.audit(recipe=Corpus(embedder=NoEngine(), **edge.flags).recipe.fingerprints).clean


def test_a_collection_stamped_for_another_recipe_is_not_written_to(edge: Bench) -> None:
    """Where stamp and ledger disagree, a repair would mix vectors of two models: it leaves the collection alone."""
    stamp: Any = edge.store.open()
    store: Any = edge.store
    edge.store.delete(edge.ids("lamp"))
    store._stamp(replace(stamp, recipe="other", description={**stamp.description, "dtype": "float32"}))
    found = edge.audit()
    assert (OTHER_RECIPE, STORE) in named(found)
    assert plan_repair(found).empty


def test_a_lost_collection_of_another_language_is_made_for_that_language(edge: Bench) -> None:
    """Chunks that two collections share name the language of the first; the ledger proves which one it was."""
    german = {**edge.flags, "collection": "deutsch", "recipe": {"chunk_tokens": 32, "language": "german"}}
    with Corpus(embedder=NoEngine(), **german) as corpus:
        corpus.ingest(str(edge.docs))
        stamp = corpus.store.open()
    shutil.rmtree(edge.root / "index" / "deutsch")
    with Corpus(embedder=NoEngine(), **german) as corpus:
        plan = plan_repair(audit(corpus.checkpoints, corpus.store))
        with pytest.raises(Terminal, match="corpusvec ingest"):
            repair(plan, corpus.checkpoints, corpus.store, ["french"])
        assert corpus.store.open() is None
        repair(plan, corpus.checkpoints, corpus.store, ["french", "german"])
        again = corpus.store.open()
        assert stamp is not None
        assert again is not None
        assert (again.language, again.recipe, again.description) == ("german", stamp.recipe, stamp.description)
        assert audit(corpus.checkpoints, corpus.store).clean


# -- The sources ----------------------------------------------------------------------------------------------------


def test_new_changed_and_deleted_files_are_named_and_touched_ones_are_not(edge: Bench) -> None:
    """The listing against the ledger: only a file whose bytes have changed is stale; an ingest mends it all."""
    write(edge.docs / "new.md", "boiler", 2)
    same_size = (edge.docs / "pump.md").read_text().replace("with care", "with love")
    (edge.docs / "pump.md").write_text(same_size)
    os.utime(edge.docs / "pump.md", (time.time() + 60, time.time() + 60))
    os.utime(edge.docs / "valve.md", (time.time() + 60, time.time() + 60))
    (edge.docs / "lamp.md").unlink()
    found = edge.audit(str(edge.docs))
    assert named(found) == {
        (MISSING, SOURCE): {"new.md"}, (STALE, SOURCE): {"pump.md"}, (ORPHANED, SOURCE): {"lamp.md"},
    }  # fmt: skip
    assert found.unknown == []
    assert plan_repair(found).empty
    assert len(plan_repair(found).as_dict()["ingest"]) == 3
    edge.reopen(Hashes(), limits={"max_delete_fraction": 1})
    edge.corpus.ingest(str(edge.docs))
    assert edge.audit(str(edge.docs)).clean


def test_a_rejected_document_is_no_finding_until_it_changes(edge: Bench) -> None:
    """It is known and counted; once its file has changed, the collection is behind its source again."""
    assert edge.audit(str(edge.docs)).rejected == 1
    (edge.docs / "empty.txt").write_text("no longer empty")
    assert named(edge.audit(str(edge.docs))) == {(STALE, SOURCE): {"empty.txt"}}
    (edge.docs / "empty.txt").unlink()
    assert edge.audit(str(edge.docs)).clean, "the collection holds nothing of it"


def test_a_source_that_cannot_be_listed_is_unknown(edge: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a broken listing shows or lacks is no finding, and no orphan is removed on its word; the rest is judged."""
    (edge.docs / "lamp.md").unlink()
    write(edge.docs / "new.md", "boiler", 1)
    source = open_source(str(edge.docs))
    items = list(source.list())

    def listing() -> Iterator[Any]:
        yield from items[:2]
        raise SourceError("the folder cannot be listed")

    monkeypatch.setattr(source, "list", listing)
    edge.store.open()
    edge.store.delete(edge.ids("valve")[:1])
    edge.store.upsert([stranger(1)])
    found = audit(edge.corpus.checkpoints, edge.store, [source])
    assert named(found) == {
        (MISSING, STORE): {edge.ids("valve")[0]}, (ORPHANED, STORE): {stranger(1).record_id},
    }  # fmt: skip
    assert [(one.what, one.reason) for one in found.unknown] == [(source.name, "the folder cannot be listed")]
    plan = plan_repair(found)
    assert (plan.points, plan.remove) == (1, [])


def test_a_file_that_cannot_be_read_is_unknown(edge: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a file has changed cannot be told without its bytes, unless it has another size."""
    write(edge.docs / "pump.md", "pump", 9)
    os.utime(edge.docs / "valve.md", (time.time() + 60, time.time() + 60))
    source = open_source(str(edge.docs))

    def away(item: Any) -> bytes:
        raise Transient("the server does not answer")

    monkeypatch.setattr(source, "read", away)
    found = audit(edge.corpus.checkpoints, edge.store, [source])
    assert named(found) == {(STALE, SOURCE): {"pump.md"}}
    assert [Path(one.what).name for one in found.unknown] == ["valve.md"]


def test_the_ledger_knows_its_sources(edge: Bench) -> None:
    """The sources that documents came from can be listed again without being named again."""
    names = sources_of(edge.corpus.checkpoints, edge.store)
    assert names == [open_source(str(edge.docs)).name]
    assert edge.audit(*names).clean


# -- Anything ---------------------------------------------------------------------------------------------------------

POINTS = 11
numbers = st.integers(0, POINTS - 1)
acts = st.one_of(
    st.tuples(st.just("delete"), numbers),
    st.tuples(st.just("title"), numbers),
    st.tuples(st.just("text"), numbers),
    st.tuples(st.just("swap"), numbers, numbers),
    st.tuples(st.just("alien"), numbers),
    st.tuples(st.just("older"), numbers),
)


@pytest.mark.parametrize(("kind", "examples"), [("edge", 15), ("milvus", 5)])
def test_whatever_is_done_is_named_and_mended(benches: dict[str, Bench], kind: str, examples: int) -> None:
    """Any sequence of deletions, alterations and additions: the audit names exactly what differs, repair undoes it."""
    bench = benches[kind]
    bench.restore()
    ids = sorted(bench.before)
    assert len(ids) == POINTS

    @settings(max_examples=examples, deadline=None, database=None)
    @given(st.lists(acts, max_size=8))
    def check(sequence: Sequence[tuple[Any, ...]]) -> None:
        model = dict(bench.before)
        bench.store.open()
        for act, *which in sequence:
            name = ids[which[0]]
            if act == "delete":
                model.pop(name, None)
                bench.store.delete([name])
                continue
            if act in ("alien", "older"):
                uri = "file:///alien.md" if act == "alien" else bench.before[name].payload["uri"]
                new = stranger(which[0], uri=uri)
            elif name not in model:
                continue
            elif act == "swap":
                new = replace(model[name], vector=bench.before[ids[which[1]]].vector)
            elif act == "title":
                new = replace(model[name], payload={**model[name].payload, "title": "another"})
            else:
                new = replace(model[name], lexical_text="other words")
            model[new.record_id] = new
            bench.store.upsert([new])
        found = bench.audit(str(bench.docs))
        expected: dict[tuple[str, str], set[str]] = {}
        for name in bench.before.keys() - model.keys():
            expected.setdefault((MISSING, STORE), set()).add(name)
        for name, point in model.items():
            before = bench.before.get(name)
            if before is None:
                alien = point.payload["uri"] == "file:///alien.md"
                expected.setdefault((ORPHANED if alien else STALE, STORE), set()).add(name)
            elif not same(before, point):
                expected.setdefault((ALTERED, STORE), set()).add(name)
        assert named(found) == expected
        assert found.unknown == []
        bench.repair(found, max_delete_fraction=1)
        bench.assert_whole()

    check()
    bench.corpus.close()


def same(one: Point, other: Point) -> bool:
    """Whether two points are equal."""
    texts = (one.payload, one.lexical_text) == (other.payload, other.lexical_text)
    return texts and bool(np.allclose(one.vector, other.vector, atol=1e-6))


def test_an_empty_plan_does_nothing(edge: Bench) -> None:
    """A repair of nothing writes nothing, not even to the ledger."""
    parts = list(edge.root.rglob("*.parquet"))
    assert repair(Plan(), edge.corpus.checkpoints, Failing(edge.store, "flush"), []) == {  # type: ignore[arg-type]
        "written": 0, "removed": 0,
    }  # fmt: skip
    assert list(edge.root.rglob("*.parquet")) == parts
