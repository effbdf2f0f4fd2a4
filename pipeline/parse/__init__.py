"""Stub until the parsers land."""

from pipeline.errors import Rejected
from pipeline.types import Block, Parsed

PARSE_VERSION = 0


def parse(data, uri, media_type=None):
    import json

    if media_type and "row" in media_type:
        o = json.loads(data)
        text = (o.get("title") or "") + "\n\n" + (o.get("text") or "")
        meta = o.get("metadata", {})
    else:
        text = data.decode("utf-8", "replace")
        meta = {}
    if not text.strip():
        raise Rejected("the file is empty")
    n = len(text) - len(text.lstrip())
    m = len(text.rstrip())
    return Parsed(text, [Block("paragraph", n, m)], "text/plain", "", meta)
