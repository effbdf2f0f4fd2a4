"""Running headers and footers, page numbers and watermarks: what repeats from page to page, at its edges."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

from pipeline.parse.geometry import Run, rows_of

_EDGE = 0.18  # of a page's height, at its top and at its bottom
_MOST_LINES = 5  # of a header or footer
_FEWEST = 3  # pages, or all of two, where it stands apart
_DENSITY = 0.4  # of the pages between the first and the last: it may be a chapter's, or on every other page
_MOST = 0.8  # of the pages
_PART = 0.5  # of the pages: on fewer it is the header of a part
# Times the type of the text: what is larger is a title, though it be that of ten slides, unless it is on so many.
_LARGEST, _MANY = 1.3, 20
_DIGITS = re.compile(r"\d{1,9}")
_ROMAN = re.compile(r"[ivxlc]{1,8}|[IVXLC]{1,8}")
_VALUES = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
_NUMBER = "\0"  # stands for any
_MOST_KEPT = 20
_LONGEST = 200


class Page(Protocol):
    """A page as far as it matters here."""

    @property
    def number(self) -> int:
        """From 1."""

    @property
    def height(self) -> float:
        """In points."""

    @property
    def runs(self) -> Sequence[Run]:
        """In any order."""


class Running(NamedTuple):
    """`places` are, for each page, the orders of the runs that repeat; `metadata` is what they say, each once."""

    places: Mapping[int, set[int]]
    metadata: Mapping[str, list[str]]


class _Seen(NamedTuple):
    page: int
    run: Run
    apart: bool
    numbers: tuple[int, ...]


def find_running(pages: Sequence[Page], body: float) -> Running:
    """What repeats at the edges of pages whose text is of the size `body`.

    The same words at the same height on enough pages, with numbers that stay the same or count the pages.
    """
    groups: dict[tuple[str, str], list[_Seen]] = defaultdict(list)
    texts: set[int] = set()
    for page in pages:
        shown = hash(tuple(run.text for run in page.runs))
        if shown in texts:  # a page that is there twice repeats everything
            continue
        texts.add(shown)
        for zone, run, apart in _at_edges(page):
            words, numbers = _counted(run.text)
            groups[zone, words].append(_Seen(page.number, run, apart, numbers))
    repeated = [
        (zone, kept)
        for (zone, words), seen in groups.items()
        for kept in _repeated(seen, len(texts), words == _NUMBER)
        if kept[0].run.size <= _LARGEST * body or len(kept) >= _MANY
    ]
    places: dict[int, set[int]] = defaultdict(set)
    metadata: dict[str, list[str]] = {"headers": [], "footers": []}
    repeated = list(_outside_text(groups, repeated))
    repeated += _in_their_place(groups, repeated, len(texts))
    for _, kept in repeated:
        for one in kept:
            places[one.page].add(one.run.order)
    for zone, kept in repeated:
        said, text = metadata["footers" if zone == "bottom" else "headers"], " ".join(kept[0].run.text.split())
        if len(said) < _MOST_KEPT and text[:_LONGEST] not in said:
            said.append(text[:_LONGEST])
    for one in _titles(pages, places, [kept for zone, kept in repeated if zone == "top"], len(texts)):
        places[one.page].discard(one.run.order)
    if sum(map(len, places.values())) == sum(len(page.runs) for page in pages):
        return Running(defaultdict(set), {})  # a document of nothing else is about that
    return Running(places, metadata)


def _outside_text(
    groups: Mapping[tuple[str, str], Sequence[_Seen]], repeated: Sequence[tuple[str, Sequence[_Seen]]]
) -> Iterator[tuple[str, Sequence[_Seen]]]:
    """Those that stand where most pages have something that repeats: a text's first line is not one of them."""
    here: dict[tuple[str, int], set[int]] = defaultdict(set)
    for (zone, _), seen in groups.items():
        for one in seen:
            here[zone, _level(one)].add(one.page)
    running: dict[tuple[str, int], set[int]] = defaultdict(set)
    for zone, kept in repeated:
        for one in kept:
            running[zone, _level(one)].add(one.page)
    for zone, kept in repeated:
        level = zone, _level(kept[0])
        if len(running[level]) >= _DENSITY * len(here[level]):
            yield zone, kept


def _in_their_place(
    groups: Mapping[tuple[str, str], Sequence[_Seen]], repeated: Sequence[tuple[str, Sequence[_Seen]]], count: int
) -> list[tuple[str, list[_Seen]]]:
    """Lines that no other page has, where nearly every page has one that repeats: those of a short part."""
    pages: dict[tuple[str, int], set[int]] = defaultdict(set)
    sizes: dict[tuple[str, int], float] = defaultdict(float)
    for zone, kept in repeated:
        for one in kept:
            place = zone, _level(one)
            pages[place].add(one.page)
            sizes[place] = max(sizes[place], one.run.size)
    taken = {place for place, on in pages.items() if place[0] != "side" and len(on) >= max(_MANY, _MOST * count)}
    known = {(one.page, one.run.order) for _, kept in repeated for one in kept}
    return [
        (zone, [one])
        for (zone, _), seen in groups.items()
        for one in seen
        if one.apart
        and (place := (zone, _level(one))) in taken
        and one.run.size <= sizes[place]
        and (one.page, one.run.order) not in known
    ]


def _titles(
    pages: Sequence[Page], places: Mapping[int, set[int]], headers: Iterable[Sequence[_Seen]], count: int
) -> list[_Seen]:
    """Where a part's headers start that nothing else on `pages` says: they are its title."""
    first = [kept[0] for kept in headers if len(kept) < _PART * count and _DIGITS.sub("", kept[0].run.text).strip()]
    if not first:
        return []
    left = {
        " ".join(run.text.split()).casefold() for page in pages for run in page.runs
        if run.order not in places.get(page.number, ())
    }  # fmt: skip
    return [one for one in first if " ".join(one.run.text.split()).casefold() not in left]


def _level(seen: _Seen) -> int:
    return round(seen.run.base / 3)


def _at_edges(page: Page) -> Iterator[tuple[str, Run, bool]]:
    """The runs at the top and bottom of a page, and those that run another way; and whether they stand apart."""
    level = [run for run in page.runs if run.turn == 0]
    yield from (("side", run, True) for run in page.runs if run.turn)
    ends = (
        ("top", [run for run in level if run.base > (1 - _EDGE) * page.height]),
        ("bottom", [run for run in level if run.base < _EDGE * page.height]),
    )
    for zone, runs in ends:
        rows = rows_of(runs)
        if zone == "bottom":
            rows.reverse()
        for number, row in enumerate(rows[:_MOST_LINES]):
            step = abs(row[0].base - rows[number + 1][0].base) if number + 1 < len(rows) else page.height
            yield from ((zone, run, number == 0 and step > 1.6 * run.size) for run in row)


def _counted(text: str) -> tuple[str, tuple[int, ...]]:
    """The words of a line with a sign for each number, and the numbers."""
    words = " ".join(text.casefold().split())
    roman = words.strip("-–—[]() .")
    if _ROMAN.fullmatch(roman):
        values = [_VALUES[letter] for letter in roman]
        return _NUMBER, (sum(-a if a < b else a for a, b in pairwise([*values, 0])),)
    counted = _DIGITS.sub(_NUMBER, words)
    alone = counted.strip("-–—[]() .") == _NUMBER
    return _NUMBER if alone else counted, tuple(map(int, _DIGITS.findall(words)))


def _repeated(seen: Sequence[_Seen], pages: int, number: bool) -> Iterator[Sequence[_Seen]]:
    """Those of the same words that are a running line: page numbers of one sequence each, other lines together."""
    sequences: dict[object, list[_Seen]] = defaultdict(list)
    for one in seen:
        sequences[one.numbers[0] - one.page if number else _level(one)].append(one)
    if number:
        for one in seen:
            sequences["=", one.numbers[0]].append(one)
    for kept in sequences.values():
        on = sorted({one.page for one in kept})
        enough = len(on) >= _FEWEST or (len(on) == 2 == pages and all(one.apart for one in kept))
        if enough and len(on) >= _DENSITY * (on[-1] - on[0] + 1) and (number or _counting(kept)):
            yield kept


def _counting(seen: Sequence[_Seen]) -> bool:
    """Whether every number in the line stays as it is from page to page, or grows with it."""
    by_page = sorted(seen, key=lambda one: one.page)
    for at in range(len(by_page[0].numbers)):
        steady = sum(
            below.numbers[at] - above.numbers[at] in (0, below.page - above.page) for above, below in pairwise(by_page)
        )
        if steady < 0.7 * (len(by_page) - 1):
            return False
    return True
