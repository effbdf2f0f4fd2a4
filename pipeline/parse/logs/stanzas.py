"""Events that take up several lines of keys and values each: Windows events, journald's exports, JSON laid out."""

from __future__ import annotations

import re

from pipeline.parse.logs.levels import MARKED
from pipeline.parse.logs.records import Record, read_fields, read_json

# What hardly stands in anything but a log.
_TELLING = re.compile(r"Event\[\d+\]:?\s*$|__CURSOR=|Time(?:Created|Generated)\s+: ")
# Event[0]: as wevtutil has it; and the lists of Get-WinEvent and Get-EventLog, where blank lines part the events.
_NUMBERED = re.compile(r"Event\[\d+\]:?\s*$")
_LISTED = re.compile(r"(?:TimeCreated|TimeGenerated|Index|EventID|RecordId|ProviderName|Message|Level)\s+: ")
# journalctl -o export; the fields of its entries have no fixed order but for the first, and a blank line ends one.
_EXPORTED = re.compile(r"__CURSOR=")
_FIELD = re.compile(r"\s*([A-Z][A-Za-z ]{1,24}?)\s*: ?(.*)$")
_OBJECT = re.compile(r"[\[,]?\s*\{\s*$")
_OBJECT_ENDS = re.compile(r"\}\s*[\],]*\s*$")

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


def opens(line: str, after_blank: bool) -> str:
    """The kind of the stanza that begins with this line, "" if none does."""
    if _NUMBERED.match(line):
        return "numbered"
    if _EXPORTED.match(line):
        return "exported"
    if after_blank and _LISTED.match(line):
        return "listed"
    return "object" if _OBJECT.match(line) else ""


def ended_by(kind: str, line: str, after_blank: bool) -> bool:
    """Whether a stanza of this kind has ended before `line`."""
    if kind == "numbered":
        return bool(_NUMBERED.match(line))
    if kind == "exported":
        return after_blank or bool(_EXPORTED.match(line))
    return kind == "listed" and after_blank and bool(_LISTED.match(line))


def ended_with(kind: str, line: str) -> bool:
    """Whether a stanza of this kind ends with `line`."""
    return kind == "object" and bool(_OBJECT_ENDS.match(line))


def read_stanza(kind: str, text: str) -> Record | None:
    """The record that a stanza is, None if it says nothing of an event."""
    if kind == "object":
        return read_json(text.strip().strip("[],"))
    if kind == "exported":
        return read_fields(dict(line.split("=", 1) for line in text.split("\n") if "=" in line))
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
