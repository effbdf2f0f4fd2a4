"""Data sets of the Hugging Face hub, or in its formats on this machine, streamed row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from connectors.sources.rows import Row, items, make_row, read_row
from pipeline.errors import CorpusvecError, MissingExtra, SourceError, UsageError
from pipeline.types import Item

_OPTIONS = ("split", "config", "text", "title")
_BUILDERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv"}


class HuggingFace:
    """One split of a data set. A row without an id goes by its number, from 1.

    `location` is a name on the hub, a folder, or a file of Parquet, JSON or CSV.
    """

    def __init__(self, location: str, config: str | None, split: str, text: str, title: str) -> None:
        self._location = location
        self._config = config
        self._split = split
        self._columns = {"text": text, "title": title}
        self._uri = "hf://" + "/".join(quote(part) for part in (location, config, split) if part)
        options = {"split": split, "config": config, "text": text, "title": title}
        self.name = f"hf:{location}?" + urlencode({key: value for key, value in options.items() if value is not None})

    def list(self) -> Iterator[Item]:
        """Every row, in order. Raises SourceError unless it gets to the end."""
        yield from items(self._uri, self._rows)

    def read(self, item: Item, limit: int | None = None) -> bytes:
        """The row."""
        return read_row(item)

    def covers(self, uri: str) -> bool:
        """Whether `uri` is a row of this split; it need not exist (any more)."""
        data_set, _, fragment = uri.rpartition("#")
        return data_set == self._uri and fragment != ""

    def _rows(self) -> Iterator[Row]:
        number = 0
        try:
            for number, row in enumerate(load(self._location, self._config)[self._split], 1):
                yield make_row(row, f"row {number}", **self._columns)
        except CorpusvecError:
            raise
        except Exception as error:  # the vendor lets its readers' and its network's through
            raise SourceError(f"{self._uri} cannot be read after row {number}: {error}") from error


def load(location: str, config: str | None) -> Mapping[str, Any]:
    """The splits of a data set, streaming. Raises UsageError, MissingExtra or SourceError."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra(f"hf:{location}", "datasets") from error

    path = Path(location)
    try:
        if path.is_file():
            suffix = next((suffix for suffix in path.suffixes[::-1] if suffix in _BUILDERS), None)
            if suffix is None:
                raise UsageError(f"hf:{location} is a file of no known kind: {', '.join(_BUILDERS)} are")
            delimiter = {"sep": "\t"} if suffix == ".tsv" else {}
            found = datasets.load_dataset(_BUILDERS[suffix], data_files=location, streaming=True, **delimiter)
        else:
            found = datasets.load_dataset(location, config, streaming=True)
    except CorpusvecError:
        raise
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(f"cannot open hf:{location}: {error}") from error
    except Exception as error:
        raise SourceError(f"cannot open hf:{location}: {error}") from error
    splits: Mapping[str, Any] = found
    return splits


def open_dataset(spec: str) -> HuggingFace:
    """The data set `NAME_OR_PATH?split=…&config=…&text=…&title=…`. Raises UsageError, MissingExtra or SourceError.

    Without `split` it must have only one. The first row is read, to see that it has the columns.
    """
    location, _, query = spec.partition("?")
    if Path(spec).exists():
        location, query = spec, ""
    options = dict(parse_qsl(query, keep_blank_values=True))
    unknown = options.keys() - set(_OPTIONS)
    if unknown or not location:
        raise UsageError(f"hf:{spec} is not understood: write hf:NAME_OR_PATH, with any of ?{'=…&'.join(_OPTIONS)}=…")
    if Path(location).exists():
        location = str(Path(location).absolute())
    config = options.get("config")
    splits = load(location, config)
    split = options.get("split") or next(iter(splits))
    if split not in splits or ("split" not in options and len(splits) > 1):
        raise UsageError(f"hf:{location} has the splits {', '.join(splits)}: say which with ?split=…")
    text, title = options.get("text", "text"), options.get("title", "title")
    _check(splits[split], location, [text] + [title] * ("title" in options))
    return HuggingFace(location, config, split, text, title)


def _check(rows: Any, location: str, wanted: list[str]) -> None:
    try:
        first: Mapping[str, Any] | None = next(iter(rows), None)
    except Exception as error:
        raise SourceError(f"cannot read hf:{location}: {error}") from error
    for column in wanted:
        if first is not None and column not in first:
            raise UsageError(
                f"hf:{location} has no column {column!r} but {', '.join(first)}: say which to take with ?text=…&title=…"
            )
