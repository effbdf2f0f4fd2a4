"""Messages."""

from __future__ import annotations

import base64
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Rejected
from pipeline.members import DEEPEST
from pipeline.parse import detect_media_type, parse
from tests.pipeline.parse.law import blocks, obeys_the_law

HEADERS = st.sampled_from(
    ["From: a@b.example", "Subject: =?utf-8?q?caf=C3=A9?=", "Subject: =?nonsense?x?", "Date: yesterday", "To: ,,<", "",
     "Content-Type: text/html", "Content-Type: multipart/mixed; boundary=x", "--x", "--x--", "<p>hi</p>",
     "Content-Transfer-Encoding: base64", "Content-Type: text/plain; charset=hex", "Content-Type: message/rfc822"]
)  # fmt: skip


@given(st.lists(HEADERS | st.text(max_size=20)))
def test_any_message_obeys_the_law(lines: list[str]) -> None:
    """However broken a message is, it is read as far as it goes, or there is a reason in words."""
    data = "\n".join(["MIME-Version: 1.0", *lines]).encode("utf-8", "replace")
    try:
        obeys_the_law(parse(data, "a.eml"))
    except Rejected as rejected:
        assert "cannot be read" not in str(rejected)


def message() -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "Ada <ada@a.example>", "bo@b.example", "Tides of Märch"
    made["Date"] = "Tue, 29 Jul 2025 12:42:06 +0200"
    made.set_content("The plain body.\n\nSecond paragraph.")
    return made


def test_headers_come_before_the_body() -> None:
    """The subject is a heading and the title; who and when is a paragraph and metadata; then comes the text."""
    parsed = parse(bytes(message()), "a.eml")
    assert blocks(parsed) == [
        ("heading", "Tides of Märch"),
        ("paragraph", "From: Ada <ada@a.example>\nTo: bo@b.example\nDate: Tue, 29 Jul 2025 12:42:06 +0200"),
        ("paragraph", "The plain body."),
        ("paragraph", "Second paragraph."),
    ]
    assert parsed.title == "Tides of Märch"
    assert parsed.metadata["date"] == "2025-07-29T12:42:06+02:00"
    assert parsed.metadata["author"] == "Ada <ada@a.example>"


@pytest.mark.parametrize(
    "date",
    ["yesterday", "Tue, 29 Jul 99999999999999999999 12:42:06 +0200", "Tue, 29 Jul 2025 12:42:06 +99999999999999"],
)
def test_a_date_that_is_none_is_kept_as_written(date: str) -> None:
    """A date that nobody can read costs no message."""
    parsed = parse(f"From: a@b.example\nMessage-ID: <1@b.example>\nDate: {date}\n\nHello.\n".encode(), "a.eml")
    assert parsed.metadata["date"] == date
    assert parsed.text.endswith("Hello.")


def test_of_alternatives_one_is_read() -> None:
    """Text is preferred to HTML where both say the same; HTML alone is read as a page."""
    both = message()
    both.add_alternative("<h1>Rich</h1>", subtype="html")
    both.add_attachment(b"\0\1", maintype="image", subtype="png", filename="map.png")
    parsed = parse(bytes(both), "a.eml")
    assert "plain body" in parsed.text and "Rich" not in parsed.text
    assert parsed.metadata["attachments"] == ["map.png"]
    rich = message()
    rich.set_content("<h2>Rich</h2><p>text</p>", subtype="html")
    assert blocks(parse(bytes(rich), "a.eml"))[2:] == [("heading", "Rich"), ("paragraph", "text")]


def test_what_is_attached_is_a_member() -> None:
    """Files and messages that are attached become documents of their own, with name, bytes and kind."""
    outer, inner = message(), message()
    inner.replace_header("Subject", "Inner: tides?")
    outer.add_attachment(b"a,b\n1,2\n", maintype="text", subtype="csv", filename="../größe.csv")
    outer.add_attachment(b"\0\1", maintype="image", subtype="png", filename="map.png")
    outer.add_attachment(b"\0\2", maintype="image", subtype="png", filename="map.png")
    outer.add_attachment(inner)
    parsed = parse(bytes(outer), "a.eml")
    assert [text for kind, text in blocks(parsed) if kind == "heading"] == ["Tides of Märch"]
    names = [member.name for member in parsed.members]
    assert names == ["größe.csv", "map.png", "map (2).png", "Inner tides.eml"] == parsed.metadata["attachments"]
    assert [member.data for member in parsed.members][:3] == [b"a,b\n1,2\n", b"\0\1", b"\0\2"]
    forwarded = parse(parsed.members[3].data, "a.eml!/Inner tides.eml", parsed.members[3].media_type)
    assert (forwarded.title, blocks(forwarded)[-1]) == ("Inner: tides?", ("paragraph", "Second paragraph."))


def test_signatures_and_the_pictures_of_a_page_are_no_members() -> None:
    """A logo that a page shows, and a signature, are named in the metadata and are no documents."""
    page = message()
    page.set_content("<p>Rich <img src='cid:logo'></p>", subtype="html")
    page.add_related(b"\x89PNG", maintype="image", subtype="png", cid="<logo>", filename="logo.png")
    page.add_attachment(b"x", maintype="application", subtype="pkcs7-signature", filename="smime.p7s")
    parsed = parse(bytes(page), "a.eml")
    assert (list(parsed.members), parsed.metadata["left_out"]) == ([], ["logo.png", "smime.p7s"])


def test_a_message_without_words_has_its_members() -> None:
    """A message that is nothing but a file is no failure."""
    bare = EmailMessage()
    bare.add_attachment(b"words", maintype="application", subtype="octet-stream", filename="a.txt")
    parsed = parse(b"Message-ID: <1>\nDate: x\n" + bytes(bare), "noname")
    assert [member.name for member in parsed.members] == ["a.txt"]


def test_messages_too_deep_inside_each_other_are_refused() -> None:
    """The deepest message that may be inside others is read, and what it holds is refused with the reason."""
    nested = message()
    for _ in range(DEEPEST + 1):
        around = message()
        around.add_attachment(nested)
        nested = around
    uri, data = "a.eml", bytes(nested)
    for _ in range(DEEPEST):
        (member,) = parse(data, uri).members
        uri, data = f"{uri}!/{member.name}", member.data
    deepest = parse(data, uri)
    assert "plain body" in deepest.text
    assert "deep" in deepest.members[0].refused and deepest.members[0].data == b""


def test_a_mailbox_is_its_messages() -> None:
    """Each message of an mbox file is a member, named by number and subject."""
    data = b"".join(b"From ada@a.example Tue Jul 29 12:42:06 2025\n" + bytes(message()) + b"\n" for _ in range(2))
    parsed = parse(data, "archive.mbox")
    assert [member.name for member in parsed.members] == ["00001 Tides of Märch.eml", "00002 Tides of Märch.eml"]
    assert parse(parsed.members[1].data, "x", parsed.members[1].media_type).title == "Tides of Märch"


def test_mail_is_known_by_its_headers() -> None:
    """A message is one without its extension, too; a note that starts with From and To is not."""
    assert detect_media_type(bytes(message()), "archive/1234") == "message/rfc822"
    assert detect_media_type(b"From: me\nTo: you\n\nBring milk.\n", "note.txt") == "text/plain"


def test_encrypted_messages_say_so(corpora: Path) -> None:
    """What only a recipient's key opens is rejected as encrypted."""
    with pytest.raises(Rejected, match="encrypted"):
        parse((corpora / "office/eml/fake-encrypted.eml").read_bytes(), "a.eml")


def test_a_message_in_utf16_is_read(corpora: Path) -> None:
    """Mail saved as UTF-16 reads like the same mail in UTF-8."""
    for name in ("utf-16", "utf-16-le", "utf-16-be"):
        parsed = parse((corpora / f"office/eml/fake-email-{name}.eml").read_bytes(), "a.eml")
        assert parsed.title == "Test Email" and "Roses are red" in parsed.text


def test_a_line_that_stands_for_a_page_is_not_taken() -> None:
    """Where the text of a message only says that there is a page, the page is read."""
    both = message()
    both.set_content("Your program does not show HTML.")
    both.add_alternative("<p>" + "All that the report says. " * 20 + "</p>", subtype="html")
    body = blocks(parse(bytes(both), "a.eml"))[2:]
    assert [text[:16] for _, text in body] == ["All that the rep"]


MANY_PARTS = b"From: a@b.c\nSubject: s\nMIME-Version: 1.0\nContent-Type: multipart/%s; boundary=x\n\n--x\n%s\n--x--\n"


def test_what_became_of_a_message_is_read() -> None:
    """The fields of a report on a message that was not delivered are text."""
    fields = b"Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; q@b.c\nStatus: 5.1.1"
    report = b"Content-Type: message/delivery-status\n\n" + fields
    parsed = parse(MANY_PARTS % (b"report", report), "a.eml")
    assert blocks(parsed)[2:] == [
        ("paragraph", "Reporting-MTA: dns; x"),
        ("paragraph", "Final-Recipient: rfc822; q@b.c\nStatus: 5.1.1"),
    ]


def test_messages_are_decoded() -> None:
    """A message that lies inside of another in base64, against the rules, is read as what it is."""
    inner = base64.b64encode(b"From: b@b.c\nSubject: first\n\nfirst text\n")
    part = b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n" + inner
    (member,) = parse(MANY_PARTS % (b"mixed", part), "a.eml").members
    assert parse(member.data, member.name).text == "first\n\nFrom: b@b.c\n\nfirst text"


def test_a_message_without_boundaries_is_its_text() -> None:
    """A message that does not say what parts it is read as one."""
    parsed = parse(b"From: a@b.c\nSubject: s\nMIME-Version: 1.0\nContent-Type: multipart/mixed\n\nbody\n", "a.eml")
    assert (blocks(parsed)[2:], parsed.members) == ([("paragraph", "body")], [])
