"""Erasure leaves nothing of a document, in the store or in any file, and nothing else is lost."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from connectors.stores import open_store
from pipeline.checkpoint import Checkpoints
from pipeline.compact import compact
from pipeline.erase import ERASED, Receipt, erase
from pipeline.errors import Transient, UsageError
from pipeline.ledger import ledger_name
from pipeline.ports import VectorStore
from pipeline.types import CollectionSpec, Point, document_id, record_id
from tests.pipeline.test_compact import (
    DIMENSIONS,
    Recipe,
    Writer,
    contents,
    digest,
    expected,
    files,
    killed_everywhere,
    rows_of,
    vector_of,
    view,
)

SPEC = CollectionSpec("r", DIMENSIONS, {}, "english", 3.0)

#: Whom it is about, and everybody else.
SECRET = "file:///people/Anna%20Secret.txt"
TABLE = "file:///people/table.jsonl"
OTHER = "file:///people/Anna%20Secret.txt.bak"
EARLY = "file:///people/early.txt"

TEXTS = {
    SECRET: "anna lives in oslo\nshared sentence\nshared inside\nshared inside",
    OTHER: "shared sentence\nberta lives in rome",
    f"{TABLE}#1": "row of anna",
    f"{TABLE}#10": "row of carl",
    f"{TABLE}-2#1": "another table",
}


class FileStore:
    """As much of a store as an erasure asks for, a file a point: for being killed between any two of them."""

    def __init__(self, folder: Path, collection: str) -> None:
        self.url = f"file:{folder}"
        self.folder = folder / collection
        self.collection = collection

    def open(self, spec: CollectionSpec | None = None) -> CollectionSpec | None:
        """There once a spec was given."""
        if spec is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        return SPEC if self.folder.exists() else None

    def upsert(self, points: Sequence[Point]) -> None:
        """Write or overwrite."""
        for point in points:
            (self.folder / point.record_id).write_text(json.dumps(point.payload))

    def scroll(self) -> Iterator[Point]:
        """Every point."""
        for path in self.folder.iterdir():
            yield Point(path.name, np.empty(0, np.float32), "", json.loads(path.read_text()))

    def ids_of(self, document_ids: Sequence[str]) -> Mapping[str, set[str]]:
        """The points of each document."""
        held: dict[str, set[str]] = {}
        for point in self.scroll():
            if point.payload["document_id"] in document_ids:
                held.setdefault(point.payload["document_id"], set()).add(point.record_id)
        return held

    def delete(self, record_ids: Sequence[str]) -> None:
        """Remove points."""
        for record in record_ids:
            (self.folder / record).unlink()

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""


class Place:
    """Checkpoints in a folder, and a store elsewhere."""

    def __init__(self, root: Path, store: Callable[[str], Any]) -> None:
        self.root = root
        self.store = store
        self.checkpoints = Checkpoints(str(root))

    def ledger(self, collection: str) -> str:
        return ledger_name(self.store(collection), str(self.root))

    def load(self, collection: str, texts: Mapping[str, str], recipe: Recipe | None = None) -> None:
        """What a run does, as far as an erasure is concerned."""
        Writer(str(self.root), recipe or Recipe()).load(self.ledger(collection), texts)
        store = self.store(collection)
        store.open(SPEC)
        for uri, text in texts.items():
            store.delete(sorted(set().union(*store.ids_of([document_id(uri)]).values())))
            store.upsert(list(points(uri, text)))
        store.close()

    def erase(self, collection: str, *uris: str) -> Receipt:
        """As another process would."""
        store = self.store(collection)
        try:
            return erase(Checkpoints(str(self.root)), store, uris)
        finally:
            store.close()

    def held(self, collection: str) -> dict[str, list[str]]:
        """The texts of the store's points, by URI."""
        store = self.store(collection)
        found: dict[str, list[str]] = {}
        if store.open() is not None:
            for point in store.scroll():
                found.setdefault(point.payload["uri"], []).append(point.payload["text"])
        store.close()
        return {uri: sorted(texts) for uri, texts in found.items()}


def points(uri: str, text: str) -> Iterator[Point]:
    lines = text.splitlines()
    for place, line in enumerate(lines):
        identity = document_id(uri)
        payload = {
            "document_id": identity, "uri": uri, "source": "somewhere", "title": "", "section": "", "page": None,
            "page_to": None, "position": place, "media_type": "text/plain", "text": line, "metadata": {},
        }  # fmt: skip
        occurrence = lines[:place].count(line)
        vector = np.array(vector_of(line), np.float32)
        yield Point(record_id(identity, digest(line), occurrence), vector, line, payload)


def traces(root: Path, words: Iterable[str]) -> list[str]:
    """Which of `words` are in a file's bytes or name, or in any cell of a part, and where."""
    found = []
    for name, data in files(root).items():
        cells = data
        if name.endswith(".parquet"):
            part = pq.read_table(root / name)
            cells += json.dumps(part.to_pylist(), default=repr, ensure_ascii=False).encode()
            cells += repr(part.schema.metadata).encode()
        found += [f"{word} in {name}" for word in words if word.encode() in cells or word in name]
    return found


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Edge is: one for all tests, since an empty collection has two hundred megabytes."""
    return tmp_path_factory.mktemp("edge")


@pytest.fixture
def place(tmp_path: Path, edge: Path) -> Place:
    """A collection with a history."""
    made = Place(tmp_path / "data", lambda collection: open_store(f"edge:{edge}", collection))
    for collection in ("docs", "more"):
        store = made.store(collection)
        if store.open() is not None:
            store.delete([point.record_id for point in store.scroll()])
        store.close()
    made.load("docs", {SECRET: "anna lived in paris\nshared sentence"})
    made.load("docs", TEXTS)
    return made


def entry(uri: str, **values: Any) -> dict[str, Any]:
    """A row of a ledger."""
    state = {"document_id": document_id(uri), "uri": uri, "version_id": "", "chunks": 0, "at": datetime.now(UTC)}
    return {**state, **values}


def test_nothing_is_left_of_an_erased_document(place: Place) -> None:
    """Neither its URI nor its id, nor a word of any of its versions, is in any file; all else is as it was."""
    receipt = place.erase("docs", SECRET)
    assert traces(place.root, [f'"{SECRET}"', document_id(SECRET), "anna lives", "anna lived", "shared inside"]) == []
    assert receipt.uris == [SECRET]
    # Two versions of the document; 2 + 4 chunks, one text of which twice; one text is another document's too.
    assert (receipt.points, receipt.documents, receipt.chunks, receipt.ledger_rows) == (4, 2, 6, 2)
    assert (receipt.vectors, receipt.vectors_shared) == (3, 1)
    assert (receipt.elsewhere, receipt.verified) == ([], True)
    rest = {uri: text for uri, text in TEXTS.items() if uri != SECRET}
    assert view(str(place.root)) == {place.ledger("docs"): expected(rest)}
    assert place.held("docs") == {uri: sorted(text.splitlines()) for uri, text in rest.items()}
    assert len(place.checkpoints.vectors("e1")) == len({line for text in rest.values() for line in text.splitlines()})


def test_all_collections_under_a_root_may_be_erased_to_nothing(place: Place) -> None:
    """When every document is erased, no part is left, and whoever erases again is told that nothing is known."""
    receipt = place.erase("docs", *TEXTS)
    assert (receipt.verified, sorted(receipt.uris)) == (True, sorted(TEXTS))
    assert files(place.root) == {}
    assert place.held("docs") == {}
    with pytest.raises(UsageError, match="nothing here is known of"):
        place.erase("docs", SECRET)


def test_a_file_goes_with_the_documents_inside_of_it(place: Place) -> None:
    """The URI of a table takes its rows along, and nothing that only begins alike."""
    receipt = place.erase("docs", TABLE)
    assert receipt.uris == [f"{TABLE}#1", f"{TABLE}#10"]
    assert set(place.held("docs")) == {SECRET, OTHER, f"{TABLE}-2#1"}
    assert traces(place.root, [f"{TABLE}#", "row of anna", "row of carl"]) == []


def test_one_row_of_a_file_goes_alone(place: Place) -> None:
    """A row's own URI takes that row; the row whose number begins alike stays."""
    assert place.erase("docs", f"{TABLE}#1").uris == [f"{TABLE}#1"]
    assert set(place.held("docs")) == set(TEXTS) - {f"{TABLE}#1"}


def test_an_unknown_document_is_named_and_nothing_happens(place: Place) -> None:
    """If nothing is known of one of the documents, none is erased."""
    before, held = files(place.root), place.held("docs")
    with pytest.raises(
        UsageError, match=r"nothing here is known of file:///people/Nobody\.txt, and nothing was erased"
    ):
        place.erase("docs", SECRET, "file:///people/Nobody.txt")
    assert files(place.root) == before
    assert place.held("docs") == held


def test_what_another_collection_holds_stays_until_it_is_erased_there(place: Place) -> None:
    """The receipt names the ledger of each collection that still holds it; erased there too, everything is gone."""
    place.load("more", {SECRET: TEXTS[SECRET], OTHER: "berta"}, Recipe(chunk="c2", embed="e2"))
    before = place.held("more")
    receipt = place.erase("docs", SECRET)
    assert receipt.elsewhere == [place.ledger("more")]
    assert (receipt.points, receipt.chunks, receipt.verified) == (4, 0, True)
    assert SECRET not in place.held("docs")
    assert place.held("more") == before
    assert view(str(place.root))[place.ledger("more")] == expected({SECRET: TEXTS[SECRET], OTHER: "berta"})
    assert SECRET not in view(str(place.root))[place.ledger("docs")]
    receipt = place.erase("more", SECRET)
    assert (receipt.elsewhere, receipt.verified) == ([], True)
    assert traces(place.root, [f'"{SECRET}"', document_id(SECRET), "anna lives", "shared inside"]) == []


def test_a_rejected_document_is_erased_with_its_reason(place: Place) -> None:
    """Documents that never made it into the store are known by the ledger's row alone, and that goes."""
    uri = "s3://bucket/people/scan.pdf"
    rejected = entry(uri, status="rejected", stage="parse", reason="scan.pdf has no text", tries=2)
    place.checkpoints.ledger(place.ledger("docs")).append([rejected])
    place.checkpoints.ledger(place.ledger("other")).append([rejected])
    receipt = place.erase("docs", uri)
    assert (receipt.points, receipt.ledger_rows, receipt.elsewhere, receipt.verified) == (0, 2, [], True)
    assert traces(place.root, ["scan.pdf", document_id(uri)]) == []


def test_the_record_of_runs_names_it_no_more(place: Place) -> None:
    """Entries about it leave the reports, its name leaves other sentences; other names and all counts stay."""
    path = "/people/Anna Secret.txt"
    report = {
        "documents": {"seen": 5},
        "rejected": [{"uri": SECRET, "stage": "read", "reason": f"{SECRET} is gone"},
                     {"uri": f"{SECRET}#2", "stage": "read", "reason": "no"},
                     {"uri": OTHER, "stage": "read", "reason": "too long"}],
        "warnings": [{"uri": SECRET, "warning": "page 2"}, {"uri": OTHER, "warning": f"same as {SECRET}, but longer"}],
    }  # fmt: skip
    now = datetime.now(UTC)
    untouched = {"run_id": str(uuid.uuid4()), "status": "completed", "sources": ["file:///people/"], "started_at": now,
                 "report": json.dumps({"rejected": [{"uri": OTHER}]}), "parameters": "no JSON"}  # fmt: skip
    run = {**untouched, "run_id": str(uuid.uuid4()), "sources": [SECRET, OTHER], "report": json.dumps(report),
           "status": f"failed: cannot read {path}; try again", "parameters": json.dumps({"only": SECRET})}  # fmt: skip
    place.checkpoints.runs().append([run, untouched])
    place.checkpoints.runs().append([{**untouched, "run_id": str(uuid.uuid4())}])
    receipt = place.erase("docs", SECRET)
    assert (receipt.runs, receipt.verified) == (1, True)
    rows = {row["run_id"]: row for row in rows_of(Checkpoints(str(place.root)).runs())}
    assert len(rows) == 3
    found = rows[run["run_id"]]
    assert found["sources"] == [ERASED, OTHER]
    assert found["status"] == f"failed: cannot read {ERASED}; try again"
    assert json.loads(found["parameters"]) == {"only": ERASED}
    assert json.loads(found["report"]) == {
        "documents": {"seen": 5},
        "rejected": report["rejected"][2:],
        "warnings": [{"uri": OTHER, "warning": f"same as {ERASED}, but longer"}],
    }
    assert rows[untouched["run_id"]]["report"] == untouched["report"]


def test_what_no_ledger_names_any_more_is_found(place: Place) -> None:
    """A text whose ledger was lost, and points that nothing else knows of, are erased all the same."""
    shutil.rmtree(place.root / "ledger")
    assert place.erase("docs", SECRET).documents == 2
    shutil.rmtree(place.root)
    receipt = place.erase("docs", OTHER)
    assert (receipt.points, receipt.uris, receipt.verified) == (2, [OTHER], True)
    assert OTHER not in place.held("docs")


def test_where_there_is_no_collection_the_files_are_erased(place: Place, edge: Path) -> None:
    """A store that was dropped has no points to remove; the rest goes."""
    shutil.rmtree(edge)
    receipt = place.erase("docs", SECRET)
    assert (receipt.points, receipt.chunks, receipt.verified) == (0, 6, True)


def test_what_a_killed_writer_left_goes_too(place: Place) -> None:
    """A half-written file may hold the text as well."""
    (place.root / "documents" / "p1" / ".1-a.parquet.0.tmp").write_bytes(b"anna lives in oslo")
    place.erase("docs", SECRET)
    assert traces(place.root, ["anna lives"]) == []


def test_compaction_before_or_after_makes_no_difference(place: Place, tmp_path: Path) -> None:
    """Merged or not, the same is left."""
    shutil.copytree(place.root, tmp_path / "copy")
    place.erase("docs", SECRET)
    compact(Checkpoints(str(place.root)))
    after = contents(str(place.root))
    shutil.rmtree(place.root)
    shutil.copytree(tmp_path / "copy", place.root)
    compact(Checkpoints(str(place.root)))
    place.erase("docs", SECRET)
    assert contents(str(place.root)) == after


class Forgetful:
    """A store that says it has deleted, and has not."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def delete(self, record_ids: Sequence[str]) -> None:
        """Does nothing."""


def test_a_store_that_did_not_delete_is_found_out(place: Place) -> None:
    """The receipt says verified only if the store, asked again, has nothing."""
    store = place.store("docs")
    receipt = erase(place.checkpoints, Forgetful(store), [SECRET])
    store.close()
    assert receipt.verified is False


class Away(Forgetful):
    """A store that does not answer."""

    def delete(self, record_ids: Sequence[str]) -> None:
        """Is away."""
        raise Transient("the store does not answer")


def test_a_store_that_is_away_ends_it_and_the_same_call_goes_on(place: Place) -> None:
    """What could not be ended is not forgotten: the documents are still known, and no longer taken for loaded."""
    store = place.store("docs")
    with pytest.raises(Transient):
        erase(place.checkpoints, Away(store), [SECRET])
    store.close()
    assert SECRET not in view(str(place.root))[place.ledger("docs")]
    assert place.erase("docs", SECRET).verified
    assert traces(place.root, [document_id(SECRET), "anna lives"]) == []


def killable(folder: Path) -> Place:
    """Everything, store and all, under one folder."""
    return Place(folder / "data", lambda collection: FileStore(folder / "points", collection))


def erase_at(folder: Path) -> None:
    """What the killed process does."""
    killable(folder).erase("docs", SECRET, EARLY)


def test_an_erasure_may_be_killed_before_any_effect(tmp_path: Path) -> None:
    """A kill -9 before each write and each removal: nobody else loses anything, and the same call ends it."""
    seed = killable(tmp_path / "seed")
    seed.load("docs", {SECRET: "anna\nshared", EARLY: "anna too"})
    seed.load("docs", {SECRET: "anna lives\nshared", OTHER: "shared\nberta"})
    seed.checkpoints.ledger("other").append([entry(SECRET, status="rejected", reason="no text")])
    report = json.dumps({"rejected": [{"uri": SECRET}]})
    seed.checkpoints.runs().append([{"run_id": str(uuid.uuid4()), "report": report}])
    folders = killed_everywhere(__name__, "erase_at", tmp_path / "seed", tmp_path / "killed")
    assert len(folders) > 30
    whole = current(str(folders[-1] / "data"))
    for folder in folders[:-1]:
        place = killable(folder)
        assert view(str(place.root))[place.ledger("docs")][OTHER] == expected({OTHER: "shared\nberta"})[OTHER], folder
        try:
            assert place.erase("docs", SECRET, EARLY).verified, folder
        except UsageError:  # killed when all was done
            assert folder in folders[-3:]
        assert current(str(place.root)) == whole, folder
        assert place.held("docs") == {OTHER: ["berta", "shared"]}, folder
        assert traces(place.root, [f'"{SECRET}"', document_id(SECRET), EARLY, "anna"]) == [], folder


def current(root: str) -> dict[str, list[str]]:
    """The current rows of every table."""
    return {name: sorted(map(repr, rows_of(table))) for name, table in Checkpoints(root).all_tables().items()}
