"""OpenDocument, EPUB, RTF and XML: read without another program."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.parse import detect_media_type, parse
from tests.pipeline.parse.law import blocks, levels, obeys_the_law

WORDS = re.compile(r"\w+")
RTF = st.lists(
    st.sampled_from(
        ["{", "}", "\\par ", "\\u8364 ?", "\\'e4", "\\cell ", "\\row ", "\\intbl ", "\\pard ", "\\*", "\\bin3 abc",
         "\\", "\\fonttbl", "word ", "\\uc2 ", "\\ansicpg1251 ", "\\ansicpg99999 ", "\\outlinelevel1 ", "\\u-3 ",
         "\\info", "\\title ", "\\u55357 ?"]
    )
)  # fmt: skip


def archive(**members: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as package:
        for name, text in members.items():
            package.writestr(name.replace("__", "/").replace("_dot_", "."), text)
    return stream.getvalue()


def test_one_text_in_many_formats_says_the_same(corpora: Path) -> None:
    """A text saved as DOCX, ODT, RTF, EPUB, HTML, Markdown and plain text is parsed to the same words."""
    folder = corpora / "office" / "language-docs"
    texts = {}
    for extension in ("docx", "odt", "rtf", "epub", "html", "md", "txt"):
        parsed = parse((folder / f"eng_spa_mult.{extension}").read_bytes(), f"a.{extension}")
        obeys_the_law(parsed)
        texts[extension] = WORDS.findall(parsed.text)
    assert len(texts["txt"]) > 400
    assert [extension for extension, words in texts.items() if words != texts["txt"]] == []


def test_opendocument_keeps_structure(corpora: Path) -> None:
    """Headings, list items and tables of ODT files are those of the same document in DOCX."""
    office = corpora / "office"
    odt, word = (parse((office / f"simple.{kind}").read_bytes(), f"simple.{kind}") for kind in ("odt", "docx"))
    assert blocks(odt) == blocks(word)
    assert [kind for kind, _ in blocks(parse((office / "fake.odt").read_bytes(), "a.odt"))] == ["paragraph", "table"]


def test_a_book_has_its_title_and_chapters(corpora: Path) -> None:
    """An EPUB's chapters come in reading order, with title and author."""
    book = parse((corpora / "office/winter-sports.epub").read_bytes(), "a.epub")
    obeys_the_law(book)
    assert book.title == "Winter Sports in Switzerland"
    assert len(levels(book, "heading")) > 20


def test_archives_that_hold_no_document_say_so() -> None:
    """A broken book or text is damaged; a plain archive is one."""
    with pytest.raises(Rejected, match="damaged"):
        parse(archive(mimetype="application/epub+zip", other="x"), "a.epub")
    with pytest.raises(Rejected, match="damaged"):
        parse(archive(mimetype="application/vnd.oasis.opendocument.text"), "a.odt")
    with pytest.raises(Rejected, match=r"archive .* unpack it"):
        parse(archive(notes_dot_txt="hello"), "a.zip")


@given(RTF)
def test_any_rtf_obeys_the_law(pieces: list[str]) -> None:
    """Groups that do not close and words out of place do no harm."""
    try:
        obeys_the_law(parse(("{\\rtf1 start " + "".join(pieces)).encode(), "a.rtf"))
    except Rejected as rejected:
        assert "cannot be read" not in str(rejected)


def test_rtf_is_read() -> None:
    """Paragraphs, tables and characters of RTF are read, its fonts and pictures are not."""
    rtf = (
        rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Helvetica;}}{\info{\title Tides}{\author A. B.}}{\*\x no}{\pict 00ff}"
        rb"\pard\outlinelevel0 Top\par\pard Caf\'e9 \u8364? \{b\}\emdash c\line d\par"
        rb"\pard\intbl 1\cell 2\cell\row\pard\intbl 3\cell 4\cell\row\pard{\pntext \bullet}item\par}"
    )
    parsed = parse(rtf, "noname")
    assert blocks(parsed) == [
        ("heading", "Top"),
        ("paragraph", "Café € {b}—c\nd"),
        ("table", "1 | 2\n3 | 4"),
        ("list_item", "item"),
    ]
    assert (parsed.title, parsed.metadata) == ("Tides", {"author": "A. B."})


def test_xml_is_its_text_and_fetches_nothing() -> None:
    """The text of XML elements is read in order; entities stay as written; broken files are read as far as they go."""
    xml = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/hostname">]><a><b>one</b>&e;<c>two</c></a>'
    assert detect_media_type(xml, "a") == "application/xml"
    assert parse(xml, "a").text == "one\n\n&e;\n\ntwo"
    broken = parse(b"<?xml version='1.0'?><a><b>one</b><c>two", "a.xml")
    assert broken.text == "one\n\ntwo" and "not well-formed" in broken.warnings[0]


def test_an_archive_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What unpacks to far more than any document is not unpacked."""
    monkeypatch.setattr("pipeline.parse.media._MOST_UNPACKED", 1000)
    with pytest.raises(Rejected, match="unpacks to more than"):
        parse(archive(word__document_dot_xml=" " * 2000), "a.docx")
