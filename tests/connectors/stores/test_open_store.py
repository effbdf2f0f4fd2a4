"""URLs of stores."""

from __future__ import annotations

import subprocess
import sys

import pytest

from connectors.stores import open_store
from pipeline.errors import MissingExtra, UsageError


@pytest.mark.parametrize(
    "url",
    [
        "edge:some/path", "edge:/absolute", "qdrant:http://localhost:6333", "qdrant:https://host", "qdrant::memory:",
        "qdrant:local:some/path", "milvus:some/file.db", "milvus:http://localhost:19530", "milvus:tcp://host:1",
    ],
)  # fmt: skip
def test_spellings(url: str) -> None:
    """Each spelling opens a store that knows its URL and collection, without touching network or disk."""
    store = open_store(url, "docs")
    assert (store.url, store.collection) == (url, "docs")
    store.close()


@pytest.mark.parametrize(
    "url",
    ["", "edge", "edge:", "qdrant:", "qdrant:localhost:6333", "qdrant:tcp://host", "qdrant:local:", "qdrant:http://",
     "milvus:", "milvus:file.txt", "milvus:http://", "pinecone:x", "http://localhost:6333", "/some/path"],
)  # fmt: skip
def test_wrong_urls(url: str) -> None:
    """Any other spelling is a usage error that shows the four right ones."""
    with pytest.raises(UsageError) as caught:
        open_store(url, "docs")
    for spelling in ("edge:PATH", "qdrant:URL", "milvus:PATH.db", "milvus:URL"):
        assert spelling in str(caught.value)


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a-b", "1st", "x" * 201])
def test_wrong_names(name: str) -> None:
    """A collection's name must be one that every database takes."""
    with pytest.raises(UsageError, match="cannot name a collection"):
        open_store("edge:path", name)


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("qdrant:http://localhost:6333", "qdrant_client", "qdrant"),
        ("milvus:http://localhost:19530", "pymilvus", "milvus"),
        ("milvus:some.db", "milvus_lite", "milvus"),
    ],
)
def test_missing_packages(monkeypatch: pytest.MonkeyPatch, url: str, package: str, extra: str) -> None:
    """A store whose package is absent says which extra to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"corpusvec\[{extra}\]"):
        open_store(url, "docs")


def test_importing_imports_no_vendor() -> None:
    """Importing the stores, and opening one, imports no other database's package."""
    program = """
import sys
from connectors.stores import open_store
vendors = {"qdrant_edge", "qdrant_client", "pymilvus", "milvus_lite"}
assert not vendors & set(sys.modules), vendors & set(sys.modules)
open_store("edge:nowhere", "docs")
assert vendors & set(sys.modules) == {"qdrant_edge"}
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("url", "variable"),
    [("qdrant:http://user:s3cret@host:6333", "QDRANT_API_KEY"), ("milvus:http://root:s3cret@host", "MILVUS_TOKEN")],
)
def test_a_key_in_the_url_is_refused(url: str, variable: str) -> None:
    """A secret in a URL would end in ledgers and logs: the message says where it belongs, and does not repeat it."""
    with pytest.raises(UsageError, match=variable) as refused:
        open_store(url, "c")
    assert "s3cret" not in str(refused.value)
