"""What the places of lines on a PDF's page tell: items of lists, headings, and tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import pytest

from pipeline.parse.pdf import parse
from tests.pipeline.parse.law import blocks
from tests.pipeline.parse.pages import Mark, paragraph, pdf, rule

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

    def rows(top: float, cells: Sequence[tuple[str, ...]]) -> list[Mark]:
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


def _frame(xs: list[int], ys: list[int], without: Collection[tuple[int, int, int, int]] = ()) -> list[Mark]:
    """Lines around each place of a grid, but for those `without`."""
    level = [(left, y, right, y) for y in ys for left, right in pairwise(xs)]
    upright = [(x, low, x, high) for x in xs for high, low in pairwise(ys)]
    return [rule(*line) for line in level + upright if line not in without]


def test_a_framed_table_has_the_cells_that_are_drawn() -> None:
    """A cell that takes several places is told once, in the first; its text may be on a line with no other's."""
    drawn = _frame([56, 102, 136, 178], [704, 686, 669, 652], {(102, 686, 102, 704), (56, 669, 102, 669)})
    cells = [
        (81, 690.4, 12, "Boat"), (140, 690.4, 12, "Toll"), (58, 664.9, 12, "Sailing"), (103, 673, 12, "small"),
        (138, 673, 12, "12 s"), (103, 656.4, 12, "large"), (138, 656.4, 12, "30 s"),
    ]  # fmt: skip
    page = [(56, 760, 18, "Tolls"), (56, 730, 10, _TEXT[1]), *drawn, *cells, (56, 620, 10, _TEXT[1])]
    assert blocks(parse(pdf(page), "a.pdf")) == [
        ("heading", "Tolls"),
        ("paragraph", _TEXT[1]),
        ("table", "Boat |  | Toll\nSailing | small | 12 s\n | large | 30 s"),
        ("paragraph", _TEXT[1]),
    ]


def test_a_framed_table_below_columns_is_whole() -> None:
    """A table as wide as two columns of text comes after both, and is not parted by what parts them."""
    columns = [*paragraph(60, 700, _TEXT * 4), *paragraph(320, 700, _TEXT * 4)]
    drawn = _frame([60, 180, 300, 420, 540], [580, 560, 540, 520])
    names = [
        ("Light", "Built", "Height", "Keeper"),
        ("Carn Head", "1847", "31", "Tregenna"),
        ("Skerry", "", "9", "Fox"),
    ]
    cells = [
        (x + 4, 565 - 20 * at, 10, cell)
        for at, row in enumerate(names)
        for x, cell in zip((60, 180, 300, 420), row, strict=True)
    ]
    assert blocks(parse(pdf([*columns, *drawn, *cells]), "a.pdf")) == [
        ("paragraph", " ".join(_TEXT * 4)),
        ("paragraph", " ".join(_TEXT * 4)),
        ("table", "Light | Built | Height | Keeper\nCarn Head | 1847 | 31 | Tregenna\nSkerry |  | 9 | Fox"),
    ]


def test_what_is_drawn_without_being_a_table_is_text() -> None:
    """A box around paragraphs, and a grid with hardly anything in it, leave the text what it is without them."""
    text = [(60, 740, 18, "Of lamps"), *paragraph(60, 700, _TEXT), *paragraph(60, 640, _TEXT)]
    plain = blocks(parse(pdf(text), "a.pdf"))
    assert blocks(parse(pdf([*text, *_frame([50, 400], [760, 610])]), "a.pdf")) == plain
    assert blocks(parse(pdf([*text, *_frame([50, 320, 400, 450], [760, 660, 610, 590])]), "a.pdf")) == plain


@pytest.mark.parametrize(
    ("font", "before", "cells", "beside"),
    [
        ("F", ["WOMEN MAKE MOONWORK", "NO MAN KNOWS WHOM", "MARGARET GOES HOME"], ("illicit till", "filial list"), 98),
        ("M", _TEXT, ("4d494d45", "6963000a"), 118),
    ],
)
def test_a_gap_is_found_whatever_letters_are_beside_it(
    font: str, before: list[str], cells: tuple[str, str], beside: int
) -> None:
    """A gap parts cells, though their letters are narrower or wider than those before, in type of one pitch or not."""
    prose: list[Mark] = [(50, 700 - 12 * at, 10, before[at % len(before)], font) for at in range(18)]
    row = [(50, cells[0]), (beside, cells[1])]
    table: list[Mark] = [(x, 680 - 12 * at, 10, text, font) for at in range(4) for x, text in row]
    found = blocks(parse(pdf(prose, prose, [(50, 700, 10, "Heights:", font), *table]), "a.pdf"))
    assert found[-1] == ("table", "\n".join([" | ".join(cells)] * 4))
