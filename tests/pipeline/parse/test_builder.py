"""The builder: whatever is added, the blocks cover the text exactly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.parse.builder import Builder, row_text
from pipeline.types import Block
from tests.pipeline.parse.law import blocks, obeys_the_law

KINDS = st.sampled_from(["heading", "paragraph", "list_item", "table", "code", "log", "caption", "footnote"])
# Any code points, lone surrogates and control characters among them.
ANY_TEXT = st.text(st.characters(codec=None)) | st.text("\0\ud800\udc00\r\n\t \x0b\x85\u2028e\u0301\u200b\ufeff-•")


@given(st.lists(st.tuples(KINDS, ANY_TEXT)))
def test_blocks_cover_every_character_that_shows(pieces: list[tuple[str, str]]) -> None:
    """Every non-blank character lies in exactly one block, in order, whatever was added."""
    builder = Builder()
    for kind, text in pieces:
        builder.add(kind, text, level=1)
    parsed = builder.build("text/plain", title="".join(text for _, text in pieces))
    obeys_the_law(parsed)
    assert "\n" not in parsed.title
    parsed.title.encode()


def test_blocks_stand_apart_and_items_of_a_run_close_together() -> None:
    """Two line feeds part blocks; one parts list items, table rows and log records that follow each other."""
    builder = Builder()
    for kind, text in [("paragraph", "a"), ("list_item", "b"), ("list_item", "c"), ("table", "d"), ("paragraph", "e")]:
        builder.add(kind, text)
    parsed = builder.build("text/plain")
    assert parsed.text == "a\n\nb\nc\n\nd\n\ne"
    assert parsed.blocks[2] == Block("list_item", 5, 6)


def test_text_is_cleaned_but_not_rewritten() -> None:
    """Line ends become line feeds, control characters go, accents are composed; ligatures and digits stay theirs."""
    builder = Builder()
    builder.add("paragraph", "\ufeffone\r\ntwo\rthree\0 cafe\u0301 ﬁn x² \x07")
    parsed = builder.build("text/plain")
    assert parsed.text == "one\ntwo\nthree café ﬁn x²"


def test_half_a_character_is_replaced_and_named() -> None:
    """A lone surrogate shows as U+FFFD, with a warning; two halves that met are the character that they make."""
    builder = Builder()
    builder.add("paragraph", "a\ud83d b")
    builder.add("paragraph", "\ud83d\ude00")
    parsed = builder.build("text/plain")
    assert parsed.text == "a\ufffd b\n\n😀"
    assert len(parsed.warnings) == 1


def test_code_keeps_its_indentation() -> None:
    """Blank lines around code go, the indentation of its first line stays."""
    builder = Builder()
    builder.add("code", "\n\n    if x:\n        y\n\n")
    assert blocks(builder.build("text/plain")) == [("code", "    if x:\n        y")]


def test_what_shows_nothing_is_no_block() -> None:
    """Blank and zero-width text make no block, so a document of such has none."""
    builder = Builder()
    for text in ("", " \n\t", "\u200b\u200b", "\u00ad", "\0"):
        builder.add("paragraph", text)
    assert not builder
    assert builder.build("text/plain").text == ""


def test_rows_keep_their_empty_cells_between_others() -> None:
    """Cells are parted by bars; empty ones hold their place, except at the end of a row."""
    assert row_text(["a", "", "c\nd", "", ""]) == "a |  | c d"
    assert row_text(["", " "]) == ""


def test_a_title_that_a_program_filled_in_is_none() -> None:
    """ "Untitled document" and its like are no titles."""
    for title in ("Untitled", "untitled spreadsheet", "Word Document", "Document1", "(anonymous)"):
        assert Builder().build("text/plain", title).title == ""
    assert Builder().build("text/plain", "Documents of 1848").title == "Documents of 1848"
