"""Messages: who wrote to whom, when, about what; then the body. What is attached, messages too, becomes a member."""

from __future__ import annotations

import base64
import email
import email.policy
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.parse.decode import decode, wide_encoding
from pipeline.parse.html import add_html
from pipeline.parse.takings import Takings, check_depth
from pipeline.parse.text import add_plain
from pipeline.types import Parsed

MESSAGE = "message/rfc822"
MAILBOX = "application/mbox"

_ENCRYPTED = ("multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime")
_BODY = ("text/plain", "text/html", "text/enriched", "text/markdown")
# Signatures are no documents, nor is what gives a page its looks.
_SIGNATURES = ("application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature")
_LOOKS = ("image", "audio", "video", "font")
_LONGEST_HEADER = 20_000
# A text as short as that may only say that there is a page, if the page says so much more.
_SHORT, _TELLS = 500, 4
_SHOWN = ("From", "To", "Cc", "Date")
_SUFFIXES = {
    "text/plain": "txt",
    "text/html": "html",
    "text/calendar": "ics",
    "text/csv": "csv",
    "text/rfc822-headers": "txt",
    "application/pdf": "pdf",
}
_SHOWN_PART = re.compile(r"\bcid:([^\"'\s<>)]{1,200})", re.I)
_FROM_LINE = re.compile(rb"^From \S.{0,200}\d{4}.{0,50}\r?\n(?=[!-9;-~]{1,100}:)", re.M)


def parse(data: bytes, uri: str) -> Parsed:
    """The subject as heading, a paragraph of From, To, Cc and Date, and the body's parts.

    Where a body comes as text and as HTML, the text is taken, unless it is a line or two that stand for a page.
    Attached files and messages are `members`; signatures and the pictures of a page are not, and `metadata` names them
    as `left_out`. Raises Rejected if it is encrypted.
    """
    if wide_encoding(data) or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = decode(data)[0].encode()
    message = email.message_from_bytes(data.lstrip(b"\xef\xbb\xbf\r\n\t "), policy=email.policy.default)
    if not isinstance(message, EmailMessage):
        raise Rejected("it is no e-mail message")
    return read_message(message, uri, MESSAGE)


def mailbox(data: bytes, uri: str) -> Parsed:
    """The messages of a mailbox (mbox) as members, named by number and subject."""
    check_depth(uri)
    takings = Takings(uri)
    starts = [found.start() for found in _FROM_LINE.finditer(data)]
    if not starts:
        raise Rejected("there is no message in this mailbox: none begins as those of an mbox file do")
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(data)], strict=True), start=1):
        if takings.full:
            break
        one = re.sub(rb"^>(>*From )", rb"\1", data[data.index(b"\n", start) + 1 : end], flags=re.M)
        message = email.message_from_bytes(one[:65536], policy=email.policy.default)
        takings.take(_name_of(message, f"{number:05}"), one, MESSAGE)
    warnings = takings.warnings()
    if len(starts) > len(takings.members):
        warnings.append(f"of its {len(starts):,} messages only the first {len(takings.members):,} are read: split it")
    return Parsed("", (), MAILBOX, metadata={"messages": len(starts)}, warnings=warnings, members=takings.members)


def is_mailbox(start: bytes) -> bool:
    """Whether what begins with `start` holds more than one message."""
    return start.startswith(b"From ") and len(_FROM_LINE.findall(start)) > 1


def read_message(message: EmailMessage, uri: str, media_type: str, refused: Iterable[tuple[str, str]] = ()) -> Parsed:
    """What `parse` makes of a message that has been taken apart; `refused` are attachments it lacks, and why."""
    builder = Builder()
    takings = Takings(uri)
    left_out: list[str] = []
    builder.add("heading", _header(message, "Subject"), level=1)
    headers = ((name, _header(message, name)) for name in _SHOWN)
    builder.add("paragraph", "\n".join(f"{name}: {value}" for name, value in headers if value))
    shown = _shown(message)
    for part, looks in _parts(message):
        kind = part.get_content_type()
        name = _filename(part)
        if kind in _ENCRYPTED:
            raise Rejected(_why_closed(part))
        if kind == MESSAGE:
            _take_message(part, name, takings)
        elif kind.startswith("message/") and part.is_multipart():
            for fields in part.iter_parts():  # what became of a message: keys and values
                builder.add("paragraph", "\n".join(f"{key}: {value}" for key, value in fields.raw_items()))
        elif kind.startswith("multipart/"):
            add_plain(builder, _text(part))  # it does not say what parts it
        elif kind in _BODY and not _attached(part) and not (looks and kind == "text/plain" and name):
            add_html(builder, _text(part)) if kind == "text/html" else add_plain(builder, _text(part))
        elif kind in _SIGNATURES or (looks and not _attached(part)) or (_is_looks(part) and _content_id(part) in shown):
            left_out.append(name or kind)
        else:
            data = _bytes(part)
            if data.strip() or name:
                takings.take(name or _unnamed(part), data, kind)
    for name, reason in refused:
        takings.refuse(name, reason)
    for warning in takings.warnings():
        builder.warn(warning)
    found: dict[str, Any] = {name.lower(): _header(message, name) for name in ("From", "To", "Cc")}
    found |= {
        "date": _date(message),
        "message_id": _header(message, "Message-ID"),
        "in_reply_to": _header(message, "In-Reply-To"),
        "author": found["from"],
        "attachments": [member.name for member in takings.members],
        "left_out": left_out,
    }
    return replace(builder.build(media_type, _header(message, "Subject"), found), members=takings.members)


def _take_message(part: EmailMessage, name: str, takings: Takings) -> None:
    for inner in part.iter_parts() if part.is_multipart() else ():
        if isinstance(inner, EmailMessage):
            try:
                if _header(part, "Content-Transfer-Encoding").lower() == "base64":  # which it must not be
                    data = base64.b64decode(str(inner.get_payload()))
                else:
                    data = inner.as_bytes(policy=email.policy.default.clone(refold_source="none"))
            except Exception:  # the standard library's generator fails on what its parser let pass, in many ways
                takings.refuse(name or _name_of(inner, "message"), "the attached message is damaged")
            else:
                takings.take(name or _name_of(inner, "message"), data, MESSAGE)


def _parts(message: EmailMessage, looks: bool = False) -> Iterator[tuple[EmailMessage, bool]]:
    """The leaves that matter, in order: of alternatives, the plainest that has text.

    With each goes whether it is only there for the looks of a page.
    """
    kind = message.get_content_type()
    children = (
        [part for part in message.get_payload() if isinstance(part, EmailMessage)] if message.is_multipart() else []
    )
    if kind in _ENCRYPTED or kind.startswith("message/") or not children:
        yield message, looks and kind not in _BODY[1:]
    elif kind == "multipart/alternative":
        leaves = [list(_parts(child, looks)) for child in children]
        plain = next((group for group in leaves if any(_is_text(part) for part, _ in group)), leaves[-1])
        size = sum(len(_text(part)) for part, _ in plain if _is_text(part))
        if 0 < size < _SHORT:
            plain = next((group for group in leaves if _says_more(group, _TELLS * size)), plain)
        for group in leaves:
            # What is attached inside of an alternative that is not read is attached all the same.
            chosen = group is plain
            yield from ((part, seen) for part, seen in group if chosen or seen or part.get_content_type() not in _BODY)
    else:
        related = kind == "multipart/related"
        for number, child in enumerate(children):
            yield from _parts(child, looks or (related and number > 0 and _is_looks(child)))


def _is_text(part: EmailMessage) -> bool:
    return part.get_content_type() == "text/plain" and not _attached(part) and bool(_text(part).strip())


def _says_more(group: list[tuple[EmailMessage, bool]], size: int) -> bool:
    """Whether the pages among some parts say more than `size` characters."""
    builder = Builder()
    for part, looks in group:
        if part.get_content_type() == "text/html" and not _attached(part) and not looks:
            add_html(builder, _text(part))
    return len(builder.build("text/html").text) > size


def _is_looks(part: EmailMessage) -> bool:
    return part.get_content_maintype() in _LOOKS or part.get_content_type() in ("text/css", "text/javascript")


def _shown(message: EmailMessage) -> set[str]:
    """The content ids of what the pages in `message` show."""
    pages = (
        part for part in message.walk() if isinstance(part, EmailMessage) and part.get_content_type() == "text/html"
    )
    return {found for page in pages for found in _SHOWN_PART.findall(_text(page))}


def _content_id(part: EmailMessage) -> str:
    return _header(part, "Content-ID").strip("<>")


def _why_closed(part: EmailMessage) -> str:
    if part.get_param("smime-type") == "signed-data":
        return "the message lies inside of its signature (S/MIME), which is not opened: save it without"
    return "the message is encrypted: only its recipient's key opens it"


def _bytes(part: EmailMessage) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else str(part.get_payload()).encode("utf-8", "surrogateescape")


def _text(part: EmailMessage) -> str:
    try:
        charset: str | None = part.get_content_charset()
    except (LookupError, ValueError):
        charset = None
    return decode(_bytes(part), charset)[0]


def _attached(part: EmailMessage) -> bool:
    return part.get_content_disposition() == "attachment"


def _filename(part: EmailMessage) -> str:
    try:
        return part.get_filename() or ""
    except (LookupError, ValueError):
        return ""


def _unnamed(part: EmailMessage) -> str:
    return f"attachment.{_SUFFIXES.get(part.get_content_type(), 'bin')}"


def _name_of(message: Any, otherwise: str) -> str:
    """A name for a message that has none: its subject."""
    subject = re.sub(r"[\\/:*?\"<>|\s]+", " ", _header(message, "Subject")).strip(" .")[:80]
    name = " ".join(filter(None, [otherwise if otherwise.isdigit() else "", subject])) or otherwise
    return f"{name}.eml"


def _header(message: EmailMessage, name: str) -> str:
    raw = next((str(value) for key, value in message.raw_items() if key.lower() == name.lower()), "")
    # To take the addresses of a whole company apart takes seconds, and only to put them together again.
    if len(raw) <= _LONGEST_HEADER:
        try:
            value: Any = message.get(name)
            return " ".join(str(value).split()) if value is not None else ""
        except Exception:  # the standard library's header parser fails on some malformed ones, in many ways
            pass
    return " ".join(raw.split())


def _date(message: EmailMessage) -> str | None:
    try:
        return parsedate_to_datetime(_header(message, "Date")).isoformat()
    except (ValueError, TypeError, OverflowError):
        return _header(message, "Date") or None
