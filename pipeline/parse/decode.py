"""Bytes to text, whatever their encoding, without ever failing."""

from __future__ import annotations

import codecs
import re

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    # UTF-32's mark starts with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Encodings whose bytes are all ASCII: they read as UTF-8, and wrongly.
_SEVEN_BIT = ("iso2022", "hz", "utf-7")
# Python's own, which no document means.
_NO_CHARSETS = ("idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "mbcs", "oem")
_SAMPLE = 1 << 16
_MULTIBYTE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")
# References to U+D800 … U+DFFF.
_HALVES = re.compile(
    rb"(?:&#(?:[xX]0*[dD][89a-fA-F][0-9a-fA-F]{2}"
    rb"|0*5(?:529[6-9]|5[3-9]\d\d|6\d{3}|7[0-2]\d\d|73[0-3]\d|734[0-3]));)+"
)
_DIGITS = re.compile(rb"[xX]?[0-9a-fA-F]+")
_HIGH = re.compile(rb"[\x80-\xff]")
# Where one byte is one letter, these decide by themselves: they have no letters, or no meaning, in cp1252.
_ODD_IN_CP1252 = re.compile("[\x80-\x9f¢£¤¥¦¨¬¯±²³¶¸¹º»¼½¾×÷Þðþ¡¿ƒ†‡ˆ˜]")


def decode(data: bytes, declared: str | None = None) -> tuple[str, str | None]:
    """The text of `data`, and a warning if some bytes of it could not be read (they show as U+FFFD).

    All lines end in a line feed alone. A byte order mark decides; then UTF-16/32's pattern of zero bytes; then whether
    it is UTF-8, which hardly anything else looks like; then what the document itself `declared`; then statistics; then
    cp1252.
    """
    text, warning = decode_as_written(data, declared)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text, warning


def join_halves(markup: bytes) -> bytes:
    """XML whose references to halves of UTF-16 pairs are to whole characters: U+FFFD, of a half on its own.

    They are not well-formed, and what libxml2 makes of them is no UTF-8. The same object if there are none.
    """
    return _HALVES.sub(_join, markup) if _HALVES.search(markup) else markup


def _join(run: re.Match[bytes]) -> bytes:
    numbers = (int(digits[1:], 16) if digits[:1] in b"xX" else int(digits) for digits in _DIGITS.findall(run.group()))
    units = "".join(map(chr, numbers)).encode("utf-16-le", "surrogatepass")
    return b"".join(b"&#%d;" % ord(character) for character in units.decode("utf-16-le", "replace"))


def decode_as_written(data: bytes, declared: str | None = None) -> tuple[str, str | None]:
    """The same with all carriage returns that there are."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _read(data[len(mark) :], encoding)
    wide = wide_encoding(data)
    if wide:
        return _read(data, wide)
    declared = _known(declared)
    if declared and declared.startswith(_SEVEN_BIT):
        return _read(data, declared)
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError as error:
        if _nearly_utf8(data, error):
            return _read(data, "utf-8")
    if declared and declared != "utf-8":
        return _read(data, _superset(declared))
    return _read(data, _guess(data))


def wide_encoding(data: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark, known by where its zero bytes are; None if it is neither."""
    sample = data[:4096]
    quarter, half = len(sample) // 4, len(sample) // 2
    if quarter:
        zeros = [sample[at : quarter * 4 : 4].count(0) / quarter for at in range(4)]
        if zeros[0] < 0.1 and min(zeros[2:]) > 0.9:
            return "utf-32-le"
        if zeros[3] < 0.1 and min(zeros[:2]) > 0.9:
            return "utf-32-be"
    if half:
        even, odd = (sample[at : half * 2 : 2].count(0) / half for at in (0, 1))
        if odd > 0.3 and even < 0.05:
            return "utf-16-le"
        if even > 0.3 and odd < 0.05:
            return "utf-16-be"
    return None


def _read(data: bytes, encoding: str) -> tuple[str, str | None]:
    text = data.decode(encoding, "replace")
    lost = text.count("\ufffd")
    # A replacement character may be the file's own: then nothing was lost here.
    if not lost or _fits(data, encoding):
        return text, None
    return text, f"{lost} character{'s' if lost > 1 else ''} could not be read as {encoding.upper()}"


def _fits(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _nearly_utf8(data: bytes, error: UnicodeDecodeError) -> bool:
    """A cut-off end, or a few bad bytes among many good sequences."""
    good = len(_MULTIBYTE.findall(data))
    if good and error.start >= len(data) - 3 and error.reason == "unexpected end of data":
        return True
    bad = data.decode("utf-8", "replace").count("\ufffd")
    return good > 10 * bad


def _known(name: str | None) -> str | None:
    """The canonical name of a declared encoding; None for one that does not exist or encodes no text."""
    try:
        name = codecs.lookup(name.strip().strip("\"'")).name if name else None
        if name in _NO_CHARSETS:
            return None
        b"a".decode(name or "utf-8", "replace")  # refuses what is a codec but no charset, such as hex; b"" would not
    except (LookupError, ValueError):
        return None
    return name


def _superset(encoding: str) -> str:
    """What is meant: browsers read these three names as cp1252, whose letters and quotes they then find."""
    return "cp1252" if encoding in ("ascii", "iso8859-1", "latin-1") else encoding


def _guess(data: bytes) -> str:
    high = _HIGH.findall(data[:_SAMPLE])
    western = data[:_SAMPLE].decode("cp1252", "replace")
    # Accented letters and typographic quotes, sprinkled over ASCII: statistics on short texts do worse than this.
    odd = len(_ODD_IN_CP1252.findall(western)) + western.count("\ufffd")
    if len(high) < max(8, 0.2 * len(data[:_SAMPLE])) and odd <= 0.1 * len(high):
        return "cp1252"
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return "cp1252"
    best = from_bytes(data[:_SAMPLE]).best()
    return best.encoding if best else "cp1252"
