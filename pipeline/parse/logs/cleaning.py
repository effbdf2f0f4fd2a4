"""A log's text without what was meant for terminals only."""

from __future__ import annotations

import re
import unicodedata

# Colours and movements of the cursor, also as syslog daemons write them.
_TERMINAL = re.compile(r"(?:\x1b|#033)(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_SPACE = re.compile("[\x0b\x0c\x1c-\x1f\x85]")
# Control characters but tabs and line ends, byte order marks, code points that are no characters, halves of a pair.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff\ud800-\udfff]")
_UNPLAIN = re.compile(r"[^\t\n\r -~]")


def clean(text: str) -> str:
    """`text` in NFC, its lines ended by line feeds, without control characters but tabs and inner carriage returns."""
    while "\r\r\n" in text:  # a line end that was translated twice
        text = text.replace("\r\r\n", "\r\n")
    text = text.replace("\r\n", "\n")
    if not _UNPLAIN.search(text):  # most logs, and far quicker
        return text
    if "\x1b" in text or "#033" in text:
        text = _TERMINAL.sub("", text)
    text = _SPACE.sub(" ", _CONTROL.sub("", text))
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)
