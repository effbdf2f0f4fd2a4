"""Which documents are broken: for each family of formats, whole ones to begin with."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from tests.pipeline.parse.golden import SAMPLES

_CORPORA = Path(__file__).resolve().parents[3] / "shared" / "corpora"
#: Larger ones would make the same faults slower; of what is lines of text, the first will do.
_LARGEST, _LINES = 200_000, 16_000
#: Family → the endings of its files.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "pdf": ("pdf",),
    "docx": ("docx",),
    "office": ("pptx", "xlsx", "odt", "ods", "odp", "epub"),
    "legacy": ("rtf", "xls", "msg"),
    "mail": ("eml", "mbox"),
    "web": ("html", "htm", "xml"),
    "data": ("json", "jsonl", "csv", "tsv"),
    "text": ("md", "txt", "rs", "py"),
    "log": ("log", "1"),
    "packed": ("gz", "bz2", "xz", "zip", "tar"),
}


@cache
def seeds(family: str) -> list[tuple[str, bytes]]:
    """Name and bytes of whole documents of a family, in a stable order."""
    endings = FAMILIES[family]
    made: dict[str, Callable[[], bytes]] = dict(SAMPLES)
    found = [(name, made[name]()) for name in sorted(made) if name.rpartition(".")[2] in endings]
    for path in sorted(_CORPORA.rglob("*")) if _CORPORA.is_dir() else []:
        if path.suffix[1:].lower() in endings and path.is_file():
            found.append((path.name, path.read_bytes()))
    if family == "packed":
        found += _packed()
    if family in ("log", "text"):
        found = [(name, data[:_LINES]) for name, data in found]
    return [(name, data) for name, data in found if 0 < len(data) <= _LARGEST]


def _packed() -> list[tuple[str, bytes]]:
    from tests.pipeline.parse.packed import tarred, zipped

    files = {"letter.txt": SAMPLES["letter.txt"](), "deep/tolls.csv": SAMPLES["tolls.csv"](), "watch.log": b"late\n"}
    log = SAMPLES["watch.log"]()
    return [
        ("watch.log.gz", gzip.compress(log, mtime=0)), ("watch.log.bz2", bz2.compress(log)),
        ("watch.log.xz", lzma.compress(log)), ("all.zip", zipped(files)), ("all.tar", tarred(files)),
        ("all.tgz", gzip.compress(tarred(files), mtime=0)),
        ("twice.zip", zipped({"all.zip": zipped(files), "watch.log.gz": gzip.compress(log, mtime=0)})),
    ]  # fmt: skip
