"""Parts written by a process of its own: the same parts, told when they are there, and no others."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from pipeline.checkpoint import Checkpoints
from pipeline.errors import Terminal, Transient
from pipeline.tables import vectors_schema
from pipeline.writer import PURPOSE, Writer


@pytest.fixture
def writer() -> Iterator[Writer]:
    made = Writer()
    yield made
    made.close()


def vectors(keys: range) -> pa.Table:
    return pa.Table.from_pylist(
        [{"embedding_key": f"{key:032x}", "vector": [key, 1.0, 0.5]} for key in keys], schema=vectors_schema(3)
    )


def processes() -> list[psutil.Process]:
    """Those that write: of this one's, and not dead."""
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if PURPOSE in child.cmdline()]


def test_the_same_parts(tmp_path: Path, writer: Writer) -> None:
    """To the byte what is written here, and readable as soon as the call returns."""
    here, apart = Checkpoints(str(tmp_path / "here")), Checkpoints(str(tmp_path / "apart"), writer)
    for checkpoints in (here, apart):
        table = checkpoints.vectors("e", 3, {"stage": "embed"})
        for first in (0, 100):
            table.append(vectors(range(first, first + 100)))
        assert table.lookup([f"{7:032x}"]).to_pylist() == vectors(range(7, 8)).to_pylist()
        assert len(table) == 200
    mine, other = ([path.read_bytes() for path in sorted((tmp_path / name).rglob("*.parquet"))] for name in
                   ("here", "apart"))  # fmt: skip
    assert mine == other
    assert len(processes()) == 1


def test_a_process_that_dies(tmp_path: Path, writer: Writer) -> None:
    """What was told is there; a part that was not is tried again, and another process writes it."""
    table = Checkpoints(str(tmp_path), writer).vectors("e", 3, {})
    table.append(vectors(range(10)))
    (process,) = processes()
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(Transient, match="ended"):
        table.append(vectors(range(10, 20)))
    assert len(table) == 10
    table.append(vectors(range(10, 20)))
    assert len(Checkpoints(str(tmp_path)).vectors("e", 3)) == 20


def test_what_cannot_be_written(tmp_path: Path, writer: Writer) -> None:
    """Told as it is here, and the process is none the worse."""
    (tmp_path / "vectors").write_text("in the way")
    with pytest.raises(Terminal, match="cannot write"):
        Checkpoints(str(tmp_path), writer).vectors("e", 3, {}).append(vectors(range(3)))
    Checkpoints(str(tmp_path / "else"), writer).vectors("e", 3, {}).append(vectors(range(3)))


def test_closed_with_the_tables_and_open_again(tmp_path: Path, writer: Writer) -> None:
    """Tables outlive their closing: what is written then takes a process, which the next closing ends."""
    checkpoints = Checkpoints(str(tmp_path), writer)
    for first in (0, 10):
        checkpoints.vectors("e", 3, {}).append(vectors(range(first, first + 10)))
        assert len(processes()) == 1
        checkpoints.close()
        assert processes() == []
    assert len(checkpoints.vectors("e", 3)) == 20


def test_who_writes_nothing_starts_nothing(tmp_path: Path, writer: Writer) -> None:
    """Only the first part takes a process; closing ends it, more than once if need be."""
    table = Checkpoints(str(tmp_path), writer).vectors("e", 3, {})
    assert len(table) == 0
    assert processes() == []
    table.append(vectors(range(3)))
    assert len(processes()) == 1
    writer.close()
    writer.close()
    assert processes() == []
