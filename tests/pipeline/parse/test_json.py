"""JSON files, JSON Lines, and rows of data sets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.parse import parse
from pipeline.parse.media import ROW
from tests.pipeline.parse.law import blocks, obeys_the_law

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.sampled_from(["a.json", "a.jsonl"]))
def test_any_json_obeys_the_law(value: object, uri: str) -> None:
    """Whatever JSON holds, lone surrogates too, is read, or says that there is no text."""
    try:
        obeys_the_law(parse(json.dumps(value).encode(), uri))
    except Rejected as rejected:
        assert "text" in str(rejected) or "white space" in str(rejected)


def test_a_list_is_a_block_an_element() -> None:
    """Words in JSON are readable as they are meant, not as escapes."""
    parsed = parse(rb'[{"a": "caf\u00e9"}, "plain"]', "a.json")
    assert blocks(parsed) == [("code", '{\n  "a": "café"\n}'), ("code", "plain")]


def test_broken_json_is_kept_as_text() -> None:
    """A file that is not valid JSON, or a line of one, is not lost: it is text, with a warning."""
    parsed = parse(b'{"a": "words",', "a.json")
    assert '"words"' in parsed.text and "not valid JSON" in parsed.warnings[0]
    lines = parse(b'{"a": 1}\n\n{broken\n', "a.jsonl")
    assert blocks(lines)[-1] == ("code", "{broken")
    assert "line 3" in lines.warnings[0]


def test_a_row_is_its_title_then_its_text() -> None:
    """A row's title becomes a heading of level 1, its text paragraphs; metadata it has from its source alone."""
    row = {"title": "Tides", "text": "One.\n\nTwo.", "metadata": {"year": 1848}}
    parsed = parse(json.dumps(row).encode(), "set#1", ROW)
    assert blocks(parsed) == [("heading", "Tides"), ("paragraph", "One."), ("paragraph", "Two.")]
    assert (parsed.title, parsed.metadata, parsed.media_type) == ("Tides", {}, ROW)
    assert parsed.blocks[0].level == 1


def test_a_row_that_looks_like_something_else_stays_a_row() -> None:
    """A row's content never decides what it is."""
    assert parse(b'{"text": "%PDF-1.4 is how PDF files start"}', "set#2.pdf", ROW).text.startswith("%PDF")


@pytest.mark.parametrize(("data", "reason"), [(b"{}", "empty"), (b"[]", "not an object"), (b"{", "not valid JSON")])
def test_a_row_without_text_is_rejected(data: bytes, reason: str) -> None:
    """A row that holds nothing to read says so."""
    with pytest.raises(Rejected, match=reason):
        parse(data, "set#3", ROW)
