"""Plain text and Markdown."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parse.text import markdown, plain
from tests.pipeline.parse.law import blocks, levels, obeys_the_law

LINES = st.lists(
    st.sampled_from(
        ["# one", "two", "===", "---", "- three", "  - four", "1. five", "```", "~~~", "    six", "> seven",
         "| a | b |", "|---|---|", "", "  ", "***", "key: value", "\\|", "#", "######## x", "```python", ">",
         "-", "a|b", "\t- nine"]
    )
    | st.text(max_size=20)
)  # fmt: skip


@given(st.text())
def test_plain_text_loses_no_word(text: str) -> None:
    """The words of plain text come out as they went in, in blocks that cover them."""
    parsed = plain(text.encode("utf-8", "replace"), "a.txt")
    obeys_the_law(parsed)
    if re.fullmatch(r"[\w\s]*", text) and text.isascii():
        assert parsed.text.split() == text.split()


@given(LINES)
def test_markdown_obeys_the_law_and_keeps_words(lines: list[str]) -> None:
    """Whatever is written in Markdown, blocks cover the text, and no line's words are lost."""
    parsed = markdown("\n".join(["start", *lines]).encode("utf-8", "replace"), "a.md")
    obeys_the_law(parsed)
    words = {word for line in lines for word in ("two", "three", "four", "five", "six", "seven") if line.endswith(word)}
    assert words <= set(re.findall(r"\w+", parsed.text))


def test_blank_lines_part_paragraphs() -> None:
    """Paragraphs are parted by blank lines and form feeds; single line ends stay."""
    assert blocks(plain(b"one\ntwo\r\n \r\nthree\ffour\n", "a.txt")) == [
        ("paragraph", "one\ntwo"),
        ("paragraph", "three"),
        ("paragraph", "four"),
    ]


def test_both_styles_of_heading_have_levels() -> None:
    """`#` and underlined headings carry their depth; the first, if of level 1, is the title."""
    parsed = markdown(b"Top\n===\n\ntext\n\nMiddle\n---\n### Low ###\n#not one\n", "a.md")
    assert levels(parsed, "heading") == [(1, "Top"), (2, "Middle"), (3, "Low")]
    assert parsed.title == "Top"
    assert blocks(parsed)[-1] == ("paragraph", "#not one")
    assert markdown(b"## Second first\n\n# Then one", "a.md").title == ""


def test_lists_nest_and_numbers_stay() -> None:
    """List items carry their nesting, their numbers and the lines that go on; bullets are markup."""
    parsed = markdown(b"- a\n  goes on\n  - b\n    1. c\n- d\n\nend\n", "a.md")
    assert levels(parsed, "list_item") == [(1, "a\ngoes on"), (2, "b"), (3, "1. c"), (1, "d")]
    assert blocks(parsed)[-1] == ("paragraph", "end")


def test_code_is_code_and_its_markup_is_not_read() -> None:
    """Fenced and indented code are blocks of their own; a `#` inside is no heading; an open fence runs to the end."""
    parsed = markdown(b"a\n\n```python\n# no heading\n  - no item\n```\n\n    indented\n\n~~~~\n```\nopen", "a.md")
    assert blocks(parsed) == [
        ("paragraph", "a"),
        ("code", "# no heading\n  - no item"),
        ("code", "indented"),
        ("code", "```\nopen"),
    ]


def test_tables_become_rows() -> None:
    """A pipe table is one block, a line a row, without its ruler."""
    parsed = markdown(b"| a | b |\n| :-- | --: |\n| 1 | 2 \\| 3 |\n\nafter", "a.md")
    assert blocks(parsed) == [("table", "a | b\n1 | 2 | 3"), ("paragraph", "after")]


def test_comments_in_markdown_are_not_read() -> None:
    """What a reader of the page would not see is no text."""
    assert blocks(markdown(b"a\n\n<!-- note\nto self -->\n\nb", "a.md")) == [("paragraph", "a"), ("paragraph", "b")]
    kept = b"```\n<!-- code -->\n```\n\n<!-- c --> words\n\n<!-- open"
    assert [text for _, text in blocks(markdown(kept, "a.md"))] == ["<!-- code -->", "<!-- c --> words", "<!-- open"]


def test_underlined_lines_are_headings() -> None:
    """As in reStructuredText: levels in the order in which rules come up; a rule shorter than its line is none."""
    text = (
        b"=====\nTides\n=====\n\nintro\n\nSpring\n------\nHigh water.\n\nAt noon\n~~~~~~~\n\n"
        b"Neap\n------\n\nDear all,\n---\n\nend\n"
    )
    parsed = plain(text, "a.txt")
    assert levels(parsed, "heading") == [(1, "Tides"), (2, "Spring"), (3, "At noon"), (2, "Neap")]
    assert ("paragraph", "Dear all,\n---") in blocks(parsed)


def test_lines_that_nobody_broke_are_paragraphs() -> None:
    """Where a line is a whole paragraph, blank lines are not needed to part them."""
    line = b"The keeper lights the lamp at dusk. " * 20
    assert len(plain(line + b"\n" + line + b"\n" + line, "a.txt").blocks) == 3


def test_chapters_are_headings() -> None:
    """A line of its own that numbers a book, part or chapter is a heading; a sentence that begins like one is not."""
    text = "BOOK ONE\n\nChapter I\n\nwords\n\nKapitel 2: Die See\n\nPart 2 is missing.\n\nChapter two ends here\n"
    parsed = plain(text.encode(), "a.txt")
    assert levels(parsed, "heading") == [(1, "BOOK ONE"), (3, "Chapter I"), (3, "Kapitel 2: Die See")]


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.adoc", "= Top\nwords\n== Low\nmore"), ("a.org", "* Top\nwords\n** Low\nmore"),
     ("a.tex", "\\section{Top}\nwords\n\\subsection*{Low}\nmore")],
)  # fmt: skip
def test_other_markup_has_its_headings(name: str, text: str) -> None:
    """AsciiDoc, Org and LaTeX are text with headings of their own."""
    parsed = plain(text.encode(), name)
    assert [kind for kind, _ in blocks(parsed)] == ["heading", "paragraph", "heading", "paragraph"]
    assert [title for _, title in levels(parsed, "heading")] == ["Top", "Low"]
    assert parsed.blocks[0].level == parsed.blocks[2].level - 1


def test_front_matter_is_metadata() -> None:
    """Settings above the text give title and metadata and are no text; a rule at the top is no front matter."""
    parsed = markdown(b"---\ntitle: 'Tides'\nauthor: A\n---\n# Other\nx", "a.md")
    assert (parsed.title, parsed.metadata) == ("Tides", {"author": "A"})
    assert blocks(parsed)[0] == ("heading", "Other")
    assert "just words" in markdown(b"---\njust words\n---\n", "a.md").text
