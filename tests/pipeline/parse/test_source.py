"""Source files: definitions stay together, under their names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parse import parse
from pipeline.parse.source import parse as parse_source
from tests.pipeline.parse.law import blocks, levels, obeys_the_law

LINES = st.lists(
    st.sampled_from(
        ["def f():", "    return 1", "class A:", "    def g(self):", "}", "int main(void)", "{", "@x", "# c", '"""',
         "/*",
         "*/", "", "function f() {", "  x = 3;", "[a]", "k: v", "end"]
    )
    | st.text(max_size=20),
    max_size=30,
)  # fmt: skip
EXAMPLES = {
    "a.py": (
        "import x\n\n# lights\n@once\ndef light(lamp):\n    return 1\n\n\nclass Keeper:\n    name = 'A'\n",
        ["light", "Keeper"],
    ),
    "a.java": ("package a;\n\n/** Pumps. */\n@Entity\npublic class Pump extends T {\n    int x;\n}\n", ["Pump"]),
    "a.c": (
        "#include <x.h>\n\nstatic int add(int a,\n               int b)\n{\n    return a;\n}\n\nint main(void) {\n}\n",
        ["add", "main"],
    ),
    "a.ts": (
        "import a from 'b';\nexport const f = (x: T) => {\n  return x;\n};\nexport function g() {\n}\n",
        ["f", "g"],
    ),
    "a.go": ("package main\n\n// Add adds.\nfunc (s *S) Add(a int) int {\n\treturn a\n}\n", ["Add"]),
    "a.rs": ("use x;\n\npub fn lift(t: u8) -> u8 {\n    t\n}\n", ["lift"]),
    "a.rb": ("def lift(t)\n  t\nend\n\nclass Crane\nend\n", ["lift", "Crane"]),
    "a.sh": ("set -e\nlift() {\n  echo hi\n}\n", ["lift"]),
    "a.sql": (
        "CREATE TABLE IF NOT EXISTS ports (\n  id int\n);\ncreate or replace view v as select 1;\n",
        ["ports", "v"],
    ),
    "a.toml": ("a = 1\n\n[tool.x]\nb = 2\n\n[tool.y]\nc = 3\n", ["tool.x", "tool.y"]),
    "a.yaml": ("name: x\njobs:\n  build:\n    - a\non:\n- b\n", ["jobs", "on"]),
}


@given(LINES, st.sampled_from(list(EXAMPLES)))
def test_any_lines_obey_the_law_and_none_is_lost(lines: list[str], name: str) -> None:
    """Whatever a file holds, every word of it is in some block of code, in order."""
    parsed = parse_source("\n".join(lines).encode("utf-8", "replace"), name)
    obeys_the_law(parsed)
    if all(line.isascii() and line.isprintable() for line in lines):
        code = [word for kind, text in blocks(parsed) if kind == "code" for word in text.split()]
        assert code == "\n".join(lines).split()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_definition_is_a_block_under_its_name(name: str) -> None:
    """In many languages, with what stands above it: comments, decorators, annotations."""
    text, names = EXAMPLES[name]
    parsed = parse(text.encode(), name)
    assert [title for _, title in levels(parsed, "heading")] == names
    assert parsed.metadata["programming_language"] and parsed.language == ""
    assert not any(text.startswith(("def light", "public class", "func ")) for _, text in blocks(parsed)), "torn apart"


def test_long_classes_are_taken_apart_by_methods() -> None:
    """A method's path is class and name; what follows it on the same level is under the class again."""
    body = "        x = 1\n" * 100
    lift, drop = (f"    def {name}(self):\n{body}\n" for name in ("lift", "drop"))
    text = f"class Crane:\n    tons = 4\n\n    # up\n{lift}{drop}    more = 5\n"
    parsed = parse(text.encode(), "a.py")
    assert levels(parsed, "heading") == [(1, "Crane"), (2, "lift"), (2, "drop"), (2, "Crane")]
    assert blocks(parsed)[1] == ("code", "class Crane:\n    tons = 4")
    assert blocks(parsed)[3][1].startswith("    # up\n    def lift")


def test_what_a_text_says_is_no_definition() -> None:
    """A comment or string of several lines that speaks of a class defines none."""
    assert levels(parse(b'"""\nclass of its own\ndef inition\n"""\nx = 1\n', "a.py"), "heading") == []
    assert levels(parse(b"/*\nclass Old {}\n*/\nint x;\n", "a.c"), "heading") == []


def test_our_own_code_is_read_in_whole_definitions() -> None:
    """Of real modules, every block that starts a function holds all of it."""
    for path in sorted(Path(__file__).resolve().parents[3].glob("pipeline/*.py")):
        source = path.read_text(encoding="utf-8")
        parsed = parse(source.encode(), path.name)
        for kind, text in blocks(parsed):
            if kind == "code" and text.startswith("def "):
                compile(text, path.name, "exec", dont_inherit=True)
