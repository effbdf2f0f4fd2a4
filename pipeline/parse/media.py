"""What kind of document some bytes are, and which function reads that kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from pipeline.members import INSIDE
from pipeline.parse import sniff
from pipeline.parse.source import LANGUAGES, NAMES, SOURCE


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
ENCRYPTED = sniff.ENCRYPTED

FORMATS = (
    Format("application/pdf", "PDF file", "pdf:parse", ("pdf",)),
    Format(f"{_OOXML}wordprocessingml.document", "Word document", "docx:parse", ("docx", "docm", "dotx", "dotm")),
    Format(f"{_OOXML}presentationml.presentation", "PowerPoint file", "pptx:parse", ("pptx", "pptm", "ppsx", "potx")),
    Format(f"{_OOXML}spreadsheetml.sheet", "Excel workbook", "xlsx:parse", ("xlsx", "xlsm")),
    Format("application/msword", "Word 97-2003 document", "libreoffice:doc", ("doc", "dot")),
    Format("application/vnd.ms-powerpoint", "PowerPoint 97-2003 file", "libreoffice:ppt", ("ppt", "pps")),
    Format("application/vnd.ms-excel", "Excel 97-2003 workbook", "xls:parse", ("xls",)),
    Format("application/vnd.ms-outlook", "Outlook message", "outlook:parse", ("msg", "oft")),
    Format(f"{_ODF}text", "OpenDocument text", "odf:text", ("odt", "ott")),
    Format(f"{_ODF}spreadsheet", "OpenDocument spreadsheet", "odf:spreadsheet", ("ods",)),
    Format(f"{_ODF}presentation", "OpenDocument presentation", "odf:presentation", ("odp",)),
    Format("application/epub+zip", "EPUB book", "epub:parse", ("epub",)),
    Format("application/rtf", "RTF document", "rtf:parse", ("rtf",)),
    Format("message/rfc822", "e-mail message", "email:parse", ("eml", "mht", "mhtml")),
    Format("application/mbox", "mailbox", "email:mailbox", ("mbox",)),
    Format("text/html", "HTML page", "html:parse", ("html", "htm", "xhtml", "shtml")),
    Format("application/xml", "XML file", "xml:parse", ("xml", "xsd", "xsl", "xslt", "rss", "atom", "rdf", "svg")),
    Format("application/json", "JSON file", "json:parse", ("json", "geojson", "ipynb", "webmanifest")),
    Format("application/jsonl", "JSON Lines file", "json:lines", ("jsonl", "ndjson")),
    Format(ROW, "row of a data set", "json:row"),
    Format("text/csv", "CSV file", "table:parse", ("csv",)),
    Format("text/tab-separated-values", "TSV file", "table:tabs", ("tsv", "tab")),
    Format("text/markdown", "Markdown file", "text:markdown", ("md", "markdown", "mdown", "mkd")),
    Format(SOURCE, "source file", "source:parse", tuple(LANGUAGES)),
    Format("application/zip", "ZIP archive", "archive:parse_zip", ("zip",)),
    Format("application/x-tar", "TAR archive", "archive:parse_tar", ("tar",)),
    Format("application/gzip", "gzip file", "compressed:parse", ("gz", "tgz")),
    Format("application/x-bzip2", "bzip2 file", "compressed:parse", ("bz2", "tbz2")),
    Format("application/x-xz", "xz file", "compressed:parse", ("xz", "txz")),
    Format("application/zstd", "zstd file", "compressed:parse", ("zst", "tzst")),
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
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
    "application/gtar": "application/x-tar",
    "message/global": "message/rfc822",
    "text/x-python": "text/x-source",
    "application/javascript": "text/x-source",
    "text/javascript": "text/x-source",
}

# Said of anything by servers and tables that do not know better: as good as nothing.
_VAGUE = {PLAIN, "application/octet-stream", "binary/octet-stream", "application/zip", "application/x-ole-storage"}

# What is text and carries no mark of its own; a name or a server may be right about these, and only about these, of
# what is text. Everything else is known by its first bytes, or is not what it is called.
_TEXTUAL = {
    "message/rfc822", "application/mbox", "text/html", "application/xml", "application/json", "application/jsonl",
    "text/csv", "text/tab-separated-values", "text/markdown", SOURCE, LOG, PLAIN,
}  # fmt: skip

_TABLES = {"text/csv", "text/tab-separated-values"}

# What tables and logs are called as well: anything.txt, or logs that are JSON.
_MAY_BE_OTHER = {PLAIN, "application/json", "application/jsonl"}


def detect_media_type(data: bytes, uri: str) -> str:
    """The media type of `data`: by its content where that is telling, else by the extension of `uri`, else by reading.

    Never fails: "application/octet-stream" is what is neither known nor text.
    """
    return media_type_of(data, uri, None)


def media_type_of(data: bytes, uri: str, said: str | None) -> str:
    """`detect_media_type`, with what the source `said`: that beats a name, but not bytes that tell otherwise."""
    said = (said or "").partition(";")[0].strip().lower()
    said = _SYNONYMS.get(said, said)
    if said == ROW:
        return ROW
    extension = _extension(uri)
    named = _BY_EXTENSION.get(extension, "") or (SOURCE if _file_name(uri) in NAMES else "")
    if told := sniff.by_first_bytes(data):
        # An archive or a compound file may be too damaged to tell of which kind it is.
        return named if told in (sniff.ZIP, sniff.OLE) and named in READERS and named not in _TEXTUAL else told
    if sniff.is_binary(data):
        believed = said if said not in _VAGUE and _known(said) else named
        return believed if believed and believed not in _TEXTUAL else "application/octet-stream"
    if told := sniff.by_markup(data, extension):
        return told
    if said in _TEXTUAL and said not in _VAGUE:
        return _log_or(said, data)
    if named in _TEXTUAL and named not in _MAY_BE_OTHER:
        return _log_or(named, data)
    return _by_reading(data, named)


def _known(kind: str) -> bool:
    return kind in READERS or kind.startswith(("image/", "audio/", "video/"))


def _log_or(kind: str, data: bytes) -> str:
    """`kind`, unless it is a table whose rows are events."""
    if kind not in _TABLES:
        return kind
    from pipeline.parse.logs import columns_of

    return LOG if columns_of(sniff.sample_of(data)) is not None else kind


def _by_reading(data: bytes, named: str) -> str:
    from pipeline.parse.log import looks_like_log  # a quarter of a second, which not every command has to wait for

    sample = sniff.sample_of(data)
    if looks_like_log(sample):
        return LOG
    if named in _TEXTUAL and named != PLAIN:
        return named
    return sniff.by_layout(sample) or PLAIN


def _extension(uri: str) -> str:
    return PurePosixPath(_file_name(uri)).suffix[1:].lower()


def _file_name(uri: str) -> str:
    path = urlsplit(uri).path if "://" in uri and INSIDE not in uri else uri
    return unquote(path.rpartition(INSIDE)[2]).rpartition("/")[2]
