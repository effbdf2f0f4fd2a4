"""Bytes of any kind in, text with structure out.

`parse` is all that the pipeline calls. A parser is a function `(data, uri) -> Parsed` in a module of its own, named in
the table `media.FORMATS` and imported when the first document of its kind arrives.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable

from pipeline.errors import CorpusvecError, MissingExtra, Rejected
from pipeline.parse.media import ENCRYPTED, FORMATS, READERS, Format, detect_media_type, media_type_of
from pipeline.types import Parsed

__all__ = ["FORMATS", "PARSE_VERSION", "Format", "detect_media_type", "parse"]

#: Part of the parse fingerprint: raised whenever a parser makes other text or other blocks of the same bytes.
PARSE_VERSION = 1

_ARCHIVES = {
    "application/zip", "application/gzip", "application/x-bzip2", "application/x-xz", "application/zstd",
    "application/x-7z-compressed", "application/vnd.rar",
}  # fmt: skip

_log = logging.getLogger(__name__)


def parse(data: bytes, uri: str, media_type: str | None = None) -> Parsed:
    """The text and structure of `data`; offsets are characters of its text, which is never blank.

    `media_type` is what the source says; content that shows otherwise wins. Raises Rejected, whose text is the reason
    in words: empty, damaged, encrypted, of a kind we cannot read, or in need of something that is not installed.
    """
    if not data:
        raise Rejected("the file is empty")
    kind = media_type_of(data, uri, media_type)
    known = READERS.get(kind)
    if known is None:
        raise Rejected(_why_not(kind))
    try:
        parsed = _reader(known)(data, uri)
    except MissingExtra as error:
        # It costs every document of this kind, but no other document: a corpus is not stopped by it.
        raise Rejected(str(error)) from error
    except CorpusvecError:
        raise
    except MemoryError as error:
        raise Rejected(f"there is not enough memory to read this {known.name}") from error
    except Exception as error:
        _log.debug("%s: no %s after all", uri, known.name, exc_info=True)
        raise Rejected(f"this {known.name} cannot be read: it is damaged, or not what its name says") from error
    if not parsed.blocks:
        blank = data.isspace() or not data.replace(b"\0", b"").strip()
        raise Rejected("the file holds only white space" if blank else f"there is no text in this {known.name}")
    return parsed


def _reader(known: Format) -> Callable[[bytes, str], Parsed]:
    module, _, function = known.reader.partition(":")
    reader: Callable[[bytes, str], Parsed] = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return reader


def _why_not(kind: str) -> str:
    if kind == ENCRYPTED:
        return "encrypted: a password is needed"
    if kind.startswith("image/"):
        return f"it is an image ({kind}): its text, if any, needs OCR"
    if kind.startswith(("audio/", "video/")):
        return f"it is a recording ({kind}), which needs transcription"
    if kind in _ARCHIVES:
        return f"it is an archive ({kind}): unpack it and ingest what is inside"
    if kind == "application/octet-stream":
        return "binary data of a kind that we do not know, with no text to read"
    return f"there is no reader for {kind}"
