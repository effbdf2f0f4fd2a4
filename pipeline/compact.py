"""Compaction: small parts are merged, and what no ledger leads to is dropped.

A ledger's row leads to the document of its version in documents/<parse>, to its chunks in chunks/<chunk>, and to their
vectors in vectors/<embed>; a row from before ledgers named tables leads to its version in all of them. Whatever else is
there (older versions, other recipes, texts that nobody has any more) would be made again if it were needed.

Nothing is removed before what stays of it is written, so a compaction may be killed at any point; the next one goes on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.checkpoint import Checkpoints, Table
from pipeline.embed.model import embedding_key
from pipeline.errors import UsageError
from pipeline.keys import Keys, among, pack, unite
from pipeline.table import PART_BYTES, Extent, instant

# The kinds of tables that a ledger leads to, and the column by which it does.
_COLUMNS = {"documents": "parse", "chunks": "chunk", "vectors": "embed"}

#: By kind and recipe, the keys that are reachable.
Reachable = dict[str, dict[str, Keys]]


@dataclass(frozen=True, slots=True)
class TableChange:
    """What became of one table. `dropped` counts rows: unreachable ones, and older ones of a key that has a newer."""

    table: str
    parts_before: int
    parts_after: int
    bytes_before: int
    bytes_after: int
    dropped: int


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What a compaction did or, dry, would do: then bytes after it are an estimate.

    `leftovers` is how many bytes of killed writers were removed. `warnings` are sentences for a person.
    """

    tables: Sequence[TableChange]
    leftovers: int
    warnings: Sequence[str]
    dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, with totals."""
        counts = ("parts_before", "parts_after", "bytes_before", "bytes_after", "dropped")
        totals = {name: sum(getattr(change, name) for change in self.tables) for name in counts}
        return {**totals, **asdict(self)}


def compact(checkpoints: Checkpoints, dry_run: bool = False) -> CompactReport:
    """Merge the parts of every table and drop what no ledger leads to. Nobody else may use the root meanwhile.

    Takes memory for row groups and keys only: about 100 bytes a key of the table at hand, 16 of what ledgers lead to.
    Raises UsageError, and drops nothing, if there is no ledger; Terminal if a part is broken or a disk full.
    """
    warnings: list[str] = []
    reachable = find_reachable(checkpoints, warnings)
    leftovers = sum(checkpoints.leftovers().values()) if dry_run else checkpoints.sweep()
    # Ledgers come after what they lead to: a compaction that is killed finds the same things reachable again.
    changes = [_compact_table(name, table, reachable, dry_run) for name, table in checkpoints.all_tables().items()]
    return CompactReport(changes, leftovers, warnings, dry_run)


def find_reachable(checkpoints: Checkpoints, warnings: list[str]) -> Reachable:
    """What the ledgers under a root lead to. Raises UsageError if there are none, although there are other tables.

    Where chunks are lost, nothing tells which vectors they had: then all vectors of their recipe are kept, and a
    warning says so.
    """
    stored = {kind: list(checkpoints.tables(kind)) for kind in _COLUMNS}
    ledgers = checkpoints.tables("ledger")
    if not ledgers and any(stored.values()):
        raise UsageError(
            f"there is no ledger under {checkpoints.root}, so nothing says what is still needed, and nothing was "
            "dropped; restore the folder 'ledger', or remove what you do not need by hand"
        )
    versions: dict[tuple[str, str], list[Keys]] = defaultdict(list)
    chunked: dict[tuple[str, str], list[Keys]] = defaultdict(list)
    for ledger in ledgers.values():
        for recipes, rows in _held(ledger):
            keys = pack(rows.column("version_id"))
            some = keys[pc.fill_null(rows.column("chunks"), 1).to_numpy() != 0]
            named = {kind: [recipes[column]] if recipes[column] else stored[kind] for kind, column in _COLUMNS.items()}
            for kind in ("documents", "chunks"):
                for recipe in named[kind]:
                    versions[kind, recipe].append(keys)
            for chunk in named["chunks"]:
                for embed in named["vectors"]:
                    chunked[chunk, embed].append(some)
    reachable: Reachable = {kind: {} for kind in _COLUMNS}
    for (kind, recipe), parts in versions.items():
        reachable[kind][recipe] = unite(parts)
    vectors: dict[str, list[Keys]] = defaultdict(list)
    for (chunk, embed), parts in chunked.items():
        vectors[embed] += _vectors_of(checkpoints, chunk, embed, unite(parts), warnings)
    reachable["vectors"] = {embed: unite(parts) for embed, parts in vectors.items()}
    return reachable


def _held(ledger: Table) -> Iterator[tuple[Mapping[str, str], pa.Table]]:
    """The rows of documents that a collection holds, sorted by the recipes that made them; "" is an unknown one."""
    names = list(_COLUMNS.values())
    for rows in ledger.current(["version_id", "chunks", *names]):
        rows = rows.filter(pc.field("version_id") != "")
        for name in names:
            column = pc.fill_null(rows.column(name), "")
            rows = rows.set_column(rows.schema.get_field_index(name), name, column)
        for recipes in rows.group_by(names).aggregate([]).to_pylist():
            same = pc.field(names[0]) == recipes[names[0]]
            for name in names[1:]:
                same &= pc.field(name) == recipes[name]
            yield recipes, rows.filter(same)


def _vectors_of(
    checkpoints: Checkpoints, chunk: str, embed: str, versions: Keys, warnings: list[str]
) -> Iterator[Keys]:
    """The embedding keys of these versions' chunks."""
    found = []
    for rows in checkpoints.chunks(chunk).current(["version_id", "token_hash"]):
        keys = pack(rows.column("version_id"))
        wanted = among(keys, versions)
        found.append(unite([keys[wanted]]))
        hashes = rows.column("token_hash").filter(pa.array(wanted)).to_pylist()
        yield pack([embedding_key(embed, token_hash) for token_hash in hashes])
    if lost := len(versions) - len(unite(found)):
        warnings.append(
            f"the chunks of {lost} documents are not in chunks/{chunk}, so every vector in vectors/{embed} was kept; "
            "corpusvec audit names them"
        )
        for rows in checkpoints.vectors(embed).current(["embedding_key"]):
            yield pack(rows.column("embedding_key"))


def _compact_table(name: str, table: Table, reachable: Reachable, dry_run: bool) -> TableChange:
    kind, _, recipe = name.partition("/")
    if kind in reachable:
        keys = reachable[kind].get(recipe)
        if keys is None:
            return _drop_table(name, table, dry_run)
        extents = table.survey(partial(among, these=keys))
    else:
        extents = table.survey()
    parts, size = len(extents), round(sum(map(_bytes_left, extents)))
    for group in plan_merges(extents):
        kept = sum(len(extent.wanted) for extent in group)
        parts -= len(group) - (1 if kept else 0)
        if not dry_run:
            table.rewrite(group)
    if not dry_run:
        after = table.sizes()
        parts, size = len(after), sum(after.values())
    dropped = sum(extent.rows - len(extent.wanted) for extent in extents)
    return TableChange(name, len(extents), parts, sum(extent.size for extent in extents), size, dropped)


def _drop_table(name: str, table: Table, dry_run: bool) -> TableChange:
    sizes, rows = table.sizes(), table.count_rows()
    if not dry_run:
        table.drop()
    return TableChange(name, len(sizes), 0, sum(sizes.values()), 0, rows)


def plan_merges(extents: Sequence[Extent]) -> list[list[Extent]]:
    """Which adjacent parts to put one part in the place of, oldest first; the rest are well as they are.

    A merged part has at most about PART_BYTES. Parts of one instant stay together: which of them is the newer one was
    never said.
    """
    groups: list[list[Extent]] = []
    for extent in extents:
        last = groups[-1] if groups else []
        together = bool(last) and instant(last[-1].name) == instant(extent.name)
        fits = sum(map(_bytes_left, last)) + _bytes_left(extent) <= PART_BYTES
        if together or (last and fits and not _is_full(last[-1]) and not _is_full(extent)):
            last.append(extent)
        else:
            groups.append([extent])
    return [group for group in groups if len(group) > 1 or len(group[0].wanted) < group[0].rows]


def _is_full(extent: Extent) -> bool:
    """Large, with nothing to drop: merging it would cost more than it brings."""
    return extent.size >= PART_BYTES // 2 and len(extent.wanted) == extent.rows


def _bytes_left(extent: Extent) -> float:
    return extent.size * len(extent.wanted) / max(1, extent.rows)
