"""A run that is killed, wherever it is, loses nothing and repeats little: the same command ends as if nothing had been.

Real processes, killed by the kernel, on a real Edge collection and real files; only the vectors are made up.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Terminal, Transient
from tests.crash import ForkServer, memory_folder
from tests.faults import LOOKING, VERBS, spent_in

TOPICS = "pump valve lamp rope anchor ferry harbour engine boiler crane sluice beacon".split()

#: Small chunks and units of two documents: a run of a dozen documents has every boundary several times.
FLAGS: dict[str, Any] = {"recipe": {"chunk_tokens": 48}, "limits": {"unit_documents": 2, "max_delete_fraction": 0.5}}
RIGHTS: dict[str, Any] = {"metadata": [{"match": "lamp.md", "set": {"team": "pier"}}]}


def text_of(topic: str, parts: int = 3, length: int = 2) -> str:
    """A document whose every chunk has the topic's word and differs from all others."""
    sentences = [f"The {topic} number {number} is looked after. " for number in range(parts)]
    return "".join(f"# {topic.title()} {number}\n\n{sentences[number] * length}\n\n" for number in range(parts))


@dataclass(frozen=True)
class Scenario:
    """Where the documents are and what was there after the first night; how an undisturbed second night ends."""

    docs: Path
    first_night: Path
    before: dict[str, Any]
    after: dict[str, Any]
    effects: list[str]
    spent: list[int]
    seconds: float
    folder: Path
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    #: What was searchable, and still is in the source (perhaps edited, moved, or broken).
    words = tuple(topic for topic in TOPICS[:9] if topic != "rope")

    @property
    def second_night(self) -> dict[str, Any]:
        """The arguments of the second night's run."""
        return {"sources": [str(self.docs)], **FLAGS, **RIGHTS}

    def copy(self) -> Path:
        """The first night's state, in a folder of its own."""
        folder = self.folder / str(next(self.numbers))
        subprocess.run(["cp", "-a", str(self.first_night), str(folder)], check=True)
        return folder

    def check(self, before: dict[str, Any], after: dict[str, Any], spent: list[int], repeated: int) -> None:
        """Between the two nights nothing was lost; in the end everything is as in a run that nothing disturbed."""
        for word in self.words:
            assert before["found"][word], f"{word} was not found"
        for uri, versions in versions_of(self.before, self.after).items():
            held = ids_of(before, uri)
            assert any(version <= held for version in versions), f"{uri} was there in part only"
        assert after["points"] == self.after["points"]
        assert after["parquet"] == self.after["parquet"]
        assert sum(spent) - sum(self.spent) <= repeated, "more than the units at work was embedded twice"


def ids_of(state: dict[str, Any], uri: str) -> set[str]:
    """The ids of a document's points."""
    return {identity for identity, (payload, *_) in state["points"].items() if payload["uri"] == uri}


def versions_of(*states: dict[str, Any]) -> dict[str, list[set[str]]]:
    """The ids that each document has in each state; only of those that are in all of them."""
    uris = set.intersection(*({payload["uri"] for payload, *_ in state["points"].values()} for state in states))
    return {uri: [ids_of(state, uri) for state in states] for uri in uris}


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    """Where the processes come from."""
    with ForkServer() as server:
        yield server


@pytest.fixture(scope="module")
def scenario(server: ForkServer) -> Iterator[Scenario]:
    """Nine documents, of which two are edited, and one each touched, moved, deleted, broken, and given to a team.

    Two are new, and one of them is a copy.
    """
    folder = Path(tempfile.mkdtemp(dir=memory_folder()))
    docs, first = folder / "docs", folder / "first"
    docs.mkdir()
    first.mkdir()
    for topic in TOPICS[:9]:
        (docs / f"{topic}.md").write_text(text_of(topic))
    sources = [str(docs)]
    server.run("ingest", folder=first, sources=sources, **FLAGS)
    before = server.run("look", folder=first, **FLAGS).value

    pump = docs / "pump.md"
    pump.write_text(pump.read_text().replace("The pump number 1 is", "The pump number 1 must not be"))
    valve = docs / "valve.md"
    valve.write_text(valve.read_text() + text_of("beacon", 1))
    os.utime(docs / "anchor.md", (1, 1))
    (docs / "ferry.md").rename(docs / "boat.md")
    (docs / "rope.md").unlink()
    (docs / "harbour.md").write_text(" \n")
    (docs / "crane.md").write_text(text_of("crane", 9, length=4))
    (docs / "copy.md").write_text(text_of("engine"))

    calm = folder / "calm"
    subprocess.run(["cp", "-a", str(first), str(calm)], check=True)
    (calm / "spent").unlink()
    started = time.monotonic()
    effects = server.run("ingest", folder=calm, sources=sources, **FLAGS, **RIGHTS).value
    seconds = time.monotonic() - started
    after = server.run("look", folder=calm, **FLAGS).value
    (first / "spent").unlink()
    yield Scenario(docs, first, before, after, effects, spent_in(calm / "spent"), seconds, folder)
    shutil.rmtree(folder)


def test_killed_before_every_step(server: ForkServer, scenario: Scenario) -> None:
    """Killed before each of its effects in turn, a run is finished by the same command, and no document was away."""
    assert {"embed", "upsert", "patch", "delete", "flush", "set_average_length", "rename"} <= set(scenario.effects)
    for number, effect in enumerate(scenario.effects):
        if effect in LOOKING:
            continue
        folder = scenario.copy()
        assert server.run("ingest", folder=folder, at=number, **scenario.second_night).killed
        before, after = server.run("go_on", folder=folder, words=scenario.words, **scenario.second_night).value
        try:
            scenario.check(before, after, spent_in(folder / "spent"), max(scenario.spent))
        except AssertionError as error:
            error.add_note(f"killed before effect {number}, {effect}")
            raise
        shutil.rmtree(folder)


@pytest.mark.parametrize("seed", range(50))
def test_killed_at_random_moments(seed: int, server: ForkServer, scenario: Scenario) -> None:
    """Killed at any moment, inside the store's own code too, and again, a run is finished by the same command."""
    chance = random.Random(seed)
    folder, kills = scenario.copy(), 0
    while kills < 2:
        moment = chance.random() * scenario.seconds
        if not server.run("ingest", kill_after=moment, folder=folder, **scenario.second_night).killed:
            break
        kills += 1
    before, after = server.run("go_on", folder=folder, words=scenario.words, **scenario.second_night).value
    scenario.check(before, after, spent_in(folder / "spent"), kills * max(scenario.spent))
    shutil.rmtree(folder)


def test_an_error_at_every_step(server: ForkServer, scenario: Scenario) -> None:
    """A full disk, a store or an engine that fails: told in a sentence, and finished by the same command."""
    night = {**scenario.second_night, "limits": {"max_delete_fraction": 0.5}}
    folder = scenario.copy()
    effects = server.run("ingest", folder=folder, **night).value
    away = Transient("the store does not answer")
    broken = Terminal("the store is broken")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for number, effect in enumerate(effects):
        for error in (away, broken) if effect in (*VERBS, "embed") else (full,):
            folder = scenario.copy()
            said = server.run("stumble", folder=folder, at=number, error=error, **night).value
            before, after = server.run("go_on", folder=folder, words=scenario.words, **night).value
            try:
                assert said is None or (str(error.args[-1]) in said and said.startswith(("Terminal:", "Transient:")))
                assert said is not None or error is not broken
                scenario.check(before, after, spent_in(folder / "spent"), sum(scenario.spent))
            except AssertionError as failure:
                failure.add_note(f"{error!r} at effect {number}, {effect}, of which was said: {said}")
                raise
            shutil.rmtree(folder)
