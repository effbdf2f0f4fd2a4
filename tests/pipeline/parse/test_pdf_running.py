"""What repeats from page to page of a PDF: out of the text, and kept in the metadata."""

from __future__ import annotations

from pipeline.parse.pdf import parse
from tests.pipeline.parse.law import blocks
from tests.pipeline.parse.pages import Mark, paragraph, pdf

_TEXT = ["Wind south-west, swell four feet, and the", "lamp was lit at five as on other days."]


def page(number: int, *marks: Mark) -> list[Mark]:
    """A page with some text of its own, and `marks`."""
    return [*marks, *paragraph(60, 500, [*_TEXT, f"Night {number} of the watch in that winter."])]


def test_page_numbers_go_whatever_they_look_like() -> None:
    """Roman numbers, numbers in words and numbers from any start are no text; numbers that count nothing are."""
    pages = [page(at, (300, 30, 8, number)) for at, number in enumerate(["iii", "iv", "v", "vi", "vii"])]
    assert not {"iii", "iv", "v", "vi", "vii"} & set(parse(pdf(*pages), "a.pdf").text.split())
    pages = [page(at, (300, 30, 8, f"- page {at + 11} of 99 -")) for at in range(5)]
    assert "99" not in parse(pdf(*pages), "a.pdf").text
    pages = [page(at, (300, 300, 10, f"{number} feet")) for at, number in enumerate([7, 2, 9, 4, 4])]
    assert "9 feet" in parse(pdf(*pages), "a.pdf").text


def test_a_header_in_large_type_goes_where_it_is_on_most_pages() -> None:
    """A title that three slides share is text; a large line on every second page of a manual is its header."""
    header: Mark = (60, 770, 16, "2.3 Responses")
    slides = parse(pdf(*[page(at, header) for at in range(3)]), "a.pdf")
    assert [text for kind, text in blocks(slides) if kind == "heading"] == ["2.3 Responses"] * 3
    manual = parse(pdf(*[page(at, *([header] if at % 2 else [])) for at in range(60)]), "a.pdf")
    assert manual.text.count("2.3 Responses") <= 1
    assert manual.metadata["headers"] == ["2.3 Responses"]


def test_the_header_of_a_part_is_its_title_where_nothing_else_is() -> None:
    """Of a header that only some pages have the first stays in the text, unless the text says it anyhow."""
    parts = [(60, 770, 9, f"Part {part}") for part in ("of winds", "of tides", "of lamps")]
    pages = [page(at, parts[at // 4]) for at in range(12)]
    parsed = parse(pdf(*pages), "a.pdf")
    assert parsed.metadata["headers"] == ["Part of winds", "Part of tides", "Part of lamps"]
    assert [parsed.text.count(name) for name in parsed.metadata["headers"]] == [1, 1, 1]
    pages[4].append((60, 600, 18, "Part of tides"))
    again = parse(pdf(*pages), "a.pdf")
    assert [(block.page, again.text[block.start : block.end]) for block in again.blocks if block.kind == "heading"] == [
        (5, "Part of tides")
    ]
    assert again.text.count("Part of tides") == 1


def test_the_footer_of_a_short_part_goes_with_the_others() -> None:
    """Where nearly every page has a footer, what stands there on one page only is one as well."""
    pages = [page(at, (60, 30, 8, "Of tides" if at != 20 else "Of a single night")) for at in range(40)]
    parsed = parse(pdf(*pages), "a.pdf")
    assert parsed.metadata["footers"] == ["Of tides", "Of a single night"]
    assert "single" not in parsed.text
