"""Parquet parts are whole or absent, and the newest row of a key is the current one."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import tracemalloc
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline.table
from pipeline.checkpoint import Checkpoints, KeyIndex, Table, vectors_table
from pipeline.errors import Terminal
from pipeline.table import instant
from pipeline.tables import vectors_schema

SCHEMA = pa.schema([("key", pa.string()), ("value", pa.int64())])
STATES = pa.schema([*SCHEMA, ("state", pa.string())])

#: Keys whose bytes a careless comparison would get wrong: zeros at either end, and the top bit.
EDGES = [0, 1, 255, 2**120, 255 << 120, 2**127, 2**127 + 2**64, 2**128 - 1]


def key(number: int) -> str:
    """A key of our form."""
    return str(uuid.UUID(int=number))


def table_at(root: Path | str) -> Table:
    """A fresh reader and writer of the same table."""
    return Checkpoints(str(root)).table("things", SCHEMA, "key", {"made by": "a test"})


def states_at(root: Path | str) -> Table:
    """The same of a table whose rows may say that a key is gone."""
    return Checkpoints(str(root)).table("states", STATES, "key", {}, ("state", "gone"))


class Crash(Exception):
    """Stands for a kill between two effects on the disk."""


@contextlib.contextmanager
def crash_after(effects: int) -> Iterator[None]:
    """Crash before the effect of that number: a part written, or one removed."""
    left = iter(range(effects))

    def counted(effect: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any) -> Any:
            if next(left, None) is None:
                raise Crash
            return effect(*arguments)

        return guarded

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Crash):
        for name in ("write_part", "remove"):
            patch.setattr(f"pipeline.table.{name}", counted(getattr(pipeline.table, name)))
        yield


def merge_all(table: Table, step: int) -> None:
    """A compaction that merges `step` parts at a time."""
    extents = table.survey()
    while extents:
        size = step
        while size < len(extents) and instant(extents[size - 1].name) == instant(extents[size].name):
            size += 1
        table.rewrite(extents[:size])
        extents = extents[size:]


def rewrite_each(table: Table, step: int) -> None:
    """As an erasure does it: every `step`th part on its own, older rows and all."""
    for name in table.parts[::step]:
        table.replace([name], table.read(name))


def alive(tables: Iterable[pa.Table]) -> dict[int, list[int]]:
    """The values of every key that is not gone."""
    found: dict[int, list[int]] = {}
    for table in tables:
        rows = table.to_pylist()
        assert not {uuid.UUID(row["key"]).int for row in rows} & found.keys(), "a key in two tables"
        for row in rows:
            if row["state"] != "gone":
                found.setdefault(uuid.UUID(row["key"]).int, []).append(row["value"])
    return found


def assert_equal(table: Table, model: dict[int, list[int]]) -> None:
    """Every way of reading gives what the dict has."""
    assert alive(table.current()) == model
    wanted = [3, 0, 4, 99, 3]
    found = table.lookup([key(number) for number in wanted]).to_pylist()
    values = [row["value"] for row in found if row["state"] != "gone"]
    assert values == [value for number in wanted for value in model.get(number, [])]
    there = set(range(100)) - {uuid.UUID(name).int for name in table.missing([key(n) for n in range(100)])}
    assert there >= model.keys()
    assert len(table) == len(there)


NIGHT = st.tuples(
    st.lists(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=5), max_size=3),
    st.sampled_from(["settle", "merge_all", "rewrite_each"]),
    st.integers(1, 3),
    st.none() | st.integers(0, 5),
)


@settings(max_examples=40, deadline=None)
@given(large=st.booleans(), nights=st.lists(NIGHT, min_size=1, max_size=5))
def test_the_newest_run_of_rows_of_a_key_is_current(large: bool, nights: list[Any]) -> None:
    """Whatever is appended, merged and killed, whoever reads meanwhile: what a dict would have is current."""
    values = count()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # A row group a row; and what survives a power cut is not what is tried here, but takes most of the time.
        patch.setattr("pipeline.parts._GROUP_BYTES", 1)
        patch.setattr("os.fsync", lambda _: None)
        table = states_at(folder)
        model: dict[int, list[int]] = {}
        if large:  # so large that settling leaves it alone
            table.append([{"key": key(n), "value": n, "state": os.urandom(9_000).hex()} for n in (1, 2, 99)])
            model = {1: [1], 2: [2], 99: [99]}
        for parts, action, step, effects in nights:
            for part in parts:
                rows = []
                for number, is_gone in dict(part).items():
                    runs = 1 if is_gone else sum(other == number for other, _ in part)
                    model[number] = [next(values) for _ in range(runs)]
                    rows += [
                        {"key": key(number), "value": value, "state": "gone" if is_gone else "x"}
                        for value in model[number]
                    ]
                    if is_gone:
                        del model[number]
                table.append(rows)
            assert_equal(table, model)
            reader, halfway = states_at(folder), states_at(folder).current()
            began = [next(halfway, STATES.empty_table())]
            assert_equal(reader, model)
            act = {"settle": Table.settle}.get(action) or partial(globals()[action], step=step)
            if effects is None:
                act(table)
            else:
                with crash_after(effects):
                    act(table)
                table = states_at(folder)
            for other in (reader, table, states_at(folder)):
                assert_equal(other, model)
            assert alive([*began, *halfway]) == model


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.lists(st.integers(0, 2**128 - 1) | st.sampled_from(EDGES), max_size=30), max_size=6))
def test_an_index_of_keys_is_a_dict(parts: list[list[int]]) -> None:
    """The place of a key is that of its run of rows in what was added last, whatever its bytes are."""
    index = KeyIndex()
    model: dict[int, tuple[int, int, int]] = {}
    for part, numbers in enumerate(parts):
        rows = sorted(numbers)
        index.add([key(number) for number in rows], part)
        model.update({number: (part, rows.index(number), rows.count(number)) for number in rows})
    asked = [*model, *EDGES, 12345]
    assert [tuple(row) for row in index.find([key(number) for number in asked])] == [
        model.get(number, (-1, -1, -1)) for number in asked
    ]
    assert len(index) == len(model)


@pytest.mark.parametrize("wrong", ["", "abc", "g" * 32, "0" * 31, "0" * 33, None])
def test_what_is_no_key_is_refused(tmp_path: Path, wrong: str | None) -> None:
    """A key is a uuid or 32 hex digits; anything else is an error before anything is written."""
    with pytest.raises(ValueError, match="a uuid or 32 hex digits"):
        table_at(tmp_path).append([{"key": key(1), "value": 1}, {"key": wrong, "value": 2}])
    assert list(tmp_path.iterdir()) == []
    for many in (1, 100):  # few keys and many are read in different ways
        with pytest.raises(ValueError, match="a uuid or 32 hex digits"):
            KeyIndex().find([str(wrong)] * many)


def test_a_key_costs_about_32_bytes_of_memory(tmp_path: Path) -> None:
    """Loading a table of many keys makes no Python object of any."""
    numbers = 200_000
    table_at(tmp_path).append(pa.table({"key": [uuid.uuid4().hex for _ in range(numbers)], "value": range(numbers)}))
    table = table_at(tmp_path)
    tracemalloc.start()
    try:
        assert len(table) == numbers
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 34 * numbers
    assert peak < 150 * numbers


class CountingFiles(LocalFileSystem):
    """Local files, and how many bytes were read of them."""

    bytes_read = 0

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        file = super().open(path, mode, **options)
        read = file.read

        def counted(size: int = -1) -> bytes:
            data: bytes = read(size)
            self.bytes_read += len(data)
            return data

        file.read = counted
        return file


def test_a_row_of_a_large_part_costs_a_row_group(tmp_path: Path) -> None:
    """Looking up a few vectors reads the few megabytes they are in, not the part."""
    rows = 20_000
    keys = [uuid.uuid4().hex for _ in range(rows)]
    vectors = np.random.default_rng(0).random((rows, 384), np.float32)
    Checkpoints(str(tmp_path)).vectors("e", 384, {}).append(vectors_table(keys, vectors))
    fs = CountingFiles(skip_instance_cache=True)
    table = Table(fs, f"{tmp_path}/vectors/e", vectors_schema(384), "embedding_key")
    len(table)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.parquet"))
    assert fs.bytes_read < size / 20, "the index reads the column of keys"
    fs.bytes_read = 0
    found = table.lookup([keys[15_000], keys[15_001], keys[15_000]]).column("vector").to_pylist()
    assert np.array_equal(found, vectors[[15_000, 15_001, 15_000]])
    assert fs.bytes_read < size / 6


def test_a_part_from_before_a_column_existed_has_nulls_for_it(tmp_path: Path) -> None:
    """Columns come and go: what was not written is null, what nobody asks for any more is ignored."""
    old = pa.schema([("key", pa.string()), ("gone", pa.string()), ("value", pa.int32())])
    Checkpoints(str(tmp_path)).table("things", old, "key").append([{"key": key(1), "gone": "x", "value": 5}])
    new = pa.schema([("key", pa.string()), ("value", pa.int64()), ("since", pa.list_(pa.string()))])
    table = Checkpoints(str(tmp_path)).table("things", new, "key")
    assert table.lookup([key(1)]).to_pylist() == [{"key": key(1), "value": 5, "since": None}]
    assert table.lookup([key(1)], ["since"]).to_pylist() == [{"since": None}]
    table.append([{"key": key(2), "value": 6, "since": ["now"]}])
    table.rewrite(table.survey())
    assert [row["since"] for rows in table.current() for row in rows.to_pylist()] == [None, ["now"]]


@pytest.mark.parametrize("damage", ["emptied", "cut", "overwritten", "one bit"])
def test_a_broken_part_is_named(tmp_path: Path, damage: str) -> None:
    """A part that a bad disk has emptied, cut or changed ends the work with its name and what to do."""
    table_at(tmp_path).append([{"key": key(number), "value": number} for number in range(1000)])
    (part,) = (tmp_path / "things").iterdir()
    data = part.read_bytes()
    broken = {"emptied": b"", "cut": data[: len(data) // 2], "overwritten": b"\xff" * len(data)}
    part.write_bytes(broken.get(damage, data[:300] + bytes([data[300] ^ 1]) + data[301:]))
    with pytest.raises(Terminal, match=rf"cannot read .*{part.name}.*restore the file"):
        table_at(tmp_path).lookup([key(1)])


def test_a_part_that_vanished_for_good_is_missing_rows_not_an_error(tmp_path: Path) -> None:
    """Somebody removed a part behind our back: what it held is no longer there, the rest is."""
    table = table_at(tmp_path)
    table.append([{"key": key(1), "value": 1}])
    table.append([{"key": key(2), "value": 2}])
    assert len(table) == 2
    (tmp_path / "things" / table.parts[0]).unlink()
    assert table.lookup([key(1), key(2)]).column("value").to_pylist() == [2]
    assert table.missing([key(1), key(2)]) == [key(1)]


def test_a_part_that_is_listed_but_not_there_is_named(tmp_path: Path) -> None:
    """A link to nowhere is told, not looked for without end."""
    table_at(tmp_path).append([{"key": key(1), "value": 1}])
    (tmp_path / "things" / "00000000000000000001-ffffffff.parquet").symlink_to("nowhere")
    with pytest.raises(Terminal, match=r"cannot read .*00000000000000000001-ffffffff.*take it away"):
        len(table_at(tmp_path))


def test_what_a_killed_writer_left_is_not_read(tmp_path: Path) -> None:
    """A file with a temporary name is no part."""
    table_at(tmp_path).append([{"key": key(1), "value": 1}])
    (tmp_path / "things" / ".00000000000000000009-ffffffff.parquet.0000.tmp").write_bytes(b"half a p")
    assert len(table_at(tmp_path)) == 1


def test_the_number_of_parts_grows_as_a_logarithm(tmp_path: Path) -> None:
    """After hundreds of runs that each settle, few parts are left, and little was written again for each."""
    keys = [uuid.uuid4().hex for _ in range(25_000)]
    table = table_at(tmp_path)
    table.append([{"key": keys[number], "value": 0} for number in range(20_000)])
    base = sum(table.sizes().values())
    touched = set(range(20_000))
    written, most = 0, 0
    for night in range(1, 101):
        for piece in range(2):
            rows = [(night * 200 + piece * 100 + row) * 7919 % 25_000 for row in range(100)]
            table.append([{"key": keys[number], "value": night} for number in rows])
            touched.update(rows)
        before = table.sizes()
        table.settle()
        after = table.sizes()
        written += sum(size for name, size in after.items() if name not in before)
        most = max(most, len(after))
    assert most <= 8
    assert sum(after.values()) < 2 * base
    assert written < 8 * base, "every night writing the whole again would be a hundred times"
    assert len(table) == len(table_at(tmp_path)) == len(touched)


def test_a_first_run_of_many_parts_is_settled_into_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What exceeds the size of one part becomes several of about that size; settling again changes nothing."""
    table = table_at(tmp_path)
    for size in [100] * 30 + [1]:  # a last small one does not keep those before it from being merged
        table.append([{"key": uuid.uuid4().hex, "value": 0} for _ in range(size)])
    whole = sum(table.sizes().values())
    monkeypatch.setattr("pipeline.table.PART_BYTES", whole // 3)
    table.settle()
    settled = table.sizes()
    assert 3 <= len(settled) <= 5
    assert max(settled.values()) <= whole // 3
    table.settle()
    assert table.sizes() == settled
    assert len(table) == 3001


@pytest.mark.parametrize("when", ["before it writes", "after it wrote"])
def test_two_runs_may_settle_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """The record of runs is shared: one that ends while another settles it, and appends, costs neither anything."""
    table, other = table_at(tmp_path), table_at(tmp_path)
    for number in range(6):
        table.append([{"key": key(number % 4), "value": number}])
    write = pipeline.table.write_part

    def interrupted(*arguments: Any) -> bool:
        monkeypatch.undo()
        written = write(*arguments) if when == "after it wrote" else None
        other.append([{"key": key(9), "value": 9}])
        other.settle()
        return write(*arguments) if written is None else written

    monkeypatch.setattr("pipeline.table.write_part", interrupted)
    table.settle()
    for reader in (table, other, table_at(tmp_path)):
        found = {row["key"]: row["value"] for rows in reader.current() for row in rows.to_pylist()}
        assert found == {key(0): 4, key(1): 5, key(2): 2, key(3): 3, key(9): 9}


def test_a_tombstone_stays_as_long_as_it_covers_something(tmp_path: Path) -> None:
    """Merged with newer parts only, a deleted key's row is kept; merged with everything, both it and they go."""
    table = states_at(tmp_path)
    table.append([{"key": key(number), "value": 0, "state": "x"} for number in range(5_000)])
    table.append([{"key": key(1), "value": 1, "state": "gone"}])
    table.append([{"key": key(2), "value": 1, "state": "x"}])
    table.settle()
    assert [len(table.parts), table.lookup([key(1)]).column("state").to_pylist()] == [2, ["gone"]]
    table.rewrite(table.survey())
    assert [len(table.parts), table.lookup([key(1)]).num_rows, len(table)] == [1, 0, 4_999]


def test_a_merged_part_says_what_its_parts_said(tmp_path: Path) -> None:
    """Whoever merges need not know the recipe: the part's description is that of the parts it replaces."""
    for number in range(2):
        table_at(tmp_path).append([{"key": key(number), "value": number}])
    Checkpoints(str(tmp_path)).table("things", SCHEMA, "key").settle()
    (part,) = (tmp_path / "things").iterdir()
    assert json.loads(pq.read_schema(part).metadata[b"corpusvec"]) == {"made by": "a test"}


def test_a_part_is_plain_parquet_that_says_what_made_it(tmp_path: Path) -> None:
    """Any Parquet reader reads a part; its metadata carries the recipe; vectors are a fixed-size list of float32."""
    checkpoints = Checkpoints(str(tmp_path))
    vectors = checkpoints.vectors("abc", 4, {"model": "m", "fingerprint": "abc"})
    data = np.arange(8, dtype=np.float32).reshape(2, 4)
    vectors.append(vectors_table(["0" * 32, "1" * 32], data))
    (part,) = (tmp_path / "vectors" / "abc").iterdir()
    read = pq.read_table(part)
    assert json.loads(read.schema.metadata[b"corpusvec"])["model"] == "m"
    assert read.schema.field("vector").type == pa.list_(pa.float32(), 4)
    assert np.array_equal(np.stack(read.to_pandas()["vector"]), data)
    assert checkpoints.count_vectors() == 2


def test_an_object_store_works_as_a_disk_does() -> None:
    """The root may be any fsspec URL; a part is one PUT there."""
    root = f"memory://{uuid.uuid4()}"
    table_at(root).append([{"key": key(1), "value": 7}])
    assert table_at(root).lookup([key(1)]).column("value").to_pylist() == [7]


def test_a_clock_that_was_set_back_brings_back_no_old_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written later is newer, whatever the clock says."""
    table = table_at(tmp_path)
    table.append([{"key": key(1), "value": 1}])
    monkeypatch.setattr("time.time_ns", lambda: 5)
    table_at(tmp_path).append([{"key": key(1), "value": 2}])
    assert table_at(tmp_path).lookup([key(1)]).column("value").to_pylist() == [2]


def test_no_rows_make_no_part(tmp_path: Path) -> None:
    """Appending nothing writes nothing, and an absent table is an empty one."""
    table = table_at(tmp_path)
    table.append([])
    assert (table.parts, len(table), list(table.current()), list(tmp_path.iterdir())) == ([], 0, [], [])


def test_a_root_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    """A file where the folder should be: the message names the path and what to do."""
    (tmp_path / "things").write_text("in the way")
    with pytest.raises(Terminal, match=r"cannot write .*correct 'data'"):
        table_at(tmp_path).append([{"key": key(1), "value": 1}])


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.ENOSPC, "free some disk space"), (errno.EDQUOT, "free some disk space"), (errno.EROFS, "make .*writable")],
)
def test_a_disk_that_fails_is_told_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    """A full or read-only disk, noticed as late as when the file is synced: a sentence, no part, no temporary file."""

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    table = table_at(tmp_path)
    table.append([{"key": key(1), "value": 1}])
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(Terminal, match=rf"cannot write .*things/.*{os.strerror(code)}; {remedy}"):
        table.append([{"key": key(2), "value": 2}])
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "things").iterdir()] == table.parts
    assert table.missing([key(1), key(2)]) == [key(2)]
    table.append([{"key": key(2), "value": 2}])
    assert len(table_at(tmp_path)) == 2


def test_a_file_that_may_not_grow_is_told(tmp_path: Path) -> None:
    """A limit that the system really sets, in the middle of a part: the message says which, and nothing is left."""
    program = (
        "import resource, sys, os\nfrom tests.pipeline.test_checkpoint import key, table_at\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "table_at(sys.argv[1]).append([{'key': os.urandom(16).hex(), 'value': i} for i in range(20_000)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert "pipeline.errors.Terminal: cannot write " in done.stderr
    assert "raise the limit on the size of a file" in done.stderr
    assert list((tmp_path / "things").iterdir()) == []


def test_what_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge whose old parts stay says so, and has lost nothing."""
    table = table_at(tmp_path)
    for number in range(3):
        table.append([{"key": key(number), "value": number}])

    def fail(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(LocalFileSystem, "rm_file", fail)
    with pytest.raises(Terminal, match=r"cannot remove .*things/.*make the folder writable"):
        table.settle()
    assert len(table) == len(table_at(tmp_path)) == 3


@pytest.mark.parametrize("seed", range(6))
def test_a_writer_that_is_killed_leaves_whole_parts_only(tmp_path: Path, seed: int) -> None:
    """A kill -9 at any moment while parts are written: every part that is there reads whole; no key is half there."""
    program = (
        "import sys\nfrom tests.pipeline.test_checkpoint import key, table_at\n"
        "table = table_at(sys.argv[1])\nprint('ready', flush=True)\n"
        "for n in range(10**6):\n"
        "    table.append([{'key': key(n), 'value': i} for i in range(20_000)])\n    print(n, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    for _ in range(2 + seed):
        process.stdout.readline()
    # A moment inside the next append that differs with the seed, without waiting on a clock.
    for _ in range(seed * 20_000):
        os.getpid()
    process.send_signal(signal.SIGKILL)
    process.wait()
    told = [int(line) for line in process.stdout.read().split()]
    process.stdout.close()
    table = table_at(tmp_path)
    assert len(table) >= 1 + seed + len(told)
    for rows in table.current():
        assert rows.num_rows == 20_000
