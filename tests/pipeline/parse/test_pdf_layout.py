"""What the places of lines on a PDF's page tell: items of lists, headings, and tables."""

from __future__ import annotations

import pytest

from pipeline.parse.pdf import parse
from tests.pipeline.parse.law import blocks
from tests.pipeline.parse.pages import Mark, paragraph, pdf

_TEXT = ["Wind south-west, swell four feet, and the", "lamp was lit at five as on other days."]


def test_an_item_further_out_ends_the_one_within() -> None:
    """An item that is the widest line of its list is not gone on with by the next item, which stands left of it."""
    page = [(78, 700, 12, "1. First"), (114, 684, 12, "1. more closely"), (78, 668, 12, "2. Second")]
    assert blocks(parse(pdf(page), "a.pdf")) == [
        ("list_item", "1. First"),
        ("list_item", "1. more closely"),
        ("list_item", "2. Second"),
    ]


@pytest.mark.parametrize("matrix", ["0 1 -1 0 600 0", "-1 0 0 -1 600 800", "0 -1 1 0 0 800"])
def test_a_page_whose_text_is_turned_has_headings(matrix: str) -> None:
    """Where most of a page's text runs the same way, a larger line in it is a heading; one that runs another is not."""
    lines = [(60, 500, 18, "A night in winter"), *paragraph(60, 470, [*_TEXT, *_TEXT])]
    turned = [f"q {matrix} cm BT /F {size} Tf {x} {y} Td ({text}) Tj ET Q" for x, y, size, text, *_ in lines]
    assert blocks(parse(pdf([*turned, (300, 30, 18, "Draft copy")]), "a.pdf")) == [
        ("heading", "A night in winter"),
        ("paragraph", " ".join([*_TEXT, *_TEXT])),
        ("paragraph", "Draft copy"),
    ]


def test_a_table_goes_on_overleaf() -> None:
    """Rows at the top of a page that stand in the columns of the table before are a table, however few they are."""
    head = [("Quantity", "Lowest", "Usual", "Highest"), ("Voltage (V)", "390", "400", "410")]
    first = [*head, ("Frequency (Hz)", "49.5", "50.0", "50.5"), ("Oil pressure", "3.0", "4.2", "6.0")]
    rest = [("(bar)",), ("Coolant", "70", "84", "96")]

    def rows(top: float, cells: list[tuple[str, ...]]) -> list[Mark]:
        return [
            (x, top - 24 * at, 11, cell)
            for at, row in enumerate(cells)
            for x, cell in zip((90, 198, 306, 414), row, strict=False)
        ]

    prose = paragraph(90, 640, [*_TEXT, *_TEXT], 11, 13)
    tables = [text for kind, text in blocks(parse(pdf(rows(140, first), [*rows(700, rest), *prose]), "a.pdf"))]
    assert tables[1:] == ["(bar)\nCoolant | 70 | 84 | 96", " ".join([*_TEXT, *_TEXT])]
    other = pdf(rows(140, first), [(90, 700, 11, "Only a line"), *prose])
    assert [kind for kind, _ in blocks(parse(other, "a.pdf"))] == ["table", "paragraph", "paragraph"]
