"""Word documents written by hand, part by part, for tests: what no library writes, and nothing that one adds."""

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
