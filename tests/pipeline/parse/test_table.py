"""CSV and its kin."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parse.table import parse, tabs
from tests.pipeline.parse.law import blocks, obeys_the_law


@given(st.text() | st.lists(st.text('ab1,;\t|"\n\r ', max_size=8)).map("\n".join))
def test_any_text_obeys_the_law(text: str) -> None:
    """Whatever a file called .csv holds, its blocks cover the text."""
    obeys_the_law(parse(text.encode("utf-8", "replace"), "a.csv"))


@given(
    st.lists(
        st.lists(st.text("abc XYZ,;|\"'", min_size=1, max_size=6).map(str.strip), min_size=3, max_size=3), min_size=3
    ),
    st.sampled_from(",;\t|"),
)
def test_no_cell_is_lost(rows: list[list[str]], delimiter: str) -> None:
    """Every cell that a CSV writer wrote is found in its row, whatever the delimiter."""
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["Alpha", "Beta", "Gamma"], *rows])
    lines = [text for _, text in blocks(parse(stream.getvalue().encode(), "a.csv"))][1:]
    kept = [row for row in rows if any(row)]
    assert len(lines) == len(kept)
    for line, row in zip(lines, kept, strict=True):
        assert all(" ".join(cell.split()) in line for cell in row)


def test_each_row_says_its_columns() -> None:
    """A row carries the names of its columns, so that it means something alone; empty cells are left out."""
    parsed = parse(b"Part,Stock,Shelf\nLamp,3,A1\nSeal,,A2\n", "a.csv")
    assert blocks(parsed) == [
        ("table", "Part | Stock | Shelf"),
        ("table", "Part: Lamp | Stock: 3 | Shelf: A1"),
        ("table", "Part: Seal | Shelf: A2"),
    ]
    assert parsed.metadata == {"rows": 2, "columns": ["Part", "Stock", "Shelf"]}


def test_a_title_row_above_the_columns_is_a_row() -> None:
    """Lines above the names of the columns stay lines."""
    parsed = parse(b"Cups,,\nTeam,Town,Cups\nBlues,STL,1\n", "a.csv")
    assert [text for _, text in blocks(parsed)] == ["Cups", "Team | Town | Cups", "Team: Blues | Town: STL | Cups: 1"]


def test_numbers_are_no_names() -> None:
    """A table that starts with numbers has no names of columns."""
    assert [text for _, text in blocks(parse(b"1,2\n3,4\n", "a.csv"))] == ["1 | 2", "3 | 4"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    """Comma, semicolon, tab and bar are told by how evenly they part lines, in spite of commas in the words."""
    rows = [["Name", "Remark", "Price"], ["Lamp", "old, but good", "1.5"], ["Seal", "new", "2.5"]]
    text = "\n".join(delimiter.join(f'"{c}"' if delimiter in c else c for c in row) for row in rows)
    assert blocks(parse(text.encode(), "a.csv"))[1] == ("table", "Name: Lamp | Remark: old, but good | Price: 1.5")


def test_tsv_is_parted_by_tabs_only() -> None:
    """In TSV commas part nothing."""
    assert blocks(tabs(b"a,b\tc\nd,e\tf\n", "a.tsv"))[1] == ("table", "a,b: d,e | c: f")
