"""Presentations, workbooks, OpenDocument texts and books written by hand, part by part, for tests."""
# ruff: noqa: E501 - elements stay whole

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from xml.sax.saxutils import escape

_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
_XML = '<?xml version="1.0" encoding="UTF-8"?>'
_DRAWINGS = (
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    'xmlns:xdr="http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    f'xmlns:r="{_OFFICE[:-1]}"'
)
_SHEETS = f'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="{_OFFICE[:-1]}"'
_OPEN = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{long}:1.0"'
    for name, long in {
        "office": "office", "text": "text", "table": "table", "draw": "drawing", "style": "style", "meta": "meta",
        "svg": "svg-compatible", "fo": "xsl-fo-compatible", "presentation": "presentation",
    }.items()
) + ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xlink="http://www.w3.org/1999/xlink"'  # fmt: skip


def archive(parts: Mapping[str, str | bytes]) -> bytes:
    """A zip archive of parts."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as package:
        for name, data in parts.items():
            package.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def edited(data: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The same archive with one part changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        parts = {member: package.read(member) for member in package.namelist()}
    return archive({**parts, name: change(parts[name])})


def relations(**targets: tuple[str, str]) -> str:
    """A part that relates ids to a kind and a target, outside of the package if that is an address."""
    inside = ""
    for id, (kind, target) in targets.items():
        mode = ' TargetMode="External"' if ":" in target else ""
        inside += f'<Relationship Id="{id}" Type="{_OFFICE}{kind}" Target="{escape(target)}"{mode}/>'
    return (
        f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{inside}</Relationships>'
    )


# -- presentations -----------------------------------------------------------------------------------------------------


def line(text: str, properties: str = "") -> str:
    """A paragraph of a shape."""
    return f"<a:p>{properties}<a:r><a:t>{escape(text)}</a:t></a:r></a:p>"


def shape(*lines: str, place: str | None = None) -> str:
    """A shape of paragraphs, in a place of its slide's layout if it has one ("" for one of any kind)."""
    kind = f' type="{place}"' if place else ' idx="1"'
    place = "" if place is None else f"<p:ph{kind}/>"
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="2" name="s"/><p:cNvSpPr/><p:nvPr>{place}</p:nvPr></p:nvSpPr><p:spPr/>'
        f"<p:txBody><a:bodyPr/>{''.join(lines)}</p:txBody></p:sp>"
    )


def grid(*rows: Sequence[str | None]) -> str:
    """A table on a slide; a cell that is None goes on from above."""

    def cell(text: str | None) -> str:
        merged = ' vMerge="1"' if text is None else ""
        return f"<a:tc{merged}><a:txBody>{line(text or '')}</a:txBody></a:tc>"

    inside = "".join(f"<a:tr>{''.join(map(cell, row))}</a:tr>" for row in rows)
    return _frame(f"<a:tbl>{inside}</a:tbl>")


def _frame(inside: str) -> str:
    return (
        '<p:graphicFrame><p:nvGraphicFramePr><p:cNvPr id="4" name="t"/></p:nvGraphicFramePr><a:graphic><a:graphicData>'
        f"{inside}</a:graphicData></a:graphic></p:graphicFrame>"
    )


def _slide(*shapes: str) -> str:
    return f"{_XML}<p:sld {_DRAWINGS}><p:cSld><p:spTree>{''.join(shapes)}</p:spTree></p:cSld></p:sld>"


def pptx(*slides: Sequence[str], more: Mapping[str, str] | None = None, rels: Mapping[int, str] | None = None) -> bytes:
    """A presentation of slides, which are shapes; `rels` are the parts that relate slides to `more` parts."""
    listed = "".join(f'<p:sldId id="{255 + at}" r:id="s{at}"/>' for at in range(1, len(slides) + 1))
    parts = {
        "_rels/.rels": relations(main=("officeDocument", "ppt/presentation.xml")),
        "ppt/presentation.xml": f"{_XML}<p:presentation {_DRAWINGS}><p:sldIdLst>{listed}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations(
            authors=("commentAuthors", "authors.xml"),
            **{f"s{at}": ("slide", f"slides/slide{at}.xml") for at in range(1, len(slides) + 1)},
        ),
    }
    for at, shapes in enumerate(slides, 1):
        parts[f"ppt/slides/slide{at}.xml"] = _slide(*shapes)
    parts |= {f"ppt/slides/_rels/slide{at}.xml.rels": part for at, part in (rels or {}).items()}
    parts |= {f"ppt/{name}": f"{_XML}{part}" for name, part in (more or {}).items()}
    return archive(parts)


def talk() -> bytes:
    """A talk: titles, lists, a merged table, a chart, a picture, a group, notes, comments, footers."""
    numbered = '<a:pPr lvl="{}"><a:buAutoNum type="{}"/></a:pPr>'
    chart = (
        f"<c:chartSpace {_DRAWINGS}><c:chart><c:title><c:tx><c:rich>{line('Ships a year')}</c:rich></c:tx></c:title>"
        "<c:plotArea><c:barChart><c:ser><c:tx><c:strRef><c:strCache><c:pt><c:v>steam</c:v></c:pt></c:strCache></c:strRef>"
        "</c:tx><c:cat><c:strRef><c:strCache><c:pt><c:v>1930</c:v></c:pt><c:pt><c:v>1931</c:v></c:pt></c:strCache>"
        "</c:strRef></c:cat></c:ser></c:barChart></c:plotArea></c:chart></c:chartSpace>"
    )
    picture = (
        '<p:pic><p:nvPicPr><p:cNvPr id="9" name="Picture 1" descr="The pier at low water"/></p:nvPicPr></p:pic>'
        '<p:pic><p:nvPicPr><p:cNvPr id="10" name="Picture 2" descr="IMG_0012.JPG"/></p:nvPicPr></p:pic>'
    )
    link = '<a:p><a:r><a:rPr><a:hlinkClick r:id="tides"/></a:rPr><a:t>Tables of the tides</a:t></a:r></a:p>'
    foot = shape(line("Harbour board"), place="ftr") + shape(
        '<a:p><a:fld type="slidenum"><a:t>1</a:t></a:fld></a:p>', place="sldNum"
    )
    return pptx(
        [shape(line("For the board"), place="subTitle"), shape(line("The new pier"), place="ctrTitle"), foot],
        [
            shape(line("What it costs"), place="title"),
            shape(
                line("stone", '<a:pPr lvl="0"/>'),
                line("from the quarry", '<a:pPr lvl="1"/>'),
                line("wages"),
                line("None of it is paid.", "<a:pPr><a:buNone/></a:pPr>"),
                place="",
            ),
            shape(
                line("ask for tenders", numbered.format(0, "arabicPeriod")),
                line("in two papers", numbered.format(1, "alphaLcParenR")),
                line("and by post", numbered.format(1, "alphaLcParenR")),
                line("choose one", numbered.format(0, "arabicPeriod")),
            ),
            grid(["Part", "Cost"], ["Wall", "£400"], [None, "£90"]),
            foot,
        ],
        [
            "<p:grpSp>", shape(line("in a group")), "<p:grpSp>", shape(line("in a group of it")), "</p:grpSp></p:grpSp>",
            f"<mc:AlternateContent><mc:Choice>{shape(line('as it is'))}</mc:Choice><mc:Fallback>{shape(line('as it was'))}"
            "</mc:Fallback></mc:AlternateContent>",
            picture, shape(link), _frame('<c:chart r:id="chart"/>'), foot,
        ],
        more={
            "notes.xml": f"<p:notes {_DRAWINGS}><p:cSld><p:spTree>{shape(line('Say that prices rise.'), line('Then wait.'), place='body')}"
            f"{shape(line('2'), place='sldNum')}</p:spTree></p:cSld></p:notes>",
            "chart.xml": chart,
            "comments.xml": f'<p:cmLst {_DRAWINGS}><p:cm authorId="0"><p:text>Too dear.</p:text></p:cm></p:cmLst>',
            "authors.xml": f'<p:cmAuthorLst {_DRAWINGS}><p:cmAuthor id="0" name="J. Rowe"/></p:cmAuthorLst>',
        },
        rels={
            2: relations(n=("notesSlide", "../notes.xml"), c=("comments", "../comments.xml")),
            3: relations(chart=("chart", "../chart.xml"), tides=("hyperlink", "https://example.org/tides")),
        },
    )  # fmt: skip


# -- workbooks ---------------------------------------------------------------------------------------------------------


def xlsx(*sheets: tuple[str, str], more: Mapping[str, str] | None = None, rels: str = "", styles: str = "") -> bytes:
    """A workbook of sheets by name, whose rows are written out; `rels` relates the first to `more` parts."""
    listed = "".join(f'<sheet name="{name}" sheetId="{at}" r:id="s{at}"/>' for at, (name, _) in enumerate(sheets, 1))
    parts = {
        "_rels/.rels": relations(main=("officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f"{_XML}<workbook {_SHEETS}><sheets>{listed}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relations(
            texts=("sharedStrings", "texts.xml"),
            styles=("styles", "styles.xml"),
            **{f"s{at}": ("worksheet", f"sheets/sheet{at}.xml") for at in range(1, len(sheets) + 1)},
        ),
        "xl/styles.xml": f"{_XML}<styleSheet {_SHEETS}>{styles}</styleSheet>",
        "xl/texts.xml": f"{_XML}<sst {_SHEETS}><si><t>Ship</t></si><si><r><t>Three </t></r><r><t>Sisters</t></r>"
        "<rPh><t>sisutaazu</t></rPh></si></sst>",
    }
    for at, (_, inside) in enumerate(sheets, 1):
        parts[f"xl/sheets/sheet{at}.xml"] = f"{_XML}<worksheet {_SHEETS}>{inside}</worksheet>"
    if rels:
        parts["xl/sheets/_rels/sheet1.xml.rels"] = rels
    parts |= {f"xl/{name}": f"{_XML}{part}" for name, part in (more or {}).items()}
    return archive(parts)


def shared(text: str) -> str:
    """The inside of the part that holds the texts which cells share: one."""
    return f"<sst {_SHEETS}><si><t>{text}</t></si></sst>"


def tolls() -> bytes:
    """A book of tolls: titles above the names of columns, dates, shares, formulas, merged cells, comments, a picture,
    and a sheet of two tables.
    """

    def c(place: str, value: str, kind: str = "", style: int = 0, formula: str = "") -> str:
        said = f' t="{kind}"' if kind else ""
        inside = f"<is><t>{value}</t></is>" if kind == "inlineStr" else f"<v>{value}</v>" if value else ""
        return f'<c r="{place}"{said} s="{style}">{f"<f>{formula}</f>" if formula else ""}{inside}</c>'

    def t(place: str, value: str) -> str:
        return c(place, value, "inlineStr")

    def row(at: int, *cells: str) -> str:
        return f'<row r="{at}">{"".join(cells)}</row>'

    styles = (
        '<numFmts><numFmt numFmtId="164" formatCode="[$-809]dd\\ mmmm\\ yyyy"/><numFmt numFmtId="165" formatCode="0.0%"/>'
        '<numFmt numFmtId="166" formatCode="&quot;days&quot;\\ 0"/></numFmts><cellXfs><xf numFmtId="0"/><xf numFmtId="164"/>'
        '<xf numFmtId="165"/><xf numFmtId="20"/><xf numFmtId="166"/><xf numFmtId="22"/></cellXfs>'
    )
    first = "".join(
        [
            "<sheetData>",
            row(1, t("A1", "Tolls of 1931")),
            row(3, c("A3", "0", "s"), t("B3", "Day"), t("C3", "Hour"), t("D3", "Tons"), t("E3", "Share"), t("F3", "Paid")),
            row(4, c("A4", "1", "s"), c("B4", "11444", style=1), c("C4", "0.375", style=3), c("D4", "140.5"),
                c("E4", "0.0525", style=2), c("F4", "1", "b")),
            row(5, c("B5", "11445.5", style=5), c("D5", "0.30000000000000004"), c("F5", "0", "b")),
            row(6, t("A6", "Anna"), c("D6", "12", style=4), c("E6", "", formula="D6/D4")),
            row(7, t("A7", "all"), c("D7", "152.8", formula="SUM(D4:D6)"), c("E7", "#DIV/0!", "e")),
            "</sheetData>",
            '<mergeCells><mergeCell ref="A4:A5"/></mergeCells>',
        ]
    )  # fmt: skip
    second = "".join(
        [
            "<sheetData>",
            row(1, t("A1", "Berth"), t("B1", "1930"), t("C1", "1931")),
            row(2, t("A2", "north"), c("B2", "4"), c("C2", "5")),
            row(4, t("A4", "south"), c("B4", "7"), c("C4", "6")),
            row(6, t("A6", "Each berth was dredged."), ),
            row(8, t("A8", "Name"), t("B8", "Wage")),
            row(9, t("A9", "E. Hocking"), c("B9", "31")),
            "</sheetData>",
        ]
    )  # fmt: skip
    comments = (
        f'<comments {_SHEETS}><authors><author>J. Rowe</author></authors><commentList><comment ref="D4" authorId="0">'
        "<text><r><t>J. Rowe:</t></r><r><t>\nby her papers</t></r></text></comment></commentList></comments>"
    )
    drawing = (
        f'<xdr:wsDr {_DRAWINGS}><xdr:pic><xdr:nvPicPr><xdr:cNvPr id="1" name="p" descr="Seal of the board"/></xdr:nvPicPr>'
        f"</xdr:pic><xdr:sp><xdr:txBody>{line('Not for the public.')}</xdr:txBody></xdr:sp></xdr:wsDr>"
    )
    return xlsx(
        ("Tolls", first),
        ("Berths", second),
        ("Empty", "<sheetData/>"),
        styles=styles,
        rels=relations(c=("comments", "../comments.xml"), d=("drawing", "../drawing.xml")),
        more={"comments.xml": comments, "drawing.xml": drawing},
    )


# -- OpenDocument ------------------------------------------------------------------------------------------------------


def opendocument(
    kind: str,
    body: str,
    styles: str = "",
    masters: str = "",
    meta: str = "",
    common: str = "",
    more: Mapping[str, str] | None = None,
) -> bytes:
    """An OpenDocument file of a kind ("text", "spreadsheet", "presentation") with its automatic and common styles."""
    return archive(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "content.xml": f"{_XML}<office:document-content {_OPEN}><office:automatic-styles>{styles}</office:automatic-styles>"
            f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>",
            "styles.xml": f"{_XML}<office:document-styles {_OPEN}><office:styles>{common}</office:styles>"
            f"<office:master-styles>{masters}</office:master-styles></office:document-styles>",
            "meta.xml": f"{_XML}<office:document-meta {_OPEN}><office:meta>{meta}</office:meta></office:document-meta>",
            **(more or {}),
        }
    )


def log_of_the_keeper() -> bytes:
    """A text with all that one may have: numbered headings and lists, notes, comments, changes, boxes, pages."""
    number = '<text:list-level-style-number text:level="{}" style:num-format="{}" style:num-suffix="{}"/>'
    styles = (
        f'<text:list-style style:name="L1">{number.format(1, "1", ".")}{number.format(2, "a", ")")}</text:list-style>'
        '<text:list-style style:name="L2"><text:list-level-style-bullet text:level="1" text:bullet-char="•"/></text:list-style>'
        '<style:style style:name="P1" style:family="paragraph"><style:paragraph-properties fo:break-before="page"/></style:style>'
    )
    outline = (
        '<style:style style:name="Title" style:family="paragraph"/><text:outline-style><text:outline-level-style '
        'text:level="1" style:num-format="1"/><text:outline-level-style text:level="2" style:num-format="1" '
        'text:display-levels="2"/></text:outline-style>'
    )

    def item(*inside: str) -> str:
        return f"<text:list-item>{''.join(inside)}</text:list-item>"

    def p(inside: str, style: str = "Standard") -> str:
        return f'<text:p text:style-name="{style}">{inside}</text:p>'

    def h(level: int, text: str) -> str:
        return f'<text:h text:outline-level="{level}">{text}</text:h>'

    def cell(text: str, more: str = "") -> str:
        return f"<table:table-cell{more}>{p(text)}</table:table-cell>"

    covered = "<table:covered-table-cell/>"
    note = '<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>By the almanac.</text:p></text:note-body></text:note>'  # fmt: skip
    comment = "<office:annotation><dc:creator>J. Fox</dc:creator><dc:date>1931-05-01</dc:date><text:p>Not on Sundays?</text:p></office:annotation>"
    box = f"<draw:frame><draw:text-box>{p('Keep the lens dry.')}</draw:text-box></draw:frame>"
    picture = '<draw:frame><draw:image xlink:href="a.png"/><svg:title>The lamp</svg:title><svg:desc>seen from below</svg:desc></draw:frame>'
    body = "".join(
        [
            '<text:tracked-changes><text:changed-region><text:deletion><text:p>was never so</text:p></text:deletion>'
            "</text:changed-region></text:tracked-changes>",
            p("Log of the keeper", "Title"),
            h(1, "The lamp"),
            p(f'Lit<text:s text:c="2"/>at dusk{note}{comment}, put out<text:tab/>at dawn;<text:line-break/>see '
              f'<text:a xlink:href="https://example.org/dusk">the almanac</text:a>.'),
            h(2, "Trimming"),
            '<text:list text:style-name="L1">'
            + item(p("take off the glass"), "<text:list>" + item(p("with both hands")) + item(p("and put it down"), p("on the cloth")) + "</text:list>")
            + item(p("cut the wick"))
            + "</text:list>",
            '<text:list text:style-name="L2">' + item(p("scissors")) + "</text:list>",
            '<text:list text:style-name="L1" text:continue-numbering="true">' + item(p("light it")) + "</text:list>",
            p(f"Beside{box}{picture} the text.<text:soft-page-break/>"),
            h(1, "The watches"),
            "<table:table><table:table-column/><table:table-header-rows><table:table-row>"
            + cell("Watch") + cell("Hours", ' table:number-columns-spanned="2"') + covered
            + "</table:table-row></table:table-header-rows><table:table-row>"
            + cell("first", ' table:number-rows-spanned="2"') + cell("8") + cell("12") + "</table:table-row><table:table-row>"
            + covered + cell("0") + cell("4") + "</table:table-row></table:table>",
            p("A page of its own.", "P1"),
        ]
    )  # fmt: skip
    masters = (
        f'<style:master-page style:name="Standard"><style:header>{p("Carn Head")}</style:header><style:footer>'
        f"{p('Page <text:page-number>7</text:page-number>')}{p('Printed 1931')}</style:footer></style:master-page>"
    )
    meta = (
        "<meta:initial-creator>J. Fox</meta:initial-creator><dc:language>en-GB</dc:language><meta:keyword>light</meta:keyword>"
        '<meta:keyword>log</meta:keyword><meta:user-defined meta:name="Shelf">B 12</meta:user-defined>'
    )
    return opendocument("text", body, styles, masters, meta, outline)


def stores() -> bytes:
    """A spreadsheet with repeated cells, a date, and a comment."""

    def cell(text: str, more: str = "") -> str:
        return f"<table:table-cell {more}><text:p>{text}</text:p></table:table-cell>"

    rows = "".join(
        f"<table:table-row{more}>{cells}</table:table-row>"
        for more, cells in [
            ("", cell("Store") + cell("Since") + cell("Casks")),
            ("", cell("oil") + cell("1 May 31", 'office:value-type="date" office:date-value="1931-05-01"')
             + '<table:table-cell office:value-type="float" office:value="12.5"><text:p>12,5</text:p><office:annotation>'
             "<dc:creator>J. Fox</dc:creator><text:p>counted twice</text:p></office:annotation></table:table-cell>"),
            ("", cell("tar", 'table:number-columns-repeated="2"') + cell("3", 'office:value-type="float" office:value="3"')),
            (' table:number-rows-repeated="1048573"', '<table:table-cell table:number-columns-repeated="16384"/>'),
        ]
    )  # fmt: skip
    return opendocument("spreadsheet", f'<table:table table:name="Stores">{rows}</table:table>')


def slides() -> bytes:
    """A presentation with a title, a list and notes."""

    def frame(kind: str, inside: str) -> str:
        return f'<draw:frame presentation:class="{kind}"><draw:text-box>{inside}</draw:text-box></draw:frame>'

    outline = "<text:list><text:list-item><text:p>the wall</text:p></text:list-item></text:list>"
    page = frame("outline", outline) + frame("title", "<text:p>What is left to do</text:p>")
    notes = f"<presentation:notes>{frame('notes', '<text:p>Thank the masons.</text:p>')}</presentation:notes>"
    return opendocument(
        "presentation",
        f"<draw:page>{page}{notes}</draw:page><draw:page>{frame('', '<text:p>The end</text:p>')}</draw:page>",
    )


# -- books -------------------------------------------------------------------------------------------------------------


def book() -> bytes:
    """A book of two chapters and a third that is missing."""

    def chapter(inside: str) -> str:
        return f'{_XML}<html xmlns="http://www.w3.org/1999/xhtml"><head><title>c</title></head><body>{inside}</body></html>'

    contents = (
        f'{_XML}<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<dc:title>The lights of Carn Head</dc:title><dc:creator>R. Tregenna</dc:creator><dc:creator>A. Pascoe</dc:creator>"
        '<dc:language>en</dc:language><dc:date>1932</dc:date></metadata><manifest><item id="b" href="text/two.xhtml"/>'
        '<item id="a" href="text/one%201.xhtml"/><item id="c" href="text/gone.xhtml"/><item id="n" href="toc.xhtml" properties="nav"/></manifest><spine>'
        '<itemref idref="n" linear="no"/><itemref idref="a"/><itemref idref="b"/><itemref idref="c"/></spine></package>'
    )
    container = (
        f'{_XML}<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
    )
    one = (
        '<h1>The first light</h1><p>It was a fire of <em>coal</em>.</p><img alt="A drawing of the grate" src="g.png"/>'
    )
    two = "<h1>The second</h1><h2>Oil</h2><ol><li>colza</li><li>paraffin</li></ol><table><tr><th>Year</th><th>Casks</th></tr><tr><td>1848</td><td>9</td></tr></table>"
    return archive(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "OEBPS/book.opf": contents,
            "OEBPS/toc.xhtml": chapter("<nav><ol><li>The first light</li></ol></nav>"),
            "OEBPS/text/one 1.xhtml": chapter(one),
            "OEBPS/text/two.xhtml": chapter(two),
        }
    )
