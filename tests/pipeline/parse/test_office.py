"""Presentations, workbooks, and what LibreOffice turns into the formats of today."""

from __future__ import annotations

import os
import stat
import struct
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.parse import libreoffice, parse, xls
from pipeline.parse.builder import Builder
from pipeline.parse.sheet import add_sheet
from tests.pipeline.parse import office, word
from tests.pipeline.parse.law import blocks, levels, obeys_the_law
from tests.pipeline.parse.office import edited, line, pptx, shape, xlsx


def sheet(*rows: str) -> str:
    """Rows of cells parted by commas, as text where they are no numbers; an empty string is a blank row."""

    def cell(text: str) -> str:
        number = text.replace(".", "").isdecimal()
        return f"<c><v>{text}</v></c>" if number else f'<c t="inlineStr"><is><t>{text}</t></is></c>'

    lines = ("".join(map(cell, row.split(","))) if row else "" for row in rows)
    return f"<sheetData>{''.join(f'<row>{line}</row>' for line in lines)}</sheetData>"


def rows_of(*rows: str) -> list[str]:
    """The texts of the rows of a sheet."""
    return [text for _, text in blocks(parse(xlsx(("Sheet", sheet(*rows))), "a.xlsx"))][1:]


# -- presentations -----------------------------------------------------------------------------------------------------


def test_slides_are_pages_with_their_titles(corpora: Path) -> None:
    """A slide's title is a heading, its bullets list items, its tables rows; each slide is a page."""
    parsed = parse((corpora / "office/fake-power-point.pptx").read_bytes(), "a.pptx")
    assert levels(parsed, "heading") == [(1, "Adding a Bullet Slide")]
    assert [level for level, _ in levels(parsed, "list_item")] == [1, 2, 3]
    several = parse((corpora / "office/simple.pptx").read_bytes(), "a.pptx")
    assert {block.page for block in several.blocks} == {1, 2}
    table = parse((corpora / "office/fake-power-point-table.pptx").read_bytes(), "a.pptx")
    assert levels(table, "table")[0][1].startswith("Column 1 | Column 2 | Column 3\nRed | Green | Blue")


def test_a_title_comes_first_wherever_it_stands() -> None:
    """The title is read before the rest of its slide, and names a talk that has no better name."""
    talk = pptx([shape(line("below")), shape(line("Tides"), place="title")])
    parsed = parse(talk, "a.pptx")
    assert blocks(parsed) == [("heading", "Tides"), ("paragraph", "below")]
    assert parsed.title == "Tides"


def test_a_missing_slide_costs_itself_only() -> None:
    """A slide that is not there is named; the others keep their numbers."""
    whole = pptx([shape(line("one"))], [shape(line("two"))], [shape(line("three"))])
    cut = edited(whole, "ppt/slides/slide2.xml", lambda part: b"")
    parsed = parse(cut, "a.pptx")
    assert [block.page for block in parsed.blocks] == [1, 3]
    assert parsed.warnings[0] == "slide 2 is missing or damaged"


# -- workbooks ---------------------------------------------------------------------------------------------------------


def test_sheets_are_pages_with_their_names(corpora: Path) -> None:
    """Each sheet's name stands above its rows; a workbook of empty sheets has no text."""
    parsed = parse((corpora / "office/stanley-cups.xlsx").read_bytes(), "a.xlsx")
    obeys_the_law(parsed)
    assert blocks(parsed)[0] == ("heading", "Stanley Cups")
    assert "Team: Maple Leafs | Location: TOR | Stanley Cups: 13" in parsed.text
    assert {block.page for block in parsed.blocks} == {1, 2}
    with pytest.raises(Rejected, match="there is no text in this Excel workbook"):
        parse((corpora / "office/empty.xlsx").read_bytes(), "a.xlsx")
    with pytest.raises(Rejected, match="encrypted: a password is needed"):
        parse((corpora / "office/password_protected.xlsx").read_bytes(), "a.xlsx")


def test_each_row_says_its_columns() -> None:
    """A row carries the names of its columns, over titles above them and a blank row below them."""
    assert rows_of("Stores", "", "Part,Casks", "oil,9") == ["Stores", "Part | Casks", "Part: oil | Casks: 9"]
    assert rows_of("Part,Casks", "", "oil,9", "", "tar,3")[1:] == ["Part: oil | Casks: 9", "Part: tar | Casks: 3"]


def test_years_name_columns_and_other_numbers_do_not() -> None:
    """Years that count up or down are names of columns."""
    assert rows_of("Berth,1930,1931", "north,4,5")[1] == "Berth: north | 1930: 4 | 1931: 5"
    assert rows_of("oil,4,5", "tar,6,7")[1] == "tar | 6 | 7"


def test_names_hold_for_their_table_only() -> None:
    """A text below a table, and a table of other columns, do not get its names."""
    assert rows_of("Part,Casks", "oil,9", "", "Counted,twice", "by,hand") == [
        "Part | Casks",
        "Part: oil | Casks: 9",
        "Counted | twice",
        "by | hand",
    ]
    assert rows_of("Part,Casks", "oil,9", "", "Ship,Master", "Anna,31")[-1] == "Ship: Anna | Master: 31"


WORDS = st.text("abc XYZ19.é", min_size=1, max_size=6).map(str.strip).filter(bool)


@given(st.dictionaries(st.integers(1, 12), st.dictionaries(st.integers(1, 6), WORDS, min_size=1), min_size=1))
def test_no_cell_is_lost(cells: dict[int, dict[int, str]]) -> None:
    """Every cell of a sheet is found in the block of its row, whatever its tables are taken for."""
    builder = Builder()
    add_sheet(builder, "Sheet", {row: dict(line) for row, line in cells.items()}, [], 1)
    rows = [text for _, text in blocks(builder.build("a"))][1:]
    assert len(rows) == len(cells)
    for row, text in zip(sorted(cells), rows, strict=True):
        assert all(" ".join(cell.split()) in text for cell in cells[row].values())


def test_a_sheet_that_is_named_twice_is_read_once() -> None:
    """A small file cannot ask for the same sheet a million times over."""
    book = xlsx(("a", sheet("x")), ("b", sheet("y")))
    twice = edited(book, "xl/_rels/workbook.xml.rels", lambda part: part.replace(b"sheet2.xml", b"sheet1.xml"))
    parsed = parse(twice, "a.xlsx")
    assert (parsed.text, parsed.warnings) == ("a\n\nx", ["the sheet b is missing or damaged"])


def test_more_text_than_any_document_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells that share one long text are refused before they fill the memory."""
    monkeypatch.setattr("pipeline.parse.builder._MOST_TEXT", 3 << 20)
    text = "t" * 30_000
    rows = "<row><c t='s'><v>0</v></c></row>" * 200
    book = xlsx(("a", f"<sheetData>{rows}</sheetData>"), more={"texts.xml": office.shared(text)})
    with pytest.raises(Rejected, match="it holds over 3 million characters"):
        parse(book, "a.xlsx")


def test_old_workbooks_need_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package that reads it, an Excel 97-2003 workbook is rejected with the extra that brings it."""
    monkeypatch.setitem(sys.modules, "xlrd", None)
    old = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600) + "Workbook".encode("utf-16-le") + bytes(600)
    with pytest.raises(Rejected, match=r"reading Excel 97-2003 workbooks needs the extra 'office': pip install"):
        parse(old, "a.xls")


def test_old_workbooks_are_read_like_those_of_today() -> None:
    """The rows of an old workbook have the names of their columns, too."""
    pytest.importorskip("xlrd")

    def record(kind: int, *fields: bytes) -> bytes:
        return struct.pack("<HH", kind, sum(map(len, fields))) + b"".join(fields)

    def text(row: int, column: int, said: str) -> bytes:
        return record(4, struct.pack("<HH", row, column), bytes(3), bytes([len(said)]), said.encode())

    def integer(row: int, column: int, number: int) -> bytes:
        return record(2, struct.pack("<HH", row, column), bytes(3), struct.pack("<H", number))

    rows = [text(0, 0, "Part"), text(0, 1, "Casks"), text(1, 0, "oil"), integer(1, 1, 9)]
    old = record(9, struct.pack("<HH", 2, 16)) + b"".join(rows) + record(10)
    assert [line for _, line in blocks(xls.parse(old, "a.xls"))][1:] == ["Part | Casks", "Part: oil | Casks: 9"]
    for end in range(1, len(old)):
        with pytest.raises(Rejected, match="damaged"):
            xls.parse(old[:end], "a.xls")


def test_binary_workbooks_are_said_to_be() -> None:
    """A workbook in the binary format is rejected with what to do about it."""
    book = edited(xlsx(("a", sheet("x"))), "_rels/.rels", lambda part: part.replace(b"workbook.xml", b"workbook.bin"))
    with pytest.raises(Rejected, match=r"binary workbook \(XLSB\).* save it as XLSX"):
        parse(book, "a.xlsb")


def test_damaged_old_workbooks_are_rejected() -> None:
    """An Excel 97-2003 workbook that cannot be opened is damaged."""
    pytest.importorskip("xlrd")
    old = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600) + "Workbook".encode("utf-16-le") + bytes(600)
    with pytest.raises(Rejected, match="damaged"):
        parse(old, "a.xls")


# -- LibreOffice -------------------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a script may stand in for LibreOffice; nothing else of its kind is found."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    if any((Path(folder) / name).exists() for folder in ("/bin", "/usr/bin") for name in ("soffice", "libreoffice")):
        monkeypatch.setenv("PATH", str(tmp_path))
    libreoffice._offline.cache_clear()
    return tmp_path / "soffice"


def script(program: Path, text: str) -> None:
    program.write_text(f'#!/bin/sh\nfor last; do :; done\nout="${{last%.*}}"\n{text}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_old_word_documents_need_libreoffice(corpora: Path, program: Path) -> None:
    """Without LibreOffice a .doc names it as what is missing; with it, the document is converted and read."""
    data = (corpora / "office/simple.doc").read_bytes()
    with pytest.raises(Rejected, match="needs LibreOffice"):
        parse(data, "a.doc")
    program.with_name("made.docx").write_bytes(word.docx(word.p(word.r("Converted"), style="H1")))
    script(program, f'/bin/cp "{program.with_name("made.docx")}" "$out.docx"')
    assert blocks(parse(data, "a.doc")) == [("heading", "Converted")]
    script(program, "exit 1")
    with pytest.raises(Rejected, match="LibreOffice could not convert it"):
        parse(data, "a.doc")


def test_libreoffice_has_a_profile_of_its_own_and_no_network(corpora: Path, program: Path) -> None:
    """It sees neither the user's profile and secrets nor, where the system lets us, any network; no macros run."""
    seen = program.with_name("seen")
    os.environ["A_SECRET"] = "hush"
    script(
        program,
        f'echo "$*" > {seen}; echo "home $HOME" >> {seen}; echo "secret $A_SECRET" >> {seen}\n'
        f'/bin/cat "$HOME/profile/user/registrymodifications.xcu" >> {seen}; /bin/cat /proc/net/dev >> {seen}',
    )
    try:
        with pytest.raises(Rejected):
            parse((corpora / "office/simple.doc").read_bytes(), "a.doc")
    finally:
        del os.environ["A_SECRET"]
    said = seen.read_text()
    assert f"-env:UserInstallation=file://{said.partition('home ')[2].split()[0]}/profile" in said
    assert "hush" not in said
    assert "DisableMacrosExecution" in said
    if libreoffice._offline():
        interfaces = [line.split(":")[0].strip() for line in said.splitlines() if ":" in line and "bytes" not in line]
        assert "eth0" not in interfaces


def test_a_libreoffice_that_hangs_is_stopped_with_all_it_started(
    corpora: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time limit nothing of it is left running, and the document is rejected for that."""
    child = program.with_name("child")
    monkeypatch.setattr(libreoffice, "_SECONDS", 1)
    monkeypatch.setattr(libreoffice, "_offline", lambda: ())
    script(program, f"/bin/sleep 60 & echo $! > {child}\nwait")
    with pytest.raises(Rejected, match="LibreOffice needed more than 1 s for it and was stopped"):
        parse((corpora / "office/simple.doc").read_bytes(), "a.doc")
    stat_ = Path(f"/proc/{child.read_text().strip()}/stat")
    for _ in range(50):
        if not stat_.exists() or stat_.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("what it had started runs on")


# -- links -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [60, 1000])
def test_links_are_kept_up_to_a_size_and_the_rest_is_counted(count: int) -> None:
    """Where links lead is in the metadata, each once and in order; how many found no room is said."""
    links = [f"https://example.org/stations/{at}" for at in range(count)]
    fields = "".join(rf'{{\field{{\*\fldinst HYPERLINK "{link}"}}{{\fldrslt here}}}} ' for link in links * 2)
    metadata = parse(rf"{{\rtf1 {fields}\par}}".encode(), "a.rtf").metadata
    kept = metadata["links"]
    assert kept == links[: len(kept)]
    assert len(kept) + metadata.get("more_links", 0) == count
    assert (len(kept) == count) == (count == 60)
    assert sum(map(len, kept)) <= 8_000 < sum(map(len, kept)) + 40 or count == 60
