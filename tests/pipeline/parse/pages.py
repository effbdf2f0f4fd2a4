"""PDF files of a few lines, written by hand, for tests.

A page is a sequence of marks: placed lines, `(x, y, size, text)` or `(x, y, size, text, font)`, and strings, which are
content as PDF has it. The fonts are F (Helvetica), B (bold), M (Courier), and U: any letters, as wide as they are high.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

Placed = tuple[float, float, float, str] | tuple[float, float, float, str, str]
Mark = Placed | str

_BASE = {"F": "Helvetica", "B": "Helvetica-Bold", "M": "Courier"}
_TO_UNICODE = (
    b"/CIDInit/ProcSet findresource begin 12 dict begin begincmap/CMapName/U def/CMapType 2 def\n"
    b"1 begincodespacerange<0000><FFFF>endcodespacerange\n"
    b"1 beginbfrange<0000><FFFF><0000>endbfrange\nendcmap end end"
)
_WIDTH, _HEIGHT = 600, 800


def pdf(
    *pages: Sequence[Mark],
    info: str = "",
    outline: Sequence[tuple[str, int]] = (),
    rotate: int = 0,
    catalog: str = "",
    annotations: Sequence[str] = (),
    fields: Sequence[str] = (),
    xmp: str = "",
    box: str = "",
    files: Sequence[tuple[str, bytes]] = (),
) -> bytes:
    """A PDF whose pages show `pages`; `outline` names headings and their pages, from 0.

    `annotations` are dictionaries' insides, all on the first page; `fields` are those among them that are form fields.
    `files` are embedded, each with its name. `catalog`, `info` and `box` (page boxes) are added to where they belong,
    `xmp` becomes the metadata stream.
    """
    objects = [b""] * 2 + [
        f"<</Type/Font/Subtype/Type1/BaseFont/{name}/Encoding/WinAnsiEncoding>>".encode() for name in _BASE.values()
    ]
    fonts = "".join(f"/{letter} {3 + at} 0 R" for at, letter in enumerate(_BASE))

    def add(content: bytes) -> int:
        objects.append(content)
        return len(objects)

    def stream(content: bytes, dictionary: str = "") -> int:
        return add(f"<<{dictionary}/Length {len(content)}>>stream\n".encode() + content + b"\nendstream")

    described = add(f"<<{info}>>".encode())
    letters = add(
        b"<</Type/Font/Subtype/CIDFontType2/BaseFont/Any/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)"
        b"/Supplement 0>>/DW 1000/FontDescriptor<</Type/FontDescriptor/FontName/Any/Flags 4/Ascent 800/Descent -200"
        b"/FontBBox[0 -200 1000 800]/ItalicAngle 0/CapHeight 700/StemV 80>>>>"
    )
    unicode = add(
        f"<</Type/Font/Subtype/Type0/BaseFont/Any/Encoding/Identity-H/DescendantFonts[{letters} 0 R]"
        f"/ToUnicode {stream(_TO_UNICODE)} 0 R>>".encode()
    )
    marked = [add(f"<</Type/Annot{inside}>>".encode()) for inside in (*annotations, *fields)]
    kids = []
    for number, marks in enumerate(pages):
        content = stream("\n".join(map(_content, marks)).encode("latin-1"))
        here = f"/Annots[{' '.join(f'{at} 0 R' for at in marked)}]" if marked and not number else ""
        kids.append(
            add(
                f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {_WIDTH} {_HEIGHT}]{box}/Rotate {rotate}"
                f"/Contents {content} 0 R/Resources<</Font<<{fonts}/U {unicode} 0 R>>>>{here}>>".encode()
            )
        )
    objects[1] = b"<</Type/Pages/Count %d/Kids[%b]>>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids))
    if outline:
        first = len(objects) + 1
        for number, (title, page) in enumerate(outline):
            following = b"/Next %d 0 R" % (first + number + 1) if number + 1 < len(outline) else b""
            parent = first + len(outline)
            add(b"<</Title(%b)/Parent %d 0 R/Dest[%d 0 R/Fit]%b>>" % (title.encode(), parent, kids[page], following))
        listed = add(b"<</First %d 0 R/Last %d 0 R/Count %d>>" % (first, first + len(outline) - 1, len(outline)))
        catalog += f"/Outlines {listed} 0 R"
    if files:
        named = "".join(
            f"({name})<</Type/Filespec/F({name})/UF({name})/EF<</F {stream(content)} 0 R>>>>" for name, content in files
        )
        catalog += f"/Names<</EmbeddedFiles<</Names[{named}]>>>>"
    if xmp:
        catalog += (
            f"/Metadata {stream(zlib.compress(xmp.encode()), '/Type/Metadata/Subtype/XML/Filter/FlateDecode')} 0 R"
        )
    if fields:
        own = marked[len(annotations) :]
        catalog += f"/AcroForm<</Fields[{' '.join(f'{at} 0 R' for at in own)}]/DR<</Font<<{fonts}>>>>/DA(/F 10 Tf)>>"
    objects[0] = f"<</Type/Catalog/Pages 2 0 R{catalog}>>".encode()
    return _file(objects, described)


def _content(mark: Mark) -> str:
    if isinstance(mark, str):
        return mark
    x, y, size, text, *font = mark
    shown = f"<{text.encode('utf-16-be').hex()}>" if font == ["U"] else "(" + _escaped(text) + ")"
    return f"BT /{font[0] if font else 'F'} {size} Tf {x} {y} Td {shown} Tj ET"


def _escaped(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return escaped.encode("cp1252").decode("latin-1")


def _file(objects: Sequence[bytes], described: int) -> bytes:
    out = b"%PDF-1.4\n"
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 %d\n0000000000 65535 f \n%btrailer<</Size %d/Root 1 0 R/Info %d 0 R>>\nstartxref\n%d\n%%%%EOF"
    return out + end % (len(objects) + 1, table, len(objects) + 1, described, len(out))


def rule(left: float, bottom: float, right: float, top: float) -> str:
    """A line drawn from one point to another."""
    return f"{left} {bottom} m {right} {top} l S"


def picture(left: float, bottom: float, width: float, height: float) -> str:
    """A grey square, as an image within the content."""
    return f"q {width} 0 0 {height} {left} {bottom} cm BI /W 1 /H 1 /CS /G /BPC 8 /F /AHx ID 80> EI Q"


def paragraph(x: float, y: float, lines: Sequence[str], size: float = 10, leading: float = 12) -> list[Placed]:
    """Lines below each other."""
    return [(x, y - number * leading, size, line) for number, line in enumerate(lines)]
