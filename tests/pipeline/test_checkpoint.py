"""Parquet parts are whole or absent, and the newest row of a key is the current one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.checkpoint import Checkpoints, KeyIndex, Table, vectors_table
from pipeline.errors import Terminal

SCHEMA = pa.schema([("key", pa.string()), ("value", pa.int64())])


def key(number: int) -> str:
    """A key of our form."""
    return str(uuid.UUID(int=number))


def table_at(root: Path | str) -> Table:
    """A fresh reader and writer of the same table."""
    return Checkpoints(str(root)).table("things", SCHEMA, "key", {"made by": "a test"})


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.lists(st.tuples(st.integers(0, 9), st.integers()), min_size=1, max_size=8), min_size=1, max_size=6
    ),
    reopen=st.booleans(),
    fold_at=st.sampled_from([1, 3, 500_000]),
)
def test_the_newest_run_of_rows_of_a_key_is_current(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[tuple[int, int]]], reopen: bool, fold_at: int
) -> None:
    """Lookup and the current view give, for each key, the rows of the newest part that has it, whoever reads."""
    root = tmp_path_factory.mktemp("table")
    before, KeyIndex.FOLD_AT = KeyIndex.FOLD_AT, fold_at
    try:
        table = table_at(root)
        model: dict[int, list[int]] = {}
        for part in parts:
            rows = sorted(part, key=lambda row: row[0])
            table.append([{"key": key(number), "value": value % 2**62} for number, value in rows])
            model.update({number: [value % 2**62 for n, value in rows if n == number] for number, _ in rows})
        if reopen:
            table = table_at(root)
        assert table.missing([key(number) for number in range(10)]) == [key(n) for n in range(10) if n not in model]
        wanted = [9, 3, 0, 5]
        found = table.lookup([key(number) for number in wanted]).column("value").to_pylist()
        assert found == [value for number in wanted for value in model.get(number, [])]
        current = pa.concat_tables([SCHEMA.empty_table(), *(rows.cast(SCHEMA) for rows in table.current())])
        seen: dict[str, list[int]] = {}
        for row in current.to_pylist():
            seen.setdefault(row["key"], []).append(row["value"])
        assert seen == {key(number): values for number, values in model.items()}
        assert len(table) == len(model)
    finally:
        KeyIndex.FOLD_AT = before


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
