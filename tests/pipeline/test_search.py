"""Searching means the same on every store: fusion, filters and snippets are ours."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.search import RRF_K, count_words, fuse, parse_filter, snippet
from pipeline.types import Condition, Hit

NAMES = st.lists(st.sampled_from("abcdefgh"), unique=True)


def hits(names: list[str]) -> list[Hit]:
    """A ranking."""
    return [Hit(1.0, name, "d", "u", "t", "", None, "x", {}) for name in names]


@given(st.lists(NAMES, min_size=1, max_size=3))
def test_fusion_is_the_sum_of_reciprocal_ranks(rankings: list[list[str]]) -> None:
    """Score is the sum of 1 / (60 + rank) over the rankings that have the hit; best first, ties by record id."""
    fused = fuse([hits(ranking) for ranking in rankings])
    expected = {
        name: sum(1 / (RRF_K + ranking.index(name) + 1) for ranking in rankings if name in ranking)
        for ranking in rankings
        for name in ranking
    }
    assert {hit.record_id: hit.score for hit in fused} == pytest.approx(expected)
    assert [hit.record_id for hit in fused] == sorted(expected, key=lambda name: (-expected[name], name))


@given(NAMES, NAMES, st.randoms())
def test_fusion_does_not_care_which_half_came_first(left: list[str], right: list[str], chance: object) -> None:
    """The two halves of a hybrid search are equals."""
    assert [h.record_id for h in fuse([hits(left), hits(right)])] == [
        h.record_id for h in fuse([hits(right), hits(left)])
    ]


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("media_type=application/pdf", Condition("media_type", "=", "application/pdf")),
        ("page>=3", Condition("page", ">=", 3)),
        ("page != 3.5", Condition("page", "!=", 3.5)),
        ("metadata.author=Ada = Byron", Condition("metadata.author", "=", "Ada = Byron")),
        ("metadata.done=true", Condition("metadata.done", "=", True)),
        ("metadata.zip='01234'", Condition("metadata.zip", "=", "01234")),
        ('title="two words"', Condition("title", "=", "two words")),
        ("page<-1e3", Condition("page", "<", -1000)),
    ],
)
def test_a_filter_is_field_operator_value(text: str, condition: Condition) -> None:
    """Numbers are numbers, true and false are booleans, quotes force a string."""
    assert parse_filter(text) == condition


@pytest.mark.parametrize("text", ["", "page", "=3", "page=", "3page=4", "a b=c"])
def test_a_malformed_filter_shows_the_form(text: str) -> None:
    """The message shows what was written and what a filter looks like."""
    with pytest.raises(UsageError, match="FIELD=VALUE"):
        parse_filter(text)


@given(
    st.text(st.characters(exclude_characters="\0\1…", exclude_categories=["Cs"]), max_size=400),
    st.text(max_size=40),
    st.integers(20, 200),
)
def test_a_snippet_is_a_stretch_of_the_text(text: str, query: str, width: int) -> None:
    """Without its marks and dots a snippet stands in the text as it is, on one line, and is not much too long."""
    shown = snippet(text, query, width, lambda word: f"\0{word}\1")
    plain = shown.replace("\0", "").replace("\1", "").removeprefix("… ").removesuffix(" …")
    assert plain in " ".join(text.split())
    assert len(plain) <= max(width, len(" ".join(text.split())[:width])) + 1


def test_a_snippet_shows_and_marks_what_was_asked() -> None:
    """The stretch richest in the query's words is shown; forms of a word are marked, short words are not."""
    text = "Nothing here. " * 40 + "The generator is tested on Mondays. " + "Nothing there. " * 40
    shown = snippet(text, "who is testing the generators", 90, lambda word: f"[{word}]")
    assert "[generator] is [tested]" in shown
    assert shown.startswith("… ")
    assert shown.endswith(" …")
    assert "[is]" not in shown


def test_words_are_counted_in_every_script() -> None:
    """Runs of letters and digits; punctuation and emoji are none."""
    assert count_words("The pump, the 2nd valve — Größe 日本 👍") == 7


@given(st.text(st.characters(max_codepoint=160)))
def test_words_are_counted_alike_in_any_text(text: str) -> None:
    """However many there are: as many as Unicode sees."""
    assert count_words(text) == len(re.findall(r"\w+", text))
