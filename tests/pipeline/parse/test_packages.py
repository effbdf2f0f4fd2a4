"""OpenDocument, EPUB and RTF; and what every format that is a package of parts does with traps and damage."""

from __future__ import annotations

import io
import re
import socket
from functools import cache
from operator import methodcaller
from pathlib import Path
from random import Random
from zipfile import ZipFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.parse import docx, epub, odf, opc, parse, pptx, rtf, xlsx
from tests.pipeline.parse import office, word
from tests.pipeline.parse.golden import SAMPLES
from tests.pipeline.parse.law import blocks, levels, obeys_the_law
from tests.pipeline.parse.office import archive, edited, opendocument

WORDS = re.compile(r"\w+")
READERS = {"docx": docx.parse, "pptx": pptx.parse, "xlsx": xlsx.parse, "odt": odf.text, "ods": odf.spreadsheet,
           "odp": odf.presentation, "epub": epub.parse, "rtf": rtf.parse}  # fmt: skip
#: A small document of each format that is a package, and the part that holds its text.
PACKAGES = {
    "a.docx": (word.docx(word.p(word.r("one MARK two"))), "word/document.xml"),
    "a.pptx": (office.pptx([office.shape(office.line("one MARK two"))]), "ppt/slides/slide1.xml"),
    "a.xlsx": (
        office.xlsx(("a", '<sheetData><row><c t="str"><v>one MARK two</v></c></row></sheetData>')),
        "xl/sheets/sheet1.xml",
    ),
    "a.odt": (opendocument("text", "<text:p>one MARK two</text:p>"), "content.xml"),
}
each_package = pytest.mark.parametrize("name", PACKAGES)
RTF = st.lists(
    st.sampled_from(
        ["{", "}", "\\par ", "\\u8364 ?", "\\'e4", "\\cell ", "\\row ", "\\intbl ", "\\pard ", "\\*", "\\bin3 abc",
         "\\", "\\fonttbl", "word ", "\\uc2 ", "\\ansicpg1251 ", "\\ansicpg99999 ", "\\outlinelevel1 ", "\\u-3 ",
         "\\info", "\\title ", "\\u55357 ?", "{\\footnote ", "{\\header ", "{\\*\\annotation ", "{\\shptxt ",
         "\\s1 ", "{\\stylesheet{\\s1 heading 1;}}", "{\\field{\\*\\fldinst PAGE}{\\fldrslt 7}}", "\\ls1\\ilvl1 ",
         "{\\listtext 1.}", "\\trowd\\clvmrg\\cellx9", "\\nestrow ", "\\deleted ", "\\plain ", "\\bin99999999999 "]
    )
)  # fmt: skip


def text_of(text: str) -> list[tuple[str, str]]:
    """The blocks of an OpenDocument text with this content."""
    return blocks(parse(opendocument("text", text), "a.odt"))


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


# -- OpenDocument ------------------------------------------------------------------------------------------------------


def test_opendocument_keeps_structure(corpora: Path) -> None:
    """Headings, list items and tables of ODT files are those of the same document in DOCX."""
    office = corpora / "office"
    odt, word = (parse((office / f"simple.{kind}").read_bytes(), f"simple.{kind}") for kind in ("odt", "docx"))
    assert blocks(odt) == blocks(word)
    assert [kind for kind, _ in blocks(parse((office / "fake.odt").read_bytes(), "a.odt"))] == ["paragraph", "table"]


def test_what_stands_beside_a_text_follows_it() -> None:
    """Notes, comments, boxes and pictures come after their paragraph, and none of them inside of it."""
    box = "<draw:frame><draw:text-box><text:p>box</text:p></draw:text-box></draw:frame>"
    note = "<text:note><text:note-body><text:p>note</text:p></text:note-body></text:note>"
    assert text_of(f"<text:p>be{note}fore {box}after</text:p><text:p>next</text:p>") == [
        ("paragraph", "before after"),
        ("paragraph", "box"),
        ("footnote", "note"),
        ("paragraph", "next"),
    ]


def test_repeated_cells_are_bounded() -> None:
    """Cells repeated to the edge of the sheet are kept a thousand times over, and that is said."""
    cell = '<table:table-cell table:number-columns-repeated="16384"><text:p>x</text:p></table:table-cell>'
    row = f'<table:table-row table:number-rows-repeated="3">{cell}</table:table-row>'
    parsed = parse(opendocument("spreadsheet", f'<table:table table:name="s">{row}</table:table>'), "a.ods")
    assert parsed.text.count("x") == 3000
    assert parsed.warnings == ["cells that say the same more than 1,000 times over are kept so often"]


def test_encrypted_texts_are_said_to_be() -> None:
    """An OpenDocument file that needs a password says so."""
    manifest = "<manifest><encryption-data/></manifest>"
    with pytest.raises(Rejected, match="encrypted: a password is needed"):
        parse(
            archive({"mimetype": "application/vnd.oasis.opendocument.text", "META-INF/manifest.xml": manifest}), "a.odt"
        )


# -- books -------------------------------------------------------------------------------------------------------------


def test_a_book_has_its_title_and_chapters(corpora: Path) -> None:
    """An EPUB's chapters come in reading order, with title and author."""
    book = parse((corpora / "office/winter-sports.epub").read_bytes(), "a.epub")
    obeys_the_law(book)
    assert book.title == "Winter Sports in Switzerland"
    assert book.metadata["author"] == "E. F. Benson"
    assert len(levels(book, "heading")) > 20


def test_broken_books_and_texts_are_damaged() -> None:
    """A book without its list of chapters and a text without its content are damaged; a locked book is locked."""
    with pytest.raises(Rejected, match="damaged"):
        parse(archive({"mimetype": "application/epub+zip", "other": "x"}), "a.epub")
    with pytest.raises(Rejected, match="damaged"):
        parse(archive({"mimetype": "application/vnd.oasis.opendocument.text"}), "a.odt")
    locked = {"mimetype": "application/epub+zip", "META-INF/encryption.xml": "<a/>", "META-INF/rights.xml": "<a/>"}
    with pytest.raises(Rejected, match="locked by its publisher"):
        parse(archive(locked), "a.epub")


# -- RTF ---------------------------------------------------------------------------------------------------------------


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


def test_notes_nested_without_end_do_no_harm() -> None:
    """Notes in notes, ten thousand deep, are read one after another."""
    parsed = parse(b"{\\rtf1 a" + b"{\\footnote x" * 10_000, "a.rtf")
    assert parsed.text.count("x") == 10_000


# -- traps and damage --------------------------------------------------------------------------------------------------


@each_package
def test_entities_are_not_resolved(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No entity is expanded, read from a file or fetched: the text around it is what is left."""
    monkeypatch.setattr(socket, "socket", None)
    data, part = PACKAGES[name]
    laughs = "".join(f'<!ENTITY l{at} "{f"&l{at - 1};" * 10 if at else "lol"}">' for at in range(10))
    own = f'<!ENTITY f SYSTEM "file:///etc/hostname"><!ENTITY n SYSTEM "http://example.org/x">{laughs}'

    def trap(inside: bytes) -> bytes:
        return inside.replace(b"?>", f"?><!DOCTYPE a [{own}]>".encode(), 1).replace(b"MARK", b"&f;&n;&l9;")

    try:
        text = parse(edited(data, part, trap), name).text
    except Rejected as rejected:
        assert "damaged" in str(rejected) or "no text" in str(rejected)
    else:
        assert set(WORDS.findall(text)) <= {"a", "one", "two"}


@each_package
def test_where_damage_left_no_text_that_is_the_reason(name: str) -> None:
    """A document whose text is in a part that breaks off before it is rejected for that, and not for being empty."""
    data, part = PACKAGES[name]
    with pytest.raises(Rejected, match=f"no text in this .* that can be read: the part {part} is damaged"):
        parse(edited(data, part, lambda inside: inside[: inside.index(b"one")]), name)


@pytest.mark.parametrize(
    "kind", [b"application/vnd.oasis.o\0endocument.text", b"application/vnd.oasis.opend{ocument.text"]
)
def test_where_the_kind_is_damaged_the_name_tells(kind: bytes) -> None:
    """A package that says of itself what nothing is called is what its name says."""
    data, _ = PACKAGES["a.odt"]
    assert parse(edited(data, "mimetype", lambda _: kind), "a.odt").text == "one MARK two"


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_a_kind_that_cannot_be_unpacked_is_damage(at: int) -> None:
    """A package whose first part is broken is read without it, or there is a reason."""
    data = bytearray(archive({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": b"<a/>"}))
    data[38 + at % 40] ^= 0xFF
    with pytest.raises(Rejected, match=r"damaged|in this OpenDocument"):
        parse(bytes(data), "a.odt")


@each_package
def test_halves_of_characters_do_no_harm(name: str) -> None:
    """References to the two halves of a character are that character; a half on its own is damage, told as such."""
    data, part = PACKAGES[name]
    for halves, whole in (
        (b"&#xD83D;&#xDE00;", "\U0001f600"),
        (b"&#55357;&#056832;", "\U0001f600"),
        (b"&#xdbff;", "\ufffd"),
    ):
        parsed = parse(edited(data, part, methodcaller("replace", b"MARK", halves)), name)
        obeys_the_law(parsed)
        assert f"one {whole} two" in parsed.text
        assert parsed.warnings == [f"the part {part} is damaged; what could be read of it was"]


@each_package
def test_a_part_that_would_fill_the_memory_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that unpacks to more than any document needs is not unpacked; what is nested too deep is damaged."""
    data, part = PACKAGES[name]
    deep = edited(data, part, lambda inside: inside.replace(b"MARK", b"<x>" * 100_000))
    try:
        assert any("damaged" in warning for warning in parse(deep, name).warnings)
    except Rejected as rejected:
        assert "no text" in str(rejected) or "damaged" in str(rejected)
    monkeypatch.setattr(opc, "_LARGEST_PART", 10_000_000)
    with pytest.raises(Rejected, match=f"its part {part} unpacks to 19 MiB, more than the 9 MiB"):
        parse(edited(data, part, lambda inside: inside.replace(b"MARK", b" " * 20_000_000)), name)


@cache
def whole(name: str) -> bytes:
    """The sample `name`."""
    return SAMPLES[name]()


def mutated(data: bytes, random: Random) -> bytes:
    """`data` with a few bytes lost, doubled, or changed to what tends to be taken badly."""
    for _ in range(random.choice((1, 2, 8))):
        at = random.randrange(len(data) + 1)
        there = random.randrange(len(data) + 1)
        bad = [b"", b"-1", b"99999999999", b"\xff", b"\0", b"<", b"&x;", b"1e999", data[there : there + 90]]
        new = random.choice(bad)
        data = data[:at] + new + data[at + random.choice((0, 1, 9, 200)) :]
    return data


@settings(deadline=None)
@given(
    st.sampled_from([name for name in SAMPLES if name.rpartition(".")[2] in READERS]),
    st.randoms(use_true_random=False),
)
def test_damage_is_a_reason_or_a_warning(name: str, random: Random) -> None:
    """Whatever is damaged in a file, it is read as far as it goes or rejected; the readers raise nothing else."""
    data = whole(name)
    if data.startswith(b"PK") and random.random() < 0.8:
        with ZipFile(io.BytesIO(data)) as package:
            member = random.choice(package.namelist())
        data = edited(data, member, lambda inside: mutated(inside, random))
    else:
        data = mutated(data, random)
    try:
        obeys_the_law(READERS[name.rpartition(".")[2]](data, name))
    except Rejected as rejected:
        assert len(str(rejected).split()) > 3


@pytest.mark.parametrize("modern", [True, False])
def test_headings_that_only_the_table_of_contents_of_a_book_tells(modern: bool) -> None:
    """Where a program wrote paragraphs for headings, those that the table of contents names are headings."""
    nav = """<html xmlns="http://www.w3.org/1999/xhtml"><body><nav><ol><li><a href="../t/one.xhtml">The  pier</a>
      <ol><li><a href="../t/one.xhtml#a">Its lamp</a></li></ol></li></ol></nav></body></html>"""
    ncx = """<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap>
      <navPoint><navLabel><text>The pier</text></navLabel><content src="../t/one.xhtml"/>
      <navPoint><navLabel><text>Its lamp</text></navLabel><content src="../t/one.xhtml#a"/></navPoint>
      </navPoint></navMap></ncx>"""
    toc = (
        '<item id="n" href="n/toc.xhtml" media-type="application/xhtml+xml" properties="nav"/>' if modern
        else '<item id="n" href="n/toc.xhtml" media-type="application/x-dtbncx+xml"/>'
    )  # fmt: skip
    page = "<html><body><p>The pier</p><p>It is old.</p><p>Its lamp</p><p>It burns. Its lamp</p></body></html>"
    book = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="b/c.opf"/></rootfiles></container>',
        "b/c.opf": f'<package><manifest>{toc}<item id="1" href="t/one.xhtml" media-type="application/xhtml+xml"/>'
        '</manifest><spine><itemref idref="1"/></spine></package>',
        "b/n/toc.xhtml": nav if modern else ncx,
        "b/t/one.xhtml": page,
    }
    parsed = parse(archive(book), "a.epub")
    assert levels(parsed, "heading") == [(1, "The pier"), (2, "Its lamp")]
    assert [text for _, text in blocks(parsed)] == ["The pier", "It is old.", "Its lamp", "It burns. Its lamp"]


def test_what_programs_write_where_they_know_nothing() -> None:
    """A date of the year 0 and a property without name and value say nothing."""
    said = rb"{\info{\creatim\yr0\mo0\dy0\hr0\min0}{\revtim\yr2024\mo5\dy1\hr10\min2}}"
    parsed = parse(rb"{\rtf1" + said + rb"{\*\userprops{\propname }\proptype30{\staticval }} Text.\par}", "a.rtf")
    assert parsed.metadata == {"modified": "2024-05-01T10:02"}
