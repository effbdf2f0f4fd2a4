"""What some bytes give away about their kind: first bytes, the insides of containers, markup, layout."""

from __future__ import annotations

import csv
import io
import json
import re
import struct
import zipfile
import zlib
from collections import Counter

from pipeline.errors import Rejected
from pipeline.parse.decode import decode, wide_encoding
from pipeline.parse.ole import SIGNATURE, names_at_root

ZIP = "application/zip"
OLE = "application/x-ole-storage"
ENCRYPTED = "application/encrypted"

_PDF = "application/pdf"
_OOXML = "application/vnd.openxmlformats-officedocument."
# How OLE's directory spells the stream that only this kind of file has.
_OLE_STREAMS = (
    ("EncryptedPackage", ENCRYPTED),
    ("__properties_version1.0", "application/vnd.ms-outlook"),
    ("WordDocument", "application/msword"),
    ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ("Workbook", "application/vnd.ms-excel"),
    ("Book", "application/vnd.ms-excel"),
    ("VisioDocument", "application/vnd.visio"),
    ("HwpSummaryInformation", "application/x-hwp"),
)
_MAGIC = (
    (b"{\\rtf", "application/rtf"),
    (b"\x89PNG\r\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"\x1f\x8b", "application/gzip"),
    (b"\x1f\x9d", "application/x-compress"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"\x04\x22\x4d\x18", "application/x-lz4"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x78\x9f\x3e\x22", "application/vnd.ms-tnef"),
    (b"\x7fELF", "application/x-executable"),
    (b"\xca\xfe\xba\xbe", "application/java-vm"),
    (b"\x1aE\xdf\xa3", "video/webm"),
)
# Words of a text may begin like that as well: these count only before bytes that no text has.
_ASCII_MAGIC = (
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"MSCF", "application/vnd.ms-cab-compressed"),
    (b"!<arch>", "application/x-archive"),
    (b"MZ", "application/x-executable"),
    (b"PAR1", "application/vnd.apache.parquet"),
    (b"SQLite format 3", "application/vnd.sqlite3"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)
# What is in a package, and which kind that makes it, the telling first.
_ZIP_PARTS = (
    ("word/document", f"{_OOXML}wordprocessingml.document"),
    ("ppt/presentation", f"{_OOXML}presentationml.presentation"),
    ("xl/workbook.bin", "application/vnd.ms-excel.sheet.binary"),
    ("xl/workbook", f"{_OOXML}spreadsheetml.sheet"),
    ("visio/document", "application/vnd.ms-visio.drawing"),
    ("Index/Document.iwa", "application/vnd.apple.iwork"),
    ("AndroidManifest.xml", "application/vnd.android.package-archive"),
)
_ZIP_FOLDERS = (("word/", 0), ("ppt/", 1), ("xl/", 3))
_PACKAGE = re.compile(r"application/(?:epub[+]zip|vnd[.]oasis[.]opendocument[.][a-z]+(?:-[a-z]+)*)")
_CONTENT_TYPES = "[Content_Types].xml"
_MOST_UNPACKED = 2 << 30

_COMMENTS = re.compile(r"\A(?:\s+|<\?xml[^>]*\?>|<!--.*?-->)+", re.S)
_HTML = re.compile(r"<!doctype\s+html|<html[\s>]|<head[\s>]|<body[\s>]", re.I)
_FRAGMENT = re.compile(r"<(?:div|p|table|h[1-6]|ul|ol|article|section|main|span|meta|title)(?:\s[^<>]*)?>", re.I)
_ELEMENT = re.compile(r"<([A-Za-z_][\w:.-]*)(?:\s[^<>]*)?>")
_SCRIPT = re.compile(r"#!\s*/\S+|<\?php\b")
_HEADER = re.compile(r"(?:From .*\r?\n)?((?:[!-9;-~]+:.*\r?\n(?:[ \t]+.*\r?\n)*)+)")
_HEADER_NAMES = re.compile(r"^([!-9;-~]+):", re.M)
# What only mail has; a note may well start with "From:" and "To:".
_MAIL_ONLY = {"mime-version", "message-id", "received", "return-path", "delivered-to"}
_MARKDOWN_HEADING = re.compile(r"(?:\A|\n[ \t]*\n)#{1,6} +\S.*(?=\n[ \t]*\n)")
_MARKDOWN_ONLY = re.compile(r"^(?:```|~~~)|\[[^\]\n]{1,200}\]\([^)\s]{1,500}\)|\*\*\S[^*\n]*\*\*|^\|[ :-]*-{3,}", re.M)
# Control characters that texts have no use for: all but tabs, line and page ends, and escapes.
_CONTROL = bytes({*range(32), 127} - {*b"\t\n\r\f\x1b"})
_SENTENCE = re.compile(r"[.!?]\s+\w")


def by_first_bytes(data: bytes) -> str | None:
    """The kind of `data` if it is one that has a mark. Raises Rejected for an office file of over 2 GiB."""
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _of_zip(data)
    if data.startswith(SIGNATURE):
        return _of_compound(data)
    if _is_tar(data):
        return "application/x-tar"
    for start, kind in _MAGIC:
        if data.startswith(start):
            return kind
    if data.startswith(b"BZh") and data[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):  # the second is of an empty file
        return "application/x-bzip2"
    if _is_pdf(data):
        return _PDF
    if is_binary(data):
        for start, kind in _ASCII_MAGIC:
            if data.startswith(start):
                return kind
        if data[4:8] == b"ftyp":
            return "image/heic" if data[8:12] in (b"heic", b"heix", b"mif1", b"avif") else "video/mp4"
        if data.startswith(b"RIFF"):
            return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12], "video/x-msvideo")
    return None


def is_binary(data: bytes) -> bool:
    """Whether `data` is no text in any encoding."""
    sample = _start(data, 4096)
    if not sample:
        return bool(data)
    if sample.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")) or wide_encoding(data):
        return False
    return len(sample) - len(sample.translate(None, _CONTROL)) > 0.1 * len(sample)


def by_markup(data: bytes, extension: str) -> str | None:
    """HTML, XML, mail and scripts by how they start, unless the name says that it is a text about such."""
    text = decode(_start(data, 8192))[0]
    if extension in ("md", "markdown", "mdown", "mkd"):
        return None
    start = _COMMENTS.sub("", text[:4096])
    if _HTML.match(start):
        return "text/html"
    if extension in ("csv", "tsv", "json", "jsonl", "ndjson", "log"):
        return None
    if text.lstrip().startswith("<?xml"):
        return "text/html" if _HTML.search(text[:2048]) else "application/xml"
    if _SCRIPT.match(text.lstrip("\ufeff")):
        return "text/x-source"
    header = _HEADER.match(text)
    if header:
        names = {name.lower() for name in _HEADER_NAMES.findall(header.group(1))}
        if names & _MAIL_ONLY and names & {"from", "subject", "date", "to"}:
            from pipeline.parse.email import is_mailbox

            return "application/mbox" if extension != "eml" and is_mailbox(data) else "message/rfc822"
    return None


def by_layout(sample: str) -> str | None:
    """The kind of a text that nothing says anything of, by what its first 64 KiB look like; None for plain text."""
    whole = len(sample) < 65536
    text = sample.strip("\ufeff \t\r\n\f")
    lines = [line for line in text.split("\n", 51)[:50] if line.strip()]
    if re.match(r"\{\s*[\"}]|\[\s*[\[{\"\]\d-]", text):
        if len(lines) > 1 and all(map(_is_json, lines if whole else lines[:-1])):
            return "application/jsonl"
        if re.search(r"[}\]]\Z", text) or not whole:
            return "application/json"
    if (element := _ELEMENT.match(_COMMENTS.sub("", text))) and (not whole or text.endswith(">")):
        if _FRAGMENT.match(text):
            return "text/html"
        if not whole or text.endswith(f"</{element.group(1)}>"):
            return "application/xml"
    if len(_MARKDOWN_HEADING.findall(text)) > 1 and _MARKDOWN_ONLY.search(text):
        return "text/markdown"
    return _of_table(text if whole else text[: text.rfind("\n") + 1])


def sample_of(data: bytes) -> str:
    """The first 64 KiB, as text."""
    return decode(_start(data, 65536))[0]


def _of_zip(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            members = package.infolist()
            names = [member.filename for member in members]
            if "mimetype" in names and package.getinfo("mimetype").file_size < 256:
                kind = package.read("mimetype").decode("ascii", "replace").strip().removesuffix("-template")
                if _PACKAGE.fullmatch(kind):
                    return _bounded(kind, members)
    except (zipfile.BadZipFile, zlib.error, struct.error, OSError, RuntimeError, ValueError, EOFError):
        return ZIP  # damaged: its name may say what it was meant to be
    for part, kind in _ZIP_PARTS:
        if any(name.startswith(part) for name in names):
            return _bounded(kind, members)
    for folder, number in _ZIP_FOLDERS:
        if _CONTENT_TYPES in names and any(name.startswith(folder) for name in names):
            return _bounded(_ZIP_PARTS[number][1], members)
    return ZIP


def _bounded(kind: str, members: list[zipfile.ZipInfo]) -> str:
    if sum(member.file_size for member in members) > _MOST_UNPACKED:
        raise Rejected("it unpacks to more than 2 GiB, which no document needs: it may be a trap")
    return kind


def _of_compound(data: bytes) -> str:
    names = names_at_root(data)
    for name, kind in _OLE_STREAMS:
        # One whose directory is damaged still has the names in it somewhere.
        if any(found.lstrip("\x05") == name for found in names) if names else name.encode("utf-16-le") in data:
            return kind
    return OLE


def _is_tar(data: bytes) -> bool:
    """Whether `data` begins with the header of a file in a TAR archive: its checksum is right."""
    if len(data) < 512 or not data[0]:
        return False
    try:
        said = int(data[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    return said == sum(data[:148]) + 8 * 32 + sum(data[156:512])


def _is_pdf(data: bytes) -> bool:
    at = data[:1024].find(b"%PDF-")
    # Some begin with what a printer or a server said; others are texts about such files.
    return at >= 0 and (not data[:at].strip(b"\xef\xbb\xbf\0\r\n\t ") or b"endobj" in data or b"startxref" in data)


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False


def _of_table(text: str) -> str | None:
    """A table if nearly all of its first rows have the same number of cells, and their cells are no sentences."""
    for delimiter, kind in (
        ("\t", "text/tab-separated-values"),
        (";", "text/csv"),
        (",", "text/csv"),
        ("|", "text/csv"),
    ):
        rows = [row for row in _rows(text, delimiter) if any(cell.strip() for cell in row)]
        if len(rows) < 3:
            continue
        cells, count = Counter(map(len, rows)).most_common(1)[0]
        sentences = sum(bool(_SENTENCE.search(cell)) for row in rows for cell in row)
        long = sum(len(cell) for row in rows for cell in row) > 60 * sum(map(len, rows))
        if (
            cells >= (3 if delimiter == "," else 2)
            and count >= 0.95 * len(rows)
            and not long
            and sentences <= 0.1 * len(rows)
        ):
            return kind
    return None


def _rows(text: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, skipinitialspace=True)
    try:
        return [row for _, row in zip(range(50), reader, strict=False)]
    except csv.Error:
        return []


def _start(data: bytes, size: int) -> bytes:
    """The first bytes that tell something: a log that was cut while it was written begins with a hole, all zeros."""
    return data.lstrip(b"\0")[:size] if data[:64] == bytes(64) else data[:size]
