"""What should be against what is: the sources' listings × Parquet × the live store, by name. Reads only.

It needs no recipe, no model and no engine. The checkpoints, the store and each source are judged apart. One that could
not be read to its end is *unknown*, with the reason, and nothing is found in it: a time-out proves nothing.

What a database derives from its points for itself (indexes, BM25's weights) is not looked at; the texts and vectors
that it derives them from are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow.compute as pc

from pipeline.checkpoint import Checkpoints, Table
from pipeline.compare import Points
from pipeline.config import fingerprint
from pipeline.errors import CorpusvecError, Rejected, Terminal, Transient
from pipeline.findings import (
    ALTERED,
    CHECKPOINTS,
    LOST,
    MISSING,
    ORPHANED,
    OTHER_RECIPE,
    SETTINGS,
    SOURCE,
    STALE,
    STORE,
    Audit,
    Finding,
    Unknown,
)
from pipeline.ledger import (
    DELETED,
    LOADED,
    LOADING,
    REJECTED,
    Ledger,
    Listed,
    hash_bytes,
    hash_metadata,
    ledger_name,
    may_hold,
    same_bytes,
)
from pipeline.ports import Source, VectorStore
from pipeline.recipe import Fingerprints
from pipeline.types import CollectionSpec, document_id
from pipeline.view import Holding, holdings

Row = Mapping[str, Any]

#: Before the recipe in a ledger row: what the row says of its document is in doubt, and the next run looks at it.
DOUBT = "?"

_STAGES = ("parse", "chunk", "embed")


def audit(
    checkpoints: Checkpoints,
    store: VectorStore,
    sources: Sequence[Source] = (),
    unopened: Sequence[Unknown] = (),
    recipe: Fingerprints | None = None,
) -> Audit:
    """Compare everything that a store's collection holds, everything that it should, and what `sources` list.

    `unopened` are sources that could not even be opened. Without a `recipe`, documents are compared with the one that
    was loaded last. Raises UsageError if the store's URL is wrong. Nobody should write meanwhile: where it shows that
    somebody did, the store is unknown.
    """
    names = [*(source.name for source in sources), *(unknown.what for unknown in unopened)]
    result = Audit(store.url, store.collection, checkpoints.root, names, unknown=list(unopened))
    newest = _compare_points(result, checkpoints, store, recipe)
    if sources:
        _compare_sources(result, checkpoints, store, sources, newest["recipe"] if newest else "")
    return result


def sources_of(checkpoints: Checkpoints, store: VectorStore) -> list[str]:
    """The sources of the documents that the ledger knows, as they were named when they were opened."""
    names: set[str] = set()
    for part in checkpoints.ledger(ledger_name(store, checkpoints.root)).current(["source", "status"]):
        names.update(pc.unique(part.filter(pc.field("status") != DELETED).column("source")).to_pylist())
    return sorted(names)


# -- The store and the checkpoints ----------------------------------------------------------------------------------


def _compare_points(
    result: Audit, checkpoints: Checkpoints, store: VectorStore, recipe: Fingerprints | None
) -> Row | None:
    """Judges the store and the checkpoints. Returns the ledger's row of the document that was loaded last."""
    table = checkpoints.ledger(ledger_name(store, checkpoints.root))
    spec: CollectionSpec | None = None
    points: Points | None = None
    with result.judging(STORE):
        spec = store.open()
        points = Points(store, absent=spec is None)
    newest: Row | None = None
    failure: CorpusvecError | None = Terminal("the checkpoints could not be read, so there was nothing to compare with")
    with result.judging(CHECKPOINTS) as found:
        for row in _known(table):
            result.rejected += row["status"] == REJECTED
            if row["status"] == LOADED and row["version_id"]:
                newest = row if newest is None or row["at"] > newest["at"] else newest
            elif row["status"] in (LOADING, LOADED):
                found.append(_of_row(MISSING, row, "loading it was begun, and not finished"))
                if points:
                    points.spare([row["document_id"]])
        found += _collection_recipe(spec, newest, recipe)
        standard = _standard(spec, newest, recipe)
        for batch in holdings(checkpoints, store):
            result.documents += len(batch)
            found += [_of_row(LOST, one.entry, f"Parquet lacks {one.lost}") for one in batch if one.lost]
            found += _document_recipes(batch, standard)
            if points:
                points.compare(batch)
        failure = None
    if points is None:
        return newest
    with result.judging(STORE) as found:
        if failure:
            raise failure
        if spec is not None and spec.average_length < 0:
            unfinished = "BM25 has weights for two average lengths: changing them was begun, and not finished"
            found.append(Finding(ALTERED, STORE, "", "", unfinished))
        found += points.judge(lambda ids: list(table.lookup(ids, ["document_id", "uri"]).to_pylist()))
        result.absent = spec is None and result.documents > 0
    result.points, result.stored = points.expected, points.stored
    return newest


def _known(table: Table) -> Iterator[Row]:
    for part in table.current(["document_id", "uri", "status", "version_id", "recipe", *_STAGES, "at"]):
        yield from part.filter(pc.field("status") != DELETED).to_pylist()


def _of_row(kind: str, row: Row, detail: str) -> Finding:
    return Finding(kind, CHECKPOINTS, row["uri"], row["document_id"], detail, row.get("chunks") or 0)


# -- Recipes --------------------------------------------------------------------------------------------------------


def unmarked(recipe: str) -> str:
    """The recipe that a ledger row names, in doubt or not."""
    return recipe.removeprefix(DOUBT)


def whole(row: Row, language: str) -> str:
    """What a ledger row's recipe is called as a whole, if its language is this one."""
    return fingerprint("whole", row["chunk"], row["embed"], language)


def embeds(row: Row, description: Mapping[str, Any]) -> bool:
    """Whether a loaded document's vectors are those of the model that a recipe's description names."""
    named = [description.get(name) for name in ("weights", "dtype", "dimensions")]
    return bool(row["embed"] == fingerprint("embed", *named))


def _collection_recipe(
    spec: CollectionSpec | None, newest: Row | None, recipe: Fingerprints | None
) -> Iterator[Finding]:
    if spec is None:
        return
    if newest and not (embeds(newest, spec.description) and whole(newest, spec.language) == unmarked(newest["recipe"])):
        detail = "the collection is stamped for another recipe than the one that its documents were made by"
        yield Finding(OTHER_RECIPE, STORE, "", "", detail)
    if recipe and spec.recipe != recipe.collection:
        detail = f"the collection is of another recipe than the settings': {json.dumps(dict(spec.description))}"
        yield Finding(OTHER_RECIPE, SETTINGS, "", "", detail)


def _standard(spec: CollectionSpec | None, newest: Row | None, recipe: Fingerprints | None) -> Row | None:
    """The tables that every document should come from, and the recipe as a whole."""
    # What concerns the collection as a whole is said once, and not of each document.
    if recipe and (spec is None or spec.recipe == recipe.collection):
        return {**asdict(recipe), "recipe": recipe.whole}
    return newest


def _document_recipes(batch: Sequence[Holding], standard: Row | None) -> Iterator[Finding]:
    for holding in batch:
        entry = holding.entry
        other = [stage for stage in _STAGES if standard and entry[stage] != standard[stage]]
        # The older version of a rejected document stays as it is if this recipe can make nothing of it either.
        known = standard and entry["status"] == REJECTED and unmarked(entry["recipe"]) == unmarked(standard["recipe"])
        if other and not known and not holding.lost:
            yield _of_row(OTHER_RECIPE, entry, f"made by another recipe: {', '.join(other)}")


# -- The sources ----------------------------------------------------------------------------------------------------


def _compare_sources(
    result: Audit, checkpoints: Checkpoints, store: VectorStore, sources: Sequence[Source], recipe: str
) -> None:
    complete: list[Source] = []
    with result.judging(CHECKPOINTS) as gone:
        ledger = Ledger(checkpoints.ledger(ledger_name(store, checkpoints.root)))
        for source in sources:
            with result.judging(source.name) as found:
                for listed in ledger.compare(source, recipe, len(sources) > 1):
                    try:
                        found += _compare_listed(source, listed)
                    except CorpusvecError as error:
                        result.unknown.append(Unknown(listed.item.uri, str(error)))
                complete.append(source)
        for row in ledger.gone(complete, {}, 1.0).rows:
            if may_hold(row):
                gone.append(Finding(ORPHANED, SOURCE, row["uri"], row["document_id"], "no longer listed"))


def _compare_listed(source: Source, listed: Listed) -> list[Finding]:
    item, row = listed.item, listed.previous

    def found(kind: str, detail: str) -> list[Finding]:
        return [Finding(kind, SOURCE, item.uri, document_id(item.uri), detail)]

    if listed.settled:
        return []
    if row is None or row["status"] == DELETED:
        return found(MISSING, "listed, and not ingested")
    rejected = row["status"] == REJECTED
    if not rejected and row["metadata_hash"] != hash_metadata(item.metadata):
        return found(STALE, "what the source or the settings say of it has changed")
    if same_bytes(item, row) or _same_content(source, listed, row):
        return []
    return found(STALE, "it has changed since it was rejected" if rejected else "its content has changed")


def _same_content(source: Source, listed: Listed, row: Row) -> bool:
    """Whether the bytes are the same although the listing is not: a file may only have been touched."""
    item = listed.item
    if item.size is not None and row["size"] is not None and item.size != row["size"]:
        return False
    try:
        data = source.read(item) if item.content is None else item.content
    except Rejected as rejected:
        if row["status"] == REJECTED and row["stage"] == "read":
            return True
        raise Transient(str(rejected)) from rejected
    return bool(hash_bytes(data) == row["content_hash"])
