"""Pools over `fake.FakeEngine`: real processes and shared memory, and an engine that does what the texts tell it to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.config import Engine
from pipeline.embed.pool import Pool
from tests.pipeline.embed.fake import FAKE, SILENCE, fake_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the engines leave their traces, and find their orders.

    An engine whose speed is not known yet is thought to be fast, and a device to be free at once.
    """
    monkeypatch.setattr("pipeline.embed.attendant._START_PAUSE", 0.0)
    monkeypatch.setattr("pipeline.embed.watchdog._SLOWEST", {"cpu": 1e6, "cuda": 1e6})
    return tmp_path


@pytest.fixture
def opened(folder: Path) -> Iterator[Callable[..., Pool]]:
    """Pools with these settings, closed at the end."""
    pools: list[Pool] = []

    def open_one(**settings: object) -> Pool:
        engine = Engine.model_validate({"device": "cpu", "silence_seconds": SILENCE, **settings})
        pools.append(Pool(fake_model(folder), engine, FAKE))
        return pools[-1]

    yield open_one
    for pool in pools:
        pool.close()
