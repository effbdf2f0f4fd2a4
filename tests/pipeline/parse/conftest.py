"""What a process that parses does once, done before any test is timed."""

from __future__ import annotations

import pytest

from pipeline.parse.language import language_of


@pytest.fixture(scope="session", autouse=True)
def languages() -> None:
    """The model of languages takes a second to load."""
    assert language_of("The lamp at the pier burns from dusk until the last ferry.") == "en"
