"""JSON files and lines, laid out to be read; and the rows that data set sources hand over."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import groupby
from typing import Any

from pipeline.errors import Rejected
from pipeline.parse.builder import Builder
from pipeline.parse.media import ROW
from pipeline.parse.text import add_markdown, add_plain
from pipeline.types import Parsed

# Characters: what is longer in an object gets a heading of its own.
_LONG = 2000
_DEEPEST = 3
# What a cell of a notebook printed, the plainest first.
_SHOWN = ("text/plain", "text/markdown", "text/latex", "text")
_ANSI = re.compile("\x1b\\[[0-9;]*[A-Za-z]")


def parse(data: bytes, uri: str) -> Parsed:
    """Indented text, a block an element of a list; what is long in an object comes under its key as heading.

    A notebook (of Jupyter) is its cells: Markdown with its structure, code, and what that printed. What is not valid
    JSON, or nested more deeply than can be read, is kept as it stands, with a warning. A key that comes up again in the
    same object is numbered.
    """
    builder = Builder()
    text = builder.decode(data)
    try:
        value = json.loads(text, strict=False, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        builder.warn(f"the file is {'nested too deeply' if deep else 'not valid JSON'} and is taken as plain text")
        add_plain(builder, text)
        return builder.build("application/json")
    if isinstance(value, dict) and isinstance(value.get("cells"), list) and "nbformat" in value:
        return _notebook(builder, value)
    _add(builder, value, 1)
    title = value.get("title") if isinstance(value, dict) else None
    return builder.build("application/json", title if isinstance(title, str) else "")


def lines(data: bytes, uri: str) -> Parsed:
    """A block a line. Lines that are not valid JSON are kept as they stand."""
    builder = Builder()
    invalid: list[int] = []
    for number, line in enumerate(builder.decode(data).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            builder.add("code", _laid_out(json.loads(line, strict=False, object_pairs_hook=_object)))
        except (ValueError, RecursionError):
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


def _add(builder: Builder, value: Any, level: int) -> None:
    """Append `value`: a list as its elements; of an object first what is short, then what is long, under its key."""
    if isinstance(value, list):
        # Numbers and words in a row belong together.
        for nested, group in groupby(value, lambda element: isinstance(element, dict | list)):
            if nested:
                for element in group:
                    builder.add("code", _laid_out(element))
            else:
                builder.add("code", "\n".join(map(_laid_out, group)))
        return
    texts = {} if not isinstance(value, dict) else {key: _laid_out(inner) for key, inner in value.items()}
    if level > _DEEPEST or sum(map(len, texts.values())) <= _LONG:
        builder.add("code", _laid_out(value))
        return
    long = {key for key, text in texts.items() if len(text) > _LONG and isinstance(value[key], dict | list)}
    short = {key: inner for key, inner in value.items() if key not in long}
    if short:
        builder.add("code", _laid_out(short))
    for key in (key for key in value if key in long):
        builder.add("heading", " ".join(key.split()), level=level)
        _add(builder, value[key], level + 1)


def _notebook(builder: Builder, notebook: dict[str, Any]) -> Parsed:
    title = ""
    for cell in notebook["cells"]:
        if not isinstance(cell, dict):
            continue
        source = _joined(cell.get("source"))
        if cell.get("cell_type") == "markdown":
            found = add_markdown(builder, source)
            title = title or found
            continue
        builder.add("code", source)
        for output in cell.get("outputs") or ():
            if isinstance(output, dict):
                data = output.get("data")
                shown = data if isinstance(data, dict) else output
                text = next((_joined(shown[kind]) for kind in _SHOWN if shown.get(kind)), "")
                builder.add("code", _ANSI.sub("", text or "\n".join(map(str, shown.get("traceback") or ()))))
    return builder.build("application/json", title, {"programming_language": _kernel(notebook)})


def _kernel(notebook: dict[str, Any]) -> str:
    metadata = notebook.get("metadata")
    kernel = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    return str(kernel.get("language") or "") if isinstance(kernel, dict) else ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    found = {}
    times = Counter[str]()
    for key, value in pairs:
        name = key
        while name in found:
            times[key] += 1
            name = f"{key} ({times[key] + 1})"
        found[name] = value
    return found


def _joined(lines: Any) -> str:
    return "".join(map(str, lines)) if isinstance(lines, list) else str(lines or "")


def _laid_out(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
