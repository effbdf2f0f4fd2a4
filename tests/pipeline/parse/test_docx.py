"""Word documents."""

from __future__ import annotations

import datetime
import io
import zipfile
from pathlib import Path

import docx
import pytest
from docx.oxml import parse_xml

from pipeline.errors import Rejected
from pipeline.parse import parse
from tests.pipeline.parse.law import blocks, levels, obeys_the_law

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def saved(document: docx.document.Document) -> bytes:
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def test_structure_comes_in_document_order() -> None:
    """Headings with their level, paragraphs, nested lists and tables come in the order of the document."""
    document = docx.Document()
    document.add_heading("Handbook", 0)
    document.add_heading("Power", 1)
    document.add_paragraph("First\tsecond")
    document.add_paragraph("an item", style="List Bullet")
    document.add_paragraph("a deeper one", style="List Bullet 2")
    table = document.add_table(2, 2)
    for cell, text in zip(table._cells, ("a", "b", "c", "d"), strict=True):
        cell.text = text
    document.add_heading("Testing", 2)
    document.add_paragraph("A picture", style="Caption")
    parsed = parse(saved(document), "a.docx")
    assert blocks(parsed) == [
        ("heading", "Handbook"),
        ("heading", "Power"),
        ("paragraph", "First\tsecond"),
        ("list_item", "an item"),
        ("list_item", "a deeper one"),
        ("table", "a | b\nc | d"),
        ("heading", "Testing"),
        ("caption", "A picture"),
    ]
    assert levels(parsed, "heading") == [(1, "Handbook"), (1, "Power"), (2, "Testing")]
    assert levels(parsed, "list_item") == [(1, "an item"), (2, "a deeper one")]
    assert parsed.title == "Handbook"


def test_properties_become_metadata() -> None:
    """Title, author and dates come from the core properties, dates as ISO 8601."""
    document = docx.Document()
    document.add_paragraph("text")
    core = document.core_properties
    core.title, core.author, core.created = "Tides", "A. B.", datetime.datetime(2024, 1, 2, 3, 4, 5)
    parsed = parse(saved(document), "a.docx")
    assert parsed.title == "Tides"
    assert parsed.metadata["author"] == "A. B."
    assert parsed.metadata["created"].startswith("2024-01-02T03:04:05")


def test_a_document_without_properties_gets_none() -> None:
    """Where a document names no title and no dates, none are made up: parsing it twice gives the same."""
    document = docx.Document()
    document.add_paragraph("text")
    stripped = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(document))) as old, zipfile.ZipFile(stripped, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "_rels/.rels":
                data = data.replace(b"metadata/core-properties", b"metadata/no-properties")
            new.writestr(name, data)
    parsed = parse(stripped.getvalue(), "a.docx")
    assert (parsed.text, parsed.title, parsed.metadata) == ("text", "", {})


def test_insertions_count_and_deletions_do_not() -> None:
    """Tracked changes are read as accepted; content controls, line breaks and links are text like any other."""
    document = docx.Document()
    body = document.element.body
    body.insert(0, parse_xml(
        f"<w:p {W}><w:r><w:t>kept </w:t></w:r><w:ins><w:r><w:t>new</w:t></w:r></w:ins>"
        "<w:del><w:r><w:delText>old</w:delText></w:r></w:del><w:r><w:br/></w:r><w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink></w:p>"
    ))  # fmt: skip
    body.insert(
        1, parse_xml(f"<w:sdt {W}><w:sdtContent><w:p><w:r><w:t>controlled</w:t></w:r></w:p></w:sdtContent></w:sdt>")
    )
    assert parse(saved(document), "a.docx").text == "kept new\nlink\n\ncontrolled"


def test_a_damaged_document_is_rejected() -> None:
    """A Word document cut short, or without its main part, is rejected as damaged, whatever is missing."""
    document = docx.Document()
    document.add_paragraph("text")
    whole = saved(document)
    for data in (whole[: len(whole) // 2], whole[:-30]):
        with pytest.raises(Rejected, match="damaged"):
            parse(data, "a.docx")


def test_real_documents(corpora: Path) -> None:
    """Real documents keep their words and headings; a handbook of 872 pages comes whole, with its footnotes."""
    office = corpora / "office"
    assert parse((office / "fake.docx").read_bytes(), "a.docx").text == "Lorem ipsum dolor sit amet."
    parsed = parse((office / "category-level.docx").read_bytes(), "a.docx")
    assert levels(parsed, "heading") == [(1, "A Heading 1"), (2, "A Heading 2"), (1, "Another Heading 1")]
    handbook = parse((office / "handbook-872p.docx").read_bytes(), "a.docx")
    obeys_the_law(handbook)
    assert len(handbook.text) > 800_000 and levels(handbook, "footnote")
