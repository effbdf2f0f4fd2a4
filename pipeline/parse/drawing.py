"""DrawingML, which Word, PowerPoint and Excel share: the text of shapes, charts and diagrams."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
# Charts that came later: waterfalls, maps, funnels.
_CX = "{http://schemas.microsoft.com/office/drawing/2014/chartex}"
#: What refers to a chart, by the id of a relation.
CHARTS = (f"{_C}chart", f"{_CX}chart")
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
# Fields that say when and where the file was last open.
_RUNNING = ("slidenum", "datetime")
# What programs write where nobody described a picture.
_NO_DESCRIPTION = re.compile(
    r"\s*Description automatically generated\.?\s*\Z|\A(?:picture|image|graphic|\w+ placeholder) ?\d*\Z"
    r"|\A[\w .,()+-]*\.(?:png|jpe?g|gif|bmp|tiff?|emf|wmf|svg|webp)\s*\Z",
    re.I,
)


def description(text: str | None) -> str:
    """What somebody said of a picture; "" if that was a program."""
    return _NO_DESCRIPTION.sub("", text or "").strip()


def text_of(paragraph: Any) -> str:
    """The text of an `a:p`, its line breaks as such, without the fields that number a slide or date it."""
    parts: list[str] = []
    for element in paragraph.iter(f"{A}t", f"{A}br", f"{_MATH}t"):
        if element.tag == f"{A}br":
            parts.append("\n")
        elif not (element.getparent().get("type") or "").startswith(_RUNNING):
            parts.append(element.text or "")
    return "".join(parts)


def said_by(root: Any) -> Iterator[str]:
    """What a chart or diagram says: titles and labels, then the names of its series and categories, each once."""
    texts = [text_of(paragraph) for paragraph in root.iter(f"{A}p")]
    for path in (
        f".//{_CX}chart//{_CX}txData/{_CX}v",
        f".//{_C}ser/{_C}tx//{_C}v",
        f".//{_C}ser/{_C}cat//{_C}v",
        f".//{_CX}strDim/{_CX}lvl/{_CX}pt",
    ):
        names = dict.fromkeys(value.text.strip() for value in root.iterfind(path) if (value.text or "").strip())
        texts.append(", ".join(names))
    return (text for text in dict.fromkeys(texts) if text.strip())
