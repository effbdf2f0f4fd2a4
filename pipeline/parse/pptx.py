"""PowerPoint files: slides as pages, with what their presenter was to say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pipeline.parse.builder import Builder, names_something
from pipeline.parse.drawing import CHARTS, A, description, said_by, text_of
from pipeline.parse.embedded import take_embedded
from pipeline.parse.links import described_links
from pipeline.parse.numbering import counted, depth_of, number
from pipeline.parse.opc import Package, described
from pipeline.types import Parsed

_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_ALTERNATIVES = "{http://schemas.openxmlformats.org/markup-compatibility/2006}AlternateContent"
_TITLES = ("title", "ctrTitle")
_BODIES = ("body", "obj", None)
_FORMS = {"arabic": "decimal", "alphaLc": "lowerLetter", "alphaUc": "upperLetter", "romanLc": "lowerRoman",
          "romanUc": "upperRoman"}  # fmt: skip
_ENDS = {"Period": "{}.", "ParenR": "{})", "ParenBoth": "({})", "Plain": "{}"}


def parse(data: bytes, uri: str) -> Parsed:
    """Each slide is a page: its title as a heading, then its text, lists, tables, charts and descriptions of pictures
    in the order in which they are read out; then its notes and comments as footnotes. Footers come last, each once.
    Embedded files are members.

    Raises Rejected if the package is damaged.
    """
    package = Package(data, "PowerPoint file")
    main, root = package.main("ppt/presentation.xml")
    builder = Builder()
    links: dict[str, None] = {}
    footers: dict[str, None] = {}
    first = ""
    read: dict[str, None] = {}
    relations = package.relations(main)
    lists = (package.xml(one.target) for one in relations.values() if one.kind in ("commentAuthors", "authors"))
    authors = {one.get("id"): one.get("name") or "" for list_ in lists if list_ is not None for one in list_}
    for page, listed in enumerate(root.iterfind(f"{_P}sldIdLst/{_P}sldId"), 1):
        relation = relations.get(listed.get(f"{_R}id") or "")
        slide = None if relation is None or relation.target in read else package.xml(relation.target)
        if slide is None or relation is None:
            builder.warn(f"slide {page} is missing or damaged")
        else:
            read[relation.target] = None
            reader = _Slide(builder, package, relation.target, page, links, footers)
            reader.read(slide, authors)
            first = first or (reader.title if page == 1 else "")
    for text in footers:
        builder.add("paragraph", text)
    title, metadata = described(package)
    metadata |= described_links(links)
    members, warnings = take_embedded(package, read, uri)
    for warning in (*package.warnings(), *warnings):
        builder.warn(warning)
    return replace(builder.build(_MEDIA_TYPE, title if names_something(title) else first, metadata), members=members)


class _Slide:
    """One slide. Where its links lead is added to `links`, what stands at its foot to `footers`."""

    def __init__(
        self,
        builder: Builder,
        package: Package,
        name: str,
        page: int,
        links: dict[str, None],
        footers: dict[str, None],
    ) -> None:
        self._builder = builder
        self._package = package
        self._relations = package.relations(name)
        self._page = page
        self._links = links
        self._footers = footers
        self.title = ""

    def read(self, slide: Any, authors: dict[Any, str]) -> None:
        """Append the slide; `authors` are the names of those who comment, by their ids."""
        shapes = list(_shapes(slide.iterfind(f"{_P}cSld/{_P}spTree")))
        shapes.sort(key=lambda shape: _place(shape) not in _TITLES)
        for shape in shapes:
            self._shape(shape)
        for link in slide.iter(f"{A}hlinkClick"):
            target = self._relations.get(link.get(f"{_R}id") or "")
            if target is not None and target.external:
                self._links[target.target] = None
        for relation in self._relations.values():
            if relation.kind == "notesSlide" and (notes := self._package.xml(relation.target)) is not None:
                told = (shape for shape in notes.iter(f"{_P}sp") if _place(shape) in _BODIES)
                lines = (text_of(line) for shape in told for line in shape.iter(f"{A}p"))
                self._builder.add("footnote", "\n".join(filter(str.strip, lines)), page=self._page)
            elif relation.kind == "comments" and (comments := self._package.xml(relation.target)) is not None:
                self._comments(comments, authors)

    def _comments(self, comments: Any, authors: dict[Any, str]) -> None:
        for comment in comments.iter("{*}cm", "{*}reply"):
            said = [text.text or "" for text in comment.iterchildren("{*}text")]
            said += [text_of(line) for body in comment.iterchildren("{*}txBody") for line in body.iter(f"{A}p")]
            text = "\n".join(said).strip()
            author = authors.get(comment.get("authorId"))
            self._builder.add("footnote", f"{author}: {text}" if author and text else text, page=self._page)

    def _shape(self, shape: Any) -> None:
        place = _place(shape)
        if place in ("ftr", "dt", "hdr"):
            self._footers |= dict.fromkeys(filter(str.strip, map(text_of, shape.iter(f"{A}p"))))
            return
        if place == "sldNum":
            return
        for properties in shape.iterfind(f"*/{_P}cNvPr"):
            self._builder.add("caption", description(properties.get("descr")), page=self._page)
        for table in shape.iter(f"{A}tbl"):
            self._builder.add_table(_rows(table), page=self._page)
        for part in shape.iter(f"{_DIAGRAM}relIds", *CHARTS):
            relation = self._relations.get(part.get(f"{_R}dm") or part.get(f"{_R}id") or "")
            root = None if relation is None else self._package.xml(relation.target)
            for text in () if root is None else said_by(root):
                self._builder.add("caption", text, page=self._page)
        body = shape.find(f"{_P}txBody")
        if body is None:
            return
        lines = list(body.iterchildren(f"{A}p"))
        if place in _TITLES:
            title = " ".join(" ".join(map(text_of, lines)).split())
            self.title = title
            self._builder.add("heading", title, level=1, page=self._page)
            return
        bulleted = place in _BODIES and sum(bool(text_of(line).strip()) for line in lines) > 1
        self._lines(lines, bulleted)

    def _lines(self, lines: list[Any], bulleted: bool) -> None:
        counts: dict[int, int] = {}
        for line in lines:
            text = text_of(line)
            properties = line.find(f"{A}pPr")
            own = {} if properties is None else {child.tag: child for child in properties}
            level = depth_of(None if properties is None else properties.get("lvl"))
            numbered = own.get(f"{A}buAutoNum")
            item = numbered is not None or f"{A}buChar" in own or (bulleted and f"{A}buNone" not in own)
            if not text.strip():
                continue
            counts = {at: count for at, count in counts.items() if at < level or (at == level and numbered is not None)}
            if numbered is not None:
                counts[level] = counts.get(level, number(numbered.get("startAt"), 1) - 1) + 1
                text = f"{_label(counts[level], numbered.get('type') or '')} {text}"
            self._builder.add(
                "list_item" if item else "paragraph", text, level=level + 1 if item else 0, page=self._page
            )


def _shapes(containers: Any) -> Iterator[Any]:
    """The shapes of a slide in order, those of groups among them; of several ways to draw the same, the first."""
    for container in containers:
        for shape in container:
            if shape.tag == _ALTERNATIVES:
                yield from _shapes(shape[:1])
            elif shape.tag == f"{_P}grpSp":
                yield from _shapes([shape])
            elif shape.tag in (f"{_P}sp", f"{_P}graphicFrame", f"{_P}pic", f"{_P}cxnSp"):
                yield shape


def _place(shape: Any) -> str | None:
    """Which of the places of its layout a shape fills: "title", "body", …; "" for none, None for one of any kind."""
    place = shape.find(f"{_P}nvSpPr/{_P}nvPr/{_P}ph")
    return "" if place is None else place.get("type")


def _rows(table: Any) -> Iterator[list[str]]:
    above: list[str] = []
    for row in table.iterchildren(f"{A}tr"):
        line = []
        for at, cell in enumerate(row.iterchildren(f"{A}tc")):
            text = " ".join(filter(None, (" ".join(text_of(p).split()) for p in cell.iter(f"{A}p"))))
            merged = cell.get("vMerge") in ("1", "true") and cell.get("hMerge") not in ("1", "true")
            line.append(above[at] if merged and at < len(above) else text)
        above = line
        yield line


def _label(count: int, form: str) -> str:
    end = next((end for end in _ENDS if form.endswith(end)), "Period")
    return _ENDS[end].format(counted(count, _FORMS.get(form.removesuffix(end), "decimal")))
