"""Night after night, whatever happens between and during the runs: the store is what a fresh ingest would make.

The model is a plain dictionary of what the files hold, and for each file the versions that the store may have; the
oracle is an ingest of the same files into an empty place.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, chdir, nullcontext, suppress
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from flows import Corpus
from pipeline.errors import CorpusvecError
from pipeline.report import Report
from tests.benchmarks.soak import soak
from tests.crash import ForkServer, memory_folder
from tests.faults import At, Effects, audit_of, fail, open_corpus, points_of

NAMES = st.sampled_from([f"{folder}{name}.md" for folder in ("", "staff/") for name in ("a", "b", "c")])
PARAGRAPHS = [
    f"The {thing} number {number} was looked at today, and found in order but for a little rust on its northern side."
    for number, thing in enumerate("pump valve lamp rope anchor ferry crane".split())
]
TEXTS = st.lists(st.sampled_from(PARAGRAPHS), min_size=1, max_size=5).map(
    lambda found: "# Round\n\n" + "\n\n".join(found)
)
#: Where a run may end: somewhere among its first effects, or at one that leaves store and ledger apart.
STEPS = st.integers(0, 60) | st.tuples(
    st.sampled_from(["embed", "upsert", "patch", "ids_of", "delete", "flush", "rename"]), st.integers(0, 3)
)
BROKEN = " \n"

Points = dict[str, Any]


class Nights(RuleBasedStateMachine):
    """Files come, change and go; runs end well, in an error, or are killed."""

    server: ClassVar[ForkServer]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=memory_folder()))
        self.docs = self.folder / "docs"
        (self.docs / "staff").mkdir(parents=True)
        #: What each file holds.
        self.files: dict[str, str] = {}
        #: The texts that the store may hold of each file: one after a completed run, perhaps more after a crash.
        self.held: dict[str, list[str]] = {}
        self.recipe: dict[str, Any] = {"chunk_tokens": 64}
        self.team: str | None = None
        self.clock = 1_000_000_000
        self.known: dict[str, dict[str, Points]] = {}

    # -- between the runs ----------------------------------------------------------------------------------------------

    @initialize(texts=st.dictionaries(NAMES, TEXTS, min_size=2))
    def begin(self, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            self.write(name, text)

    @rule(name=NAMES, text=TEXTS)
    def add(self, name: str, text: str) -> None:
        self.write(name, text)

    @rule(data=st.data(), paragraph=st.sampled_from(PARAGRAPHS), at=st.integers(0, 4), instead=st.booleans())
    def edit(self, data: st.DataObject, paragraph: str, at: int, instead: bool) -> None:
        name = self.some(data)
        parts = self.files[name].split("\n\n")
        at = min(at, len(parts) - 1)
        parts[at : at + instead] = [paragraph]
        self.write(name, "\n\n".join(parts))

    @precondition(lambda self: len(self.files) > 1)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        name = self.some(data)
        del self.files[name]
        (self.docs / name).unlink()

    @rule(data=st.data(), to=NAMES)
    def move(self, data: st.DataObject, to: str) -> None:
        name = self.some(data)
        self.files[to] = self.files.pop(name)
        (self.docs / name).rename(self.docs / to)

    @rule(data=st.data(), to=NAMES)
    def copy(self, data: st.DataObject, to: str) -> None:
        self.write(to, self.files[self.some(data)])

    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        name = self.some(data)
        self.write(name, self.files[name])

    @rule(data=st.data())
    def break_(self, data: st.DataObject) -> None:
        self.write(self.some(data), BROKEN)

    @rule(team=st.sampled_from([None, "red", "blue"]))
    def label(self, team: str | None) -> None:
        self.team = team

    @rule(tokens=st.sampled_from([48, 64, 256]), context=st.booleans())
    def cut_otherwise(self, tokens: int, context: bool) -> None:
        self.recipe = {"chunk_tokens": tokens, "heading_context": context}

    # -- runs ----------------------------------------------------------------------------------------------------------

    @rule()
    def run(self) -> None:
        self.completed(self.ingest())

    @rule(at=STEPS)
    def fail(self, at: At) -> None:
        before = self.points()
        try:
            report = self.ingest(Effects(at, fail))
        except CorpusvecError:
            self.interrupted(before)
        else:
            self.completed(report)

    @rule(at=STEPS)
    def compact(self, at: At) -> None:
        """Afterwards, or after it was stopped in the middle, everything is as it was."""
        before = self.points()
        effects = Effects(at, fail)
        with chdir(self.folder), self.open(None, ".") as corpus, suppress(CorpusvecError), self.watched(effects):
            corpus.compact()
        assert self.points() == before

    @rule(at=STEPS)
    def kill(self, at: At) -> None:
        before = self.points()
        if self.server.run("ingest", folder=self.folder, at=at, sources=[str(self.docs)], **self.flags).killed:
            self.interrupted(before)
        else:
            self.completed(None)

    def teardown(self) -> None:
        try:
            if self.files:
                self.completed(self.ingest())
                again = self.ingest()
                assert (again.embedded, again.upserted, again.patched, again.deleted) == (0, 0, 0, 0)
        finally:
            shutil.rmtree(self.folder)

    # -- the model -----------------------------------------------------------------------------------------------------

    @property
    def flags(self) -> dict[str, Any]:
        rules = [] if self.team is None else [{"match": "staff/*", "set": {"team": self.team}}]
        limits = {"unit_documents": 2, "max_delete_fraction": 1.0}
        return {"recipe": self.recipe, "metadata": rules, "limits": limits}

    def some(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.files)))

    def write(self, name: str, text: str) -> None:
        """Every write has a time of its own, as in a world where nights are longer than a tick of the clock."""
        self.files[name] = text
        (self.docs / name).write_text(text)
        self.clock += 1
        os.utime(self.docs / name, (self.clock, self.clock))

    def open(self, effects: Effects | None, place: str) -> Corpus:
        return open_corpus(effects, data=f"{place}/data", store=f"edge:{place}/data/index", **self.flags)

    def ingest(self, effects: Effects | None = None, place: str = ".") -> Report:
        with chdir(self.folder), self.open(effects, place) as corpus, self.watched(effects):
            return corpus.ingest(str(self.docs))

    def watched(self, effects: Effects | None) -> AbstractContextManager[None]:
        return effects.below(self.folder / "data") if effects else nullcontext()

    def points(self, place: str = ".") -> dict[str, Points]:
        """The store's points, by the name of their document."""
        by_name: dict[str, Points] = {}
        with chdir(self.folder), self.open(None, place) as corpus:
            for identity, point in points_of(corpus).items():
                by_name.setdefault(point[0]["uri"].rpartition("/docs/")[2], {})[identity] = point
        return by_name

    def fresh(self, texts: Mapping[str, str]) -> dict[str, Points]:
        """What an empty store would hold after an ingest of these texts."""
        key = json.dumps([self.flags, dict(sorted(texts.items()))])
        if key not in self.known:
            self.known[key] = self.ingest_afresh(texts)
        return self.known[key]

    def ingest_afresh(self, texts: Mapping[str, str]) -> dict[str, Points]:
        """The same files, for a moment with these texts, ingested into another place."""
        kept = {path: (path.read_text(), path.stat().st_mtime) for path in self.docs.rglob("*.md")}
        try:
            for path in kept:
                path.unlink()
            for name, text in texts.items():
                (self.docs / name).write_text(text)
            self.ingest(place="fresh")
            return self.points("fresh")
        finally:
            for path, (text, mtime) in kept.items():
                path.write_text(text)
                os.utime(path, (mtime, mtime))
            shutil.rmtree(self.folder / "fresh", ignore_errors=True)

    def allowed(self) -> dict[str, list[str]]:
        """The texts that the store may hold of each file now; BROKEN is none."""
        return {name: self.held.get(name, [BROKEN]) if text == BROKEN else [text] for name, text in self.files.items()}

    def oracles(self) -> list[dict[str, Points]]:
        """What an empty store would hold of the first of the allowed texts, of the second, and so on."""
        allowed = self.allowed()
        return [
            self.fresh({name: texts[min(choice, len(texts) - 1)] for name, texts in allowed.items()})
            for choice in range(max(map(len, allowed.values()), default=0))
        ]

    def completed(self, report: Report | None) -> None:
        """The store is as new; what cannot be read is held as it could last be read."""
        if report is not None:
            counts = report.documents
            kinds = ("new", "changed", "moved", "unchanged", "rejected")
            assert counts["seen"] == len(self.files) == sum(counts[kind] for kind in kinds)
            assert counts["rejected"] == list(self.files.values()).count(BROKEN)
            assert report.chunks == report.embedded + report.reused
        with chdir(self.folder), self.open(None, ".") as corpus:
            assert audit_of(corpus, str(self.docs)) == []
        found, oracles, held = self.points(), self.oracles(), {}
        assert set(found) <= set(self.files)
        for name, texts in self.allowed().items():
            held[name] = [
                text for text, oracle in zip(texts, oracles, strict=False) if found.get(name) == oracle.get(name)
            ]
            assert held[name], name
        self.held = {name: texts[:1] for name, texts in held.items() if texts[0] != BROKEN}

    def interrupted(self, before: dict[str, Points]) -> None:
        """Every document that was searchable still is: whole, in its old version or its new one.

        One that no run has ever loaded to its end, and that cannot be read any more, may be gone: it was never whole.
        """
        found, oracles = self.points(), self.oracles()
        for name, points in before.items():
            if name in self.files:
                versions = [points, *(oracle.get(name, {}) for oracle in oracles)]
                assert any(set(version) <= set(found.get(name, ())) for version in versions), name
        for name, text in self.files.items():
            if text != BROKEN:
                self.held[name] = list(dict.fromkeys([*self.held.get(name, [BROKEN]), text]))


def test_the_store_is_what_a_fresh_ingest_would_make() -> None:
    """After any sequence of changes, errors, kills and runs, a completed run leaves what an empty store would get."""
    steps = settings(max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
    with ForkServer() as Nights.server:
        run_state_machine_as_test(Nights, settings=steps)


def test_fifteen_nights_of_changes_and_kills() -> None:
    """After nights of random changes, most with a kill, the audit is clean and Parquet no larger than it has to be."""
    figures = soak(15, seed=15, compact_every=5)
    assert figures["kills"] >= 5
    assert figures["findings"] == []
    assert figures["as_fresh"]
    assert figures["bytes_compacted"][-1] <= 2 * figures["bytes_fresh"]
