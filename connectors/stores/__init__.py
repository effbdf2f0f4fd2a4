"""Where vectors go: one file a vector database, each an implementation of `pipeline.ports.VectorStore`.

Nothing here imports a vendor: that happens when a store is constructed, so that an unused database costs nothing.
"""

from __future__ import annotations

import re
from functools import partial

from pipeline.errors import UsageError
from pipeline.ports import VectorStore

# What every database takes as a name: Milvus is the strictest of them.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


def open_store(url: str, collection: str, apart: bool = False) -> VectorStore:
    """The store that `url` spells; touches neither network nor disk (`VectorStore.open` does).

    `edge:PATH` is an index in this process, in files under PATH. `qdrant:URL` is a Qdrant server; `qdrant:local:PATH`
    and `qdrant::memory:` are the client's own small stand-in for one. `milvus:PATH.db` is Milvus Lite in this process,
    `milvus:URL` a Milvus server. With `apart` a process of its own writes to it (`_apart`), but for Milvus Lite and the
    stand-in. Raises UsageError on any other spelling, MissingExtra if a package is absent.
    """
    if not _NAME.fullmatch(collection):
        raise UsageError(
            f"'{collection}' cannot name a collection: use letters, digits and _, beginning with no digit, 200 at most"
        )
    if apart and re.match(r"edge:|\w+:\w+://", url):
        from connectors.stores._apart import StoreApart

        return StoreApart(partial(open_store, url, collection))
    scheme, _, rest = url.partition(":")
    if re.match(r"\w+://[^/]*@", rest):
        # It would be kept in ledgers, reports and logs.
        key = "MILVUS_TOKEN" if scheme == "milvus" else "QDRANT_API_KEY"
        raise UsageError(f"the store's URL carries a user name or key: leave it out, and set {key} in the environment")
    is_url = re.match(r"(https?|tcp)://[^/:\s]+", rest) is not None
    if scheme == "edge" and rest:
        from connectors.stores.qdrant_edge import EdgeStore

        return EdgeStore(url, rest, collection)
    if scheme == "qdrant" and ((is_url and rest.startswith("http")) or re.match(r":memory:$|local:.", rest)):
        from connectors.stores.qdrant import QdrantStore

        return QdrantStore(url, rest, collection)
    if scheme == "milvus" and (is_url or rest.endswith(".db")):
        from connectors.stores.milvus import MilvusStore

        return MilvusStore(url, rest, collection)
    raise UsageError(
        f"'{url}' is no store: write edge:PATH, qdrant:URL (such as qdrant:http://localhost:6333), milvus:PATH.db, "
        f"or milvus:URL (such as milvus:http://localhost:19530)"
    )
