"""What kind of document some bytes are, and which function reads that kind."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from pipeline.errors import Rejected
from pipeline.parse.decode import decode, wide_encoding


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of document. `reader` is `module:function` in this package; `name` is what people call it."""

    media_type: str
    name: str
    reader: str
    extensions: Sequence[str] = ()


_OOXML = "application/vnd.openxmlformats-officedocument."
_ODF = "application/vnd.oasis.opendocument."

PLAIN = "text/plain"
LOG = "text/x-log"
ROW = "application/vnd.corpusvec.row+json"
ENCRYPTED = "application/encrypted"

FORMATS = (
    Format("application/pdf", "PDF file", "pdf:parse", ("pdf",)),
    Format(f"{_OOXML}wordprocessingml.document", "Word document", "docx:parse", ("docx", "docm", "dotx", "dotm")),
    Format(f"{_OOXML}presentationml.presentation", "PowerPoint file", "unstructured:pptx", ("pptx", "pptm", "ppsx")),
    Format(f"{_OOXML}spreadsheetml.sheet", "Excel workbook", "unstructured:xlsx", ("xlsx", "xlsm")),
    Format("application/msword", "Word 97-2003 document", "unstructured:doc", ("doc", "dot")),
    Format("application/vnd.ms-powerpoint", "PowerPoint 97-2003 file", "unstructured:ppt", ("ppt", "pps")),
    Format("application/vnd.ms-excel", "Excel 97-2003 workbook", "unstructured:xls", ("xls",)),
    Format("application/vnd.ms-outlook", "Outlook message", "unstructured:msg", ("msg",)),
    Format(f"{_ODF}text", "OpenDocument text", "odf:text", ("odt", "ott")),
    Format(f"{_ODF}spreadsheet", "OpenDocument spreadsheet", "odf:spreadsheet", ("ods",)),
    Format(f"{_ODF}presentation", "OpenDocument presentation", "odf:presentation", ("odp",)),
    Format("application/epub+zip", "EPUB book", "epub:parse", ("epub",)),
    Format("application/rtf", "RTF document", "rtf:parse", ("rtf",)),
    Format("message/rfc822", "e-mail message", "email:parse", ("eml", "mht", "mhtml")),
    Format("text/html", "HTML page", "html:parse", ("html", "htm", "xhtml", "shtml")),
    Format("application/xml", "XML file", "xml:parse", ("xml",)),
    Format("application/json", "JSON file", "json:parse", ("json", "geojson", "ipynb")),
    Format("application/jsonl", "JSON Lines file", "json:lines", ("jsonl", "ndjson")),
    Format(ROW, "row of a data set", "json:row"),
    Format("text/csv", "CSV file", "table:parse", ("csv",)),
    Format("text/tab-separated-values", "TSV file", "table:tabs", ("tsv", "tab")),
    Format("text/markdown", "Markdown file", "text:markdown", ("md", "markdown", "mdown", "mkd")),
    Format("application/gzip", "gzip file", "compressed:parse"),
    Format("application/x-bzip2", "bzip2 file", "compressed:parse"),
    Format("application/x-xz", "xz file", "compressed:parse"),
    Format("application/zstd", "zstd file", "compressed:parse"),
    Format(LOG, "log file", "log:parse", ("log",)),
    Format(PLAIN, "text file", "text:plain", ("txt", "text", "rst", "org", "adoc", "tex")),
)  # fmt: skip

READERS = {format.media_type: format for format in FORMATS}
_BY_EXTENSION = {extension: format.media_type for format in FORMATS for extension in format.extensions}
_SYNONYMS = {
    "application/x-pdf": "application/pdf",
    "application/xhtml+xml": "text/html",
    "application/x-ndjson": "application/jsonl",
    "application/ndjson": "application/jsonl",
    "application/csv": "text/csv",
    "text/json": "application/json",
    "text/x-markdown": "text/markdown",
    "text/rtf": "application/rtf",
    "text/xml": "application/xml",
}

# Said of anything by servers and tables that do not know better: as good as nothing.
_VAGUE = {PLAIN, "application/octet-stream", "binary/octet-stream", "application/zip", "application/x-ole-storage"}

# What is said of logs that are called anything.txt, or that are JSON.
_MAY_BE_LOG = {PLAIN, "application/json", "application/jsonl"}

_ZIP = b"PK\x03\x04"
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
# How OLE's directory spells the stream that only this kind of file has.
_OLE_STREAMS = (
    ("EncryptedPackage", ENCRYPTED),
    ("WordDocument", "application/msword"),
    ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ("Workbook", "application/vnd.ms-excel"),
    ("Book", "application/vnd.ms-excel"),
    ("__substg1.0_", "application/vnd.ms-outlook"),
)
_MAGIC = (
    (b"{\\rtf", "application/rtf"),
    (b"\x89PNG\r\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\x1f\x8b", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
    (b"\x7fELF", "application/x-executable"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
)
_ZIP_FOLDERS = (
    ("word/", f"{_OOXML}wordprocessingml.document"),
    ("ppt/", f"{_OOXML}presentationml.presentation"),
    ("xl/", f"{_OOXML}spreadsheetml.sheet"),
)
_MOST_UNPACKED = 2 << 30

_COMMENTS = re.compile(r"\A(?:\s+|<\?xml[^>]*\?>|<!--.*?-->)+", re.S)
_HTML = re.compile(r"<!doctype\s+html|<html[\s>]|<head[\s>]|<body[\s>]", re.I)
_HEADER = re.compile(r"(?:From .*\r?\n)?((?:[!-9;-~]+:.*\r?\n(?:[ \t]+.*\r?\n)*)+)")
_HEADER_NAMES = re.compile(r"^([!-9;-~]+):", re.M)
# What only mail has; a note may well start with "From:" and "To:".
_MAIL_ONLY = {"mime-version", "message-id", "received", "return-path", "delivered-to"}


def detect_media_type(data: bytes, uri: str) -> str:
    """The media type of `data`: by its content where that is telling, else by the extension of `uri`, else by reading.

    Never fails: "application/octet-stream" is what is neither known nor text. Raises Rejected only for an archive
    that would unpack to more than 2 GiB.
    """
    return _by_content(data, _extension(uri)) or _by_name(uri) or _by_reading(data, uri)


def media_type_of(data: bytes, uri: str, said: str | None) -> str:
    """`detect_media_type`, with what the source `said`: that beats a name, but not bytes that tell otherwise."""
    said = (said or "").partition(";")[0].strip().lower()
    said = _SYNONYMS.get(said, said)
    if said == ROW:
        return ROW
    told = _by_content(data, _extension(uri))
    if told is None and said not in _VAGUE and (said in READERS or said.startswith(("image/", "audio/", "video/"))):
        return said
    return told or _by_name(uri) or _by_reading(data, uri)


def _by_content(data: bytes, extension: str) -> str | None:
    if b"%PDF-" in data[:1024]:
        return "application/pdf"
    if data.startswith(_ZIP):
        return _of_zip(data)
    if data.startswith(_OLE):
        return next((kind for name, kind in _OLE_STREAMS if name.encode("utf-16-le") in data), "application/x-ole")
    for start, kind in _MAGIC:
        if data.startswith(start):
            return kind
    if data[4:8] == b"ftyp":
        return "video/mp4"
    if data.startswith(b"RIFF"):
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12], "video/x-msvideo")
    if _binary(data):
        return "application/octet-stream"
    return _of_markup(decode(_start(data, 8192))[0], extension)


def _of_zip(data: bytes) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            members = package.infolist()
            if sum(member.file_size for member in members) > _MOST_UNPACKED:
                raise Rejected("it unpacks to more than 2 GiB, which no document needs: it may be a trap")
            names = [member.filename for member in members]
            if "mimetype" in names:
                kind = package.read("mimetype").decode("ascii", "replace").strip().removesuffix("-template")
                return kind if kind in READERS else "application/zip"
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError, EOFError):
        return None  # damaged: its name says what it was meant to be
    for folder, kind in _ZIP_FOLDERS:
        if any(name.startswith(folder) for name in names):
            return kind
    return "application/zip"


def _of_markup(text: str, extension: str) -> str | None:
    """HTML and mail by how they start, unless the name says that it is a text about such."""
    if extension in ("md", "markdown", "csv", "tsv", "json", "jsonl", "log"):
        return None
    start = _COMMENTS.sub("", text[:4096])
    if _HTML.match(start):
        return "text/html"
    if text.lstrip().startswith("<?xml"):
        return "text/html" if _HTML.search(text[:2048]) else "application/xml"
    header = _HEADER.match(text)
    if header:
        names = {name.lower() for name in _HEADER_NAMES.findall(header.group(1))}
        if names & _MAIL_ONLY and names & {"from", "subject", "date", "to"}:
            return "message/rfc822"
    return None


def _by_name(uri: str) -> str | None:
    kind = _BY_EXTENSION.get(_extension(uri))
    return None if kind in _MAY_BE_LOG else kind


def _by_reading(data: bytes, uri: str) -> str:
    from pipeline.parse.log import looks_like_log  # a quarter of a second, which not every command has to wait for

    sample = decode(_start(data, 65536))[0]
    if looks_like_log(sample):
        return LOG
    kind = _BY_EXTENSION.get(_extension(uri))
    if kind is not None:
        return kind
    if re.match(r"\s*(?:\{\s*[\"}]|\[\s*[\[{\"\]\d-])", sample) and re.search(r"[}\]]\s*\Z", sample[-64:]):
        return "application/json"
    return PLAIN


def _extension(uri: str) -> str:
    path = urlsplit(uri).path if "://" in uri else uri
    return PurePosixPath(unquote(path)).suffix[1:].lower()


def _start(data: bytes, size: int) -> bytes:
    """The first bytes that tell something: a log that was cut while it was written begins with a hole, all zeros."""
    return data.lstrip(b"\0")[:size] if data[:64] == bytes(64) else data[:size]


def _binary(data: bytes) -> bool:
    sample = _start(data, 4096)
    if not sample:
        return bool(data)
    if sample.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")) or wide_encoding(data):
        return False
    control = sum((byte < 32 and byte not in b"\t\n\r\f\x1b") or byte == 127 for byte in sample)
    return control > 0.1 * len(sample)
