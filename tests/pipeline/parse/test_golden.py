"""What documents of our own making are parsed to, whole."""

from __future__ import annotations

import json

import pytest

from tests.pipeline.parse.golden import FOLDER, SAMPLES, expected, parsed


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_sample_is_parsed_as_written_down(name: str) -> None:
    """Text, kinds, levels, pages, boxes, title, metadata and warnings are those of the file in `golden/`."""
    assert json.loads(parsed(name)) == json.loads(expected(name).read_text(encoding="utf-8"))


def test_every_file_has_its_sample() -> None:
    """No file in `golden/` is left over from a sample that is gone."""
    assert {path.name for path in FOLDER.iterdir()} == {expected(name).name for name in SAMPLES}
