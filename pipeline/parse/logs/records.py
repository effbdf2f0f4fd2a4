"""Events that are written as keys and values: JSON objects and logfmt (time=... level=info msg="...")."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.parse.logs.cleaning import clean
from pipeline.parse.logs.levels import BRACKETED, MARKED, level_of_severity


class Record(NamedTuple):
    """What a record says, "" and None where it does not. `time` is a text, or a number of seconds or parts of them."""

    time: str | float
    level: str | None
    component: str
    pid: int | None
    host: str
    message: str


# What loggers call the same thing, the most telling first; a dot leads into an object inside.
_TIME = (
    "timestamp @timestamp time ts @t datetime date eventTime event_time asctime t t.$date timeMillis "
    "instant.epochSecond timestamp.seconds timeUnixNano __REALTIME_TIMESTAMP log.time"
).split()
_LEVEL = (
    "level severity levelname log.level @l loglevel log_level lvl level_name severity_text severityText PRIORITY "
    "priority jsonPayload.level s"
).split()
_COMPONENT = (
    "logger logger_name loggerName component module name log.logger SourceContext Properties.SourceContext "
    "SYSLOG_IDENTIFIER _COMM category channel service.name service app program caller facility eventSource c"
).split()
_HOST = "host hostname host.name host.hostname _HOSTNAME node server MachineName".split()
_PID = "pid process_id process.pid _PID SYSLOG_PID processId proc_id process".split()
_MESSAGE = (
    "message msg short_message MESSAGE log @m @mt event text body jsonPayload.message textPayload "
    "RenderedMessage MessageTemplate body.stringValue eventName"
).split()

_PAIR = re.compile(r"([A-Za-z_@][\w.@/-]*)=(\"(?:[^\"\\]|\\.)*\"|[^\s\"]*)(?:\s+|$)")
_MOST_PAIRS = 64
_LONGEST = 20_000


def read_json(text: str) -> Record | None:
    """The record that a JSON object is; None if `text` is no object, or has neither a time nor a level."""
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return read_fields(value) if isinstance(value, dict) else None


def read_logfmt(text: str) -> Record | None:
    """The record that begins with pairs of keys and values; None if these have neither a time nor a level."""
    pairs: dict[str, str] = {}
    at = 0
    while len(pairs) < _MOST_PAIRS and (pair := _PAIR.match(text, at, _LONGEST)):
        value = pair[2]
        pairs.setdefault(pair[1], value[1:-1].replace('\\"', '"') if value[:1] == '"' else value)
        at = pair.end()
    return read_fields(pairs) if len(pairs) > 1 else None


def read_fields(fields: Mapping[str, Any]) -> Record | None:
    """The record that has these fields; None if there is neither a time nor a level with a message."""
    time = _first(fields, _TIME, (str, int, float))
    level = _level(_first(fields, _LEVEL, (str, int)))
    message = _first(fields, _MESSAGE, (str,))
    if time is None and (level is None or message is None):
        return None
    pid = _first(fields, _PID, (str, int))
    return Record(
        time="" if time is None else time,
        level=level,
        component=_line(_first(fields, _COMPONENT, (str,))),
        pid=int(pid) if pid is not None and str(pid).isdecimal() and len(str(pid)) < 19 else None,
        host=_line(_first(fields, _HOST, (str,))),
        message=_line(message),
    )


def _line(value: str | None) -> str:
    """The first line of a value that is to be shown."""
    return clean(value).strip().partition("\n")[0].rstrip() if value else ""


def _first(fields: Mapping[str, Any], names: list[str], types: tuple[type, ...]) -> Any:
    for name in names:
        value = fields.get(name)
        if value is None and "." in name:
            outer, _, inner = name.partition(".")
            inside = fields.get(outer)
            value = inside.get(inner) if isinstance(inside, dict) else None
        if isinstance(value, types) and value != "" and not isinstance(value, bool):
            return value
    return None


def _level(value: str | int | None) -> str | None:
    if value is None:
        return None
    text = str(value)
    if text.isdecimal():
        return level_of_severity(int(text)) if len(text) < 3 else None
    # MongoDB's D1 to D5.
    return MARKED.get(text.lower()) or BRACKETED.get(text) or ("debug" if text[:1] == "D" and len(text) == 2 else None)
