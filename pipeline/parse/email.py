"""Messages: who wrote to whom, when, about what; then the body."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.parse.decode import decode, wide_encoding
from pipeline.parse.html import add_html
from pipeline.parse.text import add_plain
from pipeline.types import Parsed

_ENCRYPTED = ("multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime")
_SHOWN = ("From", "To", "Cc", "Date")


def parse(data: bytes, uri: str) -> Parsed:
    """The subject as heading, a paragraph of From, To, Cc and Date, the body's parts, and messages inside messages.

    Where a body comes as text and as HTML, the text is taken. Attachments are named in a warning and in `metadata`,
    and not read. Raises Rejected if the message is encrypted.
    """
    if wide_encoding(data) or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = decode(data)[0].encode()
    message = email.message_from_bytes(data.lstrip(b"\xef\xbb\xbf\r\n\t "), policy=email.policy.default)
    if not isinstance(message, EmailMessage):
        raise Rejected("it is no e-mail message")
    builder = Builder()
    attachments: list[str] = []
    _add(builder, message, attachments, level=1)
    if attachments:
        builder.warn(f"attachments were not read: {', '.join(attachments)}")
    metadata: dict[str, Any] = {name.lower(): _header(message, name) for name in ("From", "To", "Cc")}
    metadata |= {"date": _date(message), "message_id": _header(message, "Message-ID")}
    return builder.build(
        "message/rfc822",
        _header(message, "Subject"),
        {**metadata, "author": metadata["from"], "attachments": attachments},
    )


def _add(builder: Builder, message: EmailMessage, attachments: list[str], level: int) -> None:
    builder.add("heading", _header(message, "Subject"), level=level)
    headers = ((name, _header(message, name)) for name in _SHOWN)
    builder.add("paragraph", "\n".join(f"{name}: {value}" for name, value in headers if value))
    for part in _parts(message):
        kind = part.get_content_type()
        if kind in _ENCRYPTED:
            raise Rejected("the message is encrypted: only its recipient's key opens it")
        if kind == "message/rfc822":
            for inner in part.iter_parts() if part.is_multipart() else ():
                if isinstance(inner, EmailMessage):
                    _add(builder, inner, attachments, min(6, level + 1))
        elif kind == "text/html" and not _attached(part):
            add_html(builder, _text(part))
        elif kind in ("text/plain", "text/enriched", "text/markdown") and not _attached(part):
            add_plain(builder, _text(part))
        elif name := _filename(part):
            attachments.append(name)


def _parts(message: EmailMessage) -> Iterator[EmailMessage]:
    """The leaves that matter, in order: of alternatives, the plainest that has text."""
    kind = message.get_content_type()
    children = (
        [part for part in message.get_payload() if isinstance(part, EmailMessage)] if message.is_multipart() else []
    )
    if kind in (*_ENCRYPTED, "message/rfc822") or not children:
        yield message
    elif kind == "multipart/alternative":
        leaves = [list(_parts(child)) for child in children]
        plain = (
            group for group in leaves if any(p.get_content_type() == "text/plain" and _text(p).strip() for p in group)
        )
        yield from next(plain, leaves[-1])
    else:
        for child in children:
            yield from _parts(child)


def _text(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else str(part.get_payload()).encode("utf-8", "surrogateescape")
    try:
        charset: str | None = part.get_content_charset()
    except (LookupError, ValueError):
        charset = None
    return decode(data, charset)[0]


def _attached(part: EmailMessage) -> bool:
    return part.get_content_disposition() == "attachment"


def _filename(part: EmailMessage) -> str:
    try:
        name = part.get_filename()
    except (LookupError, ValueError):
        name = None
    return name or (part.get_content_type() if part.get_content_maintype() not in ("multipart", "text") else "")


def _header(message: EmailMessage, name: str) -> str:
    try:
        value: Any = message.get(name)
        return " ".join(str(value).split()) if value is not None else ""
    except Exception:  # the standard library's header parser fails on some malformed ones, in many ways
        return " ".join(str(dict(message.raw_items()).get(name, "")).split())


def _date(message: EmailMessage) -> str | None:
    try:
        return parsedate_to_datetime(_header(message, "Date")).isoformat()
    except (ValueError, TypeError):
        return _header(message, "Date") or None
