"""What is said of pages that are read by OCR."""

from __future__ import annotations

import pytest

from pipeline.parse import ocr


def test_the_language_that_was_assumed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody said in which languages scans are, English is named, and the variable that changes it."""
    monkeypatch.delenv("CORPUSVEC_OCR_LANGUAGES", raising=False)
    assert "as English" in ocr.language_note() and "CORPUSVEC_OCR_LANGUAGES" in ocr.language_note()
    monkeypatch.setenv("CORPUSVEC_OCR_LANGUAGES", "deu")
    assert ocr.language_note() == ""
