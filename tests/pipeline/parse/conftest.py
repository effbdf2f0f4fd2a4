"""What a process that parses does once, done before any test is timed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from pipeline.parse import parse
from pipeline.parse.language import language_of


@pytest.fixture(scope="session", autouse=True)
def languages() -> None:
    """The model of languages takes a second to load, and the formats of logs a quarter of one."""
    assert language_of("The lamp at the pier burns from dusk until the last ferry.") == "en"
    assert parse(b"2024-05-01 10:00:00 INFO up\n" * 2, "a.txt").media_type == "text/x-log"


@pytest.fixture(scope="module", autouse=True)
def programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything is read as where no other programs are installed, except by the tests of these programs."""
    alone = not request.module.__name__.endswith("test_programs")
    with patch.dict(os.environ, {"PATH": os.devnull} if alone else {}):
        yield
