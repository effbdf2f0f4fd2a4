from __future__ import annotations

import pytest

from connectors.sources.globs import Pattern, has_magic


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.md", "a.md", True),
        ("*.md", "a.txt", False),
        ("*.md", "sub/a.md", False),
        ("*", "a", True),
        ("?.md", "ab.md", False),
        ("[ab].md", "b.md", True),
        ("[!ab].md", "b.md", False),
        ("**", "a", True),
        ("**", "a/b/c", True),
        ("**/*.md", "a.md", True),
        ("**/*.md", "x/y/a.md", True),
        ("**/*.md", "x/y/a.md/z", False),
        ("x/**/y/*.md", "x/y/a.md", True),
        ("x/**/y/*.md", "x/1/y/2/y/a.md", True),
        ("x/**/y/*.md", "x/1/a.md", False),
        ("**/**/a", "a", True),
        ("*/*", "a", False),
        ("**", ".hidden", False),
        ("**", "x/.hidden/a", False),
        ("*", ".hidden", False),
        (".*", ".hidden", True),
        (".git/*", ".git/config", True),
        ("*.md", "A.MD", False),
        ("*.md", "two\nlines.md", True),
        ("a.md", "axmd", False),
    ],
)
def test_a_glob_matches_names_one_by_one(pattern: str, path: str, matches: bool) -> None:
    assert Pattern(pattern.split("/")).matches(path.split("/")) is matches


def test_a_walk_stops_where_no_match_can_be() -> None:
    pattern = Pattern(["docs", "*.md"])
    assert not pattern.step(pattern.start, "other")
    inside = pattern.step(pattern.start, "docs")
    assert inside and not pattern.accepts(inside)
    assert pattern.accepts(pattern.step(inside, "a.md"))
    assert not pattern.step(pattern.step(inside, "a.md"), "below")


def test_magic_is_what_means_something() -> None:
    assert has_magic("a*") and has_magic("a?") and has_magic("[a]")
    assert not has_magic("a{b}!^~")
