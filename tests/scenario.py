"""Two nights of a small corpus: the first has been, and the second is for tests to disturb."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash import ForkServer, memory_folder
from tests.faults import spent_in

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


@contextmanager
def two_nights(server: ForkServer) -> Iterator[Scenario]:
    """Nine documents, of which two are edited, and one each touched, moved, deleted, broken, and given to a team.

    Two are new, and one of them is a copy.
    """
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        yield _prepare(server, Path(folder))


def _prepare(server: ForkServer, folder: Path) -> Scenario:
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
    return Scenario(docs, first, before, after, effects, spent_in(calm / "spent"), seconds, folder)
