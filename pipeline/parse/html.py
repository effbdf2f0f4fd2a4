"""HTML: what a reader of the page would read, in its order. Also the bodies of mail and the chapters of books."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Set
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.parse.furniture import around_content
from pipeline.types import Parsed

_SKIPPED = {
    "script", "style", "noscript", "template", "nav", "svg", "math", "canvas", "iframe", "object", "embed", "audio",
    "video", "map", "button", "select", "textarea", "input", "dialog", "head", "title", "meta", "link",
}  # fmt: skip
_BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "center", "dd", "details", "dir", "div", "dl", "dt",
    "fieldset", "figure", "footer", "form", "header", "hgroup", "hr", "html", "legend", "main", "menu", "ol", "p",
    "search", "section", "summary", "ul", "table", "thead", "tbody", "tfoot", "tr", "td", "th",
}  # fmt: skip
_KINDS = {"li": "list_item", "pre": "code", "figcaption": "caption", "caption": "caption"}
_KINDS |= {f"h{level}": "heading" for level in range(1, 7)}
_LISTS = ("ul", "ol", "menu", "dir")
# A table with any of these inside lays out a page: its cells are read one after another.
_LAYOUT = {"table", "h1", "h2", "h3", "h4", "h5", "h6", "article", "section", "form"}
# … unless it names its rows or columns.
_LAYOUT_UNNAMED = {"ul", "ol", "pre"}
_CELLS = ("td", "th")
_WIDEST = 1000
_MOST_REPEATED = 100_000  # characters a table, in cells that span rows
_TOO_DEEP = "the page is nested too deeply and is read as far as that goes"
_HIDDEN = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.I)
_CHARSET = re.compile(rb"<(?:meta[^>]{0,200}?charset|\?xml[^>]{0,100}?encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.I)
_SCRIPT = re.compile(rb"<(?:no)?script\b", re.I)
_PROLOGUE = re.compile(r"\A\s*<\?xml[^>]*\?>")
_META = {
    "author": "author", "article:author": "author", "dc.creator": "author", "description": "description",
    "keywords": "keywords", "date": "created", "dcterms.created": "created", "article:published_time": "created",
    "article:modified_time": "modified", "last-modified": "modified",
}  # fmt: skip


def parse(data: bytes, uri: str) -> Parsed:
    """Headings, paragraphs, lists, tables, code and captions of what the page is about (`furniture` has the rest).

    Scripts, navigation and hidden parts are left out. A page that is nested too deeply is read as far as that goes,
    with a warning, and Rejected says so if there is nothing to read then. The encoding is the byte order mark's, else
    what reads as UTF-8, else what the page declares.
    """
    builder = Builder()
    text = builder.decode(data, _declared(data))
    title, metadata = add_html(builder, text, content_only=True)
    if not builder and _SCRIPT.search(data):
        builder.warn("scripts would fetch it in a browser")
    if not builder and _TOO_DEEP in builder.warnings:
        raise Rejected("its elements are nested too deeply to be read, as those of no page are: it may be a trap")
    return builder.build("text/html", title, metadata)


def add_html(
    builder: Builder, text: str, page: int | None = None, content_only: bool = False
) -> tuple[str, dict[str, Any]]:
    """Append what the page `text` shows, or only its content; its title ("" if it has none) and metadata."""
    from lxml import etree, html

    # As UTF-8 bytes with the encoding given: a declaration of another encoding inside is then without effect.
    source = _PROLOGUE.sub("", text).replace("\0", "").encode("utf-8", "replace")
    if not source.strip():
        return "", {}
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        root = html.document_fromstring(source, parser=parser)
    except etree.ParserError:  # nothing but comments
        return "", {}
    if any("depth" in error.message.lower() for error in parser.error_log):
        builder.warn(_TOO_DEEP)
    body = root.find("body")
    for rest in list(root.itersiblings()):  # what follows the end of the page, as in pages one after the other
        (root if body is None else body).append(rest)
    events = ("start", "end")
    around = around_content(root, etree.iterwalk(root, events=events)) if content_only else set()
    _Page(builder, page, around).read(etree.iterwalk(root, events=events))
    return _title(root), _metadata(root)


def _declared(data: bytes) -> str | None:
    found = _CHARSET.search(data[:4096])
    name = found.group(1).decode("ascii") if found else ""
    try:
        # A page that says UTF-16 in ASCII letters is not; browsers read it as UTF-8.
        return None if name.lower().startswith(("utf-16", "utf-32")) else codecs.lookup(name).name
    except LookupError:
        return None


def _title(root: Any) -> str:
    for path in ("//head//title", "//title[not(ancestor::svg)]"):
        for element in root.xpath(path):
            if text := " ".join(element.text_content().split()):
                return text
    return next(iter(root.xpath("//meta[@property='og:title']/@content")), "")


def _metadata(root: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"language": root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang")}
    for meta in root.iter("meta"):
        name = (meta.get("name") or meta.get("property") or meta.get("http-equiv") or "").lower()
        if name in _META and meta.get("content"):
            found.setdefault(_META[name], meta.get("content"))
    return found


class _Page:
    """Gathers inline text until a block starts or ends."""

    def __init__(self, builder: Builder, page: int | None, left_out: Set[Any]) -> None:
        self._builder = builder
        self._page = page
        self._left_out = left_out
        self._inline: list[str] = []
        self._kinds: list[tuple[str, int]] = [("paragraph", 0)]
        self._lists: list[int | None] = []  # the number of the last item, None where items have none

    def read(self, events: Iterator[tuple[str, Any]]) -> None:
        skipped: Any = None
        for event, element in events:
            tag = element.tag if isinstance(element.tag, str) else "script"
            if event == "start":
                hidden = _hidden(element, tag) or element in self._left_out
                if skipped is None and tag == "math" and element not in self._left_out:
                    self._inline.append(_formula(element))
                if skipped is None and (hidden or (tag == "table" and self._table(element))):
                    skipped = element
                if skipped is None:
                    self._start(element, tag)
                    self._text(element.text)
                continue
            if skipped is None:
                self._end(tag)
            elif skipped is element:
                skipped = None
            if skipped is None:
                self._text(element.tail)
        self._flush()

    def _text(self, text: str | None) -> None:
        if text:
            pre = self._kinds[-1][0] == "code"
            self._inline.append(text if pre else re.sub(r"\s+", " ", text))

    def _start(self, element: Any, tag: str) -> None:
        if tag == "br":
            self._inline.append("\n")
        elif tag == "img":
            self._inline.append(element.get("alt") or "")
        elif tag in _KINDS:
            self._flush()
            level = int(tag[1]) if tag[1:].isdigit() else max(1, len(self._lists)) if tag == "li" else 0
            self._kinds.append((_KINDS[tag], level))
            if tag == "li" and self._lists and self._lists[-1] is not None:
                said = element.get("value") or ""
                self._lists[-1] = int(said) if said.isdecimal() and len(said) < 9 else self._lists[-1] + 1
                self._inline.append(f"{self._lists[-1]}. ")
        elif tag in _BLOCKS:
            self._flush()
            if tag in _LISTS:
                first = element.get("start") or "1"
                self._lists.append((int(first) if first.isdecimal() else 1) - 1 if tag == "ol" else None)

    def _end(self, tag: str) -> None:
        if tag in _KINDS:
            self._flush()
            self._kinds.pop()
        elif tag in _BLOCKS:
            self._flush()
            if tag in _LISTS:
                self._lists.pop()

    def _flush(self) -> None:
        text, self._inline = "".join(self._inline), []
        kind, level = self._kinds[-1]
        if kind == "code":
            self._builder.add("code", text, page=self._page)
        elif kind == "heading":
            self._builder.add("heading", " ".join(text.split()), level=level, page=self._page)
        elif not re.fullmatch(r"\s*\d+\.\s*", text) or kind != "list_item":
            lines = (" ".join(line.split()) for line in text.split("\n"))
            self._builder.add(kind, "\n".join(filter(None, lines)), level=level, page=self._page)
        else:  # the number of an item whose text starts with a block of its own
            self._inline = [text]

    def _table(self, table: Any) -> bool:
        """Append `table` if it holds data; False if it lays out a page."""
        cells = 0
        named = listed = False
        for element in table.iterdescendants():
            if element.tag in _LAYOUT:
                return False
            cells += element.tag in _CELLS
            named |= element.tag == "th"
            listed |= element.tag in _LAYOUT_UNNAMED
        if cells < 2 or (listed and not named):
            return False
        self._flush()
        for caption in table.iterchildren("caption"):
            self._builder.add("caption", " ".join(_words(caption)), page=self._page)
        rows = list(_rows(table))
        if any(len(row) > _WIDEST for row in rows):
            self._builder.warn(f"a table has more than {_WIDEST:,} columns: those are kept")
        self._builder.add_table((row[:_WIDEST] for row in rows), page=self._page)
        return True


def _rows(table: Any) -> Iterator[list[str]]:
    """The cells of each row; one that spans rows is repeated in each, one that spans columns leaves them empty."""
    spare = _MOST_REPEATED
    open_: dict[int, tuple[int, str]] = {}  # columns that a cell above reaches down into: how many rows yet, its text
    for row in table.iter("tr"):
        line: list[str] = []
        below: dict[int, tuple[int, str]] = {}
        for cell in (*row.iterchildren(*_CELLS), None):
            while len(line) in open_:
                left, text = open_[len(line)]
                if left > 1:
                    below[len(line)] = left - 1, text
                line.append(text)
            if cell is None or len(line) > _WIDEST:
                break
            text = " ".join(_words(cell))
            rows = _span(cell, "rowspan")
            spare -= (rows - 1) * len(text)
            for extra in range(_span(cell, "colspan")):
                if rows > 1:
                    below[len(line)] = rows - 1, "" if extra or spare < 0 else text
                line.append("" if extra else text)
        open_ = below
        yield line


def _span(cell: Any, name: str) -> int:
    said = (cell.get(name) or "").strip()
    return min(_WIDEST, max(1, int(said))) if said.isascii() and said.isdigit() and len(said) < 6 else 1


def _hidden(element: Any, tag: str) -> bool:
    if tag in _SKIPPED or element.get("hidden") is not None or element.get("role") == "navigation":
        return True
    return bool(_HIDDEN.search(element.get("style") or ""))


def _formula(math: Any) -> str:
    """A formula as its author wrote it, else the signs that it shows."""
    shown = math.xpath(".//text()[not(ancestor::annotation or ancestor::annotation-xml)]")
    return math.get("alttext") or " ".join("".join(shown).split())


def _words(element: Any) -> Iterator[str]:
    """The shown words under `element`; inline markup parts no word, a block or line break does."""
    parts: list[str] = []
    stack: list[Any] = [element]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            parts.append(node)
            continue
        gap = " " if node.tag in _BLOCKS or node.tag in _KINDS or node.tag == "br" else ""
        following = [gap]
        for child in node:
            if child.tag == "math":
                following.append(_formula(child))
            elif isinstance(child.tag, str) and not _hidden(child, child.tag):
                following.append(child)
            following.append(child.tail or "")
        parts.extend((gap, node.text or "", node.get("alt") or ""))
        stack.extend(reversed(following))
    yield from "".join(parts).split()
