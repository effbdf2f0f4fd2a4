"""Compaction drops what no ledger leads to and nothing else, and may be killed at any moment."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.checkpoint import KINDS, Checkpoints, Table, vectors_table
from pipeline.compact import compact, plan_merges
from pipeline.embed.model import embedding_key
from pipeline.errors import UsageError
from pipeline.table import PART_BYTES, Extent
from pipeline.types import document_id, record_id

ROOT = Path(__file__).parents[2]
DIMENSIONS = 4
EVERYTHING = (*KINDS, "runs")

Row = Mapping[str, Any]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def version_of(uri: str, text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{uri}\n{text}"))


def vector_of(text: str) -> list[float]:
    return [float(byte) for byte in hashlib.sha256(text.encode()).digest()[:DIMENSIONS]]


@dataclass(frozen=True)
class Recipe:
    """Names of the tables that a run fills."""

    parse: str = "p1"
    chunk: str = "c1"
    embed: str = "e1"


@dataclass
class Writer:
    """Writes what runs write, a part a table and call; a document is a text whose lines are its chunks."""

    root: str
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        self.checkpoints = Checkpoints(self.root)

    def load(self, collection: str, texts: Mapping[str, str], status: str = "loaded") -> None:
        """Put documents (text by URI) into all tables, vectors only where they are missing."""
        recipe, now = self.recipe, datetime.now(UTC)
        documents, chunks, entries = [], [], []
        vectors = self.checkpoints.vectors(recipe.embed, DIMENSIONS, {"stage": "embed"})
        for uri, text in texts.items():
            identity, version, lines = document_id(uri), version_of(uri, text), text.splitlines()
            documents.append(
                {"version_id": version, "document_id": identity, "uri": uri, "text": text, "title": f"title of {uri}",
                 "content_hash": digest(text), "blocks": [], "metadata": "{}", "warnings": [], "parsed_at": now}
            )  # fmt: skip
            chunks += [
                {"version_id": version, "record_id": record_id(identity, digest(line), 0), "document_id": identity,
                 "position": place, "start": 0, "end": len(line), "text": line, "context": "", "section": [],
                 "content_hash": digest(line), "tokens": 3, "token_hash": digest(line)}
                for place, line in enumerate(lines)
            ]  # fmt: skip
            entries.append(
                {"document_id": identity, "uri": uri, "source": "somewhere", "status": status, "at": now,
                 "version_id": version, "parse": recipe.parse, "chunk": recipe.chunk, "embed": recipe.embed,
                 "chunks": len(lines), "tokens": 3 * len(lines), "words": len(lines)}
            )  # fmt: skip
        self.checkpoints.documents(recipe.parse, {"stage": "parse"}).append(documents)
        self.checkpoints.chunks(recipe.chunk, {"stage": "chunk"}).append(chunks)
        texts_by_key = {embedding_key(recipe.embed, row["token_hash"]): row["text"] for row in chunks}
        missing = vectors.missing(list(texts_by_key))
        if missing:
            data = np.array([vector_of(texts_by_key[key]) for key in missing], np.float32)
            vectors.append(vectors_table(missing, data))
        self.checkpoints.ledger(collection).append(entries)

    def delete(self, collection: str, uris: Iterable[str]) -> None:
        """Say that documents are gone."""
        self.checkpoints.ledger(collection).append(
            [{"document_id": document_id(uri), "uri": uri, "status": "deleted", "version_id": ""} for uri in uris]
        )

    def finish(self, collection: str, **report: Any) -> None:
        """Record a run."""
        now = datetime.now(UTC)
        row = {"run_id": str(uuid.uuid4()), "collection": collection, "started_at": now, "sources": ["somewhere"]}
        for state in ("running", "completed"):
            self.checkpoints.runs().append([{**row, "status": state, "finished_at": now, "report": json.dumps(report)}])


def view(root: str) -> dict[str, dict[str, list[tuple[str, list[float]]]]]:
    """What every collection should hold, as texts and vectors by URI, read as a stranger would."""
    checkpoints = Checkpoints(root)
    found: dict[str, dict[str, list[tuple[str, list[float]]]]] = {}
    for collection in checkpoints.ledgers():
        held: dict[str, list[tuple[str, list[float]]]] = {}
        for entry in rows_of(checkpoints.ledger(collection)):
            if not entry["version_id"]:
                continue
            version = entry["version_id"]
            assert len(checkpoints.documents(entry["parse"]).lookup([version])) == 1
            chunks = checkpoints.chunks(entry["chunk"]).lookup([version]).to_pylist()
            keys = [embedding_key(entry["embed"], row["token_hash"]) for row in chunks]
            vectors = checkpoints.vectors(entry["embed"]).lookup(keys).column("vector").to_pylist()
            held[entry["uri"]] = [(row["text"], vector) for row, vector in zip(chunks, vectors, strict=True)]
        if held:
            found[collection] = held
    return found


def rows_of(table: Table) -> list[Row]:
    return [row for rows in table.current() for row in rows.to_pylist()]


def contents(root: str) -> dict[str, list[str]]:
    """Every row of every part, older ones too, by table; which part it is in does not count."""
    return {
        name: sorted(repr(row) for part in table.parts for rows in table.read(part) for row in rows.to_pylist())
        for name, table in Checkpoints(root).all_tables().items()
    }


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def expected(texts: Mapping[str, str]) -> dict[str, list[tuple[str, list[float]]]]:
    return {uri: [(line, vector_of(line)) for line in text.splitlines()] for uri, text in texts.items()}


LINES = st.lists(st.sampled_from("abcdef"), max_size=4).map("\n".join)
NIGHTS = st.lists(
    st.tuples(
        st.sampled_from(["one", "two"]),
        st.sampled_from([Recipe(), Recipe(embed="e2"), Recipe(chunk="c2"), Recipe("p2", "c3", "e1")]),
        st.dictionaries(st.sampled_from(["file:///a", "file:///b", "file:///c"]), LINES | st.none(), max_size=3),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None)
@given(nights=NIGHTS)
def test_what_is_reachable_stays_and_nothing_else(nights: list[Any]) -> None:
    """After any history, a compaction leaves every collection's view as it was, and no row that no view needs."""
    root = f"memory://{uuid.uuid4()}"
    held: dict[str, dict[str, str]] = {"one": {}, "two": {}}
    recipes: dict[tuple[str, str], Recipe] = {}
    for collection, recipe, changes, also in nights:
        writer = Writer(root, recipe)
        texts = {uri: text for uri, text in changes.items() if text is not None}
        if texts:
            writer.load(collection, texts)
        if gone := [uri for uri, text in changes.items() if text is None and uri in held[collection]]:
            writer.delete(collection, gone)
        held[collection].update(texts)
        recipes.update({(collection, uri): recipe for uri in texts})
        for uri in gone:
            del held[collection][uri]
        writer.finish(collection)
        if also:
            compact(Checkpoints(root))
        assert view(root) == {name: expected(texts) for name, texts in held.items() if texts}
    foreseen = compact(Checkpoints(root), dry_run=True)
    report = compact(Checkpoints(root))
    assert view(root) == {name: expected(texts) for name, texts in held.items() if texts}
    wanted: dict[str, set[str]] = {}
    for name, texts in held.items():
        for uri, text in texts.items():
            recipe = recipes[name, uri]
            wanted.setdefault(f"documents/{recipe.parse}", set()).add(version_of(uri, text))
            wanted.setdefault(f"ledger/{name}", set()).add(document_id(uri))
            for line in text.splitlines():
                wanted.setdefault(f"chunks/{recipe.chunk}", set()).add(version_of(uri, text))
                wanted.setdefault(f"vectors/{recipe.embed}", set()).add(embedding_key(recipe.embed, digest(line)))
    tables = Checkpoints(root).all_tables()
    del tables["runs"]
    assert {name: {row[table.key] for row in rows_of(table)} for name, table in tables.items()} == wanted
    assert all(len(table.parts) == 1 and table.count_rows() == len(rows_of(table)) for table in tables.values())
    assert [(change.table, change.dropped, change.parts_after) for change in foreseen.tables] == [
        (change.table, change.dropped, change.parts_after) for change in report.tables
    ]
    again = compact(Checkpoints(root))
    assert [change.dropped for change in again.tables] == [0] * len(again.tables)


LEFTOVER = b"half a part"


def small_history(root: Path) -> dict[str, dict[str, str]]:
    """Collections, recipes, edits, a deletion, a killed writer's leftovers; returns what should be held."""
    first, second = Writer(str(root)), Writer(str(root), Recipe("p1", "c2", "e2"))
    for number in range(6):
        first.load("one", {f"file:///{number}": f"old {number}\ncommon", "file:///x": f"{number}"})
    first.load("one", {f"file:///{number}": f"new {number}\ncommon" for number in range(3)})
    second.load("two", {"file:///0": "new 0\ncommon\nmore"})
    Writer(str(root), Recipe("p0", "c0", "e0")).load("three", {"file:///0": "another model"})
    first.delete("one", ["file:///5"])
    first.delete("three", ["file:///0"])
    first.finish("one")
    (root / "chunks" / "c1" / ".00000000000000000009-ffffffff.parquet.12345678.tmp").write_bytes(LEFTOVER)
    texts = {f"file:///{number}": f"{'new' if number < 3 else 'old'} {number}\ncommon" for number in range(5)}
    return {"one": {**texts, "file:///x": "5"}, "two": {"file:///0": "new 0\ncommon\nmore"}}


def test_small_parts_are_merged_and_old_recipes_go(tmp_path: Path) -> None:
    """One part a table is left, the tables of a recipe that no ledger names are gone, leftovers too; counted."""
    held = small_history(tmp_path)
    before = files(tmp_path)
    report = compact(Checkpoints(str(tmp_path)))
    assert view(str(tmp_path)) == {name: expected(texts) for name, texts in held.items()}
    after = files(tmp_path)
    folders = {name.rsplit("/", 1)[0] for name in after}
    assert folders == {
        "documents/p1", "chunks/c1", "chunks/c2", "vectors/e1", "vectors/e2", "ledger/one", "ledger/two", "runs",
    }  # fmt: skip
    assert len(after) == len(folders)
    assert {path.name for path in (tmp_path / "documents").iterdir()} == {"p1"}
    totals = report.as_dict()
    assert (totals["parts_before"], totals["parts_after"]) == (len(before) - 1, len(after))
    assert totals["bytes_before"] == sum(map(len, before.values())) - len(LEFTOVER)
    assert totals["bytes_after"] == sum(map(len, after.values()))
    assert (report.leftovers, report.warnings) == (len(LEFTOVER), [])
    changes = {change.table: change for change in report.tables}
    # 6 files, 3 of them edited, one deleted; x was written six times and deleted never.
    assert changes["documents/p1"].dropped == 3 + 1 + 5
    assert changes["documents/p0"].parts_after == 0
    assert changes["ledger/one"].dropped == 3 + 2 + 5
    assert changes["runs"].dropped == 1


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """What a compaction would do is told without a byte being written or removed."""
    small_history(tmp_path)
    before = files(tmp_path)
    foreseen = compact(Checkpoints(str(tmp_path)), dry_run=True)
    assert files(tmp_path) == before
    done = compact(Checkpoints(str(tmp_path)))
    for planned, change in zip(foreseen.tables, done.tables, strict=True):
        assert planned.bytes_before == change.bytes_before
        assert (planned.table, planned.parts_after, planned.dropped) == (
            change.table,
            change.parts_after,
            change.dropped,
        )
    assert (foreseen.leftovers, foreseen.dry_run, done.dry_run) == (done.leftovers, True, False)


def test_without_a_ledger_nothing_is_dropped(tmp_path: Path) -> None:
    """A root whose ledgers are lost is left as it is, with a sentence: nothing says what is still needed."""
    Writer(str(tmp_path)).load("one", {"file:///a": "text"})
    shutil.rmtree(tmp_path / "ledger")
    before = files(tmp_path)
    with pytest.raises(UsageError, match=r"no ledger under .* nothing was dropped; restore"):
        compact(Checkpoints(str(tmp_path)))
    assert files(tmp_path) == before


def test_an_empty_root_is_compact(tmp_path: Path) -> None:
    """Where there is nothing, there is nothing to do."""
    assert compact(Checkpoints(str(tmp_path / "nowhere"))).as_dict()["parts_before"] == 0
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_row_that_names_no_tables_keeps_its_version_in_all(tmp_path: Path) -> None:
    """Rows written before ledgers named tables lead to their version wherever it is; only other versions go."""
    writer = Writer(str(tmp_path))
    writer.load("one", {"file:///a": "old", "file:///b": "b"})
    writer.load("one", {"file:///a": "new"})
    table = writer.checkpoints.ledger("one")
    nameless = [{**row, "parse": None, "chunk": None, "embed": None, "chunks": None} for row in rows_of(table)]
    shutil.rmtree(tmp_path / "ledger")
    Checkpoints(str(tmp_path)).ledger("one").append(nameless)
    compact(Checkpoints(str(tmp_path)))
    found = Checkpoints(str(tmp_path))
    assert {row["text"] for row in rows_of(found.documents("p1"))} == {"new", "b"}
    assert {row["text"] for row in rows_of(found.chunks("c1"))} == {"new", "b"}
    assert len(found.vectors("e1")) == 2


def test_vectors_whose_chunks_are_lost_are_kept(tmp_path: Path) -> None:
    """When chunks were lost behind our back, no vector of theirs is dropped: computing them again costs most."""
    writer = Writer(str(tmp_path))
    writer.load("one", {"file:///a": "one\ntwo"})
    writer.load("one", {"file:///b": "three"})
    first, _ = sorted((tmp_path / "chunks" / "c1").iterdir())
    first.unlink()
    report = compact(Checkpoints(str(tmp_path)))
    assert len(Checkpoints(str(tmp_path)).vectors("e1")) == 3
    (warning,) = report.warnings
    assert "the chunks of 1 documents are not in chunks/c1" in warning
    assert "corpusvec audit" in warning


def test_a_merged_part_has_a_bounded_size() -> None:
    """Parts are merged up to a limit, large ones with nothing to drop are left alone, the order is kept."""
    mega = 2**20
    sizes = [100, 90, 20, 30, 1, 1, 127, 10, 200, 3, 2]
    extents = [Extent(f"{n:020d}-x.parquet", size * mega, 10, np.arange(10)) for n, size in enumerate(sizes)]
    extents[1] = Extent(extents[1].name, 90 * mega, 10, np.arange(1))
    groups = [[sizes[int(extent.name[:20])] for extent in group] for group in plan_merges(extents)]
    assert groups == [[90, 20, 30, 1, 1], [3, 2]]
    assert all(sum(group) * mega <= 2 * PART_BYTES for group in groups)
    assert plan_merges(
        [Extent("1-a.parquet", 5, 1, np.arange(1)), Extent("1-b.parquet", 2 * PART_BYTES, 1, np.arange(1))]
    )


MEMORY = """
import sys, uuid, numpy as np, pyarrow as pa
from tests.pipeline.test_compact import *
writer = Writer(sys.argv[1])
writer.load("one", {"file:///a": "text"})
vectors = writer.checkpoints.vectors("e1", 1024, {})
lines = [str(n) for n in range(12_000)]
writer.checkpoints.vectors("e1").drop()
keys = [embedding_key("e1", digest(line)) for line in lines]
for first in range(0, 12_000, 400):
    data = np.random.default_rng(first).random((400, 1024), np.float32)
    vectors.append(vectors_table(keys[first : first + 400], data))
writer.checkpoints.chunks("c1").drop()
version = rows_of(writer.checkpoints.ledger("one"))[0]["version_id"]
writer.checkpoints.chunks("c1", {}).append([{"version_id": version, "token_hash": digest(line)} for line in lines])
before = pa.default_memory_pool().max_memory()
compact(Checkpoints(sys.argv[1]))
print(len(Checkpoints(sys.argv[1]).vectors("e1").parts), before, pa.default_memory_pool().max_memory())
"""


def test_merging_takes_the_memory_of_row_groups(tmp_path: Path) -> None:
    """Forty megabytes of small parts become one part in a fraction of that memory."""
    done = run_program(MEMORY, tmp_path)
    parts, before, peak = map(int, done.split())
    assert parts == 1
    assert sum(path.stat().st_size for path in (tmp_path / "vectors").rglob("*.parquet")) > 40 * 2**20
    assert peak < max(before, 28 * 2**20)


# Runs something in a child a root, each killed before another of its effects on the disk; the last one is not.
KILLER = """
import os, shutil, signal, sys
from pathlib import Path
from {module} import {action}

seed, out = Path(sys.argv[1]), Path(sys.argv[2])

def watch(root, allowed):
    left = [allowed]

    def hook(event, arguments):
        if event == "open":
            path, mode = str(arguments[0]), arguments[1] or ""
            if not set("wax+") & set(mode):
                return
        elif event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir"):
            path = str(arguments[0])
        else:
            return
        if str(root) in path:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

    sys.addaudithook(hook)

for effects in range(10_000):
    root = out / str(effects)
    shutil.copytree(seed, root)
    child = os.fork()
    if not child:
        code = 1
        try:
            watch(root, effects)
            {action}(root)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        continue
    print(effects)
    sys.exit(status)
"""


def run_program(program: str, *arguments: Path) -> str:
    """What a Python process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def killed_everywhere(module: str, action: str, seed: Path, out: Path) -> Sequence[Path]:
    """Copies of `seed` in which `action` was killed before its first effect, its second, …; the last one is whole."""
    effects = int(run_program(KILLER.format(module=module, action=action), seed, out))
    return [out / str(number) for number in range(effects + 1)]


def compact_at(root: Path) -> None:
    """What the killed process does."""
    compact(Checkpoints(str(root)))


def test_a_compaction_may_be_killed_before_any_effect(tmp_path: Path) -> None:
    """A kill -9 before each write and each removal: the view is as it was, and another compaction ends it."""
    seed = tmp_path / "seed"
    writer = Writer(str(seed))
    writer.load("one", {"file:///a": "old\ncommon", "file:///b": "common", "file:///c": "c"})
    writer.load("one", {"file:///a": "new\ncommon"})
    writer.delete("one", ["file:///c"])
    Writer(str(seed), Recipe("p1", "c0", "e0")).load("two", {"file:///a": "another model"})
    writer.delete("two", ["file:///a"])
    writer.finish("one")
    (seed / "chunks" / "c1" / ".00000000000000000009-ffffffff.parquet.12345678.tmp").write_bytes(LEFTOVER)
    before = {"one": expected({"file:///a": "new\ncommon", "file:///b": "common"})}
    roots = killed_everywhere(__name__, "compact_at", seed, tmp_path / "killed")
    assert len(roots) > 30
    whole = contents(str(roots[-1]))
    assert len(files(roots[-1])) == 5
    for root in roots:
        assert view(str(root)) == before, root
        compact_at(root)
        assert view(str(root)) == before, root
        assert contents(str(root)) == whole, root
        assert len(files(root)) == 5, root
