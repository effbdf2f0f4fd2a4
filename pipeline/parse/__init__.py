"""Bytes of any kind in, text with structure out.

`parse` is all that the pipeline calls. A parser is a function `(data, uri) -> Parsed` in a module of its own, named in
the table `media.FORMATS` and imported when the first document of its kind arrives.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from dataclasses import replace

from pipeline.errors import CorpusvecError, MissingExtra, Rejected
from pipeline.parse.language import detect_language
from pipeline.parse.media import ENCRYPTED, FORMATS, READERS, Format, detect_media_type, media_type_of
from pipeline.types import Parsed

__all__ = ["FORMATS", "PARSE_VERSION", "Format", "detect_media_type", "parse"]

#: Part of the parse fingerprint: raised whenever a parser makes other text or other blocks of the same bytes.
PARSE_VERSION = 4

_ARCHIVES = {
    "application/x-7z-compressed": "7z archive", "application/vnd.rar": "RAR archive",
    "application/vnd.ms-cab-compressed": "cabinet file", "application/x-archive": "archive of ar",
    "application/x-compress": "file of compress (.Z)", "application/x-lz4": "LZ4 file",
}  # fmt: skip
_OTHERS = {
    "application/x-executable": "a program",
    "application/java-vm": "a compiled program",
    "application/vnd.ms-tnef": "Outlook's private attachment format (winmail.dat)",
    "application/x-ole-storage": "a compound file of a program that we do not know",
    "application/vnd.apple.iwork": "a document of Apple's iWork",
    "application/vnd.ms-excel.sheet.binary": "a binary Excel workbook (xlsb)",
    "application/vnd.visio": "a Visio drawing",
    "application/vnd.ms-visio.drawing": "a Visio drawing",
    "application/x-hwp": "a Hangul document",
}

_log = logging.getLogger(__name__)


def parse(data: bytes, uri: str, media_type: str | None = None) -> Parsed:
    """The text and structure of `data`; offsets are characters of its text, never blank unless there are `members`.

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
    except RecursionError as error:
        raise Rejected(f"this {known.name} is nested so deeply that it cannot be read: it may be a trap") from error
    except MemoryError as error:
        raise Rejected(f"there is not enough memory to read this {known.name}") from error
    except Exception as error:
        _log.debug("%s: no %s after all", uri, known.name, exc_info=True)
        raise Rejected(f"this {known.name} cannot be read: it is damaged, or not what its name says") from error
    if not parsed.blocks and not parsed.members:
        if known.name.endswith("archive"):
            raise Rejected(f"there is no file in this {known.name}")
        blank = data.isspace() or not data.replace(b"\0", b"").strip()
        why = f" that can be read: {parsed.warnings[0]}" if parsed.warnings else ""
        raise Rejected("the file holds only white space" if blank else f"there is no text in this {known.name}{why}")
    return parsed if parsed.language else replace(parsed, language=detect_language(parsed))


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
        return f"it is a {_ARCHIVES[kind]}, which is not unpacked here: unpack it, or pack it as ZIP or TAR"
    if kind in _OTHERS:
        return f"it is {_OTHERS[kind]}, for which there is no reader: if it is a document, save it as PDF"
    if kind == "application/octet-stream":
        return "binary data of a kind that we do not know, with no text to read"
    return f"there is no reader for {kind}"
