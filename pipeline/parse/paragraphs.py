"""The lines of a column into paragraphs, and their words into running text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from statistics import median
from typing import NamedTuple

from pipeline.parse.geometry import WIDE, Run, is_rtl

BULLET = re.compile(r"(?:[•‣⁃▪▸●○◦■□➢➤►◆◇✦✓✔❖–—*·-]|o(?= {1,8}\S))[ \t]+(?=\S)")
# What may be a bullet, but may also stand between words.
_DASHES = "–—*·-"
NUMBERED = re.compile(r"\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,5})[.)]\s+(?=\S)")
_LEADER = re.compile(r"(.*[^\s.…])\s*[.…][\s.…]{2,}(\d{1,5}|[ivxlc]{1,8})")
_REST_OF_LEADER = re.compile(r"[.…][\s.…]{2,}(?:\d{1,5}|[ivxlc]{1,8})")
_ENDS = (".", "!", "?", ":", ";", "”", '"', ")", "»", "。", "！", "？", "؟", "۔", "।")
HYPHENS = "-\u2010\u00ad"
_HYPHENS = tuple(HYPHENS)
_PARTED = re.compile(rf"(\w[\w-]*)[{HYPHENS}]\Z")
_NO_LETTERS = re.compile(r"[\W_]+")
_FIRST_WORD = re.compile(r"\w+")
_FIRST_LETTER = re.compile(r"[\W_0-9]*(\w?)")
# After "pre- and post-" the hyphen stands for the second word's end. The short ones are syllables in other languages:
# a conjunction is one word in so many.
_CONJUNCTIONS = {"and", "or", "und", "oder", "bzw", "och"}
_SHORT_CONJUNCTIONS = {"et", "ou", "y", "e", "o", "en", "of", "og", "to"}
_ONE_IN, _FEWEST = 200, 3
_LONGEST_HEADING = 3  # lines
_AROUND = 3  # lines above and below, which show how far a column reaches here


class Paragraph(NamedTuple):
    """Lines that belong together; those at `breaks` start on a new line for a reason.

    `full` says whether the last line leaves no room for a word, so that the text may go on elsewhere.
    """

    lines: Sequence[Run]
    breaks: Sequence[int] = ()
    full: bool = False


def entry_of(text: str) -> tuple[str, str] | None:
    """Title and page of an entry of a table of contents: they are parted by a row of dots; None if it is none."""
    if "…" not in text and "..." not in text and ". . ." not in text:
        return None
    found = _LEADER.fullmatch(text.strip())
    return (found[1], found[2]) if found else None


class Words:
    """Joins lines into text; of two spellings of a word, those of the document's `texts` decide."""

    def __init__(self, texts: Callable[[], Iterable[str]]) -> None:
        self._texts = texts

    @cached_property
    def _known(self) -> Counter[str]:
        known: Counter[str] = Counter()
        for word, count in Counter(" ".join(self._texts()).split()).items():
            known[word.strip("().,;:!?\"'“”‘’[]").casefold()] += count
        return known

    def _is_conjunction(self, word: str) -> bool:
        if word in _SHORT_CONJUNCTIONS:
            return self._known[word] >= max(_FEWEST, self._known.total() / _ONE_IN)
        return word in _CONJUNCTIONS

    def text(self, paragraph: Paragraph) -> str:
        """Its lines in one, with line feeds only before those at `breaks`."""
        text = ""
        for number, line in enumerate(paragraph.lines):
            here = " ".join(line.text.split())
            text = self.join(text, here, "\n" if number in paragraph.breaks else " ") if text else here
        return text

    def join(self, before: str, after: str, between: str = " ") -> str:
        """The two as one text: a word that a hyphen parts is made whole, else they stand apart by `between`."""
        parted = _PARTED.search(before, before.rfind(" ") + 1) if before.endswith(_HYPHENS) else None
        if parted and (rest := _FIRST_WORD.match(after)):
            hyphen = self._hyphen(parted.group(1), rest.group(), before[-1], after[rest.end() : rest.end() + 1])
            return before[:-1] + hyphen + after
        if between == " " and WIDE.match(before[-1:]) and WIDE.match(after):  # Chinese and Japanese part no words
            between = ""
        return before + between + after

    def _hyphen(self, head: str, tail: str, hyphen: str, following: str) -> str:
        """What stands between the two halves of a word once its line is joined with the next."""
        if hyphen == "\u00ad":
            return ""
        if following in ("", " ") and self._is_conjunction(tail):
            return "- "
        if following == "-" or not tail[0].islower() or not head[-1].isalpha():
            return "-"
        if f"{head}{tail}".casefold() in self._known:
            return ""
        return "-" if "-" in head or f"{head}-{tail}".casefold() in self._known else ""


def leading_of(columns: Iterable[Sequence[Run]]) -> float:
    """The usual distance of lines in these columns, in sizes of their type; 1.2 if there is none."""
    steps = [
        (above.base - below.base) / max(above.size, below.size) for lines in columns for above, below in pairwise(lines)
    ]
    usual = [step for step in steps if 0.5 < step < 3]
    return median(usual) if usual else 1.2


def paragraphs(lines: Sequence[Run], headings: Mapping[str, int], leading: float) -> Iterator[Paragraph]:
    """The paragraphs of a column: by distance, type, indentation, how full its lines are, and what the outline names.

    `headings` are the keys of the outline's entries, `leading` is the usual distance of lines in sizes of type.
    """
    column = _Column(lines, leading)
    starts = {number for number, line in enumerate(lines) if may_be_heading(line.text, headings)} if headings else ()
    at = 0
    while at < len(lines):
        end = at + _heading_at(lines, at, headings) if at in starts else at
        breaks: list[int] = []
        if end == at:
            end += 1
            while end < len(lines) and not (end in starts and _heading_at(lines, end, headings)):
                verdict = column.parted(at, end)
                if verdict == _NEW:
                    break
                if verdict == _LINE:
                    breaks.append(end - at)
                end += 1
        yield Paragraph(lines[at:end], breaks, column.full(end - 1))
        at = end


_SAME, _LINE, _NEW = range(3)


class _Column:
    """The lines of a column, from where each starts to where it ends, whichever way they are read."""

    def __init__(self, lines: Sequence[Run], leading: float) -> None:
        self._lines = lines
        own = [lines] if len(lines) > 2 * _AROUND else []
        self._leading = leading_of(own) if own else leading
        rtl = 2 * sum([is_rtl(line.text) for line in lines]) > len(lines)
        self._starts = [-line.right if rtl else line.left for line in lines]
        self._ends = [-line.left if rtl else line.right for line in lines]
        self._reach = max(self._ends)
        self._blocks = list(accumulate((self._far(at) for at in range(1, len(lines))), initial=0))

    def _far(self, at: int) -> bool:
        """Whether line `at` is further from the one above it than lines of a paragraph are."""
        above, below = self._lines[at - 1], self._lines[at]
        return above.base - below.base > 1.3 * self._leading * max(above.size, below.size)

    def parted(self, first: int, at: int) -> int:
        """Whether line `at` goes on with the paragraph that starts at `first`, on a new line or as a new paragraph."""
        above, below = self._lines[at - 1], self._lines[at]
        size = max(above.size, below.size)
        if above.base - below.base < 0.5 * size:  # what is left of a row
            return _SAME
        if entry_of(below.text) or entry_of(above.text):
            return _NEW
        if _REST_OF_LEADER.fullmatch(below.text):
            return _SAME
        if self._far(at) or size > 1.12 * min(above.size, below.size):
            return _NEW
        text = above.text.rstrip()
        ended = text.endswith(_ENDS)
        # How far lines go around here, of paragraphs that are not set apart.
        near = range(max(0, at - _AROUND), min(len(self._lines), at + _AROUND))
        reach = max([self._ends[other] for other in near if self._blocks[other] == self._blocks[at]])
        room = reach - self._ends[at - 1]
        # Where the next line's first word would have fitted, the line was ended for a reason.
        fits = room > _first_word(below) + 0.5 * size and text[-1:] not in HYPHENS
        bullet = BULLET.match(below.text)
        if bullet and (ended or fits or below.text[0] not in _DASHES or BULLET.match(above.text)):
            return _NEW
        if fits and (ended or NUMBERED.match(below.text) or above.bold != below.bold or above.mono != below.mono):
            return _NEW
        if ended and NUMBERED.match(below.text):
            return _NEW
        indent = self._starts[at] - self._starts[at - 1]
        item = BULLET.match(self._lines[first].text) or NUMBERED.match(self._lines[first].text)
        # What goes on with an item stands below its text or at the margin, never left of its number with its own.
        if item and NUMBERED.match(below.text) and self._starts[first] - self._starts[at] > 0.8 * size:
            return _NEW
        if (ended or fits) and indent > 0.8 * size and not item:
            return _NEW
        if (ended or fits) and -indent > 0.8 * size and (item or at - first > 1):
            return _NEW
        return _LINE if fits and room > 0.25 * (reach - min(self._starts[first : at + 1])) else _SAME

    def full(self, at: int) -> bool:
        """Whether line `at` ends where the column does."""
        return self._reach - self._ends[at] < 3 * self._lines[at].size


def _first_word(line: Run) -> float:
    """About how wide the first word of a line is."""
    text = line.text.strip()
    letters = 1 if WIDE.match(text) else len(text.split(None, 1)[0])
    return (line.right - line.left) * letters / len(text)


def _heading_at(lines: Sequence[Run], at: int, headings: Mapping[str, int]) -> int:
    """How many lines from `at` on are a heading of the outline; 0 if they are none."""
    key = ""
    for size in range(1, _LONGEST_HEADING + 1):
        if at + size > len(lines):
            break
        key += _letters(lines[at + size - 1].text)
        known = key.lstrip("0123456789") or key
        if known in headings:
            return size
        if not any(heading.startswith(known) for heading in headings):
            break
    return 0


def may_be_heading(text: str, headings: Iterable[str]) -> bool:
    """Whether any heading starts as `text` does: most lines are told from one by their first letter."""
    found = _FIRST_LETTER.match(text)
    start = found[1].casefold()[:1] if found else ""
    return not start or start in {heading[:1] for heading in headings}


def heading_key(text: str) -> str:
    """What a heading is known by: its letters and digits without the section number that it may carry."""
    key = _letters(text)
    return key.lstrip("0123456789") or key


def _letters(text: str) -> str:
    return _NO_LETTERS.sub("", text.casefold())
