"""Every real document we have, and every one of our own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.errors import Rejected
from pipeline.parse import parse
from tests.pipeline.parse.law import levels, obeys_the_law

SAMPLE = Path(__file__).resolve().parents[3] / "data" / "sample"


@pytest.mark.parametrize("folder", ["office", "pdf-samples", "logs"])
def test_every_file_is_parsed_or_rejected_with_a_reason(corpora: Path, folder: str) -> None:
    """No file of the corpora is passed over: each obeys the law, or is rejected in words without internals."""
    paths = sorted(path for path in (corpora / folder).rglob("*") if path.is_file())
    rejected = {}
    for path in paths:
        try:
            parsed = parse(path.read_bytes(), path.as_uri())
        except Rejected as reason:
            rejected[path.name] = str(reason)
        else:
            obeys_the_law(parsed)
            assert parsed.text.strip(), path
    assert len(rejected) <= 0.25 * len(paths)
    for name, reason in rejected.items():
        assert len(reason.split()) >= 4, name
        assert not re.search(r"Traceback|Error\b|Exception|0x[0-9a-f]{4}", reason), (name, reason)
        assert "cannot be read: it is damaged" not in reason, f"{name} has no reason of its own"


def test_the_sample_shows_every_kind_of_outcome() -> None:
    """Our own corpus is small, has words to search for, and two files that say why they are unreadable."""
    texts, reasons = {}, {}
    for path in sorted(SAMPLE.iterdir()):
        try:
            parsed = parse(path.read_bytes(), path.as_uri())
        except Rejected as reason:
            reasons[path.name] = str(reason)
        else:
            obeys_the_law(parsed)
            assert parsed.warnings == []
            texts[path.name] = parsed
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 150_000
    assert sum(len(parsed.text.split()) for parsed in texts.values()) > 4000
    assert reasons == {
        "minutes-lost.txt": "the file is empty",
        "scan-of-old-deed.pdf": "the PDF is damaged or incomplete (its end is missing) and cannot be opened",
    }
    assert (2, "Testing the backup generator") in levels(texts["operations-handbook.docx"], "heading")
    assert (2, "3.1 The detector of Wren") in levels(texts["telescope-maintenance.pdf"], "heading")
    assert "Gästehaus" in texts["hausordnung-gaestehaus.txt"].text
