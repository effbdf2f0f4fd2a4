"""What log messages have in common: templates, mined with Drain (He et al., ICWS 2017), line by line.

Drain keeps the messages seen so far as groups in a tree of fixed depth: by the number of words, then by the first word.
A message joins the group at its leaf that it resembles most, if it resembles it enough, and where they differ the
group's template becomes variable. Ours differs in three ways, so that no log needs settings of its own. What is plainly
variable (numbers, addresses, paths, quotations) is masked first. Resemblance is the share of equal words among those
that are constant, so that a line of many numbers is not similar to everything. And a word that has taken many values in
otherwise equal messages is variable, however short they are.

A message's group depends on the messages before it only; groups keep their numbers, though their templates may become
more general.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

#: Stands for what varies.
VARIABLE = "<*>"

# Equal constant words among all constant ones, at least, for a message to join a group.
_ALIKE = 0.7
# A word that took so many values in otherwise equal messages is variable.
_MANY_VALUES = 8
# Bounds on memory and time, whatever a log holds.
_LONGEST = 2000
_MOST_WORDS = 100
_MOST_CHILDREN = 100
_MOST_GROUPS = 50
_MOST_KNOWN = 1 << 15

_MASK = re.compile(
    r"""
      "(?![A-Z]{3,8}\ /)(?:[^"\\\n]|\\.){0,500}"(?!\s*:)
    | (?<=[A-Z]\ )/\S*\ HTTP/[\d.]+"
    | \b[A-Za-z]:\\[^\s"',;]+
    | \b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b
    | (?<![\w/.:>-])(?:[a-z][a-z0-9+]*:/)?(?:/[\w.@%+~$*?=&\#:-]+){2,}/?
    | \b[\w.+-]+@[\w-]+\.[\w.-]+\b
    | \b0[xX][0-9a-fA-F]+
    | \b(?=[a-fA-F]*\d)[0-9a-fA-F]{6,}\b
    | [-+]?\d+(?:[.:,/_-]\d+)*
    """,
    re.X,
)
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_NUMBER = re.compile(b"0+")


@dataclass(slots=True)
class Template:
    """A group of messages. `words` are what they have in common; `number` counts groups by their first message."""

    number: int
    words: list[str]

    @property
    def text(self) -> str:
        """The words, VARIABLE where they differ."""
        return " ".join(self.words)


class Miner:
    """Groups the messages of one log."""

    def __init__(self) -> None:
        #: Every template, by its number.
        self.templates: list[Template] = []
        self._tree: dict[int, dict[str, list[Template]]] = {}
        self._known: dict[bytes, tuple[int, str]] = {}

    def add(self, message: str) -> tuple[int, str]:
        """The number of the template that `message` has, and the message with what is plainly variable masked."""
        message = message[:_LONGEST]
        # Messages that differ in digits only are one when masked, and so are those whose numbers differ in length.
        digits = message.encode("utf-8", "surrogatepass").translate(_ZEROS)
        known = self._known.get(digits)
        if known is None:
            shape = _NUMBER.sub(b"0", digits)
            known = self._known.get(shape)
            if known is None:
                masked = _MASK.sub(VARIABLE, message)
                known = self._group(masked.split()[:_MOST_WORDS]).number, masked
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[shape] = self._known[digits] = known
        return known

    def _group(self, words: list[str]) -> Template:
        leaf = self._leaf(words)
        best, best_alike = None, 0.0
        for group in leaf:
            alike = _resemblance(group.words, words)
            if alike > best_alike:
                best, best_alike = group, alike
        if best is None or best_alike < _ALIKE:
            variable = _variable_word(leaf, words)
            if variable is not None:
                words = [*words[:variable], VARIABLE, *words[variable + 1 :]]
            best = Template(len(self.templates), words)
            self.templates.append(best)
            if len(leaf) >= _MOST_GROUPS:
                del leaf[0]
            leaf.append(best)
        elif best.words != words:
            best.words = [old if old == new else _merge(old, new) for old, new in zip(best.words, words, strict=True)]
        return best

    def _leaf(self, words: list[str]) -> list[Template]:
        children = self._tree.setdefault(len(words), {})
        first = words[0] if words and VARIABLE not in words[0] else VARIABLE
        if first not in children and len(children) >= _MOST_CHILDREN:
            first = VARIABLE
        return children.setdefault(first, [])


def _resemblance(template: list[str], words: list[str]) -> float:
    """The share of equal words among those that are constant in both; 0 if it is sure to be too small."""
    equal = different = 0
    most = (1 - _ALIKE) * len(words)
    for old, new in zip(template, words, strict=True):
        if old == new:
            equal += old != VARIABLE
        elif old[-1] != ">" or not _covers(old, new):
            different += 1
            if different > most:
                return 0.0
    return equal / (equal + different) if equal or different else 1.0


def _covers(old: str, new: str) -> bool:
    """Whether a template's word is variable, from some point on, and `new` is such a word."""
    return old.endswith(VARIABLE) and new.startswith(old[: -len(VARIABLE)])


def _merge(old: str, new: str) -> str:
    """What two different words have in common: the key of key=value, or nothing."""
    if _covers(old, new):
        return old
    key, sign, _ = old.partition("=")
    return f"{key}={VARIABLE}" if sign and new.startswith(f"{key}=") else VARIABLE


def _variable_word(leaf: list[Template], words: list[str]) -> int | None:
    """Which word alone sets `words` apart from many templates; None if there is no such word."""
    only: Counter[int] = Counter()
    for group in leaf:
        different = (number for number, (old, new) in enumerate(zip(group.words, words, strict=True)) if old != new)
        first = next(different, None)
        if first is not None and next(different, None) is None:
            only[first] += 1
    return next((number for number, count in only.items() if count >= _MANY_VALUES), None)
