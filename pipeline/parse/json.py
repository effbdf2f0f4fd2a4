"""JSON files and lines, laid out to be read; and the rows that data set sources hand over."""

from __future__ import annotations

import json
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.parse.media import ROW
from pipeline.parse.text import add_plain
from pipeline.types import Parsed


def parse(data: bytes, uri: str) -> Parsed:
    """Indented text, a block an element where the file is a list. What is not valid JSON is kept as it stands."""
    builder = Builder()
    text = builder.decode(data)
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        builder.warn("the file is not valid JSON and is taken as plain text")
        add_plain(builder, text)
    else:
        for element in value if isinstance(value, list) else [value]:
            builder.add("code", _laid_out(element))
    return builder.build("application/json")


def lines(data: bytes, uri: str) -> Parsed:
    """A block a line. Lines that are not valid JSON are kept as they stand."""
    builder = Builder()
    invalid: list[int] = []
    for number, line in enumerate(builder.decode(data).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            builder.add("code", _laid_out(json.loads(line, strict=False)))
        except ValueError:
            invalid.append(number)
            builder.add("code", line)
    if invalid:
        builder.warn(f"{len(invalid)} lines, the first of them line {invalid[0]}, are not valid JSON")
    return builder.build("application/jsonl")


def row(data: bytes, uri: str) -> Parsed:
    """An object with `text` and perhaps `title`: the title becomes a heading, then comes the text.

    Raises Rejected if it is no such object, or has neither text nor title.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Rejected("the row is not valid JSON") from error
    if not isinstance(value, dict):
        raise Rejected("the row is not an object with a text")
    builder = Builder()
    title, text = value.get("title") or "", value.get("text") or ""
    builder.add("heading", " ".join(str(title).split()), level=1)
    add_plain(builder, text if isinstance(text, str) else _laid_out(text))
    if not builder:
        raise Rejected("the row's text is empty")
    return builder.build(ROW, str(title))


def _laid_out(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
