"""How severe an event is: seven names for what logs call it in words, letters and numbers."""

from __future__ import annotations

from collections.abc import Iterable

_WORDS = {
    "trace": "trace trc trce verbose vrb verb finest finer trace1 trace2 trace3 trace4 trace5 trace6 trace7 trace8",
    "debug": "debug dbg dbug debg fine config debug1 debug2 debug3 debug4 debug5",
    "info": "info inf information informational default log",
    "notice": "notice note ntc",
    "warning": "warn wrn warning",
    "error": "err error eror severe fail failure fault",
    "fatal": "fatal ftl critical crit crt alert emerg emergency panic dpanic",
}
# Everyday words: a level only in capitals, or between brackets with a capital.
_EVERYDAY = set("config default fail failure fault fine finer finest log note panic".split())
_LETTERS = {
    "T": "trace", "V": "trace", "D": "debug", "I": "info", "N": "notice", "W": "warning", "E": "error", "C": "fatal",
    "F": "fatal", "A": "fatal",
}  # fmt: skip

#: Words for levels in lower case, where it is certain that a level is meant (the value of a key, say).
MARKED = {word: level for level, words in _WORDS.items() for word in words.split()}
#: Letters for levels, and the words as they are spelt between brackets.
BRACKETED = _LETTERS | {
    spelt: level
    for word, level in MARKED.items()
    for spelt in (word.upper(), word.capitalize(), *([] if word in _EVERYDAY else [word]))
}
#: The words as they are spelt where nothing sets them apart.
LEVELS = {
    word: level
    for word, level in BRACKETED.items()
    if len(word) > 1 and (word.isupper() or word.lower() not in _EVERYDAY)
}

# RFC 5424's severities, from 0; and those of bunyan and pino, from 10 in tens.
_SYSLOG = ("fatal", "fatal", "fatal", "error", "warning", "notice", "info", "debug")
_TENS = ("trace", "debug", "info", "warning", "error", "fatal")


def pattern_of(words: Iterable[str]) -> str:
    """A regular expression for any of `words`, the longest that fits, letter by letter: quicker than one by one."""
    branches: dict[str, list[str]] = {}
    for word in words:
        branches.setdefault(word[:1], []).append(word[1:])
    ends = branches.pop("", None) is not None
    pattern = "|".join(letter + (pattern_of(rest) if rest != [""] else "") for letter, rest in sorted(branches.items()))
    return f"(?:{pattern})" + "?" * ends if pattern else ""


def level_of_severity(number: int) -> str | None:
    """The level that a number means: syslog's 0 to 7, or the 10 to 60 of JSON loggers."""
    if 0 <= number <= 7:
        return _SYSLOG[number]
    return _TENS[number // 10 - 1] if 10 <= number < 70 else None
