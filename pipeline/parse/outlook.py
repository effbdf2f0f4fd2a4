"""Outlook's messages: what their properties hold, made into a message as the rest of the world writes them.

The properties are those of [MS-OXPROPS], kept as [MS-OXMSG] says: each in a stream named by its number and type.
"""

from __future__ import annotations

import email
import email.policy
import re
import struct
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse import rtf
from pipeline.parse.decode import decode
from pipeline.parse.email import read_message
from pipeline.parse.ole import open_compound
from pipeline.parse.packedrtf import unpack_rtf
from pipeline.types import Parsed

MSG = "application/vnd.ms-outlook"

_SUBJECT, _BODY, _HTML, _CLASS = 0x0037, 0x1000, 0x1013, 0x001A
_HEADERS, _MESSAGE_ID, _SENT, _RECEIVED, _CODEPAGE = 0x007D, 0x1035, 0x0039, 0x0E06, 0x3FFD
_SENDER, _SENDER_ADDRESS, _SENDER_SMTP = 0x0C1A, 0x0C1F, 0x5D01
_NAME, _ADDRESS, _SMTP, _RECIPIENT_KIND = 0x3001, 0x3003, 0x39FE, 0x0C15
_DATA, _SHORT_NAME, _LONG_NAME, _MIME, _CONTENT_ID = 0x3701, 0x3704, 0x3707, 0x370E, 0x3712
_RICH, _METHOD = 0x1009, 0x3705
_UNICODE, _BYTES_STRING, _BINARY, _STORAGE = 0x001F, 0x001E, 0x0102, 0x000D
_MOST_NESTED = 8
# Why an attachment is not in the message, by how it was attached ([MS-OXCMSG] 2.2.2.9).
_ELSEWHERE = "it is only referred to, and kept elsewhere"
_ABSENT = dict.fromkeys((2, 3, 4, 7), _ELSEWHERE) | {6: "it is an object that only its own program can show"}
_LOST = "its data are not in the message: it is damaged"
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_TOKEN = re.compile(r"[\w.+-]{1,80}", re.A)
_CID = re.compile(r"[!-~]{1,200}")
_LINE = re.compile(r"[\r\n\0]+")

Path = list[str]


def parse(data: bytes, uri: str) -> Parsed:
    """The same as of a message in a file of its own (`email.parse`). Raises Rejected if damaged or encrypted."""
    try:
        with open_compound(data) as compound:
            storage = _Storage(compound, [], [])
            message = storage.message(0)
    except (OSError, struct.error) as error:
        raise Rejected("the Outlook message is damaged: its properties cannot be found") from error
    return read_message(message, uri, MSG, storage.refused)


class _Storage:
    """The properties of a message, a recipient or an attachment."""

    def __init__(self, compound: Any, path: Path, refused: list[tuple[str, str]]) -> None:
        #: Names of attachments that cannot be had, and why.
        self.refused = refused
        self._compound = compound
        self._path = path
        # Of fixed size, in one stream: how long its head is depends on what the storage is of.
        head = 8 if path and path[-1].startswith("__") and not path[-1].endswith("000D") else 24 if path else 32
        fixed = self._stream("__properties_version1.0")[head:]
        self._fixed = {
            struct.unpack_from("<HH", fixed, at)[1]: fixed[at + 8 : at + 16] for at in range(0, len(fixed) - 15, 16)
        }

    def message(self, depth: int) -> EmailMessage:
        """As an e-mail message, attachments included."""
        if depth > _MOST_NESTED:
            raise Rejected("its messages lie more than eight deep inside each other: it may be a trap")
        if "smime" in self.text(_CLASS).lower() and "multipartsigned" not in self.text(_CLASS).lower():
            raise Rejected("the message is encrypted: only its recipient's key opens it")
        message = self._headers()
        body, page = self.text(_BODY), self.html()
        if not body.strip() and not page:
            body = self.rich()
        if body.strip() or not page:
            message.set_content(body.replace("\r\n", "\n"), charset="utf-8")
            if page:
                message.add_alternative(page, subtype="html", charset="utf-8")
        else:
            message.set_content(page, subtype="html", charset="utf-8")
        for storage in self._children("__attach_version1.0_"):
            storage._attach_to(message, depth)
        return message

    def text(self, number: int) -> str:
        """A property that is a string; "" if there is none."""
        wide = self._stream(_stream_name(number, _UNICODE))
        if wide:
            return wide.decode("utf-16-le", "replace").rstrip("\0")
        return decode(self._stream(_stream_name(number, _BYTES_STRING)), self._charset())[0].rstrip("\0")

    def html(self) -> str:
        """The body as a page; "" if there is none."""
        page = self._stream(_stream_name(_HTML, _BINARY))
        return decode(page, self._charset())[0] if page else self.text(_HTML)

    def rich(self) -> str:
        """The text of the body, if that is kept as RTF only; "" if it is not."""
        packed = self._stream(_stream_name(_RICH, _BINARY))
        try:
            return rtf.parse(unpack_rtf(packed), "").text if packed else ""
        except (Rejected, ValueError, struct.error):
            self.refused.append(("body.rtf", "the text of the message is damaged and cannot be unpacked"))
            return ""

    def _headers(self) -> EmailMessage:
        message = EmailMessage(policy=email.policy.default)
        carried = email.message_from_string(self.text(_HEADERS).lstrip(), policy=email.policy.compat32)
        recipients: dict[str, list[str]] = {"To": [], "Cc": []}
        for storage in self._children("__recip_version1.0_"):
            kind = {2: "Cc", 3: ""}.get(storage._number(_RECIPIENT_KIND), "To")
            if kind:
                recipients[kind].append(storage._address(_NAME, _SMTP, _ADDRESS))
        known = {
            "Subject": self.text(_SUBJECT),
            "From": str(carried.get("From") or "") or self._address(_SENDER, _SENDER_SMTP, _SENDER_ADDRESS),
            "To": ", ".join(filter(None, recipients["To"])) or str(carried.get("To") or ""),
            "Cc": ", ".join(filter(None, recipients["Cc"])) or str(carried.get("Cc") or ""),
            "Date": str(carried.get("Date") or "") or self._date(),
            "Message-ID": self.text(_MESSAGE_ID) or str(carried.get("Message-ID") or ""),
            "In-Reply-To": str(carried.get("In-Reply-To") or ""),
        }
        for name, value in known.items():
            if value := _LINE.sub(" ", value).strip():
                try:
                    message[name] = value
                except Exception:  # the standard library's header parser fails on some malformed ones, in many ways
                    message[name] = value.encode("ascii", "replace").decode().replace("<", " ").replace("@", " at ")
        return message

    def _attach_to(self, message: EmailMessage, depth: int) -> None:
        name = self.text(_LONG_NAME) or self.text(_SHORT_NAME) or self.text(_NAME)
        inner = [*self._path, _stream_name(_DATA, _STORAGE)]
        if self._compound.exists([*inner, "__properties_version1.0"]):
            message.add_attachment(
                _Storage(self._compound, inner, self.refused).message(depth + 1), filename=f"{name or 'message'}.eml"
            )
            return
        if not self._compound.exists([*self._path, _stream_name(_DATA, _BINARY)]):
            self.refused.append((name or "attachment", _ABSENT.get(self._number(_METHOD), _LOST)))
            return
        kind, _, subtype = (self.text(_MIME) or "application/octet-stream").partition("/")
        if not (_TOKEN.fullmatch(kind) and _TOKEN.fullmatch(subtype)) or kind in ("multipart", "message"):
            kind, subtype = "application", "octet-stream"
        content_id = self.text(_CONTENT_ID).strip("<> \r\n")
        message.add_attachment(
            self._stream(_stream_name(_DATA, _BINARY)),
            maintype=kind,
            subtype=subtype,
            filename=_LINE.sub(" ", name) or "attachment",
            cid=f"<{content_id}>" if _CID.fullmatch(content_id) else None,
        )

    def _children(self, prefix: str) -> list[_Storage]:
        depth = len(self._path)
        names = {
            path[depth]
            for path in self._compound.listdir()
            if len(path) > depth + 1 and path[:depth] == self._path and path[depth].startswith(prefix)
        }
        return [_Storage(self._compound, [*self._path, name], self.refused) for name in sorted(names)]

    def _address(self, name: int, smtp: int, address: int) -> str:
        shown, mail = self.text(name), self.text(smtp) or self.text(address)
        # Inside of an organisation an address is a path in its directory, which says nothing outside.
        mail = mail if "@" in mail else ""
        if not mail or shown == mail:
            return shown or mail
        return formataddr((_LINE.sub(" ", shown), mail)) if shown.isascii() else f'"{shown}" <{mail}>'

    def _number(self, number: int) -> int:
        value = self._fixed.get(number, b"")
        return int(struct.unpack_from("<l", value)[0]) if len(value) >= 4 else 0

    def _date(self) -> str:
        for number in (_SENT, _RECEIVED):
            if len(value := self._fixed.get(number, b"")) == 8 and (ticks := struct.unpack("<Q", value)[0]):
                try:
                    return format_datetime(_EPOCH + timedelta(microseconds=ticks // 10))
                except OverflowError:
                    continue
        return ""

    def _charset(self) -> str | None:
        page = self._number(_CODEPAGE)
        return "utf-8" if page == 65001 else f"cp{page}" if page else None

    def _stream(self, name: str) -> bytes:
        path = [*self._path, name]
        try:
            return bytes(self._compound.openstream(path).read()) if self._compound.exists(path) else b""
        except Exception:  # a stream whose sectors are damaged is as good as absent
            return b""


def _stream_name(number: int, kind: int) -> str:
    return f"__substg1.0_{number:04X}{kind:04X}"
