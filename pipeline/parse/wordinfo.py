"""What a Word document says about itself: core, extended and custom properties."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pipeline.parse.opc import Package

_DC = "{http://purl.org/dc/elements/1.1/}"
_TERMS = "{http://purl.org/dc/terms/}"
_CORE = "{http://schemas.openxmlformats.org/package/2006/metadata/core-properties}"
_APP = "{http://schemas.openxmlformats.org/officeDocument/2006/extended-properties}"
_CUSTOM = "{http://schemas.openxmlformats.org/officeDocument/2006/custom-properties}"
_NAMES = {
    "author": f"{_DC}creator", "subject": f"{_DC}subject", "keywords": f"{_CORE}keywords",
    "description": f"{_DC}description", "category": f"{_CORE}category", "language": f"{_DC}language",
}  # fmt: skip
_MOST_CUSTOM = 100


def described(package: Package) -> tuple[str, dict[str, Any]]:
    """Title and metadata: dates as ISO 8601, custom properties under `custom` as text, numbers and truth values."""
    core = _root(package, "core-properties")
    app = _root(package, "extended-properties")
    metadata: dict[str, Any] = {name: _text(core, tag) for name, tag in _NAMES.items()}
    metadata |= {
        "created": _date(_text(core, f"{_TERMS}created")),
        "modified": _date(_text(core, f"{_TERMS}modified")),
        "company": _text(app, f"{_APP}Company"),
        "custom": _custom(_root(package, "custom-properties")),
    }
    return _text(core, f"{_DC}title"), metadata


def page_count(package: Package) -> int | None:
    """How many pages the program that saved the document counted; None if it does not say."""
    pages = _text(_root(package, "extended-properties"), f"{_APP}Pages")
    return int(pages) if pages.isascii() and pages.isdigit() and int(pages) else None


def _root(package: Package, kind: str) -> Any:
    name = package.related(kind)
    return None if name is None else package.xml(name)


def _text(root: Any, tag: str) -> str:
    found = None if root is None else root.find(tag)
    return "" if found is None else (found.text or "").strip()


def _date(text: str) -> str | None:
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:  # a date that is none
        return None


def _custom(root: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for element in () if root is None else list(root.iterchildren(f"{_CUSTOM}property"))[:_MOST_CUSTOM]:
        value = next(element.iterchildren(), None)
        name = element.get("name")
        if value is None or not name or not (value.text or "").strip():
            continue
        kind, text = str(value.tag).rpartition("}")[2], value.text.strip()
        if kind == "bool":
            found[name] = text.lower() in ("true", "1")
        elif kind in ("i1", "i2", "i4", "i8", "int", "ui1", "ui2", "ui4", "uint") and text.lstrip("-").isdigit():
            found[name] = int(text)
        else:
            found[name] = text
    return found
