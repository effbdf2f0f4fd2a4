"""Presentations and workbooks, through the package that reads them."""

from __future__ import annotations

import io
import stat
import sys
from pathlib import Path

import docx
import pytest

from pipeline.errors import Rejected
from pipeline.parse import parse, unstructured
from tests.pipeline.parse.law import blocks, levels, obeys_the_law


def test_nothing_is_downloaded(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The language model that the package would fetch is never asked for."""
    tokenize = pytest.importorskip("unstructured.nlp.tokenize")

    def download() -> None:
        raise AssertionError("it tried to download a model")

    monkeypatch.setattr(tokenize, "_install_spacy_model", download)
    tokenize._get_nlp.cache_clear()
    assert parse((corpora / "office/sample-presentation.pptx").read_bytes(), "a.pptx").text


def test_slides_are_pages_with_their_titles(corpora: Path) -> None:
    """A slide's title is a heading, its bullets list items, its tables rows; each slide is a page."""
    pytest.importorskip("pptx")
    parsed = parse((corpora / "office/fake-power-point.pptx").read_bytes(), "a.pptx")
    assert levels(parsed, "heading") == [(1, "Adding a Bullet Slide")]
    assert [level for level, _ in levels(parsed, "list_item")] == [1, 2, 3]
    several = parse((corpora / "office/simple.pptx").read_bytes(), "a.pptx")
    assert {block.page for block in several.blocks} == {1, 2}
    table = parse((corpora / "office/fake-power-point-table.pptx").read_bytes(), "a.pptx")
    assert " | " in levels(table, "table")[0][1]


def test_sheets_are_pages_with_their_names(corpora: Path) -> None:
    """Each sheet's name stands above its rows; a workbook of empty sheets has no text."""
    pytest.importorskip("openpyxl")
    parsed = parse((corpora / "office/stanley-cups.xlsx").read_bytes(), "a.xlsx")
    obeys_the_law(parsed)
    assert blocks(parsed)[0] == ("heading", "Stanley Cups")
    assert "Maple Leafs | TOR | 13" in parsed.text
    assert [block.page for block in parsed.blocks] == [1, 1, 2, 2]
    with pytest.raises(Rejected, match="there is no text in this Excel workbook"):
        parse((corpora / "office/empty.xlsx").read_bytes(), "a.xlsx")
    with pytest.raises(Rejected, match="encrypted: a password is needed"):
        parse((corpora / "office/password_protected.xlsx").read_bytes(), "a.xlsx")


def test_a_missing_extra_costs_the_document_only(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package, a presentation is rejected with the extra that would read it."""
    monkeypatch.setitem(sys.modules, "spacy", None)
    unstructured._partitioner.cache_clear()
    with pytest.raises(Rejected, match=r"reading PowerPoint files needs the extra 'office': pip install"):
        parse((corpora / "office/simple.pptx").read_bytes(), "a.pptx")
    unstructured._partitioner.cache_clear()


def test_old_word_documents_need_libreoffice(corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without LibreOffice a .doc names it as what is missing; with it, the document is converted and read."""
    data = (corpora / "office/simple.doc").read_bytes()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Rejected, match="needs LibreOffice"):
        parse(data, "a.doc")
    converted = docx.Document()
    converted.add_heading("Converted", 1)
    stream = io.BytesIO()
    converted.save(stream)
    (tmp_path / "made.docx").write_bytes(stream.getvalue())
    office = tmp_path / "soffice"
    office.write_text(
        f'#!/bin/sh\nwhile [ "$1" != --outdir ]; do shift; done\n/bin/cp "{tmp_path}/made.docx" "$2/document.docx"\n'
    )
    office.chmod(office.stat().st_mode | stat.S_IXUSR)
    assert blocks(parse(data, "a.doc")) == [("heading", "Converted")]
    office.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(Rejected, match="LibreOffice could not convert it"):
        parse(data, "a.doc")
