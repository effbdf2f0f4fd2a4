"""From real engine processes with faults through the embed stage into real Parquet: each sound text once, no other."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.checkpoint import Checkpoints
from pipeline.embed.canary import Canary
from pipeline.embed.pool import Pool
from pipeline.embed.stage import EmbedStage
from pipeline.embed.tokenizer import token_hash
from pipeline.errors import Terminal
from pipeline.report import Report
from pipeline.types import TokenIds
from tests.pipeline.embed.fake import DIMENSIONS, SHORT_SILENCE, SILENCE, embedded, fake_model, fault, texts, vector_of


class Words:
    """A tokenizer that has a number for each word."""

    def encode(self, text: str) -> SimpleNamespace:
        """`ids`, below those that mean a fault."""
        return SimpleNamespace(ids=[zlib.crc32(word.encode()) % 900 + 4 for word in text.split()])


class Given(dict[str, list[int]]):
    """Texts by their embedding key."""

    def __init__(self, rows: Sequence[list[int]]) -> None:
        super().__init__((fake_model(Path("nowhere")).embedding_key(token_hash(ids)), ids) for ids in rows)

    def tokens(self, key: str) -> int:
        """How many it has."""
        return len(self[key])

    def ids(self, key: str) -> TokenIds:
        """Those."""
        return self[key]


@pytest.fixture
def stage(folder: Path, opened: Callable[..., Pool]) -> Iterator[Callable[..., EmbedStage]]:
    """A run's, over a pool of its own and the Parquet of all runs."""

    def begin(**settings: object) -> EmbedStage:
        checkpoints = Checkpoints(str(folder / "data"))
        canary = Canary(checkpoints, fake_model(folder), Words())  # type: ignore[arg-type]
        table = checkpoints.vectors("fake", DIMENSIONS, {})
        return EmbedStage(table, DIMENSIONS, lambda: opened(**settings), canary, lambda: None)

    yield begin


def kept(folder: Path) -> list[tuple[str, list[float]]]:
    """Every row of every part of the vectors' table."""
    rows: list[tuple[str, list[float]]] = []
    for part in sorted(folder.glob("data/vectors/fake/*.parquet")):
        table = pq.read_table(part)
        rows += zip(table.column("embedding_key").to_pylist(), table.column("vector").to_pylist(), strict=True)
    return rows


@pytest.mark.parametrize(
    ("what", "moment", "said"),
    [
        ("kill", "step", "SIGKILL"),
        ("exit", "add", "exited with code 3"),
        ("hang", "step", "hung"),
        ("nan", "step", "NaN"),
        ("shape", "step", "shape"),
        ("refuse", "add", "does not like it"),
    ],
)
def test_each_sound_text_is_kept_once_and_each_poison_named(
    what: str, moment: str, said: str, folder: Path, stage: Callable[..., EmbedStage]
) -> None:
    """Units side by side, with texts in common; a run after them embeds nothing but what was refused."""
    rows = texts(60)
    for row in (7, 30, 31):
        rows[row] = [row, fault(what, moment)]
    given = Given(rows)
    keys = list(given)
    guilty = {keys[row] for row in (7, 30, 31)}
    sound = {key: ids for key, ids in given.items() if key not in guilty}
    silence = SHORT_SILENCE if what == "hang" else SILENCE
    units = [keys[:40], keys[20:], keys[5:55:2]]
    reports = [Report() for _ in units]
    running = stage(silence_seconds=silence)
    with ThreadPoolExecutor(len(units)) as threads:
        told = list(threads.map(lambda unit, report: running.run(unit, frozenset(), given, report), units, reports))
    for unit, one in zip(units, told, strict=True):
        assert set(one.faults) == guilty.intersection(unit)
        assert all(said in reason for reason in one.faults.values())
    made = [(key, vector) for one in told for key, vector in one.vectors.items()]
    assert sorted(key for key, _ in made) == sorted(sound), "each by one of them"
    assert all(np.array_equal(vector, vector_of(given[key])) for key, vector in made)
    assert sorted(key for key, _ in kept(folder)) == sorted(sound)
    assert all(np.array_equal(vector, vector_of(given[key])) for key, vector in kept(folder))
    assert sum(report.embedded for report in reports) == len(sound)
    assert sum(report.embedded_tokens for report in reports) == sum(map(len, sound.values()))

    again = stage(silence_seconds=silence).run(keys, frozenset(), given, Report())
    assert set(again.faults) == guilty
    assert again.vectors == {}
    assert len(kept(folder)) == len(sound)
    done = Counter(embedded(folder))
    assert all(done[" ".join(map(str, ids))] == 1 for ids in sound.values())


@pytest.mark.parametrize("what", ["start-exit", "nan"])
def test_what_was_embedded_before_the_engine_was_lost_is_kept(
    what: str, folder: Path, stage: Callable[..., EmbedStage]
) -> None:
    """A run that its engine ends keeps what it has, blames no text, and the next run embeds only the rest."""
    given = Given(texts(40))
    running = stage()
    assert running.run(list(given)[:25], frozenset(), given, Report()).faults == {}
    (folder / what).touch()
    (folder / ("once-exit" if what == "start-exit" else "nothing")).touch()
    with pytest.raises(Terminal):
        running.run(list(given), frozenset(), given, Report())
    assert len(kept(folder)) == 25
    (folder / what).unlink()
    assert stage().run(list(given), frozenset(), given, Report()).faults == {}
    assert sorted(key for key, _ in kept(folder)) == sorted(given)
