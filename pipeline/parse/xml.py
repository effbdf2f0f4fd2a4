"""XML of no kind that we know: running text as paragraphs, records as the names and values that they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html.entities import html5
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.parse.decode import join_halves
from pipeline.parse.html import add_html
from pipeline.types import Parsed

_DECLARED = re.compile(rb"\A\s*<\?xml[^>]{0,100}?encoding\s*=\s*[\"']([\w.:-]+)")
_PROLOGUE = re.compile(r"\A\s*<\?xml[^>]*\?>")
_NAMED = re.compile(r"&(\w{1,32};)")
_KNOWN = ("amp;", "lt;", "gt;", "quot;", "apos;")
# Feeds carry pages as text.
_MARKUP = re.compile(r"</?(?:p|div|br|a|span|b|i|em|strong|ul|ol|li|img|h[1-6]|table)\b[^<>]*>", re.I)
# The library compares each attribute of an element with every other.
_LONG_TAG = re.compile(r"<[^<>]{100000,}")
_MOST_ATTRIBUTES = 5000
_TITLES = ("title", "head", "heading")
_LONGEST_TITLE = 300
# What is said of an element for programs, and not for readers.
_TECHNICAL = {"id", "class", "style", "role", "lang", "space", "base", "schemaLocation", "version", "href", "rel"}


def parse(data: bytes, uri: str) -> Parsed:
    """A paragraph for each element that holds text, markup inside of it or not; "name: value" lines for records.

    Records are elements whose children hold nothing but a value and have different names. A title is a heading, one
    level below that of the nearest element around. No entity is expanded or fetched. A file that breaks off is read as
    far as it goes, with a warning. Raises Rejected if elements are nested more than 255 deep.
    """
    from lxml import etree

    builder = Builder()
    declared = _DECLARED.match(data[:200])
    text = _PROLOGUE.sub("", builder.decode(data, declared.group(1).decode() if declared else None)).replace("\0", "")
    if "<!ENTITY" not in text:  # names that HTML knows and XML does not are common in feeds
        text = _NAMED.sub(lambda name: name.group() if name.group(1) in _KNOWN else html5.get(name.group(1), ""), text)
    if any(tag.group().count("=") > _MOST_ATTRIBUTES for tag in _LONG_TAG.finditer(text)):
        raise Rejected(f"an element has more than {_MOST_ATTRIBUTES:,} attributes: it may be a trap")
    parser = etree.XMLParser(
        recover=True, resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True,
        huge_tree=False, encoding="utf-8",
    )  # fmt: skip
    written = text.strip().encode("utf-8", "replace")
    source = join_halves(written)
    if source is not written:
        builder.warn("some characters are written as halves of a pair, which is no XML; those without a match are lost")
    root = etree.fromstring(source, parser) if source else None
    for error in parser.error_log:
        if "depth" in error.message.lower():
            raise Rejected("its elements are nested more than 255 deep, as those of no document are: it may be a trap")
        if "entity" in error.message.lower() and "loop" in error.message.lower():
            raise Rejected("its entities refer to each other without end: it may be a trap")
    if parser.error_log:
        builder.warn(f"the XML is not well-formed from line {parser.error_log[0].line} on")
    title = ""
    if root is not None:
        if "<!ENTITY" in text[:65536] and any(True for _ in root.iter(etree.Entity)):
            builder.warn("entities that the file defines are left as they are written, such as &name;")
        title = _Tree(builder).add(root)
    if not builder and "<!ENTITY" in text:
        raise Rejected("its text is in entities that it defines itself, which are not expanded: they may be a trap")
    return builder.build("application/xml", title)


class _Tree:
    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._title = ""

    def add(self, root: Any) -> str:
        """Append what `root` holds; the title of the outermost element that has one."""
        # Not by recursion: how deep a file is nested is not ours to say.
        todo: list[tuple[Any, int]] = [(root, 0)]
        while todo:
            element, level = todo.pop()
            children = [child for child in element if isinstance(child.tag, str)]
            if not children or _is_mixed(element):
                self._leaf(element)
                continue
            following: list[tuple[Any, int]] = []
            head = children[0]
            if _name(head) in _TITLES and len(text := _text(head)) <= _LONGEST_TITLE and text:
                level += 1
                self._builder.add("heading", text, level=level)
                self._title = self._title or text
                children = children[1:]
            if said := _attributes(element):
                self._builder.add("paragraph", f"{_name(element)}: {said}")
            if _is_record(children):
                self._record([child for child in children if not _is_container(child)])
                children = [child for child in children if _is_container(child)]
            following += [(child, level) for child in children]
            todo += reversed(following)
        return self._title

    def _leaf(self, element: Any) -> None:
        text = _text(element)
        if text and _MARKUP.search(text):
            add_html(self._builder, text)
        elif text:
            self._builder.add("paragraph", text)
        elif said := _attributes(element, all_of_them=True):
            self._builder.add("paragraph", f"{_name(element)}: {said}")

    def _record(self, fields: Sequence[Any]) -> None:
        lines: list[str] = []
        for field in fields:
            text = _text(field)
            if text and _MARKUP.search(text):
                self._builder.add("paragraph", "\n".join(lines))
                lines = []
                add_html(self._builder, text)
                continue
            said = _attributes(field, all_of_them=not text)
            if text or said:
                lines.append(f"{_name(field)}: " + (f"{text} ({said})" if text and said else text or said))
        self._builder.add("paragraph", "\n".join(lines))


def _is_mixed(element: Any) -> bool:
    """Whether there is text between the children of `element`, as in a paragraph with words in italics."""
    return any((child.tail or "").strip() for child in element) or bool((element.text or "").strip())


def _is_container(element: Any) -> bool:
    return len(element) > 0 and not _is_mixed(element)


def _is_record(children: Sequence[Any]) -> bool:
    leaves = [child for child in children if not _is_container(child)]
    names = {child.tag for child in leaves}
    return len(names) > 1 and len(names) > 0.5 * len(leaves) and not any(len(child) for child in leaves)


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _text(element: Any) -> str:
    lines = ("".join(element.itertext()) if len(element) else element.text or "").split("\n")
    return "\n".join(filter(None, (" ".join(line.split()) for line in lines)))


def _attributes(element: Any, all_of_them: bool = False) -> str:
    return ", ".join(_pairs(element, set() if all_of_them else _TECHNICAL))


def _pairs(element: Any, without: set[str]) -> Iterator[str]:
    for key, value in element.attrib.items():
        name = str(key).rpartition("}")[2]
        if value.strip() and name not in without and "schema" not in name.lower():
            yield f"{name}: {' '.join(value.split())}"
