"""What the places of lines on a PDF's page tell: items of lists, headings, and tables."""

from __future__ import annotations

from pipeline.parse.pdf import parse
from tests.pipeline.parse.law import blocks
from tests.pipeline.parse.pages import pdf


def test_an_item_further_out_ends_the_one_within() -> None:
    """An item that is the widest line of its list is not gone on with by the next item, which stands left of it."""
    page = [(78, 700, 12, "1. First"), (114, 684, 12, "1. more closely"), (78, 668, 12, "2. Second")]
    assert blocks(parse(pdf(page), "a.pdf")) == [
        ("list_item", "1. First"),
        ("list_item", "1. more closely"),
        ("list_item", "2. Second"),
    ]
