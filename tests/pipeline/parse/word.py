"""Word documents written by hand, part by part, for tests: what no library writes, and nothing that one adds."""
# ruff: noqa: E501 - elements stay whole

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_NAMES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" '
    'xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:v="urn:schemas-microsoft-com:vml"'
)
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_HEADINGS = "".join(
    f'<w:style w:type="paragraph" w:styleId="H{level}"><w:name w:val="heading {level}"/></w:style>'
    for level in (1, 2, 3)
)
STYLES = (
    '<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/></w:style>'
    f'{_HEADINGS}<w:style w:type="paragraph" w:styleId="Title"><w:name w:val="Title"/></w:style>'
    '<w:style w:type="paragraph" w:styleId="Caption"><w:name w:val="caption"/></w:style>'
)


def r(text: str, properties: str = "") -> str:
    """A run."""
    inside = f"<w:rPr>{properties}</w:rPr>" if properties else ""
    return f'<w:r>{inside}<w:t xml:space="preserve">{escape(text)}</w:t></w:r>'


def p(*content: str, style: str = "", properties: str = "") -> str:
    """A paragraph of runs and whatever else."""
    named = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f"<w:p><w:pPr>{named}{properties}</w:pPr>{''.join(content)}</w:p>"


def item(list_: int, level: int, *content: str) -> str:
    """A paragraph in a list."""
    return p(*content, properties=f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{list_}"/></w:numPr>')


def table(*rows: Sequence[str]) -> str:
    """A table of cells."""
    return f"<w:tbl><w:tblPr/>{''.join('<w:tr>' + ''.join(row) + '</w:tr>' for row in rows)}</w:tbl>"


def cell(*content: str, properties: str = "") -> str:
    """A cell of paragraphs, or of a text."""
    inside = "".join(part if part.startswith("<") else p(r(part)) for part in content)
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{inside}</w:tc>"


def level(at: int, form: str, text: str, start: int = 1, more: str = "") -> str:
    """How a level of a list is numbered."""
    return f'<w:lvl w:ilvl="{at}"><w:start w:val="{start}"/><w:numFmt w:val="{form}"/>{more}<w:lvlText w:val="{text}"/></w:lvl>'


def numbering(*lists: Sequence[str]) -> str:
    """Lists by their levels; the first has the number 1."""
    return "".join(
        f'<w:abstractNum w:abstractNumId="{at}">{"".join(levels)}</w:abstractNum>' for at, levels in enumerate(lists)
    ) + "".join(f'<w:num w:numId="{at + 1}"><w:abstractNumId w:val="{at}"/></w:num>' for at in range(len(lists)))


def docx(
    *body: str,
    parts: Mapping[str, str] | None = None,
    relations: Mapping[str, tuple[str, str]] | None = None,
    properties: Mapping[str, str] | None = None,
    styles: str = "",
    section: str = "",
) -> bytes:
    """A Word document.

    `parts` are the insides of parts by kind (numbering, footnotes, comments, header1, …), related to by their names;
    `relations` are further ones, by id: kind and target, outside of the package if that is an address; `properties` are
    the insides of core, app and custom properties.
    """
    stream = io.BytesIO()
    roots = {"numbering": "numbering", "footnotes": "footnotes", "endnotes": "endnotes", "comments": "comments",
             "settings": "settings"}  # fmt: skip
    named = {name: (name.rstrip("0123456789"), f"{name}.xml") for name in parts or {}} | {
        "styles": ("styles", "styles.xml")
    }
    with zipfile.ZipFile(stream, "w") as package:

        def write(name: str, root: str, inside: str, names: str = _NAMES) -> None:
            date = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            package.writestr(date, f'<?xml version="1.0" encoding="UTF-8"?><{root} {names}>{inside}</{root}>')

        def relate(name: str, relations: Mapping[str, tuple[str, str]]) -> None:
            inside = ""
            for id, (kind, target) in relations.items():
                kind = kind if "/" in kind else _OFFICE + kind
                mode = ' TargetMode="External"' if ":" in target else ""
                inside += f'<Relationship Id="{id}" Type="{kind}" Target="{escape(target)}"{mode}/>'
            write(name, "Relationships", inside, f'xmlns="{_PACKAGE}"')

        write("word/document.xml", "w:document", f"<w:body>{''.join(body)}<w:sectPr>{section}</w:sectPr></w:body>")
        write("word/styles.xml", "w:styles", STYLES + styles)
        for name, inside in (parts or {}).items():
            root = {"header": "w:hdr", "footer": "w:ftr"}.get(name[:6]) or f"w:{roots[name]}"
            write(f"word/{name}.xml", root, inside)
        relate("word/_rels/document.xml.rels", {**named, **(relations or {})})
        kinds = {"main": ("officeDocument", "word/document.xml")}
        for name, inside in (properties or {}).items():
            kind, root, names = _PROPERTIES[name]
            write(f"docProps/{name}.xml", root, inside, names)
            kinds[name] = kind, f"docProps/{name}.xml"
        relate("_rels/.rels", kinds)
    return stream.getvalue()


_PROPERTIES = {
    "core": (
        "http://schemas.openxmlformats.org/package/2006/relationships/metadata/core-properties",
        "cp:coreProperties",
        'xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/"',
    ),
    "app": (
        "extended-properties",
        "Properties",
        'xmlns="http://schemas.openxmlformats.org/officeDocument/2006/extended-properties"',
    ),
    "custom": (
        "custom-properties",
        "Properties",
        'xmlns="http://schemas.openxmlformats.org/officeDocument/2006/custom-properties" '
        'xmlns:vt="http://schemas.openxmlformats.org/officeDocument/2006/docPropsVTypes"',
    ),
}


def handbook() -> bytes:
    """A Word document with everything that a paragraph can have."""
    lists = numbering(
        [
            level(0, "decimal", "%1", more='<w:pStyle w:val="H1"/>'),
            level(1, "decimal", "%1.%2", more='<w:pStyle w:val="H2"/>'),
        ],
        [level(0, "lowerLetter", "%1)"), level(1, "lowerRoman", "(%2)")],
        [level(0, "bullet", "\uf0b7"), level(1, "bullet", "o")],
    )
    heads = '<w:numPr><w:ilvl w:val="{}"/><w:numId w:val="1"/></w:numPr>'
    box = (
        '<w:r><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing><wp:inline><wp:docPr id="1" name="b"/>'
        f"<wps:txbx><w:txbxContent>{p(r('Beside the text: keep the lens dry.'))}</w:txbxContent></wps:txbx></wp:inline>"
        f"</w:drawing></mc:Choice><mc:Fallback><w:pict><v:textbox><w:txbxContent>{p(r('Beside the text: keep the lens dry.'))}"
        "</w:txbxContent></v:textbox></w:pict></mc:Fallback></mc:AlternateContent></w:r>"
    )
    picture_ = '<w:r><w:drawing><wp:inline><wp:docPr id="2" name="p" descr="The lamp seen from below"/></wp:inline></w:drawing></w:r>'
    merged = table(
        [cell("Watch", properties='<w:vMerge w:val="restart"/>'), cell("Hours", properties='<w:gridSpan w:val="2"/>')],
        [cell("", properties="<w:vMerge/>"), cell("from"), cell("to")],
        [cell("first", p(r("and last"))), cell("8"), cell(p(r("12"), '<w:r><w:footnoteReference w:id="3"/></w:r>'))],
    )
    return docx(
        p(r("Handbook of the light"), style="Title"),
        p(r("The lamp"), style="H1", properties=heads.format(0)),
        p(
            r("The lamp is lit "),
            f'<w:ins w:id="1" w:author="B">{r("at dusk")}</w:ins><w:del w:id="2" w:author="B"><w:r><w:delText>at six</w:delText></w:r></w:del>',
            r(" and put out at dawn."),
            '<w:r><w:footnoteReference w:id="2"/></w:r><w:r><w:commentReference w:id="0"/></w:r>',
            r("hidden", "<w:vanish/>"),
        ),
        p(r("Trimming"), style="H2", properties=heads.format(1)),
        item(2, 0, r("take off the glass")),
        item(2, 1, r("with both hands")),
        item(2, 1, r("and put it down")),
        item(2, 0, r("cut the wick")),
        item(3, 0, r("scissors")),
        item(3, 1, r("never a knife")),
        p(r("This paragraph was two, "), properties='<w:rPr><w:del w:id="3" w:author="B"/></w:rPr>'),
        p(r("until its end was deleted."), box),
        merged,
        p(r("The watches"), style="Caption"),
        p(picture_),
        p(r("Oil"), style="H1", properties=heads.format(0)),
        p(
            r("Oil comes from "),
            f'<w:hyperlink r:id="oil">{r("the store")}</w:hyperlink>',
            '<w:r><w:endnoteReference w:id="5"/></w:r>', r(" on the quay. The last line of this page is here,"),
            "<w:r><w:lastRenderedPageBreak/></w:r>",
            r("and its sentence ends overleaf."),
        ),
        '<w:sdt><w:sdtPr><w:showingPlcHdr/></w:sdtPr><w:sdtContent>' + p(r("Click here to enter text.")) + "</w:sdtContent></w:sdt>",
        p('<w:r><w:br w:type="page"/></w:r>', r("A page of its own."), '<m:oMath><m:f><m:num><m:r><m:t>1</m:t></m:r></m:num><m:den><m:r><m:t>3</m:t></m:r></m:den></m:f></m:oMath>'),
        parts={
            "numbering": lists,
            "endnotes": f'<w:endnote w:id="5">{p(r("From the widow of the keeper."))}</w:endnote>',
            "footnotes": f'<w:footnote w:id="0" w:type="separator">{p()}</w:footnote><w:footnote w:id="2">{p(r("Dusk is by the almanac."))}'
            f'</w:footnote><w:footnote w:id="3">{p(r("In winter until one."))}</w:footnote>',
            "comments": f'<w:comment w:id="0" w:author="J. Fox">{p(r("Not on Sundays?"))}</w:comment>',
            "header1": p(r("Carn Head")),
            "footer1": p(r("Page "), '<w:fldSimple w:instr=" PAGE ">' + r("7") + "</w:fldSimple>") + p(r("Printed 1931")),
        },
        relations={"oil": ("hyperlink", "https://example.org/oil")},
        section='<w:headerReference w:type="default" r:id="header1"/><w:footerReference w:type="default" r:id="footer1"/>',
        properties={
            "core": "<dc:creator>J. Fox</dc:creator><dc:language>en-GB</dc:language><dcterms:created>1931-05-01T09:00:00Z</dcterms:created>",
            "app": "<Company>Harbour board</Company><Pages>3</Pages>",
            "custom": '<property name="Volume"><vt:i4>3</vt:i4></property><property name="Final"><vt:bool>true</vt:bool></property>'
            '<property name="Shelf"><vt:lpwstr>B 12</vt:lpwstr></property>',
        },
    )  # fmt: skip
