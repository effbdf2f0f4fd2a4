"""Nights of random small changes with random kills, and now and then a compaction: what becomes of it at length."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.crash import ForkServer, memory_folder
from tests.scenario import TOPICS, text_of

DOCUMENTS = 60


def soak(nights: int, seed: int, compact_every: int) -> dict[str, Any]:
    """Figures, a list with one for each night or each compaction, and what an audit finds in the end.

    Each night a few documents are edited, added, moved, removed, touched, broken or mended, and then ingested; every
    other run is killed at a random step, once or twice, and run again. In the end: `findings` of the audit, and
    whether the store is `as_fresh` as an ingest into an empty place (of documents that can all be read).
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name, ForkServer() as server:
        folder = Path(name)
        docs = folder / "docs"
        docs.mkdir()
        clock = iter(range(1_000_000_000, 2_000_000_000))
        for number in range(DOCUMENTS):
            write(docs / f"{number:04}.md", chance, clock)
        flags = {"limits": {"unit_documents": 8, "max_delete_fraction": 1.0}, "recipe": {"chunk_tokens": 64}}
        places = {"data": str(folder / "data"), "store": f"edge:{folder / 'data' / 'index'}"}
        figures: dict[str, Any] = {
            name: [] for name in ("ledger_reads", "ledger_bytes", "ledger_parts", "bytes_compacted", "bytes_of_index")
        }
        kills = 0
        for night in range(nights):
            change(docs, chance, clock)
            while chance.random() < 0.5 and night:
                at = chance.randrange(70)
                kills += server.run("ingest", folder=folder, sources=[str(docs)], at=at, **places, **flags).killed
            if night == nights - 1:
                for path in docs.iterdir():
                    if not path.read_text().strip():
                        write(path, chance, clock)
            run = server.run("measured", source=str(docs), data=places["data"], **flags).value
            figures["ledger_reads"].append(run["ledger_reads"])
            figures["ledger_bytes"].append(run["ledger_bytes"])
            figures["ledger_parts"].append(len(list(folder.glob("data/ledger/*/*.parquet"))))
            if night % compact_every == compact_every - 1:
                server.run("compact", folder=folder, **places, **flags)
                figures["bytes_compacted"].append(size_of(folder / "data"))
                figures["bytes_of_index"].append(allocated(folder / "data" / "index"))
        found = server.run("look", folder=folder, **places, **flags).value["points"]
        findings = server.run("audit", folder=folder, sources=[str(docs)], **places, **flags).value
        fresh = folder / "fresh"
        fresh.mkdir()
        _, oracle = server.run("go_on", folder=fresh, sources=[str(docs)], **flags).value
        server.run("compact", folder=fresh, **flags)
        return {
            "kills": kills, "findings": findings, "as_fresh": found == oracle["points"], **figures,
            "bytes_fresh": size_of(fresh / "data"),
        }  # fmt: skip


def write(path: Path, chance: random.Random, clock: Iterator[int]) -> None:
    """A new text of some length, at a time of its own."""
    path.write_text(text_of(f"{chance.choice(TOPICS)} {chance.randrange(1_000_000)}", chance.randrange(1, 6)))
    touch(path, clock)


def touch(path: Path, clock: Iterator[int]) -> None:
    """Another time."""
    now = next(clock)
    os.utime(path, (now, now))


def change(docs: Path, chance: random.Random, clock: Iterator[int]) -> None:
    """A handful of changes; as many documents come as go, in the long run."""
    for _ in range(chance.randrange(1, 6)):
        paths = sorted(docs.iterdir())
        path = chance.choice(paths)
        match chance.choice(["edit", "edit", "come or go", "move", "touch", "break"]):
            case "edit":
                path.write_text(path.read_text() + f"\n\nAdded on the night of {next(clock)}.\n")
            case "come or go" if len(paths) > DOCUMENTS:
                path.unlink()
                continue
            case "come or go":
                path = docs / f"{next(clock)}.md"
                write(path, chance, clock)
            case "move":
                path = path.rename(docs / f"{next(clock)}.md")
            case "break":
                path.write_text(" \n")
        touch(path, clock)


def size_of(data: Path) -> int:
    """The bytes of all Parquet parts."""
    return sum(path.stat().st_size for path in data.rglob("*.parquet"))


def allocated(folder: Path) -> int:
    """What the files of a folder take of the disk: fewer bytes than their sizes, if they have holes."""
    return 512 * sum(path.stat().st_blocks for path in folder.rglob("*"))
