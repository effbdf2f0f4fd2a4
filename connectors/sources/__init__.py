"""Where documents come from: one module a kind of source, and `open_source`, which knows their spellings."""

from __future__ import annotations

from connectors.sources.files import open_files
from connectors.sources.trees import Tree
from pipeline.errors import UsageError
from pipeline.ports import Source


def open_source(spec: str) -> Source:
    """The source that `spec` spells.

    A file, a folder, a glob (`docs/**/*.pdf`), an fsspec URL of any of these (`s3://bucket/docs`), `jsonl:` before any
    of these, or `hf:NAME_OR_PATH` with `?split=…&config=…&text=COLUMN&title=COLUMN`. Raises UsageError if there is no
    such thing, MissingExtra or UsageError saying what to install, SourceError if a server refuses or is away.
    """
    if spec.startswith("jsonl:"):
        from connectors.sources.rows import JsonLines

        return JsonLines(_open_tree(spec.removeprefix("jsonl:")))
    if spec.startswith("hf:"):
        from connectors.sources.hugging_face import open_dataset

        return open_dataset(spec.removeprefix("hf:"))
    return _open_tree(spec)


def _open_tree(spec: str) -> Tree:
    if not spec:
        raise UsageError("a source is missing: give a file, a folder, a glob or a URL")
    if spec.startswith(("file://", "local://")) or ("://" not in spec and "::" not in spec):
        return open_files(spec)
    from connectors.sources.remote import open_remote

    return open_remote(spec)
