"""The front door: which reader a document gets, and what is said of those that have none."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.parse import FORMATS, _reader, detect_media_type, parse
from tests.pipeline.parse.law import obeys_the_law
from tests.pipeline.parse.packed import tarred, zipped
from tests.pipeline.parse.pages import pdf
from tests.pipeline.parse.word import docx, p, r

PDF = pdf([(50, 700, 10, "hello")])
docx_type = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
EXTENSIONS = [extension for format in FORMATS for extension in format.extensions]
STARTS = st.sampled_from(
    [b"%PDF-1.7\n", b"PK\x03\x04", bytes.fromhex("d0cf11e0a1b11ae1"), b"{\\rtf1", b"<html>", b"\xff\xfe", b""]
)


@settings(deadline=None)  # readers are imported when they are first needed
@given(STARTS, st.binary(max_size=200) | st.text().map(str.encode), st.sampled_from([*EXTENSIONS, "", "xyz"]))
def test_any_bytes_are_parsed_or_rejected_in_words(start: bytes, rest: bytes, extension: str) -> None:
    """Whatever a file holds and however it is named, it is parsed, or rejected with a reason a person understands."""
    try:
        obeys_the_law(parse(start + rest, f"a.{extension}"))
    except Rejected as rejected:
        assert len(str(rejected).split()) > 2
        assert "Error" not in str(rejected) and "Exception" not in str(rejected)


@pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.media_type)
def test_every_format_has_its_reader(format: object) -> None:
    """Each row of the table names a function that is there, and no extension stands in two rows."""
    assert callable(_reader(format))
    assert len(EXTENSIONS) == len(set(EXTENSIONS))


@pytest.mark.parametrize(
    ("data", "uri", "kind"),
    [
        (PDF, "report.docx", "application/pdf"),
        (b"\n\n" + PDF, "noname", "application/pdf"),
        (b"<!-- c -->\n<!DOCTYPE html><p>x", "page", "text/html"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><html><body>x", "page.php", "text/html"),
        (b"# Title\n<html>", "a.md", "text/markdown"),
        (b"<html> in Markdown", "a.md", "text/markdown"),
        (b"a,b\n1,2\n", "https://host.example/x/data.CSV?version=3#part", "text/csv"),
        (b"plain words", "https://host.example/a%2Eb/readme", "text/plain"),
        (b'{"a": 1}', "api/answer", "application/json"),
        (b"plain words", "s3://bucket/2024.05/notes.xyz", "text/plain"),
        ("größer".encode("utf-16"), "notes.txt", "text/plain"),
        (b"2024-05-01 10:00:00 INFO up\n2024-05-01 10:00:01 INFO on\n", "messages.1", "text/x-log"),
        (b"\x89PNG\r\n\x1a\n", "a.txt", "image/png"),
        (bytes(range(256)) * 20, "a.bin", "application/octet-stream"),
        (b"Minutes of the meeting, typed in haste.\n", "minutes.pdf", "text/plain"),
        (b"Minutes of the meeting, typed in haste.\n", "minutes.docx", "text/plain"),
        (PDF, "notes.txt", "application/pdf"),
        (b"A PDF file starts with %PDF-1.7 and ends with a trailer.\n", "notes.txt", "text/plain"),
        (docx(p(r("words"))), "old.doc", docx_type),
        (b"ship,tons,toll\nAnna,212,4\nBee,98,2\nThree Sisters,140,3\n", "tolls.txt", "text/csv"),
        (b"ship\ttons\nAnna\t212\nBee\t98\n", "tolls", "text/tab-separated-values"),
        (b"One, two, three.\nWe went, she said, away.\nHome again.\n", "poem.txt", "text/plain"),
        (b"<!DOCTYPE html><title>Log in</title>", "export.csv", "text/html"),
        (b"MIME-Version: 1.0\nFrom: a@b.example\nSubject: x\n\n<p>hi", "mail.msg", "message/rfc822"),
        (gzip.compress(b"2024-05-01 10:00:00 INFO up\n" * 3), "app.log", "application/gzip"),
        (b"GIF8 is how some pictures begin.", "notes", "text/plain"),
        (b"BZhang wrote this by hand.", "notes", "text/plain"),
        (b'{"a": 1}\n{"a": 2}\n', "export", "application/jsonl"),
        (b"<note><to>Bo</to></note>", "export", "application/xml"),
        (b"<div>a</div>", "export", "text/html"),
        (b"# A\n\nSee [this](b.md).\n\n## C\n\nd\n", "README", "text/markdown"),
        (b"#!/usr/bin/env python3\nprint()\n", "tool", "text/x-source"),
        (b"all:\n\techo\n", "src/Makefile", "text/x-source"),
        (zipped({"word/notes.txt": b"x"}), "a.zip", "application/zip"),
        (zipped({"letter.pdf": PDF}), "a.zip", "application/zip"),
        (tarred({"letter.pdf": PDF}), "a.bin", "application/x-tar"),
        (
            b"From a@b.example Thu Jan  1 00:00:00 1970\nMessage-ID: <1>\nFrom: a\n\nx\n"
            b"\nFrom a@b.example Thu Jan  1 00:00:00 1970\nMessage-ID: <2>\nFrom: a\n\ny\n",
            "box",
            "application/mbox",
        ),
        (b"", "a.pdf", "text/plain"),
    ],
)
def test_content_then_name_then_reading(data: bytes, uri: str, kind: str) -> None:
    """Telling bytes beat the name, a name beats guessing, and what has neither is read: logs, JSON, text."""
    assert detect_media_type(data, uri) == kind


def test_what_the_source_says_is_believed_unless_the_bytes_say_otherwise() -> None:
    """A server's media type beats a missing or wrong name, but not a PDF's own first bytes; vague ones say nothing."""
    assert parse(b"a,b\n1,2\n", "https://host.example/export", "text/csv; charset=utf-8").media_type == "text/csv"
    assert parse(PDF, "https://host.example/export", "text/html").media_type == "application/pdf"
    assert parse(b"just words", "https://host.example/export", "application/pdf").media_type == "text/plain"
    assert parse(b"just words", "https://host.example/export", "image/png").media_type == "text/plain"
    assert parse(b"# A\n\nb", "readme.md", "application/octet-stream").media_type == "text/markdown"
    assert parse(b"# A\n\nb", "readme.md", "text/plain").media_type == "text/markdown"


@pytest.mark.parametrize(
    ("data", "uri", "reason"),
    [
        (b"", "a.pdf", "the file is empty"),
        (b" \r\n\t ", "a.txt", "the file holds only white space"),
        (" \u2003\n".encode("utf-16"), "a.txt", "there is no text in this text file"),
        (b"\0\0\0\0", "a.txt", "binary data"),
        (b"<html><script>x</script></html>", "a.html", "there is no text in this HTML page"),
        (b"\x89PNG\r\n\x1a\n", "a.png", "it is an image"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "a.7z", "it is a 7z archive, which is not unpacked here"),
        (b"Rar!\x1a\x07\x01\0", "a.rar", "it is a RAR archive, which is not unpacked here"),
        (b"\x78\x9f\x3e\x22\0\0", "winmail.dat", "winmail.dat"),
        (b"OggS\0\0", "a.ogg", "it is a recording"),
        (b"PAR1\0\0", "a.parquet", "there is no reader for application/vnd.apache.parquet"),
        (b"PK\x03\x04rubbish", "a.pptx", "the PowerPoint file is damaged"),
        (b"PK\x03\x04rubbish", "a.zip", "the ZIP archive is damaged or incomplete"),
    ],
)
def test_reasons_are_sentences(data: bytes, uri: str, reason: str) -> None:
    """What cannot be read is rejected with its own reason."""
    with pytest.raises(Rejected) as rejected:
        parse(data, uri)
    assert reason in str(rejected.value)


def test_only_our_errors_come_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that fails in a way nobody thought of costs its document only, and names no exception."""

    def fail(data: bytes, uri: str) -> None:
        raise ZeroDivisionError("inner workings")

    monkeypatch.setattr("pipeline.parse.text.plain", fail)
    with pytest.raises(Rejected) as rejected:
        parse(b"words", "a.txt")
    assert str(rejected.value) == "this text file cannot be read: it is damaged, or not what its name says"
    assert isinstance(rejected.value.__cause__, ZeroDivisionError)
