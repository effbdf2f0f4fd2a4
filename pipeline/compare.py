"""The points that a collection should hold, compared with those that it does: by id, payload, text and vector."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CorpusvecError, Transient
from pipeline.findings import ALTERED, DUPLICATED, MISSING, ORPHANED, STALE, STORE, Finding
from pipeline.keys import NO_KEYS, Keys, among, pack, unite, unpack
from pipeline.points import same
from pipeline.ports import VectorStore
from pipeline.types import Point, Vectors
from pipeline.view import Holding

Row = Mapping[str, Any]

#: How much less than 1 the cosine of a stored vector with its original may be. Stores normalise and round, which costs
#: less than 1e-6; one that keeps 8 bits a number loses about 5e-5. Another text's vector is further away.
VECTOR_TOLERANCE = 1e-4

# Points asked for at a time.
_AT_ONCE = 1_000
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Points:
    """Takes what a collection should hold a batch at a time, then judges; about 25 bytes a point.

    `absent`: there is no such collection.
    """

    def __init__(self, store: VectorStore, absent: bool) -> None:
        self._store = store
        self._absent = absent
        self._failure: CorpusvecError | None = None
        self._findings: list[Finding] = []
        # Of each point: its key, the number of its document, and whether it was found.
        self._keys: list[Keys] = []
        self._owners: list[NDArray[np.int32]] = []
        self._found: list[NDArray[np.bool_]] = []
        self._documents: list[Keys] = []
        self._spared: list[Keys] = []
        self._held = 0
        #: How many points there should be, and how many there are.
        self.expected = self.stored = 0

    def spare(self, documents: Sequence[str]) -> None:
        """Find nothing against what the collection has of these: what it should have of them is not known."""
        self._spared.append(pack(documents))

    def compare(self, batch: Sequence[Holding]) -> None:
        """Look for the points of some documents. That the store fails is told by `judge`."""
        self.spare([one.entry["document_id"] for one in batch if one.lost])
        whole = [one for one in batch if not one.lost]
        drafts = [(draft, one.vectors[draft.record_id]) for one in whole for draft in one.drafts]
        numbers = np.arange(self._held, self._held + len(whole), dtype=np.int32)
        self._documents.append(pack([one.entry["document_id"] for one in whole]))
        self._owners.append(np.repeat(numbers, [len(one.drafts) for one in whole]))
        self._keys.append(pack([draft.record_id for draft, _ in drafts]))
        self._held += len(whole)
        self.expected += len(drafts)
        if self._failure:
            return
        faults: dict[str, tuple[str, str]] = {}
        try:
            for first in range(0, len(drafts), _AT_ONCE):
                faults |= self._faults(drafts[first : first + _AT_ONCE])
        except CorpusvecError as error:
            self._failure = error
            return
        self._found.append(np.array([faults.get(draft.record_id, ("",))[0] != MISSING for draft, _ in drafts], bool))
        for holding in whole:
            self._findings += self._grouped(holding, faults)

    def _faults(self, drafts: Sequence[tuple[Point, Vectors]]) -> dict[str, tuple[str, str]]:
        """What is wrong with points, by record id: kind and detail."""
        if self._absent:
            return {draft.record_id: (MISSING, "the collection is gone") for draft, _ in drafts}
        there: dict[str, list[Point]] = defaultdict(list)
        for point in self._store.fetch([draft.record_id for draft, _ in drafts], vectors=True):
            there[point.record_id].append(point)
        faults = {}
        for draft, vector in drafts:
            points = there[draft.record_id]
            if not points:
                faults[draft.record_id] = MISSING, "not in the store"
            elif other := next(filter(None, (differences(draft, vector, point) for point in points)), None):
                faults[draft.record_id] = ALTERED, ", ".join(other)
        return faults

    def _grouped(self, holding: Holding, faults: Mapping[str, tuple[str, str]]) -> Iterator[Finding]:
        ids: dict[tuple[str, str], list[str]] = defaultdict(list)
        for draft in holding.drafts:
            if draft.record_id in faults:
                ids[faults[draft.record_id]].append(draft.record_id)
        entry = holding.entry
        for (kind, detail), records in ids.items():
            # Of a collection that is gone, the names of its documents say it all.
            names = () if self._absent else records
            yield Finding(kind, STORE, entry["uri"], entry["document_id"], detail, len(records), names)

    def judge(self, rows_of: Callable[[Sequence[str]], list[dict[str, Any]]]) -> list[Finding]:
        """What `compare` found, and what the collection holds beside. Raises CorpusvecError if that is not proven.

        `rows_of` gives the rows (document_id, uri) of document ids.
        """
        if self._failure:
            raise self._failure
        if self._absent:
            return self._findings
        keys = np.concatenate([NO_KEYS, *self._keys])
        order = np.argsort(keys, kind="stable")
        seen = np.zeros(len(keys), bool)
        twice: set[int] = set()
        strangers: list[Point] = []
        points = self._store.scroll()
        while page := list(islice(points, _AT_ONCE)):
            self.stored += len(page)
            for point, number in zip(page, _numbers(keys, order, [point.record_id for point in page]), strict=True):
                if number < 0:
                    names = {name: str(point.payload.get(name) or "") for name in ("document_id", "uri")}
                    strangers.append(replace(point, lexical_text="", payload=names))
                elif seen[number]:
                    twice.add(number)
                else:
                    seen[number] = True
        # A store at rest gives the same answers whether it is asked for points by id or for all there are.
        if doubtful := int((seen != np.concatenate([np.empty(0, bool), *self._found])).sum()):
            raise Transient(
                f"{doubtful} points came or went while {self._store.url} was read: something else writes to it, or its "
                "answers are not complete; audit it again when nothing does"
            )
        return [*self._findings, *self._duplicates(sorted(twice), keys, rows_of), *self._beside(strangers)]

    def _duplicates(
        self, twice: Sequence[int], keys: Keys, rows_of: Callable[[Sequence[str]], list[dict[str, Any]]]
    ) -> Iterator[Finding]:
        if not twice:
            return
        owners, documents = np.concatenate(self._owners), np.concatenate(self._documents)
        ids: dict[str, list[str]] = defaultdict(list)
        names = zip(unpack(documents[owners[list(twice)]]), unpack(keys[list(twice)]), strict=True)
        for document, record in names:
            ids[str(UUID(document))].append(str(UUID(record)))
        for row in rows_of(list(ids)):
            document = row["document_id"]
            detail = "there more than once"
            yield Finding(DUPLICATED, STORE, row["uri"], document, detail, len(ids[document]), ids[document])

    def _beside(self, strangers: Sequence[Point]) -> Iterator[Finding]:
        spared, held = unite(self._spared), unite(self._documents)
        ids: dict[tuple[str, str], set[str]] = defaultdict(set)
        for point in strangers:
            ids[point.payload["document_id"], point.payload["uri"]].add(point.record_id)
        for (document, uri), records in ids.items():
            kind, detail = ORPHANED, "of no document that the ledger has loaded"
            if _UUID.fullmatch(document):
                key = pack([document])
                if among(key, spared)[0]:
                    continue
                if among(key, held)[0]:
                    kind, detail = STALE, "of another version than the one held"
            yield Finding(kind, STORE, uri, document, detail, len(records), sorted(records))


def differences(draft: Point, vector: Vectors, point: Point) -> list[str]:
    """What of a stored point is not as it should be: payload fields, `lexical_text`, `vector`."""
    found = []
    if not same(draft.payload, point.payload):
        one, two = draft.payload, point.payload
        names = dict.fromkeys([*one, *two])
        found = [name for name in names if name not in one or name not in two or not same(one[name], two[name])]
    if draft.lexical_text != point.lexical_text:
        found.append("lexical_text")
    if not same_direction(vector, point.vector):
        found.append("vector")
    return found


def same_direction(vector: Vectors, other: Vectors) -> bool:
    """Whether two vectors are the same but for their lengths and VECTOR_TOLERANCE; one of zeros is like none."""
    if vector.shape != other.shape:
        return False
    one, two = vector.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(two))
    return lengths > 0 and float(one @ two) >= (1 - VECTOR_TOLERANCE) * lengths


def _numbers(keys: Keys, order: NDArray[np.int64], ids: Sequence[str]) -> list[int]:
    """Where ids are among `keys`, which `order` sorts; -1 for what is not, and for what is no id of ours at all."""
    ours = [number for number, one in enumerate(ids) if _UUID.fullmatch(one)]
    numbers = np.full(len(ids), -1)
    if ours and len(keys):
        wanted = pack([ids[number] for number in ours])
        found = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
        numbers[ours] = np.where(keys[found] == wanted, found, -1)
    return [int(number) for number in numbers]
