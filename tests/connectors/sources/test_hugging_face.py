"""Data sets: real files through the real package, and the hub's answers made up, since tests reach no network."""

from __future__ import annotations

import builtins
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.sources import open_source
from pipeline.errors import MissingExtra, SourceError, UsageError
from tests.connectors.sources.contract import Case, SourceContract

datasets = pytest.importorskip("datasets")


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    path = tmp_path / "my set" / "x.parquet"
    path.parent.mkdir()
    table = {
        "id": ["a", None, "c d"],
        "text": ["One", "Two", None],
        "title": ["T", None, ""],
        "n": [1.5, float("nan"), 2],
    }
    pq.write_table(pa.table(table), path)
    return path


def expected(root: str) -> dict[str, bytes]:
    return {
        f"{root}/train#a": b'{"text":"One","title":"T"}',
        f"{root}/train#row=2": b'{"text":"Two","title":""}',
        f"{root}/train#c%20d": b'{"text":null,"title":""}',
    }


class TestAParquetFile(SourceContract):
    @pytest.fixture
    def case(self, parquet: Path) -> Case:
        root = f"hf://{quote(str(parquet))}"
        return Case(open_source(f"hf:{parquet}"), expected(root), f"{root}/train#gone", (f"{root}/test#a", root))


class TestAFolder(SourceContract):
    @pytest.fixture
    def case(self, parquet: Path) -> Case:
        root = f"hf://{quote(str(parquet.parent))}"
        return Case(open_source(f"hf:{parquet.parent}?split=train"), expected(root), f"{root}/train#gone", ())


class TestAJsonFileWithColumnsOfOtherNames(SourceContract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> Case:
        (tmp_path / "x.jsonl").write_text('{"_id": 1, "body": "One", "head": "H", "text": "other"}\n', encoding="utf-8")
        uri = f"hf://{quote(str(tmp_path / 'x.jsonl'))}/train"
        row = b'{"text":"One","title":"H"}'
        return Case(open_source(f"hf:{tmp_path}/x.jsonl?text=body&title=head"), {f"{uri}#1": row}, f"{uri}#2", ())


def test_all_columns_but_text_and_title_are_metadata(parquet: Path) -> None:
    """A row's other columns are the item's metadata, whatever the columns of text and title are called."""
    found = [item.metadata for item in open_source(f"hf:{parquet}").list()]
    assert found == [{"id": "a", "n": 1.5}, {}, {"id": "c d", "n": 2.0}]
    renamed = open_source(f"hf:{parquet}?text=title&title=id")
    assert next(item.metadata for item in renamed.list()) == {"text": "One", "n": 1.5}


def test_values_that_json_lacks_become_words(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"], "day": [date(2026, 1, 2)], "raw": [b"\0\1"]}), tmp_path / "x.parquet")
    (item,) = open_source(f"hf:{tmp_path}/x.parquet").list()
    assert item.metadata == {"day": "2026-01-02", "raw": "<bytes>"}


def test_a_column_that_is_not_there_is_refused(parquet: Path) -> None:
    with pytest.raises(UsageError, match=r"no column 'body' but id, text, title, n"):
        open_source(f"hf:{parquet}?text=body")


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [("hf:", "not understood"), ("hf:x?splits=train", "not understood"), ("hf:{}?split=dev", "has the splits train")],
)
def test_a_wrong_spelling_is_a_sentence(parquet: Path, spec: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        open_source(spec.format(parquet))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pdf").touch()
    with pytest.raises(UsageError, match="no known kind"):
        open_source(f"hf:{tmp_path}/x.pdf")


def test_one_of_several_splits_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"train": [{"text": "a"}], "test": [{"text": "b"}]}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
    with pytest.raises(UsageError, match=r"splits train, test: say which"):
        open_source("hf:org/set")
    (item,) = open_source("hf:org/set?split=test&config=en").list()
    assert item.uri == "hf://org/set/en/test#row=1"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError("no such data set"), UsageError),
        (ValueError("BuilderConfig 'x' not found"), UsageError),
        (ConnectionError("away"), SourceError),
    ],
)
def test_what_the_hub_refuses_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception]
) -> None:
    def load_dataset(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(expected, match=r"hf:org/set.*" + str(error)):
        open_source("hf:org/set")


def test_a_stream_that_breaks_off_is_an_incomplete_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> Any:
        yield {"text": "a"}
        raise ConnectionError("away")

    class Split:
        def __iter__(self) -> Any:
            return rows()

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: {"train": Split()})
    with pytest.raises(SourceError, match=r"hf://org/set/train cannot be read after row 1: away"):
        list(open_source("hf:org/set").list())


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"corpusvec\[datasets\]"):
        open_source("hf:org/set")
