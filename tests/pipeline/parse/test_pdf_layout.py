"""What the places of lines on a PDF's page tell: items of lists, headings, and tables."""

from __future__ import annotations

import pytest

from pipeline.parse.pdf import parse
from tests.pipeline.parse.law import blocks
from tests.pipeline.parse.pages import paragraph, pdf

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
