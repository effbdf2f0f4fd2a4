"""What every source promises, tested once for all of them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from connectors.sources import open_source
from pipeline.errors import Rejected
from pipeline.ports import Source


@dataclass
class Case:
    """A source, and what is known of it."""

    source: Source
    #: What it must list, and the bytes of each.
    contents: Mapping[str, bytes]
    #: A URI that it would list if it existed, None if there can be no other than those above.
    deleted: str | None
    #: URIs of other places.
    foreign: tuple[str, ...]


#: Covered by no source under test.
ELSEWHERE = ("", "file:///", "file:///nowhere/a.txt", "https://example.org/a.txt", "hf://other/train#1")


class SourceContract:
    """Inherit it and give a fixture `case`."""

    @pytest.fixture
    def case(self) -> Case:
        raise NotImplementedError

    def test_it_lists_everything_once(self, case: Case) -> None:
        uris = [item.uri for item in case.source.list()]
        assert sorted(uris) == sorted(case.contents)

    def test_it_lists_in_the_same_order_each_time(self, case: Case) -> None:
        assert list(case.source.list()) == list(case.source.list())

    def test_what_it_reads_is_what_is_there(self, case: Case) -> None:
        assert {item.uri: case.source.read(item) for item in case.source.list()} == dict(case.contents)

    def test_sizes_it_knows_are_true(self, case: Case) -> None:
        for item in case.source.list():
            assert item.size in (None, len(case.contents[item.uri]))

    def test_what_the_listing_holds_is_what_reading_gives(self, case: Case) -> None:
        for item in case.source.list():
            assert item.content in (None, case.source.read(item))

    def test_metadata_can_be_written_down(self, case: Case) -> None:
        for item in case.source.list():
            text = json.dumps(dict(item.metadata), ensure_ascii=False, allow_nan=False)
            assert json.loads(text.encode("utf-8")) == item.metadata

    def test_it_covers_all_it_lists(self, case: Case) -> None:
        assert all(case.source.covers(item.uri) for item in case.source.list())

    def test_it_covers_what_was_deleted(self, case: Case) -> None:
        assert case.deleted is None or case.source.covers(case.deleted)

    def test_it_covers_nothing_of_others(self, case: Case) -> None:
        assert [uri for uri in (*case.foreign, *ELSEWHERE) if case.source.covers(uri)] == []

    def test_it_goes_to_another_process(self, case: Case) -> None:
        copy = pickle.loads(pickle.dumps(case.source))
        assert copy.name == case.source.name
        assert list(copy.list()) == list(case.source.list())
        assert all(copy.covers(uri) for uri in case.contents)

    def test_its_name_opens_the_same_source(self, case: Case) -> None:
        again = open_source(case.source.name)
        assert again.name == case.source.name
        assert list(again.list()) == list(case.source.list())

    def test_what_is_gone_is_rejected(self, case: Case) -> None:
        if case.deleted is not None and "#" not in case.deleted:
            item = next(iter(case.source.list()))
            with pytest.raises(Rejected, match="gone"):
                case.source.read(type(item)(case.deleted))
