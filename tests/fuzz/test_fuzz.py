"""A little of what `python -m tests.fuzz` does at length."""

from __future__ import annotations

import pytest

from tests.fuzz.families import FAMILIES, seeds
from tests.fuzz.mutate import mutate
from tests.fuzz.trial import run

COUNT = 60


@pytest.mark.parametrize("family", FAMILIES)
def test_broken_documents_are_parsed_or_rejected(family: str) -> None:
    """Nothing escapes a parser, breaks the law of what it gives, or takes its process down."""
    tally = run(family, range(COUNT), seconds=60.0)
    assert tally.faults == []
    assert sum(tally.counts.values()) == COUNT
    assert tally.counts["parsed"] > 0, "broken beyond use, all of them"


def test_the_same_number_is_the_same_document() -> None:
    """What was found once can be made again; others are others."""
    for family in FAMILIES:
        found = [mutate(seeds(family), number, family) for number in range(20)]
        assert found == [mutate(seeds(family), number, family) for number in range(20)]
        assert len(set(found)) > 15
