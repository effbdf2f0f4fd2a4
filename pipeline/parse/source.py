"""Source files: a function or class stays together, under the names of what it is in.

No grammar of any language is needed for that: what a line that is indented less begins, the lines indented more go on
with; a line that looks like a definition has the name that is defined; comments and decorators above belong to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.parse.builder import Builder
from pipeline.types import Parsed

SOURCE = "text/x-source"

_EXTENSIONS = {
    "Python": "py pyi", "Cython": "pyx", "JavaScript": "js mjs cjs jsx", "TypeScript": "ts tsx", "Java": "java",
    "Kotlin": "kt kts", "Scala": "scala", "Groovy": "groovy gradle", "C": "c h", "C++": "cc cpp cxx hh hpp hxx",
    "C#": "cs", "F#": "fs", "Visual Basic": "vb", "Go": "go", "Rust": "rs", "Swift": "swift", "Objective-C": "m mm",
    "Ruby": "rb", "Perl": "pl pm", "PHP": "php", "R": "r", "Julia": "jl", "Lua": "lua", "Dart": "dart",
    "Elixir": "ex exs", "Erlang": "erl", "Haskell": "hs", "OCaml": "ml", "Clojure": "clj", "Lisp": "lisp el",
    "Scheme": "scm", "shell": "sh bash zsh fish", "PowerShell": "ps1", "batch": "bat cmd", "SQL": "sql",
    "Protocol Buffers": "proto", "GraphQL": "graphql", "Terraform": "tf", "CSS": "css scss less", "Vue": "vue",
    "Svelte": "svelte", "Fortran": "f90 f for", "Pascal": "pas", "assembly": "asm s", "Verilog": "v", "VHDL": "vhd",
    "CMake": "cmake", "make": "mk", "Zig": "zig", "YAML": "yaml yml", "TOML": "toml", "INI": "ini cfg",
    "properties": "properties",
}  # fmt: skip
_FILES = {
    "make": "Makefile GNUmakefile", "Dockerfile": "Dockerfile", "CMake": "CMakeLists.txt", "Groovy": "Jenkinsfile",
    "Ruby": "Rakefile Gemfile Vagrantfile",
}  # fmt: skip
#: What a file's extension says of its language, and what its name does, if files are called that everywhere.
LANGUAGES = {extension: language for language, all_ in _EXTENSIONS.items() for extension in all_.split()}
NAMES = {name: language for language, all_ in _FILES.items() for name in all_.split()}
_INTERPRETERS = {
    "python": "Python", "node": "JavaScript", "perl": "Perl", "ruby": "Ruby", "php": "PHP", "sh": "shell",
    "Rscript": "R", "lua": "Lua",
}  # fmt: skip

# Languages in which what belongs to a name stands below it, and not further in.
_SECTIONED = {"INI", "TOML", "YAML"}
_TAB = 4
# A block longer than this is taken apart into what it has inside.
_LONG = 2000
_DEEPEST = 6

_WORDS = (
    "public|private|protected|internal|static|final|abstract|async|export|default|extern|inline|virtual|override|pub"
    r"|pub\([^)]*\)|unsafe|const|sealed|open|data|partial|readonly|declare|local|synchronized|native|constexpr|friend"
)
_DEFINITION = re.compile(
    rf"\s*(?:(?:{_WORDS})\s+)*"
    r"(?:(?:class|interface|trait|struct|enum|union|module|namespace|object|protocol|extension|record|impl|defmodule)\s+"
    r"|(?:def|defp|fn|func|fun|function|sub|proc|procedure|macro|defmacro|subroutine)\b\s*\*?\s*(?:\([^)]*\)\s*)?"
    r"|create(?:\s+or\s+replace)?\s+(?:\w+\s+)?(?:table|view|function|procedure|trigger|index|type)\s+"
    r"(?:if\s+not\s+exists\s+)?"
    r"|(?:message|service|rpc|type|resource|variable|output|module|provider|data)\s+(?=.*[{=]))"
    r"(?P<name>[\w$.:\"`\[\]~]+[?!]?)",
    re.I,
)
# name(…) {   as functions of C and its kin begin, whatever they return
_FUNCTION = re.compile(
    r"\s*(?:[\w:<>,*&\[\]~.?@]+\s+)*[*&]*(?P<name>~?[\w:$]+)\s*\([^;{}]*\)\s*(?:[\w\s:,<>&*?.\[\]()|-]*?)(?:\{|=>|\Z)"
)
_ASSIGNED = re.compile(
    r"\s*(?:export\s+)?(?:const|let|var)\s+(?P<name>[\w$]+)\s*(?::[^=]+)?=\s*(?:async\s*)?(?:function\b|\(|[\w$]+\s*=>|class\b)"
)
_SECTION = re.compile(r"\[+(?P<name>[^\[\]\n]+)\]+\s*(?:[#;].*)?$")
_KEY = re.compile(r"(?P<name>[\w\"'./-]+)\s*:\s*(?:#.*)?$")
_NO_NAMES = set(
    "if for while switch catch return else elif with do try using match foreach lock unless until when and or not "
    "in new throw assert print sizeof await yield case super this self import from require raise".split()
)
_CLOSES = re.compile(
    r"\s*(?:[\])}]|end\b|fi\b|done\b|esac\b|else\b|elif\b|except\b|catch\b|finally\b|rescue\b|ensure\b|case\b)"
)
# What stands above a definition and is part of it.
_ABOVE = re.compile(r"\s*(?:#(?!include|define|if|endif|pragma)|//|/\*|\*|--|;|@\w|\[\w|\"\"\"|'''|%|template\s*<)")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Lines `start` to `end` (exclusive), and the name of what they define, "" if they define nothing."""

    start: int
    end: int
    name: str


def parse(data: bytes, uri: str) -> Parsed:
    """A block of kind "code" a definition, with its name as heading; classes that are long are taken apart by methods.

    Headings are levels of names, from outside to inside. `metadata` has the `programming_language` where it is known.
    """
    builder = Builder()
    lines = [line.rstrip() for line in builder.decode(data).split("\n")]
    language = _language(uri, lines[0] if lines else "")
    _Code(builder, lines, language).add(0, len(lines), 1, uri.rpartition("/")[2] or "file")
    return builder.build(SOURCE, metadata={"programming_language": language})


def _language(uri: str, first: str) -> str:
    file = uri.rpartition("/")[2]
    known = NAMES.get(file) or LANGUAGES.get(file.rpartition(".")[2].lower())
    if known:
        return known
    interpreter = re.match(r"#!\s*\S*?(?:/env\s+)?([A-Za-z]+)[\d.]*(?:\s|$)", first.replace("/env ", "/"))
    called = interpreter.group(1) if interpreter else "php" if first.startswith("<?php") else ""
    if not called and first.startswith("#!"):
        called = re.split(r"[\s/]+", first.strip())[-1].rstrip("0123456789.")
    return _INTERPRETERS.get(called, "shell" if called.endswith("sh") else "")


class _Code:
    def __init__(self, builder: Builder, lines: Sequence[str], language: str) -> None:
        self._builder = builder
        self._lines = lines
        self._language = language
        self._said = _said(lines)

    def add(self, start: int, end: int, level: int, around: str) -> None:
        """Append the lines from `start` to `end`: what each defines under its name, the rest as it stands.

        What follows a definition, and is not part of it, comes under the name of what is `around` both.
        """
        defined = False
        for piece in self._pieces(start, end):
            if piece.name or (defined and any(self._lines[piece.start : piece.end])):
                self._builder.add("heading", piece.name or around, level=level)
            defined |= bool(piece.name)
            long = sum(map(len, self._lines[piece.start : piece.end])) > _LONG
            inside = self._inside(piece) if piece.name and long and level < _DEEPEST else None
            if inside is None:
                self._code(piece.start, piece.end)
            else:
                self._code(piece.start, inside)
                self.add(inside, piece.end, level + 1, piece.name)

    def _code(self, start: int, end: int) -> None:
        self._builder.add("code", "\n".join(self._lines[start:end]))

    def _inside(self, piece: _Piece) -> int | None:
        """Where the first definition inside of `piece` begins; None if there is none."""
        head = next(at for at in range(piece.start, piece.end) if self._name(at))
        deeper = [at for at in range(head + 1, piece.end) if self._lines[at] and not _CLOSES.match(self._lines[at])]
        if not deeper:
            return None
        least = min(_indent(self._lines[at]) for at in deeper)
        if least <= _indent(self._lines[head]):
            return None
        named = next((at for at in deeper if _indent(self._lines[at]) == least and self._name(at)), None)
        return None if named is None else self._with_what_is_above(named, head + 1)

    def _pieces(self, start: int, end: int) -> Iterator[_Piece]:
        """The stretches that begin at the least indentation, those without a name joined."""
        filled = [at for at in range(start, end) if self._lines[at] and not _CLOSES.match(self._lines[at])]
        if not filled:
            yield _Piece(start, end, "")
            return
        least = min(_indent(self._lines[at]) for at in filled)
        begins = [(at, name) for at in filled if _indent(self._lines[at]) == least and (name := self._name(at))]
        at = start
        for number, (line, name) in enumerate(begins):
            begin = max(at, self._with_what_is_above(line, at))
            if begin > at:
                yield _Piece(at, begin, "")
            limit = begins[number + 1][0] if number + 1 < len(begins) else end
            at = self._end(line, limit, least)
            yield _Piece(begin, at, name)
        if at < end:
            yield _Piece(at, end, "")

    def _end(self, line: int, limit: int, indent: int) -> int:
        """Where what begins in `line` ends: before the next line that is not indented more and closes nothing."""
        if self._language in _SECTIONED:
            return limit - (limit - self._with_what_is_above(limit, line + 1) if limit < len(self._lines) else 0)
        signature = True
        for at in range(line + 1, limit):
            text = self._lines[at]
            if not text or _indent(text) > indent:
                signature &= not text or text.rstrip()[-1:] not in "{:"
                continue
            if not (_CLOSES.match(text) or (signature and text.strip() == "{")):
                return at
            signature = False
        return limit

    def _with_what_is_above(self, line: int, first: int) -> int:
        """The line where comments and decorators of the definition in `line` begin."""
        indent = _indent(self._lines[line])
        at = line
        while (
            at > first
            and self._lines[at - 1]
            and _indent(self._lines[at - 1]) >= indent
            and _ABOVE.match(self._lines[at - 1])
        ):
            at -= 1
        return at

    def _name(self, at: int) -> str:
        line = self._lines[at][:500]
        if at in self._said:
            return ""
        if self._language in ("INI", "TOML"):
            found = _SECTION.match(line)
        elif self._language == "YAML":
            found = _KEY.match(line)
        elif self._language in ("properties", "CSS", "make", "Dockerfile"):
            return ""
        else:
            found = _DEFINITION.match(line) or _ASSIGNED.match(line) or self._function(at)
        name = found.group("name").strip("\"`'[]: ") if found else ""
        return "" if name.lower() in _NO_NAMES else name

    def _function(self, at: int) -> re.Match[str] | None:
        """Only of languages that mark a function by nothing but its braces."""
        line = self._lines[at][:400]
        before = line.partition("(")[0]
        if (
            "(" not in line
            or "=" in before
            or not before.strip()
            or before.split()[0] in _NO_NAMES
            or _ABOVE.match(line)
        ):
            return None
        while line.count("(") > line.count(")") and len(line) < 400 and at + 1 < len(self._lines):
            at += 1
            line = f"{line} {self._lines[at][:100].strip()}"
        if line.rstrip()[-1:] not in "{}" and "".join(self._lines[at + 1 : at + 2]).strip() != "{":
            return None
        return _FUNCTION.match(line)


def _said(lines: Sequence[str]) -> set[int]:
    """Lines that go on with a text of several lines or a comment: what they look like, they are not."""
    inside: set[int] = set()
    end = ""
    for at, line in enumerate(lines):
        if end:
            inside.add(at)
            if end in line:
                end = ""
            continue
        for begin, its_end in (('"""', '"""'), ("'''", "'''"), ("/*", "*/")):
            if begin in line and its_end not in line.partition(begin)[2]:
                end = its_end
                break
    return inside


def _indent(line: str) -> int:
    expanded = line.expandtabs(_TAB)
    return len(expanded) - len(expanded.lstrip())
