"""Documents of our own making and what they are parsed to, one file each in `golden/`.

`python -m tests.pipeline.parse.golden` writes those files anew, for review: what changes in them is what changed.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.parse import parse
from tests.pipeline.parse.samples import SAMPLES

FOLDER = Path(__file__).with_name("golden")


def parsed(name: str) -> str:
    """The sample `name`, parsed, as JSON: a block a line."""
    document = parse(SAMPLES[name](), name)
    blocks = [
        {"kind": block.kind}
        | ({"level": block.level} if block.level else {})
        | ({"page": block.page} if block.page is not None else {})
        | ({"box": list(block.box)} if block.box is not None else {})
        | {"text": document.text[block.start : block.end]}
        for block in document.blocks
    ]
    lines = ",\n".join(f"  {json.dumps(block, ensure_ascii=False)}" for block in blocks)
    head = {
        "media_type": document.media_type,
        "title": document.title,
        "metadata": document.metadata,
        "warnings": list(document.warnings),
    }
    return json.dumps(head, ensure_ascii=False, indent=1)[:-2] + f',\n "blocks": [\n{lines}\n ]\n}}\n'


def expected(name: str) -> Path:
    """Where the file is that says what the sample `name` is parsed to."""
    return FOLDER / f"{name}.json"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for sample in SAMPLES:
        expected(sample).write_text(parsed(sample), encoding="utf-8")
