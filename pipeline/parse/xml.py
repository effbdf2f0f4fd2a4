"""XML of no kind that we know: the text of its elements, in order."""

from __future__ import annotations

from pipeline.parse.builder import Builder
from pipeline.types import Parsed


def parse(data: bytes, uri: str) -> Parsed:
    """A paragraph for each stretch of text between an element that holds no others and the next. No entity is fetched.

    A file that breaks off is read as far as it goes, with a warning.
    """
    from lxml import etree

    builder = Builder()
    parser = etree.XMLParser(
        recover=True, resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True, huge_tree=True
    )
    root = etree.fromstring(data.strip(), parser)
    if parser.error_log:
        builder.warn(f"the XML is not well-formed from line {parser.error_log[0].line} on")
    if root is not None:
        for text in root.itertext():
            builder.add("paragraph", "\n".join(line.strip() for line in text.split("\n")))
    return builder.build("application/xml")
