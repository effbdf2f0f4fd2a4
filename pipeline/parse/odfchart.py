"""Charts inside of OpenDocument files: each is a document of its own, and keeps a table of what it shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_OASIS = "{urn:oasis:names:tc:opendocument:xmlns:%s:1.0}"
_CHART, _TABLE, _TEXT = (_OASIS % name for name in ("chart", "table", "text"))
_TITLES = (f"{_CHART}title", f"{_CHART}subtitle", f"{_CHART}footer")


def said_by(chart: Any) -> Iterator[str]:
    """What a chart says: its titles and those of its axes, then the names of its series and of its categories."""
    titles = map(_shown, chart.iter(*_TITLES))
    series: list[str] = []
    categories: list[str] = []
    for table in chart.iter(f"{_TABLE}table"):
        heads = {row for part in table.iter(f"{_TABLE}table-header-rows") for row in part.iter(f"{_TABLE}table-row")}
        for row in table.iter(f"{_TABLE}table-row"):
            cells = [_shown(cell) for cell in row.iterchildren(f"{_TABLE}table-cell")]
            if row in heads:
                series += cells[1:]
            else:
                categories += cells[:1]
    names = (", ".join(dict.fromkeys(filter(None, names))) for names in (series, categories))
    return (text for text in dict.fromkeys((*titles, *names)) if text.strip())


def _shown(element: Any) -> str:
    # A cell may have more inside: the range that it was taken from, drawn as a description of nothing.
    return " ".join(" ".join("".join(line.itertext()) for line in element.iterchildren(f"{_TEXT}p")).split())
