"""What lies on sheets and slides beside their text: charts, comments, files."""

from __future__ import annotations

import io
import struct
import zipfile

from pipeline.parse import parse
from tests.pipeline.parse import office
from tests.pipeline.parse.law import blocks
from tests.pipeline.parse.office import edited, opendocument
from tests.pipeline.parse.packed import compound

SHEETS = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OPEN = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text", "table", "chart")
)
ROW = "<table:table-row>{}</table:table-row>"
CELL = "<table:table-cell><text:p>{}</text:p></table:table-cell>"
#: As LibreOffice writes charts: with a table of what they show, whose cells may have more than their text.
CHART = (
    f"<office:document-content {OPEN}><office:body><office:chart><chart:chart><chart:title>"
    "<text:p>Ships a year</text:p></chart:title>"
    "<chart:plot-area><chart:axis><chart:title><text:p>Year</text:p></chart:title></chart:axis>"
    "</chart:plot-area><table:table><table:table-header-rows>"
    + ROW.format(CELL.format("") + CELL.format("steam") + CELL.format("sail"))
    + "</table:table-header-rows><table:table-rows>"
    + ROW.format(CELL.format("1930</text:p><table:g>local-table.A2</table:g><text:p>") + CELL.format("4"))
    + ROW.format(CELL.format("1931") + CELL.format("6"))
    + "</table:table-rows></table:table></chart:chart></office:chart></office:body></office:document-content>"
)
PERSON = b'<Relationship Id="p" Type="http://example.org/person" Target="people.xml"/>'


def test_threads_of_comments_are_read() -> None:
    """Of comments that are threads each says its cell and who wrote it; what older Excels are shown is left out."""
    old = (
        f'<comments {SHEETS}><authors><author>tc={{1}}</author></authors><commentList><comment ref="B2" authorId="0">'
        "<text><t>[Threaded comment] Your version of Excel</t></text></comment></commentList></comments>"
    )
    threads = "http://schemas.microsoft.com/office/spreadsheetml/2018/threadedcomments"
    new = (
        f'<ThreadedComments xmlns="{threads}"><threadedComment ref="B2" personId="p" id="1"><text>Who paid?</text>'
        '</threadedComment><threadedComment ref="B2" personId="q" parentId="1"><text>Nobody.</text></threadedComment>'
        "</ThreadedComments>"
    )
    people = f'<personList xmlns="{threads}"><person displayName="J. Rowe" id="p"/></personList>'
    workbook = office.xlsx(
        ("Tolls", '<sheetData><row><c t="str"><v>toll</v></c></row></sheetData>'),
        rels=office.relations(c=("comments", "../comments.xml"), t=("threadedComment", "../threads.xml")),
        more={"comments.xml": old, "threads.xml": new, "people.xml": people},
    )
    related = edited(workbook, "xl/_rels/workbook.xml.rels", lambda part: part.replace(b"</R", PERSON + b"</R"))
    assert [text for kind, text in blocks(parse(related, "a.xlsx")) if kind == "footnote"] == [
        "B2, J. Rowe: Who paid?",
        "B2: Nobody.",
    ]


def test_charts_of_opendocument_say_what_they_show() -> None:
    """Charts in slides and sheets are read: titles, then the names of series and of categories; so are formulas."""
    formula = '<math xmlns="http://www.w3.org/1998/Math/MathML"><annotation>E = m c^2</annotation></math>'
    frame = '<draw:frame><draw:object xlink:href="./Object {}"/></draw:frame>'
    slide = "".join(map(frame.format, (1, 2, 3)))
    inside = {"Object 1/content.xml": CHART, "Object 2/content.xml": formula}
    parsed = parse(opendocument("presentation", f"<draw:page>{slide}</draw:page>", more=inside), "a.odp")
    said = [("caption", "Ships a year"), ("caption", "Year"), ("caption", "steam, sail"), ("caption", "1930, 1931")]
    assert blocks(parsed) == [*said, ("paragraph", "E = m c^2")]
    assert parsed.warnings == ["what lies in the document as Object 3 is missing"]
    shapes = f"<table:shapes>{frame.format(1)}</table:shapes>"
    row = "<table:table-row><table:table-cell><text:p>x</text:p></table:table-cell></table:table-row>"
    sheet = opendocument("spreadsheet", f'<table:table table:name="s">{shapes}{row}</table:table>', more=inside)
    assert blocks(parse(sheet, "a.ods"))[2:] == said


def test_later_charts_of_office_say_what_they_show() -> None:
    """A waterfall chart on a slide says its title, the name of its series and its categories."""
    space = "http://schemas.microsoft.com/office/drawing/2014/chartex"
    title = "<cx:tx><cx:txData><cx:v>{}</cx:v></cx:txData></cx:tx>"
    chart = (
        f'<cx:chartSpace xmlns:cx="{space}"><cx:chartData><cx:data><cx:strDim type="cat"><cx:lvl><cx:pt>East</cx:pt>'
        f"<cx:pt>West</cx:pt></cx:lvl></cx:strDim></cx:data></cx:chartData><cx:chart><cx:title>{title.format('Tolls')}"
        f"</cx:title><cx:plotArea><cx:series>{title.format('1931')}</cx:series></cx:plotArea></cx:chart></cx:chartSpace>"
    )
    frame = (
        f'<p:graphicFrame><a:graphic><a:graphicData><cx:chart xmlns:cx="{space}" r:id="c"/></a:graphicData></a:graphic>'
        "</p:graphicFrame>"
    )
    slides = office.pptx([frame], more={"c.xml": chart}, rels={1: office.relations(c=("chartEx", "../c.xml"))})
    assert blocks(parse(slides, "a.pptx")) == [("caption", "Tolls, 1931"), ("caption", "East, West")]


def test_files_that_are_embedded_are_members() -> None:
    """Files that were dropped on a slide are its members; objects that only their program knows are counted."""
    pdf = b"%PDF-1.4 not read here"
    copy = b"\0\0\3\0" + struct.pack("<I", 5) + b"C:/t\0"
    native = b"\0" * 4 + b"\2\0" + b"n\xc3\xb6te.txt\0" + b"C:/n.txt\0" + copy + struct.pack("<I", 4) + b"noteand more"
    slides = office.pptx(
        [office.shape(office.line("one"))],
        [office.shape(office.line("two"))],
        rels={
            1: office.relations(a=("package", "../a.xlsx"), b=("oleObject", "../b.bin"), c=("oleObject", "../c.bin")),
            2: office.relations(a=("package", "../a.xlsx"), d=("oleObject", "../d.bin"), e=("oleObject", "../e.bin")),
        },
    )
    inside = {
        "a.xlsx": office.xlsx(("s", '<sheetData><row><c t="str"><v>toll</v></c></row></sheetData>')),
        "b.bin": compound({"CONTENTS": pdf + b" endobj" * 700}),
        "c.bin": compound({"\x01Ole10Native": native + b"\0" * 5000}),
        "d.bin": compound({"Equation Native": b"x" * 5000}),
    }
    for name, data in inside.items():
        slides = added(slides, f"ppt/{name}", data)
    parsed = parse(slides, "a.pptx")
    assert [(member.name, member.data[:5]) for member in parsed.members] == [
        ("a.xlsx", b"PK\x03\x04\x14"),
        ("b.pdf", b"%PDF-"),
        ("nöte.txt", b"note"),
    ]
    assert parsed.warnings == ["objects of other programs lie in it (1), which are not read but for their pictures"]


def added(data: bytes, name: str, part: bytes) -> bytes:
    """The same package with one more part."""
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream, "a") as package:
        package.writestr(name, part)
    return stream.getvalue()


def test_texts_that_a_workbook_lost_are_counted() -> None:
    """A cell whose text is not in the file where it should be is said to be lost."""
    cells = '<sheetData><row><c t="s"><v>0</v></c><c t="s"><v>99</v></c></row></sheetData>'
    assert parse(office.xlsx(("s", cells)), "a.xlsx").warnings == [
        "the texts of some cells (1) are not in the file: it is damaged"
    ]
