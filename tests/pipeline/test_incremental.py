"""Night after night: what changed is done, the rest is left alone; plans say beforehand what will happen."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import Corpus
from pipeline.embed.vllm import VllmEmbedder
from pipeline.errors import Terminal, Transient, UsageError
from pipeline.lock import held
from pipeline.types import Point, Vectors

# Each part fills a chunk of 40 tokens, so that no two share one.
_RULE = "Rule {n} says that crane {n} is greased on day {n} of each month, before the yard opens and by two people."
HANDBOOK = "\n\n".join(["# Handbook", *(f"## Part {n}\n\n{_RULE.format(n=n)}" for n in range(9))])


@pytest.fixture
def folder(workplace: Path) -> Path:
    """A handbook of nine parts, and four notes."""
    docs = workplace / "docs"
    (docs / "hr").mkdir(parents=True)
    (docs / "handbook.md").write_text(HANDBOOK)
    for name in ("a", "b", "c", "hr/pay"):
        (docs / f"{name}.txt").write_text(f"The note {name} is about the ferry of pier {name}.")
    return docs


@pytest.fixture
def opened(opened: Callable[..., Corpus]) -> Callable[..., Corpus]:
    """The same with small chunks."""
    return lambda **flags: opened(**{**flags, "recipe": {"chunk_tokens": 40, **flags.get("recipe", {})}})


class NoEngine:
    """Whoever asks it for a vector has failed."""

    dimensions = 384

    def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
        """Never."""
        raise AssertionError("there was nothing to embed")

    def close(self) -> None:
        """Nothing to free."""


def points(corpus: Corpus) -> dict[str, Point]:
    """Everything the store holds, by record id."""
    corpus.store.open()
    return {point.record_id: point for point in corpus.store.scroll(vectors=True)}


def documents(report: Any) -> dict[str, int]:
    """The document counts that are not zero."""
    return {name: count for name, count in report.as_dict()["documents"].items() if count}


def equal(one: dict[str, Point], other: dict[str, Point]) -> bool:
    """Whether two stores hold the same: ids, payloads and vectors."""
    return one.keys() == other.keys() and all(
        one[key].payload == other[key].payload and np.array_equal(one[key].vector, other[key].vector) for key in one
    )


class TestEdits:
    """Only what differs is made and written."""

    def test_unchanged_chunks_of_an_edited_document_stay(
        self, folder: Path, opened: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One rule of nine is edited: one chunk is embedded, one point written, one removed; the others keep theirs."""
        corpus = opened()
        corpus.ingest(str(folder))
        before = points(corpus)
        (folder / "handbook.md").write_text(HANDBOOK.replace("Rule 4 says", "Rule 4 now says"))
        corpus = opened()
        written: list[str] = []
        upsert = corpus.store.upsert
        monkeypatch.setattr(
            corpus.store, "upsert", lambda some: (written.extend(p.record_id for p in some), upsert(some))
        )
        report = corpus.ingest(str(folder))
        after = points(corpus)
        assert documents(report) == {"seen": 5, "changed": 1, "unchanged": 4}
        assert (report.embedded, report.upserted, report.deleted, report.patched) == (1, 1, 1, 0)
        assert set(written) == after.keys() - before.keys()
        assert len(before.keys() - after.keys()) == 1

    def test_a_chunk_that_only_moved_is_patched(self, folder: Path, opened: Callable[..., Corpus]) -> None:
        """A part put in front shifts the others' positions: their payloads are patched, their vectors left alone."""
        corpus = opened()
        corpus.ingest(str(folder))
        before = points(corpus)
        (folder / "handbook.md").write_text(
            HANDBOOK.replace("## Part 0", f"## Before all\n\n{_RULE.format(n='none')}\n\n## Part 0")
        )
        report = corpus.ingest(str(folder))
        assert report.embedded == 1
        assert report.upserted <= 2, "the new part, and the one whose neighbour it took"
        assert report.patched == 8
        after = points(corpus)
        rules = [p.payload["position"] for p in sorted(after.values(), key=lambda p: p.payload["position"])
                 if p.payload["uri"].endswith("handbook.md")]  # fmt: skip
        assert rules == list(range(len(rules)))
        same = before.keys() & after.keys()
        assert all(np.array_equal(before[key].vector, after[key].vector) for key in same)

    def test_metadata_alone_patches_payloads(
        self, folder: Path, opened: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """New access rights for a folder reach its payloads without reading, parsing or embedding anything."""
        opened().ingest(str(folder))
        rules = [{"match": "hr/*", "set": {"groups": ["hr"], "level": 3}}]
        monkeypatch.setattr("pipeline.documents.parse", lambda *_: pytest.fail("parsed again"))
        corpus = opened(metadata=rules, embedder=NoEngine())
        report = corpus.ingest(str(folder))
        assert documents(report) == {"seen": 5, "changed": 1, "unchanged": 4}
        assert (report.patched, report.upserted, report.deleted) == (1, 0, 0)
        assert "read" not in report.as_dict()["seconds"]
        (hit,) = corpus.search("ferry", mode="bm25", filters=["metadata.groups=hr"])
        assert hit.uri.endswith("hr/pay.txt")
        assert documents(opened(metadata=rules, embedder=NoEngine()).ingest(str(folder))) == {"seen": 5, "unchanged": 5}
        corpus = opened(embedder=NoEngine())
        assert corpus.ingest(str(folder)).patched == 1
        assert corpus.search("ferry", mode="bm25", filters=["metadata.groups=hr"]) == []

    def test_metadata_of_a_row_alone_patches_its_payload(
        self, workplace: Path, opened: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A changed column beside the text of a row costs no parse and no embedding."""
        path = workplace / "rows.jsonl"
        rows = [{"_id": str(n), "text": f"pump number {n}", "owner": "ann"} for n in range(3)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        opened().ingest(f"jsonl:{path}")
        rows[1]["owner"] = "bob"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        monkeypatch.setattr("pipeline.documents.parse", lambda *_: pytest.fail("parsed again"))
        corpus = opened(embedder=NoEngine())
        report = corpus.ingest(f"jsonl:{path}")
        assert (documents(report), report.patched) == ({"seen": 3, "changed": 1, "unchanged": 2}, 1)
        assert [hit.text for hit in corpus.search("pump", mode="bm25", filters=["metadata.owner=bob"])] == [
            "pump number 1"
        ]

    def test_touched_files_keep_their_metadata(self, folder: Path, opened: Callable[..., Corpus]) -> None:
        """A new time of an equal file changes nothing, neither in the store nor in what a rebuilt store gets."""
        rules = [{"match": "hr/*", "set": {"groups": ["hr"]}}]
        opened(metadata=rules).ingest(str(folder))
        os.utime(folder / "hr/pay.txt", (1, 1))
        corpus = opened(metadata=rules, embedder=NoEngine())
        report = corpus.ingest(str(folder))
        assert (documents(report), report.patched) == ({"seen": 5, "unchanged": 5}, 0)
        before = points(corpus)
        (record,) = [key for key, point in before.items() if point.payload["uri"].endswith("pay.txt")]
        assert before[record].payload["metadata"]["groups"] == ["hr"]


class TestMoves:
    """A document that turns up elsewhere is not lost, and not made again."""

    def test_a_renamed_folder_is_no_loss(self, folder: Path, opened: Callable[..., Corpus]) -> None:
        """All files under another name at once: nothing embedded, and no limit on deletions in the way."""
        opened().ingest(str(folder))
        (folder / "2025").mkdir()
        for path in [*folder.glob("*.txt"), folder / "handbook.md"]:
            path.rename(folder / "2025" / path.name)
        corpus = opened(limits={"max_delete_fraction": 0.1}, embedder=NoEngine())
        plan = corpus.plan(str(folder))
        report = corpus.ingest(str(folder))
        assert documents(report) == {"seen": 5, "moved": 4, "unchanged": 1}
        assert plan.planned.documents == report.planned.documents
        assert {Path(point.payload["uri"]).parent.name for point in points(corpus).values()} == {"2025", "hr"}

    def test_what_is_gone_and_not_moved_still_counts(self, folder: Path, opened: Callable[..., Corpus]) -> None:
        """Moves and real losses together: the losses are held against the limit, and the message says how to go on."""
        opened().ingest(str(folder))
        (folder / "a.txt").rename(folder / "d.txt")
        (folder / "b.txt").unlink()
        (folder / "c.txt").unlink()
        corpus = opened(embedder=NoEngine())
        with pytest.raises(Terminal, match=r"2 of the 5 documents of .* --max-delete-fraction 1"):
            corpus.ingest(str(folder))
        assert {Path(point.payload["uri"]).name for point in points(corpus).values()} == {
            "a.txt", "b.txt", "c.txt", "d.txt", "pay.txt", "handbook.md",
        }  # fmt: skip
        with pytest.raises(Terminal, match="--max-delete-fraction 1"):
            opened(embedder=NoEngine()).plan(str(folder))
        report = opened(limits={"max_delete_fraction": 1}, embedder=NoEngine()).ingest(str(folder))
        # The move was done by the run before, so that its old name is now one more that is gone.
        assert documents(report) == {"seen": 3, "unchanged": 3, "deleted": 3}


def test_a_long_run_keeps_its_ledger_small(workplace: Path, opened: Callable[..., Corpus]) -> None:
    """However many units a run has, the ledger's parts are merged on the way: neither their number nor the time to
    merge them at the end grows with the run."""
    (workplace / "many").mkdir()
    for number in range(100):
        (workplace / "many" / f"{number}.txt").write_text(f"Note {number} of a hundred.\n")
    most = 0

    def count_parts(_: object) -> None:
        nonlocal most
        most = max(most, len(list(Path("data/ledger").glob("*/*.parquet"))))

    report = opened(limits={"unit_documents": 1}).ingest(str(workplace / "many"), progress=count_parts)
    assert documents(report) == {"seen": 100, "new": 100}
    assert 2 < most <= 70  # two parts a unit
    with opened() as corpus:
        assert corpus.audit(str(workplace / "many")).findings == []


class TestPlan:
    """`plan` says what `ingest` does, and touches nothing."""

    def test_a_plan_is_exact_and_touches_nothing(self, folder: Path, opened: Callable[..., Corpus]) -> None:
        """Counts of documents, chunks, tokens, vectors, points and bytes are those of the run that follows."""

        def files() -> dict[str, bytes]:
            return {str(path): path.read_bytes() for path in Path("data").rglob("*") if path.is_file()}

        first = opened(embedder=NoEngine()).plan(str(folder))
        assert not Path("data").exists()
        report = opened().ingest(str(folder))
        assert first.planned.as_dict() == report.planned.as_dict()
        opened(embedder=NoEngine()).close()
        (folder / "handbook.md").write_text(HANDBOOK.replace("Rule 4 says", "Rule 4 now says"))
        (folder / "copy.txt").write_bytes((folder / "a.txt").read_bytes())
        (folder / "b.txt").unlink()
        (folder / "c.txt").rename(folder / "cc.txt")
        (folder / "empty.txt").touch()
        before = files()
        corpus = opened(embedder=NoEngine(), store="edge:data/index")
        planned = corpus.plan(str(folder)).planned.as_dict()
        corpus.close()
        assert {name for name in files() if "/index/" not in name} == {n for n in before if "/index/" not in n}
        report = opened().ingest(str(folder))
        done = report.as_dict()
        assert planned["documents"] == done["documents"] == {
            "seen": 6, "new": 1, "changed": 1, "moved": 1, "unchanged": 2, "deleted": 1, "rejected": 1,
        }  # fmt: skip
        for name in ("chunks", "tokens", "embedded", "embedded_tokens", "reused", "points", "bytes"):
            assert planned[name] == done[name] == report.planned.as_dict()[name], name

    def test_a_plan_estimates_the_time_from_what_was_measured(
        self, folder: Path, opened: Callable[..., Corpus]
    ) -> None:
        """Without an earlier run it says that it does not know; after one it does, and twice the work takes longer."""
        assert opened().plan(str(folder)).planned_seconds is None
        opened().ingest(str(folder))
        nothing = opened().plan(str(folder)).planned_seconds
        (folder / "new.txt").write_text("The new crane of pier nine is blue. " * 50)
        some = opened().plan(str(folder)).planned_seconds
        assert nothing is not None
        assert some is not None
        assert some >= nothing


class TestRecipes:
    """A new recipe re-runs the least that it can."""

    def test_a_new_model_never_touches_the_source(self, folder: Path, opened: Callable[..., Corpus]) -> None:
        """Another dtype, in another collection: everything is embedded from Parquet; no file is opened."""
        opened().ingest(str(folder))
        sizes = {path: path.stat() for path in folder.rglob("*.*")}
        for path, status in sizes.items():
            # The listing says the same, but whoever opened the file would read something else.
            path.write_bytes(b"?" * status.st_size)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        before = points(opened())
        report = opened(recipe={"dtype": "float32"}, collection="exact").ingest(str(folder))
        assert documents(report) == {"seen": 5, "new": 5}
        assert report.embedded == len(before)
        assert {"read", "parse"} & report.as_dict()["seconds"].keys() == set()
        texts = sorted(point.payload["text"] for point in points(opened(collection="exact")).values())
        assert texts == sorted(point.payload["text"] for point in before.values())

    def test_a_lost_collection_is_loaded_from_parquet(
        self, folder: Path, opened: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The store's files are gone: the next run loads all of it again, and only loads, even if it fails half way."""
        import shutil

        rules = [{"match": "hr/*", "set": {"groups": ["hr"]}}]
        corpus = opened(metadata=rules)
        corpus.ingest(str(folder))
        before = points(corpus)
        corpus.close()
        shutil.rmtree("data/index")
        corpus = opened(metadata=rules, embedder=NoEngine(), limits={"unit_documents": 2})
        upsert, calls = corpus.store.upsert, iter([None])

        def once(some: Sequence[Point]) -> None:
            if next(calls, 0) is not None:
                raise Terminal("the power went")
            upsert(some)

        monkeypatch.setattr(corpus.store, "upsert", once)
        with pytest.raises(Terminal, match="the power went"):
            corpus.ingest(str(folder))
        monkeypatch.undo()
        os.chdir(folder.parent)
        report = opened(metadata=rules, embedder=NoEngine()).ingest(str(folder))
        assert "read" not in report.as_dict()["seconds"]
        assert equal(points(opened()), before)


class TestRejected:
    """What cannot be used is kept with its reason, and not tried every night."""

    def test_rejections_are_kept_and_retried_when_asked(
        self, folder: Path, opened: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Stage, reason, time and tries are listed; only --retry-rejected, or a change, tries again."""
        broken = folder / "broken.pdf"
        broken.write_bytes(b"%PDF-1.7 and then nothing")
        opened().ingest(str(folder))
        opened().ingest(str(folder))
        (row,) = opened().rejected()
        assert (row["uri"].endswith("broken.pdf"), row["stage"], row["tries"]) == (True, "parse", 1)
        assert row["reason"]
        assert datetime.fromisoformat(row["at"]).tzinfo is not None
        opened().ingest(str(folder), retry_rejected=True)
        assert opened().rejected()[0]["tries"] == 2
        monkeypatch.setattr("pipeline.recipe.PARSE_VERSION", 10**6)
        report = opened().ingest(str(folder))
        assert opened().rejected()[0]["tries"] == 3, "a new version of the parsers may read it"
        assert report.embedded == 0
        broken.unlink()
        opened().ingest(str(folder))
        assert opened().rejected() == []


class TestBackfill:
    """A range of documents, by date and place, once more if need be."""

    def test_a_range_by_date_and_place(self, workplace: Path, opened: Callable[..., Corpus]) -> None:
        """Only documents dated in the range whose path fits are taken; nothing is deleted; later runs do the rest."""
        docs = workplace / "docs"
        docs.mkdir()
        for year in (2023, 2024, 2025):
            for kind in ("md", "txt"):
                path = docs / f"{year}.{kind}"
                path.write_text(f"The {kind} of {year}.")
                moment = datetime(year, 6, 1, tzinfo=UTC).timestamp()
                os.utime(path, (moment, moment))
        corpus = opened()
        report = corpus.backfill(str(docs), since=date(2024, 1, 1), until=date(2024, 12, 31), partition="*.md")
        assert documents(report) == {"seen": 1, "new": 1}
        assert [Path(p.payload["uri"]).name for p in points(corpus).values()] == ["2024.md"]
        report = corpus.backfill(str(docs), since=date(2024, 1, 1))
        assert documents(report)["new"] == 3
        assert documents(corpus.ingest(str(docs))) == {"seen": 6, "new": 2, "unchanged": 4}
        with pytest.raises(UsageError, match="the range is empty"):
            corpus.backfill(str(docs), since=date(2025, 1, 1), until=date(2024, 1, 1))

    def test_the_date_is_the_documents_own_if_it_has_one(self, workplace: Path, opened: Callable[..., Corpus]) -> None:
        """An old e-mail in a new file is an old document."""
        path = workplace / "mail.eml"
        path.write_text(
            "From: a@example.org\nDate: Mon, 01 Jul 2019 10:00:00 +0000\nSubject: Rope\n\nThe rope is frayed.\n"
        )
        corpus = opened()
        assert documents(corpus.backfill(str(path), until=date(2019, 12, 31))) == {"seen": 1, "new": 1}
        assert documents(corpus.backfill(str(path), since=date(2020, 1, 1))) == {"seen": 1, "unchanged": 1}

    def test_force_embeds_again_and_goes_on_after_a_failure(
        self, folder: Path, opened: Callable[..., Corpus], minilm_engine: VllmEmbedder
    ) -> None:
        """Everything in the range is embedded once more; stopped half way, the same call does the other half."""

        class Counting:
            dimensions = 384
            done = 0
            limit = 10**9

            def embed(self, token_ids: Sequence[Sequence[int]]) -> Vectors:
                if self.done >= self.limit:
                    raise Terminal("the machine was turned off")
                self.done += len(token_ids)
                return minilm_engine.embed(token_ids)

            def close(self) -> None:
                pass

        engine = Counting()
        limits = {"unit_documents": 1}
        opened(embedder=engine, limits=limits).ingest(str(folder))
        chunks, before = engine.done, points(opened())
        engine.done, engine.limit = 0, 2
        with pytest.raises(Terminal, match="turned off"):
            opened(embedder=engine, limits=limits).backfill(str(folder), force=True)
        half = engine.done
        assert 0 < half < chunks
        engine.limit = 10**9
        report = opened(embedder=engine, limits=limits).backfill(str(folder), force=True)
        assert engine.done == chunks, "each once, over both calls"
        assert documents(report)["seen"] == 5
        assert equal(points(opened()), before)
        engine.done = 0
        assert opened(embedder=engine, limits=limits).backfill(str(folder), force=True).embedded == chunks, "a new one"

    def test_between_units_it_lets_others_go_first(
        self, folder: Path, opened: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Paused, it holds neither collection nor engine; afterwards it goes on, and its counts are of the whole."""
        monkeypatch.setattr("flows.corpus._PAUSE_SECONDS", 0.0)
        corpus = opened(limits={"unit_documents": 1})
        asked: list[bool] = []

        def paused() -> bool:
            asked.append(True)
            if len(asked) == 3:  # between units, and then again outside of the lock
                return True
            if len(asked) == 4:
                with held("data", {"documents": "exclusive", "root": "exclusive"}, "a nightly run"):
                    pass
            return False

        report = corpus.backfill(str(folder), paused=paused)
        assert documents(report) == {"seen": 5, "new": 5}
        assert report.chunks == len(points(corpus))


class TestLocks:
    """Two runs never write one collection at once."""

    def test_a_second_run_is_refused_or_waits(self, folder: Path, opened: Callable[..., Corpus]) -> None:
        """While one has the collection, another says who, and ends; a plan needs no lock."""
        from pipeline.ledger import ledger_name

        corpus = opened()
        name = ledger_name(corpus.store, "data")
        with held("data", {name: "exclusive", "root": "shared"}, "ingest into documents"):
            with pytest.raises(Transient, match="ingest into documents"):
                corpus.ingest(str(folder))
            assert corpus.plan(str(folder)).planned.documents["new"] == 5
            assert documents(opened(collection="other").ingest(str(folder)))["new"] == 5
        assert documents(opened().ingest(str(folder)))["new"] == 5


def test_what_another_run_made_meanwhile_is_reused(folder: Path, opened: Callable[..., Corpus]) -> None:
    """A corpus that stays open finds the vectors that a run into another collection made between two of its own."""
    mine = opened()
    mine.ingest(str(folder))
    (folder / "handbook.md").write_text(HANDBOOK.replace("Rule 4 says", "Rule 4 now says"))
    assert opened(collection="other").ingest(str(folder)).embedded == 1
    report = mine.ingest(str(folder))
    assert documents(report) == {"seen": 5, "changed": 1, "unchanged": 4}
    assert report.embedded == 0


def test_runs_are_on_record(folder: Path, opened: Callable[..., Corpus], monkeypatch: pytest.MonkeyPatch) -> None:
    """Completed, failed and backfill runs are told apart; no document's name is in a run's record."""
    opened().ingest(str(folder))
    corpus = opened()
    monkeypatch.setattr(corpus.store, "ids_of", lambda *_: (_ for _ in ()).throw(Terminal("no such disk")))
    (folder / "new.txt").write_text("more")
    with pytest.raises(Terminal):
        corpus.ingest(str(folder))
    monkeypatch.undo()
    os.chdir(folder.parent)
    opened().backfill(str(folder))
    runs = opened().status()["runs"]
    assert [(run["kind"], run["status"]) for run in runs] == [
        ("backfill", "completed"), ("ingest", "failed: no such disk"), ("ingest", "completed"),
    ]  # fmt: skip


def test_a_run_that_died_is_told_from_one_at_work(folder: Path, opened: Callable[..., Corpus]) -> None:
    """A run that began and never said how it ended is interrupted, unless somebody has the collection."""
    from pipeline.ledger import ledger_name

    corpus = opened()
    corpus._begin([str(folder)], None).start()
    assert opened().status()["runs"][0]["status"] == "interrupted"
    with held("data", {ledger_name(corpus.store, "data"): "exclusive"}, "ingest"):
        assert opened().status()["runs"][0]["status"] == "running"
    opened().ingest(str(folder))
    assert [run["status"] for run in opened().status()["runs"]] == ["completed", "interrupted"]


def test_no_source_is_asked_for_or_configured(folder: Path, opened: Callable[..., Corpus]) -> None:
    """Sources of the settings are taken if none is given; without any, the sentence says what to name."""
    with pytest.raises(UsageError, match="name at least one source"):
        opened().ingest()
    assert documents(opened(sources=[str(folder)]).ingest()) == {"seen": 5, "new": 5}
