"""Documents of our own making and what they are parsed to, one file each in `golden/`.

`python -m tests.pipeline.parse.golden` writes those files anew, for review: what changes in them is what changed. Names
may follow, of those to be written.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from pipeline.parse import parse
from tests.pipeline.parse import office, word
from tests.pipeline.parse.samples import SAMPLES as MADE

FOLDER = Path(__file__).with_name("golden")
#: Documents that are text, as they are.
WRITTEN = Path(__file__).with_name("inputs")

SAMPLES: dict[str, Callable[[], bytes]] = {
    **MADE,
    "handbook.docx": word.handbook,
    "log.odt": office.log_of_the_keeper,
    "stores.ods": office.stores,
    "slides.odp": office.slides,
    "talk.pptx": office.talk,
    "tolls.xlsx": office.tolls,
    "lights.epub": office.book,
    **{path.name: path.read_bytes for path in sorted(WRITTEN.iterdir())},
}


def parsed(name: str) -> str:
    """The sample `name`, parsed, as JSON: a block a line; as where no other programs are installed."""
    with patch.dict(os.environ, {"PATH": os.devnull}):
        document = parse(SAMPLES[name](), name)
    blocks = [
        {"kind": block.kind}
        | ({"level": block.level} if block.level else {})
        | ({"page": block.page} if block.page is not None else {})
        | ({"box": list(block.box)} if block.box is not None else {})
        | ({"details": dict(block.details)} if block.details else {})
        | {"text": document.text[block.start : block.end]}
        for block in document.blocks
    ]
    lines = ",\n".join(f"  {json.dumps(block, ensure_ascii=False)}" for block in blocks)
    head: dict[str, object] = {
        "media_type": document.media_type,
        "title": document.title,
        "metadata": dict(document.metadata),
        "warnings": list(document.warnings),
    }
    if document.language:
        head["language"] = document.language
    if document.members:
        head["members"] = [
            {"name": one.name, "media_type": one.media_type, "bytes": len(one.data), "refused": one.refused}
            for one in document.members
        ]
    return json.dumps(head, ensure_ascii=False, indent=1)[:-2] + f',\n "blocks": [\n{lines}\n ]\n}}\n'


def expected(name: str) -> Path:
    """Where the file is that says what the sample `name` is parsed to."""
    return FOLDER / f"{name}.json"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for sample in sys.argv[1:] or SAMPLES:
        expected(sample).write_text(parsed(sample), encoding="utf-8")
