"""Events that take up several lines each: Windows events, journald's exports, JSON laid out, slow queries."""

from __future__ import annotations

import re

from pipeline.parse.logs.levels import MARKED
from pipeline.parse.logs.records import Record, read_fields, read_json

# What hardly stands in anything but a log.
_TELLING = re.compile(
    r"Event\[\d+\]:?\s*$|__CURSOR=|Time(?:Created|Generated)\s+: |# User@Host: "
    r"|\[ \d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [^\]]+/[^\]]+\]$"
)
# Event[0]: as wevtutil has it; and the lists of Get-WinEvent and Get-EventLog, where blank lines part the events.
_NUMBERED = re.compile(r"Event\[\d+\]:?\s*$")
_LISTED = re.compile(r"(?:TimeCreated|TimeGenerated|Index|EventID|RecordId|ProviderName|Message|Level)\s+: ")
# journalctl -o export; the fields of its entries have no fixed order but for the first, and a blank line ends one.
_EXPORTED = re.compile(r"__CURSOR=")
_FIELD = re.compile(r"\s*([A-Z][A-Za-z ]{1,24}?)\s*: ?(.*)$")
_OBJECT = re.compile(r"[\[,]?\s*\{\s*$")
_OBJECT_ENDS = re.compile(r"\}\s*[\],]*\s*$")

# MySQL's slow queries. Of those in the same second only the first has a line with the time; each has its SET timestamp.
_SLOW = re.compile(r"# Time: \d|# User@Host: ")
_SLOW_ENDS = re.compile(rf"{_SLOW.pattern}|\S*(?:mysqld|mariadbd)\S*, Version: ")
_TIMESTAMP = re.compile(r"^SET timestamp=(\d+(?:\.\d+)?);", re.M)
_NO_QUERY = re.compile(r"# |(?:use [^;]+|SET timestamp=[\d.]+);\s*$")

_NAMES = {
    "time": ("Date", "TimeCreated", "TimeGenerated"),
    "level": ("Level", "LevelDisplayName", "EntryType"),
    "component": ("Source", "ProviderName"),
    "host": ("Computer", "MachineName"),
    "message": ("Description", "Message"),
}


def is_telling(line: str) -> bool:
    """Whether a line alone shows that it is from a log of stanzas."""
    return bool(_TELLING.match(line))


def opens(line: str, after_blank: bool, headed: bool) -> str:
    """The kind of the stanza that begins with this line, "" if none does; lines that have heads begin few kinds."""
    if line[:2] == "# " and _SLOW.match(line):
        return "timed" if line[2] == "T" else "slow"
    if headed:
        return ""
    if _NUMBERED.match(line):
        return "numbered"
    if _EXPORTED.match(line):
        return "exported"
    if after_blank and _LISTED.match(line):
        return "listed"
    return "object" if _OBJECT.match(line) else ""


def ended_by(kind: str, line: str, after_blank: bool) -> bool:
    """Whether a stanza of this kind has ended before `line`."""
    if kind == "slow":
        return bool(_SLOW_ENDS.match(line))
    if kind == "numbered":
        return bool(_NUMBERED.match(line))
    if kind == "exported":
        return after_blank or bool(_EXPORTED.match(line))
    return kind == "listed" and after_blank and bool(_LISTED.match(line))


def after_first_line(kind: str) -> str:
    """What a stanza of this kind is from its second line on: another query ends a slow one, once it has said whose."""
    return "slow" if kind == "timed" else kind


def ended_with(kind: str, line: str) -> bool:
    """Whether a stanza of this kind ends with `line`."""
    return kind == "object" and bool(_OBJECT_ENDS.match(line))


def read_stanza(kind: str, text: str) -> Record | None:
    """The record that a stanza is, None if it says nothing of an event."""
    if kind == "object":
        return read_json(text.strip().strip("[],"))
    if kind == "exported":
        return read_fields(dict(line.split("=", 1) for line in text.split("\n") if "=" in line))
    if kind == "slow":
        said_at = _TIMESTAMP.search(text)
        query = " ".join(line.strip() for line in text.split("\n") if not _NO_QUERY.match(line))
        return Record(said_at[1] if said_at else "", None, "", None, "", query)
    fields: dict[str, str] = {}
    key = ""
    for line in text.split("\n"):
        field = _FIELD.match(line)
        if field and (kind == "numbered" or not line[:1].isspace()):
            key = field[1]
            fields.setdefault(key, field[2].strip())
        elif key and line.strip() and not fields[key]:
            fields[key] = line.strip()
    said = {part: next((fields[name] for name in names if fields.get(name)), "") for part, names in _NAMES.items()}
    if not said["time"]:
        return None
    return Record(
        said["time"], MARKED.get(said["level"].lower()), said["component"], None, said["host"], said["message"]
    )
