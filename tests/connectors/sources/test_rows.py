"""JSON Lines: one row, one document."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path
from urllib.parse import quote

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sources import open_source, rows
from connectors.sources.rows import ROW, make_row
from pipeline.errors import Rejected, SourceError, UsageError
from pipeline.types import Item
from tests.connectors.sources.contract import Case, SourceContract

LINES = b"""{"_id": "d1", "text": "One", "title": "T", "year": 1999}
{"id": 7, "text": "Two"}

{"text": "no id"}
"""
CONTENTS = {
    "d1": b'{"text":"One","title":"T"}',
    "7": b'{"text":"Two","title":""}',
    "line=4": b'{"text":"no id","title":""}',
}
METADATA = [{"_id": "d1", "year": 1999}, {"id": 7}, {}]


def write(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return "file://" + quote(str(path))


def listed(tmp_path: Path, *lines: str | bytes) -> list[Item]:
    data = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    write(tmp_path / "x.jsonl", data)
    return list(open_source(f"jsonl:{tmp_path}/x.jsonl").list())


class TestAFile(SourceContract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> Case:
        uri = write(tmp_path / "my rows.jsonl", LINES)
        return Case(
            open_source(f"jsonl:{tmp_path}/my rows.jsonl"),
            {f"{uri}#{fragment}": content for fragment, content in CONTENTS.items()},
            f"{uri}#gone",
            (uri, f"{uri}#", f"{uri}2#d1"),
        )


class TestACompressedFile(SourceContract):
    @pytest.fixture(params=[("gz", gzip.compress), ("bz2", bz2.compress)], ids=["gz", "bz2"])
    def case(self, tmp_path: Path, request: pytest.FixtureRequest) -> Case:
        suffix, compress = request.param
        uri = write(tmp_path / f"x.jsonl.{suffix}", compress(LINES))
        contents = {f"{uri}#{fragment}": content for fragment, content in CONTENTS.items()}
        return Case(open_source(f"jsonl:{tmp_path}/x.jsonl.{suffix}"), contents, f"{uri}#gone", ())


class TestAFolder(SourceContract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> Case:
        uris = [write(tmp_path / "all" / name, LINES) for name in ("a.jsonl", "b/c.jsonl")]
        contents = {f"{uri}#{fragment}": content for uri in uris for fragment, content in CONTENTS.items()}
        return Case(open_source(f"jsonl:{tmp_path}/all/**/*.jsonl"), contents, f"{uris[0]}c.jsonl#1", (uris[0],))


class TestAUrl(SourceContract):
    @pytest.fixture
    def case(self) -> Case:
        fsspec.filesystem("memory").pipe("/rows/x.jsonl", LINES)
        uri = "memory:///rows/x.jsonl"
        contents = {f"{uri}#{fragment}": content for fragment, content in CONTENTS.items()}
        return Case(open_source("jsonl:memory://rows/x.jsonl"), contents, f"{uri}#gone", (uri,))


def test_a_row_says_what_it_is_and_which_version(tmp_path: Path) -> None:
    """Two spellings of a row are one version of it; another text is another."""
    (before,) = listed(tmp_path, '{"id": 1, "text": "a", "title": "t"}')
    (same,) = listed(tmp_path, '{"title":"t",   "text":"a","id":1}')
    (after,) = listed(tmp_path, '{"id": 1, "text": "b", "title": "t"}')
    assert before == same and before.media_type == ROW
    assert before.size == after.size and before.version != after.version


def test_all_columns_but_text_and_title_are_metadata(tmp_path: Path) -> None:
    """A row's other columns are the item's metadata, its id among them."""
    assert [item.metadata for item in listed(tmp_path, LINES)] == METADATA


def test_a_change_of_metadata_alone_is_another_version_of_the_same_content(tmp_path: Path) -> None:
    """Whoever compares contents sees that the text is as it was; whoever compares versions, that something changed."""
    before, same, after = (
        listed(tmp_path, f'{{"id": 1, "text": "a", "tags": {tags}}}')[0] for tags in ('["x", "y"]', '["x","y"]', "[]")
    )
    assert before == same
    assert before.content == after.content and before.size == after.size
    assert before.version != after.version
    assert (before.metadata, after.metadata) == ({"id": 1, "tags": ["x", "y"]}, {"id": 1})


@given(st.lists(st.tuples(st.text(max_size=2), st.dictionaries(st.sampled_from("ab"), st.integers(0, 2))), min_size=2))
def test_versions_tell_apart_what_contents_and_metadata_do(rows_: list[tuple[str, dict[str, int]]]) -> None:
    """Two rows have one version exactly if they have one content and one metadata."""
    made = [make_row({"text": text, **rest}, "line 1") for text, rest in rows_]
    versions = [item.version for row in made for item in rows.items("x", lambda row=row: iter([row]))]  # type: ignore[misc]
    for one, first in zip(made, versions, strict=True):
        for other, second in zip(made, versions, strict=True):
            assert (first == second) == ((one.content, one.metadata) == (other.content, other.metadata))


def test_metadata_are_cleaned_and_empty_ones_left_out(tmp_path: Path) -> None:
    """What shows nothing is no metadata; control characters and white space around a value are none of it."""
    (item,) = listed(
        tmp_path, '{"id": 1, "text": "a", "x": null, "y": " \\u0007z\\n", "e": "", "l": [], "o": {}, "f": 0}'
    )
    assert item.metadata == {"id": 1, "y": "z", "f": 0}


@pytest.mark.parametrize(
    "line",
    [b"not json", b'{"text": "cut', b"[1, 2]", b'"text"', b"\xff\xfe\x00", b"[" * 100_000, b'{"text": 1' + b"1" * 5000],
)
def test_what_is_no_row_is_kept_as_it_is(tmp_path: Path, line: bytes) -> None:
    first, broken, last = listed(tmp_path, '{"id": 1, "text": "a"}', line, '{"id": 2, "text": "b"}')
    assert broken.uri.endswith("#line=2") and broken.media_type == ROW
    assert (broken.content or b"").strip() == line and broken.metadata == {}
    assert first.uri.endswith("#1") and last.uri.endswith("#2")


@pytest.mark.parametrize(
    "row", ['{"id": 1}', '{"id": 1, "text": null}', '{"id": 1, "text": ""}', '{"id": 1, "text": 5}']
)
def test_a_row_without_text_is_listed_all_the_same(tmp_path: Path, row: str) -> None:
    (item,) = listed(tmp_path, row)
    assert json.loads(item.content or b"")["text"] == json.loads(row).get("text")
    assert item.metadata == {"id": 1}


@pytest.mark.parametrize("unusable", ["null", "true", '""', "1.5", "[1]", "{}"])
def test_an_id_that_names_nothing_gives_way_to_the_line_number(tmp_path: Path, unusable: str) -> None:
    (item,) = listed(tmp_path, f'{{"id": {unusable}, "text": "a"}}')
    assert item.uri.endswith("#line=1")


def test_an_id_may_be_any_text_and_never_looks_like_a_line_number(tmp_path: Path) -> None:
    ids = ["line=5", "a/b#c d", "\u00e9", "%41", "A"]
    items = listed(tmp_path, *(json.dumps({"id": i, "text": "x"}) for i in ids), '{"text": "y"}', "broken")
    fragments = [item.uri.rpartition("#")[2] for item in items]
    assert fragments == ["line%3D5", "a%2Fb%23c%20d", "%C3%A9", "%2541", "A", "line=6", "line=7"]


@given(st.text(min_size=1))
def test_an_id_is_in_the_uri_once_and_whole(name: str) -> None:
    row = make_row({"id": name, "text": "x"}, "line 1")
    assert row.fragment.isascii() and not set("#/= ") & set(row.fragment)


def test_two_rows_with_one_id_are_refused_by_name_and_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"have the id d1: line 1 and line 3"):
        listed(tmp_path, '{"id": "d1", "text": "a"}', '{"id": "d2", "text": "a"}', '{"_id": "d1", "text": "b"}')


def test_ids_that_only_hash_alike_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "hash", lambda _: 1, raising=False)
    assert len(listed(tmp_path, '{"id": 1, "text": "a"}', '{"id": 2, "text": "a"}')) == 2


def test_a_metadata_object_is_spread_unless_it_would_overwrite(tmp_path: Path) -> None:
    spread, kept = listed(
        tmp_path,
        '{"id": 1, "text": "a", "metadata": {"lang": "en"}, "year": 2}',
        '{"id": 2, "text": "a", "metadata": {"year": 1}, "year": 2}',
    )
    assert spread.metadata == {"id": 1, "lang": "en", "year": 2}
    assert kept.metadata == {"id": 2, "metadata": {"year": 1}, "year": 2}


def test_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    (item,) = listed(tmp_path, '{"id": 1, "text": "a", "x": NaN, "y": [Infinity, 1e999, 1.5]}')
    assert item.metadata == {"id": 1, "y": [None, None, 1.5]}


def test_integers_that_databases_lack_are_words(tmp_path: Path) -> None:
    """An integer over 64 bits keeps its digits; one below stays a number."""
    (item,) = listed(tmp_path, f'{{"id": 1, "text": "a", "x": {2**64}, "y": {2**64 - 1}, "z": {-(2**63) - 1}}}')
    assert item.metadata == {"id": 1, "x": str(2**64), "y": 2**64 - 1, "z": str(-(2**63) - 1)}


def test_metadata_have_a_bottom(tmp_path: Path) -> None:
    """What is nested deeper than any database holds becomes a word, and its row is as good as another."""
    deep = '{"a":' * 200 + "1" + "}" * 200
    (item,) = listed(tmp_path, f'{{"id": 1, "text": "a", "x": {deep}}}')
    value, levels = item.metadata["x"], 0
    while isinstance(value, dict):
        value, levels = value["a"], levels + 1
    assert (value, levels) == ("<dict>", 31)


def test_half_a_character_does_no_harm_here(tmp_path: Path) -> None:
    """Half a character can be in an id and a text, and becomes a whole one in metadata, which nobody reads again."""
    (item,) = listed(tmp_path, '{"id": "\\ud800", "text": "a\\ud800", "\\udfff": [{"\\ud800": "\\ud83c\\udf89"}]}')
    assert item.uri.endswith("#%ED%A0%80") and json.loads(item.content or b"")["text"] == "a\ud800"
    assert item.metadata == {"id": "\ufffd", "?": [{"?": "\N{PARTY POPPER}"}]}


def test_a_line_that_is_too_long_is_rejected_and_the_rest_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_LINE", 100)
    edge = '{"id": 1, "text": "' + "x" * (100 - 21) + '"}'
    assert len(edge) == 100
    items = listed(tmp_path, edge, "y" * 101, "z" * 500, '{"id": 2, "text": "b"}', edge.replace("1", "3", 1))
    assert [item.uri.rpartition("#")[2] for item in items] == ["1", "line=2", "line=3", "2", "3"]
    source = open_source(f"jsonl:{tmp_path}/x.jsonl")
    with pytest.raises(Rejected, match="over the 100"):
        source.read(items[2])


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (item,) = listed(tmp_path, b'\xef\xbb\xbf{"id": 1, "text": "a"}')
    assert item.uri.endswith("#1")


def test_a_file_that_breaks_off_is_an_incomplete_listing(tmp_path: Path) -> None:
    lines = b"".join(b'{"id": %d, "text": "%d"}\n' % (n, n * n) for n in range(10_000))
    write(tmp_path / "x.jsonl.gz", gzip.compress(lines)[:-5000])
    with pytest.raises(SourceError, match=r"x\.jsonl\.gz cannot be read after line [1-9]"):
        list(open_source(f"jsonl:{tmp_path}/x.jsonl.gz").list())


def test_a_file_that_is_gone_is_an_incomplete_listing(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").symlink_to("gone")
    with pytest.raises(SourceError, match="gone, or a link to nowhere"):
        list(open_source(f"jsonl:{tmp_path}").list())


def test_a_wrong_path_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file or folder"):
        open_source(f"jsonl:{tmp_path}/nope.jsonl")


def test_rows_are_streamed(tmp_path: Path) -> None:
    write(tmp_path / "x.jsonl", b'{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}\n')
    listing = open_source(f"jsonl:{tmp_path}/x.jsonl").list()
    assert next(listing).uri.endswith("#1")  # the second row's trouble has not been met yet
