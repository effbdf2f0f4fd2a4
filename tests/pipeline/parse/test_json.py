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


def test_long_objects_have_headings() -> None:
    """What is long in an object comes under its key, element by element; what is short stays together."""
    value = {"title": "Tides", "unit": "m", "ports": [{"name": f"port {n}", "note": "x" * 300} for n in range(9)]}
    parsed = parse(json.dumps(value).encode(), "a.json")
    assert parsed.title == "Tides"
    assert blocks(parsed)[:2] == [("code", '{\n  "title": "Tides",\n  "unit": "m"\n}'), ("heading", "ports")]
    assert len(parsed.blocks) == 2 + 9


def test_a_notebook_is_its_cells() -> None:
    """Markdown keeps its structure, code and its output are code, pictures and counters are not text."""
    cells = [
        {"cell_type": "markdown", "source": ["# Tides\n", "- high\n"]},
        {"cell_type": "code", "source": "print(1)", "outputs": [
            {"output_type": "stream", "text": ["1\n"]},
            {"output_type": "display_data", "data": {"image/png": "aGk=", "text/plain": "<Figure>"}}]},
    ]  # fmt: skip
    kernel = {"kernelspec": {"language": "python"}}
    parsed = parse(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4}).encode(), "a.ipynb")
    expected = [("heading", "Tides"), ("list_item", "high"), ("code", "print(1)"), ("code", "1"), ("code", "<Figure>")]
    assert blocks(parsed) == expected
    assert (parsed.title, parsed.metadata) == ("Tides", {"programming_language": "python"})


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json_that_is_nested_without_end_is_text(name: str) -> None:
    """A hundred thousand brackets cost a warning; the lines around them are read."""
    deep = b'{"a":' * 100_000 + b'"words"' + b"}" * 100_000 + b'\n{"b": "more"}\n'
    parsed = parse(deep, name)
    assert "words" in parsed.text and "more" in parsed.text and parsed.warnings


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


def test_a_key_that_comes_up_again_loses_nothing() -> None:
    """Of an object that has a key several times every value is read, under numbered keys."""
    objects = b'[{"a": 1, "a": 2, "a (2)": 3, "a": 4}]'
    (text,) = (text for _, text in blocks(parse(objects, "a.json")))
    assert json.loads(text) == {"a": 1, "a (2)": 2, "a (2) (2)": 3, "a (3)": 4}


def test_errors_in_a_notebook_are_read() -> None:
    """What a cell failed with, and what it shows as Markdown, is read as what it printed is."""
    outputs = [
        {"output_type": "error", "ename": "KeyError", "traceback": ["\x1b[31mTraceback\x1b[0m", "KeyError: 1"]},
        {"output_type": "display_data", "data": {"text/html": "<b>x</b>", "text/markdown": ["**x**"]}},
    ]
    notebook = {"nbformat": 4, "cells": [{"cell_type": "code", "source": "f()", "outputs": outputs}]}
    assert [text for _, text in blocks(parse(json.dumps(notebook).encode(), "a.ipynb"))] == [
        "f()",
        "Traceback\nKeyError: 1",
        "**x**",
    ]
