"""What the settings say of documents by where they lie: metadata for their payloads, and which a backfill takes."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import unquote

from pipeline.config import MetadataRule
from pipeline.ports import Source
from pipeline.types import Item


def matches(uri: str, pattern: str) -> bool:
    """Whether a shell pattern fits a document's URI, or the end of it from some '/' on.

    `*` crosses folders: `hr/*` fits everything below any folder `hr`, `*.pdf` every PDF. Case counts.
    """
    plain = unquote(uri)
    return fnmatch.fnmatchcase(plain, pattern) or fnmatch.fnmatchcase(plain, f"*/{pattern}")


class Annotated:
    """A source whose items also carry what the rules say of them; of two rules for one key, the later one holds."""

    def __init__(self, source: Source, rules: Sequence[MetadataRule]) -> None:
        self.name = source.name
        self._source = source
        self._rules = rules

    def list(self) -> Iterator[Item]:
        """What the source lists, annotated."""
        for item in self._source.list():
            found = dict(item.metadata)
            for rule in self._rules:
                if matches(item.uri, rule.match):
                    found.update(rule.set)
            yield replace(item, metadata=found)

    def read(self, item: Item, limit: int | None = None) -> bytes:
        """As the source does."""
        return self._source.read(item, limit)

    def covers(self, uri: str) -> bool:
        """As the source does."""
        return self._source.covers(uri)


def annotate(source: Source, rules: Sequence[MetadataRule]) -> Source:
    """`source`, with the rules' metadata; itself if there are none."""
    return Annotated(source, rules) if rules else source
