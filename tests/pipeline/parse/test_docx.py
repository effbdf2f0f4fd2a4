"""Word documents: what each of their features becomes. One with all of them is in `golden/handbook.docx.json`."""

from __future__ import annotations

import datetime
import io
from pathlib import Path

import docx
import pytest

from pipeline.errors import Rejected
from pipeline.parse import parse
from pipeline.types import Parsed
from tests.pipeline.parse import word
from tests.pipeline.parse.law import blocks, levels, obeys_the_law
from tests.pipeline.parse.word import cell, item, level, numbering, p, r, table

BREAK = '<w:r><w:br w:type="page"/></w:r>'
LAID_OUT = "<w:r><w:lastRenderedPageBreak/></w:r>"


def saved(document: docx.document.Document) -> bytes:
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def read(*body: str, **parts: object) -> Parsed:
    """A document of these elements, parsed."""
    parsed = parse(word.docx(*body, **parts), "a.docx")  # type: ignore[arg-type]
    obeys_the_law(parsed)
    return parsed


def pages(parsed: Parsed) -> list[tuple[int | None, str]]:
    """Page and text of each block."""
    return [(block.page, parsed.text[block.start : block.end]) for block in parsed.blocks]


def test_structure_comes_in_document_order() -> None:
    """Headings with their level, paragraphs, nested lists and tables come in the order of the document."""
    document = docx.Document()
    document.add_heading("Handbook", 0)
    document.add_heading("Power", 1)
    document.add_paragraph("First\tsecond")
    document.add_paragraph("an item", style="List Bullet")
    document.add_paragraph("a deeper one", style="List Bullet 2")
    rows = document.add_table(2, 2)
    for one, text in zip(rows._cells, ("a", "b", "c", "d"), strict=True):
        one.text = text
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
    """Where a document names no title and no dates, none are made up."""
    parsed = read(p(r("text")))
    assert (parsed.text, parsed.title, parsed.metadata) == ("text", "", {})


def test_a_style_made_from_a_heading_is_one() -> None:
    """A style is what the one it is based on is; an outline level of its own makes any paragraph a heading."""
    styles = (
        '<w:style w:type="paragraph" w:styleId="Mine"><w:name w:val="Mine"/><w:basedOn w:val="H2"/></w:style>'
        '<w:style w:type="paragraph" w:styleId="Loop"><w:name w:val="Loop"/><w:basedOn w:val="Loop"/></w:style>'
    )
    parsed = read(
        p(r("a"), style="Mine"),
        p(r("b"), style="Loop"),
        p(r("c"), properties='<w:outlineLvl w:val="2"/>'),
        styles=styles,
    )
    assert levels(parsed, "heading") == [(2, "a"), (3, "c")]
    assert blocks(parsed)[1] == ("paragraph", "b")


def test_insertions_count_and_deletions_do_not() -> None:
    """Tracked changes are read as accepted: of text, ends of paragraphs, rows of tables, and what was moved."""
    parsed = read(
        p(
            r("kept "),
            f"<w:ins>{r('new')}</w:ins>",
            "<w:del><w:r><w:delText>old</w:delText></w:r></w:del>",
            f"<w:moveFrom>{r('away')}</w:moveFrom><w:moveTo>{r(' here')}</w:moveTo>",
        ),
        p(r("one "), properties="<w:rPr><w:del/></w:rPr>"),
        p(r("paragraph")),
        table([cell("a"), cell("b")]).replace(
            "</w:tbl>", "<w:tr><w:trPr><w:del/></w:trPr>" + cell("x") + "</w:tr></w:tbl>"
        ),
    )
    assert blocks(parsed) == [("paragraph", "kept new here"), ("paragraph", "one paragraph"), ("table", "a | b")]


def test_content_controls_show_what_was_filled_in() -> None:
    """Controls are text like any other, but for those that still say what to fill in."""
    control = "<w:sdt><w:sdtPr>{}</w:sdtPr><w:sdtContent>{}</w:sdtContent></w:sdt>"
    empty = "<w:showingPlcHdr/>"
    parsed = read(
        control.format("", p(r("filled in"))),
        control.format(empty, p(r("Click here"))),
        p(r("within "), control.format(empty, r("Choose")), control.format("", r("a line"))),
    )
    assert parsed.text == "filled in\n\nwithin a line"


def test_lists_are_numbered_as_a_reader_sees_them() -> None:
    """Numbers of lists are counted: by level, over interruptions, from where they start, in their own signs."""
    lists = numbering(
        [level(0, "upperRoman", "%1."), level(1, "lowerLetter", "%1.%2)"), level(2, "bullet", "\uf0b7")],
        [level(0, "decimalZero", "%1", start=9)],
        [level(0, "bullet", "☐")],
    )
    parsed = read(
        item(1, 0, r("a")), item(1, 1, r("b")), item(1, 1, r("c")), item(1, 2, r("d")), p(r("between")),
        item(1, 0, r("e")), item(1, 1, r("f")), item(2, 0, r("g")), item(2, 0, r("h")), item(3, 0, r("i")),
        parts={"numbering": lists},
    )  # fmt: skip
    assert levels(parsed, "list_item") == [
        (1, "I. a"), (2, "I.a) b"), (2, "I.b) c"), (3, "d"), (1, "II. e"), (2, "II.a) f"), (1, "09 g"), (1, "10 h"),
        (1, "☐ i"),
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [-1, -9, 9, 99999, 2**31])
def test_levels_that_no_document_has_are_the_nearest(wrong: int) -> None:
    """A list item or heading of a level below the first is of the first, and one too deep of the deepest."""
    outline = p(r("b"), properties=f'<w:outlineLvl w:val="{wrong}"/>')
    parsed = read(item(1, wrong, r("a")), outline, parts={"numbering": numbering([level(wrong, "bullet", "☐")])})
    assert parsed.text.split() == ["☐", "a", "b"]
    assert levels(parsed, "list_item") == [(9 if 0 < wrong < 2**31 else 1, "☐ a")]
    assert levels(parsed, "heading") == []


def test_merged_cells_count_in_each_row() -> None:
    """A cell that reaches over rows is in each of them; one that reaches over columns takes their places."""
    parsed = read(
        table(
            [cell("a", properties='<w:vMerge w:val="restart"/>'), cell("b", properties='<w:gridSpan w:val="2"/>')],
            [cell("", properties="<w:vMerge/>"), cell("c"), cell("d")],
            [cell("e", "f"), cell("", table([cell("in"), cell("side")])), cell("g")],
        )
    )
    assert blocks(parsed) == [("table", "a | b\na | c | d\ne f | in side | g")]


def test_a_table_that_frames_text_is_no_table() -> None:
    """A table of one column, or with headings in it, lays out a page: its cells are read one after another."""
    assert blocks(read(table([cell("a")], [cell("b")]))) == [("paragraph", "a"), ("paragraph", "b")]
    parsed = read(table([cell(p(r("Head"), style="H1"), "text"), cell("aside")]))
    assert blocks(parsed) == [("heading", "Head"), ("paragraph", "text"), ("paragraph", "aside")]


def test_notes_and_comments_follow_what_they_are_about() -> None:
    """Footnotes, endnotes and comments come after their paragraph, each once, comments with who made them."""
    parsed = read(
        p(
            r("a"),
            '<w:r><w:footnoteReference w:id="2"/></w:r><w:r><w:endnoteReference w:id="2"/></w:r>',
            '<w:r><w:commentReference w:id="0"/><w:commentReference w:id="0"/><w:footnoteReference w:id="77"/></w:r>',
        ),
        p(r("b")),
        parts={
            "footnotes": f'<w:footnote w:id="2">{p(r("foot"))}{p(r("and toe"))}</w:footnote>',
            "endnotes": f'<w:endnote w:id="2">{p(r("end"))}</w:endnote>',
            "comments": f'<w:comment w:id="0" w:author="A. B.">{p(r("really?"))}</w:comment>',
        },
    )
    assert blocks(parsed) == [
        ("paragraph", "a"),
        ("footnote", "foot\nand toe"),
        ("footnote", "end"),
        ("footnote", "A. B.: really?"),
        ("paragraph", "b"),
    ]


def test_boxes_and_pictures_follow_their_paragraph() -> None:
    """Text boxes are read once, also those in boxes; what somebody, and no program, said of a picture is a caption."""

    def picture(text: str) -> str:
        return f'<w:r><w:drawing><wp:docPr descr="{text}"/></w:drawing></w:r>'

    def box(inside: str) -> str:
        drawn = f"<w:drawing><w:txbxContent>{inside}</w:txbxContent></w:drawing>"
        old = f"<w:pict><w:txbxContent>{inside}</w:txbxContent></w:pict>"
        choice = f"<mc:Choice>{drawn}</mc:Choice><mc:Fallback>{old}</mc:Fallback>"
        return f"<w:r><mc:AlternateContent>{choice}</mc:AlternateContent></w:r>"

    parsed = read(
        p(r("text"), box(p(r("outer"), box(p(r("inner")))))),
        p(picture("A gull"), picture("IMG_1.jpg"), picture("Bird Description automatically generated")),
    )
    assert blocks(parsed) == [
        ("paragraph", "text"),
        ("paragraph", "outer"),
        ("paragraph", "inner"),
        ("caption", "A gull"),
        ("caption", "Bird"),
    ]


def test_headers_and_footers_are_read_once() -> None:
    """Headers come first and footers last, each text once however many sections have it, and without page numbers."""
    refer = '<w:headerReference w:type="{}" r:id="{}"/>'
    field = f'<w:fldSimple w:instr=" PAGE ">{r("7")}</w:fldSimple>'
    parsed = read(
        p(r("text"), properties=f"<w:sectPr>{refer.format('default', 'header1')}</w:sectPr>"),
        parts={
            "header1": p(r("Tides")),
            "header2": p(r("Tides")) + p(r("Board")),
            "header3": p(r("on no page")),
            "header4": p(f"<w:r><w:pict><w:txbxContent>{p(r('in a box'))}</w:txbxContent></w:pict></w:r>"),
            "footer1": p(r("Page "), field, r(" of "), field) + p(r("Printed")),
        },
        section=refer.format("default", "header2")
        + refer.format("first", "header3")
        + refer.format("default", "header4")
        + '<w:footerReference w:type="default" r:id="footer1"/>',
    )
    assert parsed.text.split("\n\n") == ["Tides", "Board", "in a box", "text", "Printed"]


def test_links_are_metadata_and_their_text_stays() -> None:
    """Where links lead is in the metadata, whether Word wrote them as links or as fields."""
    field = '<w:r><w:fldChar w:fldCharType="{}"/></w:r>'
    parsed = read(
        p(
            f'<w:hyperlink r:id="a">{r("one")}</w:hyperlink>',
            field.format("begin") + '<w:r><w:instrText> HYPERLINK "https://b.example" </w:instrText></w:r>',
            field.format("separate") + r(" two") + field.format("end"),
        ),
        relations={"a": ("hyperlink", "https://a.example")},
    )
    assert parsed.text == "one two"
    assert parsed.metadata["links"] == ["https://a.example", "https://b.example"]


def test_pages_are_those_that_the_file_knows() -> None:
    """Breaks that somebody made and those of the last layout turn the page; a sentence across two goes on overleaf."""
    parsed = read(
        p(r("first "), LAID_OUT, r("goes on")),
        p(BREAK, LAID_OUT, r("third")),
        p(r("fourth"), properties="<w:pageBreakBefore/>"),
    )
    assert pages(parsed) == [(1, "first"), (2, "goes on"), (3, "third"), (4, "fourth")]
    assert parsed.text.startswith("first goes on\n\n")
    assert pages(read(p(r("one")), p(r("two")))) == [(None, "one"), (None, "two")]


def test_hidden_text_is_not_read() -> None:
    """What Word hides is not there; breaks, tabs and symbols of a line are."""
    hidden = r("no", "<w:vanish/>") + r("yes", '<w:vanish w:val="0"/>')
    signs = '<w:r><w:tab/><w:t>a</w:t><w:br/><w:t>b</w:t><w:noBreakHyphen/><w:sym w:font="Symbol" w:char="F0B0"/></w:r>'
    assert read(p(hidden, signs)).text == "yes\ta\nb-°"


def test_custom_properties_keep_their_types() -> None:
    """Properties that somebody added are text, numbers and truth values under `custom`."""
    custom = '<property name="n"><vt:i4>-3</vt:i4></property><property name="b"><vt:bool>true</vt:bool></property>'
    parsed = read(
        p(r("a")), properties={"custom": custom + '<property name="t"><vt:lpwstr>B 12</vt:lpwstr></property>'}
    )
    assert parsed.metadata == {"custom": {"n": -3, "b": True, "t": "B 12"}}


def test_a_damaged_document_is_rejected() -> None:
    """A Word document cut short, or without its main part, is rejected as damaged, whatever is missing."""
    whole = word.docx(p(r("text")))
    for data in (whole[: len(whole) // 2], whole[:-30], whole.replace(b"w:body", b"w:limb")):
        with pytest.raises(Rejected, match="damaged"):
            parse(data, "a.docx")


def test_a_damaged_part_costs_itself_only() -> None:
    """A document whose notes cannot be read is read without them, and says so."""
    body = p(r("text"), '<w:r><w:footnoteReference w:id="2"/></w:r>')
    parsed = read(body, parts={"footnotes": "<w:footnote w:id='2'></w:wrong>"})
    assert parsed.text == "text"
    assert parsed.warnings == ["the part word/footnotes.xml is damaged; what could be read of it was"]


def test_real_documents(corpora: Path) -> None:
    """Real documents keep their words and headings; a handbook of 872 pages comes whole, with its footnotes."""
    office = corpora / "office"
    assert parse((office / "fake.docx").read_bytes(), "a.docx").text == "Lorem ipsum dolor sit amet."
    parsed = parse((office / "category-level.docx").read_bytes(), "a.docx")
    assert levels(parsed, "heading") == [(1, "A Heading 1"), (2, "A Heading 2"), (1, "Another Heading 1")]
    handbook = parse((office / "handbook-872p.docx").read_bytes(), "a.docx")
    obeys_the_law(handbook)
    assert len(handbook.text) > 800_000 and levels(handbook, "footnote")
    assert handbook.blocks[-1].page is None or handbook.blocks[-1].page > 800
