"""Outlook's messages."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest

from pipeline.errors import Rejected
from pipeline.parse import detect_media_type, parse
from tests.pipeline.parse.law import blocks, obeys_the_law
from tests.pipeline.parse.packed import Tree, compound

SENT = (
    int((datetime(2025, 7, 29, 10, 42, 6, tzinfo=UTC) - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10_000_000
)


def text(number: int, value: str) -> dict[str, bytes]:
    return {f"__substg1.0_{number:04X}001F": value.encode("utf-16-le")}


def binary(number: int, value: bytes) -> dict[str, bytes]:
    return {f"__substg1.0_{number:04X}0102": value}


def fixed(head: int, *properties: tuple[int, int, bytes]) -> dict[str, bytes]:
    rows = (struct.pack("<HHL", kind, number, 0) + value.ljust(8, b"\0") for kind, number, value in properties)
    return {"__properties_version1.0": bytes(head) + b"".join(rows)}


def attached(name: str, data: bytes) -> Tree:
    return {**fixed(8), **text(0x3707, name), **binary(0x3701, data)}


def message(head: int = 32, subject: str = "Tides of Märch", **more: Tree) -> Tree:
    recipient = {**fixed(8, (3, 0x0C15, struct.pack("<l", 1))), **text(0x3001, "Bo"), **text(0x39FE, "bo@b.example")}
    return {
        **fixed(head, (0x40, 0x0039, struct.pack("<Q", SENT))),
        **text(0x001A, "IPM.Note"),
        **text(0x0037, subject),
        **text(0x0C1A, "Ada Lovelace"),
        **text(0x5D01, "ada@a.example"),
        **text(0x1000, "The plain body.\r\n\r\nSecond größe."),
        "__recip_version1.0_#00000000": recipient,
        **more,
    }


def test_a_message_is_read_like_any_other() -> None:
    """Subject, sender, recipients, date and body are where those of an .eml are."""
    parsed = parse(compound(message()), "a.msg")
    obeys_the_law(parsed)
    assert blocks(parsed) == [
        ("heading", "Tides of Märch"),
        (
            "paragraph",
            "From: Ada Lovelace <ada@a.example>\nTo: Bo <bo@b.example>\nDate: Tue, 29 Jul 2025 10:42:06 +0000",
        ),
        ("paragraph", "The plain body."),
        ("paragraph", "Second größe."),
    ]
    assert (parsed.media_type, parsed.title) == ("application/vnd.ms-outlook", "Tides of Märch")
    assert parsed.metadata["date"] == "2025-07-29T10:42:06+00:00"


def test_attachments_are_members() -> None:
    """Files and messages that are attached, even Word documents, are members; what the whole is, stays clear."""
    word = compound({"WordDocument": b"x" * 600})
    inner = {**fixed(8), **text(0x3001, "Inner"), "__substg1.0_3701000D": message(24, "Inner")}
    logo = {**attached("logo.png", b"\x89PNG"), **text(0x370E, "image/png"), **text(0x3712, "logo@1")}
    trees = attached("old.doc", word), inner, logo
    page = text(0x1013, "<p>x<img src='cid:logo@1'>")
    data = compound(message(**page, **{f"__attach_version1.0_#{number:08}": tree for number, tree in enumerate(trees)}))
    assert detect_media_type(data, "noname") == "application/vnd.ms-outlook"
    parsed = parse(data, "a.msg")
    assert [member.name for member in parsed.members] == ["old.doc", "Inner.eml"]
    assert (parsed.members[0].data, parsed.metadata["left_out"]) == (word, ["logo.png"])
    forwarded = parse(parsed.members[1].data, "a.msg!/Inner.eml", parsed.members[1].media_type)
    assert (forwarded.title, blocks(forwarded)[-1]) == ("Inner", ("paragraph", "Second größe."))


def test_a_page_is_read_where_there_is_no_plain_body() -> None:
    """A body in HTML alone is read as a page, in the encoding that the message names."""
    tree = {key: value for key, value in message().items() if "1000001F" not in key}
    tree |= fixed(32, (3, 0x3FFD, struct.pack("<l", 1252))) | binary(0x1013, "<h2>Größe</h2><p>text".encode("cp1252"))
    assert blocks(parse(compound(tree), "a.msg"))[2:] == [("heading", "Größe"), ("paragraph", "text")]


def test_what_cannot_be_opened_says_so() -> None:
    """An encrypted message is rejected as that, a damaged one as damaged."""
    with pytest.raises(Rejected, match="encrypted"):
        parse(compound(message() | text(0x001A, "IPM.Note.SMIME")), "a.msg")
    with pytest.raises(Rejected, match="damaged"):
        parse(compound(message())[:600], "a.msg")


def packed(*pieces: bytes | tuple[int, int]) -> bytes:
    """RTF as Outlook packs it: letters, and places and lengths of what is repeated."""
    out = b""
    for at in range(0, len(pieces), 8):
        eight = pieces[at : at + 8]
        out += bytes([sum(1 << bit for bit, piece in enumerate(eight) if isinstance(piece, tuple))])
        for piece in eight:
            out += piece if isinstance(piece, bytes) else struct.pack(">H", piece[0] << 4 | piece[1] - 2)
    return struct.pack("<II4sI", len(out) + 12, 1000, b"LZFu", 0) + out


def test_a_body_that_is_rtf_only_is_read() -> None:
    """A message without a plain body or a page is read from its packed RTF; if that is damaged, it is said."""
    # How RTF starts is in the dictionary at 0, the message at 207; a reference to where it stands ends it.
    letters = [bytes([letter]) for letter in b" tide, "]
    rtf = packed((0, 11), *letters, (207 + 12, 6), b"}", (207 + 11 + 7 + 6 + 1, 2))
    bare = {name: data for name, data in message().items() if "1000001F" not in name}
    parsed = parse(compound({**bare, **binary(0x1009, rtf)}), "a.msg")
    assert blocks(parsed)[2:] == [("paragraph", "tide, tide,")]
    (lost,) = parse(compound({**bare, **binary(0x1009, b"no RTF at all, whatever")}), "a.msg").members
    assert (lost.name, lost.refused) == ("body.rtf", "the text of the message is damaged and cannot be unpacked")


def test_attachments_that_are_not_in_the_message_say_so() -> None:
    """A file that is only linked to, and an object, are members that could not be taken out, each with its reason."""
    linked, drawn = (
        {**fixed(8, (3, 0x3705, struct.pack("<l", method))), **text(0x3707, name)}
        for method, name in ((4, "plan.pdf"), (6, "map"))
    )
    parsed = parse(compound(message(**{"__attach_version1.0_#0": linked, "__attach_version1.0_#1": drawn})), "a.msg")
    assert [(member.name, member.refused) for member in parsed.members] == [
        ("plan.pdf", "it is only referred to, and kept elsewhere"),
        ("map", "it is an object that only its own program can show"),
    ]
