"""PDF files of a few lines, written by hand, for tests."""

from __future__ import annotations

from collections.abc import Sequence

Placed = tuple[float, float, float, str]


def pdf(*pages: Sequence[Placed], info: str = "", outline: Sequence[tuple[str, int]] = (), rotate: int = 0) -> bytes:
    """A PDF whose pages show lines, each (x, y, size, text); `outline` names headings and their pages, from 0."""
    objects = [
        b"",
        b"",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        f"<<{info}>>".encode(),
    ]
    kids = []
    for lines in pages:
        shown = b"\n".join(
            f"BT /F {size} Tf {x} {y} Td (".encode() + text.encode("cp1252") + b") Tj ET" for x, y, size, text in lines
        )
        objects.append(b"<</Length %d>>stream\n%b\nendstream" % (len(shown), shown))
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Rotate %d/Contents %d 0 R"
            b"/Resources<</Font<</F 3 0 R>>>>>>" % (rotate, len(objects))
        )
        kids.append(len(objects))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%b]>>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids))
    first = len(objects) + 1
    for number, (title, page) in enumerate(outline):
        following = b"/Next %d 0 R" % (first + number + 1) if number + 1 < len(outline) else b""
        objects.append(
            b"<</Title(%b)/Parent %d 0 R/Dest[%d 0 R/Fit]%b>>"
            % (title.encode(), first + len(outline), kids[page], following)
        )
    objects.append(b"<</First %d 0 R/Last %d 0 R/Count %d>>" % (first, first + len(outline) - 1, len(outline)))
    objects[0] = b"<</Type/Catalog/Pages 2 0 R" + (b"/Outlines %d 0 R" % len(objects) if outline else b"") + b">>"
    out = b"%PDF-1.4\n"
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 %d\n0000000000 65535 f \n%btrailer<</Size %d/Root 1 0 R/Info 4 0 R>>\nstartxref\n%d\n%%%%EOF"
    return out + end % (len(objects) + 1, table, len(objects) + 1, len(out))
