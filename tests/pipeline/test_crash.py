"""A run that is killed, wherever it is, loses nothing and repeats little: the same command ends as if nothing had been.

Real processes, killed by the kernel, on a real Edge collection and real files; only the vectors are made up.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import Terminal, Transient
from tests.crash import ForkServer, memory_folder
from tests.faults import LOOKING, VERBS, spent_in
from tests.scenario import Scenario, text_of, two_nights


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    """Where the processes come from."""
    with ForkServer() as server:
        yield server


@pytest.fixture(scope="module")
def scenario(server: ForkServer) -> Iterator[Scenario]:
    """What the runs are about."""
    with two_nights(server) as scenario:
        yield scenario


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


@pytest.mark.parametrize("effect", ["upsert", "delete", "flush"])
def test_half_loaded_and_then_gone(effect: str, server: ForkServer, scenario: Scenario) -> None:
    """What a killed run had begun to load leaves no point behind, if its file is gone or unreadable by the next run."""
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        docs = Path(folder) / "docs"
        shutil.copytree(scenario.docs, docs)
        night = {**scenario.second_night, "sources": [str(docs)], "folder": docs.parent, "limits": {}}
        server.run("ingest", **night)
        for name in ("gone", "broken", "pump"):
            (docs / f"{name}.md").write_text(text_of(f"sluice of {name}"))
        before = server.run("look", **night).value
        assert server.run("ingest", at=(effect, 0), **night).killed
        (docs / "gone.md").unlink()
        for name in ("broken", "pump"):
            (docs / f"{name}.md").write_text(" \n")
        _, after = server.run("go_on", **night).value
        assert after["points"] == before["points"]
