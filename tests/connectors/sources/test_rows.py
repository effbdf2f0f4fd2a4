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
    "d1": b'{"metadata":{"_id":"d1","year":1999},"text":"One","title":"T"}',
    "7": b'{"metadata":{"id":7},"text":"Two","title":""}',
    "line=4": b'{"metadata":{},"text":"no id","title":""}',
}


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
    (before,) = listed(tmp_path, '{"id": 1, "text": "a", "title": "t"}')
    (same,) = listed(tmp_path, '{"title":"t",   "text":"a","id":1}')
    (after,) = listed(tmp_path, '{"id": 1, "text": "b", "title": "t"}')
    assert before == same and before.media_type == ROW
    assert before.size == after.size and before.version != after.version


@pytest.mark.parametrize(
    "line",
    [b"not json", b'{"text": "cut', b"[1, 2]", b'"text"', b"\xff\xfe\x00", b"[" * 100_000, b'{"text": 1' + b"1" * 5000],
)
def test_what_is_no_row_is_kept_as_it_is(tmp_path: Path, line: bytes) -> None:
    first, broken, last = listed(tmp_path, '{"id": 1, "text": "a"}', line, '{"id": 2, "text": "b"}')
    assert broken.uri.endswith("#line=2") and broken.media_type == ROW
    assert (broken.content or b"").strip() == line
    assert first.uri.endswith("#1") and last.uri.endswith("#2")


@pytest.mark.parametrize(
    "row", ['{"id": 1}', '{"id": 1, "text": null}', '{"id": 1, "text": ""}', '{"id": 1, "text": 5}']
)
def test_a_row_without_text_is_listed_all_the_same(tmp_path: Path, row: str) -> None:
    (item,) = listed(tmp_path, row)
    assert json.loads(item.content or b"")["text"] == json.loads(row).get("text")


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
    assert json.loads(spread.content or b"")["metadata"] == {"id": 1, "lang": "en", "year": 2}
    assert json.loads(kept.content or b"")["metadata"] == {"id": 2, "metadata": {"year": 1}, "year": 2}


def test_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    (item,) = listed(tmp_path, '{"id": 1, "text": "a", "x": NaN, "y": [Infinity, 1e999, 1.5]}')
    assert json.loads(item.content or b"")["metadata"] == {"id": 1, "x": None, "y": [None, None, 1.5]}


def test_half_a_character_does_no_harm_here(tmp_path: Path) -> None:
    (item,) = listed(tmp_path, '{"id": "\\ud800", "text": "a\\ud800"}')
    assert item.uri.endswith("#%ED%A0%80") and json.loads(item.content or b"")["text"] == "a\ud800"


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
