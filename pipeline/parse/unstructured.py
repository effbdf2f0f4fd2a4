"""What we have no reader of our own for, through `unstructured` (the extra `office`): presentations, workbooks, mail.

The package asks a language model, which it downloads from a code host, whether a paragraph is narrative or a title. We
give it a tokenizer instead: nothing is downloaded, every machine reads the same, and no block of ours rests on a guess.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.errors import MissingExtra, Rejected
from pipeline.parse import docx
from pipeline.parse.builder import Builder
from pipeline.parse.html import add_html
from pipeline.types import Parsed

_OOXML = "application/vnd.openxmlformats-officedocument."
_KINDS = {"ListItem": "list_item", "FigureCaption": "caption", "CodeSnippet": "code", "Footer": "footnote"}
_CONVERSION_SECONDS = 180


def pptx(data: bytes, uri: str) -> Parsed:
    """Slides, as pages: titles as headings, then text, lists and tables. Raises Rejected and MissingExtra."""
    return _partition(
        f"{_OOXML}presentationml.presentation", "pptx", "PowerPoint files", data, include_slide_notes=True
    )


def xlsx(data: bytes, uri: str) -> Parsed:
    """Sheets, as pages: each sheet's name as a heading, then its tables. Raises Rejected and MissingExtra."""
    return _partition(f"{_OOXML}spreadsheetml.sheet", "xlsx", "Excel workbooks", data, find_subtable=False)


def xls(data: bytes, uri: str) -> Parsed:
    """The same for workbooks of Excel 97-2003."""
    return _partition("application/vnd.ms-excel", "xlsx", "Excel workbooks", data, find_subtable=False)


def msg(data: bytes, uri: str) -> Parsed:
    """An Outlook message's body. Raises Rejected and MissingExtra."""
    return _partition("application/vnd.ms-outlook", "msg", "Outlook messages", data)


def doc(data: bytes, uri: str) -> Parsed:
    """A Word 97-2003 document, converted by LibreOffice. Raises Rejected, also if that is not installed."""
    return docx.parse(_converted(data, "doc", "docx", "a Word 97-2003 document"), uri)


def ppt(data: bytes, uri: str) -> Parsed:
    """A PowerPoint 97-2003 file, converted by LibreOffice. Raises Rejected, also if that is not installed."""
    return pptx(_converted(data, "ppt", "pptx", "a PowerPoint 97-2003 file"), uri)


def _partition(media_type: str, kind: str, what: str, data: bytes, **options: Any) -> Parsed:
    builder = Builder()
    page: int | None = None
    sheet = ""
    # No language: detecting it costs time, and all it changes is the guesses that we do not use.
    for element in _partitioner(kind, what)(file=io.BytesIO(data), languages=[""], **options):
        metadata = element.metadata
        page = metadata.page_number or page
        if not element.text.strip():
            continue
        if metadata.page_name and metadata.page_name != sheet:
            sheet = metadata.page_name
            builder.add("heading", sheet, level=1, page=page)
        if metadata.text_as_html:
            add_html(builder, metadata.text_as_html, page)
        elif element.category == "Title" and metadata.category_depth == 0:
            builder.add("heading", " ".join(element.text.split()), level=1, page=page)
        elif element.category != "PageBreak":
            block = _KINDS.get(element.category, "paragraph")
            level = (metadata.category_depth or 0) + 1 if block == "list_item" else 0
            builder.add(block, element.text, level=level, page=page)
    return builder.build(media_type)


@cache
def _partitioner(kind: str, what: str) -> Callable[..., Any]:
    os.environ.setdefault("UNSTRUCTURED_DISABLE_NOTICE", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    try:
        import importlib

        import spacy
        from unstructured.nlp import tokenize

        module = importlib.import_module(f"unstructured.partition.{kind}")
    except ImportError as error:
        raise MissingExtra(f"reading {what}", "office") from error

    def tokenizer() -> Any:
        language = spacy.blank("en")
        language.add_pipe("sentencizer")
        return language

    tokenize._load_spacy_model = tokenizer
    partition: Callable[..., Any] = getattr(module, f"partition_{kind}")
    return partition


def _converted(data: bytes, old: str, new: str, what: str) -> bytes:
    office = shutil.which("soffice") or shutil.which("libreoffice")
    if office is None:
        raise Rejected(f"{what} needs LibreOffice to be read, and there is no `soffice` on this machine: install it")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / f"document.{old}"
        source.write_bytes(data)
        # A profile of its own: two LibreOffices that share one wait for each other.
        profile = f"-env:UserInstallation={(Path(folder) / 'profile').as_uri()}"
        command = [office, "--headless", profile, "--convert-to", new, "--outdir", folder, str(source)]
        try:
            subprocess.run(command, capture_output=True, timeout=_CONVERSION_SECONDS, check=True)
            return source.with_suffix(f".{new}").read_bytes()
        except subprocess.TimeoutExpired as error:
            raise Rejected(f"LibreOffice needed more than {_CONVERSION_SECONDS} s for it and was stopped") from error
        except (subprocess.CalledProcessError, OSError) as error:
            raise Rejected("LibreOffice could not convert it: it is damaged or encrypted") from error
