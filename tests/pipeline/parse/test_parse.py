"""The front door: which reader a document gets, and what is said of those that have none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.parse import FORMATS, _reader, detect_media_type, parse
from tests.pipeline.parse.law import obeys_the_law
from tests.pipeline.parse.pages import pdf

PDF = pdf([(50, 700, 10, "hello")])
EXTENSIONS = [extension for format in FORMATS for extension in format.extensions]
STARTS = st.sampled_from(
    [b"%PDF-1.7\n", b"PK\x03\x04", bytes.fromhex("d0cf11e0a1b11ae1"), b"{\\rtf1", b"<html>", b"\xff\xfe", b""]
)


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
        (b"", "a.pdf", "application/pdf"),
    ],
)
def test_content_then_name_then_reading(data: bytes, uri: str, kind: str) -> None:
    """Telling bytes beat the name, a name beats guessing, and what has neither is read: logs, JSON, text."""
    assert detect_media_type(data, uri) == kind


def test_what_the_source_says_is_believed_unless_the_bytes_say_otherwise() -> None:
    """A server's media type beats a missing or wrong name, but not a PDF's own first bytes; vague ones say nothing."""
    assert parse(b"a,b\n1,2\n", "https://host.example/export", "text/csv; charset=utf-8").media_type == "text/csv"
    assert parse(PDF, "https://host.example/export", "text/html").media_type == "application/pdf"
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
        (b"\x1f\x8b\x08\0\0", "a.gz", "it is an archive"),
        (b"OggS\0\0", "a.ogg", "it is a recording"),
        (b"PAR1\0\0", "a.parquet", "there is no reader for application/vnd.apache.parquet"),
        (b"PK\x03\x04rubbish", "a.pptx", "this PowerPoint file cannot be read: it is damaged"),
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
